//! The driver of all stages: begin, resume, step, record, save, finish, once. A stage is its steps ([`super::stage`]).

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime};

use super::directory::RunDirectory;
use super::fingerprints::Fingerprints;
use super::first::{on_first, same_on_all};
use super::hints;
use super::metrics::{Metrics, Value};
use super::progress::Progress;
use super::recent_losses::RecentLosses;
use super::stage::{Finished, Saved, Stage, StageId, Step};
use super::watch::{Watch, check_stop};
use crate::checkpoint::{save_model_directory, write_atomic};
use crate::engine::{Engine, check_devices};
use crate::error::{Error, Result};
use crate::model::Network;
use crate::ranks::{Alone, Ranks, Traffic};
use crate::settings::{Section, Settings};
use crate::text::Tokenizer;

/// A run in progress.
pub struct Run<'a> {
    /// The configuration.
    pub settings: &'a Settings,
    /// Where it works.
    pub directory: RunDirectory,
    /// Who is told.
    pub progress: &'a mut dyn Progress,
    /// Open from the first stage's beginning on.
    metrics: Option<Metrics>,
    /// The floating-point operations that each stage was planned to take.
    pub planned: Vec<(StageId, f64)>,
    /// What was noted, so that it is said once.
    noted: Vec<String>,
    stop: &'a AtomicBool,
}

/// What the steps of several ranks look at: they stop between two steps, all of them between the same.
static NO_STOP: AtomicBool = AtomicBool::new(false);

impl<'a> Run<'a> {
    /// Opens a run: see [`RunDirectory::open`]. Nothing is written before the first stage begins, so that a run which
    /// fails on its data leaves no run behind. Setting `stop` ends it after the step that is being made.
    ///
    /// # Errors
    /// Those of [`RunDirectory::open`].
    pub fn open(
        settings: &'a Settings,
        path: &Path,
        resume: bool,
        progress: &'a mut dyn Progress,
        stop: &'a AtomicBool,
    ) -> Result<Self> {
        Run::open_among(&Alone, settings, path, resume, progress, stop)
    }

    /// [`Run::open`] by several ranks, which all go through the same stages. The first one owns the directory, and the
    /// others read what it holds. `stop` of any rank ends the run of all.
    ///
    /// # Errors
    /// Those of [`RunDirectory::open_among`].
    pub fn open_among(
        ranks: &'static dyn Ranks,
        settings: &'a Settings,
        path: &Path,
        resume: bool,
        progress: &'a mut dyn Progress,
        stop: &'a AtomicBool,
    ) -> Result<Self> {
        let config = settings.to_toml();
        same_on_all(ranks, "the program", concat!("version ", env!("CARGO_PKG_VERSION")))?;
        same_on_all(ranks, "the configuration", &config)?;
        let directory = RunDirectory::open_among(ranks, path, &config, resume)?;
        if resume && directory.is_new {
            progress.note(&format!("{}: no run to go on with, so this is its beginning", path.display()));
        }
        Ok(Run { settings, directory, progress, metrics: None, planned: Vec::new(), noted: Vec::new(), stop })
    }

    /// Says a sentence, the first time that it comes up.
    pub fn note(&mut self, text: &str) {
        if !self.noted.iter().any(|noted| noted == text) {
            self.progress.note(text);
            self.noted.push(text.to_string());
        }
    }

    /// Compares what the run is to read with what it began with; of a new run that becomes the record. `needed` says
    /// of a model directory whether a stage to come reads it.
    ///
    /// # Errors
    /// Those of [`Fingerprints::go_on_with`]; [`Error::Usage`] if the ranks do not read the same.
    pub fn take_inputs(&mut self, found: Fingerprints, needed: impl Fn(&str) -> bool) -> Result<()> {
        same_on_all(self.ranks(), "an input", &found.to_string())?;
        let completed = &mut self.directory.completed;
        let (begun, this) = (!completed.stages.is_empty(), env!("CARGO_PKG_VERSION"));
        if !begun {
            completed.version = this.to_string();
        }
        let version = completed.version.clone();
        let known = completed.inputs.is_some();
        match &mut completed.inputs {
            Some(record) => record.go_on_with(&found, needed)?,
            record => *record = Some(found),
        }
        if begun && !known {
            self.note(
                "this run kept no fingerprints so far: whether its inputs have changed since is not known",
            );
        }
        if version != this {
            let other = if version.is_empty() { "an earlier version" } else { &version };
            self.note(&format!(
                "this run was begun by {other} of the program, and this is {this}: bits may differ"
            ));
        }
        Ok(())
    }

    /// Whether a stage was completed earlier.
    pub fn is_done(&self, stage: StageId) -> bool {
        self.directory.completed.has(stage)
    }

    /// Whether no stage was completed after this one.
    pub fn is_last_done(&self, stage: StageId) -> bool {
        self.directory.completed.has_last(stage)
    }

    /// Who make it.
    pub fn ranks(&self) -> &'static dyn Ranks {
        self.directory.ranks
    }

    /// Stops the run if the user asked to.
    ///
    /// # Errors
    /// [`Error::Interrupted`].
    pub fn check_stop(&self) -> Result<()> {
        check_stop(self.is_to_stop())
    }

    /// Whether the user asked one of the ranks to stop.
    fn is_to_stop(&self) -> bool {
        self.ranks().any(self.stop.load(Ordering::Relaxed))
    }

    /// Drives a stage from its beginning, or from where it was interrupted, to its end; returns its network, if it
    /// makes one. `tokenizer` goes into the network's directory.
    ///
    /// # Errors
    /// The stage's own; [`Error::Interrupted`] once the state is saved; [`Error::Usage`] if another stage was
    /// interrupted; [`Error::Io`], [`Error::Format`].
    pub fn drive<S: Stage>(
        &mut self,
        id: StageId,
        tokenizer: &Tokenizer,
        mut stage: S,
    ) -> Result<Option<Network<S::Engine>>> {
        let (name, total) = (id.name(), stage.steps());
        self.progress.stage(name, total);
        let (started, before, mut tokens) = (Instant::now(), self.ranks().traffic(), 0);
        let (mut first, mut losses) = (0, RecentLosses::default());
        if let Some(mut saved) = self.resume(name)? {
            losses = self.recall(&saved)?;
            self.note(&format!("{name}: going on after step {}", saved.step));
            stage.restore(&mut saved)?;
            first = saved.step;
        }
        for step in first..total {
            let (done, limits) = (step + 1, &self.settings.limits);
            let stop = if self.ranks().size() == 1 { self.stop } else { &NO_STOP };
            let mut watch = Watch { stage: name, step: done, limits, losses: &mut losses, stop };
            let step = stage.step(step, &mut watch);
            // A number that is not finite may be a device's fault: that is said then.
            check_devices()?;
            let Step { fields, line, tokens: more } = step?;
            tokens += more as u64;
            if !fields.is_empty() && self.ranks().is_first() {
                self.metrics().record(name, done, &fields)?;
            }
            self.progress.step(done, &line);
            let stop = self.is_to_stop();
            if self.ranks().is_first() {
                self.save_if_due(name, done, &stage, &losses, stop)?;
            }
            check_stop(stop)?;
        }
        let mut finished = stage.finish()?;
        let network = finished.network.take();
        let seconds = started.elapsed().as_secs_f64();
        let messages = messages_since(self.ranks(), &before, seconds);
        on_first(self.ranks(), || {
            self.finish(id, tokenizer, finished, network.as_ref())?;
            self.log_time(id, seconds, tokens, messages)
        })?;
        self.directory.follow();
        self.progress.finish();
        Ok(network)
    }

    /// The state to go on from, if this stage was interrupted. `metrics.jsonl` is cut back to where it stood then;
    /// what is behind it will be written again.
    fn resume(&mut self, stage: &str) -> Result<Option<Saved>> {
        let ranks = self.ranks();
        let begun = on_first(ranks, || self.begin(stage))?;
        // The others read the same state, and say nothing of it.
        let saved = match begun {
            Some(saved) => saved,
            None => self.directory.load_state(stage)?.map(|(saved, _)| saved),
        };
        let step = saved.as_ref().map_or(0, |saved| saved.step);
        let expected = ranks.broadcast(vec![step as u32])[0];
        if step as u32 == expected {
            return Ok(saved);
        }
        let (path, rank) = (self.directory.path.display(), ranks.rank());
        let (expected, found) =
            (format!("a state of {stage} after {expected} steps"), format!("one after {step}"));
        Err(Error::format(
            path,
            "",
            expected,
            found,
            format!("rank {rank} sees another directory than rank 0"),
        ))
    }

    /// The first rank's part of it.
    fn begin(&mut self, stage: &str) -> Result<Option<Saved>> {
        self.directory.check_unfinished(stage)?;
        if self.metrics.is_none() {
            self.directory.begin(&self.settings.to_toml())?;
            self.metrics = Some(Metrics::append(&self.directory.path.join("metrics.jsonl"))?);
        }
        let Some((saved, warnings)) = self.directory.load_state(stage)? else {
            let position = self.directory.completed.metrics.clone();
            self.metrics().truncate_to(&position)?;
            return Ok(None);
        };
        warnings.iter().for_each(|warning| self.note(warning));
        Ok(Some(saved))
    }

    /// Puts back what the driver itself keeps in a stage's state.
    fn recall(&mut self, saved: &Saved) -> Result<RecentLosses> {
        let strings = &saved.state.strings;
        let before = strings.get("inputs").and_then(|text| serde_json::from_str::<Fingerprints>(text).ok());
        if let (Some(mut before), Some(now)) = (before, &self.directory.completed.inputs) {
            // For a state beside a `run.json` that was lost.
            before.go_on_with(now, |_| false)?;
        }
        let position = strings.get("metrics").and_then(|text| serde_json::from_str(text).ok());
        let losses = strings.get("recent_losses").and_then(|text| serde_json::from_str(text).ok());
        let (Some(position), Some(losses)) = (position, losses) else {
            let expected = "\"metrics\" and \"recent_losses\"";
            return Err(Error::format(&saved.origin, "metadata", expected, "none", ""));
        };
        if self.ranks().is_first() {
            self.metrics().truncate_to(&position)?;
        }
        Ok(losses)
    }

    /// Saves the state where one is due, or the user has asked to stop.
    fn save_if_due(
        &mut self,
        name: &str,
        done: u64,
        stage: &impl Stage,
        losses: &RecentLosses,
        stop: bool,
    ) -> Result<()> {
        let every = self.settings.checkpoint_every;
        let due = every > 0 && done.is_multiple_of(every) && done < stage.steps();
        if !due && !stop {
            return Ok(());
        }
        let Some(mut state) = stage.state() else { return Ok(()) };
        check_devices()?;
        self.directory.check_present()?;
        let position = self.metrics().synced_position()?;
        state.strings.push(("metrics", serde_json::to_string(&position).expect("plain data")));
        if let Some(inputs) = &self.directory.completed.inputs {
            state.strings.push(("inputs", serde_json::to_string(inputs).expect("plain data")));
        }
        state.strings.push(("recent_losses", serde_json::to_string(losses).expect("finite numbers")));
        self.directory.save_state(name, done, &state)
    }

    /// Writes what a stage leaves, and counts it as done.
    fn finish<E: Engine>(
        &mut self,
        id: StageId,
        tokenizer: &Tokenizer,
        finished: Finished<E>,
        network: Option<&Network<E>>,
    ) -> Result<()> {
        let Finished { mut results, mut notes, files, report, .. } = finished;
        check_devices()?;
        self.directory.check_present()?;
        if let (Some(network), Some(name)) = (network, id.directory()) {
            let path = self.directory.path.join(name);
            save_model_directory(&path, network, Some(tokenizer), &[("stage", id.trainer().name())])?;
        }
        for (name, text) in &files {
            write_atomic(&self.directory.path.join(name), |file| file.write_all(text.as_bytes()))?;
        }
        notes.extend(self.unmoved(id)?);
        notes.iter().for_each(|note| self.note(&format!("{}: {note}", id.name())));
        if !notes.is_empty() {
            results["notes"] = notes.into();
        }
        let mut all = self.directory.completed.results.clone();
        all.insert(id.name().to_string(), results);
        all.extend(report);
        let position = self.metrics().synced_position()?;
        self.directory.check_present()?;
        self.directory.complete(id.name(), all, position)
    }

    /// What the stage's measures say of it, if they did not move the right way.
    fn unmoved(&mut self, id: StageId) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for (measure, wanted) in [("loss", hints::Wanted::Less), ("reward", hints::Wanted::More)] {
            let values = self.metrics().values(id.name(), measure)?;
            found.extend(hints::unmoved(measure, &values, wanted));
        }
        Ok(found)
    }

    /// What the clock says of a stage, and of several ranks what their messages took.
    fn log_time(
        &self,
        stage: StageId,
        seconds: f64,
        tokens: u64,
        messages: Vec<(&str, Value)>,
    ) -> Result<()> {
        let planned = self.planned.iter().find(|(id, _)| *id == stage).map_or(0.0, |(_, flops)| *flops);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let mut timings = Metrics::append(&self.directory.path.join("timings.jsonl"))?;
        let mut fields = vec![
            ("seconds", Value::F64(seconds)),
            ("tokens", Value::Count(tokens)),
            ("tokens_per_second", Value::F64(tokens as f64 / seconds.max(1e-9))),
            ("threads", Value::Count(crate::num::par::threads() as u64)),
            ("device", Value::Text(self.settings.device.to_string())),
            ("planned_flops", Value::F64(planned)),
            ("ended", Value::Count(now.map_or(0, |since| since.as_secs()))),
        ];
        fields.extend(messages);
        timings.record(stage.name(), 0, &fields)
    }

    fn metrics(&mut self) -> &mut Metrics {
        self.metrics.as_mut().expect("opened when a stage begins")
    }
}

/// How many ranks there are, for which share of so many seconds each of them waited since `before`, and the bytes that
/// all were sent. All must call it.
fn messages_since(ranks: &dyn Ranks, before: &Traffic, seconds: f64) -> Vec<(&'static str, Value)> {
    if ranks.size() == 1 {
        return Vec::new();
    }
    let Traffic { waited, received } = ranks.traffic();
    let (waited, received) = ((waited - before.waited) / seconds.max(1e-9), received - before.received);
    let mine = vec![(waited as f32).to_bits(), received as u32, (received >> 32) as u32];
    let all = ranks.gather(mine);
    let waited = all.iter().map(|words| f64::from(f32::from_bits(words[0]))).collect();
    let received = all.iter().map(|words| u64::from(words[2]) << 32 | u64::from(words[1])).sum();
    vec![
        ("ranks", Value::Count(all.len() as u64)),
        ("waited", Value::List(waited)),
        ("sent_bytes", Value::Count(received)),
    ]
}
