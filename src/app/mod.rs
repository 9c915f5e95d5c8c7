//! Floor 11: the program. Parses the command line, calls the command, prints its error.
//!
//! Results go to standard output, everything else to standard error. Exit code 0: done, 1: failed,
//! 2: the command line or the configuration is wrong.

pub mod args;
pub mod bench;
pub mod bits;
pub mod chat;
pub mod config;
pub mod conversation;
pub mod course;
pub mod data_check;
pub mod demo;
pub mod doctor;
pub mod evaluate;
pub mod inference;
pub mod init;
pub mod jsonl;
#[cfg(feature = "label")]
pub mod label;
pub mod pipeline;
pub mod plan;
pub mod progress;
pub mod ranks;
pub mod report;
pub mod reproduce;
pub mod tables;
pub mod template;
pub mod verify;
pub mod writer;

use std::io::ErrorKind;
use std::num::NonZeroUsize;
use std::process::ExitCode;

use crate::engine::device::on_device;
use crate::error::{Error, Result};
use crate::run::stderr::say;
use args::{Cli, Command, DataCommand};
use clap::Parser;
use clap::error::{ContextKind, ContextValue};

/// Runs the program on the process's own arguments.
pub fn main() -> ExitCode {
    let done = match Cli::try_parse() {
        Ok(cli) => run(cli),
        Err(words) => match explain(&words) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
    };
    ranks::end(&done, |error| say(format_args!("error: {error}")));
    done.map_or_else(|error| ExitCode::from(error.exit_code()), |()| ExitCode::SUCCESS)
}

/// Prints what clap has to say: of a wrong command line to standard error (exit code 2), `--help` and `--version` to
/// standard output (0).
fn explain(words: &clap::Error) -> Result<ExitCode> {
    let printed = words.print();
    if let Some(hint) = hint(words.get(ContextKind::InvalidSubcommand), cfg!(feature = "label")) {
        say(hint);
    }
    match printed {
        // Where standard error cannot be written, the exit code has to do; a reader of help may go away.
        Err(error) if !words.use_stderr() && error.kind() != ErrorKind::BrokenPipe => {
            Err(Error::io("standard output", "write", error))
        }
        _ => Ok(ExitCode::from(words.exit_code() as u8)),
    }
}

/// What else there is to say of a command that is not known: in a build without the labelers' page, where that is.
fn hint(asked: Option<&ContextValue>, has_page: bool) -> Option<&'static str> {
    let is_label = asked == Some(&ContextValue::String("label".into()));
    (is_label && !has_page).then_some(
        "hint: the labelers' page is in builds with its feature: cargo build --release --features label",
    )
}

/// Runs one parsed command.
///
/// # Errors
/// The command's own.
pub fn run(cli: Cli) -> Result<()> {
    ranks::check_command(&cli.command)?;
    // Everything runs on the pool's threads: a product asked for from outside would first have to be handed
    // over, and would not find the working memory that the pool's threads keep.
    let threads = cli.threads.map(|asked| at_most(asked, std::thread::available_parallelism()));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0)).build();
    let pool = pool.map_err(|error| {
        let found = threads.map_or("the default".into(), |threads| threads.to_string());
        Error::usage("--threads", "a number of threads this system can start", found, error)
    })?;
    let device = cli.device;
    let computing = device.unwrap_or_default();
    let done = pool.install(|| match &cli.command {
        Command::Demo(args) => demo::run(args, device),
        Command::Run(args) => pipeline::run(args, device),
        Command::Reproduce(args) => reproduce::run(args, computing),
        Command::Sample(args) => on_device!(computing, |engine| inference::sample(args, engine)),
        Command::Chat(args) => on_device!(computing, |engine| chat::run(args, engine)),
        Command::Logprobs(args) => on_device!(computing, |engine| inference::logprobs(args, engine)),
        Command::Score(args) => on_device!(computing, |engine| inference::score(args, engine)),
        Command::Evaluate(args) if args.list => evaluate::list(),
        Command::Evaluate(args) => on_device!(computing, |engine| evaluate::run(args, engine)),
        Command::Bench(args) => bench::run(args, computing),
        Command::Doctor => doctor::run(device),
        #[cfg(feature = "label")]
        Command::Label(args) if device.is_some() && args.model.is_empty() => {
            let hint = "label computes nothing that a device would, unless a --model writes outputs";
            Err(Error::usage("--device", "a command that computes", "another", hint))
        }
        #[cfg(feature = "label")]
        Command::Label(args) => on_device!(computing, |engine| label::run(args, engine)),
        Command::Init(_)
        | Command::Data(_)
        | Command::Tokenize(_)
        | Command::Report(_)
        | Command::Verify(_)
            if device.is_some() =>
        {
            let hint = "init, data, tokenize, report and verify compute nothing that a device would";
            Err(Error::usage("--device", "a command that computes", "another", hint))
        }
        Command::Init(args) => init::run(args),
        Command::Data(DataCommand::Check(args)) => data_check::run(args),
        Command::Tokenize(args) => inference::tokenize(args),
        Command::Report(args) => report::run(args),
        Command::Verify(args) => verify::run(args),
    });
    // Numbers that are not finite, and all that was said of them, may be a device's fault.
    crate::engine::check_devices()?;
    done
}

/// As many threads as were asked for, up to four for each core (and 16). A thread without work looks for some at every
/// other before it sleeps, so a thousand on two cores take seconds to start, and make nothing faster.
fn at_most(asked: usize, cores: std::io::Result<NonZeroUsize>) -> usize {
    let most = cores.map_or(1, NonZeroUsize::get).saturating_mul(4).max(16);
    if asked > most {
        say(format_args!("--threads {asked}: {most} are used, as more would only wait for the cores"));
    }
    asked.min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_without_the_labelers_page_says_where_it_is() {
        let unknown = |name: &str| {
            let error = Cli::try_parse_from(["instructgpt", name]).unwrap_err();
            error.get(ContextKind::InvalidSubcommand).cloned()
        };
        // A build with the page knows the command: there the value is what the grammar without it would give.
        let label = match cfg!(feature = "label") {
            true => Some(ContextValue::String("label".into())),
            false => unknown("label"),
        };
        assert!(hint(label.as_ref(), false).is_some_and(|hint| hint.contains("--features label")));
        assert_eq!(hint(label.as_ref(), true), None);
        assert_eq!(hint(unknown("labels").as_ref(), false), None);
        assert_eq!(hint(None, false), None);
    }

    #[test]
    fn threads_beyond_the_cores_are_not_started() {
        let cores = |n: usize| Ok(NonZeroUsize::new(n).unwrap());
        assert_eq!([1, 7, 16, 17, 1000].map(|asked| at_most(asked, cores(2))), [1, 7, 16, 16, 16]);
        assert_eq!([64, 1000].map(|asked| at_most(asked, cores(64))), [64, 256]);
        assert_eq!(at_most(1000, Err(std::io::ErrorKind::Other.into())), 16);
    }
}
