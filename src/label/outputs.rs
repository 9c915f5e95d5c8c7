//! Outputs sampled on the spot: prompts of a file become items whose responses models have written, before the page is
//! served. (The paper's labelers ranked outputs of several models, most of them SFT policies, section 3.1.)
//!
//! Output `j` is written by model `j mod M`, and drawn at an address made of the project's seed, the prompt and `j`: the same
//! prompts, models and seed give the same items to the bit, whatever else is sampled. Which model wrote what goes into the
//! item's fields, and so into its exports; the page does not get them. Items are kept as they are made, so that sampling goes
//! on where it was stopped.

use std::collections::HashSet;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::item::{Item, Items, MODELS, Task, load_items};
use super::queue::address;
use super::store::Store;
use crate::error::{Error, Result};
use crate::model::Draw;
use crate::num::rng::Stage;
use crate::num::sha256::sha256;

/// The field of an item that says how its outputs were sampled.
pub const SAMPLED: &str = "sampled";

/// Prompts that are answered together, and whose items are then kept.
const TOGETHER: usize = 16;

/// Who writes outputs: a model.
pub trait Author {
    /// Its name in items and exports.
    fn name(&self) -> &str;
    /// Of its weights and tokenizer, wherever they lie.
    fn fingerprint(&self) -> &str;
    /// Most tokens of a prompt.
    fn room(&self) -> usize;
    /// The length of a prompt in its tokens.
    ///
    /// # Errors
    /// A prompt that is none for it, however short.
    fn length(&self, prompt: &str) -> Result<usize>;
    /// An output to each prompt, drawn at its address. None depends on the others.
    ///
    /// # Errors
    /// Weights that give no distribution.
    fn write(&self, asked: &[(&str, Draw)]) -> Result<Vec<String>>;
}

/// What is sampled.
pub struct Sampler<'a> {
    /// Who writes, in turns.
    pub authors: Vec<Box<dyn Author + 'a>>,
    /// Outputs to each prompt: one is rated, several are ranked.
    pub outputs: usize,
    /// The project's.
    pub seed: u64,
    /// How the authors draw, for the record.
    pub how: Map<String, Value>,
}

/// What became of prompts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sampled {
    /// Items that were made.
    pub made: usize,
    /// Prompts that had such an item before.
    pub known: usize,
    /// What was left out, in words.
    pub notes: Vec<String>,
}

/// Loads the prompts of a file, as [`load_items`] does.
///
/// # Errors
/// Those of [`load_items`]; [`Error::Format`] for a record that asks for something else than an answer.
pub fn load_prompts(path: &Path) -> Result<Items> {
    let read = load_items(path)?;
    let is_prompt = |item: &Item| {
        item.task == Task::Write && item.use_case.is_none() && item.gold.is_none() && !item.screening
    };
    match read.items.iter().find(|item| !is_prompt(item)) {
        None => Ok(read),
        Some(item) => {
            let at = format!("the record of {:?}", beginning(&item.prompt));
            let expected = "a prompt alone, without responses, use case, gold answer and screening";
            let hint = "--items takes records of every kind, as they are";
            Err(Error::format(path.display(), at, expected, "more than that", hint))
        }
    }
}

impl<'a> Sampler<'a> {
    /// Makes an item of every prompt that has none yet, and keeps it. `progress` is told how many of how many are done.
    ///
    /// # Errors
    /// Those of the authors and the store; what was kept until then stays.
    pub fn sample(
        &self,
        store: &mut Store,
        prompts: &[Item],
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Sampled> {
        let mut there = HashSet::new();
        store.items(|item| {
            there.extend(item.fields.get(SAMPLED).and_then(|of| of["request"].as_str()).map(str::to_string));
        })?;
        let (mut open, mut too_long, mut sampled) =
            (vec![], vec![vec![]; self.authors.len()], Sampled::default());
        for prompt in prompts {
            if there.contains(&self.request(prompt)) {
                sampled.known += 1;
                continue;
            }
            match self.refuses(prompt)? {
                None => open.push(prompt),
                Some(author) => too_long[author].push(prompt),
            }
        }
        for (author, prompts) in self.authors.iter().zip(too_long).filter(|(_, prompts)| !prompts.is_empty())
        {
            sampled.notes.push(format!(
                "{} prompts left out: longer than the {} tokens that {} takes; the first begins {:?}",
                prompts.len(),
                author.room(),
                author.name(),
                beginning(&prompts[0].prompt)
            ));
        }
        let mut alike = 0;
        for (number, prompts) in open.chunks(TOGETHER).enumerate() {
            let items: Vec<Item> = self.items(prompts)?.into_iter().flatten().collect();
            alike += prompts.len() - items.len();
            sampled.made += store.add_items(&items)?;
            progress(number * TOGETHER + prompts.len(), open.len());
        }
        if alike > 0 {
            sampled.notes.push(format!(
                "{alike} prompts left out: all their outputs are the same, and nothing is to be ranked"
            ));
        }
        Ok(sampled)
    }

    /// The number of the first author for whom the prompt is too long.
    fn refuses(&self, prompt: &Item) -> Result<Option<usize>> {
        for (number, author) in self.authors.iter().enumerate() {
            if author.length(&prompt.prompt)? > author.room() {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }

    /// The items of some prompts; `None` where all outputs are the same.
    fn items(&self, prompts: &[&Item]) -> Result<Vec<Option<Item>>> {
        let mut outputs = vec![vec![String::new(); self.outputs]; prompts.len()];
        for (number, author) in self.authors.iter().enumerate() {
            let places = || (number..self.outputs).step_by(self.authors.len());
            let asked: Vec<(&str, Draw)> = prompts
                .iter()
                .flat_map(|prompt| {
                    let (seed, step) = (self.seed, address(&prompt.id));
                    let draw = move |j| Draw { seed, stage: Stage::Label, step, episode: j as u64 };
                    places().map(move |j| (prompt.prompt.as_str(), draw(j)))
                })
                .collect();
            let mut written = author.write(&asked)?.into_iter();
            for outputs in &mut outputs {
                places().for_each(|j| outputs[j] = written.next().expect("an output to each prompt"));
            }
        }
        let item = |(prompt, outputs): (&&Item, Vec<String>)| {
            let alike = outputs.len() > 1 && outputs.iter().all(|output| *output == outputs[0]);
            (!alike).then(|| prompt.answered(outputs, self.record(prompt)))
        };
        Ok(prompts.iter().zip(outputs).map(item).collect())
    }

    /// Who writes output `j`.
    fn authors_of_outputs(&self) -> impl Iterator<Item = &(dyn Author + 'a)> {
        (0..self.outputs).map(|j| &*self.authors[j % self.authors.len()])
    }

    /// What an item's fields say of its outputs: who wrote each, and how.
    fn record(&self, prompt: &Item) -> Map<String, Value> {
        let models: Vec<&str> = self.authors_of_outputs().map(|author| author.name()).collect();
        let mut how = self.how.clone();
        how.insert("seed".into(), json!(self.seed));
        how.insert("request".into(), json!(self.request(prompt)));
        [(MODELS.to_string(), json!(models)), (SAMPLED.to_string(), Value::Object(how))].into_iter().collect()
    }

    /// What is asked of whom: the same gives the same outputs. Names are no part of it, a model may have moved.
    fn request(&self, prompt: &Item) -> String {
        let fingerprints: Vec<&str> = self.authors_of_outputs().map(|author| author.fingerprint()).collect();
        let asked = json!([prompt.id, fingerprints, self.seed, self.how]);
        sha256(asked.to_string().as_bytes())[..32].to_string()
    }
}

/// The first words of a text, for a message.
fn beginning(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests;
