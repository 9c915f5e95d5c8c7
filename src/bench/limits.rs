//! What the hardware allows: fused multiply-adds in registers, reads from memory. And the kernel's inner
//! tile by itself, which has to come close to the first.

use std::hint::black_box;

use super::{median, seconds};
use crate::engine::cpu::operands::F32;
use crate::engine::cpu::tile::{MR, NR, tile};
use crate::num::simd::{LANES, V16};

/// Share of the peak under which the tile counts as broken.
pub const TILE_SHARE: f64 = 0.85;

/// The peak's chains: enough to keep two units of latency 4 busy, few enough to stay in registers.
const CHAINS: usize = if cfg!(target_feature = "avx512f") { 12 } else { 6 };

/// Rounds of [`chains`] in a sample of the peak: some milliseconds.
const ROUNDS: usize = 2_000_000;

/// Depth of the tile's panels, (12 + 32) * 128 floats: they stay in a first-level cache of 32 KiB.
const DEPTH: usize = 128;

/// Floats that are read to measure the memory: more than the caches hold.
const READ: usize = 64 << 20;

/// What was found so far.
pub struct Limits {
    /// Samples of the peak on one thread, in FLOP/s.
    one: Vec<f64>,
    /// The same on all threads.
    all: Vec<f64>,
    /// Reads from memory on all threads, in bytes/s.
    pub read: f64,
    /// Speed of the inner tile on one thread, relative to the peak beside it.
    pub tile_share: f64,
}

impl Limits {
    /// Measures all of them, some samples each.
    pub fn measure(one_thread: &rayon::ThreadPool) -> Self {
        let mut limits = Limits { one: vec![], all: vec![], read: 0.0, tile_share: 0.0 };
        let (mut tile, mut reads) = (Vec::new(), Vec::new());
        let threads = rayon::current_num_threads();
        for _ in 0..5 {
            let peak = limits.sample_peak(1, one_thread);
            tile.push(sample_tile() / peak);
            limits.sample_peak(threads, one_thread);
        }
        let memory = vec![1.0f32; READ];
        for _ in 0..5 {
            reads.push(sample_read(&memory, threads));
        }
        (limits.tile_share, limits.read) = (median(&mut tile), median(&mut reads));
        limits
    }

    /// One sample of the peak on one thread or on all, in FLOP/s.
    pub fn sample_peak(&mut self, threads: usize, one_thread: &rayon::ThreadPool) -> f64 {
        let flops = sample(threads, one_thread, 2, V16::fma);
        if threads > 1 { &mut self.all } else { &mut self.one }.push(flops);
        flops
    }

    /// Threads and their median peak in FLOP/s.
    pub fn peaks(&mut self) -> Vec<(usize, f64)> {
        let mut peaks = vec![(1, median(&mut self.one))];
        if !self.all.is_empty() {
            peaks.push((rayon::current_num_threads(), median(&mut self.all)));
        }
        peaks
    }
}

/// Rows and columns of the tile, as a name.
pub fn tile_name() -> String {
    format!("{MR}x{NR}")
}

/// One sample of the peak of the instruction for pairs of bf16, in FLOP/s: there are processors where it does twice the
/// work of a fused multiply-add, and others (Emerald Rapids) where it does half of it.
///
/// # Panics
/// Without [`HARDWARE_BF16`](crate::num::simd::HARDWARE_BF16).
pub fn sample_pairs(threads: usize, one_thread: &rayon::ThreadPool) -> f64 {
    sample(threads, one_thread, 4, |chain, factor, term| factor.dot_pairs(term, chain))
}

/// One sample of an instruction that does `each` operations in every lane.
fn sample(
    threads: usize,
    one_thread: &rayon::ThreadPool,
    each: usize,
    step: impl Fn(V16, V16, V16) -> V16 + Sync,
) -> f64 {
    let work = |_: rayon::BroadcastContext| chains(ROUNDS, &step);
    let time = seconds(|| if threads > 1 { rayon::broadcast(work) } else { one_thread.broadcast(work) });
    (each * threads * ROUNDS * CHAINS * LANES) as f64 / time
}

/// Independent chains of an instruction that never leave the registers. They settle at a normal number.
#[inline(always)]
fn chains(rounds: usize, step: impl Fn(V16, V16, V16) -> V16) -> V16 {
    let (factor, term) = (V16::splat(black_box(0.5)), V16::splat(black_box(1.0)));
    let mut chains: [V16; CHAINS] = core::array::from_fn(|i| V16::splat(i as f32));
    for _ in 0..rounds {
        for chain in &mut chains {
            *chain = step(*chain, factor, term);
        }
    }
    chains.into_iter().fold(V16::ZERO, V16::add)
}

/// The inner tile on panels that lie in the nearest cache, in FLOP/s.
fn sample_tile() -> f64 {
    let (a, b) = (vec![0.5f32; MR * DEPTH], vec![0.25f32; NR * DEPTH]);
    let mut c = [0.0; MR * NR];
    let times = ROUNDS * CHAINS * LANES / (MR * NR * DEPTH);
    let time = seconds(|| {
        for _ in 0..times {
            tile::<F32>(black_box(&a), black_box(&b), &[], None, &mut c, NR);
        }
        V16::load(&c)
    });
    (2 * times * MR * NR * DEPTH) as f64 / time
}

/// Adds up all of `memory`, each thread its own part, in bytes/s.
fn sample_read(memory: &[f32], threads: usize) -> f64 {
    let part = memory.len() / threads / (8 * LANES) * (8 * LANES);
    let time = seconds(|| {
        rayon::broadcast(|thread| {
            let mut sums = [V16::ZERO; 8];
            for group in memory[thread.index() * part..][..part].chunks_exact(8 * LANES) {
                for (sum, x) in sums.iter_mut().zip(group.chunks_exact(LANES)) {
                    *sum = sum.add(V16::load(x));
                }
            }
            sums.into_iter().fold(V16::ZERO, V16::add)
        })
    });
    (4 * part * threads) as f64 / time
}
