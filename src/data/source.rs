//! Where bytes come from: a file, plain or gzipped (told apart by content, not by name), or memory.
//!
//! Limits, so that a hostile file ends in an error and not in all of the memory: at most
//! [`MAX_BYTES`] in all, [`MAX_LINE`] in a line, and a gzip stream may not grow more than
//! [`MAX_RATIO`]-fold (text shrinks about 3-fold; the format allows 1000-fold) once it passes 16 MiB.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use crate::error::{Error, Result};

/// Most bytes a file may hold, after decompression.
pub const MAX_BYTES: u64 = 4 << 30;
/// Most bytes a line of JSON Lines may hold.
pub const MAX_LINE: usize = 16 << 20;
/// Most bytes that one byte of gzip may become, beyond the first 16 MiB.
pub const MAX_RATIO: u64 = 200;

const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Decompressed bytes and the name of where they come from.
pub struct Source<'a> {
    origin: String,
    reader: Box<dyn BufRead + 'a>,
    /// The line that the next byte belongs to, from 1.
    line: usize,
}

impl<'a> Source<'a> {
    /// Opens a regular file.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::Format`] when it is no regular file.
    pub fn open(path: &Path) -> Result<Source<'static>> {
        let failed = |error: io::Error| Error::io(path.display(), "read", error);
        let metadata = fs::metadata(path).map_err(failed)?;
        if !metadata.is_file() {
            let hint = "name the files one by one";
            return Err(Error::format(path.display(), "", "a regular file", "a directory or device", hint));
        }
        let reader = BufReader::with_capacity(1 << 16, File::open(path).map_err(failed)?);
        Source::new(path.display().to_string(), reader, metadata.len())
    }

    /// Reads from memory; `origin` names it in messages.
    ///
    /// # Errors
    /// None but those of reading.
    pub fn from_bytes(origin: &str, bytes: &'a [u8]) -> Result<Source<'a>> {
        Source::new(origin.to_string(), bytes, bytes.len() as u64)
    }

    fn new<'b>(origin: String, mut reader: impl BufRead + 'b, size: u64) -> Result<Source<'b>> {
        let start = reader.fill_buf().map_err(|error| Error::io(&origin, "read", error))?;
        let gzipped = start.starts_with(&GZIP);
        let reader: Box<dyn BufRead + 'b> = if gzipped {
            let limit = size.saturating_mul(MAX_RATIO).clamp(16 << 20, MAX_BYTES);
            Box::new(BufReader::new(Limited { reader: MultiGzDecoder::new(reader), left: limit, limit }))
        } else {
            Box::new(BufReader::new(Limited { reader, left: MAX_BYTES, limit: MAX_BYTES }))
        };
        let mut source = Source { origin, reader, line: 1 };
        source.skip_byte_order_mark()?;
        Ok(source)
    }

    /// The name in messages.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// UTF-8's byte order mark, which some editors write, is no part of the text.
    fn skip_byte_order_mark(&mut self) -> Result<()> {
        let marked = self.peek()?.starts_with("\u{feff}".as_bytes());
        if marked {
            self.reader.consume(3);
        }
        Ok(())
    }

    fn peek(&mut self) -> Result<&[u8]> {
        // Two steps, as a borrow that is returned cannot also be mapped into an error of `self`.
        if let Err(error) = self.reader.fill_buf() {
            return Err(self.error(error));
        }
        Ok(self.reader.fill_buf().unwrap_or_default())
    }

    /// Passes over blanks and empty lines; the byte after them, if there is one.
    pub(super) fn first_byte(&mut self) -> Result<Option<u8>> {
        loop {
            let buffer = self.peek()?;
            let Some(&first) = buffer.first() else { return Ok(None) };
            if !first.is_ascii_whitespace() {
                return Ok(Some(first));
            }
            self.line += usize::from(first == b'\n');
            self.reader.consume(1);
        }
    }

    /// The next line with its number (from 1), without its end (`\n` or `\r\n`); `None` at the end.
    pub(super) fn next_line(&mut self) -> Result<Option<(usize, String)>> {
        let mut bytes = Vec::new();
        let limited = &mut self.reader.by_ref().take(MAX_LINE as u64 + 1);
        if let Err(error) = limited.read_until(b'\n', &mut bytes) {
            return Err(self.error(error));
        }
        let (line, at) = (self.line, format!("line {}", self.line));
        if bytes.is_empty() {
            return Ok(None);
        }
        if bytes.len() > MAX_LINE {
            let expected = format!("at most {MAX_LINE} bytes in a line");
            return Err(Error::format(&self.origin, at, expected, "more", "is this JSON Lines?"));
        }
        self.line += 1;
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Some((line, text))),
            Err(_) => Err(Error::format(&self.origin, at, "UTF-8 text", "a byte that is not", "")),
        }
    }

    /// Everything as text.
    pub(super) fn read_all(mut self) -> Result<String> {
        let mut bytes = Vec::new();
        if let Err(error) = self.reader.read_to_end(&mut bytes) {
            return Err(self.error(error));
        }
        String::from_utf8(bytes).map_err(|error| {
            let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = 1 + valid.iter().filter(|&&byte| byte == b'\n').count();
            Error::format(&self.origin, format!("line {line}"), "UTF-8 text", "a byte that is not", "")
        })
    }

    /// The rest as a reader, and the line it starts in.
    pub(super) fn into_reader(self) -> (String, Box<dyn BufRead + 'a>, usize) {
        (self.origin, self.reader, self.line)
    }

    fn error(&self, error: io::Error) -> Error {
        read_error(&self.origin, error)
    }
}

/// A failed read in the user's terms: damaged gzip data is the file's fault, the rest the system's.
pub(super) fn read_error(origin: &str, error: io::Error) -> Error {
    use io::ErrorKind::{FileTooLarge, InvalidData, InvalidInput, UnexpectedEof};
    match error.kind() {
        InvalidData | InvalidInput | UnexpectedEof => {
            Error::format(origin, "", "complete gzip data", error, "was the file cut short?")
        }
        FileTooLarge => Error::format(origin, "", error, "more", "split the file"),
        _ => Error::io(origin, "read", error),
    }
}

/// Fails, instead of ending, after `limit` bytes.
struct Limited<R> {
    reader: R,
    left: u64,
    limit: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        match self.left.checked_sub(count as u64) {
            Some(left) => self.left = left,
            None => {
                let expected = format!("at most {} bytes of text", self.limit);
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, expected));
            }
        }
        Ok(count)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::io::Write;

    pub(in super::super) fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn text(bytes: &[u8]) -> Result<String> {
        Source::from_bytes("x", bytes)?.read_all()
    }

    #[test]
    fn gzip_is_recognised_by_content_and_may_have_members() {
        assert_eq!(text(b"plain").unwrap(), "plain");
        assert_eq!(text(&[gzip(b"one "), gzip(b"two")].concat()).unwrap(), "one two");
        assert_eq!(text("\u{feff}marked".as_bytes()).unwrap(), "marked");
        assert_eq!(text(b"").unwrap(), "");
    }

    #[test]
    fn every_cut_of_a_gzip_file_is_an_error() {
        let whole = gzip(b"some text that is long enough to be compressed, compressed, compressed");
        for end in 2..whole.len() {
            let error = text(&whole[..end]).expect_err("cut").to_string();
            assert!(error.contains("complete gzip data"), "{end}: {error}");
        }
        let mut altered = whole.clone();
        let at = whole.len() - 6;
        altered[at] ^= 1;
        assert!(text(&altered).is_err());
    }

    #[test]
    fn a_decompression_bomb_is_refused() {
        let bomb = gzip(&vec![b' '; 20 << 20]);
        assert!(bomb.len() < 100_000);
        let error = text(&bomb).unwrap_err().to_string();
        assert!(error.contains("at most"), "{error}");
        let mut source = Source::from_bytes("x", &bomb).unwrap();
        assert!(source.first_byte().is_err());
    }

    #[test]
    fn lines_have_numbers_ends_and_limits() {
        let mut source = Source::from_bytes("x", b"a\r\n\nb\r\xff\n").unwrap();
        assert_eq!(source.next_line().unwrap(), Some((1, "a".to_string())));
        assert_eq!(source.next_line().unwrap(), Some((2, String::new())));
        assert!(source.next_line().unwrap_err().to_string().contains("line 3"));
        let long = vec![b'x'; MAX_LINE + 1];
        let error = Source::from_bytes("x", &long).unwrap().next_line().unwrap_err().to_string();
        assert!(error.contains("line 1"), "{error}");
        assert!(text(b"ok\n\xc3(").unwrap_err().to_string().contains("line 2"));
    }

    #[test]
    fn directories_are_refused() {
        assert!(Source::open(Path::new(env!("CARGO_MANIFEST_DIR"))).is_err());
    }
}
