//! Decoding with a cache of keys and values: the ten calls of the training forward, so the sampler's log-probs *are*
//! the trainer's, and PPO needs no second forward for its old log-probs.

use alloc::vec;
use alloc::vec::Vec;

use super::activations::Activations;
use super::block::Block;
use super::layout::Head;
use super::network::Network;
use crate::engine::Name::{Hidden, HiddenStats, X};
use crate::engine::{Batch, Choice, Choosing, Engine, Outputs, Precision, Target};

impl<E: Engine> Network<E> {
    /// The weights as they lie, for a prompt alone: reading it costs less than packing them.
    pub fn weights(&self) -> E::Weights<'_> {
        self.engine.weights(&self.parameters, self.config.precision)
    }

    /// The weights packed for decoding many tokens.
    pub fn packed_weights(&self) -> E::Weights<'_> {
        self.engine.pack(&self.parameters, self.config.precision, &self.layout.matrices(&self.config))
    }

    /// Bytes of the matrices that a decoding step reads.
    pub fn matrix_bytes(&self) -> usize {
        let numbers: usize = self.layout.matrices(&self.config).iter().map(|matrix| matrix.at.len()).sum();
        numbers * if self.config.precision == Precision::Bf16 { 2 } else { 4 }
    }
}

/// Sequences that are being decoded: what is cached of them, and the working memory of a call.
pub struct Decoder<'a, 'w, E: Engine> {
    network: &'a Network<E>,
    weights: &'a E::Weights<'w>,
    capacity: usize,
    /// Tokens cached so far, per slot.
    lengths: Vec<usize>,
    cache: E::Cache,
    activations: Activations<E>,
    batch: Batch,
    /// Slot of each sequence in the batch, ascending.
    slots: Vec<usize>,
    /// The last row of each.
    last: Vec<Target>,
    /// What follows each, (sequences, V), where the host asks for it.
    logits: Vec<f32>,
}

impl<'a, 'w, E: Engine> Decoder<'a, 'w, E> {
    /// Room for `slots` sequences of up to `capacity` tokens each.
    pub fn new(network: &'a Network<E>, weights: &'a E::Weights<'w>, slots: usize, capacity: usize) -> Self {
        let Network { engine, config, head, .. } = network;
        assert_eq!(*head, Head::LanguageModel, "only a language model generates");
        assert!(capacity <= config.context, "capacity {capacity} over the context {}", config.context);
        Decoder {
            network,
            weights,
            capacity,
            lengths: vec![0; slots],
            cache: engine.cache(config.layers, slots, config.attention_heads(0), capacity),
            activations: Activations::new(*engine, config, 0, false),
            batch: Batch::with_capacity(0, slots),
            slots: Vec::with_capacity(slots),
            last: Vec::with_capacity(slots),
            logits: Vec::new(),
        }
    }

    /// Goes on with the same weights in their other form.
    pub fn go_on_with(&mut self, weights: &'a E::Weights<'w>) {
        self.weights = weights;
    }

    /// Tokens cached in a slot.
    pub fn len(&self, slot: usize) -> usize {
        self.lengths[slot]
    }

    /// Whether nothing is cached in any slot.
    pub fn is_empty(&self) -> bool {
        self.lengths.iter().all(|&length| length == 0)
    }

    /// Forgets what follows the first `length` tokens of a slot's sequence.
    ///
    /// # Panics
    /// If it has fewer.
    pub fn truncate(&mut self, slot: usize, length: usize) {
        assert!(length <= self.lengths[slot], "{length} tokens of {}", self.lengths[slot]);
        self.lengths[slot] = length;
    }

    /// Appends tokens (at least one each) to sequences, slots ascending, and returns the logits that follow each
    /// one's last token, (sequences, V).
    pub fn extend(&mut self, sequences: &[(usize, &[u32])]) -> &[f32] {
        self.read(sequences);
        let Decoder { network, weights: w, activations: a, batch, last, logits, .. } = self;
        let Network { engine: e, config, layout, .. } = network;
        logits.resize(last.len() * config.vocab_size, 0.0);
        e.logits(&mut a.rows(batch, config.layers), w, &layout.head, last, logits);
        logits
    }

    /// [`Decoder::extend`], and draws what follows each, sequence i at `uniforms[i]` in [0, 1).
    pub fn draw(&mut self, sequences: &[(usize, &[u32])], how: Choosing, uniforms: &[f32]) -> Vec<Choice> {
        self.read(sequences);
        let Decoder { network, weights: w, activations: a, batch, last, logits, .. } = self;
        let Network { engine: e, config, layout, .. } = network;
        e.next_tokens(&mut a.rows(batch, config.layers), w, &layout.head, last, how, uniforms, logits)
    }

    /// Appends tokens to sequences as [`Decoder::extend`], and returns log-probs and entropies, in nats, of `targets`:
    /// tokens that follow some of the rows just read, which are numbered through all sequences. `work` has room for the
    /// targets.
    pub fn log_probs(
        &mut self,
        sequences: &[(usize, &[u32])],
        targets: &[Target],
        work: &mut E::Head,
    ) -> (Vec<f32>, Vec<f32>) {
        self.read(sequences);
        let Decoder { network, weights: w, activations: a, batch, .. } = self;
        let Network { engine: e, config, layout, .. } = network;
        let (mut log_probs, mut entropies) = (vec![0.0; targets.len()], vec![0.0; targets.len()]);
        let outputs = Outputs { log_probs: &mut log_probs, entropies: &mut entropies };
        let rows = &mut a.rows(batch, config.layers);
        e.log_probs(rows, w, &layout.head, targets, 1.0, outputs, None, None, work);
        (log_probs, entropies)
    }

    /// The most likely token after each of some rows that were just read.
    pub fn most_likely(&mut self, rows: &[Target]) -> Vec<u32> {
        let Decoder { network, weights: w, activations: a, batch, logits, .. } = self;
        let Network { engine: e, config, layout, .. } = network;
        let greedily = Choosing { temperature: 0.0, top_k: 0, top_p: 1.0 };
        let uniforms = vec![0.0; rows.len()];
        let of = &mut a.rows(batch, config.layers);
        let choices = e.next_tokens(of, w, &layout.head, rows, greedily, &uniforms, logits);
        choices.into_iter().map(|choice| choice.token).collect()
    }

    /// Appends tokens to sequences; afterwards the hidden states of all are in `Hidden`.
    fn read(&mut self, sequences: &[(usize, &[u32])]) {
        assert!(sequences.is_sorted_by(|a, b| a.0 < b.0), "the slots do not ascend");
        self.fill(sequences);
        let Decoder { network, weights: w, cache, activations: a, batch, slots, .. } = self;
        let Network { engine: e, config, layout, .. } = network;
        e.embedding(&mut a.rows(batch, 0), w, &layout.wte, &layout.wpe);
        for (layer, at) in layout.blocks.iter().enumerate() {
            let heads = config.attention_heads(layer);
            let attend = |rows: &mut E::Rows<'_>| e.attention_cached(rows, heads, cache, layer, slots);
            Block { layer, config, at }.forward(e, w, &mut a.rows(batch, layer), attend, None);
        }
        let rows = &mut a.rows(batch, config.layers);
        e.layer_norm(rows, (Hidden, HiddenStats), X, w, &layout.ln_f, config.layer_norm_epsilon);
    }

    /// Packs the tokens at the positions that follow what is cached.
    fn fill(&mut self, sequences: &[(usize, &[u32])]) {
        self.batch.clear();
        self.slots.clear();
        self.last.clear();
        for &(slot, tokens) in sequences {
            let length = self.lengths[slot];
            assert!(!tokens.is_empty() && length + tokens.len() <= self.capacity, "no tokens, or too many");
            self.batch.push_at(length, tokens, slot as u64);
            self.slots.push(slot);
            self.last.push(Target { row: self.batch.len() as u32 - 1, token: 0 });
            self.lengths[slot] += tokens.len();
        }
        if self.batch.len() > self.activations.max_tokens {
            let Network { engine, config, .. } = self.network;
            self.activations = Activations::new(*engine, config, self.batch.len(), false);
        }
    }
}
