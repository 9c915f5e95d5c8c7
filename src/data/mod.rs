//! Floor 4: the data formats. Text, demonstrations, comparisons and prompts become plain records.
//!
//! Reading order: [`source`] (files, gzip, limits), `content` (what is no text), [`fields`] (JSON Lines and JSON
//! arrays), `table` (CSV and TSV), `reader` (either), [`template`] (prompts), `end_of_text`, `import` (other programs'
//! records), then one file per kind of data: [`corpus`], [`demonstrations`],
//! [`comparisons`], [`prompts`]; and the paper's section 3.2: [`normal_form`] (which prompts are the same), [`filters`],
//! [`mod@split`] (who may be on which side) and [`passages`] (the same for documents). [`examples`] are the documents of
//! public benchmarks, tables among them. [`tags`] are what labelers say of a prompt. [`pii`] finds personal data in what is to be trained on.
//!
//! Two rules hold for all: a record that is not what the format says is an error with its line; a record
//! that is valid but useless (two equal answers) is skipped, and every skip is reported, as is every text that is not
//! taken as it stands.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, Result};
use crate::text::END_OF_TEXT;
use end_of_text::Markers;

pub mod comparisons;
mod content;
pub mod corpus;
pub mod demonstrations;
mod end_of_text;
pub mod examples;
pub mod fields;
pub mod filters;
mod import;
pub mod language;
pub mod normal_form;
pub mod passages;
pub mod pii;
pub mod program;
pub mod prompts;
pub mod reader;
pub mod source;
pub mod split;
mod table;
pub mod tags;
pub mod template;

pub use comparisons::{load_comparisons, read_comparisons};
pub use corpus::{load_text, read_documents, read_text_records, split_documents};
pub use demonstrations::{load_demonstrations, read_demonstrations};
pub use filters::{cap_per_user, deduplicate_by_prefix, each_prompt_once};
pub use normal_form::NormalForm;
pub use passages::{Passage, leave_out_repeated, split_text};
pub use prompts::{load_prompts, read_prompts};
pub use source::Source;
pub use split::{Side, Sides, Split, SplitRule};
pub use tags::Tags;
pub use template::{FormCounts, InstructionTemplate, PromptForm, PromptForms};

/// A prompt and the answer a labeler wrote (paper section 3.4, supervised fine-tuning).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demonstration {
    /// The prompt, ready for the tokenizer.
    pub prompt: String,
    /// The answer.
    pub response: String,
    /// Who asked.
    pub user: Option<String>,
    /// Who answered.
    pub labeler: Option<String>,
    /// What a labeler said of the prompt.
    pub tags: Tags,
    /// Where it stands: "a.jsonl, line 12". Empty for what was in no file.
    pub place: String,
}

/// K answers to a prompt and a labeler's ranking of them (paper section 3.4, reward modelling).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// The prompt, ready for the tokenizer.
    pub prompt: String,
    /// The K >= 2 answers.
    pub responses: Vec<String>,
    /// One rank per answer: 1 is best, equal ranks are ties; at least two differ.
    pub ranks: Vec<u32>,
    /// Who asked.
    pub user: Option<String>,
    /// Who ranked.
    pub labeler: Option<String>,
    /// The token ids, where the answers were sampled.
    pub tokens: Option<ComparisonTokens>,
    /// On which side of the split it stands, where that is already decided.
    pub side: Option<Side>,
    /// What a labeler said of the prompt.
    pub tags: Tags,
    /// Where it stands: "a.jsonl, line 12". Empty for what was in no file.
    pub place: String,
}

/// The token ids of a comparison whose answers were sampled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComparisonTokens {
    /// Of the prompt, at least one.
    pub prompt: Vec<u32>,
    /// Of each answer, with the end-of-text token where it ended by itself.
    pub responses: Vec<Vec<u32>>,
}

/// A prompt alone (paper section 3.4, reinforcement learning).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// The prompt, ready for the tokenizer.
    pub prompt: String,
    /// Who asked.
    pub user: Option<String>,
    /// What a labeler said of the prompt.
    pub tags: Tags,
    /// Where it stands: "a.jsonl, line 12". Empty for what was in no file.
    pub place: String,
}

/// What all records have: a prompt, and perhaps a user.
pub trait Record {
    /// The prompt's text.
    fn prompt(&self) -> &str;
    /// Who asked, where it is known.
    fn user(&self) -> Option<&str>;
    /// What a labeler said of it.
    fn tags(&self) -> &Tags;
    /// Where it stands: "a.jsonl, line 12".
    fn place(&self) -> &str;
    /// On which side of the split it stands, where that is already decided.
    fn side(&self) -> Option<Side> {
        None
    }
}

impl Record for Demonstration {
    fn prompt(&self) -> &str {
        &self.prompt
    }
    fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }
    fn tags(&self) -> &Tags {
        &self.tags
    }
    fn place(&self) -> &str {
        &self.place
    }
}

impl Record for Comparison {
    fn prompt(&self) -> &str {
        &self.prompt
    }
    fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }
    fn tags(&self) -> &Tags {
        &self.tags
    }
    fn place(&self) -> &str {
        &self.place
    }
    fn side(&self) -> Option<Side> {
        self.side
    }
}

impl Record for Prompt {
    fn prompt(&self) -> &str {
        &self.prompt
    }
    fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }
    fn tags(&self) -> &Tags {
        &self.tags
    }
    fn place(&self) -> &str {
        &self.place
    }
}

/// A record that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Where it stands: "line 12", or "record 12" of a JSON array.
    pub at: String,
    /// Why.
    pub reason: &'static str,
}

/// The records of a file, never none, and what was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded<T> {
    /// The usable records, in file order.
    pub records: Vec<T>,
    /// The others.
    pub skipped: Vec<Skipped>,
    /// How many of the usable ones have prompts of each form.
    pub forms: FormCounts,
    /// In how many records a `<|endoftext|>` at the end of a response or document was taken off.
    pub markers_taken_off: usize,
    /// Our names of the columns of `data.columns` that a record had.
    pub columns: BTreeSet<String>,
    /// In how many records a `<|endoftext|>` stands elsewhere, where it is plain characters.
    pub plain_markers: usize,
}

impl<T> Loaded<T> {
    fn new() -> Self {
        let (records, skipped, forms, columns) = (Vec::new(), Vec::new(), FormCounts::new(), BTreeSet::new());
        Loaded { records, skipped, forms, columns, markers_taken_off: 0, plain_markers: 0 }
    }

    /// Whether anything was left out or not taken as it stands.
    pub fn is_remarkable(&self) -> bool {
        !self.skipped.is_empty() || self.markers_taken_off + self.plain_markers > 0
    }

    /// One line for the log: `929 records; 6 skipped: 6 x the responses are identical`.
    pub fn summary(&self) -> String {
        let mut counts = BTreeMap::new();
        for skipped in &self.skipped {
            *counts.entry(skipped.reason).or_insert(0) += 1;
        }
        let mut text = format!("{} records", self.records.len());
        for (count, what) in [
            (self.markers_taken_off, "had END at the end, which was taken off, as training adds its token"),
            (self.plain_markers, "have END elsewhere, where it is plain characters and no token"),
        ] {
            if count > 0 {
                text += &format!("; {count} {}", what.replace("END", END_OF_TEXT));
            }
        }
        if !counts.is_empty() {
            let reasons: Vec<_> =
                counts.iter().map(|(reason, count)| format!("{count} x {reason}")).collect();
            text += &format!("; {} skipped: {}", self.skipped.len(), reasons.join(", "));
        }
        text
    }

    /// Itself, unless it is empty.
    fn not_empty(self, origin: &str) -> Result<Self> {
        if self.records.is_empty() {
            return Err(Error::format(origin, "", "at least one usable record", self.summary(), ""));
        }
        Ok(self)
    }
}

/// What a valid record turned out to be.
enum Outcome<T> {
    /// Of use; the form of its prompt, where it has one.
    Keep(T, Option<PromptForm>),
    /// Of no use, and why.
    Skip(&'static str),
}

/// Reads all records of `source` through `parse`, which may make several of one.
fn collect<T>(
    source: Source,
    columns: &BTreeMap<String, String>,
    mut parse: impl FnMut(&fields::Fields, &mut Markers) -> Result<Vec<Outcome<T>>>,
) -> Result<Loaded<T>> {
    let origin = source.origin().to_string();
    let mut loaded = Loaded::new();
    let mut records = reader::Reader::new(source, columns)?;
    while let Some(record) = records.read()? {
        let mut markers = Markers::default();
        let before = loaded.records.len();
        for outcome in parse(&record, &mut markers)? {
            match outcome {
                Outcome::Keep(value, form) => {
                    loaded.records.push(value);
                    form.into_iter().for_each(|form| *loaded.forms.entry(form).or_default() += 1);
                }
                Outcome::Skip(reason) => {
                    loaded.skipped.push(Skipped { at: record.at().to_string(), reason });
                }
            }
        }
        if loaded.records.len() > before {
            loaded.markers_taken_off += usize::from(markers.taken_off);
            loaded.plain_markers += usize::from(markers.plain);
        }
    }
    loaded.columns = records.found();
    loaded.not_empty(&origin)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// The optional public data sets beside the checkout (tests run in the crate's root).
    fn data(name: &str) -> Option<std::path::PathBuf> {
        let path = Path::new("../shared/data").join(name);
        if !path.exists() {
            println!("skipped: no data");
            return None;
        }
        Some(path)
    }

    #[test]
    fn real_demonstrations_load() {
        let forms = PromptForms::default();
        for (name, count) in [
            ("rasbt-instruct/instruction-data.json", 935),
            ("rasbt-instruct/instruction-data-with-preference.json", 935),
            ("dolly-hhrlhf-small/dolly_hhrlhf_train_small.jsonl", 1000),
        ] {
            let Some(path) = data(name) else { return };
            let loaded = load_demonstrations(&path, &forms).unwrap();
            println!("{name}: demonstrations: {}", loaded.summary());
            assert_eq!(loaded.records.len() + loaded.skipped.len(), count, "{name}");
            let prompts = load_prompts(&path, &forms).unwrap();
            println!("{name}: prompts: {}", prompts.summary());
            assert_eq!(prompts.records.len(), count);
        }
        let Some(path) = data("self-instruct/seed_tasks.jsonl") else { return };
        let loaded = load_demonstrations(&path, &forms).unwrap();
        println!("self-instruct: demonstrations: {}", loaded.summary());
        assert_eq!(loaded.records.len(), 175);
    }

    #[test]
    fn real_comparisons_load_and_identical_pairs_are_reported() {
        let forms = PromptForms::default();
        for (name, records, skipped) in [
            ("rasbt-instruct/instruction-data-with-preference.json", 929, 6),
            ("hh-rlhf/helpful-online-test.jsonl.gz", 1133, 4),
            ("hh-rlhf/helpful-rejection-sampled-test.jsonl.gz", 2714, 35),
        ] {
            let Some(path) = data(name) else { return };
            let loaded = load_comparisons(&path, &forms).unwrap();
            println!("{name}: comparisons: {}", loaded.summary());
            assert_eq!((loaded.records.len(), loaded.skipped.len()), (records, skipped), "{name}");
            println!("{name}: prompts: {}", load_prompts(&path, &forms).unwrap().summary());
        }
    }

    #[test]
    fn real_text_loads() {
        let Some(path) = data("tinystories-v2/tinystories_10k.txt") else { return };
        let stories = load_text(&path).unwrap();
        println!("tinystories-v2: {}", stories.summary());
        assert_eq!(stories.records.len(), 1728);
        let Some(path) = data("childrens-books") else { return };
        let mut books = 0;
        for entry in std::fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "txt") && !path.ends_with("SOURCE.txt") {
                let book = load_text(&path).unwrap();
                let text = &book.records[0];
                assert_eq!(book.records.len(), 1);
                assert!(
                    !text.contains("*** START OF") && !text.contains("*** END OF") && !text.contains('\r')
                );
                assert!(!text.contains("START: FULL LICENSE"), "{}", path.display());
                books += 1;
            }
        }
        println!("childrens-books: {books} books");
        assert_eq!(books, 13);
    }

    #[test]
    fn real_splits_leak_nothing() {
        let Some(path) = data("rasbt-instruct/instruction-data-with-preference.json") else { return };
        let forms = PromptForms::default();
        let rule = SplitRule { seed: 1, validation: 0.1, test: 0.1, form: NormalForm::default() };
        let demonstrations = load_demonstrations(&path, &forms).unwrap().records;
        let comparisons = load_comparisons(&path, &forms).unwrap().records;
        let sides = Sides::new(&rule, &[split::view(&demonstrations), split::view(&comparisons)]);
        let demonstrations = sides.split(demonstrations).0;
        let comparisons = sides.split(comparisons).0;
        println!("rasbt split: {:?}", demonstrations.map(Vec::len));
        let train: std::collections::BTreeSet<_> = demonstrations.train.iter().map(|d| &d.prompt).collect();
        let held_out = comparisons.validation.iter().chain(&comparisons.test);
        assert!(held_out.clone().count() > 120 && held_out.clone().all(|c| !train.contains(&c.prompt)));
        assert!((60..130).contains(&demonstrations.validation.len()));
    }
}
