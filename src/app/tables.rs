//! Tables in plain text, and those that a run leaves.

use std::path::Path;

use crate::checkpoint::atomic::read_text;
use crate::error::Result;
use crate::report::record;
use crate::report::samples::samples;

/// The tables of a run's `results.json` and a few answers, in lines.
///
/// # Errors
/// Those of the files.
pub fn of_run(run: &Path) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let path = run.join("results.json");
    if let Some(results) = crate::run::metrics::read_results(&path)? {
        for table in record::results(&results, &path.display().to_string())?.tables {
            lines.push(format!("\n{}", table.title));
            lines.extend(columns(&table.columns, &table.rows));
        }
    }
    let path = run.join("samples.jsonl");
    if path.exists() {
        let samples = samples(&read_text(&path, 1 << 28)?, &path.display().to_string())?;
        for sample in samples.iter().take(4) {
            lines.push(format!("\n{}", sample.prompt));
            let answers = sample.answers.iter();
            lines.extend(answers.map(|a| format!("  {:>10}:{}", a.model, a.text.replace('\n', " "))));
        }
    }
    Ok(lines)
}

/// Aligns a table in columns.
pub fn columns<T: AsRef<str>>(titles: &[T], rows: &[Vec<String>]) -> Vec<String> {
    let titles: Vec<String> = titles.iter().map(|title| title.as_ref().to_string()).collect();
    let all: Vec<&[String]> = std::iter::once(&titles[..]).chain(rows.iter().map(Vec::as_slice)).collect();
    let width =
        |column: usize| all.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..titles.len()).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &&[String]| {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_string()
    };
    all.iter().map(line).collect()
}
