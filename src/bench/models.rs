//! Training steps, generation and PPO iterations, through the code that the stages run, on random weights
//! and random tokens. Sizes and shapes are those that PyTorch and TRL were measured at.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::program::Scratch;
use super::{Bench, Case, Unit, seconds};
use crate::data::Split;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::loss::cross_entropy::CrossEntropy;
use crate::model::{
    Draw, Head, Layout, ModelConfig, Network, Precision, Sampling, Sequence, generate_with, singly,
};
use crate::num::rng::{Purpose, Rng, Stage};
use crate::optim::adamw::AdamW;
use crate::optim::learner::{Learner, Optimizer};
use crate::run::progress::Progress;
use crate::run::{Run, StageId};
use crate::settings::{PpoSettings, Settings};
use crate::text::Tokenizer;
use crate::train::dataset::Dataset;
use crate::train::inputs::Inputs;
use crate::train::ppo::{Networks, Ppo};

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

/// What is measured.
pub struct Cases {
    /// Name, size, tokens of a sequence, sequences.
    steps: &'static [(&'static str, &'static str, usize, usize)],
    /// Size, sequences, tokens of a prompt, new tokens.
    generations: &'static [(&'static str, usize, usize, usize)],
    /// Sizes of PPO's four networks.
    ppo: &'static [&'static str],
    /// How many of each are small: those of `--quick`.
    quick: (usize, usize, usize),
}

/// On the processor.
pub const ON_CPU: Cases = Cases {
    steps: &[
        ("0.8M", "0.8M", 64, 12),
        ("10.8M", "10.8M", 256, 8),
        ("30M", "30M", 256, 4),
        ("124M-T64", "124M", 64, 4),
        ("124M-T1024", "124M", 1024, 1),
    ],
    generations: &[("0.8M", 64, 16, 64), ("10.8M", 32, 32, 128), ("124M", 1, 32, 64), ("124M", 16, 32, 64)],
    ppo: &["0.8M", "10.8M"],
    quick: (2, 1, 1),
};

/// On a GPU, which small models do not fill.
pub const ON_DEVICE: Cases = Cases {
    steps: &[
        ("10.8M-B64", "10.8M", 256, 64),
        ("124M-T1024-B8", "124M", 1024, 8),
        ("124M-T1024-B32", "124M", 1024, 32),
    ],
    generations: &[("10.8M", 64, 32, 128), ("124M", 64, 32, 64)],
    ppo: &["10.8M", "124M"],
    quick: (1, 1, 1),
};

/// PPO's iteration: episodes, prompt, response, minibatches.
const PPO: (usize, usize, usize, usize) = (64, 32, 64, 8);

/// Measures the cases with an engine.
pub fn run<E: Engine>(bench: &mut Bench, engine: E, cases: &Cases) -> Result<()> {
    let (steps, generations, ppo) = match bench.options.quick {
        true => cases.quick,
        false => (cases.steps.len(), cases.generations.len(), cases.ppo.len()),
    };
    for (name, size, tokens, sequences) in &cases.steps[..steps] {
        let config = ModelConfig { precision: bench.options.precision, ..config(size) };
        step(bench, engine, name, config, *tokens, *sequences)?;
    }
    for (size, sequences, prompt, new) in &cases.generations[..generations] {
        generation(bench, engine, size, *sequences, *prompt, *new)?;
    }
    for size in &cases.ppo[..ppo] {
        ppo_iteration(bench, engine, size)?;
    }
    Ok(())
}

/// Random tokens.
fn random_tokens(n: usize, vocab_size: usize, number: u64) -> Vec<u32> {
    let mut rng = Rng::at(1, Stage::Test, Purpose::Text, 0, number, 0);
    (0..n).map(|_| rng.below(vocab_size) as u32).collect()
}

/// A network with random weights.
pub fn random_network<E: Engine>(engine: E, config: ModelConfig, head: Head) -> Network<E> {
    Network::random(engine, config, head, 1)
}

/// Weights that every token is multiplied with: all but the embeddings that are only looked up.
fn multiplied_weights(config: &ModelConfig, layout: &Layout) -> f64 {
    let lookups = if config.tied_head { 0 } else { layout.wte.len() };
    (layout.len - layout.wpe.len() - lookups) as f64
}

/// Floating-point operations of a language model's forward over a sequence: `2N` per token, and `4C` for each of the
/// `T (T + 1) / 2` pairs of positions of a layer. A backward takes twice as many.
fn forward_flops(config: &ModelConfig, layout: &Layout, tokens: usize) -> f64 {
    let (t, c, layers) = (tokens as f64, config.width as f64, config.layers as f64);
    2.0 * multiplied_weights(config, layout) * t + 4.0 * c * layers * t * (t + 1.0) / 2.0
}

/// One step of training: forward, backward, AdamW.
fn step<E: Engine>(
    bench: &mut Bench,
    engine: E,
    name: &str,
    config: ModelConfig,
    tokens: usize,
    sequences: usize,
) -> Result<()> {
    let name = format!("step/{name}");
    if !bench.wants(&name) {
        return Ok(());
    }
    // One token more than there are rows: the last is a target only.
    let data: Vec<Vec<u32>> =
        (0..sequences).map(|i| random_tokens(tokens + 1, config.vocab_size, i as u64)).collect();
    let batch: Vec<Sequence> = data.iter().map(|tokens| Sequence::text(tokens)).collect();
    // The memory is planned for this batch, as `micro_batch_tokens` would.
    let config = ModelConfig { context: config.context.min(tokens), ..config };
    let optimizer = Optimizer { adam: AdamW { weight_decay: 0.1, ..AdamW::default() }, gradient_clip: 0.0 };
    let mut learner = Learner::new(
        random_network(engine, config, Head::LanguageModel),
        optimizer,
        tokens * sequences,
        false,
    );
    let Network { config, layout, .. } = &learner.network;
    let long = tokens * layout.len > 100_000_000_000;
    let case = Case {
        flops: 3.0 * sequences as f64 * forward_flops(config, layout, tokens),
        samples: if long { 3 } else { 7 },
        ..Case::new(name, Unit::Milliseconds)
    };
    bench.measure(case, || {
        let start = Instant::now();
        let mut loss = CrossEntropy::of(&batch, 1.0);
        learner.accumulate(&batch, &singly(batch.len()), 1.0, None, &mut loss);
        learner.update(1e-5, 0.0).expect("finite weights of a fresh model");
        Ok(start.elapsed().as_secs_f64())
    })
}

/// Sampling from the full distribution.
fn generation<E: Engine>(
    bench: &mut Bench,
    engine: E,
    size: &str,
    sequences: usize,
    prompt: usize,
    new: usize,
) -> Result<()> {
    let name = format!("generate/{size}-B{sequences}");
    if !bench.wants(&name) {
        return Ok(());
    }
    let config = ModelConfig { precision: bench.options.precision, ..config(size) };
    let network = random_network(engine, config, Head::LanguageModel);
    let weights = network.packed_weights();
    let prompts: Vec<Vec<u32>> =
        (0..sequences).map(|i| random_tokens(prompt, network.config.vocab_size, i as u64)).collect();
    let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    let sampling =
        Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, max_new_tokens: new, end_of_text: None };
    let draw = |episode| Draw { seed: 1, stage: Stage::Sample, step: 0, episode };
    let draws: Vec<Draw> = (0..sequences as u64).map(draw).collect();
    let case = Case {
        amount: (sequences * new) as f64,
        flops: sequences as f64 * forward_flops(&network.config, &network.layout, prompt + new - 1),
        // Every new token needs all weights once, for all sequences together.
        bytes: if bench.options.precision == Precision::Bf16 { 2.0 } else { 4.0 }
            * multiplied_weights(&network.config, &network.layout)
            * new as f64,
        samples: if size == "124M" { 3 } else { 7 },
        ..Case::new(name, Unit::TokensPerSecond)
    };
    bench.measure(case, || {
        Ok(seconds(|| {
            let responses = generate_with(&network, &weights, &prompts, &sampling, &draws, &|_| true);
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
fn ppo_iteration<E: Engine>(bench: &mut Bench, engine: E, size: &str) -> Result<()> {
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
        prompts: Split { train: prompts, ..Split::default() },
        ranking_prompts: Split::default(),
        world: None,
        accounts: Vec::new(),
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
    let policy = random_network(engine, config.clone(), Head::LanguageModel);
    let value = random_network(engine, config, Head::Scalar);
    // Sampling, reference, reward and values: four forwards; two networks are trained: six more.
    let case = Case {
        flops: 10.0 * episodes as f64 * forward_flops(&policy.config, &policy.layout, prompt + response),
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
        let mut reward = value.clone();
        reward.plan(settings.micro_batch_tokens, false);
        let networks = Networks {
            policy: policy.clone(),
            reference: policy.clone(),
            value: value.clone(),
            reward: &mut reward,
        };
        let stage = Ppo::new(Inputs::new(&settings, &data), &settings.ppo, networks)?;
        run.drive(StageId::Ppo, &data.tokenizer, stage)?;
        drop(run);
        match steps.0[..] {
            [first, second] => Ok((second - first).as_secs_f64()),
            _ => Err(Error::usage("bench", "two iterations", steps.0.len(), "")),
        }
    })
}
