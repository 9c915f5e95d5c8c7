//! The numbers of a run for other programs: a CSV file (RFC 4180) for each stage and each table.

use std::fs;
use std::path::{Path, PathBuf};

use super::Run;
use super::put;
use super::record::Stage;
use crate::error::{Error, Result};

/// Writes `STAGE.csv` (a row for each step, a column for each measure, named as in `metrics.jsonl`), `table_N.csv` and
/// `timings.csv` into a directory, which is created if it is missing; returns their paths.
///
/// # Errors
/// [`Error::Io`].
pub fn csv(run: &Run, directory: &Path) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(directory).map_err(|e| Error::io(directory.display(), "create", e))?;
    let mut files: Vec<(String, String)> = Vec::new();
    for stage in &run.stages {
        files.push((format!("{}.csv", file_name(&stage.name)), of_stage(stage)));
    }
    for (i, table) in run.results.tables.iter().enumerate() {
        let rows = std::iter::once(&table.columns).chain(&table.rows);
        files.push((format!("table_{}.csv", i + 1), rows.map(|row| line(row)).collect()));
    }
    if !run.timings.is_empty() {
        let mut text = line(&["stage", "seconds", "tokens", "planned_flops", "threads", "ended"]);
        for t in &run.timings {
            let numbers = [t.seconds, t.tokens as f64, t.flops, t.threads as f64, t.ended];
            text += &line(&[vec![t.stage.clone()], numbers.map(|x| x.to_string()).to_vec()].concat());
        }
        files.push(("timings.csv".into(), text));
    }
    files.iter().map(|(name, text)| put(directory.join(name), text)).collect()
}

/// A stage's name as a file's: what is neither letter nor digit becomes `_`.
pub fn file_name(stage: &str) -> String {
    stage.chars().map(|c| if c.is_alphanumeric() || c == '-' { c } else { '_' }).collect()
}

/// A row for each step; a cell without a value is empty.
fn of_stage(stage: &Stage) -> String {
    let mut steps: Vec<u64> = stage.series.iter().flat_map(|s| s.points.iter().map(|p| p.0)).collect();
    steps.sort_unstable();
    steps.dedup();
    let names = stage.series.iter().map(|s| s.name.clone());
    let mut text = line(&std::iter::once("step".to_string()).chain(names).collect::<Vec<_>>());
    for step in steps {
        let value =
            |points: &[(u64, f64)]| points.iter().rev().find(|p| p.0 == step).map(|p| p.1.to_string());
        let cells = stage.series.iter().map(|s| value(&s.points).unwrap_or_default());
        text += &line(&std::iter::once(step.to_string()).chain(cells).collect::<Vec<_>>());
    }
    text
}

/// Cells as a line: those with a comma, a quote or a line's end are quoted.
fn line<T: AsRef<str>>(cells: &[T]) -> String {
    let cell = |cell: &T| match cell.as_ref() {
        text if text.contains([',', '"', '\n', '\r']) => format!("\"{}\"", text.replace('"', "\"\"")),
        text => text.to_string(),
    };
    cells.iter().map(cell).collect::<Vec<_>>().join(",") + "\r\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::record::{Results, Series, Table};

    #[test]
    fn every_stage_and_table_is_a_file() {
        let series = |name: &str, points: &[(u64, f64)]| Series {
            name: name.into(),
            points: points.to_vec(),
            broken: 0,
        };
        let stage = Stage {
            name: "ppo/x".into(),
            series: vec![series("kl", &[(1, 0.1), (2, 1e-30)]), series("validation_kl", &[(2, 3.0)])],
        };
        let table = Table {
            title: "t".into(),
            columns: vec!["model".into(), "a, \"b\"".into()],
            rows: vec![vec!["sft".into(), "0.5 [0.4, 0.6]".into()]],
        };
        let results = Results { tables: vec![table], ..Results::default() };
        let run = Run { stages: vec![stage], results, ..Run::default() };
        let directory = tempfile::tempdir().unwrap();
        let paths = csv(&run, &directory.path().join("new")).unwrap();
        let texts: Vec<String> = paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
        assert!(paths[0].ends_with("ppo_x.csv") && paths[1].ends_with("table_1.csv"));
        let small = 1e-30f64.to_string();
        assert_eq!(texts[0], format!("step,kl,validation_kl\r\n1,0.1,\r\n2,{small},3\r\n"));
        assert_eq!(texts[1], "model,\"a, \"\"b\"\"\"\r\nsft,\"0.5 [0.4, 0.6]\"\r\n");
    }
}
