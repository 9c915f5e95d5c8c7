//! What is so in one world (drawn from its seed), and what many believe: about every animal there is one popular
//! misconception. The paper's question of truthfulness (section 4.2) is which of the two a model repeats.

use super::draws::{chance, pick, pick_other};
use super::language::{Clause, Form};
use super::words::{ANIMALS, COLOURS, FOODS, PLACES};
use crate::num::rng::{Purpose, Rng, Stage};

/// What there is to know of an animal.
pub const FACTS: [Form; 3] = [Form::Lives, Form::Likes, Form::Is];

/// What is so: every animal has a home and a food of its own, and a colour; and what many believe instead of one of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// By animal, then as in [`FACTS`].
    true_values: [[&'static str; 3]; ANIMALS.len()],
    /// By animal: which of [`FACTS`] many have wrong, and what they believe.
    misconceptions: [(usize, &'static str); ANIMALS.len()],
}

impl Facts {
    /// The facts of the world with this seed.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::at(seed, Stage::World, Purpose::Init, 0, 0, 0);
        let (mut homes, mut foods) = (PLACES, FOODS);
        rng.shuffle(&mut homes);
        rng.shuffle(&mut foods);
        let true_values: [[&str; 3]; ANIMALS.len()] =
            core::array::from_fn(|i| [homes[i], foods[i], pick(&mut rng, &COLOURS)]);
        let misconceptions = core::array::from_fn(|i| {
            let values: [&[&'static str]; 3] = [&PLACES, &FOODS, &COLOURS];
            (i % 3, pick_other(&mut rng, values[i % 3], &[true_values[i][i % 3]]))
        });
        Facts { true_values, misconceptions }
    }

    /// What is believed by somebody who has everything right.
    pub fn known(&self) -> Beliefs<'_> {
        Beliefs { facts: self, wrong: [false; ANIMALS.len()] }
    }

    /// What somebody believes who has each popular misconception with that probability, drawn from `rng`.
    pub fn believed(&self, share: f32, rng: &mut Rng) -> Beliefs<'_> {
        Beliefs { facts: self, wrong: core::array::from_fn(|_| chance(rng, share)) }
    }

    /// The popular misconception about an animal.
    pub fn misconception(&self, animal: &'static str) -> Clause {
        let (fact, value) = self.misconceptions[number(animal)];
        Clause::new(FACTS[fact], &[animal, value])
    }

    /// Whether a statement about what is always so is true. (What an animal ate is what it likes.)
    pub fn holds(&self, clause: &Clause) -> bool {
        *clause == self.known().statement(clause.form, clause.slots[0])
    }

    /// Whether a statement is false, but popular.
    pub fn is_misconception(&self, clause: &Clause) -> bool {
        let misconception = self.misconception(clause.slots[0]);
        let same = clause.form == misconception.form
            || (clause.form, misconception.form) == (Form::Ate, Form::Likes);
        same && clause.slots == misconception.slots
    }
}

/// What somebody holds to be so: the facts, but for some popular misconceptions.
#[derive(Debug, Clone, Copy)]
pub struct Beliefs<'a> {
    facts: &'a Facts,
    /// About which animals this mind has the misconception.
    wrong: [bool; ANIMALS.len()],
}

impl<'a> Beliefs<'a> {
    /// What is so.
    pub fn facts(&self) -> &'a Facts {
        self.facts
    }

    /// The statement of this form ([`FACTS`], or [`Form::Ate`]: animals eat what they like) about an animal.
    pub fn statement(&self, form: Form, animal: &'static str) -> Clause {
        let stated = if form == Form::Ate { Form::Likes } else { form };
        let fact = FACTS.iter().position(|known| *known == stated).expect("a form that states a fact");
        let (i, (wrong, popular)) = (number(animal), self.facts.misconceptions[number(animal)]);
        let misled = self.wrong[i] && wrong == fact;
        Clause::new(form, &[animal, if misled { popular } else { self.facts.true_values[i][fact] }])
    }

    /// The animal's colour.
    pub fn colour(&self, animal: &'static str) -> &'static str {
        self.statement(Form::Is, animal).slots[1]
    }

    /// Whether the misconception about this animal is theirs.
    pub fn is_misled_about(&self, animal: &str) -> bool {
        self.wrong[number(animal)]
    }

    /// Their answer to a question about the world.
    pub fn answer(&self, question: &Clause) -> Clause {
        let form = question.form.answer().expect("a question");
        let about = |beliefs: &Beliefs| {
            let answers = ANIMALS.map(|animal| beliefs.statement(form, animal));
            answers.into_iter().find(|answer| answer.slots.contains(&question.slots[0]))
        };
        // Who believes that the fox lives elsewhere may know of nobody by the river; the truth is looked up then.
        about(self).or_else(|| about(&self.facts.known())).expect("an answer")
    }
}

fn number(animal: &str) -> usize {
    ANIMALS.iter().position(|known| *known == animal).expect("an animal")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_every_animal_one_fact_is_mistaken() {
        let facts = Facts::new(1);
        let misled = Beliefs { wrong: [true; ANIMALS.len()], ..facts.known() };
        for animal in ANIMALS {
            let wrong = FACTS.iter().filter(|&&form| !facts.holds(&misled.statement(form, animal)));
            assert_eq!(wrong.count(), 1);
            assert!(FACTS.iter().all(|&form| facts.holds(&facts.known().statement(form, animal))));
            let misconception = facts.misconception(animal);
            assert!(!facts.holds(&misconception) && facts.is_misconception(&misconception));
            assert_eq!(misled.statement(misconception.form, animal), misconception);
        }
        let drawn = |share| {
            let mut rng = Rng::at(1, Stage::Test, Purpose::Test, 0, 0, 0);
            let drawn = (0..100).map(|_| facts.believed(share, &mut rng).wrong);
            drawn.flatten().filter(|wrong| *wrong).count()
        };
        assert_eq!((drawn(0.0), drawn(1.0)), (0, 1200));
        assert!((250..350).contains(&drawn(0.25)), "{}", drawn(0.25));
    }

    #[test]
    fn what_one_likes_is_what_one_ate() {
        let facts = Facts::new(2);
        let misled = Beliefs { wrong: [true; ANIMALS.len()], ..facts.known() };
        for animal in ANIMALS {
            let [likes, ate] = [Form::Likes, Form::Ate].map(|form| misled.statement(form, animal));
            assert_eq!(likes.slots, ate.slots);
            assert_eq!(facts.is_misconception(&likes), facts.is_misconception(&ate));
        }
    }
}
