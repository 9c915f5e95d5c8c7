//! The grammar of `label`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::DrawArgs;
use crate::label::item::MAX_RANKED;

/// Arguments of `label`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct LabelArgs {
    /// What to do with a project, instead of serving its page.
    #[command(subcommand)]
    pub command: Option<LabelCommand>,
    /// The project's directory, with all that is labelled; created if missing
    #[arg(long, value_name = "DIR", required = true)]
    pub data: Option<PathBuf>,
    /// Items to label, as JSON Lines or a JSON array: {"prompt"} to write for, {"prompt", "response"} to rate,
    /// {"prompt", "responses"} to rank; may be given several times, and again: what is there is not added twice
    #[arg(long, value_name = "FILE")]
    pub items: Vec<PathBuf>,
    /// Prompts to which models write outputs, to be ranked, before the page is served; may be given several times, and
    /// again: what was sampled is not sampled twice
    #[arg(long, value_name = "FILE", requires = "model")]
    pub prompts: Vec<PathBuf>,
    /// Model directory (Hugging Face's, GPT-2 or GPT-Neo) that writes outputs; of several each writes in its turn. The page
    /// does not say who wrote what, the exports do
    #[arg(long, value_name = "DIR", requires = "prompts")]
    pub model: Vec<PathBuf>,
    /// Outputs to each prompt, 1 to 9: one is rated, several are ranked
    #[arg(long, value_name = "K", default_value_t = 4, requires = "model", value_parser = outputs)]
    pub outputs: usize,
    /// How the models write.
    #[command(flatten)]
    pub draw: DrawArgs,
    /// The page's port; 0 takes one that is free
    #[arg(long, value_name = "N", default_value_t = 8017)]
    pub port: u16,
    /// Listen at this address; one that other machines can reach needs --token
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub address: IpAddr,
    /// What labelers of other machines have to know: at least 16 letters, digits, - or _
    #[arg(long, value_name = "WORD")]
    pub token: Option<String>,
}

/// What else `label` does.
#[derive(Debug, Subcommand)]
pub enum LabelCommand {
    /// Write what was labelled as JSON Lines: demonstrations, comparisons, ratings, and records.jsonl with everything
    ///
    /// Prints the paths of what was written, one a line, each with its number of lines.
    Export {
        /// The project's directory
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// Directory for the files; created if missing
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Take in the records.jsonl of another export; what is there already is not added twice
    Import {
        /// The project's directory; created if missing
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// Files that `label export` wrote
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
    },
    /// How much was labelled, how long it took, and how well labelers agree
    Report {
        /// The project's directory
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// One JSON object instead of tables
        #[arg(long, conflicts_with = "html")]
        json: bool,
        /// A page with charts instead of tables; its path is printed
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
        /// The tables into the report of a run that was trained on these labels; the report's path is printed
        #[arg(long, value_name = "DIR", conflicts_with_all = ["json", "html"])]
        run: Option<PathBuf>,
    },
}

/// A number of outputs.
fn outputs(text: &str) -> Result<usize, String> {
    let wrong = format!("expected a whole number from 1 to {MAX_RANKED}");
    text.parse().ok().filter(|n| (1..=MAX_RANKED).contains(n)).ok_or(wrong)
}
