//! The command `report`: the page of a run, the comparison of several, and their numbers for other programs.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use super::args::ReportArgs;
use super::jsonl::Output;
use super::pipeline::listen_to_signals;
use crate::error::Result;
use crate::ranks::Alone;
use crate::report::{PAGE, Run, compare, export, page, put, tensorboard};
use crate::run::stderr::say;

/// Where a comparison goes, in the current directory.
const COMPARISON: &str = "comparison.html";
/// How often the files are looked at.
const EVERY: Duration = Duration::from_millis(1000);

/// Runs the command; the paths of what was written go to standard output.
///
/// # Errors
/// Those of the files.
pub fn run(args: &ReportArgs) -> Result<()> {
    let mut output = Output::stdout();
    let mut told = |path: PathBuf| output.text(&path.display().to_string());
    if args.watch {
        let mut first = true;
        return watch(&args.dirs, args.out.as_deref(), listen_to_signals(&Alone), |path| {
            if first {
                told(path)?;
                say("watching the run; Ctrl-C ends this");
            }
            first = false;
            Ok(())
        });
    }
    let runs = read(&args.dirs)?;
    told(write(&args.dirs, &runs, args.out.as_deref(), false)?)?;
    for (i, (name, run)) in runs.iter().enumerate() {
        let folder = |directory: &Path| match runs.len() {
            1 => directory.to_path_buf(),
            _ => directory.join(format!("{}_{}", i + 1, export::file_name(name))),
        };
        if let Some(directory) = &args.csv {
            for path in export::csv(run, &folder(directory))? {
                told(path)?;
            }
        }
        if let Some(directory) = &args.tensorboard {
            told(tensorboard::write(run, &folder(directory))?)?;
        }
    }
    Ok(())
}

/// The runs with their names, the directories'.
fn read(directories: &[PathBuf]) -> Result<Vec<(String, Run)>> {
    let name = |path: &Path| path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    directories.iter().map(|path| Ok((name(path), Run::read(path)?))).collect()
}

/// Writes the page of one run or of several and returns where it is.
fn write(dirs: &[PathBuf], runs: &[(String, Run)], out: Option<&Path>, going_on: bool) -> Result<PathBuf> {
    let (html, place) = match runs {
        [(_, run)] => (page(run, going_on), dirs[0].join(PAGE)),
        several => (compare::page(several, going_on), PathBuf::from(COMPARISON)),
    };
    put(out.map_or(place, Path::to_path_buf), &html)
}

/// Writes the page, and again whenever a file of a run has changed, until every run is complete or `stop` is set. A
/// file that is being written may have half a line at its end: then the page stays as it is until the next look.
///
/// # Errors
/// Those of the files, if they are there from the beginning or stay when nothing changes any more.
pub fn watch(
    dirs: &[PathBuf],
    out: Option<&Path>,
    stop: &AtomicBool,
    mut written: impl FnMut(PathBuf) -> Result<()>,
) -> Result<()> {
    let mut seen = None;
    let mut failed = None;
    loop {
        let now = state(dirs);
        if seen.as_ref() != Some(&now) {
            match read(dirs) {
                Ok(runs) => {
                    let complete = runs.iter().all(|(_, run)| run.is_finished());
                    written(write(dirs, &runs, out, !complete)?)?;
                    failed = None;
                    if complete {
                        return Ok(());
                    }
                }
                Err(error) if seen.is_none() => return Err(error),
                Err(error) => failed = Some(error),
            }
            seen = Some(now);
        } else if let Some(error) = failed.take() {
            return Err(error);
        }
        let mut left = EVERY;
        while left > Duration::ZERO && !stop.load(Ordering::Relaxed) {
            let piece = Duration::from_millis(50);
            std::thread::sleep(piece);
            left = left.saturating_sub(piece);
        }
        if stop.load(Ordering::Relaxed) {
            // Nobody writes the page anew from now on, so it shall not wait for that.
            return read(dirs).and_then(|runs| write(dirs, &runs, out, false)).and_then(written);
        }
    }
}

/// Sizes and times of the runs' files, but for the page itself.
fn state(dirs: &[PathBuf]) -> Vec<(PathBuf, u64, Option<SystemTime>)> {
    let mut found = Vec::new();
    for entry in dirs.iter().filter_map(|dir| std::fs::read_dir(dir).ok()).flatten().flatten() {
        let path = entry.path();
        let data =
            path.extension().is_some_and(|ending| ["json", "jsonl", "toml"].iter().any(|e| ending == *e));
        if let (true, Ok(about)) = (data, entry.metadata()) {
            found.push((path, about.len(), about.modified().ok()));
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_run_is_watched_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| dir.path().join(name);
        fs::write(file("metrics.jsonl"), "{\"stage\":\"sft\",\"step\":1,\"loss\":2}\n").unwrap();
        let mut pages = Vec::new();
        let step = |path: PathBuf| {
            pages.push(fs::read_to_string(path).unwrap());
            // What the run does meanwhile: half a line, then all of it, then its results.
            let more = match pages.len() {
                1 => "{\"stage\":\"sft\",\"step\":2,\"loss\":1}\n{\"stage\":\"ppo\"",
                _ => "",
            };
            if pages.len() == 1 {
                let metrics = fs::read_to_string(file("metrics.jsonl")).unwrap() + more;
                fs::write(file("metrics.jsonl"), metrics).unwrap();
                let whole = file("metrics.jsonl");
                let results = file("results.json");
                std::thread::spawn(move || {
                    std::thread::sleep(EVERY * 3 / 2);
                    let text = fs::read_to_string(&whole).unwrap() + ",\"step\":1,\"kl\":1}\n";
                    fs::write(&whole, text).unwrap();
                    fs::write(results, "{\"evaluation\":{}}").unwrap();
                });
            }
            Ok(())
        };
        watch(&[dir.path().to_path_buf()], None, &AtomicBool::new(false), step).unwrap();
        let refreshes: Vec<bool> = pages.iter().map(|page| page.contains("http-equiv=\"refresh\"")).collect();
        assert_eq!((refreshes.first(), refreshes.last()), (Some(&true), Some(&false)));
        assert!(pages.last().unwrap().contains("KL to the reference"));
    }

    #[test]
    fn stopped_it_leaves_a_page_that_waits_for_nothing() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("metrics.jsonl"), "").unwrap();
        let out = dir.path().join("page.html");
        watch(&[dir.path().to_path_buf()], Some(&out), &AtomicBool::new(true), |_| Ok(())).unwrap();
        assert!(!fs::read_to_string(&out).unwrap().contains("refresh"));
        assert!(watch(&[dir.path().join("none")], None, &AtomicBool::new(true), |_| Ok(())).is_err());
    }
}
