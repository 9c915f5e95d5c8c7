//! What is known of labelers: how often they say what gold items say, how the test of new labelers went (B.1), and for which
//! topics they can tell sensitive speech.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::rankings::{TIE, pairs, preference};
use super::{About, table};
use crate::label::item::{Task, Work};
use crate::label::record::{Answer, TOPICS};
use crate::num::statistics::{Clustered, interval_text, text as number};
use crate::report::record::Table;

#[derive(Default)]
struct Known<'a> {
    flags: Clustered<&'a str>,
    pairs: Clustered<&'a str>,
    ratings: Clustered<&'a str>,
    grades: Clustered<&'a str>,
    topics: Option<usize>,
}

/// Agreement with what is known, by labeler: on gold items while they work, and in the test of new labelers with its soft
/// limits (B.1: three quarters of agreement, a mean grade of 6). For how many topics somebody can tell sensitive speech stands
/// beside them, and has no limit.
pub fn gold(about: &About) -> Table {
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
        if let Answer::Coverage { topics, .. } = &record.answer {
            known.entry((true, &record.labeler)).or_default().topics = Some(topics.len());
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
    let columns = [
        "labeler",
        "of",
        "flags as known (0.75)",
        "pairs as known (0.75)",
        "ratings off by (mean)",
        "demonstrations (6)",
        "soft limits",
        "topics",
    ];
    let rows = known.into_iter().map(|((tested, labeler), known)| row(tested, labeler, &known)).collect();
    table("Gold items and screening", &columns, rows)
}

fn row(tested: bool, labeler: &str, known: &Known) -> Vec<String> {
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
    let topics = match known.topics {
        _ if !tested => String::new(),
        None => "-".into(),
        Some(count) => format!("{count} of {}", TOPICS.len()),
    };
    vec![
        labeler.to_string(),
        if tested { "screening" } else { "gold items" }.to_string(),
        interval_text(flags, 2),
        interval_text(ranked, 2),
        number(mean(&known.ratings), 2),
        number(grade, 2),
        verdict.to_string(),
        topics,
    ]
}

/// For every topic, who can tell sensitive speech about it: what a team lacks shows at a glance. What labelers said in words of
/// their own comes last.
pub fn topics(about: &About) -> Table {
    let mut by_topic: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let (mut own, mut asked) = (vec![], false);
    for (record, _) in about {
        if let Answer::Coverage { topics, other } = &record.answer {
            asked = true;
            for topic in topics {
                by_topic.entry(topic).or_default().insert(&record.labeler);
            }
            if !other.is_empty() {
                own.push(vec![other.clone(), "1".into(), record.labeler.clone()]);
            }
        }
    }
    let row = |topic: &str| {
        let labelers: Vec<&str> = by_topic.get(topic).into_iter().flatten().copied().collect();
        vec![topic.replace('_', " "), labelers.len().to_string(), labelers.join(", ")]
    };
    let mut rows: Vec<Vec<String>> = if asked { TOPICS.map(row).to_vec() } else { vec![] };
    rows.append(&mut own);
    let columns = ["topic", "labelers", "who"];
    table("Topics of which labelers can tell sensitive speech, as they say themselves", &columns, rows)
}
