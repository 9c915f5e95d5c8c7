//! PPO against a reward function of one's own: a small policy learns to write without the letter "e".
//!
//!     cargo run --release --example custom_reward
//!
//! No reward model is trained: any closure over tokens scores. Text comes from the built-in miniature, the
//! prompts are ours. Half a minute on two cores.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use instructgpt::engine::Cpu;
use instructgpt::error::Result;
use instructgpt::model::{Draw, Head, Network, Sampling};
use instructgpt::num::par::with_threads;
use instructgpt::num::rng::Stage;
use instructgpt::run::progress::Silent;
use instructgpt::run::{Run, StageId};
use instructgpt::settings::Settings;
use instructgpt::text::Tokenizer;
use instructgpt::train::dataset::Dataset;
use instructgpt::train::inputs::Inputs;
use instructgpt::train::ppo::{Networks, Ppo};
use instructgpt::train::pretrain::Pretrain;
use instructgpt::train::reward_model::with_scalar_head;

/// 1 for a text without any "e", down to about -1 for common English; -1 for no text at all.
fn reward(text: &str) -> f32 {
    let letters = text.chars().filter(|c| c.is_alphabetic()).count();
    let e = text.chars().filter(|c| c.eq_ignore_ascii_case(&'e')).count();
    if letters < 10 { -1.0 } else { 1.0 - 16.0 * e as f32 / letters as f32 }
}

fn main() -> Result<()> {
    // On the threads of a pool, one for each core: from outside, every product would be handed over to them.
    with_threads(0, example)
}

fn example() -> Result<()> {
    let mut settings = Settings::default();
    settings.data.world = true;
    settings.tokenizer.vocab_size = 384;
    (settings.model.context, settings.model.width, settings.model.layers, settings.model.heads) =
        (64, 64, 2, 4);
    (settings.data.max_prompt_tokens, settings.data.max_response_tokens) = (32, 32);
    (settings.pretrain.steps, settings.pretrain.batch, settings.pretrain.learning_rate) = (400, 16, 3e-3);
    (settings.ppo.max_prompt_tokens, settings.ppo.max_response_tokens) = (32, 32);
    (settings.ppo.episodes, settings.ppo.batch, settings.ppo.minibatches) = (50 * 64, 64, 4);
    (settings.ppo.learning_rate, settings.ppo.value_learning_rate) = (1e-3, 2e-3);
    settings.ppo.kl_coef = 0.05;
    (settings.ppo.ptx_coef, settings.ppo.warmup_iterations, settings.ppo.eval_every) = (0.0, 2, 0);

    // Text of the miniature, prompts of our own.
    let mut data = Dataset::load(&settings, Path::new("."))?;
    let openings =
        ["One day", "The farmer", "In the morning", "A small dog", "Then", "There was", "It was", "They"];
    data.prompts.train = openings.iter().map(|text| data.tokenizer.encode(text)).collect();

    // The stages work in a run directory: metrics, and states to resume from.
    let directory = std::env::temp_dir().join(format!("custom_reward-{}", std::process::id()));
    let (mut progress, stop) = (Silent, AtomicBool::new(false));
    let mut run = Run::open(&settings, &directory, false, &mut progress, &stop)?;

    // A policy that writes simple sentences.
    let config = settings.model.config(data.tokenizer.vocab_size(), settings.precision);
    let random = Network::random(Cpu, config, Head::LanguageModel, 1);
    let inputs = Inputs::new(&settings, &data);
    let stage = Pretrain::new(inputs, &settings.pretrain, random)?;
    let pretrained = run.drive(StageId::Pretrain, &data.tokenizer, stage)?.expect("a stage that trains");
    show("before", &pretrained, &data.prompts.train, &data.tokenizer);

    // PPO: the value function starts as the policy's trunk under a fresh scalar head.
    let tokenizer = &data.tokenizer;
    let mut score = |_prompt: &[u32], response: &[u32]| reward(&tokenizer.decode_lossy(response));
    let networks = Networks {
        policy: pretrained.clone(),
        reference: pretrained.clone(),
        value: with_scalar_head(pretrained, 1),
        reward: &mut score,
    };
    let stage = Ppo::new(inputs, &settings.ppo, networks)?;
    let policy = run.drive(StageId::Ppo, &data.tokenizer, stage)?.expect("a stage that trains");
    show("after", &policy, &data.prompts.train, &data.tokenizer);
    println!("models and metrics.jsonl are in {}", directory.display());
    Ok(())
}

/// Samples eight answers to each prompt; prints their mean reward and the first few.
fn show(when: &str, network: &Network, prompts: &[Vec<u32>], tokenizer: &Tokenizer) {
    let asked: Vec<&[u32]> = (0..8).flat_map(|_| prompts.iter().map(Vec::as_slice)).collect();
    let sampling = Sampling::full(1.0, 32, tokenizer.end_of_text());
    let draws = Draw { seed: 2, stage: Stage::Eval, step: 0, episode: 0 }.consecutive(asked.len());
    let answers = network.generate(&asked, &sampling, &draws, &|_| true);
    let texts: Vec<String> = answers.iter().map(|answer| tokenizer.decode_lossy(&answer.tokens)).collect();
    let mean = texts.iter().map(|text| reward(text)).sum::<f32>() / texts.len() as f32;
    println!("{when}: mean reward {mean:.2}");
    for (prompt, text) in asked.iter().zip(&texts).take(4) {
        println!("  {}|{}", tokenizer.decode_lossy(prompt), text.replace('\n', " "));
    }
}
