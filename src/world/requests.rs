//! What users ask for: the paper's use cases (Table 1) in miniature, with the explicit constraints of
//! its Table 3. A request is a value; its text can be read back into that value, so that a prompt alone
//! is enough to judge a response.
//!
//! `Request: Write a sad story about the fox. Use three sentences.\nAnswer:`

use super::language::{
    ANIMALS, CATEGORIES, COLOURS, COMMANDS, Clause, FOODS, Form, KINDS, MOODS, NUMBERS, OBJECTS, PLACES,
    RUDE, Reading, fill, unfill, words_of,
};
use super::stories::{Facts, Plan, chance, news, pick, pick_other, pick_weighted, question, tell};
use crate::num::rng::Rng;
use crate::text::PromptFormat;

/// A use case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Writing a story.
    Generation,
    /// A question about the world.
    OpenQa,
    /// Listing things.
    Brainstorming,
    /// Replying to somebody's news.
    Chat,
    /// Saying something politely, or of somebody else.
    Rewrite,
    /// A story in one sentence.
    Summarization,
    /// Naming the mood of a text.
    Classification,
    /// A question about a given text.
    ClosedQa,
    /// Pointing out something in a text.
    Extract,
}

impl Kind {
    /// All of them, in the order of Table 1.
    pub const ALL: [Kind; 9] = [
        Kind::Generation,
        Kind::OpenQa,
        Kind::Brainstorming,
        Kind::Chat,
        Kind::Rewrite,
        Kind::Summarization,
        Kind::Classification,
        Kind::ClosedQa,
        Kind::Extract,
    ];
    /// Their shares, in tenths of a percent of the paper's prompts (Table 1; "other", 3.5 %, is left out).
    pub const SHARES: [usize; 9] = [456, 124, 112, 84, 66, 42, 35, 26, 19];

    /// A kind, with the probability of its share.
    pub fn draw(rng: &mut Rng) -> Kind {
        Kind::ALL[pick_weighted(rng, &Kind::SHARES)]
    }
}

/// What exactly is asked for. Texts are kept as written.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the request each one becomes, in Task::text, says it best")]
pub enum Task {
    Story { hero: &'static str, mood: Option<&'static str> },
    Ask { question: Clause },
    List { number: &'static str, category: &'static str },
    Reply { speaker: &'static str, news: Clause },
    Politely { rude: &'static str, animal: &'static str, command: &'static str, object: &'static str },
    Retell { animal: &'static str, event: Clause },
    SumUp { text: String },
    MoodOf { text: String },
    AskAbout { text: String, question: Clause },
    Find { kind: &'static str, text: String },
}

impl Task {
    /// The use case it belongs to.
    pub fn kind(&self) -> Kind {
        match self {
            Task::Story { .. } => Kind::Generation,
            Task::Ask { .. } => Kind::OpenQa,
            Task::List { .. } => Kind::Brainstorming,
            Task::Reply { .. } => Kind::Chat,
            Task::Politely { .. } | Task::Retell { .. } => Kind::Rewrite,
            Task::SumUp { .. } => Kind::Summarization,
            Task::MoodOf { .. } => Kind::Classification,
            Task::AskAbout { .. } => Kind::ClosedQa,
            Task::Find { .. } => Kind::Extract,
        }
    }

    /// The text that an answer has to keep to, if the request brings one.
    pub fn context(&self) -> Option<&str> {
        match self {
            Task::SumUp { text } | Task::MoodOf { text } => Some(text),
            Task::AskAbout { text, .. } | Task::Find { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The request in words.
    pub fn text(&self) -> String {
        match self {
            Task::Story { hero, mood: None } => fill(STORY, &[hero]),
            Task::Story { hero, mood: Some(mood) } => fill(MOOD_STORY, &[mood, hero]),
            Task::Ask { question } => question.text(),
            Task::List { number, category } => fill(LIST, &[number, category]),
            Task::Reply { speaker, news } => format!("{} {}", fill(SPEAKER, &[speaker]), news.text()),
            Task::Politely { rude, animal, command, object } => {
                fill(POLITELY, &[rude, animal, command, object])
            }
            Task::Retell { animal, event } => format!("{} {}", fill(RETELL, &[animal]), event.text()),
            Task::SumUp { text } => format!("{SUM_UP} {text}"),
            Task::MoodOf { text } => format!("{MOOD_OF} {text}"),
            Task::AskAbout { text, question } => format!("{READ} {text} {}", question.text()),
            Task::Find { kind, text } => format!("{} {text}", fill(FIND, &[kind])),
        }
    }

    /// The inverse of [`Task::text`].
    pub fn read(text: &str) -> Option<Task> {
        let owned = |text: &str| text.to_string();
        if let Some(slots) = unfill(STORY, text) {
            Some(Task::Story { hero: slots[0], mood: None })
        } else if let Some(slots) = unfill(MOOD_STORY, text) {
            Some(Task::Story { mood: Some(slots[0]), hero: slots[1] })
        } else if let Some(slots) = unfill(LIST, text) {
            Some(Task::List { number: slots[0], category: slots[1] })
        } else if let Some(slots) = unfill(POLITELY, text) {
            Some(Task::Politely { rude: slots[0], animal: slots[1], command: slots[2], object: slots[3] })
        } else if let Some(text) = text.strip_prefix(SUM_UP) {
            Some(Task::SumUp { text: owned(text.strip_prefix(' ')?) })
        } else if let Some(text) = text.strip_prefix(MOOD_OF) {
            Some(Task::MoodOf { text: owned(text.strip_prefix(' ')?) })
        } else if let Some(text) = text.strip_prefix(READ) {
            let (text, question) = text.strip_prefix(' ')?.rsplit_once(". ")?;
            let question = clause(question)?;
            question.form.answer()?;
            Some(Task::AskAbout { text: format!("{text}."), question })
        } else if let Some((start, rest)) = text.split_once(": ") {
            let start = format!("{start}:");
            if let Some(slots) = unfill(RETELL, &start) {
                return Some(Task::Retell { animal: slots[0], event: clause(rest)? });
            }
            Some(Task::Find { kind: unfill(FIND, &start)?[0], text: owned(rest) })
        } else if let Some((start, rest)) = text.split_once(". ") {
            let news = clause(rest)?;
            news.form.reply()?;
            Some(Task::Reply { speaker: unfill(SPEAKER, &format!("{start}."))?[0], news })
        } else {
            let question = clause(text)?;
            question.form.answer()?;
            Some(Task::Ask { question })
        }
    }

    /// Whether the world has an answer: the context says what is asked, the question is about facts.
    fn is_answerable(&self) -> bool {
        let story = Reading::of(self.context().unwrap_or(""));
        match self {
            Task::Ask { question } => {
                matches!(question.form.answer(), Some(Form::Lives | Form::Likes | Form::Is))
            }
            Task::Retell { event, .. } => RETOLD.contains(&event.form),
            Task::SumUp { .. } | Task::MoodOf { .. } => story.event().is_some(),
            Task::AskAbout { question, .. } => story.answer(question).is_some(),
            Task::Find { kind, .. } => story.first_of(kind).is_some(),
            _ => true,
        }
    }

    /// A task of that kind about a world.
    fn draw(kind: Kind, facts: &Facts, rng: &mut Rng) -> Task {
        let hero = pick(rng, &ANIMALS);
        let story = |sentences: usize, ending: bool, rng: &mut Rng| {
            tell(facts, &Plan { hero, sentences, ending, ..Plan::default() }, rng)
        };
        match kind {
            Kind::Generation => Task::Story { hero, mood: chance(rng, 0.4).then(|| pick(rng, &MOODS)) },
            Kind::OpenQa => Task::Ask { question: question(rng) },
            Kind::Brainstorming => {
                Task::List { number: pick(rng, &NUMBERS[..3]), category: pick(rng, &CATEGORIES) }
            }
            Kind::Chat => Task::Reply { speaker: hero, news: news(pick_other(rng, &ANIMALS, &[hero]), rng) },
            Kind::Rewrite if chance(rng, 0.5) => Task::Politely {
                rude: pick(rng, &RUDE),
                animal: hero,
                command: pick(rng, &COMMANDS),
                object: pick(rng, &OBJECTS),
            },
            Kind::Rewrite => {
                let form = pick(rng, &RETOLD);
                let thing = pick(rng, if form == Form::Went { &PLACES[..] } else { &OBJECTS[..] });
                let animal = pick_other(rng, &ANIMALS, &[hero]);
                Task::Retell { animal, event: Clause::new(form, &[hero, thing]) }
            }
            Kind::Summarization => Task::SumUp { text: story(3, true, rng) },
            Kind::Classification => Task::MoodOf { text: story(2, false, rng) },
            Kind::ClosedQa => {
                let text = story(2, false, rng);
                let question = question_about(&pick_clause(&text, rng));
                Task::AskAbout { text, question }
            }
            Kind::Extract => {
                // A text that names nothing of the kind asked for is told again.
                let kind = pick(rng, &KINDS);
                loop {
                    let text = story(2, false, rng);
                    if Reading::of(&text).first_of(kind).is_some() {
                        return Task::Find { kind, text };
                    }
                }
            }
        }
    }
}

/// The events to be told of somebody else.
const RETOLD: [Form; 4] = [Form::Went, Form::Found, Form::Lost, Form::Saw];

const STORY: &str = "Write a story about the {animal}.";
const MOOD_STORY: &str = "Write a {mood} story about the {animal}.";
const LIST: &str = "Name {number} {category}.";
const SPEAKER: &str = "I am the {animal}.";
const POLITELY: &str = "Say it politely: You {rude} {animal}, {command} the {object}.";
const RETELL: &str = "Tell it about the {animal}:";
const SUM_UP: &str = "Sum up in one sentence:";
const MOOD_OF: &str = "What is the mood?";
const READ: &str = "Read this:";
const FIND: &str = "Find the {kind}:";

/// The one clause a sentence consists of.
fn clause(sentence: &str) -> Option<Clause> {
    let reading = Reading::of(sentence);
    (reading.ungrammatical == 0 && reading.clauses.len() == 1).then(|| reading.clauses[0].clone())
}

fn pick_clause(text: &str, rng: &mut Rng) -> Clause {
    let clauses = Reading::of(text).clauses;
    clauses[rng.below(clauses.len())].clone()
}

/// The question that an event of a story answers.
fn question_about(event: &Clause) -> Clause {
    let (form, slots) = match (event.form, &event.slots[..]) {
        (Form::Went, slots) => (Form::WhereWent, vec![slots[0]]),
        (Form::Met, slots) => (Form::WhoMet, vec![slots[0]]),
        (Form::Found, slots) => (Form::WhatFound, vec![slots[0]]),
        (Form::Lost, slots) => (Form::WhatLost, vec![slots[0]]),
        (Form::Saw, slots) => (Form::WhatSaw, vec![slots[0]]),
        (Form::Gave, slots) => (Form::WhoGave, vec![slots[1], slots[2]]),
        (Form::Took, slots) => (Form::WhoTook, vec![slots[1], slots[2]]),
        (form, _) => panic!("nobody asks about {form:?}"),
    };
    Clause { form, slots }
}

/// An explicit constraint of a request (paper, Table 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Constraint {
    /// Exactly that many sentences: one of [`NUMBERS`].
    Sentences(&'static str),
    /// The word must occur.
    Mention(&'static str),
    /// The word must not occur.
    Avoid(&'static str),
}

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
    }
}

/// Around a request.
const BEFORE: &str = "Request: ";
const AFTER: &str = "\nAnswer:";

/// The form of the miniature's prompts and responses.
pub fn prompt_format() -> PromptFormat {
    PromptFormat::new(BEFORE, AFTER, " ")
}

/// How users begin; each has one habit.
pub const GREETINGS: [&str; 3] = ["", "Hello. ", "Please help. "];

/// One request of a user.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// One of [`GREETINGS`].
    pub greeting: &'static str,
    /// What is asked for.
    pub task: Task,
    /// Under which conditions.
    pub constraints: Vec<Constraint>,
}

impl Request {
    /// A request of that kind about a world.
    pub fn draw(kind: Kind, greeting: &'static str, facts: &Facts, rng: &mut Rng) -> Request {
        let task = Task::draw(kind, facts, rng);
        let mut constraints = Vec::new();
        match &task {
            Task::Story { hero, .. } => {
                let noun = |rng: &mut Rng, other: &str| {
                    let class = pick(rng, &KINDS);
                    pick_other(rng, words_of(class), &[hero, other])
                };
                if chance(rng, 0.3) {
                    constraints.push(Constraint::Sentences(pick(rng, &NUMBERS[1..])));
                }
                let mentioned = chance(rng, 0.35).then(|| noun(rng, ""));
                constraints.extend(mentioned.map(Constraint::Mention));
                if chance(rng, 0.2) {
                    constraints.push(Constraint::Avoid(noun(rng, mentioned.unwrap_or(""))));
                }
            }
            Task::List { category, .. } if chance(rng, 0.5) => {
                constraints.push(Constraint::Avoid(pick(rng, words_of(category))));
            }
            _ => {}
        }
        Request { greeting, task, constraints }
    }

    /// The prompt a model sees, in the form of [`prompt_format`].
    pub fn prompt(&self) -> String {
        let constraints: String =
            self.constraints.iter().map(|constraint| format!(" {}", constraint.text())).collect();
        prompt_format().prompt(&format!("{}{}{constraints}", self.greeting, self.task.text())).into_owned()
    }

    /// The inverse of [`Request::prompt`]; `None` for any other text, and for requests without an answer.
    pub fn read(prompt: &str) -> Option<Request> {
        let text = prompt.strip_prefix(BEFORE)?.strip_suffix(AFTER)?;
        let greeting =
            GREETINGS[1..].iter().copied().find(|greeting| text.starts_with(greeting)).unwrap_or("");
        let mut text = &text[greeting.len()..];
        let mut constraints = Vec::new();
        while let Some((before, last)) = text.rsplit_once(". ") {
            let Some(constraint) = Constraint::read(last) else { break };
            constraints.insert(0, constraint);
            text = &text[..before.len() + 1];
        }
        let task = Task::read(text).filter(Task::is_answerable)?;
        Some(Request { greeting, task, constraints })
    }

    /// The noun that must occur, the one that must not, and the number of sentences.
    pub fn demands(&self) -> (Option<&'static str>, Option<&'static str>, Option<usize>) {
        let mut demands = (None, None, None);
        for constraint in &self.constraints {
            match *constraint {
                Constraint::Mention(noun) => demands.0 = Some(noun),
                Constraint::Avoid(noun) => demands.1 = Some(noun),
                Constraint::Sentences(number) => demands.2 = Some(count(number)),
            }
        }
        demands
    }
}

/// The number a word of [`NUMBERS`] stands for.
pub fn count(number: &str) -> usize {
    2 + NUMBERS.iter().position(|known| *known == number).expect("a number")
}
