//! A training step allocates nothing: once a run's buffers are planned, no step, the first included, asks
//! for memory on any thread of its pool, be it of one thread or three.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

use instructgpt::engine::cpu::gradient_norm::gradient_norm;
use instructgpt::engine::cpu::log_prob::{self, Workspace};
use instructgpt::engine::{Dropout, Outputs, Target};
use instructgpt::model::{
    Activations, AttentionPattern, Batch, Gradients, Head, ModelConfig, Precision, Transformer,
};
use instructgpt::num::par::with_threads;
use instructgpt::num::rng::Stage;
use instructgpt::optim::adamw::AdamW;

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

/// Everything a run plans before its first step.
struct Run {
    model: Transformer,
    parameters: Vec<f32>,
    gradients: Gradients,
    moments: [Vec<f32>; 2],
    average: Vec<f32>,
    activations: Activations,
    work: Workspace,
    batch: Batch,
    targets: Vec<Target>,
    log_probs: Vec<f32>,
    entropies: Vec<f32>,
    slopes: Vec<f32>,
    step: u64,
}

impl Run {
    fn new(config: ModelConfig, max_tokens: usize, max_sequences: usize) -> Run {
        let model = Transformer::new(config, Head::LanguageModel);
        let parameters = model.initialise(1);
        let zeros = || vec![0.0; model.layout.len];
        Run {
            gradients: Gradients::new(&model),
            moments: [zeros(), zeros()],
            average: parameters.clone(),
            activations: Activations::for_training(&model.config, max_tokens),
            work: Workspace::new(model.config.vocab_size, model.config.width, 1024),
            batch: Batch::with_capacity(max_tokens, max_sequences),
            targets: Vec::with_capacity(max_tokens),
            log_probs: vec![0.0; max_tokens],
            entropies: vec![0.0; max_tokens],
            slopes: vec![0.0; max_tokens],
            step: 0,
            parameters,
            model,
        }
    }

    /// One optimizer step on the mean next-token loss of sequences of these lengths.
    fn step(&mut self, lengths: &[usize]) {
        self.step += 1;
        let (model, c) = (&self.model, self.model.config.width);
        let tokens: [u32; 64] = std::array::from_fn(|i| (i * 7 % model.config.vocab_size) as u32);
        self.batch.clear();
        self.targets.clear();
        for (number, &length) in lengths.iter().enumerate() {
            let first = self.batch.push(&tokens[..length], number as u64);
            let target = |t: usize| Target { row: (first + t - 1) as u32, token: tokens[t] };
            self.targets.extend((1..length).map(target));
        }
        let dropout = Some(Dropout { rate: 0.2, seed: 1, stage: Stage::Test, step: self.step });
        model.forward(&self.parameters, &self.batch, &mut self.activations, dropout);
        let (n, targets) = (self.batch.len() * c, self.targets.len());
        self.slopes[..targets].fill(-1.0 / targets as f32);
        let a = &mut self.activations;
        a.d_hidden[..n].fill(0.0);
        log_prob::forward_backward(
            model.config.precision,
            Outputs { log_probs: &mut self.log_probs[..targets], entropies: &mut self.entropies[..targets] },
            &mut a.d_hidden[..n],
            &mut self.gradients.flat[model.layout.head.clone()],
            &a.hidden[..n],
            &self.parameters[model.layout.head.clone()],
            c,
            &self.targets,
            &self.batch.offsets,
            1.0,
            &self.slopes[..targets],
            &mut self.work,
        );
        model.backward(&self.parameters, &mut self.gradients, &self.batch, a, dropout);
        self.gradients.finish(&model.layout);
        assert!(gradient_norm(&self.gradients.flat).is_finite());
        let [first_moment, second_moment] = &mut self.moments;
        AdamW::default().step(
            &mut self.parameters,
            &self.gradients.flat,
            first_moment,
            second_moment,
            Some((&mut self.average, 0.992)),
            &model.layout,
            1e-3,
            self.step,
            1.0,
        );
        self.gradients.clear();
    }
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
        with_threads(threads, || {
            let mut run = Run::new(config.clone(), 400, 8);
            let (found, size) = allocations(|| {
                run.step(&[64, 1, 20, 33, 64, 18]);
                run.step(&[2, 63, 7]);
                // Rows for a region of sequences on each thread.
                run.step(&[64, 64, 20, 50, 64, 64, 30, 20]);
                run.step(&[64, 1, 20, 33, 64, 18]);
                run.step(&[18, 64, 33, 20, 1, 64]);
            });
            assert_eq!(found, 0, "allocations in five steps on {threads} threads, the last of {size} bytes");
        });
    }
    // The counter counts, on whichever thread.
    let allocate = || drop(std::hint::black_box(vec![1u8; 100]));
    let found = with_threads(2, || allocations(|| rayon::join(allocate, allocate).0));
    assert_eq!(found, (2, 100));
}
