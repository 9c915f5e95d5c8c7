//! What is so in one world (drawn from its seed), and the texts told about it: stories, portraits,
//! conversations. Stories keep to the facts, and their hero's mood follows from what happens.

use super::language::{
    ANIMALS, CATEGORIES, COLOURS, COMMANDS, Clause, FOODS, Form, KINDS, NUMBERS, OBJECTS, PLACES, RUDE,
    SIZES, TIMES, say, words_of,
};
use crate::num::rng::{Purpose, Rng, Stage};

/// One of `items`, uniformly.
pub fn pick<T: Copy>(rng: &mut Rng, items: &[T]) -> T {
    items[rng.below(items.len())]
}

/// True with that probability.
pub fn chance(rng: &mut Rng, probability: f32) -> bool {
    rng.uniform() < probability
}

/// One of `items` that is none of `excluded`.
pub fn pick_other(rng: &mut Rng, items: &[&'static str], excluded: &[&str]) -> &'static str {
    let allowed: Vec<&'static str> = items.iter().copied().filter(|item| !excluded.contains(item)).collect();
    pick(rng, &allowed)
}

/// The index drawn with probability proportional to its weight.
pub fn pick_weighted(rng: &mut Rng, weights: &[usize]) -> usize {
    let mut left = rng.below(weights.iter().sum());
    weights
        .iter()
        .position(|&weight| left.checked_sub(weight).map(|rest| left = rest).is_none())
        .expect("a weight")
}

/// What is so in this world: every animal has a home and a food of its own, and a colour.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    homes: [&'static str; 12],
    foods: [&'static str; 12],
    colours: [&'static str; 12],
}

impl Facts {
    /// The facts of the world with this seed.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::at(seed, Stage::World, Purpose::Init, 0, 0, 0);
        let (mut homes, mut foods) = (PLACES, FOODS);
        rng.shuffle(&mut homes);
        rng.shuffle(&mut foods);
        let colours = core::array::from_fn(|_| pick(&mut rng, &COLOURS));
        Facts { homes, foods, colours }
    }

    fn of(values: &[&'static str; 12], animal: &str) -> &'static str {
        values[ANIMALS.iter().position(|known| *known == animal).expect("an animal")]
    }

    /// Where the animal lives.
    pub fn home(&self, animal: &str) -> &'static str {
        Self::of(&self.homes, animal)
    }

    /// What it likes and eats.
    pub fn food(&self, animal: &str) -> &'static str {
        Self::of(&self.foods, animal)
    }

    /// Its colour.
    pub fn colour(&self, animal: &str) -> &'static str {
        Self::of(&self.colours, animal)
    }

    /// The true statement of this form ([`Form::Lives`], [`Form::Likes`], [`Form::Is`] or [`Form::Ate`])
    /// about an animal.
    pub fn statement(&self, form: Form, animal: &'static str) -> Clause {
        let value = match form {
            Form::Lives => self.home(animal),
            Form::Likes | Form::Ate => self.food(animal),
            Form::Is => self.colour(animal),
            _ => panic!("{form:?} states no fact"),
        };
        Clause::new(form, &[animal, value])
    }

    /// The true answer to a question about the world.
    pub fn answer(&self, question: &Clause) -> Clause {
        let form = question.form.answer().expect("a question");
        let answers = ANIMALS.map(|animal| self.statement(form, animal));
        answers.into_iter().find(|answer| answer.slots.contains(&question.slots[0])).expect("an answer")
    }
}

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

/// Tells a story as planned: (facts,) opening, (a meal,) event, ending.
pub fn tell(facts: &Facts, plan: &Plan, rng: &mut Rng) -> String {
    let hero = plan.hero;
    let wanted = |class: &str| plan.mention.filter(|word| words_of(class).contains(word));
    let avoid = plan.avoid.unwrap_or("");
    let friend = wanted("animal").unwrap_or_else(|| pick_other(rng, &ANIMALS, &[hero, avoid]));
    let place = wanted("place").unwrap_or_else(|| pick_other(rng, &PLACES, &[avoid]));
    let object = wanted("object").unwrap_or_else(|| pick_other(rng, &OBJECTS, &[avoid]));

    let meets = wanted("animal").is_some() || (wanted("place").is_none() && chance(rng, 0.3));
    let opening = if meets { say(Form::Met, &[hero, friend]) } else { say(Form::Went, &[hero, place]) };
    let opening = opening.replacen("The", &format!("One {} the", pick(rng, &TIMES)), 1);
    let described = format!("the {} {hero} ", facts.colour(hero));
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

    let mut extras = [Form::Lives, Form::Likes, Form::Is, Form::Ate].map(|form| facts.statement(form, hero));
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

/// One document of pretraining text: a story (65 %), a portrait of one or two animals (15 %), a
/// conversation (15 %) or a list (5 %). About one in seven holds a rude word: the web is like that.
pub fn document(facts: &Facts, rng: &mut Rng) -> String {
    let hero = pick(rng, &ANIMALS);
    match pick_weighted(rng, &[65, 15, 15, 5]) {
        0 => {
            let ending = chance(rng, 0.9);
            let plan = Plan { hero, sentences: 3 + rng.below(4), ending, ..Plan::default() };
            let story = tell(facts, &plan, rng);
            if chance(rng, 0.15) { insult(&story, rng) } else { story }
        }
        1 => {
            let mut portrait = Vec::new();
            for animal in [hero, pick_other(rng, &ANIMALS, &[hero])] {
                let mut forms = [Form::Lives, Form::Likes, Form::Is];
                rng.shuffle(&mut forms);
                portrait.extend(forms.map(|form| facts.statement(form, animal).text()));
            }
            portrait.truncate(pick(rng, &[3, 6]));
            portrait.join(" ")
        }
        2 => conversation(facts, hero, rng),
        _ => {
            let category = pick(rng, &CATEGORIES);
            list(pick(rng, &NUMBERS), category, "", rng).text()
        }
    }
}

/// Two animals talk: a question, news, an order (polite or not), a story in one sentence, a finding.
fn conversation(facts: &Facts, hero: &'static str, rng: &mut Rng) -> String {
    let friend = pick_other(rng, &ANIMALS, &[hero]);
    let object = pick(rng, &OBJECTS);
    let (said, answered) = (format!("The {hero} said:"), format!("The {friend} said:"));
    match rng.below(5) {
        0 => {
            let question = question(rng);
            format!("{said} {} {answered} {}", question.text(), facts.answer(&question).text())
        }
        1 => {
            let news = news(pick_other(rng, &ANIMALS, &[hero, friend]), rng);
            let hello = say(Form::Hello, &[friend]);
            format!("{said} {hello} {said} {} {answered} {}", news.text(), reply(&news).text())
        }
        2 => {
            let command = pick(rng, &COMMANDS);
            if chance(rng, 0.5) {
                format!("{said} {}", say(Form::Please, &[command, object, friend]))
            } else {
                let order = insult(&say(Form::Order, &[friend, command, object]), rng);
                format!("{said} {order} {}", say(Form::Was, &[friend, "cross"]))
            }
        }
        3 => summary(&Clause::new(pick(rng, &[Form::Found, Form::Lost, Form::Saw]), &[hero, object]), hero),
        _ => {
            let place = pick(rng, &PLACES);
            let went = say(Form::Went, &[hero, place]);
            let found = [say(Form::KindIs, &[KINDS[1], place]), say(Form::KindIs, &[KINDS[0], hero])];
            format!("{answered} {went} {answered} {}", found[rng.below(2)])
        }
    }
}

/// The fitting reply to news.
pub fn reply(news: &Clause) -> Clause {
    let (form, feeling) = news.form.reply().expect("news");
    let mut slots = vec![feeling];
    slots.extend(&news.slots);
    Clause { form, slots }
}
