//! Random tiny models with random batches for every loss.

use instructgpt::engine::{Cpu, Dropout};
use instructgpt::model::{Activation, AttentionPattern, Family, Head, Layout, ModelConfig, Network};
use instructgpt::num::rng::{Purpose, Rng, Stage};

use crate::gpt::Gpt;
use crate::losses::{Constants, Episode, Pair, Ranking, response};

/// How many cases there are: every combination of dense or banded, tied or explicit head, tanh or erf
/// GELU, one with sequences longer than the blocks of the attention's backward, and a banded GPT-Neo.
pub const CASES: u64 = 10;

/// A network, and what the losses are taken over.
pub struct Case {
    pub network: Network,
    pub texts: Vec<Vec<u32>>,
    pub episodes: Vec<Episode>,
    pub rankings: Vec<Ranking>,
    pub pairs: Vec<Pair>,
    pub constants: Constants,
    /// For SFT alone, in every other case.
    pub dropout: Option<Dropout>,
}

/// The stream of a case's `what`-th kind of draws.
pub fn rng(case: u64, what: u64) -> Rng {
    Rng::at(20_22, Stage::Test, Purpose::Test, case, what, 0)
}

fn config(case: u64) -> ModelConfig {
    let mut rng = rng(case, 0);
    let long = case == 8;
    let heads = 1 + rng.below(4);
    let head_size = if long { 19 } else { 1 + 3usize.div_ceil(heads) + rng.below(8) };
    let (vocab, context) = (7 + rng.below(50), if long { 70 } else { 12 + rng.below(20) });
    let mut config = ModelConfig::gpt2(vocab, context, heads * head_size, 2 + rng.below(2), heads);
    config.inner = 3 + rng.below(50);
    if case & 1 == 1 || long {
        config.attention = AttentionPattern::Alternating { window: 1 + rng.below(if long { 40 } else { 6 }) };
    }
    if case == 9 {
        config.family = Family::GptNeo;
    }
    config.tied_head = case & 2 == 0;
    config.activation = if case & 4 == 0 { Activation::GeluTanh } else { Activation::Gelu };
    config
}

impl Case {
    pub fn new(number: u64, head: Head) -> Case {
        let mut network = Network::random(Cpu, config(number), head, 5);
        // Far from the initialisation, so that every term matters and no bias or gain is trivial.
        let mut noise = rng(number, 1);
        network.set_parameters(network.parameters().iter().map(|x| x + 0.25 * noise.normal()).collect());
        let mut case = Case {
            network,
            texts: vec![],
            episodes: vec![],
            rankings: vec![],
            pairs: vec![],
            constants: Constants {
                clip: 0.2,
                value_clip: 0.2,
                value_coef: 0.1,
                ptx_coef: 1.7,
                beta: 0.1,
                temperature: if number.is_multiple_of(3) { 0.7 } else { 1.0 },
            },
            dropout: (number & 1 == 1).then_some(Dropout { rate: 0.2, seed: 3, stage: Stage::Test, step: 9 }),
        };
        let context = case.network.config.context;
        let rng = &mut rng(number, 2);
        case.texts = [context, 1, 2, 5, 1 + rng.below(context)].map(|n| case.tokens(rng, n)).into();
        // A prompt without a response, a response to a single token, and others.
        for (prompt, response) in [(1, 0), (1, 4), (3, context - 3), (5, 1), (2, 7)] {
            let tokens = case.tokens(rng, prompt + response);
            case.episodes.push(case.episode(rng, tokens, prompt));
        }
        for ranks in [vec![2, 1], vec![3, 1, 2, 1], vec![1, 4, 2, 3, 3]] {
            let lengths: Vec<usize> = ranks.iter().map(|_| 1 + rng.below(context)).collect();
            let responses = lengths.iter().map(|&n| case.tokens(rng, n)).collect();
            case.rankings.push(Ranking { responses, ranks });
        }
        case.rankings[0].responses[0].truncate(1);
        // Either response may be the longer one.
        for (prompt, chosen, rejected) in [(3, 5, 2), (1, 1, context - 1), (4, context - 4, 6)] {
            let given = case.tokens(rng, prompt);
            let whole = [chosen, rejected].map(|n| [given.clone(), case.tokens(rng, n)].concat());
            case.pairs.push(case.pair(rng, prompt, whole));
        }
        case
    }

    fn tokens(&self, rng: &mut Rng, n: usize) -> Vec<u32> {
        (0..n).map(|_| rng.below(self.network.config.vocab_size) as u32).collect()
    }

    /// Old log-probs and values near enough to the new ones for either side of the clip.
    fn episode(&self, rng: &mut Rng, tokens: Vec<u32>, prompt: usize) -> Episode {
        let now = self.outputs(&tokens, prompt, self.constants.temperature);
        let mut near =
            |spread: f32| -> Vec<f32> { now.iter().map(|&x| x as f32 + spread * rng.normal()).collect() };
        let (old, returns) = (near(0.25), near(1.0));
        let advantages = now.iter().map(|_| rng.normal()).collect();
        Episode { tokens, prompt, old_log_probs: old.clone(), advantages, old_values: old, returns }
    }

    /// Under a reference policy near enough for the loss to curve.
    fn pair(&self, rng: &mut Rng, prompt: usize, [chosen, rejected]: [Vec<u32>; 2]) -> Pair {
        let mut reference = |tokens: &[u32]| {
            let now: f64 = self.outputs(tokens, prompt, 1.0).iter().sum();
            now as f32 + 5.0 * rng.normal()
        };
        let reference = [reference(&chosen), reference(&rejected)];
        Pair { prompt, chosen, rejected, reference }
    }

    /// What the head says of each response token without dropout, to the precision of f64.
    fn outputs(&self, tokens: &[u32], prompt: usize, temperature: f32) -> Vec<f64> {
        let gpt = Gpt { dropout: None, ..self.exact(|x, _| x.into()) };
        response(
            tokens,
            prompt,
            match self.network.head {
                Head::LanguageModel => gpt.log_probs(tokens, 0, temperature.into()),
                Head::Scalar => gpt.values(tokens, 0),
            },
        )
    }

    /// The reference model at this case's parameters; `scalar` makes a number of parameter and index.
    pub fn exact<S>(&self, scalar: impl Fn(f32, usize) -> S) -> Gpt<'_, S> {
        let parameters = self.network.parameters().iter().enumerate().map(|(i, &x)| scalar(x, i)).collect();
        Gpt { config: &self.network.config, layout: self.layout(), parameters, dropout: self.dropout }
    }

    pub fn layout(&self) -> &Layout {
        &self.network.layout
    }
}
