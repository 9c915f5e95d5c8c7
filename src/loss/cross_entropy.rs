//! Cross-entropy: `coefficient * mean over tokens of -ln p(token)`, the loss of pretraining and of SFT, and with a
//! coefficient the pretraining term of PPO-ptx.
//!
//! Its slope in every log-prob is `-coefficient / tokens`, known before any of them.

use crate::model::{Loss, Sequence};

/// Mean cross-entropy of a batch's tokens, times a coefficient.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CrossEntropy {
    slope: f32,
    /// The cross-entropies so far, in nats, without the coefficient.
    pub sum: f64,
    /// Tokens of the whole batch.
    pub tokens: usize,
}

impl CrossEntropy {
    /// For all tokens that count in a batch.
    pub fn of(batch: &[Sequence], coefficient: f32) -> Self {
        let tokens = batch.iter().map(Sequence::outputs).sum();
        CrossEntropy { slope: -coefficient / tokens as f32, sum: 0.0, tokens }
    }

    /// The mean so far per token of the batch, in nats: the loss, once all groups were seen.
    pub fn mean(&self) -> f64 {
        self.sum / self.tokens as f64
    }
}

impl Loss for CrossEntropy {
    fn known_slope(&self) -> Option<f32> {
        Some(self.slope)
    }

    fn slopes(&mut self, _: usize, log_probs: &[f32], slopes: &mut [f32]) {
        log_probs.iter().for_each(|&log_prob| self.sum -= f64::from(log_prob));
        slopes.fill(self.slope);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let batch = [Sequence::text(&[1, 2, 3]), Sequence::continuation(&[1, 2, 3, 4], 2)];
        let mut loss = CrossEntropy::of(&batch, 2.0);
        let mut slopes = [0.0; 2];
        loss.slopes(0, &[-1.0, -2.0], &mut slopes);
        loss.slopes(1, &[-3.0, -6.0], &mut slopes);
        assert_eq!((loss.tokens, loss.mean(), slopes), (4, 3.0, [-0.5; 2]));
        assert_eq!(loss.known_slope(), Some(-0.5));
    }
}
