//! Training steps, generation and PPO iterations, through the code that the stages run, on random weights
//! and random tokens. Sizes and shapes are those that PyTorch and TRL were measured at.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::program::Scratch;
use super::{Bench, Case, Unit, seconds};
use crate::checkpoint::Model;
use crate::error::{Error, Result};
use crate::model::{DecodeWeights, Draw, Head, ModelConfig, Precision, Sampling, Transformer, generate};
use crate::num::rng::{Purpose, Rng, Stage};
use crate::optim::adamw::AdamW;
use crate::run::directory::Run;
use crate::run::progress::Progress;
use crate::settings::{PpoSettings, Settings};
use crate::text::Tokenizer;
use crate::train::dataset::{Dataset, Split};
use crate::train::learner::{Learner, Optimizer};
use crate::train::passes::Sequence;
use crate::train::ppo::{self, Networks};
use crate::train::rollout::Frozen;

/// A model's size, by its customary name: vocabulary, context, width, layers, heads.
pub fn config(size: &str) -> ModelConfig {
    match size {
        "0.8M" => ModelConfig::gpt2(65, 128, 128, 4, 4),
        "10.8M" => ModelConfig::gpt2(65, 256, 384, 6, 6),
        "30M" => ModelConfig::gpt2(50257, 256, 384, 6, 6),
        "124M" => ModelConfig::gpt2(50257, 1024, 768, 12, 12),
        _ => unreachable!("no size {size}"),
    }
}

/// Name, size, tokens of a sequence, sequences.
const STEPS: [(&str, &str, usize, usize); 5] = [
    ("0.8M", "0.8M", 64, 12),
    ("10.8M", "10.8M", 256, 8),
    ("30M", "30M", 256, 4),
    ("124M-T64", "124M", 64, 4),
    ("124M-T1024", "124M", 1024, 1),
];

/// Size, sequences, tokens of a prompt, new tokens.
const GENERATIONS: [(&str, usize, usize, usize); 4] =
    [("0.8M", 64, 16, 64), ("10.8M", 32, 32, 128), ("124M", 1, 32, 64), ("124M", 16, 32, 64)];

/// PPO's iteration: episodes, prompt, response, minibatches.
const PPO: (usize, usize, usize, usize) = (64, 32, 64, 8);

pub fn run(bench: &mut Bench) -> Result<()> {
    let (steps, generations) = if bench.options.quick { (2, 1) } else { (STEPS.len(), GENERATIONS.len()) };
    for (name, size, tokens, sequences) in &STEPS[..steps] {
        let config = ModelConfig { precision: bench.options.precision, ..config(size) };
        step(bench, name, config, *tokens, *sequences)?;
    }
    for (size, sequences, prompt, new) in &GENERATIONS[..generations] {
        generation(bench, size, *sequences, *prompt, *new)?;
    }
    let sizes = ["0.8M", "10.8M"];
    for size in &sizes[..if bench.options.quick { 1 } else { 2 }] {
        ppo_iteration(bench, size)?;
    }
    Ok(())
}

/// Random tokens.
fn random_tokens(n: usize, vocab_size: usize, number: u64) -> Vec<u32> {
    let mut rng = Rng::at(1, Stage::Test, Purpose::Text, 0, number, 0);
    (0..n).map(|_| rng.below(vocab_size) as u32).collect()
}

/// A model with random weights.
pub fn random_model(config: ModelConfig, head: Head) -> Model {
    let model = Transformer::new(config, head);
    let parameters = model.initialise(1);
    let Transformer { config, head, layout } = model;
    Model { config, head, layout, parameters }
}

/// Weights that every token is multiplied with: all but the embeddings that are only looked up.
fn multiplied_weights(model: &Transformer) -> f64 {
    let lookups =
        if model.head == Head::LanguageModel && model.config.tied_head { 0 } else { model.layout.wte.len() };
    (model.layout.len - model.layout.wpe.len() - lookups) as f64
}

/// Floating-point operations of a forward over a sequence: `2N` per token, and `4C` for each of the
/// `T (T + 1) / 2` pairs of positions of a layer. A backward takes twice as many.
fn forward_flops(model: &Transformer, tokens: usize) -> f64 {
    let (t, c, layers) = (tokens as f64, model.config.width as f64, model.config.layers as f64);
    2.0 * multiplied_weights(model) * t + 4.0 * c * layers * t * (t + 1.0) / 2.0
}

/// One step of training: forward, backward, AdamW.
fn step(bench: &mut Bench, name: &str, config: ModelConfig, tokens: usize, sequences: usize) -> Result<()> {
    let name = format!("step/{name}");
    if !bench.wants(&name) {
        return Ok(());
    }
    // One token more than there are rows: the last is a target only.
    let data: Vec<Vec<u32>> =
        (0..sequences).map(|i| random_tokens(tokens + 1, config.vocab_size, i as u64)).collect();
    let batch: Vec<Sequence> = data.iter().map(|tokens| Sequence { tokens, from: 1 }).collect();
    // The memory is planned for this batch, as `micro_batch_tokens` would.
    let config = ModelConfig { context: config.context.min(tokens), ..config };
    let optimizer = Optimizer { adam: AdamW { weight_decay: 0.1, ..AdamW::default() }, gradient_clip: 0.0 };
    let mut learner =
        Learner::new(random_model(config, Head::LanguageModel), optimizer, tokens * sequences, false);
    let long = tokens * learner.model.layout.len > 100_000_000_000;
    let case = Case {
        flops: 3.0 * sequences as f64 * forward_flops(&learner.model, tokens),
        samples: if long { 3 } else { 7 },
        ..Case::new(name, Unit::Milliseconds)
    };
    bench.measure(case, || {
        let start = Instant::now();
        learner.cross_entropy_gradient(&batch, 1.0, None, &mut 0.0);
        learner.update("bench", 1e-5, 0.0)?;
        Ok(start.elapsed().as_secs_f64())
    })
}

/// Sampling from the full distribution.
fn generation(bench: &mut Bench, size: &str, sequences: usize, prompt: usize, new: usize) -> Result<()> {
    let name = format!("generate/{size}-B{sequences}");
    if !bench.wants(&name) {
        return Ok(());
    }
    let config = ModelConfig { precision: bench.options.precision, ..config(size) };
    let Model { config, head, parameters, .. } = random_model(config, Head::LanguageModel);
    let model = Transformer::new(config, head);
    let weights = DecodeWeights::new(&model, &parameters);
    let prompts: Vec<Vec<u32>> =
        (0..sequences).map(|i| random_tokens(prompt, model.config.vocab_size, i as u64)).collect();
    let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    let sampling =
        Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, max_new_tokens: new, end_of_text: None };
    let draw = |episode| Draw { seed: 1, stage: Stage::Sample, step: 0, episode };
    let draws: Vec<Draw> = (0..sequences as u64).map(draw).collect();
    let case = Case {
        amount: (sequences * new) as f64,
        flops: sequences as f64 * forward_flops(&model, prompt + new - 1),
        // Every new token needs all weights once, for all sequences together.
        bytes: if bench.options.precision == Precision::Bf16 { 2.0 } else { 4.0 }
            * multiplied_weights(&model)
            * new as f64,
        samples: if size == "124M" { 3 } else { 7 },
        ..Case::new(name, Unit::TokensPerSecond)
    };
    bench.measure(case, || {
        Ok(seconds(|| {
            let responses = generate(&weights, &prompts, &sampling, &draws, &|_| true);
            assert!(responses.iter().all(|response| response.tokens.len() == new));
        }))
    })
}

/// A stage's clock: when each step ended.
#[derive(Default)]
struct Steps(Vec<Instant>);

impl Progress for Steps {
    fn stage(&mut self, _: &str, _: u64) {}
    fn step(&mut self, _: u64, _: &str) {
        self.0.push(Instant::now());
    }
    fn note(&mut self, _: &str) {}
    fn finish(&mut self) {}
}

/// An iteration of PPO with four networks of one size; the second of two, when all memory has been touched.
fn ppo_iteration(bench: &mut Bench, size: &str) -> Result<()> {
    let name = format!("ppo/{size}");
    if !bench.wants(&name) {
        return Ok(());
    }
    let (episodes, prompt, response, minibatches) = PPO;
    let config = ModelConfig { precision: bench.options.precision, ..config(size) };
    // The vocabulary ends before the end-of-text token, so that every response has its full length.
    let tokenizer = Tokenizer::train(["."], 257)?;
    assert!(config.vocab_size <= tokenizer.end_of_text() as usize);
    let prompts: Vec<Vec<u32>> =
        (0..episodes as u64).map(|i| random_tokens(prompt, config.vocab_size, i)).collect();
    let data = Dataset {
        tokenizer,
        text: Split::default(),
        demonstrations: Split::default(),
        rankings: Split::default(),
        prompts: Split { train: prompts, validation: Vec::new() },
        ranking_prompts: Split::default(),
        world: None,
        notes: Vec::new(),
    };
    let settings = Settings {
        ppo: PpoSettings {
            episodes: 2 * episodes as u64,
            batch: episodes,
            minibatches,
            max_prompt_tokens: prompt,
            max_response_tokens: response,
            ptx_coef: 0.0,
            eval_every: 0,
            ..PpoSettings::default()
        },
        ..Settings::default()
    };
    let policy = random_model(config.clone(), Head::LanguageModel);
    let value = random_model(config, Head::Scalar);
    // Sampling, reference, reward and values: four forwards; two networks are trained: six more.
    let shape = Transformer::new(policy.config.clone(), Head::LanguageModel);
    let case = Case {
        flops: 10.0 * episodes as f64 * forward_flops(&shape, prompt + response),
        samples: 3,
        warm_up: false,
        ..Case::new(name, Unit::Milliseconds)
    };
    let scratch = Scratch::new()?;
    let mut number = 0;
    bench.measure(case, || {
        number += 1;
        let (stop, mut steps) = (AtomicBool::new(false), Steps::default());
        let directory = scratch.path.join(number.to_string());
        let mut run = Run::open(&settings, &directory, false, &mut steps, &stop)?;
        let mut reward = Frozen::new(value.clone(), settings.micro_batch_tokens);
        let networks = Networks {
            policy: policy.clone(),
            reference: policy.clone(),
            value: value.clone(),
            reward: &mut reward,
        };
        ppo::train(&mut run, &data, networks, &settings.ppo, "ppo")?;
        drop(run);
        match steps.0[..] {
            [first, second] => Ok((second - first).as_secs_f64()),
            _ => Err(Error::usage("bench", "two iterations", steps.0.len(), "")),
        }
    })
}
