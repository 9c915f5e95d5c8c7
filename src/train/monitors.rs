//! What gives reward hacking away: responses that grow, never end or repeat themselves, and a reward
//! model that knows little more than length.

use crate::num::statistics::{Estimate, wilson};
use std::collections::BTreeSet;

/// Figures over a set of responses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Monitors {
    /// Number of responses.
    pub responses: usize,
    /// Mean length in tokens, the closing `<|endoftext|>` included.
    pub mean_length: f64,
    /// Share that end by themselves, with `<|endoftext|>`.
    pub ended: f64,
    /// Share of 4-grams that occurred earlier in the same response, over all responses' 4-grams.
    pub repetition: f64,
    /// Different words (1-grams) across all responses, as a share of all.
    pub distinct_1: f64,
    /// Different 2-grams across all responses, as a share of all (distinct-n of Li et al. 2016).
    pub distinct_2: f64,
}

/// Looks at responses (token ids without the prompt). `end_of_text` is what ends one by itself; it
/// counts for the length, not for n-grams.
pub fn monitors<R: AsRef<[u32]>>(responses: &[R], end_of_text: u32) -> Monitors {
    let count = responses.len();
    let (mut tokens, mut ended, mut repeated, mut four_grams) = (0, 0, 0, 0);
    let mut bodies = Vec::with_capacity(count);
    for response in responses {
        let response = response.as_ref();
        tokens += response.len();
        let body = match response.split_last() {
            Some((&last, body)) if last == end_of_text => {
                ended += 1;
                body
            }
            _ => response,
        };
        let (again, all) = repeats(body, 4);
        repeated += again;
        four_grams += all;
        bodies.push(body);
    }
    Monitors {
        responses: count,
        mean_length: share(tokens, count),
        ended: share(ended, count),
        repetition: share(repeated, four_grams),
        distinct_1: distinct(&bodies, 1),
        distinct_2: distinct(&bodies, 2),
    }
}

/// How many of a sequence's n-grams occurred before in it, and how many there are.
fn repeats(tokens: &[u32], n: usize) -> (usize, usize) {
    let all = (tokens.len() + 1).saturating_sub(n);
    let different: BTreeSet<&[u32]> = tokens.windows(n).collect();
    (all - different.len(), all)
}

/// Different n-grams over all n-grams of a set of sequences; 0 if there are none.
pub fn distinct<R: AsRef<[u32]>>(sequences: &[R], n: usize) -> f64 {
    let different: BTreeSet<&[u32]> = sequences.iter().flat_map(|s| s.as_ref().windows(n)).collect();
    share(different.len(), sequences.iter().map(|s| s.as_ref().windows(n).len()).sum())
}

/// `part / whole`, 0 of nothing.
fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// The reward model to beat: it only looks at length.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LengthBaseline {
    /// Whether it prefers the longer response; decided on the training pairs.
    pub prefers_longer: bool,
    /// Its accuracy on the training pairs.
    pub train: Estimate,
    /// Its accuracy on the others.
    pub held_out: Estimate,
}

/// Fits the baseline on pairs of lengths `(preferred, other)` and measures it on others. Equal lengths
/// count half, as a coin would.
pub fn length_baseline(train: &[(usize, usize)], held_out: &[(usize, usize)]) -> LengthBaseline {
    let longer = |pairs: &[(usize, usize)]| {
        pairs.iter().fold(0.0, |sum, (preferred, other)| match preferred.cmp(other) {
            std::cmp::Ordering::Greater => sum + 1.0,
            std::cmp::Ordering::Equal => sum + 0.5,
            std::cmp::Ordering::Less => sum,
        })
    };
    let prefers_longer = 2.0 * longer(train) >= train.len() as f64;
    let accuracy = |pairs: &[(usize, usize)]| {
        let right = longer(pairs);
        wilson(if prefers_longer { right } else { pairs.len() as f64 - right }, pairs.len())
    };
    LengthBaseline { prefers_longer, train: accuracy(train), held_out: accuracy(held_out) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_and_ending() {
        let m = monitors(&[vec![1, 2, 0], vec![1, 2, 3, 4, 5]], 0);
        assert_eq!((m.responses, m.mean_length, m.ended), (2, 4.0, 0.5));
        assert_eq!(m.repetition, 0.0);
        assert_eq!(m.distinct_1, 5.0 / 7.0);
        assert_eq!(m.distinct_2, 4.0 / 5.0);
    }

    #[test]
    fn a_loop_is_seen() {
        // Ten tokens of a loop of two: 7 four-grams, 2 of them new.
        let m = monitors(&[[7, 8].repeat(5)], 0);
        assert_eq!(m.repetition, 5.0 / 7.0);
        assert_eq!(m.ended, 0.0);
    }

    #[test]
    fn repetition_is_within_a_response() {
        let same = vec![1, 2, 3, 4, 5, 6];
        assert_eq!(monitors(&[same.clone(), same], 0).repetition, 0.0);
    }

    #[test]
    fn nothing_is_no_division_by_zero() {
        let m = monitors::<Vec<u32>>(&[], 0);
        assert_eq!((m.mean_length, m.ended, m.repetition, m.distinct_2), (0.0, 0.0, 0.0, 0.0));
        let m = monitors(&[vec![0u32]], 0);
        assert_eq!((m.mean_length, m.ended, m.repetition), (1.0, 1.0, 0.0));
    }

    #[test]
    fn the_direction_is_learnt_on_the_training_pairs_only() {
        let shorter_wins = [(1, 5), (2, 6), (7, 3)];
        let b = length_baseline(&shorter_wins, &[(9, 1), (4, 4), (1, 2), (1, 2)]);
        assert!(!b.prefers_longer);
        assert_eq!(b.train.value, 2.0 / 3.0);
        assert_eq!(b.held_out.value, 2.5 / 4.0);
        assert!(length_baseline(&[(5, 1)], &[]).prefers_longer);
    }
}
