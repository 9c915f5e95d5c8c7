//! The ranks that this process belongs to: those of an MPI job if a launcher has started it, or it alone.

use std::thread::sleep;
use std::time::Duration;

use super::args::Command;
use crate::error::{Error, Result};
use crate::ranks::{Alone, Launched, Ranks, launched};

/// The ranks of this process. The first call begins MPI where there is a launcher.
///
/// # Errors
/// [`Error::Device`] without an MPI library that can be used, and in a build without the feature `mpi`, if a launcher has
/// started several processes.
pub fn of_this_process() -> Result<&'static dyn Ranks> {
    let Some(Launched { size, .. }) = launched() else { return Ok(&Alone) };
    match job::begun() {
        Ok(ranks) => Ok(ranks),
        // A launcher's only process needs nobody.
        Err(_) if size == 1 => Ok(&Alone),
        Err(error) => Err(error),
    }
}

/// Refuses commands that several processes would only do several times over.
///
/// # Errors
/// [`Error::Usage`] on the first of them, [`Error::Elsewhere`] on the others.
pub fn check_command(command: &Command) -> Result<()> {
    match (command, launched()) {
        (Command::Run(_) | Command::Demo(_) | Command::Doctor, _) => Ok(()),
        (_, Some(Launched { rank: 1.., size: 2.. })) => Err(Error::Elsewhere),
        (_, Some(Launched { size, .. })) if size > 1 => {
            let hint = "each of them would do the same; `run`, `demo` and `doctor` are for several";
            Err(Error::usage("the command", "one process", format!("{size} processes of MPI"), hint))
        }
        _ => Ok(()),
    }
}

/// The MPI library in use, if there is one.
pub fn library() -> Option<&'static str> {
    job::library()
}

/// How long a rank waits for the first one to say the same.
const PATIENCE: Duration = Duration::from_secs(2);

/// Ends what this process has to do with other ranks, and says what went wrong, if something did: one rank of all says
/// it, and ends them.
pub fn end(result: &Result<()>, say: impl Fn(&Error)) {
    if *result == Err(Error::Elsewhere) && job::library().is_none() {
        return;
    }
    // After an interruption nothing is left to say, and a launcher may kill soon.
    let fails = !matches!(result, Ok(()) | Err(Error::Interrupted { .. }));
    if fails && launched().is_some_and(|launched| launched.rank > 0) {
        sleep(PATIENCE);
    }
    job::end(result, say);
}

#[cfg(not(all(feature = "mpi", unix)))]
mod job {
    use super::{Error, Ranks, Result};

    pub fn begun() -> Result<&'static dyn Ranks> {
        let hint =
            "cargo build --release --features mpi makes one; without a launcher one process makes the run";
        Err(Error::device("a build with the feature `mpi`, as MPI started it", "one without it", hint))
    }

    pub fn library() -> Option<&'static str> {
        None
    }

    pub fn end(result: &Result<()>, say: impl Fn(&Error)) {
        result.as_ref().err().into_iter().for_each(say);
    }
}

#[cfg(all(feature = "mpi", unix))]
mod job {
    use std::sync::OnceLock;

    use super::{Error, Ranks, Result};
    use crate::ranks::mpi::Mpi;
    use crate::run::first::texts;
    use crate::run::stderr::say as tell;

    static JOB: OnceLock<Result<&'static Mpi>> = OnceLock::new();
    static HOSTS: OnceLock<Vec<String>> = OnceLock::new();

    pub fn begun() -> Result<&'static dyn Ranks> {
        let mpi = JOB.get_or_init(|| Mpi::start(accuse)).clone()?;
        HOSTS.get_or_init(|| texts(mpi, mpi.host()));
        Ok(mpi)
    }

    fn own() -> Option<&'static Mpi> {
        JOB.get().and_then(|job| job.as_ref().ok().copied())
    }

    pub fn library() -> Option<&'static str> {
        own().map(Mpi::library)
    }

    /// Says who keeps the others waiting.
    fn accuse(ranks: &[usize]) {
        let host = |rank: usize| HOSTS.get().and_then(|hosts| hosts.get(rank)).map_or("?", String::as_str);
        let named: Vec<String> = ranks.iter().map(|&rank| format!("rank {rank} on {}", host(rank))).collect();
        tell(format_args!("{}: the other ranks have waited for a minute", named.join(", ")));
    }

    pub fn end(result: &Result<()>, say: impl Fn(&Error)) {
        let Some(mpi) = own() else {
            result.as_ref().err().into_iter().for_each(say);
            return;
        };
        match result {
            // All ranks have ended, or stopped after the same step.
            Ok(()) => mpi.end(),
            Err(error @ Error::Interrupted { .. }) => {
                if mpi.is_first() {
                    say(error);
                }
                mpi.end();
            }
            Err(error) => {
                if !matches!(error, Error::Elsewhere) {
                    tell(format_args!("rank {} of {}, on {}:", mpi.rank(), mpi.size(), mpi.host()));
                    say(error);
                }
                mpi.abort(error.exit_code());
            }
        }
    }
}
