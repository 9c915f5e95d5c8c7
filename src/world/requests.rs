//! A request: a task under constraints, plainly or after an example, in the form in which models are asked.
//!
//! `Request: Write a sad story about the fox. Use three sentences.\nAnswer:`

use super::answers::perfect;
use super::draws::{chance, pick, pick_other};
use super::facts::Facts;
pub use super::tasks::{Kind, Manner, Task};
use super::words::{COLOURS, FOODS, KINDS, NUMBERS, fill, unfill, words_of};
use crate::num::rng::Rng;
use crate::text::PromptFormat;

/// An explicit constraint of a request (paper, Table 3; Table 7: 26 % of the prompts have some).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Constraint {
    /// Exactly that many sentences: one of [`NUMBERS`].
    Sentences(&'static str),
    /// The word must occur.
    Mention(&'static str),
    /// The word must not occur.
    Avoid(&'static str),
    /// Rather no answer than a wrong one (as with the paper's TruthfulQA, section 4.2).
    OnlyIfSure,
}

const ONLY_IF_SURE: &str = "Answer only if you are sure.";

impl Constraint {
    /// The constraint in words.
    pub fn text(self) -> String {
        match self {
            Constraint::Sentences(number) => fill("Use {number} sentences.", &[number]),
            Constraint::Mention(noun) => fill("Mention the {noun}.", &[noun]),
            Constraint::Avoid(noun) if FOODS.contains(&noun) || COLOURS.contains(&noun) => {
                fill("Do not mention {noun}.", &[noun])
            }
            Constraint::Avoid(noun) => fill("Do not mention the {noun}.", &[noun]),
            Constraint::OnlyIfSure => ONLY_IF_SURE.to_string(),
        }
    }

    /// The inverse of [`Constraint::text`].
    fn read(text: &str) -> Option<Constraint> {
        let one = |template| unfill(template, text).map(|slots| slots[0]);
        one("Use {number} sentences.")
            .map(Constraint::Sentences)
            .or_else(|| one("Mention the {noun}.").map(Constraint::Mention))
            .or_else(|| one("Do not mention the {noun}.").map(Constraint::Avoid))
            .or_else(|| one("Do not mention {noun}.").map(Constraint::Avoid))
            .or_else(|| (text == ONLY_IF_SURE).then_some(Constraint::OnlyIfSure))
    }

    /// What people ask of a task: a story, a list or an answer.
    fn draw(task: &Task, rng: &mut Rng) -> Vec<Constraint> {
        match task {
            Task::Story { hero, .. } if chance(rng, 0.55) => {
                let noun = |rng: &mut Rng, other: &str| {
                    let class = pick(rng, &KINDS);
                    pick_other(rng, words_of(class), &[hero, other])
                };
                let mut kinds = [0, 1, 2];
                rng.shuffle(&mut kinds);
                let (mut constraints, mut said) = (Vec::new(), "");
                for kind in &kinds[..if chance(rng, 0.35) { 2 } else { 1 }] {
                    constraints.push(match kind {
                        0 => Constraint::Sentences(pick(rng, &NUMBERS[1..])),
                        1 => {
                            said = noun(rng, said);
                            Constraint::Mention(said)
                        }
                        _ => {
                            said = noun(rng, said);
                            Constraint::Avoid(said)
                        }
                    });
                }
                constraints
            }
            Task::List { category, .. } if chance(rng, 0.3) => {
                vec![Constraint::Avoid(pick(rng, words_of(category)))]
            }
            Task::Ask { .. } if chance(rng, 0.2) => vec![Constraint::OnlyIfSure],
            _ => Vec::new(),
        }
    }
}

/// Around a request.
const BEFORE: &str = "Request: ";
const AFTER: &str = "\nAnswer:";
/// Around the example of a few-shot request.
const LIKE_THIS: &str = "Like this: ";
const NOW: &str = " Now: ";

/// The form of the miniature's prompts and responses.
pub fn prompt_format() -> PromptFormat {
    PromptFormat::new(BEFORE, AFTER, " ")
}

/// A request as it stands in a text, without an answer.
pub fn asked(request: &Request) -> String {
    format!("{BEFORE}{}", request.text())
}

/// A request and its answer as they stand in a text.
pub fn answered(request: &Request, answer: &str) -> String {
    format!("{BEFORE}{}{AFTER} {answer}", request.text())
}

/// How users begin; each has one habit.
pub const GREETINGS: [&str; 3] = ["", "Hello. ", "Please help. "];

/// One request of a user.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// One of [`GREETINGS`].
    pub greeting: &'static str,
    /// A solved task of the same kind, in words, before the task itself (paper, section 3.2: few-shot prompts); or
    /// nothing.
    pub example: String,
    /// What is asked for.
    pub task: Task,
    /// Under which conditions.
    pub constraints: Vec<Constraint>,
}

impl Request {
    /// A plain request of that kind about a world.
    pub fn draw(kind: Kind, greeting: &'static str, facts: &Facts, rng: &mut Rng) -> Request {
        let task = Task::draw(kind, &facts.known(), rng);
        let constraints = Constraint::draw(&task, rng);
        Request { greeting, example: String::new(), task, constraints }
    }

    /// The same after an example, unless it is long or has constraints.
    pub fn with_example(mut self, facts: &Facts, rng: &mut Rng) -> Request {
        let long = matches!(
            self.task,
            Task::Story { .. } | Task::GoOn { .. } | Task::SumUp { .. } | Task::AskAbout { .. }
        );
        if !long && self.constraints.is_empty() {
            let alike = core::mem::discriminant(&self.task);
            let example = loop {
                let other = Request::draw(self.task.kind(), "", facts, rng);
                if core::mem::discriminant(&other.task) == alike
                    && other.task != self.task
                    && other.constraints.is_empty()
                {
                    break other;
                }
            };
            let answer = perfect(&facts.known(), &example, rng);
            self.example = format!("{} {answer}", example.task.text());
        }
        self
    }

    /// What is asked, in words.
    pub fn text(&self) -> String {
        let mut text = self.greeting.to_string();
        if !self.example.is_empty() {
            text += &format!("{LIKE_THIS}{}{NOW}", self.example);
        }
        text += &self.task.text();
        for constraint in &self.constraints {
            text += &format!(" {}", constraint.text());
        }
        text
    }

    /// The prompt a model sees, in the form of [`prompt_format`].
    pub fn prompt(&self) -> String {
        prompt_format().prompt(&self.text()).into_owned()
    }

    /// The inverse of [`Request::prompt`]; `None` for any other text, and for requests without an answer.
    pub fn read(prompt: &str) -> Option<Request> {
        let text = prompt.strip_prefix(BEFORE)?.strip_suffix(AFTER)?;
        let greeting =
            GREETINGS[1..].iter().copied().find(|greeting| text.starts_with(greeting)).unwrap_or("");
        let mut text = &text[greeting.len()..];
        let mut example = String::new();
        if let Some((solved, rest)) = text.strip_prefix(LIKE_THIS).and_then(|rest| rest.rsplit_once(NOW)) {
            (example, text) = (solved.to_string(), rest);
        }
        let mut constraints = Vec::new();
        while let Some((before, last)) = text.rsplit_once(". ").or_else(|| text.rsplit_once("? ")) {
            let Some(constraint) = Constraint::read(last) else { break };
            constraints.insert(0, constraint);
            text = &text[..before.len() + 1];
        }
        Some(Request { greeting, example, task: Task::read(text)?, constraints })
    }

    /// The noun that must occur, the one that must not, and the number of sentences.
    pub fn demands(&self) -> (Option<&'static str>, Option<&'static str>, Option<usize>) {
        let mut demands = (None, None, None);
        for constraint in &self.constraints {
            match *constraint {
                Constraint::Mention(noun) => demands.0 = Some(noun),
                Constraint::Avoid(noun) => demands.1 = Some(noun),
                Constraint::Sentences(number) => demands.2 = Some(count(number)),
                Constraint::OnlyIfSure => {}
            }
        }
        demands
    }

    /// Whether no answer is better than a wrong one.
    pub fn wants_certainty(&self) -> bool {
        self.constraints.contains(&Constraint::OnlyIfSure)
    }
}

/// The number a word of [`NUMBERS`] stands for.
pub fn count(number: &str) -> usize {
    2 + NUMBERS.iter().position(|known| *known == number).expect("a number")
}
