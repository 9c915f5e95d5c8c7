//! The win rate of one policy over another on the same prompts: the paper's headline figure
//! (section 4.1), from scores instead of labelers.

use crate::num::statistics::{Estimate, wilson};

/// Wins, losses and ties of a policy against a baseline, prompt by prompt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WinRate {
    /// Prompts on which the policy's score is higher.
    pub wins: usize,
    /// Prompts on which the baseline's is.
    pub losses: usize,
    /// Prompts on which both are equal.
    pub ties: usize,
    /// (wins + ties / 2) / prompts with its Wilson interval. With ties the interval is a little wide.
    pub rate: Estimate,
}

/// Compares two policies' scores (higher is better), one of each per prompt.
///
/// # Panics
/// If the lengths differ or a score is not a number.
pub fn win_rate(policy: &[f64], baseline: &[f64]) -> WinRate {
    assert_eq!(policy.len(), baseline.len(), "scores: {} and {}", policy.len(), baseline.len());
    let (mut wins, mut losses, mut ties) = (0, 0, 0);
    for (p, b) in policy.iter().zip(baseline) {
        match p.partial_cmp(b) {
            Some(std::cmp::Ordering::Greater) => wins += 1,
            Some(std::cmp::Ordering::Less) => losses += 1,
            Some(std::cmp::Ordering::Equal) => ties += 1,
            None => panic!("a score is not a number: {p} against {b}"),
        }
    }
    WinRate { wins, losses, ties, rate: wilson(wins as f64 + ties as f64 / 2.0, policy.len()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_count_half() {
        let w = win_rate(&[1.0, 2.0, 3.0, 0.0], &[0.0, 2.0, 4.0, -1.0]);
        assert_eq!((w.wins, w.losses, w.ties), (2, 1, 1));
        assert_eq!(w.rate.value, 0.625);
    }

    #[test]
    fn against_itself_it_is_a_half() {
        let x = [0.3, -1.0, 7.0];
        assert_eq!(win_rate(&x, &x).rate.value, 0.5);
    }

    #[test]
    fn the_two_sides_add_up() {
        let (a, b) = ([1.0, 5.0, 2.0], [3.0, 4.0, 2.0]);
        assert_eq!(win_rate(&a, &b).rate.value + win_rate(&b, &a).rate.value, 1.0);
    }

    #[test]
    #[should_panic(expected = "not a number")]
    fn a_broken_score_is_no_tie() {
        win_rate(&[f64::NAN], &[0.0]);
    }
}
