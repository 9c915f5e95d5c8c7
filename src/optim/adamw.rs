//! AdamW (Loshchilov and Hutter, 2019), with the paper's betas (C: 0.9 and 0.95).
//!
//! ```text
//! g = s dp                                  s: the clipping scale
//! m <- b1 m + (1 - b1) g
//! v <- b2 v + (1 - b2) g^2
//! PyTorch:      p <- (1 - lr w) p - lr m^ / (sqrt(v^) + eps),   m^ = m / (1 - b1^t), v^ = v / (1 - b2^t)
//! TensorFlow 1: p <- (1 - lr w) p - lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps)
//! ```
//!
//! The two differ in what epsilon is added to: with TensorFlow's form it is `1/sqrt(1 - b2^t)` times larger
//! in the first steps, which visibly slows early RLHF updates (`lm-human-preferences` used it with
//! eps 1e-5; the Hugging Face study of its details measured a five times smaller early KL).
//!
//! Elementwise: any split of the buffers gives the same bits.

use serde::{Deserialize, Serialize};

use super::ema;
use crate::model::Layout;
use crate::num::math::{fma, sqrt};
use crate::num::par;

/// Where epsilon stands; see the module's equations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AdamStyle {
    /// `"torch"`: added to the square root of the bias-corrected second moment.
    #[serde(rename = "torch")]
    PyTorch,
    /// `"tensorflow"`: added to the square root of the raw second moment (`lm-human-preferences`).
    #[serde(rename = "tensorflow")]
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

/// Elements updated before their average is, while they are still in the nearest cache.
const CHUNK: usize = 4096;

/// The constants of one step on one kind of parameter.
#[derive(Debug, Clone, Copy)]
struct Constants {
    gradient_scale: f32,
    beta1: f32,
    rest1: f32,
    beta2: f32,
    rest2: f32,
    /// What the root of the second moment is multiplied by.
    root_scale: f32,
    epsilon: f32,
    /// The learning rate, bias corrections included.
    rate: f32,
    /// `1 - lr w`.
    keep: f32,
}

impl AdamW {
    /// One update, `step` counted from 1. All buffers have the layout's length; `ema` is the average and
    /// its decay, updated in the same pass. A learning rate of 0 changes no parameter.
    pub fn step(
        &self,
        parameters: &mut [f32],
        gradients: &[f32],
        first_moment: &mut [f32],
        second_moment: &mut [f32],
        mut ema: Option<(&mut [f32], f32)>,
        layout: &Layout,
        learning_rate: f32,
        step: u64,
        gradient_scale: f32,
    ) {
        let lengths = [parameters.len(), gradients.len(), first_moment.len(), second_moment.len()];
        assert_eq!(lengths, [layout.len; 4], "adamw: parameters, gradients and moments against the layout");
        if let Some((average, _)) = &ema {
            assert_eq!(average.len(), layout.len, "adamw: average against the layout");
        }
        for parameter in &layout.parameters {
            let range = parameter.range();
            let constants = self.constants(learning_rate, step, gradient_scale, parameter.decay);
            let gradients = &gradients[range.clone()];
            let p = par::rows(&mut parameters[range.clone()], 1);
            let m = par::rows(&mut first_moment[range.clone()], 1);
            let v = par::rows(&mut second_moment[range.clone()], 1);
            // Split over elements: each is updated by itself.
            match &mut ema {
                None => par::for_each((p, m, v), CHUNK, |first, (p, m, v)| {
                    update(p.data, &gradients[first..][..p.data.len()], m.data, v.data, None, constants);
                }),
                Some((average, decay)) => {
                    let (average, decay) = (par::rows(&mut average[range], 1), *decay);
                    par::for_each((p, m, v, average), CHUNK, |first, (p, m, v, average)| {
                        let gradients = &gradients[first..][..p.data.len()];
                        update(p.data, gradients, m.data, v.data, Some((average.data, decay)), constants);
                    });
                }
            }
        }
    }

    /// The bias corrections and the rest, once per tensor, in f64.
    fn constants(&self, learning_rate: f32, step: u64, gradient_scale: f32, decay: bool) -> Constants {
        assert!(step > 0, "adamw: steps count from 1");
        let rate = learning_rate as f64;
        let correction1 = 1.0 - libm::pow(self.beta1, step as f64);
        let correction2 = libm::sqrt(1.0 - libm::pow(self.beta2, step as f64));
        let (root_scale, rate_scale) = match self.style {
            AdamStyle::PyTorch => (1.0 / correction2, 1.0 / correction1),
            AdamStyle::TensorFlow => (1.0, correction2 / correction1),
        };
        Constants {
            gradient_scale,
            beta1: self.beta1 as f32,
            rest1: (1.0 - self.beta1) as f32,
            beta2: self.beta2 as f32,
            rest2: (1.0 - self.beta2) as f32,
            root_scale: root_scale as f32,
            epsilon: self.epsilon as f32,
            rate: (rate * rate_scale) as f32,
            keep: if decay { 1.0 - rate * self.weight_decay } else { 1.0 } as f32,
        }
    }
}

/// The update of equal-length slices of one parameter, in cache-sized pieces. Elementwise, so a caller may
/// split a tensor (or the whole buffer) anywhere and hand the pieces to threads.
fn update(
    parameters: &mut [f32],
    gradients: &[f32],
    first_moment: &mut [f32],
    second_moment: &mut [f32],
    mut ema: Option<(&mut [f32], f32)>,
    constants: Constants,
) {
    for start in (0..parameters.len()).step_by(CHUNK) {
        let range = start..parameters.len().min(start + CHUNK);
        let parameters = &mut parameters[range.clone()];
        let (first, second) = (&mut first_moment[range.clone()], &mut second_moment[range.clone()]);
        update_chunk(parameters, &gradients[range.clone()], first, second, constants);
        if let Some((average, decay)) = &mut ema {
            ema::update(&mut average[range], parameters, *decay);
        }
    }
}

/// The definition, element by element; the loop becomes SIMD code.
fn update_chunk(
    parameters: &mut [f32],
    gradients: &[f32],
    first_moment: &mut [f32],
    second_moment: &mut [f32],
    c: Constants,
) {
    let moments = first_moment.iter_mut().zip(second_moment);
    for ((p, &dp), (m, v)) in parameters.iter_mut().zip(gradients).zip(moments) {
        let g = c.gradient_scale * dp;
        *m = fma(c.beta1, *m, c.rest1 * g);
        *v = fma(c.beta2, *v, c.rest2 * g * g);
        let denominator = fma(sqrt(*v), c.root_scale, c.epsilon);
        let moved = fma(-c.rate, *m / denominator, c.keep * *p);
        // Without the select a rate of 0 could still turn -0 into +0.
        *p = if c.rate == 0.0 { *p } else { moved };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Head, ModelConfig};
    use crate::num::rng::{Purpose, Rng, Stage};
    use alloc::vec;
    use alloc::vec::Vec;

    fn steps(adam: AdamW, gradients: &[f32], learning_rate: f32, decay: bool) -> Vec<f32> {
        let (mut p, mut m, mut v) = ([1.0], [0.0], [0.0]);
        let mut path = vec![];
        for (i, &g) in gradients.iter().enumerate() {
            let constants = adam.constants(learning_rate, i as u64 + 1, 1.0, decay);
            update(&mut p, &[g], &mut m, &mut v, None, constants);
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
        adam.step(p, g, m, v, Some((e, 0.992)), &state.layout, learning_rate, 3, scale);
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
    fn any_split_gives_the_same_bits() {
        let mut whole = state();
        let mut pieces = state();
        let constants = AdamW::default().constants(0.01, 2, 1.0, true);
        let [p, g, m, v, e] = &mut whole.buffers;
        update(p, g, m, v, Some((e, 0.9)), constants);
        let [p, g, m, v, e] = &mut pieces.buffers;
        let cuts = [0, 1, 17, 400, p.len()];
        for cut in cuts.windows(2) {
            let r = || cut[0]..cut[1];
            let average = Some((&mut e[r()], 0.9));
            update(&mut p[r()], &g[r()], &mut m[r()], &mut v[r()], average, constants);
        }
        for (a, b) in whole.buffers.iter().flatten().zip(pieces.buffers.iter().flatten()) {
            assert_eq!(a.to_bits(), b.to_bits());
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
}
