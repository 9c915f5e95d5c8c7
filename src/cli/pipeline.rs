//! Runs the stages of a configuration, one after another.

use super::args::RunArgs;
use crate::error::{Error, Result};

/// Runs the command.
///
/// # Errors
/// Always: this build does not have it yet.
pub fn run(_args: &RunArgs) -> Result<()> {
    Err(Error::usage("run", "a command of this build", "one that is not built in yet", ""))
}
