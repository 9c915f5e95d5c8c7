//! The command `evaluate`: public benchmarks, asked of a model; results in the form of lm-evaluation-harness into a
//! directory, and a table.

use std::fs;

use serde_json::Value;

use super::args::EvaluateArgs;
use super::inference::{load, required_tokenizer};
use super::jsonl::Output;
use super::progress::on_stderr;
use super::tables::columns;
use crate::checkpoint::{RunLock, remove_temporaries};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::eval::run_tasks::Asking;
use crate::eval::task_files::prepare;
use crate::eval::task_results::Results;
use crate::eval::tasks::{Card, TASKS};
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
        style: args.style,
        shots: args.shots,
        seed: args.seed,
        limit: args.limit,
        instruction: args.instruction,
    };
    let prepared = prepare(&args.task, std::slice::from_ref(data), asking)?;
    let scorer = args.scorer.as_deref();
    if let (Some(command), true) = (scorer, prepared.iter().all(|(task, _)| !task.task().wants_verdict())) {
        let hint = "realtoxicityprompts wants one";
        return Err(Error::usage("--scorer", "a task that is judged by a command", command, hint));
    }
    let network = load(model, Head::LanguageModel, args.precision, engine)?;
    let tokenizer = required_tokenizer(model)?;
    fs::create_dir_all(out).map_err(|error| Error::io(out.display(), "create", error))?;
    let _lock = RunLock::acquire(out)?;
    remove_temporaries(out, false)?;
    let mut results = Results::open(out, model, network.config.precision.name(), asking)?;
    let mut progress = on_stderr();
    for (task, file) in &prepared {
        let name = task.task().card().name;
        let scorer = scorer.filter(|_| task.task().wants_verdict());
        if results.has(name, file, scorer)? {
            progress.note(&format!("{name}: complete already"));
            continue;
        }
        let outcome = task.ask(&network, &tokenizer, scorer, PASS, progress.as_mut(), &|| Ok(()))?;
        results.add(name, file, scorer, &outcome)?;
    }
    drop(progress);
    let names: Vec<&str> = prepared.iter().map(|(task, _)| task.task().card().name).collect();
    let mut output = Output::stdout();
    for line in table(&names, &results) {
        output.text(&line)?;
    }
    for (task, _) in prepared.iter().filter(|(task, _)| task.task().wants_verdict() && scorer.is_none()) {
        let name = task.task().card().name;
        say(format_args!(
            "note: {name}: the continuations are written but not judged; --scorer CMD names a judge"
        ));
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
