//! The built-in demonstration: the whole pipeline on the miniature world, then a report.

use super::args::DemoArgs;
use crate::error::{Error, Result};

/// Runs the command.
///
/// # Errors
/// Always: this build does not have it yet.
pub fn run(_args: &DemoArgs) -> Result<()> {
    Err(Error::usage("demo", "a command of this build", "one that is not built in yet", ""))
}
