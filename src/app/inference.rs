//! Commands that run a trained model: `sample`, `logprobs`, `score`, `tokenize`. Each reads a model
//! directory; the last three turn lines of JSON into lines of JSON, each written before the next is read.

use std::path::Path;

use super::args::{InputArgs, SampleArgs, TokenizeArgs};
use super::jsonl::{Input, Lines, Output};
use super::writer::Writer;
use crate::checkpoint::{load_model_directory_with_warnings, load_tokenizer_with_warnings};
use crate::engine::{Device, Engine};
use crate::error::{Error, Result};
use crate::model::{Head, ModelConfig, Network, Precision, Sequence};
use crate::run::stderr::say;
use crate::text::{END_OF_TEXT, Tokenizer};
use serde::Serialize;

/// Writes text with a model: the response alone, without the prompt and without the token that ends it. A single
/// text appears as it is sampled; several follow each other, each under a line `--- 1 of 3 ---`.
///
/// # Errors
/// A prompt that leaves no room in the context ([`Error::Usage`]), a model directory that is broken, a
/// reward model or without a tokenizer ([`Error::Io`], [`Error::Format`]).
pub fn sample<E: Engine>(args: &SampleArgs, engine: E) -> Result<()> {
    let writer = Writer::open(&args.write.model, &args.write.draw, args.write.seed, engine)?;
    let prompt = writer.prompt(&args.prompt, "--prompt")?;
    let mut output = Output::stdout();
    if args.count == 1 {
        return writer.stream(&prompt, 0, &mut output).map(drop);
    }
    writer.texts(&prompt, args.count, |i, text| {
        output.text(&format!("--- {} of {} ---", i + 1, args.count))?;
        output.text(text)
    })
}

/// A line that `logprobs` writes.
#[derive(Serialize)]
struct LogProbs {
    tokens: Vec<u32>,
    logprobs: Vec<f32>,
}

/// Log-probs of given tokens: `logprobs[i] = ln p(tokens[i+1] | tokens[..=i])`, none for a single token.
/// Of `{"prompt","response"}` the tokens are the prompt's followed by the response's, nothing after them; both are in the
/// form that the model carries.
///
/// # Errors
/// A line that is wrong for this model ([`Error::Format`] with its number; all lines before it are
/// answered), a reward model, a directory or input that cannot be read.
pub fn logprobs<E: Engine>(args: &InputArgs, engine: E) -> Result<()> {
    let mut inputs = Inputs::open(args, false)?;
    let mut network = load(&args.model, Head::LanguageModel, args.precision, engine)?;
    let mut output = Output::stdout();
    while let Some(tokens) = inputs.next(&network.config)? {
        let logprobs = network.log_probs(&[Sequence::text(&tokens)], 1.0);
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

/// Rewards of given responses: the scalar head at the last token that is not the model's pad token. To
/// `{"prompt","response"}`, in the form that the model carries, the end of the response, `<|endoftext|>`, is added, as
/// the reward model was trained on it; `{"text"}` and `{"tokens"}` are taken as they are.
///
/// # Errors
/// As [`logprobs`], with a language model instead of a reward model.
pub fn score<E: Engine>(args: &InputArgs, engine: E) -> Result<()> {
    let mut inputs = Inputs::open(args, true)?;
    let mut network = load(&args.model, Head::Scalar, args.precision, engine)?;
    let mut output = Output::stdout();
    while let Some(tokens) = inputs.next(&network.config)? {
        let [reward] = network.scores([tokens.as_slice()])[..] else { unreachable!("a score for each") };
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
    let mut told = Told::default();
    while let Some(input) = lines.input()? {
        let answer = match (args.decode, input) {
            (false, Input::Text(text)) => {
                told.about(&text);
                Tokenized::Tokens(tokenizer.encode_whole(&text))
            }
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
pub(super) fn load<E: Engine>(
    directory: &Path,
    wanted: Head,
    precision: Option<Precision>,
    engine: E,
) -> Result<Network<E>> {
    let (mut network, warnings) = load_model_directory_with_warnings(directory)?;
    warnings.iter().for_each(|warning| say(format_args!("note: {warning}")));
    let kind = |head| match head {
        Head::LanguageModel => "a language model",
        Head::Scalar => "a reward model",
    };
    let head = network.head;
    if head != wanted {
        let hint = match head {
            Head::LanguageModel => "log-probs of a language model: instructgpt logprobs",
            Head::Scalar => "rewards of a reward model: instructgpt score",
        };
        return Err(Error::format(directory.display(), "config.json", kind(wanted), kind(head), hint));
    }
    if let Some(asked) = precision {
        if E::ON_HOST {
            Device::Cpu.check_precision(asked)?;
        }
        network.config.precision = asked;
    } else if E::ON_HOST && !network.config.precision.is_exact() {
        let (trained, exact) = (network.config.precision, network.config.precision.exact());
        say(format_args!(
            "note: trained in {} on a GPU; the processor computes in {}",
            trained.name(),
            exact.name()
        ));
        network.config.precision = exact;
    }
    Ok(network.on(engine))
}

/// The tokenizer of a directory that must have one; what the user should know goes to standard error.
pub(super) fn required_tokenizer(directory: &Path) -> Result<Tokenizer> {
    if !directory.is_dir() {
        return Err(Error::io(directory.display(), "read", "no such directory"));
    }
    noted_tokenizer(directory)?
        .ok_or_else(|| Error::format(directory.display(), "", TOKENIZER_FILES, "none of them", ""))
}

fn noted_tokenizer(directory: &Path) -> Result<Option<Tokenizer>> {
    let Some((tokenizer, warnings)) = load_tokenizer_with_warnings(directory)? else { return Ok(None) };
    warnings.iter().for_each(|warning| say(format_args!("note: {warning}")));
    Ok(Some(tokenizer))
}

/// Said where a text holds those characters.
pub(super) const PLAIN_END_OF_TEXT: &str = "note: the characters <|endoftext|> in a text are plain text here; \
     transformers makes a token of them, which {\"tokens\":[..]} can do here";

/// What was said already: once is enough.
#[derive(Default)]
struct Told {
    end_of_text: bool,
    in_form: bool,
}

impl Told {
    /// Says what has to be said about a text.
    fn about(&mut self, text: &str) {
        if !self.end_of_text && text.contains(END_OF_TEXT) {
            self.end_of_text = true;
            say(PLAIN_END_OF_TEXT);
        }
    }

    /// Says that a prompt was in the model's form already.
    fn in_form(&mut self) {
        if !self.in_form {
            self.in_form = true;
            say("note: a prompt that is in the model's form already (prompt_format.json) is taken as it is");
        }
    }
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
    /// Whether prompts and responses are taken as they are.
    raw: bool,
    told: Told,
}

impl<'a> Inputs<'a> {
    fn open(args: &'a InputArgs, end_response: bool) -> Result<Self> {
        let lines = Lines::open(args.input.as_deref())?;
        let (directory, raw) = (args.model.as_path(), args.raw);
        Ok(Inputs { lines, directory, tokenizer: None, end_response, raw, told: Told::default() })
    }

    /// The next line's tokens: at least one, all in the vocabulary, no more than the context.
    fn next(&mut self, config: &ModelConfig) -> Result<Option<Vec<u32>>> {
        let Some(input) = self.lines.input()? else { return Ok(None) };
        let (tokens, hint) = match input {
            Input::Tokens(tokens) => (tokens, ""),
            Input::Text(text) => {
                self.told.about(&text);
                (self.tokenizer()?.encode_whole(&text), OTHER_TOKENIZER)
            }
            Input::Pair { prompt, response } => (self.pair(&prompt, &response)?, OTHER_TOKENIZER),
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

    /// Prompt and response, each encoded by itself as in training.
    fn pair(&mut self, prompt: &str, response: &str) -> Result<Vec<u32>> {
        self.told.about(prompt);
        self.told.about(response);
        let (raw, end_response) = (self.raw, self.end_response);
        let tokenizer = self.tokenizer()?;
        let format = tokenizer.prompt_format.clone().filter(|_| !raw).unwrap_or_default();
        let mut tokens = tokenizer.around_a_text().0.to_vec();
        tokens.extend(tokenizer.encode(&format.prompt(prompt)));
        tokens.extend(tokenizer.encode(&format.response(response)));
        tokens.extend(end_response.then_some(tokenizer.end_of_text()));
        if format.is_in_form(prompt) {
            self.told.in_form();
        }
        Ok(tokens)
    }

    fn tokenizer(&mut self) -> Result<&Tokenizer> {
        if self.tokenizer.is_none() {
            self.tokenizer = noted_tokenizer(self.directory)?;
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
