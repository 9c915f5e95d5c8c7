//! The CUDA engine gives the bits of the others, on a GPU where there is one, and else behind the test driver of
//! `tests/cuda/`, which runs the same kernels on the CPU. Without a C++ compiler these tests are skipped.

#[path = "common/cuda.rs"]
mod cuda;
#[path = "common/every_engine.rs"]
mod every_engine;
#[path = "common/operations.rs"]
mod operations;

use instructgpt::engine::{Cuda, Precision};
use operations::Shape;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// The engine, or the end of a test that is skipped.
macro_rules! engine {
    () => {
        match cuda::device() {
            Some(_) => Cuda::open(0).unwrap(),
            None => return,
        }
    };
}

#[test]
fn gradients() {
    every_engine::gradients(engine!());
}

#[test]
fn decoding() {
    every_engine::decoding(engine!());
}

#[test]
fn first_steps_of_the_tiny_run() {
    every_engine::first_steps_of_the_tiny_run(engine!());
}

/// Shapes with tails of every kind; some beyond a tile, a slice and a half of what attention holds at a time.
fn shapes() -> impl Strategy<Value = Shape> {
    let lengths = prop_oneof![
        4 => prop::collection::vec(0..12usize, 1..5),
        2 => prop::collection::vec(prop_oneof![Just(1usize), Just(63), Just(64), Just(65), 100..150usize], 1..3),
    ];
    let heads = prop_oneof![(1..4usize, 1..9usize), Just((2, 17)), Just((1, 64)), Just((1, 70))];
    let window = prop_oneof![2 => Just(usize::MAX), 1 => 1..20usize, 1 => Just(70)];
    let precision = prop_oneof![Just(Precision::F32), Just(Precision::Bf16)];
    let sizes = (1..40usize, 2..90usize);
    (any::<u64>(), lengths, heads, sizes, window, precision, any::<bool>()).prop_map(
        |(seed, lengths, heads, (inner, vocab), window, precision, hostile)| Shape {
            seed,
            lengths,
            heads,
            inner,
            vocab,
            window,
            precision,
            hostile,
        },
    )
}

#[test]
fn every_operation_gives_the_definitions_bits() {
    let engine = engine!();
    let mut runner = TestRunner::new(Config { cases: 40, failure_persistence: None, ..Config::default() });
    runner.run(&shapes(), |shape| { operations::check(engine, &shape); Ok(()) }).unwrap();
}

/// Sequences longer than what a block of `attention_decode` holds, products of every tile, a head of more logits than a
/// chunk, weights of one column.
#[test]
fn large_shapes_give_the_definitions_bits() {
    let engine = engine!();
    let shape = |lengths: &[usize], heads, inner, vocab, precision| Shape {
        seed: 3,
        lengths: lengths.to_vec(),
        heads,
        inner,
        vocab,
        window: usize::MAX,
        precision,
        hostile: false,
    };
    for precision in [Precision::F32, Precision::Bf16] {
        operations::check(engine, &shape(&[1100], (1, 3), 1, 5, precision));
        operations::check(engine, &shape(&[400, 301], (2, 70), 300, 1300, precision));
    }
}
