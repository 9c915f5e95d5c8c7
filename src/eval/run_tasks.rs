//! Asks a model the documents of a task: prompts with their examples, batches, scores, and a line for each document.
//!
//! Nothing here depends on threads or on how documents are put together: a document's bits are its own.

mod examples;
mod shared_out;

use std::ops::Range;

use super::loglikelihood::{Likelihood, Pair, Reader, Unfit, pair};
use super::samples::{Answer, Answered, sample};
use super::scorer::{self, Text};
use super::tasks::measures::{Figure, Scored, figures, first};
use super::tasks::{Choice, Instruction, Item, Request, Score, Style, Task, Writing, Written};
use super::writing::{Start, start, write};
use crate::data::fields::Fields;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::model::Network;
use crate::run::progress::Progress;
use crate::text::Tokenizer;

/// How a model is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asking {
    /// In whose words.
    pub style: Style,
    /// Documents of the same file that are shown before each, with their answers; never one about the same text.
    pub shots: usize,
    /// Chooses them.
    pub seed: u64,
    /// Only so many documents, the first ones. (Examples come from all.)
    pub limit: Option<usize>,
    /// What stands before a sentence whose bias is measured, or before one to go on with.
    pub instruction: Instruction,
}

/// A task whose documents were read and found good.
pub struct Prepared {
    task: &'static dyn Task,
    asking: Asking,
    /// The file's name, for messages.
    origin: String,
    items: Vec<Item>,
}

/// What a model made of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Documents of the file, and how many of them were asked.
    pub documents: (usize, usize),
    /// The measures, in the task's order. None of texts that nobody judged.
    pub figures: Vec<Figure>,
    /// Prompts that were too long for the model, and the tokens that were cut off them in all.
    pub cut: (usize, usize),
    /// A line of JSON for each document.
    pub samples: String,
}

/// How long a prompt is and what follows it, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Length {
    /// With all that stands before.
    pub prompt: usize,
    /// Of the continuation, or the most that may be written.
    pub following: usize,
    /// Whether it is written.
    pub written: bool,
}

/// Documents are handed to the model until their tokens would fill so many passes, if none began as another.
const TOGETHER: usize = 8;
/// Room for the texts that are written at a time, in tokens.
pub const ROOM: usize = 1 << 13;

impl Prepared {
    /// Reads the documents of a task as they are to be asked.
    ///
    /// # Errors
    /// [`Error::Usage`] for a style, an instruction or examples that the task does not have; [`Error::Format`] with the
    /// line of a document that is not what the task needs.
    pub fn new(task: &'static dyn Task, documents: &[Fields], asking: Asking) -> Result<Prepared> {
        let card = task.card();
        let name = card.name;
        if !card.styles.contains(&asking.style) {
            let styles: Vec<&str> = card.styles.iter().map(|style| style.name()).collect();
            let expected = format!("{} for {name}", styles.join(" or "));
            let hint = "instructgpt evaluate --list says what each task has";
            return Err(Error::usage("--style", expected, asking.style.name(), hint));
        }
        let instructed = card.instructed && asking.style == Style::Paper;
        if asking.instruction != Instruction::None && !instructed {
            let (expected, found) =
                (format!("none for {name} in style {}", asking.style.name()), asking.instruction);
            let hint = "winogender, crows_pairs and realtoxicityprompts in style paper take an instruction";
            return Err(Error::usage("--instruction", expected, found.name(), hint));
        }
        let items = task.items(documents, asking.style)?;
        let Some(first) = documents.first().filter(|_| !items.is_empty()) else {
            return Err(Error::usage("--data", format!("documents for {name}"), "none", card.fields));
        };
        let prepared = Prepared { task, asking, origin: first.origin().to_string(), items };
        let examples = prepared.most_examples();
        if asking.shots > examples {
            let expected = format!("at most {examples} examples for {name}");
            let hint = "examples are documents of the same file that have an answer, about another text";
            return Err(Error::usage("--shots", expected, asking.shots, hint));
        }
        Ok(prepared)
    }

    /// The task.
    pub fn task(&self) -> &'static dyn Task {
        self.task
    }

    /// The lengths of all that a model will be asked, before any is cut.
    pub fn lengths(&self, tokenizer: &Tokenizer) -> Vec<Length> {
        let asked = self.asking.limit.unwrap_or(usize::MAX).min(self.items.len());
        let tokens = |text: &str| tokenizer.encode(text).len();
        let of = |index: usize| {
            let before = tokens(&self.before(index));
            match &self.items[index].request {
                Request::Choices(choices) => choices
                    .iter()
                    .map(|Choice { prompt, continuation, .. }| Length {
                        prompt: before + tokens(prompt),
                        following: tokens(continuation),
                        written: false,
                    })
                    .collect(),
                Request::Text(Writing { prompt, most, .. }) => {
                    vec![Length { prompt: before + tokens(prompt), following: *most, written: true }]
                }
            }
        };
        (0..asked).flat_map(of).collect::<Vec<Length>>()
    }

    /// Asks a model. `scorer` is the command that judges what was written, for a task that wants it; `rows` is how many
    /// tokens are read at once, which shows in no bit; `go_on` is asked after each batch.
    ///
    /// # Errors
    /// [`Error::Format`] with the line of a document that the model cannot be asked: a continuation without a token, or
    /// longer than the context, a token outside its vocabulary, a log-prob that is no number. Those of
    /// [`scorer::scores`] and of `go_on`.
    pub fn ask<E: Engine>(
        &self,
        network: &Network<E>,
        tokenizer: &Tokenizer,
        scorer: Option<&str>,
        rows: usize,
        progress: &mut dyn Progress,
        go_on: &dyn Fn() -> Result<()>,
    ) -> Result<Outcome> {
        let weights = network.weights();
        let model = &mut Model { network, weights: &weights, tokenizer, reader: None, rows, cut: (0, 0) };
        let asked = self.asking.limit.unwrap_or(usize::MAX).min(self.items.len());
        progress.stage(self.task.card().name, asked as u64);
        let (mut answered, mut scored) = (Vec::with_capacity(asked), Vec::new());
        while answered.len() < asked {
            let rest = answered.len()..asked;
            let batch = match self.items[rest.start].request {
                Request::Choices(_) => self.choose(rest.clone(), model)?,
                Request::Text(_) => self.write(rest.clone(), model)?,
            };
            for (index, answered) in rest.zip(&batch) {
                scored.push((self.group(index), self.score(index, &answered.answer)));
            }
            answered.extend(batch);
            let so_far = first(&scored);
            let line =
                so_far.map_or(String::new(), |(measure, value)| format!("{} {value:.4}", measure.name));
            progress.step(answered.len() as u64, &line);
            go_on()?;
        }
        if let Some(command) = scorer.filter(|_| self.task.wants_verdict()) {
            progress.note(&format!("{}: the scorer judges {asked} texts", self.task.card().name));
            scored = self.verdicts(command, &mut answered)?;
        }
        progress.finish();
        let line = |(index, answered): (usize, &Answered)| {
            format!("{}\n", sample(index, &self.items[index], answered, &scored[index].1))
        };
        let samples = answered.iter().enumerate().map(line).collect();
        let figures = figures(&scored);
        Ok(Outcome { documents: (self.items.len(), asked), figures, cut: model.cut, samples })
    }

    /// The likelihoods of the first documents of a range: of as many as go together, one at least.
    fn choose<E: Engine>(&self, range: Range<usize>, model: &mut Model<E>) -> Result<Vec<Answered>> {
        let (mut contexts, mut pairs, mut tokens) = (Vec::new(), Vec::new(), 0);
        for index in range.clone() {
            let Request::Choices(choices) = &self.items[index].request else { break };
            let before = self.before(index);
            let of: Vec<String> = choices.iter().map(|choice| format!("{before}{}", choice.prompt)).collect();
            let pair = |(context, choice): (&String, &Choice)| {
                self.pair(index, model, context, &choice.continuation)
            };
            let of_document = of.iter().zip(choices).map(pair).collect::<Result<Vec<Pair>>>()?;
            tokens += of_document.iter().map(|pair| pair.tokens.len()).sum::<usize>();
            pairs.push(of_document);
            contexts.push(of);
            if tokens >= TOGETHER * model.rows {
                break;
            }
        }
        pairs.iter().flatten().for_each(|pair| model.count(pair.cut));
        let likelihoods = model.likelihoods(&pairs);
        let of = |((index, contexts), likelihoods): ((usize, Vec<String>), Vec<Likelihood>)| {
            self.check_finite(index, &likelihoods)?;
            Ok(Answered { contexts, answer: Answer::Choices(likelihoods) })
        };
        range.zip(contexts).zip(likelihoods).map(of).collect()
    }

    /// What the model writes after the first prompts of a range.
    fn write<E: Engine>(&self, range: Range<usize>, model: &mut Model<E>) -> Result<Vec<Answered>> {
        let (mut contexts, mut starts, mut longest) = (Vec::new(), Vec::<Start>::new(), 0);
        // What is asked beside the text: of a document a continuation at most.
        let mut pairs: Vec<Vec<Pair>> = Vec::new();
        let config = &model.network.config;
        for index in range.clone() {
            let Request::Text(writing) = &self.items[index].request else { break };
            let context = format!("{}{}", self.before(index), writing.prompt);
            let start = start(model.tokenizer, config, &context, writing.most, writing.stops);
            let start = start.map_err(|unfit| self.refusal(index, "", unfit, config.context))?;
            let beside = writing.beside.map(|continuation| self.pair(index, model, &context, continuation));
            pairs.push(beside.transpose()?.into_iter().collect());
            model.count(start.cut);
            longest = longest.max(start.tokens.len() + start.most);
            starts.push(start);
            contexts.push(context);
            // Each has the room of the longest.
            if starts.len() * longest >= ROOM {
                break;
            }
        }
        let texts = write(model.network, model.tokenizer, &starts);
        let likelihoods = model.likelihoods(&pairs);
        let mut answered = Vec::with_capacity(texts.len());
        for (((index, context), text), found) in range.zip(contexts).zip(texts).zip(likelihoods) {
            self.check_finite(index, &found)?;
            let written = Written { text, beside: found.first().copied(), verdict: None };
            answered.push(Answered { contexts: vec![context], answer: Answer::Text(written) });
        }
        Ok(answered)
    }

    fn pair<E: Engine>(
        &self,
        index: usize,
        model: &Model<E>,
        context: &str,
        continuation: &str,
    ) -> Result<Pair> {
        let config = &model.network.config;
        let pair = pair(model.tokenizer, config, context, continuation);
        pair.map_err(|unfit| self.refusal(index, continuation, unfit, config.context))
    }

    fn score(&self, index: usize, answer: &Answer) -> Vec<Score> {
        match (&self.items[index].request, answer) {
            (Request::Choices(choices), Answer::Choices(answers)) => {
                self.task.score(choices, answers, self.asking.style)
            }
            (Request::Text(writing), Answer::Text(written)) => {
                self.task.judge(writing, written, self.asking.style)
            }
            _ => unreachable!("an answer is of its request's kind"),
        }
    }

    /// Lets the user's command judge all texts, and scores them by that.
    fn verdicts(&self, command: &str, answered: &mut [Answered]) -> Result<Vec<Scored>> {
        let texts: Vec<Text> =
            (0..).zip(answered.iter()).filter_map(|(index, of)| self.text(index, of)).collect();
        let verdicts = scorer::scores(command, &texts)?;
        for (answered, verdict) in answered.iter_mut().zip(verdicts) {
            if let Answer::Text(written) = &mut answered.answer {
                written.verdict = Some(verdict);
            }
        }
        let score = |(index, of): (usize, &Answered)| (self.group(index), self.score(index, &of.answer));
        Ok((0..).zip(answered.iter()).map(score).collect())
    }

    /// What a judge gets to see: neither instruction nor examples.
    fn text(&self, index: usize, answered: &Answered) -> Option<Text> {
        match (&self.items[index].request, &answered.answer) {
            (Request::Text(Writing { prompt, .. }), Answer::Text(Written { text, .. })) => {
                Some(Text { prompt: prompt.clone(), continuation: text.clone() })
            }
            _ => None,
        }
    }

    fn wrong(&self, index: usize, expected: impl ToString, found: impl ToString, hint: &str) -> Error {
        Error::format(&self.origin, &self.items[index].at, expected, found, hint)
    }

    fn refusal(&self, index: usize, continuation: &str, unfit: Unfit, context: usize) -> Error {
        match unfit {
            Unfit::Empty => self.wrong(index, "a continuation of at least one token", "none", ""),
            Unfit::TooLong(tokens) => {
                let expected = format!("continuations of at most {context} tokens (the model's context)");
                let found = format!("{tokens} in {:?}", continuation.chars().take(60).collect::<String>());
                self.wrong(index, expected, found, "")
            }
            Unfit::Outside(token) => {
                let hint = "the tokenizer's files belong to another model";
                self.wrong(index, "a text whose tokens the model has", format!("token {token}"), hint)
            }
        }
    }

    fn check_finite(&self, index: usize, answers: &[Likelihood]) -> Result<()> {
        match answers.iter().find(|answer| !answer.log_prob.is_finite()) {
            None => Ok(()),
            Some(answer) => {
                let hint = "the model's weights overflow on this document";
                Err(self.wrong(index, "log-probs that can be computed", answer.log_prob, hint))
            }
        }
    }
}

/// The model that is asked.
struct Model<'a, 'w, E: Engine> {
    network: &'a Network<E>,
    weights: &'a E::Weights<'w>,
    tokenizer: &'a Tokenizer,
    /// None before the first likelihood: it holds keys and values.
    reader: Option<Reader<'a, 'w, E>>,
    /// Tokens that are read at once.
    rows: usize,
    /// Prompts that were too long, and the tokens that they lost.
    cut: (usize, usize),
}

impl<E: Engine> Model<'_, '_, E> {
    /// Of each pair, group by group. Where the network has several ranks, each reads its share of the groups, and all are
    /// given all likelihoods.
    fn likelihoods(&mut self, groups: &[Vec<Pair>]) -> Vec<Vec<Likelihood>> {
        let ranks = self.network.ranks();
        let own = self.likelihoods_of_share(&groups[ranks.share(groups.len())]);
        if ranks.size() == 1 {
            return own;
        }
        let all = shared_out::join(ranks, own);
        let mut all = all.into_iter();
        groups.iter().map(|group| all.by_ref().take(group.len()).collect()).collect()
    }

    fn likelihoods_of_share(&mut self, groups: &[Vec<Pair>]) -> Vec<Vec<Likelihood>> {
        if groups.iter().all(Vec::is_empty) {
            return vec![Vec::new(); groups.len()];
        }
        let reader = || Reader::new(self.network, self.weights, self.rows);
        self.reader.get_or_insert_with(reader).likelihoods(groups)
    }

    fn count(&mut self, cut: usize) {
        self.cut = (self.cut.0 + usize::from(cut > 0), self.cut.1 + cut);
    }
}

#[cfg(test)]
mod tests;
