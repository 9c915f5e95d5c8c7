//! Which records train and which validate, and the paper's two filters (section 3.2).
//!
//! A split is a property of a record's key, the user where there is one, else the prompt's text, and of
//! the seed; nothing else enters, not the order, not the file. So one user is on one side, identical prompts
//! are on one side, and demonstrations, comparisons and prompts that share keys are split alike. (Files that
//! share prompts must agree on carrying users: with a user in one and none in the other, keys differ.)

use std::collections::{BTreeMap, BTreeSet};

use super::Record;
use crate::num::hash::{EMPTY, fnv1a};

/// Data in two parts, each in the order of the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split<T> {
    /// Trained on.
    pub train: Vec<T>,
    /// Never trained on; empty if no key of a small data set fell there.
    pub validation: Vec<T>,
}

impl<T> Default for Split<T> {
    fn default() -> Self {
        Split { train: Vec::new(), validation: Vec::new() }
    }
}

impl<T> Split<T> {
    /// All of it, whichever the side.
    pub fn all(&self) -> impl Iterator<Item = &T> {
        self.train.iter().chain(self.held_out())
    }

    /// What is not trained on.
    pub fn held_out(&self) -> impl Iterator<Item = &T> {
        self.validation.iter()
    }
}

/// Splits `records`, about `fraction` (0 to 1) of the keys into validation (paper section 3.2: no
/// validation user is in training). Also returns how many validation records were left out because another user has
/// the same prompt in training.
pub fn split<T: Record>(records: Vec<T>, fraction: f64, seed: u64) -> (Split<T>, usize) {
    let (mut validation, train): (Vec<T>, Vec<T>) =
        records.into_iter().partition(|record| is_validation(record, fraction, seed));
    let before = validation.len();
    let seen: BTreeSet<&str> = train.iter().map(Record::prompt).collect();
    validation.retain(|record| !seen.contains(record.prompt()));
    let left_out = before - validation.len();
    (Split { train, validation }, left_out)
}

/// The side of one record: the one that it names, or the one that its key falls on.
pub fn is_validation(record: &impl Record, fraction: f64, seed: u64) -> bool {
    assert!((0.0..=1.0).contains(&fraction), "a fraction is between 0 and 1, not {fraction}");
    if let Some(decided) = record.validation() {
        return decided;
    }
    let hash = match record.user() {
        Some(user) => hash(seed, b'u', user),
        None => hash(seed, b'p', record.prompt()),
    };
    // The top 53 bits as a number in [0, 1), exactly.
    ((hash >> 11) as f64) * (1.0 / (1u64 << 53) as f64) < fraction
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

/// Keeps the first of all records whose prompts share their first `length` characters; of a shorter prompt,
/// the first identical one. Also returns how many went.
///
/// The paper: "we heuristically deduplicate our prompts by checking for prompts that share a long common
/// prefix"; it does not print the length. Leave a template's or a shared dialogue's head out of account
/// when choosing it.
pub fn deduplicate_by_prefix<T: Record>(mut records: Vec<T>, length: usize) -> (Vec<T>, usize) {
    let before = records.len();
    let mut seen = BTreeSet::new();
    records.retain(|record| seen.insert(record.prompt().chars().take(length).collect::<String>()));
    let gone = before - records.len();
    (records, gone)
}

/// Keeps each user's first `limit` records (200 in the paper) and all without a user. Also returns how many
/// went.
pub fn cap_per_user<T: Record>(mut records: Vec<T>, limit: usize) -> (Vec<T>, usize) {
    let before = records.len();
    let mut counts = BTreeMap::new();
    records.retain(|record| {
        let Some(user) = record.user() else { return true };
        let count = counts.entry(user.to_string()).or_insert(0);
        *count += 1;
        *count <= limit
    });
    let gone = before - records.len();
    (records, gone)
}

#[cfg(test)]
mod tests {
    use super::super::{Demonstration, Prompt};
    use super::*;
    use proptest::prelude::*;

    fn prompt(prompt: &str, user: Option<&str>) -> Prompt {
        Prompt { prompt: prompt.to_string(), user: user.map(str::to_string) }
    }

    #[test]
    fn the_fraction_is_met_and_the_seed_matters() {
        let records: Vec<Prompt> = (0..10_000).map(|i| prompt(&i.to_string(), None)).collect();
        for (fraction, expected) in
            [(0.0, 0..=0), (0.1, 900..=1100), (0.5, 4800..=5200), (1.0, 10_000..=10_000)]
        {
            assert!(expected.contains(&split(records.clone(), fraction, 7).0.validation.len()), "{fraction}");
        }
        assert_ne!(split(records.clone(), 0.1, 7), split(records, 0.1, 8));
    }

    #[test]
    fn the_hash_is_pinned_so_that_splits_never_move() {
        assert_eq!(hash(1, b'p', "hello"), 7_621_971_502_910_442_992);
    }

    proptest! {
        #[test]
        fn no_user_and_no_prompt_is_on_both_sides(
            keys in proptest::collection::vec((0u8..20, 0u8..30), 1..80), seed in any::<u64>(), users in any::<bool>()
        ) {
            let record = |&(user, text): &(u8, u8)| {
                prompt(&text.to_string(), users.then_some(user.to_string()).as_deref())
            };
            let records: Vec<_> = keys.iter().map(record).collect();
            let (Split { train, validation }, left_out) = split(records.clone(), 0.4, seed);
            prop_assert_eq!(train.len() + validation.len() + left_out, records.len());
            prop_assert!(users || left_out == 0);
            for held in &validation {
                prop_assert!(train.iter().all(|t| t.prompt != held.prompt));
                prop_assert!(!users || train.iter().all(|t| t.user != held.user));
            }
            // Another kind of record, in another order, is split alike.
            for record in records.iter().rev() {
                let other = Demonstration {
                    prompt: record.prompt.clone(), response: "r".into(), user: record.user.clone(), labeler: None,
                };
                prop_assert_eq!(is_validation(record, 0.4, seed), is_validation(&other, 0.4, seed));
            }
        }
    }

    #[test]
    fn long_common_prefixes_count_once() {
        let records = ["éabcX", "éabcY", "éab", "éab", "other"].map(|text| prompt(text, None)).to_vec();
        let (kept, gone) = deduplicate_by_prefix(records, 4);
        let kept: Vec<_> = kept.iter().map(|p| p.prompt.as_str()).collect();
        assert_eq!((kept, gone), (vec!["éabcX", "éab", "other"], 2));
    }

    #[test]
    fn users_are_capped_and_others_are_not() {
        let mut records: Vec<_> = (0..5).map(|i| prompt(&i.to_string(), Some("u"))).collect();
        records.extend((0..5).map(|i| prompt(&i.to_string(), None)));
        let (kept, gone) = cap_per_user(records, 2);
        assert_eq!((kept.len(), gone), (7, 3));
        assert_eq!(kept[1].prompt, "1");
    }
}
