//! Whole runs of `configs/tiny.toml` in temporary directories, and their comparison byte by byte.

#![allow(dead_code, reason = "each test uses its part")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use instructgpt::app::{config, pipeline};
use instructgpt::error::Result;
use instructgpt::num::par::with_threads;
use instructgpt::report;
use instructgpt::run::progress::{Progress, Silent};
use instructgpt::settings::Settings;

/// The files that quote the configuration, and so differ where only it does.
pub const QUOTING: [&str; 2] = ["config.toml", "report.html"];

/// The tiny configuration's file.
pub fn config_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/tiny.toml")
}

/// The tiny configuration with changes, as in `--set`.
pub fn tiny(changes: &[&str]) -> Settings {
    let changes: Vec<String> = changes.iter().map(|change| change.to_string()).collect();
    config::load(&config_file(), &changes).unwrap()
}

/// Runs (or goes on with) all stages in `out`.
pub fn go(settings: &Settings, out: &Path, progress: &mut dyn Progress, stop: &AtomicBool) -> Result<()> {
    let resume = out.join("config.toml").exists();
    pipeline::stages(settings, Path::new("."), out, resume, None, progress, stop).map(drop)
}

/// A whole run on that many threads; its files.
pub fn whole_run(settings: &Settings, threads: usize) -> Files {
    let out = tempfile::tempdir().unwrap();
    with_threads(threads, || go(settings, out.path(), &mut Silent, &AtomicBool::new(false))).unwrap();
    files(out.path())
}

/// Contents by path.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Every file of a run directory that must repeat: all but the clock's and the lock. Of the report, all but what it
/// says of the clock.
pub fn files(run: &Path) -> Files {
    let mut found = Files::new();
    let mut open = vec![run.to_path_buf()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(run).unwrap().display().to_string();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    if let Some(page) = found.get_mut("report.html") {
        let mut read = report::Run::read(run).unwrap();
        assert!(*page == report::page(&read, false).into_bytes(), "the report is not that of the files");
        read.timings.clear();
        *page = report::page(&read, false).into_bytes();
    }
    found.remove("timings.jsonl");
    found.remove("run.lock");
    found
}

/// Asserts that two runs left the same files with the same bytes, but for the names in `except`.
pub fn assert_same(found: &Files, expected: &Files, except: &[&str], what: &str) {
    let names = |files: &Files| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(found), names(expected), "{what}: the files that are there");
    for (name, bytes) in found {
        if except.contains(&name.as_str()) || *bytes == expected[name] {
            continue;
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (found, expected) = (text(bytes), text(&expected[name]));
        let line = found.lines().zip(expected.lines()).position(|(a, b)| a != b).unwrap_or(0);
        let cut =
            |text: &str| text.lines().nth(line).unwrap_or_default().chars().take(400).collect::<String>();
        panic!("{what}: {name} differs in line {}:\n  {}\n  {}", line + 1, cut(&found), cut(&expected));
    }
}

/// Asks the run to stop after some steps.
pub struct StopAfter<'a> {
    /// Steps left, over all stages.
    pub steps: usize,
    /// What the run looks at.
    pub stop: &'a AtomicBool,
    /// `stage step` of the steps seen.
    pub seen: Vec<String>,
    stage: String,
}

impl<'a> StopAfter<'a> {
    /// Stops after `steps` steps.
    pub fn new(steps: usize, stop: &'a AtomicBool) -> Self {
        StopAfter { steps, stop, seen: Vec::new(), stage: String::new() }
    }
}

impl Progress for StopAfter<'_> {
    fn stage(&mut self, name: &str, _: u64) {
        self.stage = name.to_string();
    }
    fn step(&mut self, step: u64, _: &str) {
        self.seen.push(format!("{} {step}", self.stage));
        self.steps = self.steps.saturating_sub(1);
        if self.steps == 0 {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
    fn note(&mut self, _: &str) {}
    fn finish(&mut self) {}
}
