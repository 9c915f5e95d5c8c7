//! Commands that run a trained model: sample, logprobs, score, tokenize.

use super::args::{InputArgs, SampleArgs, TokenizeArgs};
use crate::error::{Error, Result};

/// Writes text with a model.
///
/// # Errors
/// Always: this build does not have it yet.
pub fn sample(_args: &SampleArgs) -> Result<()> {
    missing("sample")
}

/// Log-probs of given tokens.
///
/// # Errors
/// Always: this build does not have it yet.
pub fn logprobs(_args: &InputArgs) -> Result<()> {
    missing("logprobs")
}

/// Rewards of given responses.
///
/// # Errors
/// Always: this build does not have it yet.
pub fn score(_args: &InputArgs) -> Result<()> {
    missing("score")
}

/// Text to tokens, or back.
///
/// # Errors
/// Always: this build does not have it yet.
pub fn tokenize(_args: &TokenizeArgs) -> Result<()> {
    missing("tokenize")
}

fn missing(command: &str) -> Result<()> {
    Err(Error::usage(command, "a command of this build", "one that is not built in yet", ""))
}
