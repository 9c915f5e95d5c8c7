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
    /// Sentences that stand at the top.
    pub notes: Vec<String>,
    /// Tables, in order.
    pub tables: Vec<Table>,
}

/// A prompt and what each model answered: `(model, text)`, least trained first.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sample {
    /// What was asked.
    pub prompt: String,
    /// The answers.
    pub answers: Vec<(String, String)>,
}

/// Parses each line that is not blank; errors carry the line's number.
fn lines<'a>(text: &'a str, origin: &'a str) -> impl Iterator<Item = Result<(String, Value)>> + 'a {
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
        results.notes.push(cell(&note));
    }
    for (stage, entry) in json.as_object().into_iter().flatten() {
        let notes = entry.get("notes").and_then(Value::as_array).into_iter().flatten();
        results.notes.extend(notes.map(|note| format!("{stage}: {}", cell(note))));
    }
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

/// Models from the least to the most trained; others follow by name.
const MODEL_ORDER: [&str; 7] = ["pretrained", "sft", "rlhf_init", "ppo", "ppo_ptx", "policy", "reference"];

/// Reads `samples.jsonl`: a `"prompt"` and one text per model; what is not text is skipped.
///
/// # Errors
/// [`Error::Format`] with file and line.
pub fn samples(text: &str, origin: &str) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    for line in lines(text, origin) {
        let (at, value) = line?;
        let Some(prompt) = value["prompt"].as_str() else {
            return Err(Error::format(origin, at, "\"prompt\" (a string)", value, ""));
        };
        let fields = value.as_object().into_iter().flatten().filter(|(name, _)| name.as_str() != "prompt");
        let texts = fields.filter_map(|(name, text)| Some((name.clone(), text.as_str()?.to_string())));
        let mut answers: Vec<(String, String)> = texts.collect();
        let rank = |name: &str| MODEL_ORDER.iter().position(|m| *m == name).unwrap_or(MODEL_ORDER.len());
        answers.sort_by(|a, b| (rank(&a.0), &a.0).cmp(&(rank(&b.0), &b.0)));
        samples.push(Sample { prompt: prompt.to_string(), answers });
    }
    Ok(samples)
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
        assert!(samples("{\"sft\":\"x\"}", "s").unwrap_err().to_string().contains("line 1"));
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
    fn samples_go_from_least_to_most_trained() {
        let s = samples("{\"prompt\":\"p\",\"zz\":\"3\",\"ppo\":\"2\",\"pretrained\":\"1\",\"n\":1}", "s")
            .unwrap();
        let names: Vec<&str> = s[0].answers.iter().map(|a| a.0.as_str()).collect();
        assert_eq!(names, ["pretrained", "ppo", "zz"]);
    }
}
