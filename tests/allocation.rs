//! A training step allocates nothing: once a run's buffers are planned, no step, the first included, asks
//! for memory on any thread of its pool, be it of one thread or three.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

use instructgpt::engine::{Cpu, Dropout};
use instructgpt::loss::{CrossEntropy, PolicySums, ValueSums, policy_loss, value_loss};
use instructgpt::model::{AttentionPattern, Head, Loss, ModelConfig, Network, Precision, Sequence};
use instructgpt::num::par::with_threads;
use instructgpt::num::rng::Stage;
use instructgpt::optim::{AdamW, Learner, Optimizer};

/// The system's allocator, counting on the threads that are told to. The others are the test harness, and
/// threads of an earlier pool on their way out.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
/// Size of the last one counted.
static LAST_SIZE: AtomicUsize = AtomicUsize::new(0);
thread_local! {
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}

fn count(size: usize) {
    if COUNTED.get() {
        ALLOCATIONS.fetch_add(1, Ordering::SeqCst);
        LAST_SIZE.store(size, Ordering::SeqCst);
    }
}

/// Allocations of `body` on all threads of the current pool, and the size of the last.
fn allocations(body: impl FnOnce()) -> (usize, usize) {
    rayon::broadcast(|_| COUNTED.set(true));
    ALLOCATIONS.store(0, Ordering::SeqCst);
    body();
    let found = (ALLOCATIONS.load(Ordering::SeqCst), LAST_SIZE.load(Ordering::SeqCst));
    rayon::broadcast(|_| COUNTED.set(false));
    found
}

// SAFETY: every call goes to the system's allocator unchanged; counting touches only atomics and a flag without destructor.
unsafe impl GlobalAlloc for Counting {
    // SAFETY: the caller's promises are passed on.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    // SAFETY: the caller's promises are passed on.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    // SAFETY: the caller's promises are passed on.
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, size) }
    }

    // SAFETY: the caller's promises are passed on. Giving back is free.
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Token rows of a micro-batch.
const TOKENS: usize = 200;

/// The batches of five steps, as lengths of sequences. One has rows for a region of sequences on each thread; some
/// are cut into micro-batches.
const BATCHES: [&[usize]; 5] = [
    &[64, 1, 20, 33, 64, 18],
    &[2, 63, 7],
    &[64, 64, 20, 50, 64, 64, 30, 20],
    &[64, 1, 20, 33, 64, 18],
    &[18, 64, 33, 20, 1, 64],
];

/// What a run plans before its first step.
fn learner(config: &ModelConfig, head: Head) -> Learner {
    let network = Network::random(Cpu, config.clone(), head, 1);
    let optimizer = Optimizer { adam: AdamW::default(), gradient_clip: 1.0 };
    Learner::new(network, optimizer, TOKENS, true)
}

/// One optimizer step on sequences of these lengths, each a group of its own.
fn step<L: Loss>(learner: &mut Learner, lengths: &[usize], loss: impl FnOnce(&[Sequence]) -> L) {
    let tokens: [u32; 64] = std::array::from_fn(|i| (i * 7 % learner.network.config.vocab_size) as u32);
    let mut batch = [Sequence::text(&tokens[..1]); 8];
    for (sequence, &length) in batch.iter_mut().zip(lengths) {
        *sequence = Sequence::text(&tokens[..length]);
    }
    let batch = &batch[..lengths.len()];
    let groups: [usize; 9] = std::array::from_fn(|group| group);
    let dropout = Dropout { rate: 0.2, seed: 1, stage: Stage::Test, step: learner.updates };
    learner.accumulate(batch, &groups[..=batch.len()], 1.0, Some(dropout), &mut loss(batch));
    learner.update(1e-3, 0.992).unwrap();
}

/// Allocations of five steps with each kind of loss, and the size of the last.
fn of_five_steps(config: &ModelConfig) -> [(usize, usize); 3] {
    let (mut language, mut scalar) = (learner(config, Head::LanguageModel), learner(config, Head::Scalar));
    // Slopes that are known before the outputs.
    let cross_entropy = allocations(|| {
        BATCHES.iter().for_each(|lengths| step(&mut language, lengths, |batch| CrossEntropy::of(batch, 1.0)));
    });
    // Slopes that depend on them, with both heads.
    let (old, weights) = ([-1.0; 64], [0.5; 64]);
    let mut sums = PolicySums::default();
    let policy = allocations(|| {
        for lengths in BATCHES {
            step(&mut language, lengths, |_| {
                |_: usize, new: &[f32], slopes: &mut [f32]| {
                    let n = new.len();
                    policy_loss(slopes, new, &old[..n], &weights[..n], 0.2, 0.01, &mut sums);
                }
            });
        }
    });
    let mut sums = ValueSums::default();
    let value = allocations(|| {
        for lengths in BATCHES {
            step(&mut scalar, lengths, |_| {
                |_: usize, values: &[f32], slopes: &mut [f32]| {
                    let n = values.len();
                    value_loss(slopes, values, &old[..n], &weights[..n], 0.2, 1.0, 0.01, &mut sums);
                }
            });
        }
    });
    [cross_entropy, policy, value]
}

/// One test alone in its process: the counter is everybody's.
#[test]
fn a_training_step_allocates_nothing() {
    let dense = ModelConfig::gpt2(300, 64, 48, 2, 3);
    let mut banded = ModelConfig::gpt2(97, 64, 40, 2, 5);
    banded.attention = AttentionPattern::Alternating { window: 7 };
    banded.tied_head = false;
    let bf16 = ModelConfig { precision: Precision::Bf16, ..dense.clone() };
    for (config, threads) in [(&dense, 1), (&dense, 3), (&banded, 1), (&banded, 3), (&bf16, 1), (&bf16, 3)] {
        let found = with_threads(threads, || of_five_steps(config));
        for (loss, (found, size)) in ["cross-entropy", "policy", "value"].into_iter().zip(found) {
            assert_eq!(found, 0, "{loss}: allocations on {threads} threads, the last of {size} bytes");
        }
    }
    // The counter counts, on whichever thread.
    let allocate = || drop(std::hint::black_box(vec![1u8; 100]));
    let found = with_threads(2, || allocations(|| rayon::join(allocate, allocate).0));
    assert_eq!(found, (2, 100));
}
