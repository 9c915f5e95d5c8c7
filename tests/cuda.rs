//! The CUDA engine gives the bits of the others, on a GPU where there is one, and else behind the test driver of
//! `tests/cuda/`, which runs the same kernels on the CPU. Without a C++ compiler these tests are skipped.

#[path = "common/cuda.rs"]
mod cuda;
#[path = "common/every_engine.rs"]
mod every_engine;

use instructgpt::engine::Cuda;

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
