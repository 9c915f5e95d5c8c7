//! The draw of the next token from a distribution in the host's memory: what all engines draw, and how the host's do.

use alloc::vec;
use alloc::vec::Vec;

use super::cpu::{log_prob, row_grain};
use crate::num::par;
use crate::num::scratch::{self, Use};

/// How a token is chosen, given its logits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choosing {
    /// Divides the logits; 0 takes the most probable token.
    pub temperature: f32,
    /// Only the k most probable tokens may be drawn; 0: all.
    pub top_k: usize,
    /// Only the smallest set of most probable tokens whose probabilities reach p may be drawn; 1: all.
    pub top_p: f32,
}

impl Choosing {
    /// Whether the most probable token is taken.
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0
    }

    /// Whether some tokens may not be drawn.
    pub fn is_cut(&self) -> bool {
        !self.is_greedy() && (self.top_k != 0 || self.top_p < 1.0)
    }

    /// What the logits are divided by: 1 for the most probable token.
    pub fn divisor(&self) -> f32 {
        if self.is_greedy() { 1.0 } else { self.temperature }
    }
}

/// A token drawn, and what the distribution says of it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Choice {
    /// The token.
    pub token: u32,
    /// Its log-prob in nats under the full distribution at the temperature.
    pub log_prob: f32,
    /// The full distribution's entropy in nats.
    pub entropy: f32,
}

/// A token for each row of logits (rows, V), row i drawn at `uniforms[i]`.
pub fn choose_all(logits: &[f32], vocab: usize, how: Choosing, uniforms: &[f32]) -> Vec<Choice> {
    let mut choices = vec![Choice::default(); uniforms.len()];
    // Split over rows: each is drawn from by itself.
    par::for_each(par::rows(&mut choices, 1), row_grain(vocab), |first, choices| {
        let rows = logits[first * vocab..].chunks_exact(vocab).zip(&uniforms[first..]);
        choices.data.iter_mut().zip(rows).for_each(|(choice, (row, &u))| *choice = choose(row, how, u));
    });
    choices
}

/// The token at `u` in [0, 1) of a row of logits (V).
fn choose(logits: &[f32], how: Choosing, u: f32) -> Choice {
    let temperature = how.divisor();
    scratch::with(Use::Sampling, logits.len(), |p| {
        p.copy_from_slice(logits);
        let summary = log_prob::softmax(p, temperature);
        let token = if how.is_greedy() { greatest(p) } else { draw(p, how, u) };
        let log_prob = summary.log_prob(logits[token as usize], temperature);
        Choice { token, log_prob, entropy: summary.entropy }
    })
}

/// Inverts the cumulative distribution at `u` in [0, 1): probabilities are added in token order, in f64.
/// With top-k or top-p, the tokens outside the set get probability 0 first; equal ones rank by token.
fn draw(p: &mut [f32], how: Choosing, u: f32) -> u32 {
    let most = if how.top_k == 0 { p.len() } else { how.top_k.min(p.len()) };
    if most < p.len() || how.top_p < 1.0 {
        let mut order: Vec<u32> = (0..p.len() as u32).collect();
        order.sort_unstable_by(|&a, &b| p[b as usize].total_cmp(&p[a as usize]).then(a.cmp(&b)));
        let probable = |&token: &u32| f64::from(p[token as usize]);
        // Without top-k the whole is 1 by definition, not by a sum.
        let whole = if most < p.len() { order[..most].iter().map(probable).sum() } else { 1.0 };
        let (mut kept, mut mass) = (0, 0.0);
        while kept < most && (kept == 0 || mass < f64::from(how.top_p) * whole) {
            mass += f64::from(p[order[kept] as usize]);
            kept += 1;
        }
        order[kept..].iter().for_each(|&token| p[token as usize] = 0.0);
    }
    let total: f64 = p.iter().map(|&p| f64::from(p)).sum();
    let (mut cumulative, threshold, mut last) = (0.0, f64::from(u) * total, 0);
    for (token, &p) in p.iter().enumerate().filter(|(_, p)| **p > 0.0) {
        cumulative += f64::from(p);
        last = token;
        if cumulative > threshold {
            break;
        }
    }
    last as u32
}

fn greatest(p: &[f32]) -> u32 {
    let mut best = 0;
    for (token, &candidate) in p.iter().enumerate() {
        if candidate > p[best] {
            best = token;
        }
    }
    best as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which tokens of five can be drawn at all.
    fn allowed(top_k: usize, top_p: f32) -> Vec<u32> {
        let how = Choosing { temperature: 1.0, top_k, top_p };
        let drawn = |i: u32| draw(&mut [0.0625, 0.25, 0.5, 0.125, 0.0625], how, i as f32 / 64.0);
        let drawn: alloc::collections::BTreeSet<u32> = (0..64).map(drawn).collect();
        drawn.into_iter().collect()
    }

    #[test]
    fn the_token_that_reaches_top_p_is_kept_and_none_after_it() {
        assert_eq!(allowed(0, 1.0), [0, 1, 2, 3, 4]);
        assert_eq!(allowed(0, 0.5), [2], "0.5 reaches 0.5");
        assert_eq!(allowed(0, 0.51), [1, 2], "0.25 crosses 0.51");
        assert_eq!(allowed(0, 0.75), [1, 2]);
        assert_eq!(allowed(0, 0.875), [1, 2, 3]);
        // Of the two least probable tokens the first comes first.
        assert_eq!(allowed(0, 0.9), [0, 1, 2, 3]);
        assert_eq!(allowed(0, 1e-9), [2]);
    }

    #[test]
    fn top_p_is_measured_among_the_top_k() {
        // 0.5, 0.25 and 0.125 of 0.875: 4/7, 6/7 and 1.
        assert_eq!(allowed(3, 1.0), [1, 2, 3]);
        assert_eq!(allowed(3, 0.571), [2], "4/7 is above 0.571; of the whole, 0.5 would not reach it");
        assert_eq!(allowed(3, 0.572), [1, 2]);
        assert_eq!(allowed(3, 0.857), [1, 2]);
        assert_eq!(allowed(3, 0.858), [1, 2, 3]);
        assert_eq!(allowed(1, 0.1), [2]);
        assert_eq!(allowed(9, 0.75), [1, 2]);
    }
}
