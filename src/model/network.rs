//! A network: a transformer, its parameters, and the working memory of its passes. Policy, reference policy, reward
//! model and value function are networks; a model on disk becomes one at the door.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::activations::Activations;
use super::config::ModelConfig;
use super::gradients::Gradients;
use super::layout::{Head, INITIALIZER_RANGE, Initialiser, Layout};
use super::micro_batch::input_len;
use super::sampling::{Draw, Response, Sampling, generate};
use super::sequence::Sequence;
use crate::engine::{Batch, Cpu, Engine, Name, Outputs, Target};
use crate::num::rng::{Purpose, Rng, Stage};
use crate::ranks::{Alone, Ranks};

/// A GPT with a head, in the memory of an engine.
pub struct Network<E: Engine = Cpu> {
    /// The shape.
    pub config: ModelConfig,
    /// What stands on the trunk.
    pub head: Head,
    /// The one table of parameters.
    pub layout: Layout,
    pub(super) engine: E,
    ranks: &'static dyn Ranks,
    pub(super) parameters: E::Buffer,
    /// Made at the first pass.
    pub(super) memory: Option<Memory<E>>,
    /// Token rows that a pass may hold, and whether one may be differentiated.
    pub(super) plan: (usize, bool),
    /// Where the numbers were first left.
    fault: Option<String>,
}

/// What passes work on; planned once.
pub(super) struct Memory<E: Engine> {
    pub activations: Activations<E>,
    pub batch: Batch,
    /// Which rows of the batch count, (outputs).
    pub(super) targets: Vec<Target>,
    /// What the head says of them: log-probs or numbers, and entropies, (outputs).
    pub(super) outputs: Vec<f32>,
    entropies: Vec<f32>,
    /// The loss's slopes, (outputs).
    pub(super) slopes: Vec<f32>,
    /// The language-model head's.
    work: Option<E::Head>,
}

impl<E: Engine> Memory<E> {
    fn new(engine: E, config: &ModelConfig, head: Head, tokens: usize, training: bool) -> Self {
        // Here and not with the activations: all threads meet for it, and decoders are made inside parallel loops.
        engine.reserve(config.attention_heads(0), config.context.min(tokens));
        Memory {
            activations: Activations::new(engine, config, tokens, training),
            batch: Batch::with_capacity(tokens, tokens),
            targets: Vec::with_capacity(tokens),
            outputs: vec![0.0; tokens],
            entropies: vec![0.0; tokens],
            slopes: vec![0.0; tokens],
            work: (head == Head::LanguageModel).then(|| engine.head(config.vocab_size, config.width, tokens)),
        }
    }

    /// Packs sequences that begin with the batch's number `first`, and lists what counts.
    pub(super) fn fill(&mut self, sequences: &[Sequence], first: usize, head: Head) {
        self.batch.clear();
        self.targets.clear();
        for (number, sequence) in (first as u64..).zip(sequences) {
            let tokens = sequence.tokens;
            let row = self.batch.push(&tokens[..input_len(sequence, head)], number);
            self.targets.extend((sequence.from..sequence.to).map(|position| Target {
                row: (row + position) as u32,
                token: if head == Head::LanguageModel { tokens[position + 1] } else { 0 },
            }));
        }
    }
}

impl<E: Engine> core::fmt::Debug for Network<E> {
    fn fmt(&self, f: &mut core::fmt::Formatter) -> core::fmt::Result {
        f.debug_struct("Network")
            .field("config", &self.config)
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}

impl<E: Engine> PartialEq for Network<E> {
    /// The same shape and the same weights.
    fn eq(&self, other: &Self) -> bool {
        let shape = |network: &Self| (network.config.clone(), network.head);
        shape(self) == shape(other) && self.parameters() == other.parameters()
    }
}

impl<E: Engine> Clone for Network<E> {
    /// The same weights, without working memory.
    fn clone(&self) -> Self {
        self.with_parameters(self.parameters().into_owned())
    }
}

impl<E: Engine> Network<E> {
    /// A network of this shape with these parameters, as its [`Layout`] has them.
    ///
    /// # Panics
    /// If there are more or fewer than the layout's.
    pub fn new(engine: E, config: ModelConfig, head: Head, parameters: Vec<f32>) -> Self {
        let layout = Layout::new(&config, head);
        assert_eq!(parameters.len(), layout.len, "parameters against the layout");
        let parameters = engine.buffer(parameters);
        let (ranks, memory, plan, fault) = (&Alone, None, (0, false), None);
        Network { config, head, layout, engine, ranks, parameters, memory, plan, fault }
    }

    /// The same network, known to all of these ranks: what it is asked from now on, and the gradients of its losses, are
    /// shared out to them. So every rank must ask it the same.
    pub fn among(self, ranks: &'static dyn Ranks) -> Self {
        Network { ranks, ..self }
    }

    /// The ranks that know it.
    pub fn ranks(&self) -> &'static dyn Ranks {
        self.ranks
    }

    /// Fresh parameters as the layout's initialisers say, which are GPT-2's. Each tensor draws from an address of its own.
    pub fn random(engine: E, config: ModelConfig, head: Head, seed: u64) -> Self {
        Network::random_in(engine, config, head, seed, INITIALIZER_RANGE)
    }

    /// [`Network::random`] with another deviation of the weights than GPT-2's [`INITIALIZER_RANGE`]; that of the positions
    /// and of the projections into the residual stream changes with it. (The scalar head has its own.)
    pub fn random_in(engine: E, config: ModelConfig, head: Head, seed: u64, initializer_range: f32) -> Self {
        let layout = Layout::new(&config, head);
        let mut parameters = vec![0.0; layout.len];
        for (row, parameter) in layout.parameters.iter().enumerate() {
            let values = &mut parameters[parameter.range()];
            match parameter.initialiser {
                Initialiser::Zero => {}
                Initialiser::One => values.fill(1.0),
                Initialiser::Normal(deviation) => {
                    let own = parameter.name == "score.weight";
                    let deviation =
                        if own { deviation } else { deviation * (initializer_range / INITIALIZER_RANGE) };
                    let mut rng = Rng::at(seed, Stage::Init, Purpose::Init, 0, row as u64, 0);
                    values.iter_mut().for_each(|x| *x = deviation * rng.normal());
                }
            }
        }
        Network::new(engine, config, head, parameters)
    }

    /// A network of the same shape with other parameters, without working memory.
    ///
    /// # Panics
    /// If there are more or fewer than the layout's.
    pub fn with_parameters(&self, parameters: Vec<f32>) -> Self {
        let network = Network::new(self.engine, self.config.clone(), self.head, parameters);
        let mut network = network.among(self.ranks);
        network.plan = (self.plan.0, false);
        network
    }

    /// The same network in another engine's memory.
    pub fn on<F: Engine>(self, engine: F) -> Network<F> {
        let parameters = self.parameters().into_owned();
        Network::new(engine, self.config, self.head, parameters).among(self.ranks)
    }

    /// The engine that computes.
    pub fn engine(&self) -> E {
        self.engine
    }

    /// All parameters, (layout's length).
    pub fn parameters(&self) -> Cow<'_, [f32]> {
        self.engine.values(&self.parameters)
    }

    /// Other parameters.
    ///
    /// # Panics
    /// If there are more or fewer than the layout's.
    pub fn set_parameters(&mut self, parameters: Vec<f32>) {
        assert_eq!(parameters.len(), self.layout.len, "parameters against the layout");
        self.parameters = self.engine.buffer(parameters);
    }

    /// The buffer of the parameters, for an optimizer, and what lies where in it.
    pub fn parameters_and_layout(&mut self) -> (&mut E::Buffer, &Layout) {
        (&mut self.parameters, &self.layout)
    }

    /// Sets the token rows that a pass holds at most (at least one sequence of the context's length): more sequences
    /// are read in micro-batches, which show in no bit. With `training`, passes can be differentiated.
    pub fn plan(&mut self, tokens: usize, training: bool) {
        self.plan = (tokens.max(self.config.context), training);
        self.memory = None;
    }

    /// [`Network::plan`], and takes the memory now.
    pub fn reserve(&mut self, tokens: usize, training: bool) {
        self.plan(tokens, training);
        self.take_memory();
    }

    /// Gives the working memory back; the next pass takes it again.
    pub fn release(&mut self) {
        self.memory = None;
    }

    /// The working memory, planned now if it is not yet.
    pub(super) fn take_memory(&mut self) -> &mut Memory<E> {
        let (tokens, training) = (self.room(), self.plan.1);
        let (engine, config, head) = (self.engine, &self.config, self.head);
        self.memory.get_or_insert_with(|| Memory::new(engine, config, head, tokens, training))
    }

    /// Log-probs in nats of the tokens that follow the positions that count, sequence after sequence.
    pub fn log_probs(&mut self, sequences: &[Sequence], temperature: f32) -> Vec<f32> {
        self.log_probs_and_entropies(sequences, temperature).0
    }

    /// [`Network::log_probs`], and the entropies in nats of the distributions they are of.
    pub fn log_probs_and_entropies(
        &mut self,
        sequences: &[Sequence],
        temperature: f32,
    ) -> (Vec<f32>, Vec<f32>) {
        assert_eq!(self.head, Head::LanguageModel, "log-probs of a network without a language-model head");
        self.read(sequences, temperature)
    }

    /// The scalar head's numbers at the positions that count, sequence after sequence.
    pub fn values(&mut self, sequences: &[Sequence]) -> Vec<f32> {
        assert_eq!(self.head, Head::Scalar, "values of a network without a scalar head");
        self.read(sequences, 1.0).0
    }

    /// The hidden states that the heads read, of all tokens of sequences that fit in the memory together, (N, C).
    pub fn hidden_states(&mut self, sequences: &[&[u32]]) -> Vec<f32> {
        let memory = self.take_memory();
        memory.batch.clear();
        for (number, tokens) in (0..).zip(sequences) {
            memory.batch.push(tokens, number);
        }
        self.forward_trunk(None);
        self.activation(self.config.layers, Name::Hidden)
    }

    /// What the last micro-batch left in a buffer of `layer`. Only passes that can be differentiated keep one for
    /// each layer.
    pub fn activation(&mut self, layer: usize, name: Name) -> Vec<f32> {
        let engine = self.engine;
        let Memory { activations, batch, .. } = self.take_memory();
        engine.values_in_rows(&mut activations.rows(batch, layer), name)
    }

    /// Entropies in nats at the targets of the last micro-batch, of a language model.
    pub fn entropies(&mut self) -> &[f32] {
        let Memory { entropies, targets, .. } = self.take_memory();
        &entropies[..targets.len()]
    }

    /// Samples a response to each prompt: see [`generate`].
    pub fn generate(
        &self,
        prompts: &[&[u32]],
        sampling: &Sampling,
        draws: &[Draw],
        progress: &(dyn Fn(usize) -> bool + Sync),
    ) -> Vec<Response> {
        generate(self, prompts, sampling, draws, progress)
    }

    /// A reward model's scores: the head at the last token of each sequence, the end-of-text token where a response
    /// ended by itself; at the last one that is not the model's pad token, if it has one (at the first token where all
    /// are), as `GPT2ForSequenceClassification` of `transformers` reads it.
    pub fn scores<'a>(&mut self, sequences: impl IntoIterator<Item = &'a [u32]>) -> Vec<f32> {
        let pad = self.config.pad_token;
        // No token looks at later ones.
        let unpadded = |tokens: &'a [u32]| {
            let last = tokens.iter().rposition(|&token| Some(token) != pad).unwrap_or(0);
            &tokens[..tokens.len().min(last + 1)]
        };
        let sequences: Vec<Sequence> =
            sequences.into_iter().map(|tokens| Sequence::last(unpadded(tokens))).collect();
        self.values(&sequences)
    }

    /// Mean negative log-prob of all that counts, in nats, added in order in f64; `None` if nothing does.
    pub fn mean_loss(&mut self, sequences: &[Sequence]) -> Option<f64> {
        let log_probs = self.log_probs(sequences, 1.0);
        let sum = log_probs.iter().fold(0.0, |sum, &log_prob| sum - f64::from(log_prob));
        (!log_probs.is_empty()).then(|| sum / log_probs.len() as f64)
    }

    fn read(&mut self, sequences: &[Sequence], temperature: f32) -> (Vec<f32>, Vec<f32>) {
        let share = self.ranks.share(sequences.len());
        let (outputs, entropies) = self.read_share(&sequences[share], temperature);
        (self.ranks.join(outputs), self.ranks.join(entropies))
    }

    fn read_share(&mut self, sequences: &[Sequence], temperature: f32) -> (Vec<f32>, Vec<f32>) {
        let count = sequences.iter().map(Sequence::outputs).sum();
        let (mut outputs, mut entropies) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let mut first = 0;
        while first < sequences.len() {
            let end = self.micro_batch(first, sequences.len(), self.room(), |i| &sequences[i..i + 1]);
            let head = self.head;
            self.take_memory().fill(&sequences[first..end], first, head);
            self.forward_trunk(None);
            self.forward_head(temperature);
            let memory = self.take_memory();
            outputs.extend_from_slice(&memory.outputs[..memory.targets.len()]);
            entropies.extend_from_slice(&memory.entropies[..memory.targets.len()]);
            first = end;
        }
        (outputs, entropies)
    }

    /// The head's outputs of the batch's targets.
    pub(super) fn forward_head(&mut self, temperature: f32) {
        self.pass_head(temperature, None);
    }

    pub(super) fn pass_head(&mut self, temperature: f32, gradients: Option<&mut Gradients<E>>) {
        {
            let Network { engine: e, config, layout, head, parameters, memory, .. } = self;
            let Memory { activations, batch, targets, outputs, entropies, slopes, work } =
                memory.as_mut().expect("a trunk's forward comes first");
            let (n, w) = (targets.len(), e.weights(parameters, config.precision));
            let rows = &mut activations.rows(batch, config.layers);
            let (outputs, slopes) = (&mut outputs[..n], &slopes[..n]);
            if gradients.is_some() {
                e.clear_rows(rows, Name::DHidden);
            }
            let at = &layout.head;
            match (head, gradients) {
                (Head::LanguageModel, gradients) => {
                    let outputs = Outputs { log_probs: outputs, entropies: &mut entropies[..n] };
                    let (relay, sums) = gradients.map(Gradients::of_head).unzip();
                    let (relay, gradient) = (relay.flatten(), sums.map(|sums| (slopes, sums)));
                    let work = work.as_mut().expect("a language model's");
                    e.log_probs(rows, &w, at, targets, temperature, outputs, gradient, relay, work);
                }
                (Head::Scalar, None) => e.scalars(rows, &w, at, targets, outputs),
                (Head::Scalar, Some(gradients)) => {
                    gradients.add(e, at, |flat| e.scalars_backward(rows, &w, at, targets, slopes, flat));
                }
            }
        }
        self.watch();
    }

    /// Remembers where the numbers were left, if one of the head's outputs is not finite.
    fn watch(&mut self) {
        let memory = self.memory.as_mut().expect("a pass has been made");
        let outputs = &memory.outputs[..memory.targets.len()];
        let Some(&found) = outputs.iter().find(|x| !x.is_finite()) else { return };
        let layer = memory.activations.first_non_finite(&memory.batch);
        let (layer, found) = layer.unwrap_or(("the head".into(), found));
        self.fault.get_or_insert(format!("{layer} gave {found}"));
    }

    /// `what`, and where a pass first left the numbers, if one has: "the loss (h.1.mlp.c_fc gave inf)".
    pub fn blame<'a>(&self, what: &'a str) -> Cow<'a, str> {
        match &self.fault {
            None => what.into(),
            Some(fault) => format!("{what} ({fault})").into(),
        }
    }
}
