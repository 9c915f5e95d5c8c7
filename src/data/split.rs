//! Which side of the split a record stands on (paper, section 3.2): most train, some are for choosing (validation), some
//! for reporting (test).
//!
//! The side is a property of a record's key, the user where there is one, else what the prompt asks
//! ([`NormalForm`]), and of the seed; not of the order and not of the file. So one user is on one side, and
//! demonstrations, comparisons and prompts that share keys are split alike. [`Sides`] looks at all kinds together and
//! adds three rules:
//! - A record may name its side (`"set"`); other records of the same key follow it.
//! - If all keys of a kind fell to held-out sides, the one nearest to training goes there, in every kind: a data set by
//!   a single user is trained on.
//! - A held-out record whose user or prompt is also on an earlier side, in any kind, is left out: nothing that is
//!   validated was trained on, nothing that is tested was trained on or chosen by. This is for users who ask the same,
//!   and for files of which one names users and another does not.

use std::collections::{BTreeMap, BTreeSet};

use super::{NormalForm, Record};
use crate::num::hash::{EMPTY, fnv1a};

/// A side of the split, in the order in which sides may claim a record. (The numbers are addresses of random draws.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u64)]
pub enum Side {
    /// Trained on.
    Train = 0,
    /// Never trained on. What is chosen is chosen by it: SFT's epoch, anything by its curves.
    Validation = 1,
    /// Neither trained on nor chosen by. The evaluation and a stage's results report it.
    Test = 2,
}

impl Side {
    /// All of them.
    pub const ALL: [Side; 3] = [Side::Train, Side::Validation, Side::Test];

    /// As files and notes call it.
    pub fn name(self) -> &'static str {
        match self {
            Side::Train => "train",
            Side::Validation => "validation",
            Side::Test => "test",
        }
    }

    /// The side of that name.
    pub fn named(name: &str) -> Option<Side> {
        Side::ALL.into_iter().find(|side| side.name() == name)
    }
}

/// Something for each side: usually the side's records, in the order of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Split<T> {
    /// Of [`Side::Train`].
    pub train: T,
    /// Of [`Side::Validation`].
    pub validation: T,
    /// Of [`Side::Test`].
    pub test: T,
}

impl<T> Split<T> {
    /// What `of` gives for each side, in order.
    pub fn from_fn(mut of: impl FnMut(Side) -> T) -> Self {
        let [train, validation, test] = Side::ALL.map(&mut of);
        Split { train, validation, test }
    }

    /// What a side has.
    pub fn of(&self, side: Side) -> &T {
        match side {
            Side::Train => &self.train,
            Side::Validation => &self.validation,
            Side::Test => &self.test,
        }
    }

    /// What a side has, to be changed.
    pub fn of_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::Train => &mut self.train,
            Side::Validation => &mut self.validation,
            Side::Test => &mut self.test,
        }
    }

    /// What `f` makes of each side.
    pub fn map<U>(&self, mut f: impl FnMut(&T) -> U) -> Split<U> {
        Split::from_fn(|side| f(self.of(side)))
    }
}

impl<T> Split<Vec<T>> {
    /// What a side has, which is taken from it.
    pub fn take(&mut self, side: Side) -> Vec<T> {
        core::mem::take(self.of_mut(side))
    }

    /// All of it, whichever the side.
    pub fn all(&self) -> impl Iterator<Item = &T> {
        self.train.iter().chain(self.held_out())
    }

    /// What is not trained on.
    pub fn held_out(&self) -> impl Iterator<Item = &T> {
        self.validation.iter().chain(&self.test)
    }
}

/// What decides the side of a key.
#[derive(Debug, Clone, PartialEq)]
pub struct SplitRule {
    /// Other seeds, other splits.
    pub seed: u64,
    /// Share of the keys for validation, 0 to 1.
    pub validation: f64,
    /// Share of the keys for the test, 0 to 1; both together are below 1.
    pub test: f64,
    /// How prompts are compared.
    pub form: NormalForm,
}

impl SplitRule {
    /// The share of a side.
    pub fn share(&self, side: Side) -> f64 {
        match side {
            Side::Train => 1.0 - self.validation - self.test,
            Side::Validation => self.validation,
            Side::Test => self.test,
        }
    }

    /// The side of a text that has no other key.
    pub fn side_of_text(&self, text: &str) -> Side {
        self.side(self.number(b'p', text))
    }

    fn key<T: Record + ?Sized>(&self, record: &T) -> Key {
        match record.user() {
            Some(user) => Key::User(user.to_string()),
            None => Key::Prompt(self.form.beginning(record.prompt())),
        }
    }

    /// A number in [0, 1), exactly: the top 53 bits of the key's hash.
    fn number(&self, kind: u8, key: &str) -> f64 {
        ((hash(self.seed, kind, key) >> 11) as f64) * (1.0 / (1u64 << 53) as f64)
    }

    fn number_of(&self, key: &Key) -> f64 {
        match key {
            Key::User(user) => self.number(b'u', user),
            Key::Prompt(prompt) => self.number(b'p', prompt),
        }
    }

    fn side(&self, number: f64) -> Side {
        match number {
            number if number < self.validation => Side::Validation,
            number if number < self.validation + self.test => Side::Test,
            _ => Side::Train,
        }
    }
}

/// What keeps records on one side.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    User(String),
    Prompt(String),
}

/// FNV-1a over seed, kind and key, then SplitMix64's finaliser, since FNV leaves the top bits of short keys
/// nearly alike.
fn hash(seed: u64, kind: u8, key: &str) -> u64 {
    let bytes = seed.to_le_bytes().into_iter().chain([kind]).chain(key.bytes());
    let fnv = fnv1a(EMPTY, bytes);
    let mixed = (fnv ^ (fnv >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The sides of all records of a run.
pub struct Sides<'a> {
    rule: &'a SplitRule,
    /// The keys whose side does not follow from their number.
    decided: BTreeMap<Key, Side>,
    /// The earliest side on which a user or a prompt stands.
    earliest: BTreeMap<Key, Side>,
}

impl<'a> Sides<'a> {
    /// Looks at all kinds of records together.
    pub fn new(rule: &'a SplitRule, kinds: &[Vec<&dyn Record>]) -> Self {
        let mut sides = Sides { rule, decided: BTreeMap::new(), earliest: BTreeMap::new() };
        for record in kinds.iter().flatten() {
            if let Some(side) = record.side() {
                set_earliest(&mut sides.decided, rule.key(*record), side);
            }
        }
        for kind in kinds {
            sides.feed(kind);
        }
        for record in kinds.iter().flatten() {
            let side = sides.of(*record);
            for key in keys(rule, *record) {
                set_earliest(&mut sides.earliest, key, side);
            }
        }
        sides
    }

    /// Training is never empty while a key is free to go there.
    fn feed(&mut self, kind: &[&dyn Record]) {
        if kind.iter().any(|record| self.of(*record) == Side::Train) {
            return;
        }
        let free: BTreeSet<Key> = kind
            .iter()
            .filter(|record| record.side().is_none())
            .map(|record| self.rule.key(*record))
            .collect();
        let free = free.into_iter().filter(|key| !self.decided.contains_key(key));
        let number = |key: &Key| self.rule.number_of(key);
        if let Some(nearest) = free.max_by(|a, b| number(a).total_cmp(&number(b))) {
            self.decided.insert(nearest, Side::Train);
        }
    }

    /// The side of one record: the one that it names, or that of its key.
    pub fn of<T: Record + ?Sized>(&self, record: &T) -> Side {
        record.side().unwrap_or_else(|| {
            let key = self.rule.key(record);
            self.decided.get(&key).copied().unwrap_or_else(|| self.rule.side(self.rule.number_of(&key)))
        })
    }

    /// Splits one of the kinds; also returns those that were left out of each side because they also stand on an earlier
    /// one.
    pub fn split<T: Record>(&self, records: Vec<T>) -> (Split<Vec<T>>, Split<Vec<T>>) {
        let (mut split, mut left_out) = (Split::<Vec<T>>::default(), Split::<Vec<T>>::default());
        for record in records {
            let side = self.of(&record);
            match keys(self.rule, &record).iter().all(|key| self.earliest[key] == side) {
                true => split.of_mut(side).push(record),
                false => left_out.of_mut(side).push(record),
            }
        }
        (split, left_out)
    }

    /// How many users and prompts without a user some records have.
    pub fn keys<T: Record>(&self, records: &[T]) -> (usize, usize) {
        let keys: BTreeSet<Key> = records.iter().map(|record| self.rule.key(record)).collect();
        let users = keys.iter().filter(|key| matches!(key, Key::User(_))).count();
        (users, keys.len() - users)
    }
}

/// The records of a kind as [`Sides`] looks at them.
pub fn view<T: Record>(records: &[T]) -> Vec<&dyn Record> {
    records.iter().map(|record| record as &dyn Record).collect()
}

/// Everything of a record that must not be on two sides.
fn keys<T: Record + ?Sized>(rule: &SplitRule, record: &T) -> Vec<Key> {
    let prompt = Key::Prompt(rule.form.beginning(record.prompt()));
    record.user().map(|user| Key::User(user.to_string())).into_iter().chain([prompt]).collect()
}

fn set_earliest(sides: &mut BTreeMap<Key, Side>, key: Key, side: Side) {
    let earliest = sides.entry(key).or_insert(side);
    *earliest = side.min(*earliest);
}

#[cfg(test)]
mod tests;
