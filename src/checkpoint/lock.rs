//! One run per directory. The operating system holds the lock and drops it when the process ends,
//! however it ends, so a file left behind by a killed run never blocks the next one.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::Path;

use super::atomic::process_id;
use crate::error::{Error, Result};

/// The lock file's name in the run directory. It stays there after the run (removing it would let two
/// runs lock two different files of the same name).
pub const LOCK_FILE: &str = "run.lock";

/// An exclusive hold on a run directory, until dropped.
#[derive(Debug)]
pub struct RunLock {
    _file: File,
}

impl RunLock {
    /// Locks `directory`, which must exist.
    ///
    /// # Errors
    /// [`Error::Io`] naming the other process while one holds the lock, or when the file cannot be made.
    pub fn acquire(directory: &Path) -> Result<RunLock> {
        let path = directory.join(LOCK_FILE);
        let failed = |error: std::io::Error| Error::io(path.display(), "lock", error);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.take(20).read_to_string(&mut holder);
                let holder = match holder.trim().parse::<u32>() {
                    Ok(pid) => format!("process {pid}"),
                    Err(_) => "another process".to_string(),
                };
                let reason =
                    format!("{holder} is running in this directory; wait for it or choose another --out");
                return Err(Error::io(path.display(), "lock", reason));
            }
            // WebAssembly has no locks. That a directory has one run at a time is then up to whoever starts them.
            Err(TryLockError::Error(error))
                if cfg!(target_family = "wasm") && error.kind() == ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        file.set_len(0).map_err(failed)?;
        writeln!(file, "{}", process_id()).map_err(failed)?;
        Ok(RunLock { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_run_is_refused_and_told_who_holds_it() {
        let directory = tempfile::tempdir().unwrap();
        let first = RunLock::acquire(directory.path()).unwrap();
        let error = RunLock::acquire(directory.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("process {} is running", std::process::id())), "{error}");
        drop(first);
        RunLock::acquire(directory.path()).unwrap();
    }

    #[test]
    fn a_lock_file_left_by_a_killed_run_is_taken_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(LOCK_FILE);
        std::fs::write(&path, "4294967295 and more text than before\n").unwrap();
        let _lock = RunLock::acquire(directory.path()).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
    }

    #[test]
    fn a_missing_directory_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(RunLock::acquire(&directory.path().join("none")), Err(Error::Io { .. })));
    }
}
