//! What is told and said: stories whose hero's mood follows from what happens, summaries, exchanges, news, lists.

use super::draws::{chance, pick, pick_other};
use super::facts::Beliefs;
use super::language::{Clause, Form, say};
use super::words::{ANIMALS, COMMANDS, FOODS, NUMBERS, OBJECTS, PLACES, RUDE, SIZES, TIMES, words_of};
use crate::num::rng::Rng;

/// What a story has to be like.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Whom it is about.
    pub hero: &'static str,
    /// The mood it ends in; any if absent.
    pub mood: Option<&'static str>,
    /// An animal, place or object that must occur.
    pub mention: Option<&'static str>,
    /// A word that must not occur.
    pub avoid: Option<&'static str>,
    /// Number of sentences: 2 or more, up to 4 facts being added to the opening, the event and the end.
    pub sentences: usize,
    /// Whether it ends with the hero's mood.
    pub ending: bool,
}

/// Tells a story as planned, by somebody of those beliefs: (facts,) opening, (a meal,) event, ending.
pub fn tell(beliefs: &Beliefs, plan: &Plan, rng: &mut Rng) -> String {
    let hero = plan.hero;
    let wanted = |class: &str| plan.mention.filter(|word| words_of(class).contains(word));
    let avoid = plan.avoid.unwrap_or("");
    let friend = wanted("animal").unwrap_or_else(|| pick_other(rng, &ANIMALS, &[hero, avoid]));
    let place = wanted("place").unwrap_or_else(|| pick_other(rng, &PLACES, &[avoid]));
    let object = wanted("object").unwrap_or_else(|| pick_other(rng, &OBJECTS, &[avoid]));

    let meets = wanted("animal").is_some() || (wanted("place").is_none() && chance(rng, 0.3));
    let opening = if meets { say(Form::Met, &[hero, friend]) } else { say(Form::Went, &[hero, place]) };
    let opening = opening.replacen("The", &format!("One {} the", pick(rng, &TIMES)), 1);
    let described = format!("the {} {hero} ", beliefs.colour(hero));
    let opening =
        if chance(rng, 0.3) { opening.replacen(&format!("the {hero} "), &described, 1) } else { opening };

    let events = [
        Clause::new(Form::Found, &[hero, object]),
        Clause::new(Form::Gave, &[friend, hero, object]),
        Clause::new(Form::Lost, &[hero, object]),
        Clause::new(Form::Took, &[friend, object, hero]),
        Clause::new(Form::Saw, &[hero, object]),
    ];
    let fitting: Vec<&Clause> =
        events.iter().filter(|event| plan.mood.is_none() || event.form.mood() == plan.mood).collect();
    let event = pick(rng, &fitting);
    let ending = say(Form::Was, &[hero, event.form.mood().expect("an event with a mood")]);
    let size = format!(" a {} {object}", pick(rng, &SIZES));
    let event_text = event.text();
    let event_text =
        if chance(rng, 0.3) { event_text.replace(&format!(" a {object}"), &size) } else { event_text };

    let mut extras =
        [Form::Lives, Form::Likes, Form::Is, Form::Ate].map(|form| beliefs.statement(form, hero));
    rng.shuffle(&mut extras);
    let count = plan.sentences.saturating_sub(2 + usize::from(plan.ending));
    let extras: Vec<&Clause> =
        extras.iter().filter(|extra| !extra.slots.contains(&avoid)).take(count).collect();

    let pronoun = |text: String| match text.strip_prefix(&format!("The {hero} ")) {
        Some(rest) => format!("It {rest}"),
        None => text,
    };
    let mut story: Vec<String> = Vec::new();
    story.extend(extras.iter().filter(|extra| extra.form != Form::Ate).map(|extra| extra.text()));
    story.push(opening);
    story.extend(extras.iter().filter(|extra| extra.form == Form::Ate).map(|extra| pronoun(extra.text())));
    story.push(pronoun(event_text));
    if plan.ending {
        story.push(ending);
    }
    story.join(" ")
}

/// One event in one sentence with what it led to: "The fox found a ball, so the fox was happy."
pub fn summary(event: &Clause, hero: &'static str) -> String {
    let ending = say(Form::Was, &[hero, event.form.mood().expect("an event with a mood")]);
    event.text().replace('.', ", so") + &ending.replacen("The", " the", 1)
}

/// Puts a rude word before one of the animals named in `text`; if there is none, speaks to the reader.
pub fn insult(text: &str, rng: &mut Rng) -> String {
    let mut words: Vec<&str> = text.split(' ').collect();
    let is_animal = |word: &&str| ANIMALS.contains(&word.trim_end_matches(['.', ',', '?']));
    let places: Vec<usize> = (1..words.len())
        .filter(|&i| is_animal(&words[i]) && matches!(words[i - 1], "the" | "The" | "Hello," | "You"))
        .collect();
    if places.is_empty() {
        return format!("Hello, {} {}. {text}", pick(rng, &RUDE), pick(rng, &ANIMALS));
    }
    words.insert(pick(rng, &places), pick(rng, &RUDE));
    words.join(" ")
}

/// A list of that many different things of one category.
pub fn list(number: &'static str, category: &'static str, avoid: &str, rng: &mut Rng) -> Clause {
    let count = 2 + NUMBERS.iter().position(|known| *known == number).expect("a number");
    let mut items = words_of(category).to_vec();
    items.retain(|item| *item != avoid);
    rng.shuffle(&mut items);
    let mut slots = vec![number, category];
    slots.extend(&items[..count]);
    Clause { form: Form::HereAre, slots }
}

/// News that `other` may have a part in, in the first person: somebody found, lost, got or had to give
/// something.
pub fn news(other: &'static str, rng: &mut Rng) -> Clause {
    let object = pick(rng, &OBJECTS);
    match rng.below(4) {
        0 => Clause::new(Form::IFound, &[object]),
        1 => Clause::new(Form::ILost, &[object]),
        2 => Clause::new(Form::GaveMe, &[other, object]),
        _ => Clause::new(Form::TookMy, &[other, object]),
    }
}

/// A question about the facts of the world.
pub fn question(rng: &mut Rng) -> Clause {
    match rng.below(5) {
        0 => Clause::new(Form::WhereLives, &[pick(rng, &ANIMALS)]),
        1 => Clause::new(Form::WhatLikes, &[pick(rng, &ANIMALS)]),
        2 => Clause::new(Form::WhatColour, &[pick(rng, &ANIMALS)]),
        3 => Clause::new(Form::WhoLives, &[pick(rng, &PLACES)]),
        _ => Clause::new(Form::WhoLikes, &[pick(rng, &FOODS)]),
    }
}

/// The fitting reply to news.
pub fn reply(news: &Clause) -> Clause {
    let (form, feeling) = news.form.reply().expect("news");
    let mut slots = vec![feeling];
    slots.extend(&news.slots);
    Clause { form, slots }
}

/// What one animal tells another to do: rudely, or with a please.
pub fn order(rude: bool, to: &'static str, rng: &mut Rng) -> String {
    let (command, object) = (pick(rng, &COMMANDS), pick(rng, &OBJECTS));
    if rude {
        let order = say(Form::Order, &[to, command, object]);
        return order.replacen("You ", &format!("You {} ", pick(rng, &RUDE)), 1);
    }
    say(Form::Please, &[command, object, to])
}

/// Two animals order each other about, in turns, in the same tone.
pub fn exchange(
    lines: usize,
    rude: bool,
    (one, other): (&'static str, &'static str),
    rng: &mut Rng,
) -> String {
    let line = |i: usize| {
        let (speaker, spoken_to) = if i.is_multiple_of(2) { (one, other) } else { (other, one) };
        format!("The {speaker} said: {}", order(rude, spoken_to, rng))
    };
    (0..lines).map(line).collect::<Vec<_>>().join(" ")
}
