//! A model that writes text for `sample`, `chat` and `label`: how it is asked, how it draws, and what ends a text.

use std::path::{Path, PathBuf};

use super::args::DrawArgs;
use super::inference::{PLAIN_END_OF_TEXT, load, required_tokenizer};
use super::jsonl::Output;
use crate::checkpoint::load_generation;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::model::{Draw, Head, Network, Response, Sampling, generate_one, generate_until};
use crate::num::par;
use crate::num::rng::Stage;
use crate::run::stderr::say;
use crate::text::decode::TextStream;
use crate::text::prompt_format::AnswerStream;
use crate::text::{END_OF_TEXT, PromptFormat, Tokenizer};

/// A language model with all it needs to write.
pub struct Writer<E: Engine> {
    network: Network<E>,
    tokenizer: Tokenizer,
    sampling: Sampling,
    /// Each of them ends a text: at least one.
    stop_tokens: Vec<u32>,
    seed: u64,
    /// How the model wants to be asked; `None` where text is taken as it is.
    pub format: Option<PromptFormat>,
    directory: PathBuf,
}

impl<E: Engine> Writer<E> {
    /// Opens a model that writes as `args` say and draws from `seed`; notes go to standard error.
    ///
    /// # Errors
    /// A model directory that is broken, a reward model or without a tokenizer ([`Error::Io`], [`Error::Format`]).
    pub fn open(model: &Path, args: &DrawArgs, seed: u64, engine: E) -> Result<Self> {
        let network = load(model, Head::LanguageModel, args.precision, engine)?;
        let mut tokenizer = required_tokenizer(model)?;
        let generation = load_generation(model)?;
        generation.notes.iter().for_each(|note| say(format_args!("note: {note}")));
        let mut stop_tokens = generation.stop_tokens;
        if stop_tokens.is_empty() {
            stop_tokens.push(tokenizer.end_of_text());
        }
        let vocab_size = network.config.vocab_size;
        if stop_tokens.iter().all(|&token| token as usize >= vocab_size) {
            say(format_args!(
                "note: {}: eos_token_id names no token of the model's vocabulary of {vocab_size}, so none ends a text",
                model.display()
            ));
        }
        let sampling = Sampling {
            temperature: args.temperature,
            top_k: args.top_k,
            top_p: args.top_p,
            max_new_tokens: args.max_new_tokens,
            end_of_text: Some(stop_tokens[0]),
        };
        let format = tokenizer.prompt_format.take().filter(|_| !args.raw);
        let directory = model.to_path_buf();
        Ok(Writer { network, tokenizer, sampling, stop_tokens, seed, format, directory })
    }

    /// The tokens of a request in the model's form, which leave room for at least one more; an empty one is
    /// `<|endoftext|>`, as GPT-2 begins a document. `origin` names the request in messages.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn prompt(&self, request: &str, origin: &str) -> Result<Vec<u32>> {
        let (tokens, room) = (self.tokens(request, origin)?, self.room());
        if tokens.len() > room {
            let expected = format!("at most {room} tokens (the model's context but one)");
            return Err(Error::usage(origin, expected, format!("{} tokens", tokens.len()), ""));
        }
        Ok(tokens)
    }

    /// Most tokens of a prompt: one more has to fit into the context.
    pub fn room(&self) -> usize {
        self.network.config.context - 1
    }

    /// The tokens of a request as [`Writer::prompt`] gives them, however many they are.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn tokens(&self, request: &str, origin: &str) -> Result<Vec<u32>> {
        let (tokenizer, config) = (&self.tokenizer, &self.network.config);
        if request.contains(END_OF_TEXT) {
            say(PLAIN_END_OF_TEXT);
        }
        let before = tokenizer.around_a_text().0;
        let tokens = match &self.format {
            _ if request.is_empty() => vec![tokenizer.end_of_text()],
            Some(format) => [before, &tokenizer.encode(&format.prompt(request))].concat(),
            None => [before, &tokenizer.encode(request)].concat(),
        };
        if let Some(token) = tokens.iter().find(|&&token| token as usize >= config.vocab_size) {
            let expected = format!("tokens below {} (the model's vocabulary)", config.vocab_size);
            let hint = "the tokenizer's files belong to another model";
            return Err(Error::usage(origin, expected, format!("token {token}"), hint));
        }
        Ok(tokens)
    }

    /// Text `number` draws at (seed, [`Stage::Sample`], step 0, episode `number`), so it does not depend on others.
    fn draw(&self, number: usize) -> Draw {
        Draw { seed: self.seed, stage: Stage::Sample, step: 0, episode: number as u64 }
    }

    /// Writes text `number` after a prompt as it is sampled, and a line's end. `false`: the reader has gone.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] for weights that overflow.
    pub fn stream(&self, prompt: &[u32], number: usize, output: &mut Output) -> Result<bool> {
        let (mut text, mut answer) = (TextStream::default(), self.answer_stream());
        let mut written = Ok(true);
        let response = generate_one(&self.network, prompt, &self.sampling, self.draw(number), |token| {
            if self.stop_tokens.contains(&token) {
                return false;
            }
            // U+FFFD for an id that only the model has (a padded vocabulary).
            let bytes = self.tokenizer.token(token).unwrap_or("\u{fffd}".as_bytes());
            written = output.piece(&answer.push(&text.push(bytes)));
            matches!(written, Ok(true))
        });
        written?;
        let rest = answer.push(&text.finish()) + &answer.finish();
        let open = output.text(&rest)?;
        finite(&response, &self.directory)?;
        Ok(open)
    }

    /// The first `count` texts after a prompt, each given to `each` with its number; `each` returns whether to go on.
    ///
    /// # Errors
    /// As [`Writer::stream`].
    pub fn texts(
        &self,
        prompt: &[u32],
        count: usize,
        mut each: impl FnMut(usize, &str) -> Result<bool>,
    ) -> Result<()> {
        let weights = self.weights();
        // As many at a time as are decoded at once.
        let together = E::DECODED * if E::ON_HOST { par::threads() } else { 1 };
        for first in (0..count).step_by(together) {
            let draws: Vec<Draw> = (first..count.min(first + together)).map(|i| self.draw(i)).collect();
            let texts = self.answers(&weights, &vec![prompt; draws.len()], &draws)?;
            for (i, text) in (first..).zip(&texts) {
                if !each(i, text)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The weights as [`Writer::answers`] wants them: packed once for all texts.
    pub fn weights(&self) -> E::Weights<'_> {
        self.network.packed_weights()
    }

    /// A text after each prompt, drawn at its address. None depends on the others.
    ///
    /// # Errors
    /// [`Error::Format`] for weights that overflow.
    pub fn answers(
        &self,
        weights: &E::Weights<'_>,
        prompts: &[&[u32]],
        draws: &[Draw],
    ) -> Result<Vec<String>> {
        let stops = |tokens: &[u32]| tokens.last().is_some_and(|last| self.stop_tokens.contains(last));
        let stop = |_: usize, tokens: &[u32]| stops(tokens);
        let responses = generate_until(&self.network, weights, prompts, &self.sampling, draws, &stop);
        let text = |response: &Response| {
            finite(response, &self.directory)?;
            let tokens = &response.tokens[..response.tokens.len() - usize::from(stops(&response.tokens))];
            let mut answer = self.answer_stream();
            Ok(answer.push(&self.tokenizer.decode_lossy(tokens)) + &answer.finish())
        };
        responses.iter().map(text).collect()
    }

    fn answer_stream(&self) -> AnswerStream {
        AnswerStream::new(self.format.as_ref().map_or("", |format| &format.before_response))
    }
}

/// Refuses a response that was drawn from no distribution.
fn finite(response: &Response, directory: &Path) -> Result<()> {
    match response.log_probs.iter().position(|p| !p.is_finite()) {
        None => Ok(()),
        Some(position) => Err(Error::format(
            directory.display(),
            "",
            "weights that give finite log-probs",
            format!("{} for sampled token {position}", response.log_probs[position]),
            "the weights overflow, or --temperature is too small (0 takes the most likely token)",
        )),
    }
}
