//! What every model of a run is asked at its end: the paper's public benchmarks.

use serde::{Deserialize, Serialize};

use super::section::{any, none_or_at_least_one, section};

/// In whose words a benchmark asks a model, and with whose measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Style {
    /// `"paper"`: the paper's appendix D.
    Paper,
    /// `"lm-eval"`: lm-evaluation-harness 0.4.13.
    LmEval,
}

impl Style {
    /// Its name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Style::Paper => "paper",
            Style::LmEval => "lm-eval",
        }
    }
}

section! {
    /// Public benchmarks that every model of the run is asked at its end (the paper's Table 14).
    EvaluationSettings = "evaluation" {
        /// Their names, as `instructgpt evaluate --list` gives them, such as ["rte", "sst2"]. Empty: none, and nothing else of
        /// this section is used. Paper: winogender, crows_pairs, realtoxicityprompts, truthfulqa_gen, drop, quac, squadv2,
        /// hellaswag, rte, sst2, wsc, wmt15-fr-en, cnn_dailymail and tldr (appendix D.2). Tasks that a command judges are
        /// written here, but not judged.
        tasks: Vec<String> = Vec::new(), any;
        /// A folder with a file for each task, or the tasks' files in their order. Relative to `--data`, or to this file's
        /// folder.
        data: Vec<String> = Vec::new(), any;
        /// In whose words: "paper" (appendix D), or "lm-eval" (lm-evaluation-harness 0.4.13).
        style: Style = Style::Paper, any;
        /// Other documents of a task's file that are shown before each, with their answers; `seed` chooses them. Paper: 0,
        /// and from 2 to 15 by task (appendix D.2).
        shots: usize = 0, any;
        /// Only the first so many documents of each file; not set: all.
        limit: Option<usize> = None, none_or_at_least_one;
    }
}
