//! What commands that sample share: a model, and how it writes.

use std::path::PathBuf;

use clap::Args;

use super::{not_negative, precision, probability};
use crate::model::Precision;

/// What `sample` and `chat` share: a model, and how it writes.
#[derive(Debug, Args)]
pub struct WriteArgs {
    /// Model directory (Hugging Face's, GPT-2 or GPT-Neo)
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// How it writes.
    #[command(flatten)]
    pub draw: DrawArgs,
    /// The same seed gives the same text
    #[arg(long, value_name = "S", default_value_t = 1, allow_negative_numbers = true)]
    pub seed: u64,
}

/// How a model, or each of several, writes. None of these goes without a model.
#[derive(Debug, Args)]
#[group(requires = "model")]
pub struct DrawArgs {
    /// Most tokens to write; a text also ends at the model's eos_token_id, or <|endoftext|> without one, and at the
    /// model's context
    #[arg(long, value_name = "N", default_value_t = 128, allow_negative_numbers = true)]
    pub max_new_tokens: usize,
    /// Divides the logits; 0 takes the most likely token each time
    #[arg(long, value_name = "T", default_value_t = 1.0, allow_negative_numbers = true, value_parser = not_negative)]
    pub temperature: f32,
    /// Draw from the K most likely tokens only; 0: from all
    #[arg(long, value_name = "K", default_value_t = 0, allow_negative_numbers = true)]
    pub top_k: usize,
    /// Draw from the most likely tokens that together reach probability P, with --top-k P of theirs; 1: from all
    #[arg(long, value_name = "P", default_value_t = 1.0, allow_negative_numbers = true, value_parser = probability)]
    pub top_p: f32,
    /// What products with weights round their operands to: f32 or bf16; with --device cuda also tf32 or bf16-fast, on
    /// tensor cores, with bits of their own [default: as the model was trained]
    #[arg(long, value_name = "P", value_parser = precision)]
    pub precision: Option<Precision>,
    /// Take the text as it is, without the form of prompts that the model carries
    #[arg(long)]
    pub raw: bool,
}
