//! From files or the miniature to tokens: the four data sets of a run, each split without leakage.

use std::path::Path;

use super::encoder::Encoder;
use crate::checkpoint::load_tokenizer_with_warnings;
use crate::data::{self, Comparison, Demonstration, InstructionTemplate, Loaded, Prompt, Record, Split};
use crate::error::{Error, Result};
use crate::model::Sequence;
use crate::settings::Settings;
use crate::text::{END_OF_TEXT, PromptFormat, Tokenizer};
use crate::world::{self, World};

/// A prompt with a response.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Example {
    /// Prompt and response; the response ends with the end-of-text token (unless it was cut off).
    pub tokens: Vec<u32>,
    /// Tokens of the prompt.
    pub prompt: usize,
}

impl Example {
    /// The response's tokens.
    pub fn response(&self) -> &[u32] {
        &self.tokens[self.prompt..]
    }

    /// What a language model learns from it: the response, given the prompt.
    pub fn continuation(&self) -> Sequence<'_> {
        Sequence::continuation(&self.tokens, self.prompt)
    }
}

/// Checks that prompt and response fit into a model's context.
///
/// # Errors
/// [`Error::Usage`].
pub fn check_lengths<'a>(examples: impl IntoIterator<Item = &'a Example>, context: usize) -> Result<()> {
    let longest = examples.into_iter().map(|example| example.tokens.len()).max().unwrap_or(0);
    if longest <= context {
        return Ok(());
    }
    Err(Error::usage(
        "data.max_response_tokens",
        format!("prompt and response of at most {context} tokens, the model's context"),
        format!("one of {longest}"),
        "lower data.max_prompt_tokens or data.max_response_tokens: longer ones are then left out",
    ))
}

/// The prompts that leave room for at least one token.
pub fn fitting(prompts: &[Vec<u32>], context: usize) -> Vec<&[u32]> {
    prompts.iter().map(Vec::as_slice).filter(|prompt| prompt.len() < context).collect()
}

/// A labeler's ranking of K responses to one prompt. The responses stand in a canonical order (by rank,
/// then by tokens), so that the order in a file cannot show in a bit of what is trained on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranking {
    /// Prompt and response, each.
    pub responses: Vec<Example>,
    /// 1 is best; equal is a tie.
    pub ranks: Vec<u32>,
}

impl Ranking {
    /// Puts the responses in canonical order.
    pub fn new(responses: Vec<Example>, ranks: Vec<u32>) -> Self {
        assert_eq!(responses.len(), ranks.len(), "one rank per response");
        let mut order: Vec<(u32, Example)> = ranks.into_iter().zip(responses).collect();
        order.sort();
        let (ranks, responses) = order.into_iter().unzip();
        Ranking { responses, ranks }
    }
}

/// The data of a run, in tokens.
pub struct Dataset {
    /// Shared by all models of the run.
    pub tokenizer: Tokenizer,
    /// Pretraining text: documents one after another, each ended by the end-of-text token.
    pub text: Split<u32>,
    /// Demonstrations.
    pub demonstrations: Split<Example>,
    /// Rankings from files; in the miniature those that the stage `collect` has made, see
    /// [`Dataset::load_rankings`].
    pub rankings: Split<Ranking>,
    /// Prompts for PPO.
    pub prompts: Split<Vec<u32>>,
    /// Prompts whose responses labelers will rank (miniature only).
    pub ranking_prompts: Split<Vec<u32>>,
    /// The miniature, which can judge.
    pub world: Option<World>,
    /// What was loaded and what was left out, for the log.
    pub notes: Vec<String>,
}

/// The records before they become tokens.
#[derive(Default)]
struct Records {
    text: Split<String>,
    demonstrations: Split<Demonstration>,
    comparisons: Split<Comparison>,
    prompts: Split<Prompt>,
    ranking_prompts: Split<Prompt>,
    notes: Vec<String>,
}

impl Dataset {
    /// Loads everything `settings` names, relative to `root`, and trains (or loads) the tokenizer.
    ///
    /// # Errors
    /// Those of the files; [`Error::Usage`] if nothing is configured for a part that is needed.
    pub fn load(settings: &Settings, root: &Path) -> Result<Self> {
        let world = settings.data.world.then(|| World::new(settings.seed));
        let mut records = match &world {
            Some(world) => from_world(world, settings),
            None => from_files(settings, root)?,
        };
        let mut tokenizer = tokenizer(settings, root, &mut records)?;
        tokenizer.prompt_format = Some(prompt_format(world.is_some()));
        let mut notes = records.notes.clone();
        if settings.tokenizer.from.is_none() && settings.pretrain.init_from.is_none() {
            notes.extend(tokenizer.shortfall(settings.tokenizer.vocab_size));
        }
        let encoder = Encoder::new(&tokenizer, settings);
        let text = Split {
            train: encoder.stream(&records.text.train),
            validation: encoder.stream(&records.text.validation),
        };
        let mut left_out = 0;
        let mut demonstrations = |records: &[Demonstration]| encoder.demonstrations(records, &mut left_out);
        let demonstrations = Split {
            train: demonstrations(&records.demonstrations.train),
            validation: demonstrations(&records.demonstrations.validation),
        };
        encoder.note("demonstrations", left_out, &mut notes);
        let rankings = encoder.rankings(&records.comparisons, &mut notes)?;
        let mut left_out = 0;
        let limit = settings.ppo.max_prompt_tokens;
        let mut prompts = |records: &[Prompt]| encoder.prompts(records, limit, &mut left_out);
        let prompts = Split {
            train: prompts(&records.prompts.train),
            validation: prompts(&records.prompts.validation),
        };
        encoder.note("prompts", left_out, &mut notes);
        let mut left_out = 0;
        let limit = settings.data.max_prompt_tokens;
        let mut ranking_prompts = |records: &[Prompt]| encoder.prompts(records, limit, &mut left_out);
        let ranking_prompts = Split {
            train: ranking_prompts(&records.ranking_prompts.train),
            validation: ranking_prompts(&records.ranking_prompts.validation),
        };
        encoder.note("ranked prompts", left_out, &mut notes);
        Ok(Dataset { text, demonstrations, rankings, prompts, ranking_prompts, world, notes, tokenizer })
    }

    /// Replaces the rankings by those of one file of comparisons; returns what is to be said about it.
    ///
    /// # Errors
    /// Those of the file.
    pub fn load_rankings(&mut self, settings: &Settings, path: &Path) -> Result<Vec<String>> {
        let loaded = data::load_comparisons(path, &InstructionTemplate::default())?;
        let mut notes = Vec::new();
        if !loaded.skipped.is_empty() {
            notes.push(format!("{}: {}", path.display(), loaded.summary()));
        }
        let comparisons = split(loaded.records, settings, "comparisons", &mut notes);
        self.rankings = Encoder::new(&self.tokenizer, settings).rankings(&comparisons, &mut notes)?;
        Ok(notes)
    }
}

fn from_world(world: &World, settings: &Settings) -> Records {
    let counts = &settings.world;
    let fraction = f64::from(settings.data.validation_fraction);
    let held_out = |n: usize| ((n as f64 * fraction) as usize).max(16);
    let documents = world.pretraining_documents(counts.documents + held_out(counts.documents));
    let (train, validation) = documents.split_at(counts.documents);
    let prompts = |n: usize, held_out: usize| Split {
        train: world.prompts(n, world::Part::Train),
        validation: world.prompts(held_out, world::Part::Validation),
    };
    let ranked = |n: usize, split| {
        (0..n as u64)
            .map(|index| world.comparison(index, split, 2..=2))
            .map(|comparison| Prompt { prompt: comparison.prompt, user: comparison.user })
            .collect()
    };
    let n = counts.comparisons;
    Records {
        text: Split { train: train.to_vec(), validation: validation.to_vec() },
        demonstrations: Split {
            train: world.demonstrations(counts.demonstrations, world::Part::Train),
            validation: world.demonstrations(held_out(counts.demonstrations), world::Part::Validation),
        },
        comparisons: Split::default(),
        prompts: prompts(counts.prompts, held_out(counts.prompts).max(settings.ppo.eval_prompts)),
        ranking_prompts: Split {
            train: ranked(n, world::Part::Train),
            validation: ranked(held_out(n), world::Part::Validation),
        },
        notes: vec![format!(
            "the miniature: {} documents, {} demonstrations, {} ranked prompts, {} prompts",
            counts.documents, counts.demonstrations, counts.comparisons, counts.prompts
        )],
    }
}

fn from_files(settings: &Settings, root: &Path) -> Result<Records> {
    let files = &settings.data;
    let template = InstructionTemplate::default();
    let mut records = Records::default();
    let mut documents = Vec::new();
    for path in &files.pretraining {
        let loaded = data::load_text(&root.join(path))?;
        records.notes.push(format!("{path}: {}", loaded.summary()));
        documents.extend(loaded.records.into_iter().flat_map(|text| cut(&text)));
    }
    records.text = split(documents, settings, "documents", &mut records.notes);

    let demonstrations = load_all(&files.demonstrations, root, &mut records.notes, |path| {
        data::load_demonstrations(path, &template)
    })?;
    let comparisons = load_all(&files.comparisons, root, &mut records.notes, |path| {
        data::load_comparisons(path, &template)
    })?;
    let mut prompts =
        load_all(&files.prompts, root, &mut records.notes, |path| data::load_prompts(path, &template))?;
    if files.prompts.is_empty() {
        prompts = demonstrations
            .iter()
            .map(|record| Prompt { prompt: record.prompt.clone(), user: record.user.clone() })
            .collect();
    }
    let (prompts, over) = data::cap_per_user(prompts, files.prompts_per_user);
    if over > 0 {
        records
            .notes
            .push(format!("{over} prompts left out: more than {} of one user", files.prompts_per_user));
    }
    let mut seen = std::collections::BTreeSet::new();
    let prompts: Vec<Prompt> =
        prompts.into_iter().filter(|record| seen.insert(record.prompt.clone())).collect();
    records.demonstrations = split(demonstrations, settings, "demonstrations", &mut records.notes);
    records.comparisons = split(comparisons, settings, "comparisons", &mut records.notes);
    records.prompts = split(prompts, settings, "prompts", &mut records.notes);
    Ok(records)
}

fn load_all<T>(
    paths: &[String],
    root: &Path,
    notes: &mut Vec<String>,
    load: impl Fn(&Path) -> Result<Loaded<T>>,
) -> Result<Vec<T>> {
    let mut records = Vec::new();
    for path in paths {
        let loaded = load(&root.join(path))?;
        notes.push(format!("{path}: {}", loaded.summary()));
        records.extend(loaded.records);
    }
    Ok(records)
}

fn split<T: Record>(records: Vec<T>, settings: &Settings, what: &str, notes: &mut Vec<String>) -> Split<T> {
    let fraction = f64::from(settings.data.validation_fraction);
    let (split, left_out) = data::split(records, fraction, settings.seed);
    if left_out > 0 {
        notes.push(format!("{left_out} validation {what} left out: their prompt is also in training"));
    }
    split
}

/// Cuts a book into parts of some 8 KiB at blank lines, so that a split can hold out parts of every book;
/// a shorter document stays whole.
fn cut(text: &str) -> Vec<String> {
    const PART: usize = 8 << 10;
    if text.len() < 4 * PART {
        return vec![text.to_string()];
    }
    let (mut parts, mut part) = (Vec::new(), String::new());
    for paragraph in text.split_inclusive("\n\n") {
        part.push_str(paragraph);
        if part.len() >= PART {
            parts.push(core::mem::take(&mut part));
        }
    }
    if !part.is_empty() {
        parts.push(part);
    }
    parts
}

/// The form of the prompts that this run's models learn to answer. It goes with them.
fn prompt_format(miniature: bool) -> PromptFormat {
    if miniature {
        world::requests::prompt_format()
    } else {
        PromptFormat::from(&InstructionTemplate::default())
    }
}

/// The tokenizer of another model directory, or one trained on all training text.
fn tokenizer(settings: &Settings, root: &Path, records: &mut Records) -> Result<Tokenizer> {
    if let Some(from) = settings.tokenizer.from.as_ref().or(settings.pretrain.init_from.as_ref()) {
        let directory = root.join(from);
        let Some((tokenizer, warnings)) = load_tokenizer_with_warnings(&directory)? else {
            let found = "none of vocab.json with merges.txt, and tokenizer.json";
            return Err(Error::format(directory.display(), "", "a tokenizer", found, ""));
        };
        records.notes.extend(warnings);
        if tokenizer.around_a_text() != (&[], &[]) {
            records.notes.push(format!(
                "{}: its tokenizer puts special tokens around a text; in training there are none but {END_OF_TEXT}, \
                 and the tokenizer that is saved puts none",
                directory.display()
            ));
        }
        return Ok(tokenizer.without_tokens_around());
    }
    let demonstrations =
        records.demonstrations.train.iter().flat_map(|record| [&record.prompt, &record.response]);
    let documents = records.text.train.iter().chain(demonstrations).map(String::as_str);
    if documents.clone().next().is_none() {
        return Err(Error::usage(
            "data",
            "pretraining text or demonstrations to train a tokenizer on",
            "none",
            "name files under data.pretraining, set tokenizer.from, or set data.world = true",
        ));
    }
    Tokenizer::train(documents, settings.tokenizer.vocab_size)
}
