//! Commands that run a trained model: `sample`, `logprobs`, `score`, `tokenize`. Each reads a model
//! directory; the last three turn lines of JSON into lines of JSON, each written before the next is read.

use std::path::Path;

use super::args::{InputArgs, SampleArgs, TokenizeArgs};
use super::jsonl::{Input, Lines, Output};
use crate::checkpoint::{Model, load_model_directory_with_warnings, load_tokenizer};
use crate::engine::cpu::log_prob::{self, Workspace};
use crate::engine::cpu::scalar_head;
use crate::engine::{Outputs, Target};
use crate::error::{Error, Result};
use crate::model::{
    Activations, Batch, DecodeWeights, Draw, Head, ModelConfig, Precision, Response, Sampling, Transformer,
    generate, generate_one,
};
use crate::num::par;
use crate::num::rng::Stage;
use crate::text::Tokenizer;
use crate::text::decode::TextStream;
use serde::Serialize;

/// Writes text with a model: the response alone, without the prompt and without `<|endoftext|>`. A single
/// text appears as it is sampled; several follow each other, each under a line `--- 1 of 3 ---`.
///
/// An empty prompt is `<|endoftext|>`, as GPT-2 begins a document. Text `i` draws at
/// (seed, [`Stage::Sample`], step 0, episode i), so it does not depend on how many there are.
///
/// # Errors
/// A prompt that leaves no room in the context ([`Error::Usage`]), a model directory that is broken, a
/// reward model or without a tokenizer ([`Error::Io`], [`Error::Format`]).
pub fn sample(args: &SampleArgs) -> Result<()> {
    let (model, parameters) = load(&args.model, Head::LanguageModel, args.precision)?;
    let tokenizer = required_tokenizer(&args.model)?;
    let prompt = prompt(&args.prompt, &tokenizer, &model.config)?;
    let sampling = Sampling {
        temperature: args.temperature,
        top_k: args.top_k,
        top_p: args.top_p,
        max_new_tokens: args.max_new_tokens,
        end_of_text: Some(tokenizer.end_of_text()),
    };
    let draw = |i: usize| Draw { seed: args.seed, stage: Stage::Sample, step: 0, episode: i as u64 };
    let mut output = Output::stdout();
    if args.count == 1 {
        let (mut text, mut written) = (TextStream::default(), Ok(true));
        let weights = DecodeWeights::plain(&model, &parameters);
        let response = generate_one(&weights, &prompt, &sampling, draw(0), |token| {
            if token != tokenizer.end_of_text() {
                written = output.piece(&text.push(bytes_of(&tokenizer, token)));
            }
            matches!(written, Ok(true))
        });
        written?;
        output.text(&text.finish())?;
        return finite(&response, &args.model);
    }
    let weights = DecodeWeights::new(&model, &parameters);
    // As many at a time as all threads decode at once.
    let together = 32 * par::threads();
    for first in (0..args.count).step_by(together) {
        let numbers = first..args.count.min(first + together);
        let draws: Vec<Draw> = numbers.clone().map(draw).collect();
        let prompts = vec![prompt.as_slice(); draws.len()];
        let responses = generate(&weights, &prompts, &sampling, &draws, &|_| true);
        for (i, response) in numbers.zip(&responses) {
            finite(response, &args.model)?;
            let tokens = &response.tokens[..response.tokens.len() - usize::from(response.ended)];
            output.text(&format!("--- {} of {} ---", i + 1, args.count))?;
            if !output.text(&tokenizer.decode_lossy(tokens))? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// A token's bytes; U+FFFD for an id that only the model has (a padded vocabulary).
fn bytes_of(tokenizer: &Tokenizer, token: u32) -> &[u8] {
    tokenizer.token(token).unwrap_or("\u{fffd}".as_bytes())
}

/// The prompt's tokens, which leave room for at least one more.
fn prompt(text: &str, tokenizer: &Tokenizer, config: &ModelConfig) -> Result<Vec<u32>> {
    let tokens = if text.is_empty() { vec![tokenizer.end_of_text()] } else { tokenizer.encode(text) };
    if let Some(token) = tokens.iter().find(|&&token| token as usize >= config.vocab_size) {
        let expected = format!("tokens below {} (the model's vocabulary)", config.vocab_size);
        let hint = "the tokenizer's files belong to another model";
        return Err(Error::usage("--prompt", expected, format!("token {token}"), hint));
    }
    if tokens.len() >= config.context {
        let expected = format!("at most {} tokens (the model's context but one)", config.context - 1);
        return Err(Error::usage("--prompt", expected, format!("{} tokens", tokens.len()), ""));
    }
    Ok(tokens)
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

/// A line that `logprobs` writes.
#[derive(Serialize)]
struct LogProbs {
    tokens: Vec<u32>,
    logprobs: Vec<f32>,
}

/// Log-probs of given tokens: `logprobs[i] = ln p(tokens[i+1] | tokens[..=i])`, none for a single token.
/// Of `{"prompt","response"}` the tokens are the prompt's followed by the response's, nothing between or
/// after them.
///
/// # Errors
/// A line that is wrong for this model ([`Error::Format`] with its number; all lines before it are
/// answered), a reward model, a directory or input that cannot be read.
pub fn logprobs(args: &InputArgs) -> Result<()> {
    let mut inputs = Inputs::open(args, false)?;
    let mut trunk = Trunk::load(args, Head::LanguageModel)?;
    let (vocab_size, width) = (trunk.model.config.vocab_size, trunk.model.config.width);
    let mut work = Workspace::new(vocab_size, width, trunk.model.config.context);
    let mut output = Output::stdout();
    while let Some(tokens) = inputs.next(&trunk.model.config)? {
        let known = tokens.len() - 1;
        let targets: Vec<Target> =
            (0..known).map(|t| Target { row: t as u32, token: tokens[t + 1] }).collect();
        let (mut logprobs, mut entropies) = (vec![0.0; known], vec![0.0; known]);
        if known > 0 {
            trunk.forward(&tokens[..known]);
            let outputs = Outputs { log_probs: &mut logprobs, entropies: &mut entropies };
            let (hidden, head) = (trunk.hidden(known), trunk.head());
            let precision = trunk.model.config.precision;
            log_prob::forward(precision, outputs, hidden, head, width, &targets, 1.0, &mut work);
        }
        inputs.check_finite("log-probs", &logprobs)?;
        if !output.record(&LogProbs { tokens, logprobs })? {
            break;
        }
    }
    Ok(())
}

/// A line that `score` writes.
#[derive(Serialize)]
struct Reward {
    tokens: Vec<u32>,
    reward: f32,
}

/// Rewards of given responses: the scalar head at the last token. To `{"prompt","response"}` the end of the
/// response, `<|endoftext|>`, is added, as the reward model was trained on it; `{"text"}` and `{"tokens"}`
/// are taken as they are.
///
/// # Errors
/// As [`logprobs`], with a language model instead of a reward model.
pub fn score(args: &InputArgs) -> Result<()> {
    let mut inputs = Inputs::open(args, true)?;
    let mut trunk = Trunk::load(args, Head::Scalar)?;
    let width = trunk.model.config.width;
    let mut output = Output::stdout();
    while let Some(tokens) = inputs.next(&trunk.model.config)? {
        trunk.forward(&tokens);
        let last = &trunk.hidden(tokens.len())[(tokens.len() - 1) * width..];
        let reward = scalar_head::forward(last, trunk.head());
        inputs.check_finite("a reward", &[reward])?;
        if !output.record(&Reward { tokens, reward })? {
            break;
        }
    }
    Ok(())
}

/// A line that `tokenize` writes.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Tokenized {
    Tokens(Vec<u32>),
    Text(String),
    Bytes(Vec<u8>),
}

/// Text to tokens. With `--decode`, tokens to text; tokens that end or begin inside a character are no text
/// and come out as `{"bytes":[..]}`.
///
/// # Errors
/// No tokenizer in the directory; a line of the wrong kind or a token outside the vocabulary
/// ([`Error::Format`] with its number).
pub fn tokenize(args: &TokenizeArgs) -> Result<()> {
    let mut lines = Lines::open(args.input.as_deref())?;
    let tokenizer = required_tokenizer(&args.model)?;
    let mut output = Output::stdout();
    while let Some(input) = lines.input()? {
        let answer = match (args.decode, input) {
            (false, Input::Text(text)) => Tokenized::Tokens(tokenizer.encode(&text)),
            (true, Input::Tokens(tokens)) => {
                let unknown = tokens.iter().position(|&token| tokenizer.token(token).is_none());
                if let Some(i) = unknown {
                    let expected = format!("tokens of the vocabulary of {}", tokenizer.vocab_size());
                    return Err(lines.wrong(&expected, &format!("tokens[{i}] = {}", tokens[i]), ""));
                }
                match String::from_utf8(tokenizer.decode(&tokens)?) {
                    Ok(text) => Tokenized::Text(text),
                    Err(error) => Tokenized::Bytes(error.into_bytes()),
                }
            }
            (false, _) => {
                return Err(lines.wrong("{\"text\":\"..\"}", "another kind", "--decode takes tokens"));
            }
            (true, _) => {
                return Err(lines.wrong(
                    "{\"tokens\":[..]}",
                    "another kind",
                    "without --decode, text is taken",
                ));
            }
        };
        if !output.record(&answer)? {
            break;
        }
    }
    Ok(())
}

/// Loads a model of the wanted kind, to compute in its own precision or in the one asked for; what the user
/// should know goes to standard error.
fn load(directory: &Path, wanted: Head, precision: Option<Precision>) -> Result<(Transformer, Vec<f32>)> {
    let (Model { mut config, head, layout, parameters }, warnings) =
        load_model_directory_with_warnings(directory)?;
    for warning in warnings {
        eprintln!("note: {warning}");
    }
    let kind = |head| match head {
        Head::LanguageModel => "a language model",
        Head::Scalar => "a reward model",
    };
    if head != wanted {
        let hint = match head {
            Head::LanguageModel => "log-probs of a language model: instructgpt logprobs",
            Head::Scalar => "rewards of a reward model: instructgpt score",
        };
        return Err(Error::format(directory.display(), "config.json", kind(wanted), kind(head), hint));
    }
    config.precision = precision.unwrap_or(config.precision);
    Ok((Transformer { config, head, layout }, parameters))
}

/// The tokenizer of a directory that must have one.
fn required_tokenizer(directory: &Path) -> Result<Tokenizer> {
    if !directory.is_dir() {
        return Err(Error::io(directory.display(), "read", "no such directory"));
    }
    load_tokenizer(directory)?
        .ok_or_else(|| Error::format(directory.display(), "", TOKENIZER_FILES, "none of them", ""))
}

const TOKENIZER_FILES: &str = "a tokenizer (vocab.json and merges.txt, or tokenizer.json)";

/// The input lines of `logprobs` and `score`, as tokens that the model can take.
struct Inputs<'a> {
    lines: Lines,
    directory: &'a Path,
    /// Loaded by the first line that is not tokens: where there are only those, no tokenizer is needed.
    tokenizer: Option<Tokenizer>,
    /// Whether `<|endoftext|>` follows a response.
    end_response: bool,
}

impl<'a> Inputs<'a> {
    fn open(args: &'a InputArgs, end_response: bool) -> Result<Self> {
        let lines = Lines::open(args.input.as_deref())?;
        Ok(Inputs { lines, directory: &args.model, tokenizer: None, end_response })
    }

    /// The next line's tokens: at least one, all in the vocabulary, no more than the context.
    fn next(&mut self, config: &ModelConfig) -> Result<Option<Vec<u32>>> {
        let Some(input) = self.lines.input()? else { return Ok(None) };
        let (tokens, hint) = match input {
            Input::Tokens(tokens) => (tokens, ""),
            Input::Text(text) => (self.tokenizer()?.encode(&text), OTHER_TOKENIZER),
            Input::Pair { prompt, response } => {
                let end = self.end_response;
                let tokenizer = self.tokenizer()?;
                let mut tokens = tokenizer.encode(&prompt);
                tokens.extend(tokenizer.encode(&response));
                tokens.extend(end.then_some(tokenizer.end_of_text()));
                (tokens, OTHER_TOKENIZER)
            }
        };
        if tokens.is_empty() {
            return Err(self.lines.wrong("at least one token", "none", ""));
        }
        if let Some(i) = tokens.iter().position(|&token| token as usize >= config.vocab_size) {
            let expected = format!("tokens below {} (the model's vocabulary)", config.vocab_size);
            return Err(self.lines.wrong(&expected, &format!("tokens[{i}] = {}", tokens[i]), hint));
        }
        if tokens.len() > config.context {
            let expected = format!("at most {} tokens (the model's context)", config.context);
            return Err(self.lines.wrong(&expected, &tokens.len().to_string(), ""));
        }
        Ok(Some(tokens))
    }

    fn tokenizer(&mut self) -> Result<&Tokenizer> {
        if self.tokenizer.is_none() {
            self.tokenizer = load_tokenizer(self.directory)?;
        }
        self.tokenizer.as_ref().ok_or_else(|| {
            let expected = format!("{TOKENIZER_FILES} in {} for this text", self.directory.display());
            self.lines.wrong(&expected, "none of them", "{\"tokens\":[..]} needs no tokenizer")
        })
    }

    /// Refuses an answer that is no number; JSON could not say it either.
    fn check_finite(&self, what: &str, values: &[f32]) -> Result<()> {
        match values.iter().find(|value| !value.is_finite()) {
            None => Ok(()),
            Some(value) => {
                let expected = format!("{what} that can be computed");
                let hint = format!("the weights in {} overflow on this input", self.directory.display());
                Err(self.lines.wrong(&expected, &value.to_string(), &hint))
            }
        }
    }
}

const OTHER_TOKENIZER: &str = "the tokenizer's files belong to another model";

/// A model with the memory of a forward pass over one sequence.
struct Trunk {
    model: Transformer,
    parameters: Vec<f32>,
    batch: Batch,
    activations: Activations,
}

impl Trunk {
    fn load(args: &InputArgs, head: Head) -> Result<Trunk> {
        let (model, parameters) = load(&args.model, head, args.precision)?;
        let activations = Activations::for_inference(&model.config, 0);
        Ok(Trunk { model, parameters, batch: Batch::with_capacity(0, 1), activations })
    }

    /// Runs one sequence; the memory grows with the longest.
    fn forward(&mut self, tokens: &[u32]) {
        if tokens.len() > self.activations.max_tokens {
            let room = tokens.len().next_power_of_two().min(self.model.config.context);
            self.activations = Activations::for_inference(&self.model.config, room);
        }
        self.batch.clear();
        self.batch.push(tokens, 0);
        self.model.forward(&self.parameters, &self.batch, &mut self.activations, None);
    }

    /// The hidden states of the last forward's `n` tokens, (n, C).
    fn hidden(&self, n: usize) -> &[f32] {
        &self.activations.hidden[..n * self.model.config.width]
    }

    fn head(&self) -> &[f32] {
        &self.parameters[self.model.layout.head.clone()]
    }
}
