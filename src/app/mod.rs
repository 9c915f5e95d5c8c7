//! Floor 11: the program. Parses the command line, calls the command, prints its error.
//!
//! Results go to standard output, everything else to standard error. Exit code 0: done, 1: failed,
//! 2: the command line or the configuration is wrong.

pub mod args;
pub mod bench;
pub mod bits;
pub mod config;
pub mod course;
pub mod demo;
pub mod doctor;
pub mod inference;
pub mod jsonl;
pub mod pipeline;
pub mod plan;
pub mod progress;
pub mod tables;

use std::io::Write;
use std::process::ExitCode;

use crate::error::{Error, Result};
use args::{Cli, Command, ReportArgs};
use clap::Parser;

/// Runs the program on the process's own arguments.
pub fn main() -> ExitCode {
    // A wrong command line (exit code 2), `--help` and `--version` (0) end here, in clap's words.
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where even standard error is closed, the exit code has to do.
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

/// Runs one parsed command.
///
/// # Errors
/// The command's own.
pub fn run(cli: Cli) -> Result<()> {
    // Everything runs on the pool's threads: a product asked for from outside would first have to be handed
    // over, and would not find the working memory that the pool's threads keep.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(cli.threads.unwrap_or(0)).build();
    let pool = pool.map_err(|error| {
        let found = cli.threads.map_or("the default".into(), |threads| threads.to_string());
        Error::usage("--threads", "a number of threads this system can start", found, error)
    })?;
    pool.install(|| match &cli.command {
        Command::Demo(args) => demo::run(args),
        Command::Run(args) => pipeline::run(args),
        Command::Sample(args) => inference::sample(args),
        Command::Logprobs(args) => inference::logprobs(args),
        Command::Score(args) => inference::score(args),
        Command::Tokenize(args) => inference::tokenize(args),
        Command::Report(args) => report(args),
        Command::Bench(args) => bench::run(args),
        Command::Doctor => doctor::run(),
    })
}

/// Writes a run's `report.html` again and prints where it is.
fn report(args: &ReportArgs) -> Result<()> {
    let path = crate::report::write(&args.dir)?;
    jsonl::Output::stdout().text(&path.display().to_string())?;
    Ok(())
}
