//! The command `data check`: the paper's tables about data, of the user's own.

use super::args::CheckArgs;
use super::config;
use super::jsonl::Output;
use super::tables::columns;
use crate::error::Result;
use crate::run::stderr::say;
use crate::train::survey::{Remark, Survey};
use serde_json::Value;

/// Runs the command.
///
/// # Errors
/// Those of the configuration and of the files.
pub fn run(args: &CheckArgs) -> Result<()> {
    let root = args.given.data_root();
    let settings = config::load_with_root(&args.given.config, &args.given.set, &root)?;
    let mut survey = Survey::new(&settings, &root)?;
    survey.notes.iter().for_each(say);
    if !args.explain {
        // Personal data are shown only to whom asks for them.
        survey.personal.clear();
    }
    let mut out = Output::stdout();
    if args.json {
        return out.record(&survey).map(drop);
    }
    for line in lines(&survey) {
        // A reader may go away.
        if !out.text(&line)? {
            break;
        }
    }
    Ok(())
}

fn lines(survey: &Survey) -> Vec<String> {
    let mut lines = Vec::new();
    for table in survey.tables.iter().filter(|table| !table.rows.is_empty()) {
        let rows: Vec<Vec<String>> = table.rows.iter().map(|row| row.iter().map(cell).collect()).collect();
        lines.push(table.title.clone());
        lines.extend(columns(&table.columns, &rows).iter().map(|line| format!("  {line}")));
        lines.push(String::new());
    }
    for (title, remarks) in [("left out", &survey.left_out), ("personal data", &survey.personal)] {
        for Remark { data, place, what } in remarks {
            let place = if place.is_empty() { "the miniature" } else { place };
            lines.push(format!("{title}: {data}: {place}: {what}"));
        }
    }
    lines
}

/// A cell's text; a number that is not whole has one decimal.
fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".into(),
        Value::Number(number) if number.is_f64() => format!("{:.1}", number.as_f64().unwrap_or_default()),
        other => other.to_string(),
    }
}
