//! What a run starts from: the model's shape, the tokenizer, the data, the built-in miniature.

use super::section::{any, at_least_one, below_one, positive, section};
use crate::model::{Activation, AttentionPattern, ModelConfig, Precision};

section! {
    /// The shape of a model that is trained from random weights. A stage that starts from a model
    /// directory (`init_from`) takes the shape from there instead.
    ModelSettings = "model" {
        /// Longest sequence, in tokens. Paper: 2048 (appendix C).
        context: usize = 2048, at_least_one;
        /// Width of the residual stream. GPT-3 XL (the paper's 1.3B): 2048; here GPT-2's smallest.
        width: usize = 768, at_least_one;
        /// Blocks. GPT-3 XL: 24.
        layers: usize = 12, at_least_one;
        /// Attention heads; divides the width. GPT-3 XL: 24 (Stiennon et al. 2020: 16).
        heads: usize = 12, at_least_one;
        /// Inner width of the MLP; not set: 4 times the width, as in GPT-2 and GPT-3.
        inner: Option<usize> = None, any;
        /// Added to the variance in every layer norm. GPT-2: 1e-5.
        layer_norm_epsilon: f32 = 1e-5, positive;
        /// "gelu_tanh" (GPT-2, GPT-3) or "gelu" (exact, with erf).
        activation: Activation = Activation::GeluTanh, any;
        /// Tokens that every second layer sees, its own included (GPT-3's alternation of dense and
        /// banded layers; the band's width is not printed). 0: every layer sees everything.
        attention_window: usize = 0, any;
        /// Whether the language-model head is the token embedding (GPT-2: yes).
        tied_head: bool = true, any;
    }
}

impl ModelSettings {
    /// The shape with `vocab_size` tokens (the tokenizer decides that number), computing in `precision`; not yet
    /// validated.
    pub fn config(&self, vocab_size: usize, precision: Precision) -> ModelConfig {
        ModelConfig {
            vocab_size,
            context: self.context,
            width: self.width,
            layers: self.layers,
            heads: self.heads,
            inner: self.inner.unwrap_or(self.width.saturating_mul(4)),
            layer_norm_epsilon: self.layer_norm_epsilon,
            activation: self.activation,
            attention: match self.attention_window {
                0 => AttentionPattern::Dense,
                window => AttentionPattern::Alternating { window },
            },
            tied_head: self.tied_head,
            precision,
            pad_token: None,
        }
    }
}

section! {
    /// The byte-level BPE that every model of the run shares.
    TokenizerSettings = "tokenizer" {
        /// Tokens to train for, `<|endoftext|>` and the 256 bytes included. Paper: 50257, GPT-3's own.
        vocab_size: usize = 50257, |&n: &usize| (n < 257).then_some("at least 257: 256 bytes and <|endoftext|>");
        /// A model directory whose tokenizer is used instead of training one.
        from: Option<String> = None, any;
    }
}

section! {
    /// Where the data comes from. Paths are relative to `--data`, or to this file's folder.
    DataSettings = "data" {
        /// Use the built-in miniature (section `world`) instead of files.
        world: bool = false, any;
        /// Texts: `.txt` with documents separated by `<|endoftext|>`, or JSONL `{"text"}`; `.gz` of any.
        pretraining: Vec<String> = Vec::new(), any;
        /// Demonstrations: JSONL `{"prompt","response"}` or Alpaca-style JSON.
        demonstrations: Vec<String> = Vec::new(), any;
        /// Comparisons: JSONL `{"prompt","responses","ranks"}`, `{"prompt","chosen","rejected"}` or
        /// hh-rlhf dialogues.
        comparisons: Vec<String> = Vec::new(), any;
        /// Prompts for PPO: JSONL `{"prompt"}`. Empty: the demonstrations' prompts are used.
        prompts: Vec<String> = Vec::new(), any;
        /// Share of users (of records, where no user is named) held out for validation. Paper: about
        /// 0.11 of the demonstrations, 0.35 of the comparisons, split by user (section 3.2, table 6).
        validation_fraction: f32 = 0.1, below_one;
        /// Longer prompts are left out, in tokens. Paper: 1000 (appendix C).
        max_prompt_tokens: usize = 1000, at_least_one;
        /// Longest response, in tokens. Paper: 1000 (appendix C).
        max_response_tokens: usize = 1000, at_least_one;
        /// Most prompts taken from one user. Paper: 200 (section 3.2).
        prompts_per_user: usize = 200, at_least_one;
    }
}

section! {
    /// The built-in miniature of the paper's data, made from the seed; no files.
    WorldSettings = "world" {
        /// Documents of pretraining text.
        documents: usize = 4000, at_least_one;
        /// Demonstrations by labelers. Paper: 12725 (table 6).
        demonstrations: usize = 1000, at_least_one;
        /// Prompts whose responses are ranked. Paper: 33207 (table 6).
        comparisons: usize = 1000, at_least_one;
        /// Prompts for PPO. Paper: 31144 (table 6).
        prompts: usize = 1000, at_least_one;
    }
}
