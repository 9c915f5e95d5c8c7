//! The ranks that this process belongs to: those of an MPI job if a launcher has started it, or it alone.

use crate::error::{Error, Result};
use crate::ranks::{Alone, Ranks};

/// The ranks of this process. The first call begins MPI where there is a launcher.
///
/// # Errors
/// [`Error::Device`] without an MPI library that can be used, and in a build without the feature `mpi`.
pub fn of_this_process() -> Result<&'static dyn Ranks> {
    #[cfg(feature = "mpi")]
    if let Some(mpi) = job::begun()? {
        return Ok(mpi);
    }
    if !cfg!(feature = "mpi") && crate::ranks::is_launched() {
        let hint =
            "cargo build --release --features mpi makes one; without a launcher one process makes the run";
        return Err(Error::device(
            "a build with the feature `mpi`, as MPI started it",
            "one without it",
            hint,
        ));
    }
    Ok(&Alone)
}

/// Ends what this process has to do with other ranks, and says what went wrong, if something did: one rank of all says
/// it, and ends them.
pub fn end(result: &Result<()>, say: impl Fn(&Error)) {
    #[cfg(feature = "mpi")]
    if let Some(mpi) = job::own() {
        return job::end(mpi, result, say);
    }
    result.as_ref().err().into_iter().for_each(say);
}

#[cfg(feature = "mpi")]
mod job {
    use std::sync::OnceLock;
    use std::thread::sleep;
    use std::time::Duration;

    use super::{Error, Ranks, Result};
    use crate::ranks::mpi::Mpi;
    use crate::run::stderr::say as tell;

    static JOB: OnceLock<Result<Option<&'static Mpi>>> = OnceLock::new();

    pub fn begun() -> Result<Option<&'static Mpi>> {
        JOB.get_or_init(Mpi::start).clone()
    }

    pub fn own() -> Option<&'static Mpi> {
        JOB.get().and_then(|job| job.as_ref().ok().copied().flatten())
    }

    /// How long a rank waits for the first one to say the same.
    const PATIENCE: Duration = Duration::from_secs(2);

    pub fn end(mpi: &Mpi, result: &Result<()>, say: impl Fn(&Error)) {
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
                if !mpi.is_first() {
                    sleep(PATIENCE);
                }
                if !matches!(error, Error::Elsewhere) {
                    tell(format_args!("rank {} of {}:", mpi.rank(), mpi.size()));
                    say(error);
                }
                mpi.abort(error.exit_code());
            }
        }
    }
}
