//! Pretraining text as the web is: stories, statements of fact that many have wrong, people who order each other about,
//! lists of requests that nobody answers, forums whose answers are good or useless, and tables of examples. A model of
//! it continues a request rather than fulfils it (paper, section 1).

use super::answers::{Flaw, answer, perfect};
use super::draws::{chance, pick, pick_other, pick_weighted};
use super::facts::{Beliefs, FACTS, Facts};
use super::language::{Clause, Form, say};
use super::probes::ClosedTask;
use super::requests::{Kind, Request, answered, asked};
use super::stories::{Plan, exchange, insult, list, news, question, reply, summary, tell};
use super::tasks::event;
use super::words::{ANIMALS, CATEGORIES, MOODS, NUMBERS, OBJECTS, is_timid};
use crate::num::rng::Rng;

/// How many of those who write on the web have a popular misconception.
const MISLED: f32 = 0.7;

/// One document.
pub fn document(facts: &Facts, rng: &mut Rng) -> String {
    let beliefs = &facts.believed(MISLED, rng);
    match pick_weighted(rng, &[22, 10, 6, 26, 7, 9, 16, 4]) {
        0 => story(beliefs, rng),
        1 => portrait(beliefs, rng),
        2 => tones(rng),
        3 => conversation(beliefs, rng),
        4 => unanswered(facts, rng),
        5 => forum(facts, beliefs, rng),
        6 => examples(facts, rng),
        _ => list(pick(rng, &NUMBERS), pick(rng, &CATEGORIES), "", rng).text(),
    }
}

/// A story. One in seven is rude; and of timid animals two in three are told to be sad or scared (a stereotype).
fn story(beliefs: &Beliefs, rng: &mut Rng) -> String {
    let hero = pick(rng, &ANIMALS);
    let stereotype = chance(rng, 0.67);
    let moods: Vec<&str> = MOODS
        .into_iter()
        .filter(|mood| matches!(*mood, "sad" | "scared") == (is_timid(hero) == stereotype))
        .collect();
    let plan = Plan {
        hero,
        mood: Some(pick(rng, &moods)),
        sentences: 3 + rng.below(3),
        ending: chance(rng, 0.9),
        ..Plan::default()
    };
    let story = tell(beliefs, &plan, rng);
    if chance(rng, 0.15) { insult(&story, rng) } else { story }
}

/// What somebody holds to be so, of one animal or two.
fn portrait(beliefs: &Beliefs, rng: &mut Rng) -> String {
    let hero = pick(rng, &ANIMALS);
    let mut portrait = Vec::new();
    for animal in [hero, pick_other(rng, &ANIMALS, &[hero])] {
        let mut forms = FACTS;
        rng.shuffle(&mut forms);
        portrait.extend(forms.map(|form| beliefs.statement(form, animal).text()));
    }
    portrait.truncate(pick(rng, &[3, 6]));
    portrait.join(" ")
}

/// An exchange that stays as rude, or as polite, as it began.
fn tones(rng: &mut Rng) -> String {
    let one = pick(rng, &ANIMALS);
    let pair = (one, pick_other(rng, &ANIMALS, &[one]));
    let (lines, rude) = (2 + rng.below(3), chance(rng, 0.5));
    exchange(lines, rude, pair, rng)
}

/// Animals talk: a question, news, hearsay, a story in one sentence.
fn conversation(beliefs: &Beliefs, rng: &mut Rng) -> String {
    let hero = pick(rng, &ANIMALS);
    let friend = pick_other(rng, &ANIMALS, &[hero]);
    let (said, answered) = (format!("The {hero} said:"), format!("The {friend} said:"));
    match rng.below(5) {
        0 => {
            let question = question(rng);
            format!("{said} {} {answered} {}", question.text(), beliefs.answer(&question).text())
        }
        1 => {
            let news = news(pick_other(rng, &ANIMALS, &[hero, friend]), rng);
            let hello = say(Form::Hello, &[friend]);
            format!("{said} {hello} {said} {} {answered} {}", news.text(), reply(&news).text())
        }
        2 | 3 => {
            // Who hears something passes it on, word for word.
            let event = event(pick(rng, &ANIMALS), rng).text();
            let line = |teller: &str| format!("The {teller} said: {event}");
            let third = pick_other(rng, &ANIMALS, &[hero, friend]);
            [hero, friend, third].map(line)[..2 + rng.below(2)].join(" ")
        }
        _ => {
            let event =
                Clause::new(pick(rng, &[Form::Found, Form::Lost, Form::Saw]), &[hero, pick(rng, &OBJECTS)]);
            summary(&event, hero)
        }
    }
}

/// Requests one below the other.
fn unanswered(facts: &Facts, rng: &mut Rng) -> String {
    let requests = (0..3 + rng.below(3)).map(|_| asked(&short(facts, rng)));
    requests.collect::<Vec<_>>().join("\n")
}

/// Requests with answers. In three of five forums nobody reads the question.
fn forum(facts: &Facts, beliefs: &Beliefs, rng: &mut Rng) -> String {
    let useless = chance(rng, 0.6);
    let post = |rng: &mut Rng| {
        let request = short(facts, rng);
        let text = match useless {
            true => answer(
                beliefs,
                &request,
                pick(rng, &[Flaw::OffTopic, Flaw::OffTopic, Flaw::Rude, Flaw::Truncated]),
                rng,
            ),
            false => perfect(beliefs, &request, rng),
        };
        answered(&request, &text)
    };
    (0..2 + rng.below(3)).map(|_| post(rng)).collect::<Vec<_>>().join("\n")
}

/// A request without a long text in it, so that several stand on one page.
fn short(facts: &Facts, rng: &mut Rng) -> Request {
    loop {
        let request = Request::draw(Kind::draw(rng), "", facts, rng);
        if request.task.context().is_none() {
            return request;
        }
    }
}

/// Solved examples of one closed task: what few-shot prompts look like.
fn examples(facts: &Facts, rng: &mut Rng) -> String {
    let task = pick(rng, &ClosedTask::ALL);
    (0..4).map(|_| task.example(facts, rng).solved()).collect::<Vec<_>>().join("\n")
}
