//! The shape of a GPT: everything that decides the parameter layout and the arithmetic.

use alloc::format;
use alloc::string::ToString;

use crate::engine::Heads;
pub use crate::engine::{Activation, Precision};
use crate::error::{Error, Result};

/// Which earlier tokens a layer may look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttentionPattern {
    /// Every layer sees the whole prefix (GPT-2).
    Dense,
    /// GPT-3's alternation: even layers dense, odd layers see the last `window` tokens, their own included.
    Alternating {
        /// Tokens a banded layer sees, at least 1.
        window: usize,
    },
}

/// Whose blocks a model has, in what GPT-2's and GPT-Neo's differ; and so the format of its directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// GPT-2's, and GPT-3's: queries, keys and values have biases, and scores are divided by `sqrt(HS)`.
    Gpt2,
    /// GPT-Neo's (Black et al., 2021): neither. Its layers alternate as GPT-3's do.
    GptNeo,
}

/// A GPT's shape. Names in parentheses are those of Hugging Face's `config.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// Whether queries, keys and values have biases, and scores are scaled (`model_type`).
    pub family: Family,
    /// `V`: number of tokens (`vocab_size`).
    pub vocab_size: usize,
    /// Longest sequence in tokens (`n_positions`).
    pub context: usize,
    /// `C`: width of the residual stream (`n_embd`).
    pub width: usize,
    /// `L`: number of blocks (`n_layer`).
    pub layers: usize,
    /// `NH`: attention heads; divides `width` (`n_head`).
    pub heads: usize,
    /// `F`: inner width of the MLP (`n_inner`, default `4 * n_embd`).
    pub inner: usize,
    /// Added to the variance in every layer norm (`layer_norm_epsilon`).
    pub layer_norm_epsilon: f32,
    /// The MLP's nonlinearity (`activation_function`).
    pub activation: Activation,
    /// Dense everywhere, or GPT-3's alternation (GPT-Neo's `attention_types` and `window_size`).
    pub attention: AttentionPattern,
    /// Whether the language-model head is the token embedding (`tie_word_embeddings`).
    pub tied_head: bool,
    /// What the products with weights round their operands to. The parameters themselves are f32 always.
    pub precision: Precision,
    /// A reward model's score is read at the last token that is not this one (`pad_token_id`); `None`: at the last
    /// token.
    pub pad_token: Option<u32>,
}

impl ModelConfig {
    /// A GPT-2-like configuration: `F = 4 C`, epsilon 1e-5, tanh GELU, dense attention, tied head.
    pub fn gpt2(vocab_size: usize, context: usize, width: usize, layers: usize, heads: usize) -> Self {
        ModelConfig {
            family: Family::Gpt2,
            vocab_size,
            context,
            width,
            layers,
            heads,
            inner: 4 * width,
            layer_norm_epsilon: 1e-5,
            activation: Activation::GeluTanh,
            attention: AttentionPattern::Dense,
            tied_head: true,
            precision: Precision::F32,
            pad_token: None,
        }
    }

    /// `HS`: the width of one head.
    pub fn head_size(&self) -> usize {
        self.width / self.heads
    }

    /// How many of the latest tokens (its own included) a token sees in `layer`.
    pub fn window(&self, layer: usize) -> usize {
        match self.attention {
            AttentionPattern::Alternating { window } if layer % 2 == 1 => window.min(self.context),
            _ => self.context,
        }
    }

    /// The heads of `layer`.
    pub fn attention_heads(&self, layer: usize) -> Heads {
        let scaled = self.family == Family::Gpt2;
        Heads { count: self.heads, size: self.head_size(), window: self.window(layer), scaled }
    }

    /// Whether queries, keys and values have biases.
    pub fn attention_bias(&self) -> bool {
        self.family == Family::Gpt2
    }

    /// Number of parameters with an explicit head, the most there can be, in arithmetic that cannot overflow.
    pub fn parameter_count(&self) -> u128 {
        let [v, t, c, l, f] =
            [self.vocab_size, self.context, self.width, self.layers, self.inner].map(|size| size as u128);
        let attention_bias = if self.attention_bias() { 3 * c } else { 0 };
        2 * v * c + t * c + l * (4 * c * c + 2 * c * f + 6 * c + f + attention_bias) + 2 * c
    }

    /// Checks what a user can get wrong; `origin` names the file or section for the message.
    pub fn validate(&self, origin: &str) -> Result<()> {
        let positive = [
            ("vocab_size", self.vocab_size),
            ("context", self.context),
            ("width", self.width),
            ("layers", self.layers),
            ("heads", self.heads),
            ("inner", self.inner),
        ];
        for (field, value) in positive {
            if value == 0 || value > 1 << 24 {
                return Err(Error::format(origin, field, "a number from 1 to 16777216", value, ""));
            }
        }
        if !self.width.is_multiple_of(self.heads) {
            let expected = format!("a divisor of the width {}", self.width);
            return Err(Error::format(origin, "heads", expected, self.heads, "width = heads * head size"));
        }
        if !(self.layer_norm_epsilon > 0.0 && self.layer_norm_epsilon.is_finite()) {
            let found = self.layer_norm_epsilon.to_string();
            return Err(Error::format(origin, "layer_norm_epsilon", "a small positive number", found, ""));
        }
        if let AttentionPattern::Alternating { window: 0 } = self.attention {
            return Err(Error::format(origin, "attention window", "at least 1", 0, ""));
        }
        Ok(())
    }
}
