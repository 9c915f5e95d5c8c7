//! A loss that the paper does not have: direct preference optimization (Rafailov et al., 2023, equation 7). It is
//! written here, outside the crate, in the one contract of all losses.
//!
//! ```text
//! margin = beta ((ln pi(y_w) - ln ref(y_w)) - (ln pi(y_l) - ln ref(y_l)))
//! loss   = -1/P sum over pairs of ln sigmoid(margin)
//! ```
//! where ln pi(y) is the sum of the response's log-probs. So each of them moves the margin by beta or by -beta, and
//! the loss by `-sigmoid(-margin) / P` times that.

use instructgpt::model::{Head, Loss, Sequence};
use instructgpt::num::math::{log_sigmoid, sigmoid};

use crate::accumulation::Accumulation;
use crate::cases::{CASES, Case};
use crate::losses::Pair;

/// DPO's loss; its groups are the pairs, each the preferred response and then the other.
pub struct Dpo<'a> {
    pub pairs: &'a [Pair],
    pub beta: f32,
    /// The losses so far.
    pub sum: f64,
}

impl Loss for Dpo<'_> {
    fn slopes(&mut self, group: usize, log_probs: &[f32], slopes: &mut [f32]) {
        let pair = &self.pairs[group];
        let (chosen, rejected) = log_probs.split_at(pair.chosen.len() - pair.prompt);
        let gain = |log_probs: &[f32], reference: f32| {
            log_probs.iter().map(|&x| f64::from(x)).sum::<f64>() - f64::from(reference)
        };
        let margin = gain(chosen, pair.reference[0]) - gain(rejected, pair.reference[1]);
        let margin = (f64::from(self.beta) * margin) as f32;
        self.sum -= f64::from(log_sigmoid(margin));

        let pull = self.beta * sigmoid(-margin) / self.pairs.len() as f32;
        let (of_chosen, of_rejected) = slopes.split_at_mut(chosen.len());
        of_chosen.fill(-pull);
        of_rejected.fill(pull);
    }
}

/// The pairs as sequences, and where each begins.
pub fn sequences(pairs: &[Pair]) -> (Vec<Sequence<'_>>, Vec<usize>) {
    let mut sequences = vec![];
    for Pair { prompt, chosen, rejected, .. } in pairs {
        sequences.extend([chosen, rejected].map(|tokens| Sequence::continuation(tokens, *prompt)));
    }
    (sequences, (0..=pairs.len()).map(|pair| 2 * pair).collect())
}

#[test]
fn pairs_in_different_micro_batches_give_the_same_bits() {
    for number in 0..CASES {
        let case = Case::new(number, Head::LanguageModel);
        let (batch, groups) = sequences(&case.pairs);
        let context = case.network.config.context;
        let rows = |pair: &Pair| pair.chosen.len() + pair.rejected.len() - 2;
        // All together, and each by itself.
        let all: usize = case.pairs.iter().map(rows).sum();
        let largest = case.pairs.iter().map(rows).max().unwrap();
        assert!(context <= largest && largest < all);
        let [whole, cut] = [all, largest].map(|tokens| {
            let mut network = case.network.clone();
            network.plan(tokens, true);
            let mut loss = Dpo { pairs: &case.pairs, beta: case.constants.beta, sum: 0.0 };
            let mut accumulation = Accumulation::new(&mut network);
            accumulation.add(&batch, &groups, 1.0, None, &mut loss);
            let (log_probs, gradient) = accumulation.finish();
            let bits = |values: Vec<f32>| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            (loss.sum.to_bits(), bits(log_probs), bits(gradient))
        });
        assert!(whole == cut, "case {number}");
    }
}
