//! Reads what the report shows, into plain vectors in the order of the files.

use crate::error::{Error, Result};
use crate::num::statistics;
use crate::text::json;
use serde_json::Value;

/// The measures of one stage.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Stage {
    /// Its name, as in `metrics.jsonl`.
    pub name: String,
    /// Its measures, sorted by name (one name is one series).
    pub series: Vec<Series>,
}

/// One measure over a stage's steps.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Series {
    /// Its name, as in `metrics.jsonl`.
    pub name: String,
    /// `(step, value)` in the order of the file; finite values only.
    pub points: Vec<(u64, f64)>,
    /// How many values were not finite.
    pub broken: usize,
}

impl Stage {
    /// The measure of that name.
    pub fn series(&self, name: &str) -> Option<&Series> {
        self.series.iter().find(|s| s.name == name)
    }
}

/// A table of `results.json`, every cell as text.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table {
    /// What it shows.
    pub title: String,
    /// Column heads.
    pub columns: Vec<String>,
    /// Rows of as many cells.
    pub rows: Vec<Vec<String>>,
}

/// The known entries of `results.json`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Results {
    /// Sentences on the whole run.
    pub notes: Vec<Note>,
    /// Tables, in order.
    pub tables: Vec<Table>,
    /// What each stage found, by stage.
    pub found: serde_json::Map<String, Value>,
}

/// A sentence on a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The stage that it is about; empty: the run.
    pub stage: String,
    /// The sentence.
    pub text: String,
    /// Whether something may be wrong.
    pub warns: bool,
}

/// How notes of stages begin that only tell: all others are hints at what may be wrong.
const TELLS: [&str; 1] = ["pretraining text was "];
/// How notes of a run begin that warn: all others tell where the data went.
const WARNS: [&str; 1] = ["warning"];

impl Note {
    /// A note of a stage, or with an empty name of the run.
    pub fn new(stage: &str, text: String) -> Note {
        let begins = |with: &[&str]| with.iter().any(|start| text.starts_with(start));
        let warns = if stage.is_empty() { begins(&WARNS) } else { !begins(&TELLS) };
        Note { stage: stage.into(), text, warns }
    }
}

/// What the clock said of a stage.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Timing {
    /// The stage.
    pub stage: String,
    /// Wall-clock seconds of its last start to its end.
    pub seconds: f64,
    /// Tokens that it read or wrote in them.
    pub tokens: u64,
    /// Floating-point operations of the whole stage, as planned; 0: not known.
    pub flops: f64,
    /// Threads.
    pub threads: u64,
    /// Seconds since 1970 at which it ended; 0: not known.
    pub ended: f64,
}

/// Parses each line that is not blank; errors carry the line's number.
pub(super) fn lines<'a>(
    text: &'a str,
    origin: &'a str,
) -> impl Iterator<Item = Result<(String, Value)>> + 'a {
    let not_blank = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    not_blank.map(move |(i, line)| {
        let at = format!("line {}", i + 1);
        match json::parse(line.as_bytes()) {
            Ok(value @ Value::Object(_)) => Ok((at, value)),
            Ok(_) => Err(Error::format(origin, at, "a JSON object", "another JSON value", "")),
            Err(e) => {
                let hint = if e.is_eof() { "a torn last line: resume the run" } else { "" };
                Err(json::refusal(origin, line.as_bytes(), (i + 1, 1), "a JSON object", &e, hint))
            }
        }
    })
}

/// Reads `metrics.jsonl`: stages in order of appearance.
///
/// # Errors
/// [`Error::Format`] with file and line.
pub fn metrics(text: &str, origin: &str) -> Result<Vec<Stage>> {
    let mut stages: Vec<Stage> = Vec::new();
    for line in lines(text, origin) {
        let (at, value) = line?;
        let (Some(stage), Some(step)) = (value["stage"].as_str(), value["step"].as_u64()) else {
            return Err(Error::format(origin, at, "\"stage\" (a string) and \"step\" (a number)", value, ""));
        };
        let index = stages.iter().position(|s| s.name == stage).unwrap_or_else(|| {
            stages.push(Stage { name: stage.to_string(), series: Vec::new() });
            stages.len() - 1
        });
        let series = &mut stages[index].series;
        for (name, value) in value.as_object().into_iter().flatten() {
            let number = match value {
                _ if name == "stage" || name == "step" => continue,
                Value::Number(n) => n.as_f64(),
                Value::String(s) if matches!(s.as_str(), "NaN" | "inf" | "-inf") => None,
                _ => continue,
            };
            let place = series.binary_search_by(|s| s.name.as_str().cmp(name)).unwrap_or_else(|i| {
                series.insert(i, Series { name: name.clone(), ..Series::default() });
                i
            });
            match number {
                Some(x) if x.is_finite() => series[place].points.push((step, x)),
                _ => series[place].broken += 1,
            }
        }
    }
    Ok(stages)
}

/// Reads `results.json`.
///
/// # Errors
/// [`Error::Format`] with file and entry if a note or table has another form.
pub fn results(json: &Value, origin: &str) -> Result<Results> {
    let mut results = Results::default();
    let list = |key: &str| match &json[key] {
        Value::Null => Ok(Vec::new()),
        Value::Array(items) => Ok(items.clone()),
        _ => Err(Error::format(origin, format!("field {key:?}"), "a list", "another value", "")),
    };
    for note in list("notes")? {
        results.notes.push(Note::new("", cell(&note)));
    }
    for (stage, entry) in json.as_object().into_iter().flatten() {
        let notes = entry.get("notes").and_then(Value::as_array).into_iter().flatten();
        results.notes.extend(notes.map(|note| Note::new(stage, cell(note))));
    }
    results.found = json.as_object().cloned().unwrap_or_default();
    for (i, table) in list("tables")?.iter().enumerate() {
        let wrong = |expected: &str, found: &str| {
            Error::format(origin, format!("table {}", i + 1), expected, found, "")
        };
        let (Some(columns), Some(rows)) = (table["columns"].as_array(), table["rows"].as_array()) else {
            return Err(wrong("\"columns\" and \"rows\", both lists", "something else"));
        };
        let columns: Vec<String> = columns.iter().map(cell).collect();
        let mut texts = Vec::new();
        for row in rows {
            let row: Vec<String> = row.as_array().map(|r| r.iter().map(cell).collect()).unwrap_or_default();
            if row.len() != columns.len() {
                return Err(wrong(&format!("rows of {} cells", columns.len()), &format!("{}", row.len())));
            }
            texts.push(row);
        }
        results.tables.push(Table { title: cell(&table["title"]), columns, rows: texts });
    }
    Ok(results)
}

/// Reads `timings.jsonl`: of a stage that was made twice, the last time.
///
/// # Errors
/// [`Error::Format`] with file and line.
pub fn timings(text: &str, origin: &str) -> Result<Vec<Timing>> {
    let mut timings: Vec<Timing> = Vec::new();
    for line in lines(text, origin) {
        let (at, value) = line?;
        let (Some(stage), Some(seconds)) = (value["stage"].as_str(), value["seconds"].as_f64()) else {
            return Err(Error::format(origin, at, "\"stage\" and \"seconds\"", value, ""));
        };
        timings.retain(|earlier| earlier.stage != stage);
        timings.push(Timing {
            stage: stage.into(),
            seconds,
            tokens: value["tokens"].as_u64().unwrap_or(0),
            flops: value["planned_flops"].as_f64().unwrap_or(0.0),
            threads: value["threads"].as_u64().unwrap_or(0),
            ended: value["ended"].as_f64().unwrap_or(0.0),
        });
    }
    Ok(timings)
}

/// A JSON value as a table shows it.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(s) => s.clone(),
        Value::Number(n) => match n.as_f64() {
            // A share is at most 1: a whole number beyond is a count, however it was written.
            Some(x) if n.is_f64() && !(x.fract() == 0.0 && x.abs() > 1.0) => statistics::text(Some(x), 4),
            Some(x) if n.is_f64() => format!("{x:.0}"),
            _ => n.to_string(),
        },
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_by_stage_and_name() {
        let text = "{\"stage\":\"sft\",\"step\":1,\"loss\":2.5,\"file\":\"x\"}\n\n{\"stage\":\"ppo\",\"step\":1,\"kl\":\"NaN\"}\n\
                    {\"stage\":\"sft\",\"step\":2,\"loss\":2,\"accuracy\":0.5}\n";
        let stages = metrics(text, "m").unwrap();
        assert_eq!(stages.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["sft", "ppo"]);
        assert_eq!(stages[0].series("loss").unwrap().points, [(1, 2.5), (2, 2.0)]);
        assert_eq!(stages[0].series.len(), 2, "words are no series");
        assert_eq!((stages[1].series[0].points.len(), stages[1].series[0].broken), (0, 1));
    }

    #[test]
    fn malformed_lines_are_numbered() {
        for (text, line) in
            [("{}\n", "line 1"), ("\n{\"stage\":\"a\",\"step\":-1}", "line 2"), ("\n\n[1]", "line 3")]
        {
            let message = metrics(text, "m.jsonl").unwrap_err().to_string();
            assert!(message.starts_with("m.jsonl: ") && message.contains(line), "{message}");
        }
    }

    #[test]
    fn results_check_their_tables() {
        let ok = serde_json::json!({"tables": [{"title": "t", "columns": ["a", "b"],
            "rows": [[1, 0.25], [5344.0, 1.0], [5344, 5344.5], [-0.00001, null]]}], "else": 1});
        let rows = [["1", "0.2500"], ["5344", "1.0000"], ["5344", "5344.5000"], ["0.0000", "-"]];
        assert_eq!(results(&ok, "r").unwrap().tables[0].rows, rows);
        let bad = serde_json::json!({"tables": [{"title": "t", "columns": ["a", "b"], "rows": [[1]]}]});
        assert!(results(&bad, "r").unwrap_err().to_string().contains("rows of 2 cells, found 1"));
        assert_eq!(results(&serde_json::json!({}), "r").unwrap(), Results::default());
    }

    #[test]
    fn notes_warn_or_tell() {
        let json = serde_json::json!({"notes": ["prompts: 3", "warning: few prompts"],
            "sft": {"notes": ["the loss rose", "pretraining text was 10 %"]}});
        let notes = results(&json, "r").unwrap().notes;
        let seen: Vec<(&str, bool)> = notes.iter().map(|note| (note.stage.as_str(), note.warns)).collect();
        assert_eq!(seen, [("", false), ("", true), ("sft", true), ("sft", false)]);
    }

    #[test]
    fn of_a_stage_made_twice_the_last_time_counts() {
        let text = "{\"stage\":\"sft\",\"seconds\":1.5,\"tokens\":3}\n{\"stage\":\"sft\",\"seconds\":2,\"ended\":7.0,\
                    \"planned_flops\":1e9}\n";
        let found = timings(text, "t").unwrap();
        assert_eq!((found.len(), found[0].seconds, found[0].ended, found[0].flops), (1, 2.0, 7.0, 1e9));
        assert!(timings("{\"stage\":\"sft\"}", "t").unwrap_err().to_string().contains("line 1"));
    }
}
