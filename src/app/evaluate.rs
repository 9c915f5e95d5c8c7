//! The command `evaluate`: public benchmarks, asked of a model; results in the form of lm-evaluation-harness into a
//! directory, and a table.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::args::EvaluateArgs;
use super::inference::{load, required_tokenizer};
use super::jsonl::Output;
use super::progress::on_stderr;
use super::tables::columns;
use crate::checkpoint::{RunLock, remove_temporaries};
use crate::data::examples::load_examples;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::eval::run_tasks::{Asking, Prepared};
use crate::eval::task_results::Results;
use crate::eval::tasks::{Card, TASKS, Task, named};
use crate::model::Head;
use crate::num::statistics::text;
use crate::run::stderr::say;

/// Token rows of a pass: more would only cost memory.
const PASS: usize = 2048;

/// All tasks on standard output, and what each of them is.
///
/// # Errors
/// [`Error::Io`].
pub fn list() -> Result<()> {
    let mut output = Output::stdout();
    for task in TASKS {
        let Card { name, measures, fields, source, styles, paper, files, .. } = task.card();
        let styles: Vec<&str> = styles.iter().map(|style| style.name()).collect();
        let names: Vec<&str> = [name].into_iter().chain(files.iter().copied()).collect();
        output.text(name)?;
        for (what, words) in [
            ("measures", measures),
            ("fields", fields),
            ("data", source),
            ("file in a folder", &format!("{}, with any ending", names.join(" or "))),
            ("styles", &styles.join(", ")),
            ("paper", paper),
        ] {
            output.text(&format!("  {what}: {words}"))?;
        }
    }
    Ok(())
}

/// Runs the command. Everything that was given is looked at before a model is asked, and nothing is written before.
///
/// # Errors
/// Those of the arguments ([`Error::Usage`]), of the data ([`Error::Format`] with file and line), of the model directory
/// and of `--out`.
pub fn run<E: Engine>(args: &EvaluateArgs, engine: E) -> Result<()> {
    let (Some(model), Some(data), Some(out)) = (&args.model, &args.data, &args.out) else {
        return list();
    };
    let asking = Asking {
        style: args.style.into(),
        shots: args.shots,
        seed: args.seed,
        limit: args.limit,
        instruction: args.instruction.into(),
    };
    let prepared = prepare(&args.task, data, asking)?;
    let network = load(model, Head::LanguageModel, args.precision, engine)?;
    let tokenizer = required_tokenizer(model)?;
    fs::create_dir_all(out).map_err(|error| Error::io(out.display(), "create", error))?;
    let _lock = RunLock::acquire(out)?;
    remove_temporaries(out, false)?;
    let mut results = Results::open(out, model, network.config.precision.name(), asking)?;
    let mut progress = on_stderr();
    for (task, file) in &prepared {
        let name = task.task().card().name;
        if results.has(name, file)? {
            progress.note(&format!("{name}: complete already"));
            continue;
        }
        let outcome = task.ask(&network, &tokenizer, PASS, progress.as_mut())?;
        results.add(name, file, &outcome)?;
    }
    drop(progress);
    let names: Vec<&str> = prepared.iter().map(|(task, _)| task.task().card().name).collect();
    let mut output = Output::stdout();
    for line in table(&names, &results) {
        output.text(&line)?;
    }
    for name in names {
        let truncated = results.of("truncated", name);
        if truncated["requests"] != 0 {
            let (requests, tokens) = (&truncated["requests"], &truncated["tokens"]);
            say(format_args!(
                "note: {name}: {requests} prompts were too long for the model; {tokens} tokens were cut off their beginnings"
            ));
        }
    }
    Ok(())
}

/// The tasks of that names, each with its file.
fn prepare(names: &[String], data: &Path, asking: Asking) -> Result<Vec<(Prepared, PathBuf)>> {
    let mut prepared: Vec<(Prepared, PathBuf)> = Vec::new();
    for name in names {
        let task = named(name)?;
        if prepared.iter().any(|(other, _)| other.task().card().name == name) {
            return Err(Error::usage("--task", "each task once", format!("{name} twice"), ""));
        }
        let file = if data.is_dir() { file_of(task, data)? } else { data.to_path_buf() };
        prepared.push((Prepared::new(task, &load_examples(&file)?, asking)?, file));
    }
    Ok(prepared)
}

/// The file of a task in a folder: the one whose name up to its first dot is the task's, or one under which the data is
/// known.
fn file_of(task: &dyn Task, folder: &Path) -> Result<PathBuf> {
    let Card { name, files, .. } = task.card();
    let failed = |error| Error::io(folder.display(), "list", error);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let stem = file.split('.').next().unwrap_or_default();
        if path.is_file() && (stem == name || files.contains(&stem)) {
            found.push(path);
        }
    }
    found.sort();
    match &found[..] {
        [file] => Ok(file.clone()),
        _ => {
            let names: Vec<String> =
                [name].iter().chain(files).map(|name| format!("{name}.jsonl, .json, .csv or .tsv")).collect();
            let expected = format!("one file for {name}: {} (or .gz)", names.join("; "));
            let files: Vec<String> = found.iter().map(|path| path.display().to_string()).collect();
            let found = match files.is_empty() {
                true => format!("none in {}", folder.display()),
                false => files.join(" and "),
            };
            Err(Error::usage("--data", expected, found, "or name the file itself: --data FILE"))
        }
    }
}

/// The results, in lines.
fn table(names: &[&str], results: &Results) -> Vec<String> {
    let titles =
        ["task", "documents", "shots", "measure", "value, 95 % interval", "standard error", "chance"];
    let mut rows = Vec::new();
    for name in names {
        let Value::Object(measures) = results.of("intervals", name) else { continue };
        let number = |value: &Value| text(value.as_f64(), 4);
        for (measure, interval) in measures {
            let figures = results.of("results", name);
            let value = number(&figures[format!("{measure},none")]);
            rows.push(vec![
                name.to_string(),
                results.of("n-samples", name)["effective"].to_string(),
                results.of("n-shot", name).to_string(),
                measure.clone(),
                format!("{value} [{}, {}]", number(&interval["low"]), number(&interval["high"])),
                number(&figures[format!("{measure}_stderr,none")]),
                number(&interval["chance"]),
            ]);
        }
    }
    columns(&titles, &rows)
}
