//! Every engine gives the bits of the others: passes, gradients, optimizer steps and decoding, of whole networks.
//! `tests/exact_model.rs` says what shows in no bit of the fast engine; here the others are compared with it.

#[path = "common/every_engine.rs"]
mod every_engine;

/// Runs each test on each engine.
macro_rules! on_every_engine {
    ($($room:ident: $engine:expr;)*) => {
        $(mod $room {
            #[test]
            fn gradients() {
                super::every_engine::gradients($engine);
            }

            #[test]
            fn decoding() {
                super::every_engine::decoding($engine);
            }

            #[test]
            fn first_steps_of_the_tiny_run() {
                super::every_engine::first_steps_of_the_tiny_run($engine);
            }
        })*
    };
}

on_every_engine! {
    cpu: instructgpt::engine::Cpu;
    plain: instructgpt::engine::Plain;
}
