//! The data of a run in tokens: four sets, split over all of them together. (`records` reads, filters and splits them.)

use std::path::Path;

use super::account::Account;
use super::encoder::Encoder;
use super::records::{self, Records};
use super::stream::TextStream;
use crate::checkpoint::load_tokenizer_with_warnings;
use crate::data::Split;
use crate::error::{Error, Result};
use crate::model::Sequence;
use crate::settings::Settings;
use crate::text::{END_OF_TEXT, Tokenizer};
use crate::world::World;

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
    /// Who ranked, where that is known.
    pub labeler: Option<String>,
}

impl Ranking {
    /// Puts the responses in canonical order.
    pub fn new(responses: Vec<Example>, ranks: Vec<u32>) -> Self {
        assert_eq!(responses.len(), ranks.len(), "one rank per response");
        let mut order: Vec<(u32, Example)> = ranks.into_iter().zip(responses).collect();
        order.sort();
        let (ranks, responses) = order.into_iter().unzip();
        Ranking { responses, ranks, labeler: None }
    }

    /// The prompt's tokens.
    pub fn prompt(&self) -> &[u32] {
        self.responses.first().map_or(&[], |first| &first.tokens[..first.prompt])
    }
}

/// The data of a run, in tokens.
pub struct Dataset {
    /// Shared by all models of the run. With it goes the form in which they are asked: as most of the demonstrations have
    /// it (else, of the prompts; else, of the comparisons).
    pub tokenizer: Tokenizer,
    /// Pretraining text.
    pub text: Split<TextStream>,
    /// Demonstrations.
    pub demonstrations: Split<Vec<Example>>,
    /// Rankings from files; in the miniature those that the stage `collect` has made, see
    /// [`Dataset::load_rankings`].
    pub rankings: Split<Vec<Ranking>>,
    /// Prompts for PPO.
    pub prompts: Split<Vec<Vec<u32>>>,
    /// Prompts whose responses labelers will rank (miniature only).
    pub ranking_prompts: Split<Vec<Vec<u32>>>,
    /// The miniature, which can judge.
    pub world: Option<World>,
    /// Where the records of each kind went.
    pub accounts: Vec<Account>,
    /// What was loaded and what was left out, for the log.
    pub notes: Vec<String>,
}

impl Dataset {
    /// Loads everything `settings` names, relative to `root`, and trains (or loads) the tokenizer.
    ///
    /// # Errors
    /// Those of the files; [`Error::Usage`] if nothing is configured for a part that is needed.
    pub fn load(settings: &Settings, root: &Path) -> Result<Self> {
        Dataset::load_with(settings, root, None)
    }

    /// [`Dataset::load`] with the tokenizer of a run that is under way, whose models know no other.
    ///
    /// # Errors
    /// As [`Dataset::load`].
    pub fn load_with(settings: &Settings, root: &Path, known: Option<Tokenizer>) -> Result<Self> {
        let world = settings.data.world.then(|| World::new(settings.seed));
        let mut records = match &world {
            Some(world) => records::from_world(world, settings),
            None => records::from_files(settings, root)?,
        };
        let mut tokenizer = match known {
            Some(tokenizer) => tokenizer,
            None => tokenizer(settings, root, &mut records)?,
        };
        let Records { text, demonstrations, comparisons, prompts, ranking_prompts, format, mut notes } =
            records;
        // It goes with every model of the run.
        tokenizer.prompt_format = Some(format);
        if settings.tokenizer.from.is_none() && settings.pretrain.init_from.is_none() {
            notes.extend(tokenizer.shortfall(settings.tokenizer.vocab_size));
        }
        let (encoder, mut accounts) = (Encoder::new(&tokenizer, settings), Vec::new());
        let text = encoder.text(text, &mut accounts);
        let demonstrations = encoder.demonstrations(demonstrations, &mut accounts);
        let rankings = encoder.rankings(comparisons, &mut accounts)?;
        let prompts =
            encoder.prompts(prompts, "ppo.max_prompt_tokens", settings.ppo.max_prompt_tokens, &mut accounts);
        let limit = settings.data.max_prompt_tokens;
        let ranking_prompts =
            encoder.prompts(ranking_prompts, "data.max_prompt_tokens", limit, &mut accounts);
        notes.extend(accounts.iter().filter(|account| account.read > 0).map(Account::to_string));
        Ok(Dataset {
            tokenizer,
            text,
            demonstrations,
            rankings,
            prompts,
            ranking_prompts,
            world,
            accounts,
            notes,
        })
    }

    /// Replaces the rankings by those of one file of comparisons that name their sides; returns what is to be said about
    /// it.
    ///
    /// # Errors
    /// Those of the file.
    pub fn load_rankings(&mut self, settings: &Settings, path: &Path) -> Result<Vec<String>> {
        let (mut notes, mut accounts) = (Vec::new(), Vec::new());
        let comparisons = records::collected(settings, path, &mut notes)?;
        self.rankings = Encoder::new(&self.tokenizer, settings).rankings(comparisons, &mut accounts)?;
        notes.extend(accounts.iter().map(Account::to_string));
        Ok(notes)
    }

    /// Where the records of a kind went; `None` if there were none.
    pub fn account(&self, kind: &str) -> Option<&Account> {
        self.accounts.iter().find(|account| account.kind == kind && account.read > 0)
    }
}

/// The tokenizer of another model directory, or one trained on all training text.
pub(super) fn tokenizer(settings: &Settings, root: &Path, records: &mut Records) -> Result<Tokenizer> {
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
    let demonstrations = &records.demonstrations.sides.train;
    let demonstrations = demonstrations.iter().flat_map(|record| [&record.prompt, &record.response]);
    let text = records.text.sides.train.iter().map(|passage| &passage.text);
    let documents = text.chain(demonstrations).map(String::as_str);
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

#[cfg(test)]
mod tests;
