//! Floor 8: `report.html`, one self-contained page per run directory: charts (inline SVG), tables,
//! samples, the configuration. No scripts, nothing loaded from elsewhere; the same files give the
//! same bytes.
//!
//! Read from the run directory, each left out if missing: `metrics.jsonl` (see [`crate::run::metrics`]), `results.json`
//! (`"notes"`, `"tables"`, what the stages found), `timings.jsonl`, [`samples`], [`episode`], [`figures`], `labels.json`
//! (what the labelers' report says of the data) and `config.toml`.
//!
//! Bottom up: [`record`], [`samples`], [`episode`] and [`figures`] read; [`svg`] and [`html`] write; [`charts`] and
//! `page` put together; [`export`] writes the same numbers for other programs.

mod benchmarks;
pub mod charts;
pub mod compare;
pub mod episode;
pub mod export;
pub mod figures;
mod figures_page;
mod glance;
pub mod html;
pub mod measures;
mod page;
pub mod record;
pub mod samples;
mod scale;
pub mod svg;
pub mod tensorboard;

pub use page::page;

use std::path::{Path, PathBuf};

use crate::checkpoint::write_atomic;
use crate::error::{Error, Result};
use crate::run::metrics::{read_if_present, read_results};
use episode::{Episode, file_of};
use figures::Figures;
use record::{Results, Stage, Timing};
use samples::Sample;

/// The page's file in a run directory.
pub const PAGE: &str = "report.html";

/// The tables of the labelers' report in a run directory, in the form of `results.json`.
pub const LABELS: &str = "labels.json";

/// What a run directory says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Run {
    /// The measures, by stage.
    pub stages: Vec<Stage>,
    /// Notes, tables, what the stages found.
    pub results: Results,
    /// Answers to the same requests.
    pub samples: Vec<Sample>,
    /// An episode of each stage of PPO, by stage.
    pub episodes: Vec<(String, Episode)>,
    /// What the clock said: all of a page that does not repeat to the bit in another run.
    pub timings: Vec<Timing>,
    /// The configuration as it is written.
    pub config: Option<String>,
    /// The same, read.
    pub settings: toml::Table,
    /// What the labelers' report says of the data that it was trained on, if it was put there (`label report --run`).
    pub labels: Vec<record::Table>,
    /// The paper's figures, in the directory of a reproduction.
    pub figures: Option<Figures>,
}

/// What is read of a run directory; one of these makes it one.
const FILES: [&str; 6] =
    ["metrics.jsonl", "results.json", "samples.jsonl", "timings.jsonl", "config.toml", "figures.json"];

impl Run {
    /// Reads a run directory.
    ///
    /// # Errors
    /// [`Error::Format`] naming file and line for a malformed file, [`Error::Io`], and [`Error::Usage`] if `dir` is no
    /// run directory.
    pub fn read(dir: &Path) -> Result<Run> {
        if !FILES.iter().any(|name| dir.join(name).exists()) {
            let expected = format!("a run directory, with any of {}", FILES.join(", "));
            return Err(Error::usage("report", expected, dir.display(), "give the --out directory of a run"));
        }
        let read = |name: &str| -> Result<Option<(String, String)>> {
            let path = dir.join(name);
            Ok(read_if_present(&path)?.map(|text| (text, path.display().to_string())))
        };
        let mut run = Run::default();
        if let Some((text, origin)) = read("metrics.jsonl")? {
            run.stages = record::metrics(&text, &origin)?;
        }
        let results = dir.join("results.json");
        if let Some(json) = read_results(&results)? {
            run.results = record::results(&json, &results.display().to_string())?;
        }
        if let Some((text, origin)) = read("samples.jsonl")? {
            run.samples = samples::samples(&text, &origin)?;
        }
        if let Some((text, origin)) = read("timings.jsonl")? {
            run.timings = record::timings(&text, &origin)?;
        }
        for stage in ["ppo", "ppo_ptx"] {
            if let Some((text, origin)) = read(&file_of(stage))? {
                run.episodes.push((stage.into(), episode::episode(&text, &origin)?));
            }
        }
        if let Some((text, origin)) = read("figures.json")? {
            run.figures = Some(Figures::parse(&text, &origin)?);
        }
        let labels = dir.join(LABELS);
        if let Some(json) = read_results(&labels)? {
            run.labels = record::results(&json, &labels.display().to_string())?.tables;
        }
        if let Some((text, origin)) = read("config.toml")? {
            let wrong = |e: toml::de::Error| Error::format(&origin, "", "TOML", e.message(), "");
            run.settings = text.parse().map_err(wrong)?;
            run.config = Some(text);
        }
        Ok(run)
    }

    /// Whether its last stage is complete.
    pub fn is_finished(&self) -> bool {
        self.results.found.contains_key("evaluation") || self.figures.is_some()
    }
}

/// Writes `report.html` into the run directory and returns its path.
///
/// # Errors
/// Those of [`Run::read`]; an old report is then left as it was.
pub fn write(dir: &Path) -> Result<PathBuf> {
    put(dir.join(PAGE), &render(dir)?)
}

/// Writes a page and returns its path.
///
/// # Errors
/// [`Error::Io`].
pub fn put(path: PathBuf, html: &str) -> Result<PathBuf> {
    write_atomic(&path, |file| file.write_all(html.as_bytes()))?;
    Ok(path)
}

/// The page as a string.
///
/// # Errors
/// As [`write()`].
pub fn render(dir: &Path) -> Result<String> {
    Ok(page(&Run::read(dir)?, false))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::metrics::{Metrics, write_results};

    /// A run directory with everything in it.
    fn run() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let mut metrics = Metrics::append(&dir.path().join("metrics.jsonl")).unwrap();
        for step in 1..=900u64 {
            let x = step as f64 / 900.0;
            metrics.record("pretrain", step, &[("loss", (6.0 - 3.0 * x).into())]).unwrap();
            if step % 100 == 0 {
                metrics.record("pretrain", step, &[("validation_loss", (6.1 - 3.0 * x).into())]).unwrap();
            }
        }
        for step in 1..=60u64 {
            let x = step as f64 / 60.0;
            let wobble = ((step * 7919) % 13) as f64 / 130.0;
            let fields = [
                ("reward", (x * 2.0 - 0.5 + wobble).into()),
                ("kl", (x * 6.0 + wobble).into()),
                ("entropy", (3.0 - x).into()),
                ("response_length", (30.0 + 10.0 * x + 20.0 * wobble).into()),
                ("ended", (0.9 + x / 20.0).into()),
                ("clip_fraction", (0.02 + wobble / 10.0).into()),
                ("value_loss", if step == 3 { f64::NAN.into() } else { (0.4 - 0.3 * x).into() }),
                ("ptx_loss", (3.1 + 0.05 * x).into()),
                ("own_measure", x.into()),
            ];
            metrics.record("ppo", step, &fields).unwrap();
        }
        let results = serde_json::json!({
            "notes": ["Everything <went> well."],
            "tables": [{"title": "Results", "columns": ["model", "win rate"], "rows": [["SFT", 0.5], ["PPO-ptx", "0.62 [0.55, 0.68]"], ["x", null]]}],
        });
        write_results(&dir.path().join("results.json"), &results).unwrap();
        std::fs::write(
            dir.path().join("samples.jsonl"),
            "{\"prompt\":\"Say <b>hi</b>\",\"sft\":\"hi\",\"pretrained\":\"the\",\"ppo\":\"Hi there!\"}\n",
        )
        .unwrap();
        std::fs::write(dir.path().join("config.toml"), "seed = 1\n").unwrap();
        dir
    }

    #[test]
    fn everything_is_there_and_nothing_is_loaded() {
        let dir = run();
        let html = render(dir.path()).unwrap();
        if let Ok(path) = std::env::var("REPORT_PREVIEW") {
            std::fs::write(path, &html).unwrap();
        }
        for part in [
            "Pretraining",
            "PPO",
            "own measure",
            "Everything &lt;went&gt; well.",
            "Say &lt;b&gt;hi&lt;/b&gt;",
            "0.62 [0.55, 0.68]",
            "seed = 1",
            "1 value is not finite",
            "Response length",
            "viewport",
        ] {
            assert!(html.contains(part), "{part} is missing");
        }
        assert!(html.contains("<text"), "charts carry text without a font library");
        for outside in ["<script", " src=", "@import", "url(", "href=\"http"] {
            assert!(!html.contains(outside), "{outside}");
        }
        // Before: the model trained less stands to the left.
        assert!(html.find("<h4>Pretrained<").unwrap() < html.find("<h4>SFT<").unwrap());
        assert_eq!(html.matches("<svg").count(), html.matches("</svg>").count());
    }

    #[test]
    fn the_same_files_give_the_same_bytes() {
        let (a, b) = (run(), run());
        assert_eq!(render(a.path()).unwrap(), render(b.path()).unwrap());
    }

    #[test]
    fn missing_pieces_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let error = render(dir.path()).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        std::fs::write(dir.path().join("metrics.jsonl"), "").unwrap();
        let html = render(dir.path()).unwrap();
        assert!(!html.contains("What the models say") && !html.contains("<svg"));
    }

    #[test]
    fn a_malformed_line_is_named_and_the_old_report_stays() {
        let dir = run();
        let path = write(dir.path()).unwrap();
        let before = std::fs::read(&path).unwrap();
        std::fs::write(dir.path().join("metrics.jsonl"), "{\"stage\":\"sft\",\"step\":1}\n{\"stage\":\n")
            .unwrap();
        let message = write(dir.path()).unwrap_err().to_string();
        assert!(message.contains("metrics.jsonl: line 2"), "{message}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
}
