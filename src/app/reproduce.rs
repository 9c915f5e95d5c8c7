//! The command `reproduce`: the paper's experiments in miniature, their verdicts in a table, and the page.

use std::fs;
use std::path::Path;

use super::args::ReproduceArgs;
use super::progress::on_stderr;
use super::{config, jsonl, pipeline, tables};
use crate::engine::Device;
use crate::error::{Error, Result};
use crate::num::statistics::text;
use crate::ranks::Alone;
use crate::report::figures::{Figures, Verdict};
use crate::reproduce::scale::Scale;
use crate::reproduce::{FIGURES, chosen, reproduce};

/// What all runs start from, part of the program.
const CONFIG: &str = include_str!("../../configs/reproduce.toml");

/// What all runs start from, and how large they are.
///
/// # Errors
/// None but of the program's own file.
pub fn scale() -> Result<Scale> {
    config::parse(CONFIG, "configs/reproduce.toml", &[]).map(Scale::laptop)
}

/// Runs the command.
///
/// # Errors
/// Those of the figures' names, of the stages and of the files.
pub fn run(args: &ReproduceArgs, device: Device) -> Result<()> {
    let figures = chosen(&args.figures, args.headline)?;
    let mut lines = jsonl::Output::stdout();
    let Some(out) = args.out.as_deref().filter(|_| !args.list) else {
        return list().iter().try_for_each(|line| lines.text(line).map(drop));
    };
    begin(out)?;
    let stop = pipeline::listen_to_signals(&Alone);
    let (mut scale, mut progress) = (scale()?, on_stderr());
    scale.base.device = device;
    let drawn = reproduce(&scale, &figures, &args.seeds(), out, progress.as_mut(), stop)?;
    drop(progress);
    for line in verdicts(&drawn) {
        lines.text(&line)?;
    }
    lines.text(&crate::report::write(out)?.display().to_string())?;
    Ok(())
}

/// Makes the directory. One that holds something else is left alone.
fn begin(out: &Path) -> Result<()> {
    let failed = |action| move |error| Error::io(out.display(), action, error);
    fs::create_dir_all(out).map_err(failed("create"))?;
    for entry in fs::read_dir(out).map_err(failed("list"))? {
        let name = entry.map_err(failed("list"))?.file_name().to_string_lossy().into_owned();
        if !(name.starts_with("seed-") || ["figures.json", "report.html"].contains(&name.as_str())) {
            let found = format!("{} with {name}", out.display());
            let hint = "nothing is mixed with other files: choose another directory";
            return Err(Error::usage(
                "--out",
                "a new directory, or an earlier one of reproduce",
                found,
                hint,
            ));
        }
    }
    Ok(())
}

/// The figures, in lines.
fn list() -> Vec<String> {
    let row = |figure: &crate::reproduce::Figure| {
        vec![figure.name.into(), figure.drawn.words().into(), figure.shows.into(), figure.cost.into()]
    };
    let rows: Vec<Vec<String>> = FIGURES.iter().map(row).collect();
    tables::columns(
        &["figure", "drawn", "what it shows", "estimated cost for one seed, after those above"],
        &rows,
    )
}

/// The verdicts, in lines.
fn verdicts(figures: &Figures) -> Vec<String> {
    let row = |v: &Verdict| {
        let ours = match (v.low, v.high) {
            (Some(low), Some(high)) => {
                let [ours, low, high] = [v.ours, Some(low), Some(high)].map(|x| text(x, 3));
                format!("{ours} [{low}, {high}]")
            }
            _ => text(v.ours, 3),
        };
        // The claims are long: they come last.
        vec![v.effect.word().to_string(), v.figure.clone(), ours, v.paper.clone(), v.claim.clone()]
    };
    let rows: Vec<Vec<String>> = figures.verdicts.iter().map(row).collect();
    tables::columns(&["effect", "where", "ours, 95 % interval", "paper", "claim"], &rows)
}
