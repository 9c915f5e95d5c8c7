//! The command line's grammar; no command does anything here.

mod data;
mod evaluate;
#[cfg(feature = "label")]
mod label;
mod verify;
mod write;

use std::path::PathBuf;

use crate::engine::Device;
use crate::model::Precision;
use crate::run::StageId;
use clap::builder::PossibleValue;
use clap::{Args, Parser, Subcommand, ValueEnum};
pub use data::{CheckArgs, DataCommand};
pub use evaluate::EvaluateArgs;
#[cfg(feature = "label")]
pub use label::{LabelArgs, LabelCommand};
pub use verify::{Profile, TemplateArg, VerifyArgs};
pub use write::{DrawArgs, WriteArgs};

/// InstructGPT (Ouyang et al., 2022): pretraining, SFT, reward model and PPO-ptx, repeatable to the bit.
#[derive(Debug, Parser)]
#[command(
    name = "instructgpt",
    version,
    about,
    arg_required_else_help = true,
    after_help = "Results go to standard output, progress and notes to standard error.\n\
                  Exit code 0: done, 1: failed, 2: the command line or the configuration is wrong.\n\
                  First steps: `instructgpt demo`."
)]
pub struct Cli {
    /// Threads to compute with [default: all cores]; changes the speed, never a bit of a result
    #[arg(long, global = true, value_name = "N", value_parser = at_least_one)]
    pub threads: Option<usize>,
    /// What computes: cpu, cuda or cuda:N, an NVIDIA GPU in a build with the feature `cuda` [default: cpu]; changes the
    /// speed, never a bit of a result
    #[arg(long, global = true, value_name = "DEVICE")]
    pub device: Option<Device>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the whole pipeline on the built-in miniature, then write a report (a few minutes, no data needed)
    Demo(DemoArgs),
    /// Write a small, documented configuration to start from: on the data files of a folder, or on the miniature
    Init(InitArgs),
    /// Look at the data that a configuration names, without a run
    #[command(subcommand)]
    Data(DataCommand),
    /// Run the stages that a configuration describes, into a run directory
    Run(RunArgs),
    /// Carry out the paper's experiments in miniature, and say of each claim whether it appears
    ///
    /// Everything is trained on the built-in world, at three sizes. A figure that is named trains only what it needs;
    /// what several need is trained once. Started again after a stop, it goes on, and ends in the same bytes. The table of
    /// verdicts goes to standard output, charts to figures.json and report.html in --out.
    Reproduce(ReproduceArgs),
    /// Write text with a model
    ///
    /// Prints the response alone, without the prompt, as it is sampled. With -n, texts follow each other,
    /// each under a line "--- 1 of 3 ---"; text i does not depend on how many there are.
    ///
    /// A model that carries the form of its prompts (prompt_format.json) gets the prompt in that form; --raw gives it
    /// the text alone.
    Sample(SampleArgs),
    /// Talk to a model: each line of standard input is a request, and is answered
    ///
    /// The request is put into the form that the model carries (prompt_format.json). Every line is a request of its
    /// own: the models have learned to answer one, and see no earlier lines. Empty lines are passed over.
    Chat(ChatArgs),
    /// Log-probs of given tokens: JSONL in, JSONL out
    ///
    /// A line is {"tokens":[..]}, {"text":".."} or {"prompt":"..","response":".."}; the answer is
    /// {"tokens":[..],"logprobs":[..]}: the log-prob of each token but the first, given those before; none for a
    /// single token. A prompt and its response are put into the form that the model carries (prompt_format.json), unless
    /// the prompt has it already; --raw takes them as they are. The prompt's tokens are followed by the response's; no
    /// end-of-text token is added.
    Logprobs(InputArgs),
    /// Rewards of given responses, by a reward model: JSONL in, JSONL out
    ///
    /// A line is {"tokens":[..]}, {"text":".."} or {"prompt":"..","response":".."}; the answer is
    /// {"tokens":[..],"reward":r}, the reward model's output at the last token that is not its pad token. A prompt and
    /// its response are put into the form that the model carries (prompt_format.json), unless the prompt has it
    /// already; --raw takes them as they are. The prompt's tokens are followed by the response's and by the end-of-text
    /// token, as the model was trained; text and tokens are taken as they are.
    Score(InputArgs),
    /// Text to tokens: JSONL {"text":".."} in, {"tokens":[..]} out; --decode turns it round
    ///
    /// Tokens that end or begin inside a character are no text: --decode gives {"bytes":[..]} for them.
    /// Added tokens and special tokens around a text are those of transformers, but for <|endoftext|>: in a text its
    /// characters are plain text.
    Tokenize(TokenizeArgs),
    /// Public benchmarks: the paper's (TruthfulQA, Winogender, CrowS-Pairs, HellaSwag, RTE, SST-2, WSC) and others
    ///
    /// Prompts and measures are the paper's (appendix D) or those of lm-evaluation-harness 0.4.13. --out gets
    /// results_STYLE.json and samples_TASK_STYLE.jsonl in the form of that program; the table goes to standard output.
    /// Nothing is fetched: the data are files of yours. Started again after a stop, it goes on with the tasks that are not
    /// complete, and ends in the same bytes.
    Evaluate(EvaluateArgs),
    /// The labelers' page in the browser: people write demonstrations, rate responses and rank them
    ///
    /// Serves the page on this machine until Ctrl-C; its address goes to standard output. A submission is on the disk before
    /// the page says that it is saved. Settings are in DIR/label.toml, which is written at the first start.
    #[cfg(feature = "label")]
    Label(LabelArgs),
    /// Write a run directory's report.html again, from its metrics and results; or compare several runs on one page
    ///
    /// Prints the paths of what was written, one a line.
    Report(ReportArgs),
    /// Check another implementation's outputs against the conformance vectors, and name its bugs
    ///
    /// A line for each case: exact, within its tolerance, off by so many tolerances, or missing; and where the outputs are
    /// those of a known bug, its name. Exit code 0 if every case passes, 1 otherwise.
    Verify(VerifyArgs),
    /// Measure this machine: matrix products, training steps, sampling
    Bench(BenchArgs),
    /// Say what was compiled in, what this machine has, and whether the results have the promised bits
    Doctor,
}

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Run directory
    #[arg(long, value_name = "DIR", default_value = "runs/demo")]
    pub out: PathBuf,
    /// Go on with an interrupted demo in the run directory
    #[arg(long)]
    pub resume: bool,
    /// Change a key of the demo's configuration; may be given several times
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
}

/// Arguments of `init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Folder for instructgpt.toml, in which its data files are looked for; created if missing
    #[arg(value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The configuration.
    #[command(flatten)]
    pub given: ConfigArgs,
    /// Run directory; created if missing
    #[arg(long, value_name = "DIR", required_unless_present = "plan")]
    pub out: Option<PathBuf>,
    /// Only say what the run would do: steps, tokens, memory, arithmetic and time of each stage. Nothing is written
    #[arg(long)]
    pub plan: bool,
    /// Go on with an interrupted run; the result is the uninterrupted run's, to the bit
    #[arg(long)]
    pub resume: bool,
    /// Run this stage only, on what the earlier ones left in the run directory
    #[arg(long, value_name = "NAME")]
    pub stage: Option<StageId>,
}

/// Arguments of `reproduce`.
#[derive(Debug, Args)]
pub struct ReproduceArgs {
    /// Figures, by the names that --list gives [default: all but those of "sweeps"]
    #[arg(value_name = "FIGURE")]
    pub figures: Vec<String>,
    /// Directory for runs, answers and the page; created if missing
    #[arg(long, value_name = "DIR", required_unless_present = "list")]
    pub out: Option<PathBuf>,
    /// So many worlds, each with all trainings [default: 3, with --headline 1]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub seeds: Option<usize>,
    /// Only the headline: figures 1 and 4 and the alignment tax, with one seed
    #[arg(long, conflicts_with = "figures")]
    pub headline: bool,
    /// Only list the figures: what each shows, and what it costs
    #[arg(long)]
    pub list: bool,
}

impl ReproduceArgs {
    /// The seeds: 1, 2, ..
    pub fn seeds(&self) -> Vec<u64> {
        let usual = if self.headline { 1 } else { 3 };
        (1..=self.seeds.unwrap_or(usual) as u64).collect()
    }
}

/// A configuration, as `run` and `data check` take it.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// Configuration file (TOML); every key is documented in the config.toml of any run directory
    #[arg(value_name = "CONFIG.toml")]
    pub config: PathBuf,
    /// Root of the configuration's relative data paths [default: the configuration's folder]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Change a key of the configuration, as in `--set ppo.kl_coef=0.05`; may be given several times.
    /// The value is TOML, a bare word is a string, and no value puts the default back
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
}

impl ConfigArgs {
    /// The root of relative data paths: `--data`, or the configuration's folder.
    pub fn data_root(&self) -> PathBuf {
        let folder = || self.config.parent().map(PathBuf::from).unwrap_or_default();
        self.data.clone().unwrap_or_else(folder)
    }
}

/// The stages that can be run by themselves. (The choice of SFT's epoch belongs to the RLHF init, PPO's variants to
/// PPO.)
impl ValueEnum for StageId {
    fn value_variants<'a>() -> &'a [Self] {
        use StageId::*;
        &[Pretrain, Sft, Collect, RewardModel, RlhfInit, Ppo, Benchmarks, Evaluation]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let help = match self {
            StageId::Pretrain => "Language modelling on text",
            StageId::Sft => "Supervised fine-tuning on demonstrations",
            StageId::Collect => "Comparisons: sampled responses, ranked by the miniature's labelers",
            StageId::RewardModel => "The reward model, from rankings",
            StageId::RlhfInit => "The model PPO starts from: SFT mixed with pretraining text",
            StageId::Ppo => "PPO or PPO-ptx",
            StageId::Benchmarks => "The public benchmarks that the configuration names",
            StageId::Evaluation => "Held-out comparison of the models that are there",
            StageId::SftSelection | StageId::PpoToCompare | StageId::PpoPtx => return None,
        };
        Some(PossibleValue::new(self.name()).help(help))
    }
}

/// Arguments of `sample`.
#[derive(Debug, Args)]
pub struct SampleArgs {
    /// What is asked, or what the text begins with; an empty prompt is <|endoftext|>, the beginning of a document
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub prompt: String,
    /// How many texts
    #[arg(short = 'n', value_name = "N", default_value_t = 1, allow_negative_numbers = true, value_parser = at_least_one)]
    pub count: usize,
    /// The model, and how to write.
    #[command(flatten)]
    pub write: WriteArgs,
}

/// Arguments of `chat`.
#[derive(Debug, Args)]
pub struct ChatArgs {
    /// The model, and how to write.
    #[command(flatten)]
    pub write: WriteArgs,
    /// Add every request to a file of prompts (JSON Lines), for labelers and for training; who asks is told so
    #[arg(long, value_name = "FILE")]
    pub collect: Option<PathBuf>,
    /// Who asks, in the records of --collect: a run splits its data by users
    #[arg(long, value_name = "NAME", requires = "collect")]
    pub user: Option<String>,
}

/// Arguments of `logprobs` and `score`.
#[derive(Debug, Args)]
pub struct InputArgs {
    /// Model directory (Hugging Face's, GPT-2 or GPT-Neo)
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// JSONL file [default: standard input]
    #[arg(long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// What products with weights round their operands to: f32 or bf16; with --device cuda also tf32 or bf16-fast, on
    /// tensor cores, with bits of their own [default: as the model was trained]
    #[arg(long, value_name = "P", value_parser = precision)]
    pub precision: Option<Precision>,
    /// Take prompts and responses as they are, without the form of prompts that the model carries
    #[arg(long)]
    pub raw: bool,
}

/// Arguments of `tokenize`.
#[derive(Debug, Args)]
pub struct TokenizeArgs {
    /// Directory with vocab.json and merges.txt, or tokenizer.json
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// JSONL file [default: standard input]
    #[arg(long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// Tokens to text instead
    #[arg(long)]
    pub decode: bool,
}

/// Arguments of `report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Run directory; several are compared on one page
    #[arg(value_name = "DIR", required = true)]
    pub dirs: Vec<PathBuf>,
    /// Where the page goes [default: report.html in the run directory; of a comparison comparison.html here]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Write the page anew while the run goes on, until it is complete or Ctrl-C
    #[arg(long, conflicts_with_all = ["csv", "tensorboard"])]
    pub watch: bool,
    /// Also write the numbers as CSV: a file for each stage and table (of several runs, in a folder each)
    #[arg(long, value_name = "DIR")]
    pub csv: Option<PathBuf>,
    /// Also write the measures as TensorBoard events (of several runs, in a folder each)
    #[arg(long, value_name = "DIR")]
    pub tensorboard: Option<PathBuf>,
}

/// Arguments of `bench`.
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// One JSON object on standard output instead of a table
    #[arg(long)]
    pub json: bool,
    /// Only the cases whose names begin so: gemm/nn, step/10.8M, generate, ppo, bpe ..
    #[arg(long, value_name = "PREFIX")]
    pub only: Option<String>,
    /// The small cases only, in some twenty seconds
    #[arg(long)]
    pub quick: bool,
    /// What products with weights round their operands to: f32 or bf16; with --device cuda also tf32 or bf16-fast
    #[arg(long, value_name = "P", default_value = "f32", value_parser = precision)]
    pub precision: Precision,
    /// Text for the BPE cases (.txt, .jsonl, .gz of either) [default: the miniature's]
    #[arg(long, value_name = "FILE")]
    pub corpus: Option<PathBuf>,
}

/// A whole number from 1 up.
fn at_least_one(text: &str) -> Result<usize, String> {
    let wrong = "expected a whole number from 1 to 1048576";
    text.parse().ok().filter(|n| (1..=1 << 20).contains(n)).ok_or_else(|| wrong.into())
}

/// A finite number from 0 up.
fn not_negative(text: &str) -> Result<f32, String> {
    let wrong = "expected a finite number from 0 up";
    text.parse().ok().filter(|x: &f32| *x >= 0.0 && x.is_finite()).ok_or_else(|| wrong.into())
}

/// A precision's name.
fn precision(text: &str) -> Result<Precision, String> {
    Precision::named(text).ok_or_else(|| "expected f32, bf16, tf32 or bf16-fast".into())
}

/// A number above 0, at most 1.
fn probability(text: &str) -> Result<f32, String> {
    let wrong = "expected a number above 0, at most 1";
    text.parse().ok().filter(|x: &f32| *x > 0.0 && *x <= 1.0).ok_or_else(|| wrong.into())
}

#[cfg(test)]
mod tests;
