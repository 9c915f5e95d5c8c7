//! Every number of the configuration, followed through its stage.
//!
//! Each stage is made again by hand: sampling, the forward pass and the gradient of given slopes are the library's own,
//! which `tests/oracle` and `tests/golden` check; everything that a setting decides is written out once more, in f64
//! and plain loops. For each setting the stage must give what the hand gives, to rounding, and the hand must give
//! something else without the setting. So a setting that is ignored, or taken for another, fails the case that has its
//! name.
//!
//! Adam's epsilon is large here. Adam divides a gradient by its own size; with an epsilon above that size it does not,
//! and every factor of a gradient (a coefficient, a clip) is seen in the update.

mod collecting;
mod hand;
mod inputs;
mod ppo;
mod ppo_by_hand;
mod recipes;
mod sampling;
mod supervised;

use std::sync::LazyLock;
use std::sync::atomic::AtomicBool;

use instructgpt::app::config;
use instructgpt::engine::Cpu;
use instructgpt::error::Result;
use instructgpt::model::{Head, ModelConfig, Network};
use instructgpt::num::rng::{Purpose, Rng, Stage as Address};
use instructgpt::run::metrics::Value;
use instructgpt::run::progress::Silent;
use instructgpt::run::{Finished, Run, Stage, StageId, Step, Watch};
use instructgpt::settings::{Section, Settings};
use instructgpt::train::dataset::{Dataset, Example, Ranking};

/// No two numbers of a stage are alike, and none is a default that would hide it.
const BASE: &str = r#"
seed = 3
micro_batch_tokens = 64
checkpoint_every = 0

[model]
context = 24
width = 8
layers = 2
heads = 2

[tokenizer]
vocab_size = 257

[data]
pretraining = ["text.txt"]
max_prompt_tokens = 11
max_response_tokens = 9

[adam]
beta1 = 0.8
beta2 = 0.85
epsilon = 0.02
style = "tensorflow"

[pretrain]
steps = 6
batch = 3
learning_rate = 0.01
schedule = "cosine"
final_fraction = 0.2
warmup_steps = 2
weight_decay = 0.5
gradient_clip = 1.5
eval_every = 2
eval_tokens = 40

[sft]
epochs = 2
batch = 3
learning_rate = 0.02
schedule = "linear"
final_fraction = 0.3
warmup_steps = 1
dropout = 0.25
weight_decay = 0.7
gradient_clip = 1.0
select = "last"
eval_examples = 2

[rlhf_init]
epochs = 3
batch = 4
pretrain_fraction = 0.25
learning_rate = 0.015
schedule = "cosine"
final_fraction = 0.4
warmup_steps = 2
dropout = 0.15
weight_decay = 0.9
gradient_clip = 0.8
eval_examples = 3

[reward_model]
epochs = 2
batch = 2
learning_rate = 0.01
schedule = "linear"
final_fraction = 0.25
warmup_steps = 2
weight_decay = 0.6
gradient_clip = 0.5
eval_every = 3
eval_examples = 4

[ppo]
episodes = 12
batch = 6
minibatches = 2
inner_epochs = 2
temperature = 0.8
max_prompt_tokens = 10
max_response_tokens = 5
kl_coef = 0.3
ptx_coef = 0.6
ptx_examples_per_episode = 2
learning_rate = 0.15
value_learning_rate = 0.07
warmup_iterations = 0
weight_decay = 0.4
gradient_clip = 1.1
ema = 0.7
gamma = 0.9
lambda = 0.8
clip = 0.02
value_clip = 0.11
value_coef = 0.5
eval_every = 2
eval_prompts = 3
"#;

/// The base with changes, as in `--set`.
fn settings(changes: &[&str]) -> Settings {
    let changes: Vec<String> = changes.iter().map(|change| change.to_string()).collect();
    config::parse(BASE, "the base", &changes).unwrap()
}

/// Reads a section by the names of its keys, as a user writes them.
#[derive(Clone, Copy)]
struct Keys<'a>(&'a dyn Section);

impl Keys<'_> {
    fn text(self, key: &str) -> Option<String> {
        let field = self.0.fields().into_iter().find(|field| field.name == key);
        let value = field.unwrap_or_else(|| panic!("no key {}", self.0.path(key))).value?;
        Some(value.trim_matches('"').to_string())
    }

    fn number(self, key: &str) -> f64 {
        let text = self.text(key).unwrap_or_else(|| panic!("{} is not set", self.0.path(key)));
        text.parse().unwrap_or_else(|_| panic!("{} is no number: {text}", self.0.path(key)))
    }

    fn count(self, key: &str) -> usize {
        self.number(key) as usize
    }

    fn is(self, key: &str, value: &str) -> bool {
        self.text(key).as_deref() == Some(value)
    }
}

/// Data of random tokens, whose sizes divide by no batch.
static DATA: LazyLock<Dataset> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let text: String = (0..40).map(|i| format!("Story {i} is short.<|endoftext|>\n")).collect();
    std::fs::write(folder.path().join("text.txt"), text).unwrap();
    let mut data = Dataset::load(&settings(&[]), folder.path()).unwrap();
    let (vocabulary, end) = (data.tokenizer.vocab_size(), data.tokenizer.end_of_text());
    let mut rng = Rng::at(9, Address::Test, Purpose::Test, 0, 0, 0);
    let mut tokens = |n: usize| -> Vec<u32> { (0..n).map(|_| rng.below(vocabulary) as u32).collect() };
    let mut example = |prompt: usize, response: usize| {
        let mut tokens = tokens(prompt + response);
        tokens.push(end);
        Example { tokens, prompt }
    };
    let shapes = [(3, 2), (5, 6), (1, 1), (4, 8), (2, 3), (6, 5), (3, 7)];
    data.demonstrations.train = shapes.map(|(prompt, response)| example(prompt, response)).into();
    data.demonstrations.validation = [(2, 4), (4, 1), (3, 6), (1, 5)].map(|(p, r)| example(p, r)).into();
    let rankings = [&[2, 1][..], &[1, 3, 2], &[2, 1, 2, 1], &[3, 1, 4, 2], &[1, 2, 2]];
    let mut ranking = |ranks: &[u32], longer: usize| {
        let responses = (0..ranks.len()).map(|i| example(3, longer + 2 * i)).collect();
        Ranking::new(responses, ranks.to_vec())
    };
    data.rankings.train = rankings.iter().map(|ranks| ranking(ranks, 1)).collect();
    data.rankings.validation = rankings.iter().rev().map(|ranks| ranking(ranks, 2)).collect();
    data.prompts.train = [2, 5, 3, 1, 4].map(&mut tokens).into();
    data.prompts.validation = [3, 2, 4, 1, 5].map(&mut tokens).into();
    data.text = Default::default();
    data.text.train.push(&tokens(190), false);
    data.text.validation.push(&tokens(75), false);
    data
});

/// A network far from its initialisation, so that every term matters. `number` tells networks apart.
fn network(head: Head, number: u64) -> Network {
    let config = ModelConfig::gpt2(DATA.tokenizer.vocab_size(), 24, 8, 2, 2);
    let mut network = Network::random(Cpu, config, head, 5);
    let mut noise = Rng::at(number, Address::Test, Purpose::Noise, 0, 0, 0);
    network.set_parameters(network.parameters().iter().map(|x| x + 0.3 * noise.normal()).collect());
    network
}

/// What a stage was after one of its steps.
struct Seen {
    fields: Vec<(&'static str, Value)>,
    /// Its state's buffers by name.
    buffers: Vec<(String, Vec<f32>)>,
    strings: Vec<(&'static str, String)>,
}

impl Seen {
    fn buffer(&self, name: &str) -> &[f32] {
        &self.buffers.iter().find(|(known, _)| known == name).expect(name).1
    }

    /// A line's number, if it has that field.
    fn field(&self, name: &str) -> Option<f64> {
        self.fields.iter().find(|(known, _)| *known == name).map(|(_, value)| match value {
            Value::F32(x) => f64::from(*x),
            Value::F64(x) => *x,
            Value::Count(n) => *n as f64,
            other => panic!("{name} is {other:?}"),
        })
    }
}

/// A stage that is looked at after each step.
struct Recorded<'a, S> {
    stage: S,
    seen: &'a mut Vec<Seen>,
}

impl<S: Stage> Stage for Recorded<'_, S> {
    type Engine = S::Engine;

    fn steps(&self) -> u64 {
        self.stage.steps()
    }

    fn step(&mut self, step: u64, watch: &mut Watch) -> Result<Step> {
        let done = self.stage.step(step, watch)?;
        let state = self.stage.state().expect("stages that train have a state");
        let buffers = state.buffers.into_iter().map(|(name, values)| (name, values.into_owned()));
        let (fields, strings) = (done.fields.clone(), state.strings);
        self.seen.push(Seen { fields, buffers: buffers.collect(), strings });
        Ok(done)
    }

    fn finish(self) -> Result<Finished<Self::Engine>> {
        self.stage.finish()
    }
}

/// Drives a stage as a run does; what it was after each step, and the network that it leaves.
fn drive<S: Stage>(settings: &Settings, id: StageId, stage: S) -> (Vec<Seen>, Network<S::Engine>) {
    let out = tempfile::tempdir().unwrap();
    let (mut silent, stop, mut seen) = (Silent, AtomicBool::new(false), Vec::new());
    let mut run = Run::open(settings, out.path(), false, &mut silent, &stop).unwrap();
    let recorded = Recorded { stage, seen: &mut seen };
    let network = run.drive(id, &DATA.tokenizer, recorded).unwrap();
    (seen, network.expect("a stage that trains leaves a network"))
}

/// How far `found` is from `expected`, as a part of how far that has moved from `start`.
fn distance(found: &[f32], expected: &[f32], start: &[f32]) -> f64 {
    assert_eq!([found.len(), expected.len()], [start.len(); 2]);
    let length = |a: &[f32], b: &[f32]| {
        a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>().sqrt()
    };
    let distance = length(found, expected) / length(expected, start).max(1e-12);
    assert!(distance.is_finite(), "a number that is not finite");
    distance
}

/// The rounding of f32 in a few updates: measured at most 1e-5.
const EQUAL: f64 = 2e-4;
/// What a setting must change, at least, for its case to be a test of it.
const DIFFERENT: f64 = 5e-3;
