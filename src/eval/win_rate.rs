//! The win rate of one policy over another on the same prompts: the paper's headline figure
//! (section 4.1), from scores instead of labelers.

use std::cmp::Ordering;

use crate::num::statistics::{Clustered, Estimate};

/// Wins, losses and ties of a policy against a baseline, prompt by prompt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WinRate {
    /// Prompts on which the policy's score is higher.
    pub wins: usize,
    /// Prompts on which the baseline's is.
    pub losses: usize,
    /// Prompts on which both are equal.
    pub ties: usize,
    /// (wins + ties / 2) / prompts with its interval; `None` without prompts. With ties the interval is a little wide.
    pub rate: Option<Estimate>,
}

/// Compares two policies' scores (higher is better), one of each for every prompt. A prompt that occurs twice is one
/// cluster of the interval.
///
/// # Panics
/// If the lengths differ or a score is not a number.
pub fn win_rate<K: Ord + Copy>(prompts: &[K], policy: &[f64], baseline: &[f64]) -> WinRate {
    let lengths = [policy.len(), baseline.len()];
    assert_eq!(lengths, [prompts.len(); 2], "scores of policy and baseline against prompts");
    let (mut wins, mut losses, mut ties) = (0, 0, 0);
    let mut points = Clustered::default();
    for ((&prompt, p), b) in prompts.iter().zip(policy).zip(baseline) {
        let (count, point) = match p.partial_cmp(b) {
            Some(Ordering::Greater) => (&mut wins, 1.0),
            Some(Ordering::Less) => (&mut losses, 0.0),
            Some(Ordering::Equal) => (&mut ties, 0.5),
            None => panic!("a score is not a number: {p} against {b}"),
        };
        *count += 1;
        points.add(prompt, point, 1);
    }
    WinRate { wins, losses, ties, rate: points.share() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(policy: &[f64], baseline: &[f64]) -> Option<f64> {
        let prompts: Vec<usize> = (0..policy.len()).collect();
        win_rate(&prompts, policy, baseline).rate.map(|rate| rate.value)
    }

    #[test]
    fn ties_count_half() {
        let w = win_rate(&[0, 1, 2, 3], &[1.0, 2.0, 3.0, 0.0], &[0.0, 2.0, 4.0, -1.0]);
        assert_eq!((w.wins, w.losses, w.ties), (2, 1, 1));
        assert_eq!(w.rate.unwrap().value, 0.625);
    }

    #[test]
    fn against_itself_it_is_a_half() {
        let x = [0.3, -1.0, 7.0];
        assert_eq!(rate(&x, &x), Some(0.5));
    }

    #[test]
    fn the_two_sides_add_up() {
        let (a, b) = ([1.0, 5.0, 2.0], [3.0, 4.0, 2.0]);
        assert_eq!(rate(&a, &b).unwrap() + rate(&b, &a).unwrap(), 1.0);
    }

    #[test]
    fn without_prompts_there_is_no_rate() {
        assert_eq!(rate(&[], &[]), None);
    }

    #[test]
    fn a_prompt_that_occurs_twice_is_one_cluster() {
        let scores = [1.0, 1.0, -1.0, -1.0];
        let interval = |prompts: &[u32; 4]| win_rate(prompts, &scores, &[0.0; 4]).rate.unwrap();
        let (apart, together) = (interval(&[1, 2, 3, 4]), interval(&[1, 1, 2, 2]));
        assert!(together.low < apart.low && apart.high < together.high, "{apart:?} {together:?}");
    }

    #[test]
    #[should_panic(expected = "not a number")]
    fn a_broken_score_is_no_tie() {
        win_rate(&[0], &[f64::NAN], &[0.0]);
    }
}
