//! The stage before the last: the models of a run are asked the public benchmarks that the configuration names, and a table
//! says what each stage did to them (the paper's Table 14).
//!
//! What a model did is left in `benchmarks/MODEL` as `instructgpt evaluate` leaves it, byte by byte. So the stage keeps no
//! state: if it is stopped, it goes on after the tasks that are complete.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::run_tasks::{Asking, Prepared};
use super::task_results::Results;
use crate::checkpoint::remove_temporaries;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::model::Network;
use crate::num::statistics::text;
use crate::run::first::on_first;
use crate::run::progress::Silent;
use crate::run::{Finished, Stage, Step, Watch};
use crate::text::Tokenizer;

/// The stage. A step asks one model one task.
pub struct Benchmarks<'a, E: Engine> {
    /// The tasks, each with its file.
    pub tasks: Vec<(Prepared, PathBuf)>,
    /// How they are asked.
    pub asking: Asking,
    /// Who is asked: a name in the table, and the model's directory.
    pub models: Vec<(&'static str, PathBuf)>,
    /// Reads a model's directory.
    pub load: &'a dyn Fn(&Path) -> Result<Network<E>>,
    /// The models' own.
    pub tokenizer: &'a Tokenizer,
    /// Tokens that are read at once.
    pub rows: usize,
    /// Where the results go, a folder for each model.
    pub out: PathBuf,
    /// The network that is being asked; none in the beginning.
    pub network: Option<Network<E>>,
    /// The results of the models so far, on the first rank; none in the beginning.
    pub results: Vec<Results>,
}

impl<E: Engine> Stage for Benchmarks<'_, E> {
    type Engine = E;

    fn steps(&self) -> u64 {
        (self.models.len() * self.tasks.len()) as u64
    }

    fn step(&mut self, step: u64, watch: &mut Watch) -> Result<Step> {
        let (model, number) = (step as usize / self.tasks.len(), step as usize % self.tasks.len());
        if number == 0 {
            self.begin(model)?;
        }
        let (task, file) = &self.tasks[number];
        let name = task.task().card().name;
        let network = self.network.as_ref().expect("a model begins with its first task");
        let (ranks, results) = (network.ranks(), &mut self.results);
        let known = on_first(ranks, || of_model(results).has(name, file, None))?;
        if !ranks.any(known.unwrap_or(false)) {
            let go_on = || watch.check_stop();
            let outcome = task.ask(network, self.tokenizer, None, self.rows, &mut Silent, &go_on)?;
            on_first(ranks, || of_model(results).add(name, file, None, &outcome))?;
        }
        watch.check_stop()?;
        Ok(Step { fields: vec![], line: format!("{} {name}", self.models[model].0), tokens: 0 })
    }

    fn finish(self) -> Result<Finished<E>> {
        let names: Vec<&str> = self.models.iter().map(|(name, _)| *name).collect();
        let (mut figures, mut notes) = (Map::new(), Vec::new());
        for (task, _) in &self.tasks {
            let name = task.task().card().name;
            let mut of_task = Map::new();
            for (model, results) in names.iter().zip(&self.results) {
                add(&mut of_task, model, results, name);
            }
            // All models have one tokenizer and one context, so all lost the same.
            let cut = self.results.first().map(|results| results.of("truncated", name)["requests"].clone());
            if let Some(cut) = cut.filter(|cut| *cut != 0) {
                notes.push(format!(
                    "{name}: prompts too long for the models, which lost their beginnings: {cut}"
                ));
            }
            if of_task.is_empty() {
                notes.push(format!("{name}: written, but not judged, as that takes a command of yours"));
            }
            figures.insert(name.into(), of_task.into());
        }
        let Asking { style, shots, limit, .. } = self.asking;
        let results = json!({ "style": style.name(), "shots": shots, "limit": limit, "models": names,
            "figures": figures });
        Ok(Finished { results, notes, network: None, files: Vec::new(), report: Map::new() })
    }
}

impl<E: Engine> Benchmarks<'_, E> {
    /// Reads a model and what is known of it.
    fn begin(&mut self, model: usize) -> Result<()> {
        let directory = &self.models[model].1;
        let network = (self.load)(directory)?;
        let out = self.out.join(directory.file_name().unwrap_or_default());
        let opened = on_first(network.ranks(), || {
            fs::create_dir_all(&out).map_err(|error| Error::io(out.display(), "create", error))?;
            remove_temporaries(&out, false)?;
            Results::open(&out, directory, network.config.precision.name(), self.asking)
        })?;
        self.results.extend(opened);
        self.network = Some(network);
        Ok(())
    }
}

/// Those of the model that is being asked.
fn of_model(results: &mut [Results]) -> &mut Results {
    results.last_mut().expect("a model begins with its first task")
}

/// Adds a model's figures of a task, by measure.
fn add(of_task: &mut Map<String, Value>, model: &str, results: &Results, task: &str) {
    let Value::Object(intervals) = results.of("intervals", task) else { return };
    for (measure, interval) in intervals {
        let of = of_task
            .entry(measure.clone())
            .or_insert_with(|| json!({ "chance": interval["chance"], "unit": interval["unit"] }));
        let value = &results.of("results", task)[format!("{measure},none")];
        of[model] = json!({ "value": value, "low": interval["low"], "high": interval["high"] });
    }
}

/// The table of what the stage found: a row for each measure of a task, with the chance level and every model's figure.
pub fn table(earlier: &Map<String, Value>) -> Option<Value> {
    let results = earlier.get("benchmarks")?;
    let models: Vec<&str> = results["models"].as_array()?.iter().filter_map(Value::as_str).collect();
    let number = |value: &Value| text(value.as_f64(), 3);
    let mut rows = Vec::new();
    for (task, measures) in results["figures"].as_object()? {
        for (measure, of) in measures.as_object()? {
            let mut row = vec![json!(task), json!(measure), json!(number(&of["chance"]))];
            row.extend(models.iter().map(|model| {
                let figure = &of[*model];
                json!(format!(
                    "{} [{}, {}]",
                    number(&figure["value"]),
                    number(&figure["low"]),
                    number(&figure["high"])
                ))
            }));
            rows.push(json!(row));
        }
    }
    let words =
        if results["style"] == "paper" { "the paper's words" } else { "lm-evaluation-harness's words" };
    let title =
        format!("Public benchmarks (paper, Table 14) in {words}, {} shots, 95 % intervals", results["shots"]);
    let columns: Vec<&str> = ["task", "measure", "chance"].into_iter().chain(models).collect();
    Some(json!({ "title": title, "columns": columns, "rows": rows }))
}
