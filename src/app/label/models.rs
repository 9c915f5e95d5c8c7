//! The models that write outputs for `label`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::app::args::LabelArgs;
use crate::app::writer::Writer;
use crate::checkpoint::checksum::{Crc64, digits};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::label::outputs::{Author, Sampler, load_prompts};
use crate::label::store::Store;
use crate::model::Draw;
use crate::run::fingerprints::Fingerprints;
use crate::run::stderr::say;

/// How often it is said how far sampling has come.
const EVERY: Duration = Duration::from_secs(5);

/// A model whose weights are packed.
struct Model<'w, E: Engine> {
    writer: &'w Writer<E>,
    weights: E::Weights<'w>,
    name: String,
    fingerprint: String,
}

impl<E: Engine> Author for Model<'_, E> {
    fn name(&self) -> &str {
        &self.name
    }

    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn room(&self) -> usize {
        self.writer.room()
    }

    fn length(&self, prompt: &str) -> Result<usize> {
        Ok(self.writer.tokens(prompt, "--prompts")?.len())
    }

    fn write(&self, asked: &[(&str, Draw)]) -> Result<Vec<String>> {
        let tokens = asked.iter().map(|(prompt, _)| self.writer.prompt(prompt, "--prompts"));
        let tokens = tokens.collect::<Result<Vec<_>>>()?;
        let prompts: Vec<&[u32]> = tokens.iter().map(Vec::as_slice).collect();
        let draws: Vec<Draw> = asked.iter().map(|(_, draw)| *draw).collect();
        self.writer.answers(&self.weights, &prompts, &draws)
    }
}

/// Samples outputs of the models to the prompts, into the project's store.
///
/// # Errors
/// Those of the models' directories, of the files of prompts, and of the store.
pub fn sample<E: Engine>(args: &LabelArgs, store: &mut Store, seed: u64, engine: E) -> Result<()> {
    let mut seen = Vec::<(String, &PathBuf)>::new();
    let mut writers = vec![];
    for directory in &args.model {
        let writer = Writer::open(directory, &args.draw, seed, engine)?;
        let fingerprint = fingerprint(directory)?;
        if let Some((_, other)) = seen.iter().find(|(of, _)| *of == fingerprint) {
            let found = format!("{} and {}", other.display(), directory.display());
            return Err(Error::usage(
                "--model",
                "each model once",
                found,
                "one model writes all outputs by itself",
            ));
        }
        seen.push((fingerprint, directory));
        writers.push(writer);
    }
    let authors = writers.iter().zip(seen).map(|(writer, (fingerprint, directory))| {
        let (weights, name) = (writer.weights(), directory.display().to_string());
        Box::new(Model { writer, weights, name, fingerprint }) as Box<dyn Author>
    });
    let sampler = Sampler { authors: authors.collect(), outputs: args.outputs, seed, how: how(args) };
    for path in &args.prompts {
        let read = load_prompts(path)?;
        let mut said = Instant::now();
        let sampled = sampler.sample(store, &read.items, |done, of| {
            if said.elapsed() > EVERY && done < of {
                said = Instant::now();
                say(format_args!("{}: outputs to {done} of {of} prompts", path.display()));
            }
        })?;
        read.notes.iter().for_each(|note| say(format_args!("note: {note}")));
        sampled.notes.iter().for_each(|note| say(format_args!("note: {}: {note}", path.display())));
        say(format_args!(
            "{}: outputs sampled to {} prompts; {} had theirs",
            path.display(),
            sampled.made,
            sampled.known
        ));
    }
    Ok(())
}

/// How outputs are drawn, for the record: each number as it is on the command line.
fn how(args: &LabelArgs) -> Map<String, Value> {
    let draw = &args.draw;
    let number = |x: f32| json!(x.to_string().parse::<f64>().unwrap_or_default());
    let mut how = Map::new();
    for (name, value) in [
        ("max_new_tokens", json!(draw.max_new_tokens)),
        ("temperature", number(draw.temperature)),
        ("top_k", json!(draw.top_k)),
        ("top_p", number(draw.top_p)),
    ] {
        how.insert(name.into(), value);
    }
    if let Some(precision) = draw.precision {
        how.insert("precision".into(), json!(precision.name()));
    }
    if draw.raw {
        how.insert("raw".into(), json!(true));
    }
    how
}

/// Of the files of a model's directory, whatever its path is.
fn fingerprint(directory: &Path) -> Result<String> {
    let mut files = Fingerprints::default();
    files.add_model(directory, ".")?;
    let text = serde_json::to_string(&files).expect("plain data");
    Ok(digits(Crc64::of(text.as_bytes())))
}
