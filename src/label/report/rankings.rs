//! What rankings say: how often labelers agree, how often they tie, which model they prefer, and what a rule that reads
//! nothing would get right.
//!
//! Everything is counted in pairs of responses. Pairs of one item are alike, so intervals are measured between items.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::About;
use crate::label::agreement::{Scale, gwet_ac1, krippendorff_alpha};
use crate::label::item::{Item, MODELS, Work};
use crate::label::record::Answer;
use crate::label::settings::Settings;
use crate::num::statistics::{Clustered, Estimate};

/// The category of a tie: it lies between the two preferences.
pub const TIE: usize = 1;

/// A labeler's preference within a pair of responses, in the item's order: 0 the first, 1 a tie, 2 the second.
pub fn preference(ranks: &[u32], i: usize, j: usize) -> usize {
    match ranks[i].cmp(&ranks[j]) {
        Ordering::Less => 0,
        Ordering::Equal => TIE,
        Ordering::Greater => 2,
    }
}

/// The pairs of `n` responses.
pub fn pairs(n: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n).flat_map(move |i| (i + 1..n).map(move |j| (i, j)))
}

/// What labelers said about pairs of responses, outside of the screening.
pub struct Rankings<'a> {
    /// By item: its responses, and each labeler's ranks and order shown.
    items: BTreeMap<&'a str, (&'a Item, Vec<Ranking<'a>>)>,
}

struct Ranking<'a> {
    labeler: &'a str,
    ranks: &'a [u32],
    shown: &'a [usize],
}

/// How well labelers of a group agree.
pub struct Agreement {
    /// Which group.
    pub who: &'static str,
    /// What the paper has of it (section 3.4): the share of pairs, and half of its interval.
    pub paper: (f64, f64),
    /// Of the pairs where both prefer one response.
    pub strict: Option<Estimate>,
    /// Of all pairs, where a tie against a preference counts half.
    pub all: Option<Estimate>,
    /// Krippendorff's alpha, ordinal.
    pub alpha: Option<f64>,
    /// Gwet's AC1, nominal.
    pub ac1: Option<f64>,
}

/// A share of pairs.
pub struct Share {
    /// Of what.
    pub of: String,
    /// None where there is no such pair.
    pub share: Option<Estimate>,
}

impl Share {
    fn new<K: Ord>(of: impl Into<String>, pairs: &Clustered<K>) -> Share {
        Share { of: of.into(), share: pairs.share() }
    }
}

/// One of a pair is better: 1 where it is what was asked for, 0 otherwise.
fn one(is: bool) -> f64 {
    f64::from(u8::from(is))
}

impl<'a> Rankings<'a> {
    /// Of all records.
    pub fn of(about: &About<'a>) -> Rankings<'a> {
        let mut items = BTreeMap::<&str, (&Item, Vec<Ranking>)>::new();
        for (record, item) in about {
            if let (Answer::Ranking { ranks }, Some(item)) = (&record.answer, item)
                && item.work() == Work::Rank
            {
                let ranking = Ranking { labeler: &record.labeler, ranks, shown: &record.shown };
                items.entry(&item.id).or_insert((item, vec![])).1.push(ranking);
            }
        }
        Rankings { items }
    }

    /// For every pair of labelers who ranked the same item, and every pair of its responses: the item, the labelers and
    /// what each prefers.
    fn meetings(&self) -> impl Iterator<Item = (&'a str, [&'a str; 2], [usize; 2])> {
        self.items.iter().flat_map(|(id, (item, rankings))| {
            pairs(rankings.len()).flat_map(move |(a, b)| {
                let (a, b) = (&rankings[a], &rankings[b]);
                pairs(item.responses.len()).map(move |(i, j)| {
                    (*id, [a.labeler, b.labeler], [preference(a.ranks, i, j), preference(b.ranks, i, j)])
                })
            })
        })
    }

    /// What every labeler of a group prefers, by pair of responses.
    fn units(&self, of_group: impl Fn(&str) -> bool) -> Vec<Vec<usize>> {
        let units = self.items.values().flat_map(|(item, rankings)| {
            let group: Vec<&Ranking> = rankings.iter().filter(|ranking| of_group(ranking.labeler)).collect();
            pairs(item.responses.len())
                .map(|(i, j)| group.iter().map(|ranking| preference(ranking.ranks, i, j)).collect())
                .collect::<Vec<_>>()
        });
        units.collect()
    }

    /// Agreement of the labelers whose data train, and of the held-out ones; of those groups in which two met.
    pub fn agreement(&self, settings: &Settings) -> Vec<Agreement> {
        let groups =
            [("training labelers", false, (0.726, 0.015)), ("held-out labelers", true, (0.773, 0.013))];
        let of = |(who, held_out, paper): (&'static str, bool, (f64, f64))| {
            let of_group = |labeler: &str| settings.held_out.contains(labeler) == held_out;
            let (mut strict, mut all) = (Clustered::default(), Clustered::default());
            let of_both = |labelers: &[&str; 2]| labelers.iter().all(|labeler| of_group(labeler));
            for (item, _, said) in self.meetings().filter(|(_, labelers, _)| of_both(labelers)) {
                let same = one(said[0] == said[1]);
                if said.contains(&TIE) {
                    all.add(item, if same == 1.0 { 1.0 } else { 0.5 }, 1);
                } else {
                    all.add(item, same, 1);
                    strict.add(item, same, 1);
                }
            }
            let units = self.units(of_group);
            let (alpha, ac1) = (krippendorff_alpha(&units, Scale::Ordinal), gwet_ac1(&units, 3));
            Agreement { who, paper, strict: strict.share(), all: all.share(), alpha, ac1 }
        };
        groups.into_iter().map(of).filter(|agreement| agreement.all.is_some()).collect()
    }

    /// Agreement of each labeler with each other, where both prefer one.
    pub fn pairs_of_labelers(&self) -> Vec<Share> {
        let mut met = BTreeMap::<[&str; 2], Clustered<&str>>::new();
        for (item, mut labelers, said) in self.meetings().filter(|(_, _, said)| !said.contains(&TIE)) {
            labelers.sort_unstable();
            met.entry(labelers).or_default().add(item, one(said[0] == said[1]), 1);
        }
        met.iter().map(|([a, b], agreed)| Share::new(format!("{a} and {b}"), agreed)).collect()
    }

    /// Every pair of responses that a labeler ranked, with its item: the ranking, and the numbers of the better and the
    /// worse one; none of them where they tie.
    fn judged(&self) -> impl Iterator<Item = (&'a str, &'a Item, &Ranking<'a>, Option<[usize; 2]>)> {
        self.items.iter().flat_map(|(id, (item, rankings))| {
            rankings.iter().flat_map(move |ranking| {
                pairs(item.responses.len()).map(move |(i, j)| {
                    let order = match preference(ranking.ranks, i, j) {
                        TIE => None,
                        0 => Some([i, j]),
                        _ => Some([j, i]),
                    };
                    (*id, *item, ranking, order)
                })
            })
        })
    }

    /// The share of ties.
    pub fn ties(&self) -> Share {
        let mut ties = Clustered::default();
        self.judged().for_each(|(id, _, _, order)| ties.add(id, one(order.is_none()), 1));
        Share::new("ties", &ties)
    }

    /// What a rule that reads nothing would get right of the pairs without ties: the longer response (by characters), and
    /// the one shown first.
    pub fn baselines(&self) -> [Share; 2] {
        let (mut longer, mut first) = (Clustered::default(), Clustered::default());
        for (id, item, ranking, order) in self.judged() {
            let Some([better, worse]) = order else { continue };
            let place = |i: usize| ranking.shown.iter().position(|&shown| shown == i);
            first.add(id, one(place(better) < place(worse)), 1);
            let length = |i: usize| item.responses[i].chars().count();
            if length(better) != length(worse) {
                longer.add(id, one(length(better) > length(worse)), 1);
            }
        }
        [Share::new("the longer response wins", &longer), Share::new("the response shown first wins", &first)]
    }

    /// How often each model's response is preferred to another model's, a tie counted half, where items say who wrote what.
    pub fn models(&self) -> Vec<Share> {
        let mut models = BTreeMap::<&str, Clustered<&str>>::new();
        for (id, (item, rankings)) in &self.items {
            let names = item.fields.get(MODELS).and_then(|names| names.as_array());
            let names: Vec<&str> = names.into_iter().flatten().filter_map(|name| name.as_str()).collect();
            if names.len() != item.responses.len() {
                continue;
            }
            for ranking in rankings {
                for (i, j) in pairs(names.len()).filter(|&(i, j)| names[i] != names[j]) {
                    let second = preference(ranking.ranks, i, j) as f64 / 2.0;
                    models.entry(names[i]).or_default().add(id, 1.0 - second, 1);
                    models.entry(names[j]).or_default().add(id, second, 1);
                }
            }
        }
        models.iter().map(|(name, won)| Share::new(*name, won)).collect()
    }
}
