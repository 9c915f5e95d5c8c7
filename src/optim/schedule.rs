//! Learning-rate schedules: a linear warm-up, then constant, cosine or linear decay.
//!
//! With `T` steps in all, `W` of them warm-up, start fraction `a` and final fraction `f`, step `s` (from 0)
//! has the peak times
//!
//! ```text
//! s < W:     a + (1 - a) s / W                       s = 0: a;    s = W would be 1
//! otherwise: q = min(1, (s - W) / (T - W))           s = W: q = 0 and the peak;  s = T would be q = 1
//!   constant 1
//!   cosine   f + (1 - f) (1 + cos(pi q)) / 2
//!   linear   f + (1 - f) (1 - q)
//! ```
//!
//! So the last step, `T - 1`, is one step's share above the final fraction: a decay to 0 wastes no step.
//! Steps from `T` on stay at the final fraction.
//! The paper: SFT and reward model cosine to 10 % without warm-up (C.1, C.2); PPO's policy constant after a warm-up
//! over 10 iterations from 1/10 of the peak, its value function constant from the start (C.4).

use serde::{Deserialize, Serialize};

/// What follows the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    /// `"constant"`: stays at the peak.
    Constant,
    /// `"cosine"`: half a cosine wave down to the final fraction.
    Cosine,
    /// `"linear"`: a straight line down to the final fraction.
    Linear,
}

/// A warm-up and a decay. Fractions are of the peak.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// What follows the warm-up.
    pub decay: Decay,
    /// `f`: where a decay ends; no matter to a constant rate.
    pub final_fraction: f64,
    /// `W`: steps below the peak at the start; 0 for none.
    pub warmup_steps: u64,
    /// `a`: the first step's fraction of the peak, if there is a warm-up.
    pub warmup_start_fraction: f64,
}

impl Schedule {
    /// The learning rate of `step` (from 0) of `total`; computed in f64 and rounded once.
    pub fn learning_rate(&self, peak: f32, step: u64, total: u64) -> f32 {
        (peak as f64 * self.fraction(step, total)) as f32
    }

    fn fraction(&self, step: u64, total: u64) -> f64 {
        let warmup = self.warmup_steps;
        if step < warmup {
            let start = self.warmup_start_fraction;
            return start + (1.0 - start) * (step as f64 / warmup as f64);
        }
        let progress = if step >= total { 1.0 } else { (step - warmup) as f64 / (total - warmup) as f64 };
        let final_fraction = self.final_fraction;
        match self.decay {
            Decay::Constant => 1.0,
            Decay::Cosine => {
                let wave = (1.0 + libm::cos(core::f64::consts::PI * progress)) / 2.0;
                final_fraction + (1.0 - final_fraction) * wave
            }
            Decay::Linear => final_fraction + (1.0 - final_fraction) * (1.0 - progress),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The paper's for SFT and reward model: cosine to 10 %, no warm-up.
    const COSINE_TO_TENTH: Schedule =
        Schedule { decay: Decay::Cosine, final_fraction: 0.1, warmup_steps: 0, warmup_start_fraction: 1.0 };
    const CONSTANT: Schedule = Schedule { decay: Decay::Constant, ..COSINE_TO_TENTH };
    /// The paper's for PPO, where an iteration is one update: constant after 10 from 1/10 of the peak.
    const PPO: Schedule = Schedule { warmup_steps: 10, warmup_start_fraction: 0.1, ..CONSTANT };

    fn rates(schedule: Schedule, steps: [u64; 4], total: u64) -> [f32; 4] {
        steps.map(|step| schedule.learning_rate(8.0, step, total))
    }

    #[test]
    fn rates_by_hand() {
        assert_eq!(rates(CONSTANT, [0, 1, 9, 10], 10), [8.0; 4]);
        assert_eq!(rates(PPO, [0, 5, 9, 10], 100), [0.8, 4.4, 7.28, 8.0]);
        let linear = Schedule { decay: Decay::Linear, final_fraction: 0.0, ..CONSTANT };
        assert_eq!(rates(linear, [0, 1, 3, 4], 4), [8.0, 6.0, 2.0, 0.0]);
        // cos(pi/2) = 0: half-way is the middle of 1 and 0.1; cos(pi/3) = 1/2: a third is 0.1 + 0.9 * 0.75.
        assert_eq!(rates(COSINE_TO_TENTH, [0, 3, 2, 6], 6), [8.0, 4.4, 6.2, 0.8]);
        let both = Schedule { warmup_steps: 2, warmup_start_fraction: 0.0, ..linear };
        assert_eq!(rates(both, [0, 1, 2, 4], 6), [0.0, 4.0, 8.0, 4.0]);
    }

    #[test]
    fn degenerate_lengths_are_defined() {
        assert_eq!(rates(PPO, [0, 9, 10, 11], 5), [0.8, 7.28, 8.0, 8.0]);
        assert_eq!(rates(COSINE_TO_TENTH, [0, 1, 2, u64::MAX], 0), [0.8; 4]);
    }

    proptest! {
        #[test]
        fn rises_then_falls_and_never_leaves_its_bounds(warmup in 0u64..20, rest in 1u64..50, linear: bool) {
            let decay = if linear { Decay::Linear } else { Decay::Cosine };
            let schedule = Schedule { decay, final_fraction: 0.1, warmup_steps: warmup, ..PPO };
            let rate = |step| schedule.learning_rate(1.0, step, warmup + rest);
            prop_assert_eq!(rate(warmup), 1.0);
            for step in 1..warmup + rest {
                let (before, now) = (rate(step - 1), rate(step));
                prop_assert!(before != now && (before < now) == (step <= warmup), "{} {}", before, now);
                prop_assert!((0.1..=1.0).contains(&rate(step)));
            }
        }
    }
}
