//! Files that are whole or not there: write under a temporary name in the same directory, flush, fsync,
//! rename, fsync the directory. Whatever happens in between, the old file stays as it was.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};
use crate::text::encoding;

/// Ends the names of files being written; a leftover of a killed process may be deleted.
pub const TEMPORARY_SUFFIX: &str = ".tmp";

/// Writes `path` through `write`, all or nothing. The directory must exist.
///
/// # Errors
/// [`Error::Io`] with the path; the temporary file is gone and an earlier `path` untouched.
pub fn write_atomic(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let temporary = temporary_name(path)?;
    let result = write_and_rename(path, &temporary, write);
    if result.is_err() {
        // It may not exist, if creating it was what failed.
        let _ = fs::remove_file(&temporary);
    }
    result
}

fn write_and_rename(
    path: &Path,
    temporary: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    let failed = |action| move |error: io::Error| Error::io(path.display(), action, error);
    let file = File::create_new(temporary).map_err(failed("create"))?;
    let mut writer = BufWriter::with_capacity(1 << 18, file);
    write(&mut writer).map_err(failed("write"))?;
    let file = writer.into_inner().map_err(|error| failed("write")(error.into_error()))?;
    file.sync_all().map_err(failed("write"))?;
    drop(file);
    fs::rename(temporary, path).map_err(failed("rename into place"))?;
    sync_directory(&directory_of(path))
}

/// Makes a directory's entries (a rename, a new file) survive a power failure. Nothing to do off Unix.
///
/// # Errors
/// [`Error::Io`] with the path.
pub fn sync_directory(directory: &Path) -> Result<()> {
    if cfg!(unix) {
        let synced = File::open(directory).and_then(|file| file.sync_all());
        synced.map_err(|error| Error::io(directory.display(), "fsync", error))?;
    }
    Ok(())
}

fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// `.NAME.PROCESS-COUNT.tmp` beside the file: two writers never share one.
fn temporary_name(path: &Path) -> Result<PathBuf> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let Some(name) = path.file_name() else {
        return Err(Error::io(path.display(), "create", "not a file name"));
    };
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!(".{}.{}-{count}{TEMPORARY_SUFFIX}", name.to_string_lossy(), process_id());
    Ok(directory_of(path).join(name))
}

/// This process' number among those of the system; 0 in WebAssembly, which knows no others.
pub(super) fn process_id() -> u32 {
    if cfg!(target_family = "wasm") { 0 } else { std::process::id() }
}

/// Removes what [`write_atomic`] left in `directory` (if `recursive`, also in those inside it) when the
/// process was killed. Nobody may be writing there: hold the [`super::RunLock`].
///
/// # Errors
/// [`Error::Io`] with the path.
pub fn remove_temporaries(directory: &Path, recursive: bool) -> Result<()> {
    let failed = |action| move |error: io::Error| Error::io(directory.display(), action, error);
    for entry in fs::read_dir(directory).map_err(failed("list"))? {
        let entry = entry.map_err(failed("list"))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // `file_type` does not follow links, so this stays inside the directory.
        if entry.file_type().map_err(failed("list"))?.is_dir() {
            if recursive {
                remove_temporaries(&entry.path(), true)?;
            }
        } else if is_temporary(&name) {
            fs::remove_file(entry.path())
                .map_err(|error| Error::io(entry.path().display(), "remove", error))?;
        }
    }
    Ok(())
}

/// Whether [`temporary_name`] makes such names: `.NAME.PROCESS-COUNT.tmp`.
fn is_temporary(name: &str) -> bool {
    let parts =
        || name.strip_prefix('.')?.strip_suffix(TEMPORARY_SUFFIX)?.rsplit_once('.')?.1.split_once('-');
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    parts().is_some_and(|(process, count)| number(process) && number(count))
}

/// Opens a regular file of at most `limit` bytes, and says how many it has.
///
/// # Errors
/// [`Error::Io`] when it cannot be opened, [`Error::Format`] when it is larger or no regular file.
pub(super) fn open_regular(path: &Path, limit: u64) -> Result<(File, u64)> {
    let failed = |error: io::Error| Error::io(path.display(), "read", error);
    // Asked before opening: opening a named pipe would wait for a writer.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(Error::format(path.display(), "", "a regular file", "a directory or device", ""));
    }
    let file = File::open(path).map_err(failed)?;
    // Asked of the open file: another may have been renamed to this path in between.
    let size = file.metadata().map_err(failed)?.len();
    if size > limit { Err(too_large(path, limit, size)) } else { Ok((file, size)) }
}

fn too_large(path: &Path, limit: u64, size: u64) -> Error {
    Error::format(path.display(), "", format!("at most {limit} bytes"), format!("{size} bytes"), "")
}

/// Reads a regular file of at most `limit` bytes.
///
/// # Errors
/// [`Error::Io`] when it cannot be read, [`Error::Format`] when it is larger or no regular file.
pub fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let (file, size) = open_regular(path, limit)?;
    let mut bytes = Vec::new();
    let size = usize::try_from(size).map_err(|_| too_large(path, limit, size))?;
    if bytes.try_reserve_exact(size).is_err() {
        return Err(Error::io(path.display(), "read", format!("no memory for {size} bytes")));
    }
    let read = file.take(limit.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|error| Error::io(path.display(), "read", error))?;
    if bytes.len() as u64 > limit {
        return Err(too_large(path, limit, bytes.len() as u64));
    }
    Ok(bytes)
}

/// [`read_file`], as UTF-8 text; a byte order mark before it is passed over.
///
/// # Errors
/// As [`read_file`]; [`Error::Format`] with the line of the first byte that is not UTF-8.
pub fn read_text(path: &Path, limit: u64) -> Result<String> {
    let mut text = encoding::utf8(read_file(path, limit)?, path.display(), 1)?;
    if text.starts_with(encoding::MARK) {
        text.drain(..encoding::MARK.len());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_written_file_replaces_the_old_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.json");
        write_atomic(&path, |w| w.write_all(b"old")).unwrap();
        write_atomic(&path, |w| w.write_all(b"new")).unwrap();
        assert_eq!(read_file(&path, 3).unwrap(), b"new");
        assert_eq!(names(directory.path()), ["a.json"]);
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.json");
        write_atomic(&path, |w| w.write_all(b"old")).unwrap();
        let failed = write_atomic(&path, |w| {
            w.write_all(&vec![b'x'; 1 << 20])?;
            Err(io::Error::other("disk full"))
        });
        assert!(failed.unwrap_err().to_string().contains("disk full"));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(directory.path()), ["a.json"]);
        // Renaming onto a directory fails after the write; the temporary goes too.
        fs::create_dir(directory.path().join("b")).unwrap();
        assert!(write_atomic(&directory.path().join("b"), |w| w.write_all(b"x")).is_err());
        assert_eq!(names(directory.path()), ["a.json", "b"]);
    }

    #[test]
    fn leftovers_of_a_killed_process_go_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("sft");
        fs::create_dir(&inner).unwrap();
        let left = temporary_name(&inner.join("model.safetensors")).unwrap();
        let kept = ["a.tmp", ".a.tmp", ".a.1-.tmp", ".a.1-2", "a.1-2.tmp", ".a.x-2.tmp"];
        for path in kept.iter().map(|name| inner.join(name)).chain([left]) {
            fs::write(path, "torn").unwrap();
        }
        remove_temporaries(directory.path(), false).unwrap();
        assert_eq!(names(&inner).len(), kept.len() + 1);
        remove_temporaries(directory.path(), true).unwrap();
        let mut expected = kept.map(String::from);
        expected.sort();
        assert_eq!(names(&inner), expected);
    }

    #[test]
    fn limits_and_kinds_are_checked() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        fs::write(&path, b"one\ntwo \xff").unwrap();
        assert!(read_file(&path, 8).unwrap_err().to_string().contains("at most 8 bytes"));
        assert!(read_file(directory.path(), 8).unwrap_err().to_string().contains("regular file"));
        assert!(matches!(read_file(&directory.path().join("none"), 8), Err(Error::Io { .. })));
        assert!(read_text(&path, 100).unwrap_err().to_string().contains("line 2"));
        fs::write(&path, "\u{feff}text").unwrap();
        assert_eq!(read_text(&path, 100).unwrap(), "text");
    }
}
