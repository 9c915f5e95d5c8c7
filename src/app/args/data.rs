//! The grammar of the command `data`.

use clap::{Args, Subcommand};

use super::ConfigArgs;

/// What can be done with data.
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// The paper's tables about data, of your own; and every record that is left out, with its reason
    ///
    /// The files are read, filtered, split and encoded exactly as a run does it. Sizes, prompts a user, lengths in tokens,
    /// use cases, languages and personal data are printed as tables (the paper's Tables 1 and 6 to 11), then a line for
    /// each record that was left out. Nothing is written.
    Check(CheckArgs),
}

/// Arguments of `data check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The configuration.
    #[command(flatten)]
    pub given: ConfigArgs,
    /// Also show the personal data that were found, each with its place
    #[arg(long)]
    pub explain: bool,
    /// One JSON object on standard output instead of tables
    #[arg(long)]
    pub json: bool,
}
