//! Arguments of `verify`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum};

use crate::fixtures::Level;

/// Arguments of `verify`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["vectors", "command", "template", "write"]))]
pub struct VerifyArgs {
    /// Outputs in a safetensors file, each a tensor named ID/OUTPUT ("F/gae/default/advantages")
    #[arg(long, value_name = "FILE")]
    pub vectors: Option<PathBuf>,
    /// A program that is asked: a case a line in JSON on its standard input, {"id":..,"outputs":{..}} on its standard output
    #[arg(long, value_name = "COMMAND")]
    pub command: Option<String>,
    /// Only the cases of these levels: F (functions), O (operations), M (models), G (gradients), S (steps), I (an iteration
    /// of PPO-ptx), T (tokenizer) [default: all]
    #[arg(long, value_name = "LEVEL[,LEVEL ..]", value_delimiter = ',', value_parser = level)]
    pub level: Vec<Level>,
    /// What passes
    #[arg(long, value_enum, default_value_t = Profile::Tolerance, conflicts_with_all = ["template", "write"])]
    pub profile: Profile,
    /// Say it in JSON
    #[arg(long, conflicts_with_all = ["template", "write"])]
    pub json: bool,
    /// Write JUnit's XML, too, for a CI system's page
    #[arg(long, value_name = "FILE", conflicts_with_all = ["template", "write"])]
    pub junit: Option<PathBuf>,
    /// Print a program in Python to fill in, for --command
    #[arg(long, value_enum)]
    pub template: Option<TemplateArg>,
    /// Write the cases and their files into a folder
    #[arg(long, value_name = "DIR", conflicts_with = "level")]
    pub write: Option<PathBuf>,
}

/// What an output must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// Within the tolerance of the right one
    Tolerance,
    /// This program's own, to the bit of float32, for those who implement its arithmetic; of the cases that it computes
    Bits,
}

/// Whose arrays a template has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TemplateArg {
    /// NumPy's
    Numpy,
    /// PyTorch's tensors
    Torch,
}

fn level(text: &str) -> Result<Level, String> {
    let letter = serde_json::Value::String(text.to_uppercase());
    serde_json::from_value(letter).map_err(|_| "expected F, O, M, G, S, I or T".into())
}
