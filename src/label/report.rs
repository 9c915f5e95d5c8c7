//! How much was labelled and how well labelers agree, as tables.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;
use serde_json::json;

use super::agreement::{Scale, gwet_ac1, krippendorff_alpha};
use super::item::{Item, Task, Work};
use super::record::{Answer, QUESTIONS, Record};
use super::settings::Settings;
use super::store::Store;
use crate::error::Result;
use crate::num::statistics::{Clustered, interval_text, text as number};

/// A table of the report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Table {
    /// What it is about.
    pub title: String,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// As many cells in each row.
    pub rows: Vec<Vec<String>>,
}

fn table(title: &str, columns: &[&str], rows: Vec<Vec<String>>) -> Table {
    Table { title: title.into(), columns: columns.iter().map(|name| name.to_string()).collect(), rows }
}

/// The tables as JSON.
///
/// # Errors
/// As [`tables`].
pub fn text(store: &mut Store, settings: &Settings) -> Result<String> {
    Ok(json!({ "tables": tables(store, settings)? }).to_string())
}

/// All tables of a project.
///
/// # Errors
/// [`crate::Error::Io`], [`crate::Error::Format`].
pub fn tables(store: &mut Store, settings: &Settings) -> Result<Vec<Table>> {
    let (mut items, mut records) = (HashMap::new(), vec![]);
    store.items(|item| drop(items.insert(item.id.clone(), item)))?;
    store.records(|record| records.push(record))?;
    let about: Vec<(Record, Option<&Item>)> = records
        .into_iter()
        .map(|record| {
            let item = record.item.as_ref().and_then(|id| items.get(id));
            (record, item)
        })
        .collect();
    let rankings = Rankings::of(&about);
    let mut tables = vec![counts(&about), rankings.agreement(settings), ratings(&about)];
    tables.push(rankings.pairs_of_labelers());
    tables.push(rankings.baselines());
    tables.push(gold(&about));
    Ok(tables.into_iter().filter(|table| !table.rows.is_empty()).collect())
}

type About<'a> = [(Record, Option<&'a Item>)];

/// How many records there are of each kind of work, and how long they took.
fn counts(about: &About) -> Table {
    let kinds = Work::ALL.map(|work| (work.name(), Some(work))).into_iter().chain([("own prompts", None)]);
    let rows = kinds.filter_map(|(name, work)| {
        let of: Vec<&Record> =
            about.iter().filter(|(_, item)| item.map(Item::work) == work).map(|(record, _)| record).collect();
        let labelers: BTreeSet<&str> = of.iter().map(|record| record.labeler.as_str()).collect();
        let count = |is: &dyn Fn(&&&Record) -> bool| of.iter().filter(is).count().to_string();
        let skipped = count(&|record| matches!(record.answer, Answer::Skip { .. }));
        let seconds = median(of.iter().map(|record| record.seconds).collect());
        (!of.is_empty()).then(|| {
            let [all, labelers] = [of.len(), labelers.len()].map(|n| n.to_string());
            let flagged = count(&|record| record.flagged);
            vec![name.to_string(), all, labelers, skipped, flagged, number(seconds, 1)]
        })
    });
    let columns = ["work", "records", "labelers", "skipped", "flagged", "seconds (median)"];
    table("What was labelled", &columns, rows.collect())
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.len().checked_sub(1)? / 2, values.len() / 2);
    Some((values[low] + values[high]) / 2.0)
}

const TIE: usize = 1;

/// A labeler's preference within a pair of responses, in the item's order: 0 the first, 1 a tie, 2 the second.
fn preference(ranks: &[u32], i: usize, j: usize) -> usize {
    match ranks[i].cmp(&ranks[j]) {
        Ordering::Less => 0,
        Ordering::Equal => TIE,
        Ordering::Greater => 2,
    }
}

/// What labelers said about pairs of responses, outside of the screening.
struct Rankings<'a> {
    /// By item: its responses, and each labeler's ranks and order shown.
    items: BTreeMap<&'a str, (&'a Item, Vec<Ranking<'a>>)>,
}

struct Ranking<'a> {
    labeler: &'a str,
    ranks: &'a [u32],
    shown: &'a [usize],
}

/// The pairs of `n` responses.
fn pairs(n: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n).flat_map(move |i| (i + 1..n).map(move |j| (i, j)))
}

impl<'a> Rankings<'a> {
    fn of(about: &'a About) -> Rankings<'a> {
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

    /// Agreement of the labelers whose data train, and of the held-out ones, beside the paper's.
    fn agreement(&self, settings: &Settings) -> Table {
        let groups =
            [("training labelers", false, "0.726 +- 0.015"), ("held-out labelers", true, "0.773 +- 0.013")];
        let rows = groups.into_iter().flat_map(|(name, held_out, paper)| {
            let of_group = |labeler: &str| settings.held_out.contains(labeler) == held_out;
            let (mut strict, mut all) = (Clustered::default(), Clustered::default());
            for (item, labelers, said) in self.meetings() {
                if !labelers.iter().all(|labeler| of_group(labeler)) {
                    continue;
                }
                let same = if said[0] == said[1] { 1.0 } else { 0.0 };
                if said.contains(&TIE) {
                    all.add(item, if same == 1.0 { 1.0 } else { 0.5 }, 1);
                } else {
                    all.add(item, same, 1);
                    strict.add(item, same, 1);
                }
            }
            let units = self.units(of_group);
            let rows = [
                ("agree where both prefer one", interval_text(strict.share(), 3), strict.count(), paper),
                ("agree, one tie counted half", interval_text(all.share(), 3), all.count(), ""),
                (
                    "Krippendorff's alpha, ordinal (first, tie, second)",
                    number(krippendorff_alpha(&units, Scale::Ordinal), 3),
                    all.count(),
                    "",
                ),
                ("Gwet's AC1 (nominal)", number(gwet_ac1(&units, 3), 3), all.count(), ""),
            ];
            let row = |(what, value, count, paper): (&str, String, usize, &str)| {
                vec![name.to_string(), what.to_string(), value, count.to_string(), paper.to_string()]
            };
            if all.count() > 0 { rows.map(row).to_vec() } else { vec![] }
        });
        let columns = ["who", "measure", "value, 95 % interval", "pairs", "paper"];
        table(
            "Agreement on rankings (a pair of responses that two labelers ranked)",
            &columns,
            rows.collect(),
        )
    }

    /// Agreement of each labeler with each other.
    fn pairs_of_labelers(&self) -> Table {
        let mut met = BTreeMap::<[&str; 2], Clustered<&str>>::new();
        for (item, mut labelers, said) in self.meetings().filter(|(_, _, said)| !said.contains(&TIE)) {
            labelers.sort_unstable();
            met.entry(labelers).or_default().add(item, if said[0] == said[1] { 1.0 } else { 0.0 }, 1);
        }
        let row = |([a, b], agreed): (&[&str; 2], &Clustered<&str>)| {
            vec![format!("{a} and {b}"), interval_text(agreed.share(), 3), agreed.count().to_string()]
        };
        let columns = ["labelers", "agree where both prefer one", "pairs"];
        table("Agreement by pair of labelers", &columns, met.iter().map(row).collect())
    }

    /// What a rule that reads nothing would get right: the longer response, or the one shown first; and the ties.
    fn baselines(&self) -> Table {
        let (mut ties, mut longer, mut first) =
            (Clustered::default(), Clustered::default(), Clustered::default());
        for (id, (item, rankings)) in &self.items {
            for ranking in rankings {
                let place = |i: usize| ranking.shown.iter().position(|&shown| shown == i);
                for (i, j) in pairs(item.responses.len()) {
                    let preferred = preference(ranking.ranks, i, j);
                    ties.add(id, if preferred == TIE { 1.0 } else { 0.0 }, 1);
                    if preferred == TIE {
                        continue;
                    }
                    let (better, worse) = if preferred == 0 { (i, j) } else { (j, i) };
                    first.add(id, if place(better) < place(worse) { 1.0 } else { 0.0 }, 1);
                    let length = |i: usize| item.responses[i].chars().count();
                    if length(better) != length(worse) {
                        longer.add(id, if length(better) > length(worse) { 1.0 } else { 0.0 }, 1);
                    }
                }
            }
        }
        let rows = [
            ("ties", ties),
            ("the longer response wins (pairs without ties)", longer),
            ("the response shown first wins (pairs without ties)", first),
        ];
        let rows = rows
            .into_iter()
            .filter(|(_, of)| of.count() > 0)
            .map(|(name, of)| vec![name.to_string(), interval_text(of.share(), 3), of.count().to_string()]);
        table(
            "Rankings: ties, and rules that read nothing",
            &["what", "share, 95 % interval", "pairs"],
            rows.collect(),
        )
    }
}

/// Ratings: means, and agreement where several labelers rated the same response.
fn ratings(about: &About) -> Table {
    let (mut overall, mut units) = (Clustered::default(), BTreeMap::<&str, Vec<usize>>::new());
    let mut questions = BTreeMap::<&str, (Clustered<&str>, BTreeMap<&str, Vec<usize>>)>::new();
    for (record, item) in about {
        let (Answer::Rating { overall: rated, questions: answers }, Some(item)) = (&record.answer, item)
        else {
            continue;
        };
        if item.work() != Work::Rate {
            continue;
        }
        overall.add(item.id.as_str(), f64::from(*rated), 1);
        units.entry(&item.id).or_default().push(usize::from(*rated) - 1);
        for (name, &yes) in answers {
            let (share, units) = questions.entry(name).or_default();
            share.add(item.id.as_str(), f64::from(u8::from(yes)), 1);
            units.entry(&item.id).or_default().push(usize::from(yes));
        }
    }
    let units: Vec<Vec<usize>> = units.into_values().collect();
    let shared = |units: &[Vec<usize>]| units.iter().filter(|unit| unit.len() > 1).count().to_string();
    let mut rows = vec![];
    if overall.count() > 0 {
        let alpha = number(krippendorff_alpha(&units, Scale::Ordinal), 3);
        let mean = interval_text(overall.mean().filter(|mean| mean.clusters > 1), 2);
        rows.push(vec![
            "overall (1 to 7), mean".into(),
            mean,
            overall.count().to_string(),
            shared(&units),
            format!("alpha, ordinal: {alpha}"),
        ]);
    }
    for name in QUESTIONS {
        let Some((share, units)) = questions.remove(name) else { continue };
        let units: Vec<Vec<usize>> = units.into_values().collect();
        let [ac1, alpha] =
            [gwet_ac1(&units, 2), krippendorff_alpha(&units, Scale::Nominal)].map(|value| number(value, 3));
        rows.push(vec![
            format!("{name}, share of yes"),
            interval_text(share.share(), 3),
            share.count().to_string(),
            shared(&units),
            format!("AC1: {ac1}, alpha, nominal: {alpha}"),
        ]);
    }
    table(
        "Ratings (Table 3 of the paper)",
        &["question", "value, 95 % interval", "ratings", "by several", "agreement"],
        rows,
    )
}

/// How often labelers say what is known: gold items while they work, and the test of new labelers with its soft limits
/// (B.1: three quarters of agreement, a mean grade of 6).
fn gold(about: &About) -> Table {
    #[derive(Default)]
    struct Known<'a> {
        flags: Clustered<&'a str>,
        pairs: Clustered<&'a str>,
        ratings: Clustered<&'a str>,
        grades: Clustered<&'a str>,
    }
    let mut known = BTreeMap::<(bool, &str), Known>::new();
    let demonstrations: HashMap<&str, &str> =
        about.iter().map(|(record, _)| (record.id.as_str(), record.labeler.as_str())).collect();
    for (record, item) in about {
        let Some(item) = item else { continue };
        let tested = item.work() == Work::Screening;
        if let (Some(graded), Answer::Rating { overall, .. }) = (&item.grades, &record.answer) {
            if let Some(labeler) = demonstrations.get(graded.as_str()) {
                let grades = &mut known.entry((true, labeler)).or_default().grades;
                grades.add(item.id.as_str(), f64::from(*overall), 1);
            }
            continue;
        }
        let of = match &item.gold {
            Some(_) => known.entry((tested, &record.labeler)).or_default(),
            None => continue,
        };
        let right = |right: bool| f64::from(u8::from(right));
        match (&item.gold, &record.answer) {
            (Some(Answer::Flag { sensitive: gold }), Answer::Flag { sensitive }) => {
                of.flags.add(item.id.as_str(), right(gold == sensitive), 1);
            }
            (Some(Answer::Rating { overall: gold, .. }), Answer::Rating { overall, .. }) => {
                of.ratings.add(item.id.as_str(), f64::from(gold.abs_diff(*overall)), 1);
            }
            (Some(Answer::Ranking { ranks: gold }), Answer::Ranking { ranks }) if item.task == Task::Rank => {
                for (i, j) in pairs(ranks.len()) {
                    let known = preference(gold, i, j);
                    if known != TIE {
                        of.pairs.add(item.id.as_str(), right(known == preference(ranks, i, j)), 1);
                    }
                }
            }
            _ => {}
        }
    }
    let rows = known.into_iter().map(|((tested, labeler), known)| {
        let meets = |value: Option<f64>, limit: f64| value.map(|value| value >= limit);
        let (flags, ranked) = (known.flags.share(), known.pairs.share());
        let mean = |of: &Clustered<&str>| of.mean().map(|mean| mean.value);
        let grade = mean(&known.grades);
        let limits =
            [meets(flags.map(|f| f.value), 0.75), meets(ranked.map(|r| r.value), 0.75), meets(grade, 6.0)];
        let verdict = match limits {
            _ if !tested => "",
            [Some(true), Some(true), Some(true)] => "above all",
            limits if limits.contains(&Some(false)) => "below one",
            _ => "not complete",
        };
        let set = if tested { "screening" } else { "gold items" };
        vec![
            labeler.to_string(),
            set.to_string(),
            interval_text(flags, 2),
            interval_text(ranked, 2),
            number(mean(&known.ratings), 2),
            number(grade, 2),
            verdict.to_string(),
        ]
    });
    let columns = [
        "labeler",
        "of",
        "flags as known (0.75)",
        "pairs as known (0.75)",
        "ratings off by (mean)",
        "demonstrations (6)",
        "soft limits",
    ];
    table("Gold items and screening", &columns, rows.collect())
}

#[cfg(test)]
mod tests;
