//! What networks cost: floating-point operations of passes, bytes of memory. Pure arithmetic on the shape, for plans;
//! nothing here reaches a result.
//!
//! A forward pass over a sequence of `n` tokens of which `m` are asked for an output takes
//!
//! ```text
//! 2 n L (4 C^2 + 2 C F)        the products with the blocks' weights
//! + 4 C sum_(l, t) s(l, t)     attention: the tokens that token t sees in layer l, min(t, window)
//! + 2 m V C  (or 2 m C)        the language-model head (or the scalar head)
//! ```
//!
//! floating-point operations; norms, softmax and biases are left out. A backward takes twice as many, so training
//! takes three times that: the familiar "6 N D" with `N` the weights that are multiplied with and `D` the tokens,
//! plus attention.

use super::activations::activation_floats;
use super::config::{Family, ModelConfig, Precision};
use super::layout::Head;
use crate::engine::Device;

impl ModelConfig {
    /// Number of parameters under a head.
    pub fn parameters(&self, head: Head) -> u128 {
        let [v, c] = [self.vocab_size, self.width].map(|size| size as u128);
        let all = self.parameter_count();
        match head {
            Head::LanguageModel if self.tied_head => all - v * c,
            Head::LanguageModel => all,
            Head::Scalar => all - v * c + c,
        }
    }

    /// Weights of all blocks that a token is multiplied with.
    fn block_weights(&self) -> f64 {
        let [l, c, f] = [self.layers, self.width, self.inner].map(|size| size as f64);
        l * (4.0 * c * c + 2.0 * c * f)
    }

    /// Floating-point operations of a forward pass over `tokens` tokens of one sequence that gives `outputs` outputs.
    pub fn forward_flops(&self, head: Head, tokens: usize, outputs: usize) -> f64 {
        // Layers of even number, and those of odd number.
        let [even, odd] = [self.layers.div_ceil(2), self.layers / 2].map(|layers| layers as f64);
        let seen = even * seen(tokens, self.window(0)) + odd * seen(tokens, self.window(1));
        let of_head = if head == Head::LanguageModel { self.vocab_size } else { 1 };
        let width = self.width as f64;
        2.0 * tokens as f64 * self.block_weights()
            + 4.0 * width * seen
            + 2.0 * outputs as f64 * of_head as f64 * width
    }

    /// Bytes of a network that is read in passes of up to `tokens` tokens.
    pub fn reader_bytes(&self, head: Head, tokens: usize, device: Device) -> u128 {
        4 * (self.parameters(head) + self.pass_floats(head, tokens, false, device))
    }

    /// Bytes of a learner, whose passes have up to `tokens` tokens: parameters, gradients, two moments, perhaps an
    /// average, and the activations of all layers.
    pub fn learner_bytes(&self, head: Head, tokens: usize, average: bool, device: Device) -> u128 {
        // A GPT-Neo is saved from a copy of its parameters, in the order of its directory.
        let copies = 4 + u128::from(average) + u128::from(self.family == Family::GptNeo);
        // A tied embedding's gradient is gathered in two shares.
        let lookup = match head {
            Head::LanguageModel if self.tied_head => self.vocab_size as u128 * self.width as u128,
            _ => 0,
        };
        4 * (copies * self.parameters(head) + lookup + self.pass_floats(head, tokens, true, device))
    }

    /// Bytes of sampling, beside the network: packed weights, and the keys and values of the sequences of up to
    /// `tokens` tokens of which at most `together` are in work at a time.
    pub fn sampling_bytes(&self, sequences: usize, tokens: usize, together: usize) -> u128 {
        let number = if self.precision == Precision::Bf16 { 2 } else { 4 };
        let [v, c] = [self.vocab_size, self.width].map(|size| size as u128);
        let rows = sequences.min(together) as u128 * tokens as u128;
        number * (self.block_weights() as u128 + v * c) + self.cache_bytes(rows)
    }

    /// Bytes of the keys and values of so many positions, in all layers.
    pub fn cache_bytes(&self, positions: u128) -> u128 {
        4 * 2 * positions * self.layers as u128 * self.width as u128
    }

    /// Numbers that a pass works on.
    fn pass_floats(&self, head: Head, tokens: usize, training: bool, device: Device) -> u128 {
        let tokens = tokens.max(self.context);
        let of_head = match head {
            Head::LanguageModel => self.vocab_size as u128 + 2 * self.width as u128,
            Head::Scalar => 0,
        };
        activation_floats(self, tokens, training)
            + device.head_rows(self.vocab_size, tokens) as u128 * of_head
    }
}

/// How many tokens `tokens` tokens see together, each the latest `window` at most, its own included.
fn seen(tokens: usize, window: usize) -> f64 {
    let (short, n, w) = (tokens.min(window) as f64, tokens as f64, window as f64);
    short * (short + 1.0) / 2.0 + (n - short) * w
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Cpu;
    use crate::model::activations::Activations;
    use crate::model::{AttentionPattern, Layout};

    /// V 7, context 6, C 4, 2 layers, 2 heads, F 16.
    fn shape() -> ModelConfig {
        ModelConfig::gpt2(7, 6, 4, 2, 2)
    }

    #[test]
    fn flops_by_hand() {
        // Blocks: 2 (4 * 16 + 2 * 64) = 384 weights. Three tokens see 1 + 2 + 3 = 6.
        let blocks = 2.0 * 3.0 * 384.0 + 4.0 * 4.0 * 2.0 * 6.0;
        assert_eq!(shape().forward_flops(Head::LanguageModel, 3, 0), blocks);
        assert_eq!(shape().forward_flops(Head::LanguageModel, 3, 2), blocks + 2.0 * 2.0 * 7.0 * 4.0);
        assert_eq!(shape().forward_flops(Head::Scalar, 3, 1), blocks + 8.0);
        // In the second layer a window of 2: 1 + 2 + 2 = 5.
        let banded = ModelConfig { attention: AttentionPattern::Alternating { window: 2 }, ..shape() };
        assert_eq!(banded.forward_flops(Head::Scalar, 3, 0), blocks - 16.0);
        assert_eq!(shape().forward_flops(Head::Scalar, 0, 0), 0.0);
    }

    #[test]
    fn parameters_are_the_layouts() {
        let untied = ModelConfig { tied_head: false, ..shape() };
        for config in [shape(), untied, ModelConfig { family: Family::GptNeo, ..shape() }] {
            for head in [Head::LanguageModel, Head::Scalar] {
                assert_eq!(config.parameters(head), Layout::new(&config, head).len as u128);
            }
        }
    }

    #[test]
    fn activations_are_those_that_a_pass_takes() {
        for (training, tokens) in [(true, 6), (false, 6), (true, 10)] {
            let taken = Activations::new(Cpu, &shape(), tokens, training).floats();
            assert_eq!(activation_floats(&shape(), tokens, training), taken as u128);
        }
    }

    #[test]
    fn bytes_by_hand() {
        let n = shape().parameters(Head::Scalar);
        let pass = activation_floats(&shape(), 8, false);
        assert_eq!(shape().reader_bytes(Head::Scalar, 8, Device::Cpu), 4 * (n + pass));
        let pass = activation_floats(&shape(), 8, true);
        assert_eq!(shape().learner_bytes(Head::Scalar, 8, false, Device::Cpu), 4 * (4 * n + pass));
        assert_eq!(shape().learner_bytes(Head::Scalar, 8, true, Device::Cpu), 4 * (5 * n + pass));
        let n = shape().parameters(Head::LanguageModel);
        // The head's chunk has at least 16 rows of logits, hidden states and their gradients.
        let head = 16 * (7 + 8);
        assert_eq!(
            shape().learner_bytes(Head::LanguageModel, 8, false, Device::Cpu),
            4 * (4 * n + 28 + pass + head)
        );
        let neo = ModelConfig { family: Family::GptNeo, ..shape() };
        let (n, pass) = (neo.parameters(Head::Scalar), activation_floats(&neo, 8, true));
        assert_eq!(n, shape().parameters(Head::Scalar) - 2 * 3 * 4);
        assert_eq!(neo.learner_bytes(Head::Scalar, 8, false, Device::Cpu), 4 * (5 * n + pass));
        // Three sequences of 5 tokens keep 2 * 2 * 4 numbers each; 384 + 28 weights are packed.
        assert_eq!(shape().sampling_bytes(3, 5, 32), 4 * (412 + 3 * 5 * 16));
        assert_eq!(shape().sampling_bytes(100, 5, 64), 4 * (412 + 64 * 5 * 16));
        assert_eq!(shape().cache_bytes(5), 4 * 5 * 16);
    }
}
