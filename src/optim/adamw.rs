//! AdamW (Loshchilov and Hutter, 2019), with the paper's betas (C: 0.9 and 0.95), and the moving average of the
//! weights: its settings, and the constants they give for one step. The update itself is
//! [`plain::adamw`](crate::engine::plain::adamw).
//!
//! ```text
//! PyTorch:      p <- (1 - lr w) p - lr m^ / (sqrt(v^) + eps),   m^ = m / (1 - b1^t), v^ = v / (1 - b2^t)
//! TensorFlow 1: p <- (1 - lr w) p - lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps)
//! ```
//!
//! The two differ in what epsilon is added to: with TensorFlow's form it is `1/sqrt(1 - b2^t)` times larger
//! in the first steps, which visibly slows early RLHF updates (`lm-human-preferences` used it with
//! eps 1e-5; the Hugging Face study of its details measured a five times smaller early KL).
//!
//! The average, `e <- d e + (1 - d) p` after every update, is what is evaluated and exported (paper, C.4: 0.992).
//! The paper does not say whether that is per update or per iteration; per update is our reading.

use crate::engine::{AdamConstants, AdamState, Engine};
use crate::model::Layout;

/// Where epsilon stands; see the module's equations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdamStyle {
    /// Added to the square root of the corrected second moment.
    PyTorch,
    /// Added to the square root of the raw second moment.
    TensorFlow,
}

/// The optimizer's constants; its state is the caller's buffers. f64, as 1 - beta is what matters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment (paper: 0.95).
    pub beta2: f64,
    /// Keeps the denominator from zero. Not printed in the paper.
    pub epsilon: f64,
    /// Decoupled weight decay, on the parameters whose layout row has `decay`. Not printed in the paper.
    pub weight_decay: f64,
    /// Where epsilon stands.
    pub style: AdamStyle,
}

impl Default for AdamW {
    fn default() -> Self {
        AdamW { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.0, style: AdamStyle::PyTorch }
    }
}

impl AdamW {
    /// One update of all parameters, `step` counted from 1, with gradients times `gradient_scale`; all buffers have
    /// the layout's length. `average_decay` moves the average, if one is kept. A learning rate of 0 changes no
    /// parameter.
    pub fn step<E: Engine>(
        &self,
        engine: E,
        state: AdamState<'_, E::Buffer>,
        gradients: &E::Buffer,
        layout: &Layout,
        learning_rate: f32,
        step: u64,
        gradient_scale: f32,
        average_decay: f32,
    ) {
        let AdamState { parameters, first_moment, second_moment, mut average } = state;
        for row in &layout.parameters {
            let state = AdamState {
                parameters: &mut *parameters,
                first_moment: &mut *first_moment,
                second_moment: &mut *second_moment,
                average: average.as_deref_mut(),
            };
            let constants = self.constants(learning_rate, step, gradient_scale, row.decay, average_decay);
            engine.adamw(state, gradients, &row.range(), constants);
        }
    }

    /// The constants of update `step` (from 1) of one tensor, in f64 until they are finished. `decay` is its layout
    /// row's, `average_decay` that of the average, if one is kept.
    pub fn constants(
        &self,
        learning_rate: f32,
        step: u64,
        gradient_scale: f32,
        decay: bool,
        average_decay: f32,
    ) -> AdamConstants {
        assert!(step > 0, "adamw: steps count from 1");
        let rate = learning_rate as f64;
        let correction1 = 1.0 - libm::pow(self.beta1, step as f64);
        let correction2 = libm::sqrt(1.0 - libm::pow(self.beta2, step as f64));
        let (root_scale, rate_scale) = match self.style {
            AdamStyle::PyTorch => (1.0 / correction2, 1.0 / correction1),
            AdamStyle::TensorFlow => (1.0, correction2 / correction1),
        };
        AdamConstants {
            gradient_scale,
            beta1: self.beta1 as f32,
            rest1: (1.0 - self.beta1) as f32,
            beta2: self.beta2 as f32,
            rest2: (1.0 - self.beta2) as f32,
            root_scale: root_scale as f32,
            epsilon: self.epsilon as f32,
            rate: (rate * rate_scale) as f32,
            keep: if decay { 1.0 - rate * self.weight_decay } else { 1.0 } as f32,
            average_rest: (1.0 - f64::from(average_decay)) as f32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Cpu;
    use crate::engine::cpu::adamw;
    use crate::engine::plain::adamw::blend;
    use crate::model::{Head, ModelConfig};
    use crate::num::rng::{Purpose, Rng, Stage};
    use alloc::vec;
    use alloc::vec::Vec;

    fn steps(adam: AdamW, gradients: &[f32], learning_rate: f32, decay: bool) -> Vec<f32> {
        let (mut p, mut m, mut v) = ([1.0], [0.0], [0.0]);
        let mut path = vec![];
        for (i, &g) in gradients.iter().enumerate() {
            let constants = adam.constants(learning_rate, i as u64 + 1, 1.0, decay, 1.0);
            adamw::update(&mut p, &[g], &mut m, &mut v, None, constants);
            path.push(p[0]);
        }
        path
    }

    fn assert_near(found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len());
        for (f, e) in found.iter().zip(expected) {
            assert!((f - e).abs() < 2e-7, "{found:?} against {expected:?}");
        }
    }

    #[test]
    fn two_steps_by_hand() {
        // b1 = b2 = 1/2, eps = 0. Step 1: m^ = g = 2, v^ = 4: down by lr. Step 2 (g = -4): m = -3/2,
        // m^ = -2, v = 9, v^ = 12: up by lr 2/sqrt(12) = 0.57735 lr.
        let adam = AdamW { beta1: 0.5, beta2: 0.5, epsilon: 0.0, ..AdamW::default() };
        assert_near(&steps(adam, &[2.0, -4.0], 0.1, true), &[0.9, 0.957_735]);
        // eps = 1 on PyTorch's side: 2 / (2 + 1); on TensorFlow's: sqrt(1/2) / (1/2) 1 / (sqrt 2 + 1).
        let adam = AdamW { epsilon: 1.0, ..adam };
        assert_near(&steps(adam, &[2.0], 0.1, true), &[1.0 - 0.1 * 2.0 / 3.0]);
        let adam = AdamW { style: AdamStyle::TensorFlow, ..adam };
        assert_near(&steps(adam, &[2.0], 0.1, true), &[1.0 - 0.1 * 0.585_786_4]);
        // Decay alone: p (1 - lr w), and only where the layout says so.
        let adam = AdamW { weight_decay: 0.5, ..AdamW::default() };
        assert_near(&steps(adam, &[0.0, 0.0], 0.1, true), &[0.95, 0.9025]);
        assert_near(&steps(adam, &[0.0, 0.0], 0.1, false), &[1.0, 1.0]);
    }

    struct State {
        layout: Layout,
        buffers: [Vec<f32>; 5],
    }

    fn state() -> State {
        let layout = Layout::new(&ModelConfig::gpt2(11, 5, 12, 2, 3), Head::LanguageModel);
        let buffers = core::array::from_fn(|buffer| {
            let mut rng = Rng::at(1, Stage::Test, Purpose::Noise, 0, 0, buffer as u64);
            // The second moment (3) is a mean of squares.
            (0..layout.len).map(|_| rng.normal()).map(|z| if buffer == 3 { z * z } else { z }).collect()
        });
        State { layout, buffers }
    }

    fn run(state: &mut State, learning_rate: f32, scale: f32) {
        let [p, g, m, v, e] = &mut state.buffers;
        let adam = AdamW { weight_decay: 0.1, ..AdamW::default() };
        let buffers = AdamState { parameters: p, first_moment: m, second_moment: v, average: Some(e) };
        adam.step(Cpu, buffers, g, &state.layout, learning_rate, 3, scale, 0.992);
    }

    /// The equations in f64, tensor by tensor, against the step.
    #[test]
    fn the_whole_buffer_follows_the_equations() {
        let before = state();
        let mut after = state();
        run(&mut after, 0.01, 0.5);
        for parameter in &before.layout.parameters {
            let decay = if parameter.decay { 0.1 } else { 0.0 };
            for i in parameter.range() {
                let [p, g, m, v, e] = core::array::from_fn(|buffer| before.buffers[buffer][i] as f64);
                let g = 0.5 * g;
                let (m, v) = (0.9 * m + 0.1 * g, 0.95 * v + 0.05 * g * g);
                let (m_hat, v_hat) = (m / (1.0 - 0.729), v / (1.0 - 0.857375));
                let p = p - 0.01 * decay * p - 0.01 * m_hat / (v_hat.sqrt() + 1e-8);
                let e = 0.992 * e + 0.008 * p;
                for (buffer, expected) in [(0, p), (2, m), (3, v), (4, e)] {
                    let found = after.buffers[buffer][i] as f64;
                    let close = (found - expected).abs() <= 1e-6 * expected.abs().max(0.1);
                    assert!(close, "{} [{i}] buffer {buffer}: {found} {expected}", parameter.name);
                }
            }
        }
    }

    #[test]
    fn a_zero_learning_rate_moves_nothing() {
        let mut after = state();
        after.buffers[0][3] = -0.0;
        after.buffers[2][3] = -5.0;
        after.buffers[4] = after.buffers[0].iter().map(|&p| p + 0.0).collect();
        let before = after.buffers.clone();
        run(&mut after, 0.0, 1.0);
        for buffer in [0, 4] {
            let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&before[buffer]), bits(&after.buffers[buffer]));
        }
    }

    #[test]
    fn three_averages_by_hand() {
        let rest = AdamW::default().constants(0.0, 1, 1.0, false, 0.75).average_rest;
        let mut average = 0.0;
        let averages: [f32; 3] = core::array::from_fn(|_| {
            average = blend(average, 8.0, rest);
            average
        });
        assert_eq!(averages, [2.0, 3.5, 4.625]);
    }

    #[test]
    fn an_average_of_a_constant_stays_and_the_extremes_hold() {
        let move_to = |average: f32, parameter: f32, decay: f32| {
            blend(average, parameter, AdamW::default().constants(0.0, 1, 1.0, false, decay).average_rest)
        };
        for weight in [0.1, -3.7, 1e-30, 123456.7] {
            assert_eq!(move_to(weight, weight, 0.992), weight);
            assert_eq!(move_to(weight, 1.0, 1.0), weight, "decay 1 keeps the average");
        }
        for (average, weight) in [(0.1, 0.5), (-3.7, 2.0)] {
            assert!((move_to(average, weight, 0.0) - weight).abs() < 1e-6);
        }
    }
}
