//! The grammar of `label`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};

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
        #[arg(long)]
        json: bool,
    },
}
