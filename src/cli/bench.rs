//! Measures this machine.

use super::args::BenchArgs;
use crate::error::{Error, Result};

/// Runs the command.
///
/// # Errors
/// Always: this build does not have it yet.
pub fn run(_args: &BenchArgs) -> Result<()> {
    Err(Error::usage("bench", "a command of this build", "one that is not built in yet", ""))
}
