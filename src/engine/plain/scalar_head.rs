//! One number per token: `y[t] = hidden[t] . w`. The reward model's and the value function's head
//! (paper section 3.5: "unembedding layer removed"); no bias, as in `GPT2ForSequenceClassification`.

use crate::num::math::fma;

/// The chain over C for one token: hidden (C), weight (C).
pub fn forward(hidden: &[f32], weight: &[f32]) -> f32 {
    assert_eq!(hidden.len(), weight.len(), "hidden of {} for a head of {}", hidden.len(), weight.len());
    hidden.iter().zip(weight).fold(0.0, |acc, (&h, &w)| fma(h, w, acc))
}

/// For one token, each factor's gradient is that of y times the other factor: `dhidden += dy * w`,
/// `dw += dy * hidden`.
pub fn backward(dhidden: &mut [f32], dweight: &mut [f32], dy: f32, hidden: &[f32], weight: &[f32]) {
    for i in 0..hidden.len() {
        dhidden[i] = fma(dy, weight[i], dhidden[i]);
        dweight[i] = fma(dy, hidden[i], dweight[i]);
    }
}
