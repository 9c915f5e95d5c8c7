//! Bytes that are read from anywhere in them: a file's, or those in memory.

#[cfg(feature = "std")]
use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

#[cfg(feature = "std")]
use super::atomic::open_regular;
#[cfg(feature = "std")]
use crate::error::Error;
use crate::error::Result;

/// A known number of bytes, wherever they are.
pub trait ReadAt {
    /// How many.
    fn size(&self) -> u64;

    /// Fills `out` with those from `offset` on, which are there: `offset + out.len() <= size()`.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()>;
}

impl<T: AsRef<[u8]>> ReadAt for T {
    fn size(&self) -> u64 {
        self.as_ref().len() as u64
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        out.copy_from_slice(&self.as_ref()[offset as usize..][..out.len()]);
        Ok(())
    }
}

/// An open file.
#[cfg(feature = "std")]
pub struct DiskFile {
    path: PathBuf,
    file: File,
    size: u64,
}

#[cfg(feature = "std")]
impl DiskFile {
    /// Opens a regular file of at most `limit` bytes.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be opened, [`Error::Format`] when it is larger or no regular file.
    pub fn open(path: &Path, limit: u64) -> Result<DiskFile> {
        let (file, size) = open_regular(path, limit)?;
        Ok(DiskFile { path: path.to_path_buf(), file, size })
    }
}

#[cfg(feature = "std")]
impl ReadAt for DiskFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let mut file = &self.file;
        let read = file.seek(SeekFrom::Start(offset)).and_then(|_| file.read_exact(out));
        read.map_err(|error| Error::io(self.path.display(), "read", error))
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;

    #[test]
    fn a_file_and_its_bytes_read_the_same_from_anywhere() {
        let directory = tempfile::tempdir().unwrap();
        let (path, bytes) = (directory.path().join("x"), b"0123456789");
        std::fs::write(&path, bytes).unwrap();
        let file = DiskFile::open(&path, 10).unwrap();
        for source in [&file as &dyn ReadAt, bytes] {
            assert_eq!(source.size(), 10);
            for (offset, length) in [(7, 3), (0, 4), (10, 0), (2, 1)] {
                let mut out = vec![0; length];
                source.read_at(offset, &mut out).unwrap();
                assert_eq!(out, bytes[offset as usize..][..length]);
            }
        }
        // Cut short behind our back.
        std::fs::write(&path, "012").unwrap();
        let error = file.read_at(0, &mut [0; 10]).unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
    }
}
