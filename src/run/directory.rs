//! The run directory: what a stage writes while it works, and what it resumes from.
//!
//! ```text
//! config.toml  metrics.jsonl  results.json  timings.jsonl  samples.jsonl  report.html
//! pretrain/ sft/ reward_model/ rlhf_init/ policy/      model directories
//! state/<stage>/                                       states to resume from, the last two
//! run.json                                             which stages are done, and what they found
//! ```
//! Everything but `timings.jsonl` repeats to the bit.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::completed::Completed;
use super::metrics::{Metrics, Value, write_results};
use super::progress::Progress;
use super::recent_losses::RecentLosses;
use crate::checkpoint::{
    Model, RunLock, State, load_latest_state, read_file, remove_temporaries, save_model_directory,
    save_state, write_atomic,
};
use crate::error::{Error, Result};
use crate::model::Response;
use crate::settings::{Section, Settings};
use crate::text::Tokenizer;
use crate::train::passes::Pass;
use crate::train::rollout::{Frozen, Rollout, respond};

/// The configuration as resolved; a directory that holds it is a run directory.
const CONFIG: &str = "config.toml";
/// What interrupted stages left, by stage.
const STATES: &str = "state";
/// What complete stages left.
const COMPLETED: &str = "run.json";

/// A run in progress.
pub struct Run<'a> {
    /// The configuration.
    pub settings: &'a Settings,
    /// The run directory.
    pub directory: PathBuf,
    /// Who is told.
    pub progress: &'a mut dyn Progress,
    /// What the stages found, by stage; `results.json` at the end of each.
    pub results: serde_json::Map<String, serde_json::Value>,
    /// Open from the first stage's beginning on.
    metrics: Option<Metrics>,
    completed: Completed,
    stop: &'a AtomicBool,
    recent_losses: RecentLosses,
    _lock: RunLock,
}

/// A stage that has done its work: its model, to be saved before [`Run::end`] counts the stage as done.
pub struct Finished {
    /// What was trained.
    pub model: Model,
    /// Name of the stage.
    pub stage: String,
    /// When it began.
    pub clock: StageClock,
    /// Its entry in `results.json`.
    pub results: serde_json::Value,
}

/// A stage that is running.
pub struct StageClock {
    started: Instant,
    tokens: u64,
}

impl StageClock {
    /// Counts tokens for the rate in `timings.jsonl`.
    pub fn count(&mut self, tokens: usize) {
        self.tokens += tokens as u64;
    }
}

impl<'a> Run<'a> {
    /// Opens and locks the run directory, creating it if needed. Without `resume` it must not hold another
    /// run. Nothing else is written before the first stage begins ([`Run::resume`]), so that a run which
    /// fails on its data leaves no run behind.
    ///
    /// # Errors
    /// [`Error::Usage`] if it holds a run and `resume` is not set, or one of another configuration;
    /// [`Error::Io`], also if another process works in it.
    pub fn open(
        settings: &'a Settings,
        directory: &Path,
        resume: bool,
        progress: &'a mut dyn Progress,
        stop: &'a AtomicBool,
    ) -> Result<Self> {
        fs::create_dir_all(directory).map_err(|e| Error::io(directory.display(), "create", e))?;
        let lock = RunLock::acquire(directory)?;
        let [config, states, complete] = [CONFIG, STATES, COMPLETED].map(|name| directory.join(name));
        // Only a run directory is ours from top to bottom.
        remove_temporaries(directory, config.exists())?;
        let mut completed = Completed::default();
        if config.exists() || states.exists() || complete.exists() {
            if !resume {
                return Err(Error::usage(
                    "--out",
                    "a directory without a run",
                    format!("{} with one", directory.display()),
                    "--resume goes on with it; for a fresh run choose another directory",
                ));
            }
            if read_file(&config, 1 << 24)? != settings.to_toml().as_bytes() {
                return Err(Error::usage(
                    "--resume",
                    "the configuration the run was started with",
                    format!("another one than {}", config.display()),
                    "compare the two, or start a fresh run in another directory",
                ));
            }
            if complete.exists() {
                completed = Completed::read(&complete)?;
            }
        } else if resume {
            progress
                .note(&format!("{}: no run to go on with, so this is its beginning", directory.display()));
        }
        let directory = directory.to_path_buf();
        let run = Run {
            settings,
            directory,
            progress,
            results: completed.results.clone(),
            metrics: None,
            completed,
            stop,
            recent_losses: RecentLosses::default(),
            _lock: lock,
        };
        // A kill between a stage's end and the removal of its states leaves them behind.
        run.completed.stages.iter().try_for_each(|stage| run.remove_states(stage))?;
        Ok(run)
    }

    /// Whether a stage was completed earlier.
    pub fn is_done(&self, stage: &str) -> bool {
        self.completed.stages.iter().any(|done| done == stage)
    }

    /// The stage that was completed last.
    pub fn last_done(&self) -> Option<&str> {
        self.completed.stages.last().map(String::as_str)
    }

    /// Begins (or goes on with) a stage of `total` steps.
    pub fn begin(&mut self, stage: &str, total: u64) -> StageClock {
        self.progress.stage(stage, total);
        self.recent_losses = RecentLosses::default();
        StageClock { started: Instant::now(), tokens: 0 }
    }

    /// The state to go on from, if this stage was interrupted: the number of steps done and what was saved.
    /// `metrics.jsonl` is cut back to where it stood then; what is behind it will be written again.
    /// Every stage calls this once before its first step, after [`Run::begin`].
    ///
    /// # Errors
    /// [`Error::Usage`] if another stage was interrupted, [`Error::Io`], [`Error::Format`].
    pub fn resume(&mut self, stage: &str) -> Result<Option<(u64, State)>> {
        self.check_unfinished(stage)?;
        let path = self.directory.join("metrics.jsonl");
        let metrics = match &mut self.metrics {
            Some(metrics) => metrics,
            none => {
                let text = self.settings.to_toml();
                write_atomic(&self.directory.join(CONFIG), |file| file.write_all(text.as_bytes()))?;
                none.insert(Metrics::append(&path)?)
            }
        };
        let states = self.directory.join(STATES).join(stage);
        let Some(loaded) = load_latest_state(&states)? else {
            metrics.truncate_to(&self.completed.metrics)?;
            return Ok(None);
        };
        for warning in &loaded.warnings {
            self.progress.note(warning);
        }
        let strings = &loaded.state.strings;
        let position = strings.get("metrics").and_then(|text| serde_json::from_str(text).ok());
        let losses = strings.get("recent_losses").and_then(|text| serde_json::from_str(text).ok());
        let (Some(position), Some(losses)) = (position, losses) else {
            let expected = "\"metrics\" and \"recent_losses\"";
            return Err(Error::format(states.display(), "metadata", expected, "none", ""));
        };
        metrics.truncate_to(&position)?;
        self.recent_losses = losses;
        self.progress.note(&format!("{stage}: going on after step {}", loaded.step));
        Ok(Some((loaded.step, loaded.state)))
    }

    /// A state says where `metrics.jsonl` stood, so an interrupted stage comes before any other.
    fn check_unfinished(&self, stage: &str) -> Result<()> {
        let Ok(entries) = fs::read_dir(self.directory.join(STATES)) else { return Ok(()) };
        let mut others: Vec<String> = entries
            .filter_map(|entry| entry.ok())
            .filter(|entry| fs::read_dir(entry.path()).is_ok_and(|mut states| states.next().is_some()))
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| name != stage)
            .collect();
        others.sort();
        match others.first() {
            None => Ok(()),
            Some(other) => Err(Error::usage(
                "--stage",
                format!("{other} first, which was interrupted"),
                stage,
                format!("--resume without --stage goes on with it; removing {STATES}/{other} gives it up"),
            )),
        }
    }

    /// Where a stage's states are, for messages.
    pub fn origin(&self, stage: &str) -> String {
        self.state_directory(stage).display().to_string()
    }

    fn state_directory(&self, stage: &str) -> PathBuf {
        self.directory.join(STATES).join(stage)
    }

    /// Called after each step: saves the state where one is due, and stops the run if the user asked to.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Interrupted`] once the state is saved.
    pub fn after_step<'b>(
        &mut self,
        stage: &str,
        step: u64,
        total: u64,
        strings: &[(&str, String)],
        buffers: impl FnOnce() -> Vec<(String, &'b [f32])>,
    ) -> Result<()> {
        let stop = self.stop.load(Ordering::Relaxed);
        let every = self.settings.checkpoint_every;
        let due = every > 0 && step.is_multiple_of(every) && step < total;
        if due || stop {
            self.save(stage, step, strings, &buffers())?;
        }
        self.check_stop()
    }

    /// Stops the run if the user asked to, in parts too short to be worth a state: they start over.
    ///
    /// # Errors
    /// [`Error::Interrupted`].
    pub fn check_stop(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            let hint = "the same command with --resume goes on from there".into();
            return Err(Error::Interrupted { hint });
        }
        Ok(())
    }

    /// Samples a response to each prompt, unless the user asks to stop: then within a token.
    ///
    /// # Errors
    /// [`Error::Interrupted`].
    pub fn respond(&self, model: &Frozen, prompts: &[&[u32]], how: &Rollout) -> Result<Vec<Response>> {
        let go_on = |_| !self.stop.load(Ordering::Relaxed);
        let responses = respond(&model.model, &model.parameters, prompts, how, &go_on);
        self.check_stop()?;
        Ok(responses)
    }

    fn save(
        &mut self,
        stage: &str,
        step: u64,
        strings: &[(&str, String)],
        buffers: &[(String, &[f32])],
    ) -> Result<()> {
        self.check_directory()?;
        let directory = self.state_directory(stage);
        fs::create_dir_all(&directory).map_err(|e| Error::io(directory.display(), "create", e))?;
        let mut all: BTreeMap<String, String> =
            strings.iter().map(|(name, text)| (name.to_string(), text.clone())).collect();
        let position = self.metrics().synced_position()?;
        all.insert("metrics".into(), serde_json::to_string(&position).expect("plain data"));
        all.insert(
            "recent_losses".into(),
            serde_json::to_string(&self.recent_losses).expect("finite numbers"),
        );
        let buffers: Vec<(&str, &[f32])> =
            buffers.iter().map(|(name, buffer)| (name.as_str(), *buffer)).collect();
        save_state(&directory, step, &buffers, &all)
    }

    fn metrics(&mut self) -> &mut Metrics {
        self.metrics.as_mut().expect("a stage calls Run::resume before its first step")
    }

    /// A directory that was removed is not made again: what it held is lost, and half a run is none.
    fn check_directory(&self) -> Result<()> {
        if self.directory.join(CONFIG).exists() {
            return Ok(());
        }
        let reason = format!("{CONFIG} is gone: the directory was removed while the run was going on");
        Err(Error::io(self.directory.display(), "write", reason))
    }

    /// Appends a line to `metrics.jsonl`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn record(&mut self, stage: &str, step: u64, fields: &[(&str, Value)]) -> Result<()> {
        self.metrics().record(stage, step, fields)
    }

    /// Stops the run before an update whose loss is not finite, or has left the bound set for it. `what` tells
    /// the losses of a stage apart; `pass` made it.
    ///
    /// # Errors
    /// [`Error::Numeric`].
    pub fn check_loss(&mut self, stage: &str, step: u64, pass: &Pass, what: &str, loss: f64) -> Result<()> {
        self.recent_losses.add(what, loss, self.settings.limits.loss_spike).map_err(|found| {
            let hint = "nothing of this step was saved: start again with a lower learning rate (finished stages \
                can be given as init_from), or see section limits";
            let what = pass.blame(what).into();
            Error::Numeric { stage: stage.into(), step, what, found, hint: hint.into() }
        })
    }

    /// Ends a training stage: saves its model as `name` in the run directory, then [`Run::end`].
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(&mut self, finished: Finished, name: &str, tokenizer: &Tokenizer) -> Result<Model> {
        let Finished { model, stage, clock, results } = finished;
        self.check_directory()?;
        save_model_directory(&self.directory.join(name), &model, Some(tokenizer), &[("stage", &stage)])?;
        self.end(&stage, clock, results)?;
        Ok(model)
    }

    /// Ends a stage: its results are written, it counts as done, and its states are no longer needed.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn end(&mut self, stage: &str, clock: StageClock, results: serde_json::Value) -> Result<()> {
        self.check_directory()?;
        self.results.insert(stage.to_string(), results);
        write_results(
            &self.directory.join("results.json"),
            &serde_json::Value::Object(self.results.clone()),
        )?;
        self.completed.stages.retain(|done| done != stage);
        self.completed.stages.push(stage.to_string());
        self.completed.metrics = self.metrics().synced_position()?;
        self.completed.results = self.results.clone();
        self.completed.write(&self.directory.join(COMPLETED))?;
        self.remove_states(stage)?;
        self.log_time(stage, &clock)?;
        self.progress.finish();
        Ok(())
    }

    fn remove_states(&self, stage: &str) -> Result<()> {
        let states = self.state_directory(stage);
        if states.exists() {
            fs::remove_dir_all(&states).map_err(|e| Error::io(states.display(), "remove", e))?;
        }
        Ok(())
    }

    fn log_time(&self, stage: &str, clock: &StageClock) -> Result<()> {
        let mut timings = Metrics::append(&self.directory.join("timings.jsonl"))?;
        let seconds = clock.started.elapsed().as_secs_f64();
        let fields = [
            ("seconds", Value::F64(seconds)),
            ("tokens", Value::Count(clock.tokens)),
            ("tokens_per_second", Value::F64(clock.tokens as f64 / seconds.max(1e-9))),
            ("threads", Value::Count(crate::num::par::threads() as u64)),
        ];
        timings.record(stage, 0, &fields)
    }
}
