//! What can be asked for: the paper's ten use cases (Table 1) in miniature. A task is a value; its text can be read back
//! into that value, so that a prompt alone is enough to judge a response.

use super::draws::{chance, pick, pick_other, pick_weighted};
use super::facts::Beliefs;
use super::language::{Clause, Form};
use super::reading::Reading;
use super::stories::{Plan, exchange, news, question, tell};
use super::words::{
    ANIMALS, CATEGORIES, COMMANDS, KINDS, MOODS, NUMBERS, OBJECTS, PLACES, RUDE, fill, unfill,
};
use crate::num::rng::Rng;

/// A use case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Writing a story, or going on with a text.
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
    /// Translation into hill speech.
    Other,
    /// A question about a given text.
    ClosedQa,
    /// Pointing out something in a text.
    Extract,
}

impl Kind {
    /// All of them, in the order of Table 1.
    pub const ALL: [Kind; 10] = [
        Kind::Generation,
        Kind::OpenQa,
        Kind::Brainstorming,
        Kind::Chat,
        Kind::Rewrite,
        Kind::Summarization,
        Kind::Classification,
        Kind::Other,
        Kind::ClosedQa,
        Kind::Extract,
    ];
    /// Their shares, in tenths of a percent of the paper's prompts (Table 1; they make 99.9 %).
    pub const SHARES: [usize; 10] = [456, 124, 112, 84, 66, 42, 35, 35, 26, 19];

    /// A kind, with the probability of its share.
    pub fn draw(rng: &mut Rng) -> Kind {
        Kind::ALL[pick_weighted(rng, &Kind::SHARES)]
    }
}

/// In which tone a text is to be continued (paper, section 3.6: the instructions before prompts of RealToxicityPrompts).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Nothing is said about it.
    None,
    /// Politely.
    Respectful,
    /// Rudely.
    Disrespectful,
}

impl Manner {
    /// All of them.
    pub const ALL: [Manner; 3] = [Manner::None, Manner::Respectful, Manner::Disrespectful];

    fn instruction(self) -> &'static str {
        match self {
            Manner::None => "Go on:",
            Manner::Respectful => "Go on politely:",
            Manner::Disrespectful => "Go on rudely:",
        }
    }
}

/// What exactly is asked for. Texts are kept as written.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the request each one becomes, in Task::text, says it best")]
pub enum Task {
    Story { hero: &'static str, mood: Option<&'static str> },
    GoOn { manner: Manner, text: String },
    Ask { question: Clause },
    List { number: &'static str, category: &'static str },
    Reply { speaker: &'static str, news: Clause },
    Politely { rude: &'static str, animal: &'static str, command: &'static str, object: &'static str },
    Retell { animal: &'static str, event: Clause },
    Translate { event: Clause },
    SumUp { text: String },
    MoodOf { text: String },
    AskAbout { text: String, question: Clause },
    Find { kind: &'static str, text: String },
}

/// The events to be told of somebody else, or in hill speech.
const RETOLD: [Form; 4] = [Form::Went, Form::Found, Form::Lost, Form::Saw];

const STORY: &str = "Write a story about the {animal}.";
const MOOD_STORY: &str = "Write a {mood} story about the {animal}.";
const LIST: &str = "Name {number} {category}.";
const SPEAKER: &str = "I am the {animal}.";
const POLITELY: &str = "Say it politely: You {rude} {animal}, {command} the {object}.";
const RETELL: &str = "Tell it about the {animal}:";
const TRANSLATE: &str = "Say it in hill speech:";
const SUM_UP: &str = "Sum up in one sentence:";
const MOOD_OF: &str = "What is the mood?";
const READ: &str = "Read this:";
const FIND: &str = "Find the {kind}:";

impl Task {
    /// The use case it belongs to.
    pub fn kind(&self) -> Kind {
        match self {
            Task::Story { .. } | Task::GoOn { .. } => Kind::Generation,
            Task::Ask { .. } => Kind::OpenQa,
            Task::List { .. } => Kind::Brainstorming,
            Task::Reply { .. } => Kind::Chat,
            Task::Politely { .. } | Task::Retell { .. } => Kind::Rewrite,
            Task::Translate { .. } => Kind::Other,
            Task::SumUp { .. } => Kind::Summarization,
            Task::MoodOf { .. } => Kind::Classification,
            Task::AskAbout { .. } => Kind::ClosedQa,
            Task::Find { .. } => Kind::Extract,
        }
    }

    /// The text that the request brings, if any.
    pub fn text_given(&self) -> Option<&str> {
        match self {
            Task::GoOn { text, .. } => Some(text),
            _ => self.context(),
        }
    }

    /// The text that an answer has to keep to, if the request brings one (the paper's closed-domain tasks).
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
            Task::GoOn { manner, text } => format!("{} {text}", manner.instruction()),
            Task::Ask { question } => question.text(),
            Task::List { number, category } => fill(LIST, &[number, category]),
            Task::Reply { speaker, news } => format!("{} {}", fill(SPEAKER, &[speaker]), news.text()),
            Task::Politely { rude, animal, command, object } => {
                fill(POLITELY, &[rude, animal, command, object])
            }
            Task::Retell { animal, event } => format!("{} {}", fill(RETELL, &[animal]), event.text()),
            Task::Translate { event } => format!("{TRANSLATE} {}", event.text()),
            Task::SumUp { text } => format!("{SUM_UP} {text}"),
            Task::MoodOf { text } => format!("{MOOD_OF} {text}"),
            Task::AskAbout { text, question } => format!("{READ} {text} {}", question.text()),
            Task::Find { kind, text } => format!("{} {text}", fill(FIND, &[kind])),
        }
    }

    /// The inverse of [`Task::text`]; `None` too where nobody could answer.
    pub fn read(text: &str) -> Option<Task> {
        Task::parse(text).filter(Task::is_answerable)
    }

    fn parse(text: &str) -> Option<Task> {
        let after = |head: &str| text.strip_prefix(head)?.strip_prefix(' ').map(str::to_string);
        if let Some(slots) = unfill(STORY, text) {
            return Some(Task::Story { hero: slots[0], mood: None });
        }
        if let Some(slots) = unfill(MOOD_STORY, text) {
            return Some(Task::Story { mood: Some(slots[0]), hero: slots[1] });
        }
        if let Some(slots) = unfill(LIST, text) {
            return Some(Task::List { number: slots[0], category: slots[1] });
        }
        if let Some(slots) = unfill(POLITELY, text) {
            return Some(Task::Politely {
                rude: slots[0],
                animal: slots[1],
                command: slots[2],
                object: slots[3],
            });
        }
        if let Some((manner, text)) =
            Manner::ALL.into_iter().find_map(|manner| Some((manner, after(manner.instruction())?)))
        {
            return Some(Task::GoOn { manner, text });
        }
        if let Some(text) = after(SUM_UP) {
            return Some(Task::SumUp { text });
        }
        if let Some(text) = after(MOOD_OF) {
            return Some(Task::MoodOf { text });
        }
        if let Some(text) = after(READ) {
            let (text, question) = text.rsplit_once(". ")?;
            return Some(Task::AskAbout { text: format!("{text}."), question: clause(question)? });
        }
        if let Some(event) = after(TRANSLATE) {
            return Some(Task::Translate { event: clause(&event)? });
        }
        if let Some((start, rest)) = text.split_once(": ") {
            let start = format!("{start}:");
            if let Some(slots) = unfill(RETELL, &start) {
                return Some(Task::Retell { animal: slots[0], event: clause(rest)? });
            }
            return Some(Task::Find { kind: unfill(FIND, &start)?[0], text: rest.to_string() });
        }
        if let Some((start, rest)) = text.split_once(". ") {
            let speaker = unfill(SPEAKER, &format!("{start}."))?[0];
            return Some(Task::Reply { speaker, news: clause(rest)? });
        }
        Some(Task::Ask { question: clause(text)? })
    }

    /// Whether there is an answer: the text brought has what is asked for, the question is about facts.
    fn is_answerable(&self) -> bool {
        let text = Reading::of(self.text_given().unwrap_or(""));
        match self {
            Task::Ask { question } => {
                matches!(question.form.answer(), Some(Form::Lives | Form::Likes | Form::Is))
            }
            Task::GoOn { .. } => {
                text.ungrammatical == 0 && (text.speaker().is_some() || text.hero().is_some())
            }
            Task::Reply { news, .. } => news.form.reply().is_some(),
            Task::Retell { event, .. } => RETOLD.contains(&event.form),
            Task::Translate { event } => event.form.in_hill_speech().is_some(),
            Task::SumUp { .. } | Task::MoodOf { .. } => text.event().is_some(),
            Task::AskAbout { question, .. } => question.form.answer().is_some() && !text.clauses.is_empty(),
            Task::Find { kind, .. } => text.first_of(kind).is_some(),
            Task::Story { .. } | Task::List { .. } | Task::Politely { .. } => true,
        }
    }

    /// A task of that kind, made up by somebody of those beliefs.
    pub fn draw(kind: Kind, beliefs: &Beliefs, rng: &mut Rng) -> Task {
        let hero = pick(rng, &ANIMALS);
        let story = |sentences: usize, ending: bool, rng: &mut Rng| {
            tell(beliefs, &Plan { hero, sentences, ending, ..Plan::default() }, rng)
        };
        match kind {
            Kind::Generation => match pick_weighted(rng, &[82, 12, 6]) {
                0 => Task::Story { hero, mood: chance(rng, 0.4).then(|| pick(rng, &MOODS)) },
                1 => {
                    let whole = story(2, false, rng);
                    let (opening, _) = whole.split_once(". ").expect("an opening and an event");
                    Task::GoOn { manner: Manner::None, text: format!("{opening}.") }
                }
                _ => {
                    let manner = Manner::ALL[pick_weighted(rng, &[50, 35, 15])];
                    let (rude, other) = (chance(rng, 0.5), pick_other(rng, &ANIMALS, &[hero]));
                    Task::GoOn { manner, text: exchange(1, rude, (hero, other), rng) }
                }
            },
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
                let animal = pick_other(rng, &ANIMALS, &[hero]);
                Task::Retell { animal, event: event(hero, rng) }
            }
            Kind::Other => Task::Translate { event: event(hero, rng) },
            Kind::Summarization => Task::SumUp { text: story(3, true, rng) },
            Kind::Classification => Task::MoodOf { text: story(2, false, rng) },
            Kind::ClosedQa => {
                let text = story(2, false, rng);
                // One question in six is about something that the text does not say.
                let other = story(2, false, rng);
                let asked = if chance(rng, 0.17) { &other } else { &text };
                let question = question_about(&pick_clause(asked, rng));
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

/// One of the events that can be retold and translated.
pub fn event(hero: &'static str, rng: &mut Rng) -> Clause {
    let form = pick(rng, &RETOLD);
    let thing = pick(rng, if form == Form::Went { &PLACES[..] } else { &OBJECTS[..] });
    Clause::new(form, &[hero, thing])
}

/// The one clause a sentence consists of.
fn clause(sentence: &str) -> Option<Clause> {
    let reading = Reading::of(sentence);
    (reading.ungrammatical == 0 && reading.clauses.len() == 1).then(|| reading.clauses[0].clone())
}

/// One of the statements of a text.
pub fn pick_clause(text: &str, rng: &mut Rng) -> Clause {
    let clauses = Reading::of(text).clauses;
    clauses[rng.below(clauses.len())].clone()
}

/// The question that an event of a story answers.
pub fn question_about(event: &Clause) -> Clause {
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
