//! The built-in demonstration: the whole pipeline on the miniature world, then a report and a table.

use std::path::Path;

use super::args::DemoArgs;
use super::{config, jsonl, pipeline, tables};
use crate::error::Result;

/// The demo's configuration, part of the program.
const CONFIG: &str = include_str!("../../configs/demo.toml");

/// Runs the command.
///
/// # Errors
/// Those of the stages.
pub fn run(args: &DemoArgs) -> Result<()> {
    let settings = config::parse(CONFIG, "the demo's configuration", &args.set)?;
    pipeline::execute(&settings, Path::new("."), &args.out, args.resume, None)?;
    let mut out = jsonl::Output::stdout();
    for line in tables::of_run(&args.out)? {
        out.text(&line)?;
    }
    Ok(())
}
