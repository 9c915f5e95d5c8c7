//! A tiny model directory, and the program to run on it.

#![allow(dead_code, reason = "each test uses its part")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use instructgpt::checkpoint::save_model_directory;
use instructgpt::engine::Cpu;
use instructgpt::model::{Head, Layout, ModelConfig, Network};
use instructgpt::num::rng::{Purpose, Rng, Stage};
use instructgpt::text::Tokenizer;

/// Tokens of the context.
pub const CONTEXT: usize = 32;

/// A tokenizer with a few merges; every emoji is several tokens.
pub fn tokenizer() -> Tokenizer {
    let text = "the cat sat on the mat, and the cat saw the other cat; then the hat sat on the cat 😀é";
    Tokenizer::train([text, text], 280).unwrap()
}

/// A network whose text varies, far from its initialisation.
pub fn network(head: Head) -> Network {
    let config = ModelConfig::gpt2(tokenizer().vocab_size(), CONTEXT, 24, 2, 3);
    let mut noise = Rng::at(5, Stage::Test, Purpose::Noise, 0, 0, 0);
    let parameters = (0..Layout::new(&config, head).len).map(|_| 0.3 * noise.normal()).collect();
    Network::new(Cpu, config, head, parameters)
}

/// Writes [`network`] and [`tokenizer`] into a directory.
pub fn save(directory: &Path, head: Head) {
    save_model_directory(directory, &network(head), Some(&tokenizer()), &[]).unwrap();
}

/// What a program left behind.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Its exit code.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// Runs a program to its end; it must not panic.
pub fn run(program: &Path, arguments: &[&str], input: &[u8]) -> Outcome {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that stops at an error does not read on: that may fail.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let outcome = Outcome {
        code: output.status.code().expect("no signal ends it"),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    };
    assert!(!outcome.stderr.contains("panicked"), "{arguments:?}: {outcome:?}");
    outcome
}

/// Runs `instructgpt`.
pub fn instructgpt(arguments: &[&str], input: &str) -> Outcome {
    run(Path::new(env!("CARGO_BIN_EXE_instructgpt")), arguments, input.as_bytes())
}
