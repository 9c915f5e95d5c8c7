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

/// Threads, blocks and streams that nothing keeps in order may come in any: here in the opposite one.
#[test]
fn backwards() {
    if let Some(cuda::Device::TestDriver(_)) = cuda::device() {
        for test in ["gradients", "decoding", "first_steps_of_the_tiny_run"] {
            let output = cuda::again(test, &[("CUDA_TEST_ORDER", "backward")]);
            assert!(output.status.success(), "{test}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
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
    runner
        .run(&shapes(), |shape| {
            operations::check(engine, &shape);
            Ok(())
        })
        .unwrap();
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

#[test]
fn products_on_tensor_cores_are_as_exact_as_their_operands() {
    let engine = engine!();
    for precision in [Precision::Tf32, Precision::Bf16Fast] {
        for (lengths, heads, inner) in
            [(vec![1], (1, 1), 1), (vec![3, 0, 14], (3, 5), 33), (vec![70, 65], (2, 70), 200)]
        {
            let (seed, vocab, window, hostile) = (5, 40, usize::MAX, false);
            let shape = Shape { seed, lengths, heads, inner, vocab, window, precision, hostile };
            operations::check_products(engine, &shape);
        }
    }
}

/// A whole gradient on tensor cores: as near to the exact one as their operands' rounding lets expect, and the loss too.
#[test]
fn a_gradient_on_tensor_cores_is_near_the_exact_one() {
    let engine = engine!();
    let mut config = instructgpt::model::ModelConfig::gpt2(61, 40, 64, 2, 4);
    let mut gradient = |precision| {
        config.precision = precision;
        every_engine::gradient(engine, &config)
    };
    let exact = gradient(Precision::F32);
    for (precision, most) in [(Precision::Tf32, 2e-3), (Precision::Bf16Fast, 2e-2)] {
        let found = gradient(precision);
        let sum = |terms: &mut dyn Iterator<Item = f64>| terms.sum::<f64>().sqrt();
        let off = sum(&mut found.iter().zip(&exact).map(|(a, b)| f64::from(a - b).powi(2)));
        let length = sum(&mut exact.iter().map(|x| f64::from(*x).powi(2)));
        println!("{precision:?}: {:.2e} of the gradient's length", off / length);
        assert!(off > 0.0 && off < most * length, "{precision:?}: {:.2e}", off / length);
        assert_eq!(found, gradient(precision), "not the same from run to run");
    }
}
