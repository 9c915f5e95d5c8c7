//! The built-in demonstration: the whole pipeline on the miniature world, then a report and a table.

use std::path::Path;

use super::args::DemoArgs;
use super::{config, jsonl, pipeline, ranks, tables};
use crate::engine::Device;
use crate::error::Result;

/// The demo's configuration, part of the program.
const CONFIG: &str = include_str!("../../configs/demo.toml");

/// Runs the command.
///
/// # Errors
/// Those of the stages.
pub fn run(args: &DemoArgs, device: Option<Device>) -> Result<()> {
    let ranks = ranks::of_this_process()?;
    let mut settings = config::parse(CONFIG, "the demo's configuration", &args.set)?;
    settings.device = device.unwrap_or(settings.device);
    pipeline::execute(&settings, Path::new("."), &args.out, args.resume, None)?;
    if !ranks.is_first() {
        return Ok(());
    }
    let mut out = jsonl::Output::stdout();
    for line in tables::of_run(&args.out)? {
        out.text(&line)?;
    }
    Ok(())
}
