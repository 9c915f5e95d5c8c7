//! What an evaluation leaves in its directory, in the form of lm-evaluation-harness: `results_STYLE.json`, and
//! `samples_TASK_STYLE.jsonl` with a line for each document. No clock and no path is in them, so they repeat to the bit.
//!
//! Of ours are `intervals` (95 %, with the chance level and the unit) and `truncated` (prompts that were too long, and
//! tokens cut off).
//! `config` and `configs` hold checksums of the model's and the task's files: an evaluation that was stopped goes on
//! after the tasks that are complete, and never with another model or other data.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::run_tasks::{Asking, Outcome};
use super::tasks::measures::Figure;
use crate::checkpoint::atomic::read_text;
use crate::checkpoint::write_atomic;
use crate::error::{Error, Result};
use crate::run::fingerprints::{Fingerprints, fingerprint};
use crate::text::json;

/// The results of a directory.
pub struct Results {
    directory: PathBuf,
    asking: Asking,
    /// The file as it stands, or is to stand.
    file: Value,
}

/// What a task's results rest on, beside the model.
fn of_task(name: &str, data: &Path, scorer: Option<&str>) -> Result<Value> {
    let file = data.file_name().unwrap_or_default().to_string_lossy();
    let mut rests_on = json!({ "task": name, "data": file, "data_crc64": fingerprint(data)? });
    if let Some(command) = scorer {
        rests_on["scorer"] = json!(command);
    }
    Ok(rests_on)
}

impl Results {
    /// Those of a directory, which must exist: an earlier evaluation's of the same model in the same manner, or none.
    ///
    /// # Errors
    /// [`Error::Usage`] for results of something else, [`Error::Format`] for a file that is none, [`Error::Io`].
    pub fn open(directory: &Path, model: &Path, precision: &str, asking: Asking) -> Result<Results> {
        let mut files = Fingerprints::default();
        files.add_model(model, ".")?;
        let files = serde_json::to_value(&files).expect("checksums are plain data");
        let config = json!({
            "model": "instructgpt",
            "model_crc64": files["models"]["."],
            "precision": precision,
            "style": asking.style.name(),
            "num_fewshot": asking.shots,
            "seed": asking.seed,
            "limit": asking.limit,
            "instruction": asking.instruction.name(),
        });
        let empty = json!({
            "config": config, "results": {}, "group_subtasks": {}, "configs": {}, "versions": {}, "n-shot": {},
            "higher_is_better": {}, "n-samples": {}, "intervals": {}, "truncated": {},
        });
        let mut results = Results { directory: directory.to_path_buf(), asking, file: empty };
        let path = results.path();
        if path.exists() {
            let text = read_text(&path, 1 << 28)?;
            let before = json::parse(text.as_bytes()).map_err(|error| {
                json::refusal(path.display(), text.as_bytes(), (1, 1), "results", &error, "")
            })?;
            for (key, now) in results.file["config"].as_object().expect("made above") {
                if before["config"][key] != *now {
                    let expected = format!("a directory without results, or those of the same {key}");
                    let found = format!("results of another {key} in {}", path.display());
                    return Err(Error::usage("--out", expected, found, "choose another directory"));
                }
            }
            results.file = before;
        }
        Ok(results)
    }

    fn path(&self) -> PathBuf {
        self.directory.join(format!("results_{}.json", self.asking.style.name()))
    }

    fn samples_path(&self, task: &str) -> PathBuf {
        self.directory.join(format!("samples_{task}_{}.jsonl", self.asking.style.name()))
    }

    /// Whether a task is complete: its results are there, and its samples as they were written.
    ///
    /// # Errors
    /// [`Error::Usage`] for results of other data, or judged otherwise, [`Error::Io`].
    pub fn has(&self, task: &str, data: &Path, scorer: Option<&str>) -> Result<bool> {
        let before = &self.file["configs"][task];
        if before.is_null() {
            return Ok(false);
        }
        let now = of_task(task, data, scorer)?;
        if before["data_crc64"] != now["data_crc64"] {
            let expected =
                format!("the data that the results of {task} in {} rest on", self.path().display());
            return Err(Error::usage(
                "--data",
                expected,
                data.display(),
                "choose another --out for other data",
            ));
        }
        if before["scorer"] != now["scorer"] {
            let before = before["scorer"].as_str().unwrap_or("none");
            let expected = format!("the scorer of {task} in {}: {before}", self.path().display());
            let hint = "choose another --out for another scorer";
            return Err(Error::usage("--scorer", expected, scorer.unwrap_or("none"), hint));
        }
        let samples = self.samples_path(task);
        Ok(samples.is_file() && before["samples_crc64"] == fingerprint(&samples)?)
    }

    /// Writes a task's samples, then the results with it: in whatever moment the program ends, both are whole.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn add(&mut self, task: &str, data: &Path, scorer: Option<&str>, outcome: &Outcome) -> Result<()> {
        let samples = self.samples_path(task);
        write_atomic(&samples, |file| file.write_all(outcome.samples.as_bytes()))?;
        let mut config = of_task(task, data, scorer)?;
        config["num_fewshot"] = json!(self.asking.shots);
        config["samples_crc64"] = json!(fingerprint(&samples)?);
        let (mut figures, mut better, mut intervals) = (json!({ "alias": task }), json!({}), json!({}));
        for Figure { measure, estimate, error, chance } in &outcome.figures {
            let name = measure.name;
            figures[format!("{name},none")] = json!(estimate.value);
            figures[format!("{name}_stderr,none")] = error.map_or(json!("N/A"), |error| json!(error));
            better[name] = json!(measure.higher_is_better);
            // JSON knows no infinity: an end that is unknown is null.
            let [low, high] =
                [estimate.low, estimate.high].map(|end| Some(end).filter(|end| end.is_finite()));
            intervals[name] = json!({ "low": low, "high": high, "chance": chance, "unit": measure.unit });
        }
        let (original, effective) = outcome.documents;
        for (section, value) in [
            ("results", figures),
            ("group_subtasks", json!([])),
            ("configs", config),
            ("versions", json!(1)),
            ("n-shot", json!(self.asking.shots)),
            ("higher_is_better", better),
            ("n-samples", json!({ "original": original, "effective": effective })),
            ("intervals", intervals),
            ("truncated", json!({ "requests": outcome.cut.0, "tokens": outcome.cut.1 })),
        ] {
            self.file[section][task] = value;
        }
        let text = serde_json::to_string_pretty(&self.file).expect("results are plain data");
        write_atomic(&self.path(), |file| writeln!(file, "{text}"))
    }

    /// What is kept of a task: a section of the results' file.
    pub fn of(&self, section: &str, task: &str) -> &Value {
        &self.file[section][task]
    }
}
