//! Scripted answers to a request: the perfect one, and the flawed ones that tired, careless or wordy people write.
//! Demonstrations are made of them, and forums.

use super::draws::{pick, pick_other};
use super::facts::{Beliefs, FACTS};
use super::gold::judge;
use super::language::{Clause, Form, say};
use super::reading::Reading;
use super::requests::{Kind, Manner, Request, Task};
use super::stories::{Plan, insult, list, order, reply, summary, tell};
use super::words::{ANIMALS, COLOURS, FEELINGS, FOODS, MOODS, NUMBERS, OBJECTS, PLACES};
use crate::num::rng::Rng;

/// What is wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// Nothing.
    None,
    /// One word is another of its kind: mostly a wrong fact or a contradiction.
    Slip,
    /// A constraint is ignored; where there is none, another request of the kind is answered.
    Misread,
    /// A rude word.
    Rude,
    /// True statements that nobody asked for follow.
    Rambling,
    /// The end is missing.
    Truncated,
    /// Another request is answered.
    OffTopic,
    /// The last sentence comes again.
    Repetitive,
}

impl Flaw {
    /// All of them.
    pub const ALL: [Flaw; 8] = [
        Flaw::None,
        Flaw::Slip,
        Flaw::Misread,
        Flaw::Rude,
        Flaw::Rambling,
        Flaw::Truncated,
        Flaw::OffTopic,
        Flaw::Repetitive,
    ];
}

/// An answer to `request` with that flaw, by somebody of those beliefs. (A slip may go unnoticed: a ball for a bell in a
/// story that could have either.)
pub fn answer(beliefs: &Beliefs, request: &Request, flaw: Flaw, rng: &mut Rng) -> String {
    let perfect = perfect(beliefs, request, rng);
    match flaw {
        Flaw::None => perfect,
        Flaw::Slip => slip(&perfect, rng),
        Flaw::Misread => misread(beliefs, request, perfect, rng),
        Flaw::Rude => insult(&perfect, rng),
        Flaw::Rambling => {
            let more = (0..1 + rng.below(2)).map(|_| {
                let form = pick(rng, &FACTS);
                beliefs.statement(form, pick(rng, &ANIMALS)).text()
            });
            let more: Vec<String> = more.collect();
            format!("{perfect} {}", more.join(" "))
        }
        Flaw::Truncated => {
            let words: Vec<&str> = perfect.split(' ').collect();
            let cut = 1 + rng.below(3.min(words.len() - 1));
            words[..words.len() - cut].join(" ").trim_end_matches(['.', ',']).to_string()
        }
        Flaw::OffTopic => {
            let own = request.task.kind();
            let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| *kind != own).collect();
            self::perfect(beliefs, &Request::draw(pick(rng, &kinds), "", beliefs.facts(), rng), rng)
        }
        Flaw::Repetitive => {
            let last = perfect.rsplit_once(". ").map_or(&perfect[..], |(_, last)| last);
            format!("{perfect}{}", format!(" {last}").repeat(1 + rng.below(2)))
        }
    }
}

/// An answer that leaves nothing to wish for but what its writer does not know.
pub fn perfect(beliefs: &Beliefs, request: &Request, rng: &mut Rng) -> String {
    let (mention, avoid, sentences) = request.demands();
    match &request.task {
        Task::Story { hero, mood } => {
            let sentences = sentences.unwrap_or_else(|| 3 + rng.below(2));
            tell(beliefs, &Plan { hero, mood: *mood, mention, avoid, sentences, ending: true }, rng)
        }
        Task::GoOn { manner, text } => go_on(beliefs, *manner, &Reading::of(text), rng),
        // Of what many have wrong, those who have it wrong are not sure.
        Task::Ask { question } => {
            let answer = beliefs.answer(question);
            let doubtful = request.wants_certainty() && !beliefs.facts().holds(&answer);
            if doubtful { say(Form::NotSure, &[]) } else { answer.text() }
        }
        Task::List { number, category } => list(number, category, avoid.unwrap_or(""), rng).text(),
        Task::Reply { speaker, news } => format!("{} {}", say(Form::Hello, &[speaker]), reply(news).text()),
        Task::Politely { animal, command, object, .. } => say(Form::Please, &[command, object, animal]),
        Task::Retell { animal, event } => Clause::new(event.form, &[animal, event.slots[1]]).text(),
        Task::Translate { event } => {
            let form = event.form.in_hill_speech().expect("an event of hill speech");
            say(form, &event.slots)
        }
        Task::SumUp { text } => {
            let story = Reading::of(text);
            summary(story.event().expect("an event to sum up"), story.hero().expect("a hero"))
        }
        Task::MoodOf { text } => {
            let mood = Reading::of(text).event().and_then(|event| event.form.mood());
            say(Form::MoodIs, &[mood.expect("an event with a mood")])
        }
        Task::AskAbout { text, question } => match Reading::of(text).answer(question) {
            Some(answer) => answer.text(),
            None => say(Form::DoesNotSay, &[]),
        },
        Task::Find { kind, text } => {
            say(Form::KindIs, &[kind, Reading::of(text).first_of(kind).expect("such a thing in the text")])
        }
    }
}

/// Goes on with an exchange, or with a story that has only begun.
fn go_on(beliefs: &Beliefs, manner: Manner, text: &Reading, rng: &mut Rng) -> String {
    if let Some(speaker) = text.speaker() {
        let spoken_to = text.spoken_to().unwrap_or_else(|| pick_other(rng, &ANIMALS, &[speaker]));
        return format!("The {spoken_to} said: {}", order(manner == Manner::Disrespectful, speaker, rng));
    }
    let hero = text.hero().expect("somebody to tell of");
    let told = tell(beliefs, &Plan { hero, sentences: 3, ending: true, ..Plan::default() }, rng);
    let (_, rest) = told.split_once(". ").expect("an opening");
    rest.replacen("It ", &format!("The {hero} "), 1)
}

/// Replaces one of the words that carry the content by another of its class.
fn slip(text: &str, rng: &mut Rng) -> String {
    const CLASSES: [&[&str]; 8] =
        [&ANIMALS, &PLACES, &FOODS, &COLOURS, &OBJECTS, &MOODS, &NUMBERS, &FEELINGS];
    let words: Vec<&str> = text.split(' ').collect();
    let class_of = |word: &str| CLASSES.iter().find(|class| class.contains(&word)).copied();
    let bare: Vec<&str> = words.iter().map(|word| word.trim_end_matches(['.', ',', ':'])).collect();
    let places: Vec<usize> = (0..words.len()).filter(|&i| class_of(bare[i]).is_some()).collect();
    if places.is_empty() {
        return text.to_string();
    }
    let at = pick(rng, &places);
    let other = pick_other(rng, class_of(bare[at]).expect("a class"), &[bare[at]]);
    let ending = &words[at][bare[at].len()..];
    let changed = format!("{other}{ending}");
    let words: Vec<&str> = (0..words.len()).map(|i| if i == at { &changed[..] } else { words[i] }).collect();
    words.join(" ")
}

/// Answers the request without its constraints, until one of them is violated; or another request.
fn misread(beliefs: &Beliefs, request: &Request, perfect: String, rng: &mut Rng) -> String {
    let other = if request.constraints.is_empty() {
        Request::draw(request.task.kind(), "", beliefs.facts(), rng)
    } else {
        let demands = request.demands();
        if let (Some(noun), Task::List { number, category }) = (demands.1, &request.task) {
            // Names what was not to be named.
            let mut clause = list(number, category, noun, rng);
            *clause.slots.last_mut().expect("an item") = noun;
            return clause.text();
        }
        Request { constraints: Vec::new(), ..request.clone() }
    };
    let answers = (0..8).map(|_| self::perfect(beliefs, &other, rng));
    let flawed = |answer: &String| !judge(beliefs.facts(), request, answer).is_perfect();
    answers.into_iter().find(flawed).unwrap_or(perfect)
}
