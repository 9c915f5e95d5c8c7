//! The command `run`: the recipe in a run directory, with progress, Ctrl-C and the report.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::args::RunArgs;
use super::progress::on_stderr;
use super::{config, jsonl, ranks, tables};
use crate::engine::Device;
use crate::engine::device::on_device;
use crate::error::Result;
use crate::ranks::{Alone, Ranks};
use crate::recipe::{self, Recipe};
use crate::run::completed::Completed;
use crate::run::first::on_first;
use crate::run::progress::{Progress, Silent};
use crate::run::stderr::say;
use crate::run::{Run, StageId};
use crate::settings::Settings;
use crate::train::dataset::Dataset;

/// Set by Ctrl-C: the current step is finished and saved.
static STOP: AtomicBool = AtomicBool::new(false);

/// Runs the command `run`; the final tables go to standard error, as the report's path alone is the result.
///
/// # Errors
/// Those of configuration, data and stages.
pub fn run(args: &RunArgs, device: Option<Device>) -> Result<()> {
    // First of all, so that an error is said by one rank.
    let ranks = ranks::of_this_process()?;
    let root = args.given.data_root();
    let mut settings = config::load_with_root(&args.given.config, &args.given.set, &root)?;
    settings.device = device.unwrap_or(settings.device);
    let Some(out) = args.out.as_ref().filter(|_| !args.plan) else {
        return if ranks.is_first() { plan(&settings, &root, args) } else { Ok(()) };
    };
    execute(&settings, &root, out, args.resume, args.stage)?;
    if args.stage.is_none() && ranks.is_first() {
        tables::of_run(out)?.iter().for_each(say);
    }
    Ok(())
}

/// Prints the plan of a run on standard output, and writes nothing.
fn plan(settings: &Settings, root: &Path, args: &RunArgs) -> Result<()> {
    settings.device.check_precision(settings.precision)?;
    if args.stage.is_none() {
        recipe::check_settings(settings)?;
    }
    let goes_on = args.resume || args.stage.is_some();
    let completed = args.out.as_ref().filter(|_| goes_on).map(|out| out.join("run.json"));
    let completed = match completed.filter(|path| path.exists()) {
        Some(path) => Completed::read(&path)?,
        None => Completed::default(),
    };
    let data = Dataset::load(settings, root)?;
    data.notes.iter().for_each(say);
    if args.stage.is_none() {
        recipe::check_data(settings, &data)?;
    }
    settings.ppo.average_note().iter().for_each(say);
    let plan = recipe::plan(settings, root, args.out.as_deref(), &data, &completed, args.stage)?;
    let speed = crate::bench::speed(plan.device, &plan.model)?;
    let mut out = jsonl::Output::stdout();
    for line in super::plan::lines(&plan, &speed) {
        out.text(&line)?;
    }
    Ok(())
}

/// Runs all stages (or one) with progress on standard error, until done or Ctrl-C; prints where the report is.
///
/// # Errors
/// As [`stages`].
pub fn execute(
    settings: &Settings,
    root: &Path,
    out: &Path,
    resume: bool,
    only: Option<StageId>,
) -> Result<()> {
    let ranks = ranks::of_this_process()?;
    let stop = listen_to_signals(ranks);
    let mut progress = if ranks.is_first() { on_stderr() } else { Box::new(Silent) };
    if let Some(report) = stages_among(ranks, settings, root, out, resume, only, progress.as_mut(), stop)? {
        jsonl::Output::stdout().text(&report.display().to_string())?;
    }
    Ok(())
}

/// Runs all stages, then writes the report and returns where it is; or runs one stage. `root` is that of the
/// configuration's relative paths. Setting `stop` ends the run after the step that is being made.
///
/// # Errors
/// Those of data and stages; [`crate::Error::Interrupted`] after `stop`.
pub fn stages(
    settings: &Settings,
    root: &Path,
    out: &Path,
    resume: bool,
    only: Option<StageId>,
    progress: &mut dyn Progress,
    stop: &AtomicBool,
) -> Result<Option<PathBuf>> {
    stages_among(&Alone, settings, root, out, resume, only, progress, stop)
}

/// [`stages`] by several ranks, each of which calls it; the first gets the report.
///
/// # Errors
/// As [`stages`].
pub fn stages_among(
    ranks: &'static dyn Ranks,
    settings: &Settings,
    root: &Path,
    out: &Path,
    resume: bool,
    only: Option<StageId>,
    progress: &mut dyn Progress,
    stop: &AtomicBool,
) -> Result<Option<PathBuf>> {
    settings.device.check_precision(settings.precision)?;
    if only.is_none() {
        recipe::check_settings(settings)?;
    }
    let resume = resume || only.is_some();
    on_device!(settings.device, |engine| {
        let run = Run::open_among(ranks, settings, out, resume, progress, stop)?;
        let mut recipe = Recipe::of(engine, root, run)?;
        match only {
            Some(stage) => recipe.only(stage),
            None => recipe.all(),
        }
    })?;
    match only {
        Some(_) => Ok(None),
        None => on_first(ranks, || crate::report::write(out)),
    }
}

/// What Ctrl-C and SIGTERM set from now on, and with the feature `mpi` SIGUSR1, which Slurm can send before a job's time
/// is over (`--signal=USR1@60`).
pub(super) fn listen_to_signals(ranks: &'static dyn Ranks) -> &'static AtomicBool {
    let stop = || {
        let is_alone = ranks.size() == 1;
        if STOP.swap(true, Ordering::Relaxed) && is_alone {
            // The second time: at once. What is on disk is whole, as every file is renamed into place.
            std::process::exit(130);
        }
        // A launcher passes on what its processes may have been sent already, and ends them itself if it is told twice.
        match (is_alone, ranks.is_first()) {
            (true, _) => say("\nfinishing this step, then saving; once more stops at once"),
            (false, true) => say("\nfinishing this step, then saving"),
            (false, false) => {}
        }
    };
    // A second call in one process (a library user's) finds a handler in place: theirs stands.
    let _ = ctrlc::set_handler(stop);
    #[cfg(all(feature = "mpi", unix))]
    if let Ok(mut signals) = signal_hook::iterator::Signals::new([signal_hook::consts::SIGUSR1]) {
        std::thread::spawn(move || signals.forever().for_each(|_| STOP.store(true, Ordering::Relaxed)));
    }
    &STOP
}
