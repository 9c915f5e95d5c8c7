//! What gives reward hacking away: responses that grow, never end or repeat themselves, and a reward
//! model that knows little more than length.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use crate::num::statistics::{Clustered, Estimate, share};

/// Figures over a set of responses; `None` where there is nothing to take a share of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Monitors {
    /// Number of responses.
    pub responses: usize,
    /// Mean length in tokens, the closing `<|endoftext|>` included.
    pub mean_length: Option<f64>,
    /// Share that end by themselves, with `<|endoftext|>`.
    pub ended: Option<f64>,
    /// Share of 4-grams that occurred earlier in the same response, over all responses' 4-grams. (A response of fewer
    /// than four tokens has none.)
    pub repetition: Option<f64>,
    /// Different words (1-grams) across all responses, as a share of all.
    pub distinct_1: Option<f64>,
    /// Different 2-grams across all responses, as a share of all (distinct-n of Li et al. 2016).
    pub distinct_2: Option<f64>,
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

/// Different n-grams over all n-grams of a set of sequences; `None` if there are none.
pub fn distinct<R: AsRef<[u32]>>(sequences: &[R], n: usize) -> Option<f64> {
    let different: BTreeSet<&[u32]> = sequences.iter().flat_map(|s| s.as_ref().windows(n)).collect();
    share(different.len(), sequences.iter().map(|s| s.as_ref().windows(n).len()).sum())
}

/// The lengths of the responses of a pair that is no tie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LengthPair<K> {
    /// What the prompt is known by: the pairs of one prompt are no independent observations.
    pub prompt: K,
    /// Tokens of the response that is preferred.
    pub preferred: usize,
    /// Tokens of the other.
    pub other: usize,
}

/// The reward model to beat: it only looks at length.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LengthBaseline {
    /// Whether it prefers the longer response; decided on the training pairs.
    pub prefers_longer: bool,
    /// Its accuracy on the training pairs; `None` without any.
    pub train: Option<Estimate>,
    /// Its accuracy on the held-out pairs; `None` without any, and without training pairs, as it is then undecided.
    pub held_out: Option<Estimate>,
}

/// Fits the baseline on pairs and measures it on others. Equal lengths count half, as a coin would.
pub fn length_baseline<K: Ord + Copy>(train: &[LengthPair<K>], held_out: &[LengthPair<K>]) -> LengthBaseline {
    let accuracy = |pairs: &[LengthPair<K>], prefers_longer: bool| {
        let point = |pair: &LengthPair<K>| match pair.preferred.cmp(&pair.other) {
            Ordering::Equal => 0.5,
            order => f64::from(u8::from((order == Ordering::Greater) == prefers_longer)),
        };
        pairs.iter().map(|pair| (pair.prompt, point(pair))).collect::<Clustered<K>>().share()
    };
    let prefers_longer = accuracy(train, true).is_none_or(|longer| longer.value >= 0.5);
    let train = accuracy(train, prefers_longer);
    let held_out = train.and(accuracy(held_out, prefers_longer));
    LengthBaseline { prefers_longer, train, held_out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_and_ending() {
        let m = monitors(&[vec![1, 2, 0], vec![1, 2, 3, 4, 5]], 0);
        assert_eq!((m.responses, m.mean_length, m.ended), (2, Some(4.0), Some(0.5)));
        assert_eq!(m.repetition, Some(0.0));
        assert_eq!(m.distinct_1, Some(5.0 / 7.0));
        assert_eq!(m.distinct_2, Some(4.0 / 5.0));
    }

    #[test]
    fn a_loop_is_seen() {
        // Ten tokens of a loop of two: 7 four-grams, 2 of them new.
        let m = monitors(&[[7, 8].repeat(5)], 0);
        assert_eq!(m.repetition, Some(5.0 / 7.0));
        assert_eq!(m.ended, Some(0.0));
    }

    #[test]
    fn repetition_is_within_a_response() {
        let same = vec![1, 2, 3, 4, 5, 6];
        assert_eq!(monitors(&[same.clone(), same], 0).repetition, Some(0.0));
    }

    #[test]
    fn of_nothing_there_is_no_share() {
        let m = monitors::<Vec<u32>>(&[], 0);
        assert_eq!((m.mean_length, m.ended, m.repetition, m.distinct_2), (None, None, None, None));
        // An answer that ends at once has a length and an end, and nothing that could be repeated.
        let m = monitors(&[vec![0u32]], 0);
        assert_eq!((m.mean_length, m.ended, m.repetition), (Some(1.0), Some(1.0), None));
        // It does not dilute the others' repetition.
        let m = monitors(&[vec![0], [7, 8].repeat(5)], 0);
        assert_eq!(m.repetition, Some(5.0 / 7.0));
    }

    fn pairs(of_prompts: &[(u32, usize, usize)]) -> Vec<LengthPair<u32>> {
        let pair = |&(prompt, preferred, other)| LengthPair { prompt, preferred, other };
        of_prompts.iter().map(pair).collect()
    }

    #[test]
    fn the_direction_is_learnt_on_the_training_pairs_only() {
        let shorter_wins = pairs(&[(0, 1, 5), (1, 2, 6), (2, 7, 3)]);
        let b = length_baseline(&shorter_wins, &pairs(&[(0, 9, 1), (1, 4, 4), (2, 1, 2), (3, 1, 2)]));
        assert!(!b.prefers_longer);
        assert_eq!(b.train.unwrap().value, 2.0 / 3.0);
        assert_eq!(b.held_out.unwrap().value, 2.5 / 4.0);
        let b = length_baseline(&pairs(&[(0, 5, 1)]), &[]);
        assert!(b.prefers_longer && b.held_out.is_none());
        assert_eq!(length_baseline(&[], &shorter_wins).held_out, None, "undecided");
    }

    #[test]
    fn the_pairs_of_a_prompt_are_one_cluster() {
        let train = pairs(&[(0, 5, 1)]);
        let interval = |of_prompts: &[(u32, usize, usize)]| {
            length_baseline(&train, &pairs(of_prompts)).held_out.unwrap()
        };
        let apart = interval(&[(0, 2, 1), (1, 2, 1), (2, 1, 2), (3, 1, 2)]);
        let together = interval(&[(0, 2, 1), (0, 2, 1), (1, 1, 2), (1, 1, 2)]);
        assert!(together.low < apart.low && apart.high < together.high, "{apart:?} {together:?}");
    }
}
