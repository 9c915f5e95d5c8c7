//! A training step of any shape: how long it takes, and how much memory. `reference/bench_growth.py` draws what it says.
//!
//! ```text
//! growth VOCABULARY WIDTH LAYERS HEADS TOKENS SEQUENCES K THREADS
//! growth 65 384 6 6 256 8 0 2
//! growth 65 384 6 6 256 8 0 1 64 5
//! ```
//!
//! With K 0 a language model learns `SEQUENCES` texts of `TOKENS` tokens; otherwise a reward model learns `SEQUENCES`
//! rankings of K responses, each of `TOKENS` tokens. All is one micro-batch. The answer is a line of JSON: the median of
//! some samples in `ms`, the floating-point operations that no implementation can do without in `gflop`, and the most
//! memory that the process has held in `mib` (Linux only; null elsewhere).
//!
//! A ninth number asks what the step would take on so many threads, by [`simulate`]: `THREADS` is then 1, and the step is cut
//! as for many. A tenth says how many microseconds pass until another thread has begun what it is given; otherwise that is
//! measured. The answer has them in `hand_over_us`, besides what one thread took with those cuts (`work_ms`), the longest
//! chain of pieces that wait for each other (`span_ms`), the forks, and how many of them went to another thread.

use std::time::{Duration, Instant};

use instructgpt::engine::Cpu;
use instructgpt::error::{Error, Result};
use instructgpt::loss::cross_entropy::CrossEntropy;
use instructgpt::loss::reward_loss::reward_loss;
use instructgpt::model::{Head, ModelConfig, Network, Sequence, singly};
use instructgpt::num::allocator::CacheLines;
use instructgpt::num::par::simulate;
use instructgpt::num::par::with_threads;
use instructgpt::optim::adamw::AdamW;
use instructgpt::optim::learner::{Learner, Optimizer};

// As the program has it.
#[global_allocator]
static ALLOCATOR: CacheLines = CacheLines;

/// Seconds after which no more samples are taken than three.
const ENOUGH: f64 = 1.0;

fn main() -> Result<()> {
    let wrong =
        |found: String| Error::usage("growth", "eight to ten numbers, with nine or ten 1 thread", found, "");
    let numbers: std::result::Result<Vec<usize>, _> =
        std::env::args().skip(1).map(|word| word.parse()).collect();
    let numbers = numbers.map_err(|error: std::num::ParseIntError| wrong(error.to_string()))?;
    let (&[vocabulary, width, layers, heads, tokens, sequences, k, threads], pretended) =
        numbers.split_first_chunk().ok_or_else(|| wrong(format!("{}", numbers.len())))?;
    let config = ModelConfig::gpt2(vocabulary, tokens, width, layers, heads);
    if pretended.is_empty() {
        let (seconds, gflop) = with_threads(threads, || step(config, sequences, k, run));
        let mib = peak_resident_mib().map_or("null".into(), |mib| format!("{mib:.1}"));
        println!("{{\"ms\": {:.3}, \"gflop\": {gflop:.3}, \"mib\": {mib}}}", seconds * 1e3);
        return Ok(());
    }
    let (many, hand_over) = match *pretended {
        [many] if many > 0 && threads == 1 => (many, with_threads(2, hand_over)),
        [many, microseconds] if many > 0 && threads == 1 => (many, microseconds as f64 * 1e-6),
        _ => return Err(wrong(format!("{} on {threads} threads", numbers.len()))),
    };
    let mut last = Vec::new();
    let (seconds, gflop) = with_threads(1, || {
        step(config, sequences, k, |body| {
            last = simulate::trace(many, body);
            simulate::simulate(&last, many, hand_over).seconds
        })
    });
    println!(
        "{{\"ms\": {:.3}, \"gflop\": {gflop:.3}, \"work_ms\": {:.3}, \"span_ms\": {:.3}, \"forks\": {}, \
         \"hand_overs\": {}, \"hand_over_us\": {:.2}}}",
        seconds * 1e3,
        simulate::work(&last) * 1e3,
        simulate::span(&last) * 1e3,
        simulate::forks(&last),
        simulate::simulate(&last, many, hand_over).hand_overs,
        hand_over * 1e6
    );
    Ok(())
}

/// Seconds until another thread has begun what one has left to it: the median of some forks whose first side takes as long
/// as a piece of work.
fn hand_over() -> f64 {
    let delay = || {
        let (start, here) = (Instant::now(), std::thread::current().id());
        let first = || while start.elapsed() < Duration::from_micros(50) {};
        let second = || (std::thread::current().id() != here).then(|| start.elapsed().as_secs_f64());
        rayon::join(first, second).1
    };
    let mut delays: Vec<f64> = (0..2000).filter_map(|_| delay()).collect();
    delays.sort_by(f64::total_cmp);
    delays.get(delays.len() / 2).copied().unwrap_or(f64::NAN)
}

fn run(body: &mut (dyn FnMut() + Send)) -> f64 {
    let start = Instant::now();
    body();
    start.elapsed().as_secs_f64()
}

/// The median seconds of a step (forward, backward, AdamW) as `timed` says, and its operations in billions.
fn step(
    config: ModelConfig,
    sequences: usize,
    k: usize,
    mut timed: impl FnMut(&mut (dyn FnMut() + Send)) -> f64,
) -> (f64, f64) {
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
    let mut once = || {
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
    };
    // The first touches the memory.
    once();
    let (begin, mut seconds) = (Instant::now(), Vec::new());
    while seconds.len() < 3 || (seconds.len() < 25 && begin.elapsed().as_secs_f64() < ENOUGH) {
        seconds.push(timed(&mut once));
    }
    seconds.sort_by(f64::total_cmp);
    (seconds[seconds.len() / 2], gflop)
}

fn peak_resident_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(kib.trim().split(' ').next()?.parse::<f64>().ok()? / 1024.0)
}
