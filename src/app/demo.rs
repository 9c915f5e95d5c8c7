//! The built-in demonstration: the whole pipeline on the miniature world, then a report and a table.

use std::path::Path;

use super::args::DemoArgs;
use super::{config, jsonl, pipeline};
use crate::checkpoint::atomic::read_text;
use crate::error::Result;
use crate::report::record;

/// The demo's configuration, part of the program.
const CONFIG: &str = include_str!("../../configs/demo.toml");

/// Runs the command.
///
/// # Errors
/// Those of the stages.
pub fn run(args: &DemoArgs) -> Result<()> {
    let settings = config::parse(CONFIG, "the demo's configuration", &args.set)?;
    pipeline::execute(&settings, Path::new("."), &args.out, args.resume, None)?;
    print(&args.out)
}

/// Prints the tables of `results.json` and a few answers, as plain text.
///
/// # Errors
/// Those of the files.
pub fn print(run: &Path) -> Result<()> {
    let mut out = jsonl::Output::stdout();
    let path = run.join("results.json");
    if let Some(results) = crate::run::metrics::read_results(&path)? {
        for table in record::results(&results, &path.display().to_string())?.tables {
            out.text(&format!("\n{}", table.title))?;
            for line in columns(&table.columns, &table.rows) {
                out.text(&line)?;
            }
        }
    }
    let path = run.join("samples.jsonl");
    if path.exists() {
        let samples = record::samples(&read_text(&path, 1 << 28)?, &path.display().to_string())?;
        for sample in samples.iter().take(4) {
            out.text(&format!("\n{}", sample.prompt))?;
            for (model, answer) in &sample.answers {
                out.text(&format!("  {model:>10}:{}", answer.replace('\n', " ")))?;
            }
        }
    }
    Ok(())
}

/// Aligns a table in columns.
fn columns(titles: &[String], rows: &[Vec<String>]) -> Vec<String> {
    let all: Vec<&[String]> = std::iter::once(titles).chain(rows.iter().map(Vec::as_slice)).collect();
    let width =
        |column: usize| all.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..titles.len()).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &&[String]| {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_string()
    };
    all.iter().map(line).collect()
}
