//! What a user meets around the model: BPE, the memory of a training step, and how long the program takes
//! to its first token. The last two run the program again, as a process of its own.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::models::{config, random_network};
use super::results::Measured;
use super::{Bench, Case, Unit, seconds};
use crate::checkpoint::save_model_directory;
use crate::data;
use crate::engine::Cpu;
use crate::error::{Error, Result};
use crate::model::{Head, ModelConfig};
use crate::num::par;
use crate::run::stderr::say;
use crate::text::Tokenizer;
use crate::world::World;

/// Tokens that BPE learns.
const VOCABULARY: usize = 8192;

/// Bytes of text without `--corpus`.
const TEXT: usize = 5_000_000;

/// The step whose memory is reported.
const MEMORY_STEP: &str = "step/124M-T64";

pub fn run(bench: &mut Bench) -> Result<()> {
    bpe(bench)?;
    if !bench.options.quick {
        memory(bench)?;
    }
    cold_start(bench)
}

fn bpe(bench: &mut Bench) -> Result<()> {
    let (train, encode) = (bench.wants("bpe/train"), bench.wants("bpe/encode"));
    if !train && !encode {
        return Ok(());
    }
    let documents = match &bench.options.corpus {
        Some(path) => data::load_text(path)?.records,
        None => generated_text(if bench.options.quick { TEXT / 5 } else { TEXT }),
    };
    let bytes = documents.iter().map(String::len).sum::<usize>() as f64;
    let case = |name: &str, threads, samples| Case {
        threads,
        amount: bytes,
        samples,
        warm_up: false,
        ..Case::new(name, Unit::MegabytesPerSecond)
    };
    let learn = || Tokenizer::train(documents.iter().map(String::as_str), VOCABULARY);
    let tokenizer = learn()?;
    let encode_all = || par::map(&documents, 1, |text| tokenizer.encode(text).len());
    for threads in BTreeSet::from([1, par::threads()]) {
        if train {
            bench.measure(case("bpe/train", threads, 3), || Ok(seconds(learn)))?;
        }
        if encode {
            bench.measure(case("bpe/encode", threads, 7), || Ok(seconds(encode_all)))?;
        }
    }
    Ok(())
}

/// Text of the miniature world, at least `bytes` of it.
fn generated_text(bytes: usize) -> Vec<String> {
    let world = World::new(1);
    let mut total = 0;
    (0..)
        .map(|index| world.pretraining_document(index))
        .take_while(|text| {
            let more = total < bytes;
            total += text.len();
            more
        })
        .collect()
}

/// The most memory that a process holds which does nothing but some 124M steps, and the share of it that
/// parameters, gradients and two moments are.
fn memory(bench: &mut Bench) -> Result<()> {
    let name = "memory/124M-T64";
    if !bench.wants(name) {
        return Ok(());
    }
    say(format_args!("{name} .."));
    let threads = rayon::current_num_threads().to_string();
    let output = program()?
        .args(["bench", "--json", "--only", MEMORY_STEP, "--threads", &threads])
        .args(["--precision", bench.options.precision.name()])
        .stderr(Stdio::null())
        .output()
        .map_err(|e| Error::io("instructgpt bench", "run", e))?;
    let found: Option<serde_json::Value> = serde_json::from_slice(&output.stdout).ok();
    let kib = found.as_ref().and_then(|json| json["machine"]["peak_resident_kib"].as_f64());
    let Some(kib) = kib else {
        bench
            .report
            .warnings
            .push(format!("{name} left out: this system does not say how much memory it used"));
        return Ok(());
    };
    let config = ModelConfig { context: 64, ..config("124M") };
    let state = 4.0 * 4.0 * crate::model::Layout::new(&config, Head::LanguageModel).len as f64;
    bench.report.results.push(Measured {
        name: name.into(),
        threads: rayon::current_num_threads(),
        median: Unit::Mebibytes.of(1.0, kib * 1024.0),
        unit: Unit::Mebibytes.name(),
        of_limit: Some(state / (kib * 1024.0)),
    });
    Ok(())
}

/// From the start of the process to the end of `sample` with one token, from a 10.8M model's directory.
fn cold_start(bench: &mut Bench) -> Result<()> {
    if !bench.wants("start/10.8M") {
        return Ok(());
    }
    let scratch = Scratch::new()?;
    let tokenizer = Tokenizer::train(generated_text(50_000).iter().map(String::as_str), 512)?;
    let config = ModelConfig {
        vocab_size: tokenizer.vocab_size(),
        precision: bench.options.precision,
        ..config("10.8M")
    };
    let model = random_network(Cpu, config, Head::LanguageModel);
    save_model_directory(&scratch.path, &model, Some(&tokenizer), &[])?;
    let mut command = program()?;
    command.args(["sample", "--prompt", "Once", "--max-new-tokens", "1", "--model"]).arg(&scratch.path);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut failed = false;
    let case = Case::new("start/10.8M", Unit::Milliseconds);
    bench
        .measure(case, || Ok(seconds(|| failed |= !command.status().is_ok_and(|status| status.success()))))?;
    if failed {
        bench.report.results.pop();
        bench.report.warnings.push("start/10.8M left out: `instructgpt sample` failed".into());
    }
    Ok(())
}

/// This program, to be run again.
fn program() -> Result<Command> {
    Ok(Command::new(std::env::current_exe().map_err(|e| Error::io("this program", "find", e))?))
}

/// A directory of its own for temporary files, removed at the end.
pub struct Scratch {
    pub path: PathBuf,
}

impl Scratch {
    pub fn new() -> Result<Self> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("instructgpt-bench-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).map_err(|e| Error::io(path.display(), "create", e))?;
        Ok(Scratch { path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed stays: it is the system's directory for temporary files.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_text_is_long_enough_and_not_much_longer() {
        let bytes: usize = generated_text(20_000).iter().map(String::len).sum();
        assert!((20_000..25_000).contains(&bytes), "{bytes}");
    }

    #[test]
    fn a_scratch_directory_is_removed() {
        let scratch = Scratch::new().unwrap();
        let path = scratch.path.clone();
        std::fs::write(path.join("x"), "y").unwrap();
        drop(scratch);
        assert!(!path.exists());
    }
}
