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
//! The paper: SFT and reward model cosine to 10 % without warm-up (C.1, C.2); PPO constant after a warm-up
//! over 10 iterations from 1/10 of the peak (C.4).

/// What follows the warm-up. Fractions are of the peak.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Decay {
    /// Stays at the peak.
    Constant,
    /// Half a cosine wave down to `final_fraction`.
    Cosine {
        /// Fraction of the peak at the end.
        final_fraction: f64,
    },
    /// A straight line down to `final_fraction`.
    Linear {
        /// Fraction of the peak at the end.
        final_fraction: f64,
    },
}

/// A warm-up and a decay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// What follows the warm-up.
    pub decay: Decay,
    /// `W`: steps below the peak at the start; 0 for none.
    pub warmup_steps: u64,
    /// `a`: the first step's fraction of the peak, if there is a warm-up.
    pub warmup_start_fraction: f64,
}

impl Schedule {
    /// The peak throughout.
    pub const CONSTANT: Schedule =
        Schedule { decay: Decay::Constant, warmup_steps: 0, warmup_start_fraction: 1.0 };
    /// The paper's for SFT and reward model: cosine to 10 %, no warm-up.
    pub const COSINE_TO_TENTH: Schedule =
        Schedule { decay: Decay::Cosine { final_fraction: 0.1 }, ..Schedule::CONSTANT };

    /// The paper's for PPO: constant after `warmup_steps` updates from 1/10 of the peak (its 10 iterations
    /// are 10 times the minibatches per iteration).
    pub const fn ppo(warmup_steps: u64) -> Schedule {
        Schedule { decay: Decay::Constant, warmup_steps, warmup_start_fraction: 0.1 }
    }

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
        match self.decay {
            Decay::Constant => 1.0,
            Decay::Cosine { final_fraction } => {
                let wave = (1.0 + libm::cos(core::f64::consts::PI * progress)) / 2.0;
                final_fraction + (1.0 - final_fraction) * wave
            }
            Decay::Linear { final_fraction } => final_fraction + (1.0 - final_fraction) * (1.0 - progress),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rates(schedule: Schedule, steps: [u64; 4], total: u64) -> [f32; 4] {
        steps.map(|step| schedule.learning_rate(8.0, step, total))
    }

    #[test]
    fn rates_by_hand() {
        assert_eq!(rates(Schedule::CONSTANT, [0, 1, 9, 10], 10), [8.0; 4]);
        assert_eq!(rates(Schedule::ppo(10), [0, 5, 9, 10], 100), [0.8, 4.4, 7.28, 8.0]);
        let linear = Schedule { decay: Decay::Linear { final_fraction: 0.0 }, ..Schedule::CONSTANT };
        assert_eq!(rates(linear, [0, 1, 3, 4], 4), [8.0, 6.0, 2.0, 0.0]);
        // cos(pi/2) = 0: half-way is the middle of 1 and 0.1; cos(pi/3) = 1/2: a third is 0.1 + 0.9 * 0.75.
        assert_eq!(rates(Schedule::COSINE_TO_TENTH, [0, 3, 2, 6], 6), [8.0, 4.4, 6.2, 0.8]);
        let both = Schedule { warmup_steps: 2, warmup_start_fraction: 0.0, ..linear };
        assert_eq!(rates(both, [0, 1, 2, 4], 6), [0.0, 4.0, 8.0, 4.0]);
    }

    #[test]
    fn degenerate_lengths_are_defined() {
        assert_eq!(rates(Schedule::ppo(10), [0, 9, 10, 11], 5), [0.8, 7.28, 8.0, 8.0]);
        assert_eq!(rates(Schedule::COSINE_TO_TENTH, [0, 1, 2, u64::MAX], 0), [0.8; 4]);
    }

    proptest! {
        #[test]
        fn rises_then_falls_and_never_leaves_its_bounds(warmup in 0u64..20, rest in 1u64..50, linear: bool) {
            let final_fraction = 0.1;
            let decay =
                if linear { Decay::Linear { final_fraction } } else { Decay::Cosine { final_fraction } };
            let schedule = Schedule { decay, warmup_steps: warmup, warmup_start_fraction: 0.1 };
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
