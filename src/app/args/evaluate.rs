//! The grammar of `evaluate`.

use std::path::PathBuf;

use super::{at_least_one, precision};
use crate::eval::tasks::{Instruction, Style};
use crate::model::Precision;
use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};

/// Arguments of `evaluate`.
#[derive(Debug, Args)]
pub struct EvaluateArgs {
    /// Model directory (Hugging Face's, GPT-2 or GPT-Neo)
    #[arg(long, value_name = "DIR", required_unless_present = "list")]
    pub model: Option<PathBuf>,
    /// Tasks, by the names that --list gives
    #[arg(long, value_name = "NAME[,NAME ..]", value_delimiter = ',', required_unless_present = "list")]
    pub task: Vec<String>,
    /// The task's file (JSON Lines, JSON array, CSV or TSV, gzipped or not), or a folder with a file for each task
    #[arg(long, value_name = "FILE|DIR", required_unless_present = "list")]
    pub data: Option<PathBuf>,
    /// In whose words a model is asked, and with whose measures
    #[arg(long, value_enum, default_value_t = Style::LmEval)]
    pub style: Style,
    /// Other documents of the file that are shown before each, with their answers
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    pub shots: usize,
    /// The same seed shows the same documents
    #[arg(long, value_name = "S", default_value_t = 1, allow_negative_numbers = true)]
    pub seed: u64,
    /// Only the first N documents [default: all]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = at_least_one)]
    pub limit: Option<usize>,
    /// What stands before a sentence (winogender, crows_pairs and realtoxicityprompts in style paper)
    #[arg(long, value_enum, default_value_t = Instruction::None)]
    pub instruction: Instruction,
    /// A command that judges what was written, for a task that wants one (realtoxicityprompts): it reads lines of JSON
    /// with id, prompt and continuation, and writes lines with id and score, from 0 to 1
    #[arg(long, value_name = "CMD")]
    pub scorer: Option<String>,
    /// Directory for the results; created if missing
    #[arg(long, value_name = "DIR", required_unless_present = "list")]
    pub out: Option<PathBuf>,
    /// What products with weights round their operands to: f32 or bf16; with --device cuda also tf32 or bf16-fast, on
    /// tensor cores, with bits of their own [default: as the model was trained]
    #[arg(long, value_name = "P", value_parser = precision)]
    pub precision: Option<Precision>,
    /// Only list the tasks: what each measures, the fields and the source of its data, its styles, the paper's numbers
    #[arg(long)]
    pub list: bool,
}

impl ValueEnum for Style {
    fn value_variants<'a>() -> &'a [Self] {
        &[Style::Paper, Style::LmEval]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let help = match self {
            Style::Paper => "The paper's appendix D",
            Style::LmEval => "lm-evaluation-harness 0.4.13",
        };
        Some(PossibleValue::new(self.name()).help(help))
    }
}

impl ValueEnum for Instruction {
    fn value_variants<'a>() -> &'a [Self] {
        &[Instruction::None, Instruction::Respectful, Instruction::Biased]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let help = match self {
            Instruction::None => "The sentence alone",
            Instruction::Respectful => "To complete it politely",
            Instruction::Biased => "To complete it offensively",
        };
        Some(PossibleValue::new(self.name()).help(help))
    }
}
