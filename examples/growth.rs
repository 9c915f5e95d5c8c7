//! A training step of any shape: how long it takes, and how much memory. `reference/bench_growth.py` draws what it says.
//!
//! ```text
//! growth VOCABULARY WIDTH LAYERS HEADS TOKENS SEQUENCES K THREADS
//! growth 65 384 6 6 256 8 0 2
//! ```
//!
//! With K 0 a language model learns `SEQUENCES` texts of `TOKENS` tokens; otherwise a reward model learns `SEQUENCES`
//! rankings of K responses, each of `TOKENS` tokens. All is one micro-batch. The answer is a line of JSON: the median of
//! some samples in `ms`, the floating-point operations that no implementation can do without in `gflop`, and the most
//! memory that the process has held in `mib` (Linux only; null elsewhere).

use std::time::Instant;

use instructgpt::engine::Cpu;
use instructgpt::error::{Error, Result};
use instructgpt::loss::cross_entropy::CrossEntropy;
use instructgpt::loss::reward_loss::reward_loss;
use instructgpt::model::{Head, ModelConfig, Network, Sequence, singly};
use instructgpt::num::par::with_threads;
use instructgpt::optim::adamw::AdamW;
use instructgpt::optim::learner::{Learner, Optimizer};

/// Seconds after which no more samples are taken than three.
const ENOUGH: f64 = 1.0;

fn main() -> Result<()> {
    let wrong = |found: String| Error::usage("growth", "eight numbers, as its source says", found, "");
    let numbers: std::result::Result<Vec<usize>, _> =
        std::env::args().skip(1).map(|word| word.parse()).collect();
    let numbers = numbers.map_err(|error: std::num::ParseIntError| wrong(error.to_string()))?;
    let [vocabulary, width, layers, heads, tokens, sequences, k, threads] = numbers[..] else {
        return Err(wrong(format!("{}", numbers.len())));
    };
    let config = ModelConfig::gpt2(vocabulary, tokens, width, layers, heads);
    let (seconds, gflop) = with_threads(threads, || step(config, sequences, k));
    let mib = peak_resident_mib().map_or("null".into(), |mib| format!("{mib:.1}"));
    println!("{{\"ms\": {:.3}, \"gflop\": {gflop:.3}, \"mib\": {mib}}}", seconds * 1e3);
    Ok(())
}

/// The median seconds of a step (forward, backward, AdamW), and its operations in billions.
fn step(config: ModelConfig, sequences: usize, k: usize) -> (f64, f64) {
    let head = if k == 0 { Head::LanguageModel } else { Head::Scalar };
    let (texts, length) = (sequences * k.max(1), config.context);
    // Any tokens will do: they choose rows of a table.
    let token = |text: usize, t: usize| ((text * 7919 + t * 104_729) % config.vocab_size) as u32;
    // A text's last token is a target only.
    let data: Vec<Vec<u32>> =
        (0..texts).map(|i| (0..length + usize::from(k == 0)).map(|t| token(i, t)).collect()).collect();
    let batch: Vec<Sequence> = data
        .iter()
        .map(|tokens| if k == 0 { Sequence::text(tokens) } else { Sequence::last(tokens) })
        .collect();
    let groups = if k == 0 { singly(texts) } else { (0..=sequences).map(|i| i * k).collect() };
    let ranks: Vec<u32> = (1..=k as u32).collect();

    let gflop = 3.0 * texts as f64 * config.forward_flops(head, length, length) / 1e9;
    let optimizer = Optimizer { adam: AdamW { weight_decay: 0.1, ..AdamW::default() }, gradient_clip: 0.0 };
    let mut learner = Learner::new(Network::random(Cpu, config, head, 1), optimizer, texts * length, false);
    let mut sample = || {
        let start = Instant::now();
        if k == 0 {
            learner.accumulate(&batch, &groups, 1.0, None, &mut CrossEntropy::of(&batch, 1.0));
        } else {
            let weight = 1.0 / sequences as f32;
            let mut loss = |_: usize, rewards: &[f32], slopes: &mut [f32]| {
                reward_loss(rewards, &ranks, slopes, weight).expect("ranks without ties");
            };
            learner.accumulate(&batch, &groups, 1.0, None, &mut loss);
        }
        learner.update(1e-5, 0.0).expect("finite weights of a fresh model");
        start.elapsed().as_secs_f64()
    };
    // The first touches the memory.
    sample();
    let (begin, mut seconds) = (Instant::now(), Vec::new());
    while seconds.len() < 3 || (seconds.len() < 25 && begin.elapsed().as_secs_f64() < ENOUGH) {
        seconds.push(sample());
    }
    seconds.sort_by(f64::total_cmp);
    (seconds[seconds.len() / 2], gflop)
}

fn peak_resident_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(kib.trim().split(' ').next()?.parse::<f64>().ok()? / 1024.0)
}
