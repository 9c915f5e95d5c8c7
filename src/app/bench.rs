//! `bench`: measures, then prints a table or JSON.

use super::args::BenchArgs;
use super::jsonl::Output;
use crate::bench::{Options, measure};
use crate::engine::Device;
use crate::error::Result;
use crate::run::stderr::say;

/// Runs the command.
///
/// # Errors
/// Those of [`measure`], and of standard output.
pub fn run(args: &BenchArgs, device: Device) -> Result<()> {
    let BenchArgs { json, only, quick, precision, corpus } = args.clone();
    let report = measure(&Options { only, quick, precision, device, corpus })?;
    for warning in &report.warnings {
        say(format_args!("warning: {warning}"));
    }
    let mut out = Output::stdout();
    if json {
        out.record(&report.json())?
    } else {
        out.text(&report.table())?
    };
    Ok(())
}
