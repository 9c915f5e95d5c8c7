//! DROP's metrics (Dua et al., 2019), as its official drop_eval.py in AllenNLP (lm-evaluation-harness 0.4.13 has the
//! same): an answer is a list of spans, of which each is a set of words. The spans of prediction and reference are
//! paired so that the sum of their F1 is largest; what finds no partner counts 0. A span with numbers scores only
//! against one that has one of them.

use std::collections::BTreeSet;

use super::answers::{Score, harmonic_mean, single_spaces, without_articles, without_punctuation, words};
use super::float_text;

/// The score of the spans `prediction` against the best of several `references`. References whose first span is blank
/// do not count; 0 if none is left.
///
/// # Panics
/// If a reference has no span.
pub fn score<P: AsRef<str>, R: AsRef<str>>(prediction: &[P], references: &[Vec<R>]) -> Score {
    let scores = references.iter().filter_map(|reference| {
        assert!(!reference.is_empty(), "a reference without spans");
        let counts = words(reference[0].as_ref()).next().is_some();
        counts.then(|| score_one(prediction, reference))
    });
    scores.fold(Score::default(), Score::max)
}

fn score_one<P: AsRef<str>, R: AsRef<str>>(prediction: &[P], reference: &[R]) -> Score {
    let prediction: Vec<String> = prediction.iter().map(|span| normal_form(span.as_ref())).collect();
    let reference: Vec<String> = reference.iter().map(|span| normal_form(span.as_ref())).collect();
    let set = |spans: &[String]| spans.iter().cloned().collect::<BTreeSet<String>>();
    let exact = prediction.len() == reference.len() && set(&prediction) == set(&reference);
    let f1 = aligned_f1(&prediction, &reference);
    // Two digits, ties to even, as numpy rounds.
    Score { exact: f64::from(u8::from(exact)), f1: (f1 * 100.0).round_ties_even() / 100.0 }
}

/// DROP's normal form works on one piece between spaces and hyphens after the other. A number is written as Python's
/// `repr` does ("5" and "5.00" are "5.0") and keeps its point and sign; in other pieces no punctuation stays.
fn normal_form(span: &str) -> String {
    let piece = |piece: &str| {
        let lower = piece.to_lowercase();
        let plain = if float_text::parse(&lower).is_some() { lower } else { without_punctuation(&lower) };
        // "$5" has become a number only now.
        let plain = float_text::parse(&plain).map_or(plain, float_text::write);
        single_spaces(&without_articles(&plain))
    };
    let pieces: Vec<String> = span.split([' ', '-']).map(piece).filter(|piece| !piece.is_empty()).collect();
    pieces.join(" ")
}

/// The mean F1 of the best pairing, over as many spans as the longer list has.
fn aligned_f1(prediction: &[String], reference: &[String]) -> f64 {
    let bags = |spans: &[String]| -> Vec<BTreeSet<String>> {
        spans.iter().map(|span| words(span).map(String::from).collect()).collect()
    };
    let (prediction, reference) = (bags(prediction), bags(reference));
    let size = prediction.len().max(reference.len());
    // Square: whoever has no partner gets one of F1 0.
    let f1 = |row: usize, column: usize| match (reference.get(row), prediction.get(column)) {
        (Some(reference), Some(prediction)) if numbers_agree(reference, prediction) => {
            bag_f1(reference, prediction)
        }
        _ => 0.0,
    };
    let scores: Vec<Vec<f64>> =
        (0..size).map(|row| (0..size).map(|column| f1(row, column)).collect()).collect();
    let total: f64 =
        best_pairing(&scores).into_iter().enumerate().map(|(row, column)| scores[row][column]).sum();
    total / size as f64
}

/// Whether `reference` has no number, or one that `prediction` has too.
fn numbers_agree(reference: &BTreeSet<String>, prediction: &BTreeSet<String>) -> bool {
    let mut numbers = reference.iter().filter(|word| float_text::parse(word).is_some()).peekable();
    numbers.peek().is_none() || numbers.any(|number| prediction.contains(number))
}

/// F1 of two sets of words. An empty prediction has precision 1, an empty reference recall 1.
fn bag_f1(reference: &BTreeSet<String>, prediction: &BTreeSet<String>) -> f64 {
    let common = reference.intersection(prediction).count() as f64;
    let share = |bag: &BTreeSet<String>| if bag.is_empty() { 1.0 } else { common / bag.len() as f64 };
    harmonic_mean(share(prediction), share(reference))
}

/// Which column each row of a square matrix gets, each column once, so that the sum is largest.
///
/// The Hungarian method: rows join one by one. Every row and column has a price such that no entry is above the sum of
/// its two prices, and pairs are made where it is equal. A new row looks for a free column along a path of such
/// entries, alternating between pairs and others; where it finds none, the prices give way by the smallest amount that
/// opens an entry. Time is cubic in the size.
fn best_pairing(scores: &[Vec<f64>]) -> Vec<usize> {
    let size = scores.len();
    // Column `size` stands for the row that looks for a partner.
    let mut row_price = vec![0.0; size];
    let mut column_price = vec![0.0; size + 1];
    let mut partner: Vec<Option<usize>> = vec![None; size + 1];
    for new_row in 0..size {
        let mut reached = vec![false; size + 1];
        let mut slack = vec![f64::INFINITY; size];
        let mut came_from = vec![size; size];
        let mut column = size;
        partner[size] = Some(new_row);
        while let Some(row) = partner[column] {
            reached[column] = true;
            let (mut next, mut least) = (size, f64::INFINITY);
            for c in (0..size).filter(|&c| !reached[c]) {
                let gap = row_price[row] + column_price[c] - scores[row][c];
                if gap < slack[c] {
                    (slack[c], came_from[c]) = (gap, column);
                }
                if slack[c] < least {
                    (least, next) = (slack[c], c);
                }
            }
            for c in 0..=size {
                if reached[c] {
                    column_price[c] += least;
                    row_price[partner[c].expect("a reached column has a row")] -= least;
                } else {
                    slack[c] -= least;
                }
            }
            column = next;
        }
        // The path is free at its end: each pair on it moves one column on.
        while column != size {
            partner[column] = partner[came_from[column]];
            column = came_from[column];
        }
    }
    let mut columns = vec![0; size];
    for column in 0..size {
        columns[partner[column].expect("every column has a row")] = column;
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(prediction: &[&str], reference: &[&str]) -> (f64, f64) {
        let score = score(prediction, &[reference.to_vec()]);
        (score.exact, score.f1)
    }

    #[test]
    fn numbers_are_equal_by_value() {
        assert_eq!(normal_form("The $5 or 5.00-yard"), "5.0 or 5.0 yard");
        assert_eq!(normal_form("1,000"), "1000.0");
        assert_eq!(normal_form("-3.5 %"), "3.5");
        assert_eq!(one(&["7 yards"], &["7.0 yards"]), (1.0, 1.0));
        // One word of two is common, but the number is another one.
        assert_eq!(one(&["8 yards"], &["7 yards"]), (0.0, 0.0));
        // The prediction's number is in nobody's way: precision 1/2, recall 1.
        assert_eq!(one(&["8 yards"], &["yards"]), (0.0, 0.67));
    }

    #[test]
    fn a_word_counts_once() {
        // {no} of {no, sir}: precision 1, recall 1/2.
        assert_eq!(one(&["no no"], &["no sir"]), (0.0, 0.67));
    }

    #[test]
    fn spans_are_paired_for_the_largest_sum() {
        assert_eq!(one(&["red", "blue"], &["blue", "red"]), (1.0, 1.0));
        // The best pair, "x y z" with "x y" (.8), would leave the others 0; the best sum is 1/2 + 2/3, of two.
        assert_eq!(one(&["x y", "z"], &["x y z", "x"]), (0.0, 0.58));
        // Three spans, one found.
        assert_eq!(one(&["red"], &["red", "blue", "green"]), (0.0, 0.33));
        assert_eq!(one(&["red", "red"], &["red"]), (0.0, 0.5));
        assert_eq!(one(&[], &["red"]), (0.0, 0.0));
    }

    #[test]
    fn the_best_reference_counts() {
        let references = [vec!["  "], vec!["red"], vec!["red", "blue"]];
        assert_eq!(score(&["red"], &references), Score { exact: 1.0, f1: 1.0 });
        assert_eq!(score(&[""], &references[..1]), Score::default());
        // Nothing but an article: no word on either side.
        assert_eq!(one(&["the"], &["a"]), (1.0, 1.0));
    }

    #[test]
    fn the_pairing_is_the_best_of_all() {
        // Every permutation of up to five columns, by brute force.
        fn best(scores: &[Vec<f64>], row: usize, used: &mut Vec<bool>) -> f64 {
            let mut largest = if row == scores.len() { 0.0 } else { f64::NEG_INFINITY };
            for column in 0..scores.len() {
                if row < scores.len() && !used[column] {
                    used[column] = true;
                    largest = largest.max(scores[row][column] + best(scores, row + 1, used));
                    used[column] = false;
                }
            }
            largest
        }
        let mut state = 1_u64;
        for case in 0..500 {
            let size = case % 6;
            let mut draw = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                // Sixteenths, so that sums are exact and many are equal.
                ((state >> 33) % 17) as f64 / 16.0
            };
            let scores: Vec<Vec<f64>> = (0..size).map(|_| (0..size).map(|_| draw()).collect()).collect();
            let columns = best_pairing(&scores);
            let total: f64 = columns.iter().enumerate().map(|(row, &column)| scores[row][column]).sum();
            assert_eq!(columns.iter().collect::<BTreeSet<_>>().len(), size, "{scores:?}");
            assert_eq!(total, best(&scores, 0, &mut vec![false; size]), "{scores:?}");
        }
    }
}
