//! The run directory: who works in it, which of its stages are complete, and where what lies.
//!
//! ```text
//! config.toml  metrics.jsonl  results.json  timings.jsonl  comparisons.jsonl  samples.jsonl  episode_ppo*.jsonl
//! report.html                                          the page of all these
//! pretrain/ sft/ reward_model/ rlhf_init/ policy/      model directories
//! state/<stage>/                                       states to resume from, the last two
//! run.json                                             which stages are done, what they found, what the run reads
//! ```
//! Everything but `timings.jsonl` repeats to the bit, and `report.html` but for what it shows of that.

use std::fs;
use std::path::{Path, PathBuf};

use super::completed::Completed;
use super::first::{on_first, text_of_first};
use super::metrics::{Position, write_results};
use super::stage::{Saved, StageState};
use crate::checkpoint::{
    RunLock, load_latest_state, read_file, remove_temporaries, save_state, write_atomic,
};
use crate::error::{Error, Result};
use crate::ranks::{Alone, Ranks};

/// The configuration as resolved; a directory that holds it is a run directory.
const CONFIG: &str = "config.toml";
/// What interrupted stages left, by stage.
const STATES: &str = "state";
/// What complete stages left.
const COMPLETED: &str = "run.json";

/// A run directory that is ours.
pub struct RunDirectory {
    /// Where it is.
    pub path: PathBuf,
    /// What the stages that are complete have left.
    pub completed: Completed,
    /// Whether it held no run before.
    pub is_new: bool,
    /// Who work in it; only the first of them writes.
    pub ranks: &'static dyn Ranks,
    _lock: Option<RunLock>,
}

impl RunDirectory {
    /// [`RunDirectory::open`] by the first of these ranks; the others know what it knows.
    ///
    /// # Errors
    /// As [`RunDirectory::open`]; [`Error::Elsewhere`].
    pub fn open_among(ranks: &'static dyn Ranks, path: &Path, config: &str, resume: bool) -> Result<Self> {
        let opened = on_first(ranks, || RunDirectory::open(path, config, resume))?;
        let mut directory = opened.unwrap_or_else(|| {
            let (path, completed) = (path.to_path_buf(), Completed::default());
            RunDirectory { path, completed, is_new: false, ranks, _lock: None }
        });
        directory.ranks = ranks;
        directory.is_new = ranks.any(directory.is_new);
        directory.follow();
        Ok(directory)
    }

    /// Takes over from the first rank what is complete.
    pub fn follow(&mut self) {
        if self.ranks.size() == 1 {
            return;
        }
        let completed = serde_json::to_string(&self.completed).expect("plain data");
        let completed = text_of_first(self.ranks, &completed);
        self.completed = serde_json::from_str(&completed).expect("written as it is read");
    }

    /// Opens and locks a directory, creating it if needed. Without `resume` it must not hold a run; with it, one of
    /// the configuration `config` (or none). Nothing is written yet.
    ///
    /// # Errors
    /// [`Error::Usage`] if it holds a run and `resume` is not set, or one of another configuration;
    /// [`Error::Io`], also if another process works in it.
    pub fn open(path: &Path, config: &str, resume: bool) -> Result<Self> {
        fs::create_dir_all(path).map_err(|e| Error::io(path.display(), "create", e))?;
        let lock = RunLock::acquire(path)?;
        let [config_file, states, complete] = [CONFIG, STATES, COMPLETED].map(|name| path.join(name));
        // Only a run directory is ours from top to bottom.
        remove_temporaries(path, config_file.exists())?;
        let is_new = !config_file.exists() && !states.exists() && !complete.exists();
        if !is_new && !resume {
            return Err(Error::usage(
                "--out",
                "a directory without a run",
                format!("{} with one", path.display()),
                "--resume goes on with it; for a fresh run choose another directory",
            ));
        }
        if !is_new && !same_run(&String::from_utf8_lossy(&read_file(&config_file, 1 << 24)?), config) {
            return Err(Error::usage(
                "--resume",
                "the configuration the run was started with",
                format!("another one than {}", config_file.display()),
                "compare the two, or start a fresh run in another directory",
            ));
        }
        let completed = if complete.exists() { Completed::read(&complete)? } else { Completed::default() };
        let (path, lock) = (path.to_path_buf(), Some(lock));
        let directory = RunDirectory { path, completed, is_new, ranks: &Alone, _lock: lock };
        // A kill between a stage's end and the removal of its states leaves them behind.
        directory.completed.stages.iter().try_for_each(|stage| directory.remove_states(stage))?;
        Ok(directory)
    }

    /// Makes it a run directory, with the record of what the run reads: the first things that are written.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn begin(&mut self, config: &str) -> Result<()> {
        write_atomic(&self.path.join(CONFIG), |file| file.write_all(config.as_bytes()))?;
        self.completed.write(&self.path.join(COMPLETED))
    }

    /// A directory that was removed is not made again: what it held is lost, and half a run is none.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn check_present(&self) -> Result<()> {
        if self.path.join(CONFIG).exists() {
            return Ok(());
        }
        let reason = format!("{CONFIG} is gone: the directory was removed while the run was going on");
        Err(Error::io(self.path.display(), "write", reason))
    }

    /// A state says where `metrics.jsonl` stood, so an interrupted stage comes before any other.
    ///
    /// # Errors
    /// [`Error::Usage`] if another than `stage` was interrupted.
    pub fn check_unfinished(&self, stage: &str) -> Result<()> {
        let Ok(entries) = fs::read_dir(self.path.join(STATES)) else { return Ok(()) };
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

    fn states(&self, stage: &str) -> PathBuf {
        self.path.join(STATES).join(stage)
    }

    /// Saves a stage's state after `step` steps.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save_state(&self, stage: &str, step: u64, state: &StageState) -> Result<()> {
        self.check_present()?;
        let directory = self.states(stage);
        fs::create_dir_all(&directory).map_err(|e| Error::io(directory.display(), "create", e))?;
        let buffers: Vec<(&str, &[f32])> =
            state.buffers.iter().map(|(name, buffer)| (name.as_str(), &**buffer)).collect();
        let strings = state.strings.iter().map(|(name, text)| (name.to_string(), text.clone())).collect();
        save_state(&directory, step, &buffers, &strings)
    }

    /// The latest good state of a stage, if it was interrupted, and a sentence for each that was passed over.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Format`].
    pub fn load_state(&self, stage: &str) -> Result<Option<(Saved, Vec<String>)>> {
        let directory = self.states(stage);
        let loaded = load_latest_state(&directory)?;
        let origin = directory.display().to_string();
        Ok(loaded.map(|loaded| (Saved { step: loaded.step, state: loaded.state, origin }, loaded.warnings)))
    }

    /// Counts a stage as done: its results, `results`, are written, and its states are no longer needed.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn complete(
        &mut self,
        stage: &str,
        results: serde_json::Map<String, serde_json::Value>,
        metrics: Position,
    ) -> Result<()> {
        write_results(&self.path.join("results.json"), &serde_json::Value::Object(results.clone()))?;
        self.completed.stages.retain(|done| done != stage);
        self.completed.stages.push(stage.to_string());
        self.completed.metrics = metrics;
        self.completed.results = results;
        self.completed.write(&self.path.join(COMPLETED))?;
        self.remove_states(stage)
    }

    fn remove_states(&self, stage: &str) -> Result<()> {
        remove_directory(&self.states(stage))
    }
}

/// Whether two configurations are of one run: what they set is the same, but for the device, which shows in no bit. Their
/// comments are the program's.
pub fn same_run(a: &str, b: &str) -> bool {
    fn keys(text: &str) -> impl Iterator<Item = &str> {
        let says = |line: &&str| !line.is_empty() && !line.starts_with('#') && !line.starts_with("device = ");
        text.lines().filter(says)
    }
    keys(a).eq(keys(b))
}

/// Removes a directory with all it holds, if it is there.
///
/// # Errors
/// [`Error::Io`].
pub fn remove_directory(path: &Path) -> Result<()> {
    if path.exists() {
        fs::remove_dir_all(path).map_err(|e| Error::io(path.display(), "remove", e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::same_run;

    #[test]
    fn comments_and_the_device_make_no_other_run() {
        let run = "# by version 1\nseed = 1\ndevice = \"cpu\"\n\n[model]\nwidth = 8\n";
        assert!(same_run(run, "seed = 1\n[model]\nwidth = 8\n"));
        assert!(same_run(run, "device = \"cuda:1\"\nseed = 1\n\n[model]\n# as wide\nwidth = 8\n"));
        for other in [
            "seed = 2\n[model]\nwidth = 8\n",
            "seed = 1\n[model]\n",
            "seed = 1\n[model]\nwidth = 8\nheads = 1\n",
        ] {
            assert!(!same_run(run, other), "{other}");
        }
    }
}
