//! Where bytes come from: a file or standard input, plain or gzipped (told apart by content, not by name), or memory.
//! What is no text is refused by its name, see `content.rs`.
//!
//! Limits, so that a hostile file ends in an error and not in all of the memory: at most
//! [`MAX_BYTES`] in all, unless records are taken one at a time; [`MAX_LINE`] in a record; and a gzipped file may not
//! grow more than [`MAX_RATIO`]-fold (text shrinks about 3-fold; the format allows 1000-fold) once it passes 16 MiB.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

use flate2::bufread::GzDecoder;

use super::content::{self, GZIP};
use crate::error::{Error, Result};
use crate::text::encoding::{self, MARK};

/// Most bytes a file may hold, after decompression.
pub const MAX_BYTES: u64 = 4 << 30;
/// Most bytes a line of JSON Lines, or an element of a JSON array, may hold.
pub const MAX_LINE: usize = 64 << 20;
/// Most bytes that one byte of gzip may become, beyond the first 16 MiB.
pub const MAX_RATIO: u64 = 200;

/// Decompressed bytes and the name of where they come from.
pub struct Source<'a> {
    origin: String,
    reader: Box<dyn BufRead + 'a>,
    /// Where the next byte stands, from 1.
    line: usize,
    column: usize,
}

/// A piece of JSON as it stands in a file.
#[derive(Debug)]
pub(super) struct Piece {
    pub text: String,
    /// Line and column (from 1) of its first byte.
    pub start: (usize, usize),
}

impl<'a> Source<'a> {
    /// Opens a regular file.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::Format`] when it is no regular file, or none of text.
    pub fn open(path: &Path) -> Result<Source<'static>> {
        let failed = |error: io::Error| Error::io(path.display(), "read", error);
        let metadata = fs::metadata(path).map_err(failed)?;
        if !metadata.is_file() {
            let hint = "name the files one by one";
            return Err(Error::format(path.display(), "", "a regular file", "a directory or device", hint));
        }
        let reader = BufReader::with_capacity(1 << 16, File::open(path).map_err(failed)?);
        Source::new(path.display().to_string(), Box::new(reader), Limits::of(metadata.len()))
    }

    /// Reads from memory; `origin` names it in messages.
    ///
    /// # Errors
    /// [`Error::Format`] when it is no text.
    pub fn from_bytes(origin: &str, bytes: &'a [u8]) -> Result<Source<'a>> {
        Source::new(origin.to_string(), Box::new(bytes), Limits::of(bytes.len() as u64))
    }

    /// Reads from anything, without a limit on the whole: for records that are answered one at a time.
    ///
    /// # Errors
    /// [`Error::Format`] when it is no text, [`Error::Io`].
    pub fn stream(origin: &str, reader: Box<dyn BufRead + 'a>) -> Result<Source<'a>> {
        Source::new(origin.to_string(), reader, Limits { plain: u64::MAX, gzip: u64::MAX })
    }

    fn new(origin: String, reader: Box<dyn BufRead + 'a>, limits: Limits) -> Result<Source<'a>> {
        let (start, mut reader) = begin(&origin, reader)?;
        if start == GZIP {
            let members = Members { decoder: Some(GzDecoder::new(reader)) };
            let limited = Limited { reader: members, left: limits.gzip, limit: limits.gzip };
            reader = begin(&origin, Box::new(BufReader::new(limited)))?.1;
        } else if limits.plain < u64::MAX {
            let limited = Limited { reader, left: limits.plain, limit: limits.plain };
            reader = Box::new(BufReader::new(limited));
        }
        Ok(Source { origin, reader, line: 1, column: 1 })
    }

    /// The name in messages.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    fn peek(&mut self) -> Result<&[u8]> {
        // Two steps, as a borrow that is returned cannot also be mapped into an error of `self`.
        if let Err(error) = self.reader.fill_buf() {
            return Err(self.error(error));
        }
        Ok(self.reader.fill_buf().unwrap_or_default())
    }

    /// Takes one byte that was peeked at.
    pub(super) fn skip(&mut self, byte: u8) {
        self.reader.consume(1);
        self.pass(byte);
    }

    fn pass(&mut self, byte: u8) {
        match byte {
            b'\n' => (self.line, self.column) = (self.line + 1, 1),
            _ => self.column += 1,
        }
    }

    /// "line 3, column 7": where the next byte stands.
    pub(super) fn place(&self) -> String {
        format!("line {}, column {}", self.line, self.column)
    }

    /// Passes over blanks and empty lines; the byte after them, if there is one.
    pub(super) fn first_byte(&mut self) -> Result<Option<u8>> {
        loop {
            let buffer = self.peek()?;
            let Some(&first) = buffer.first() else { return Ok(None) };
            if !first.is_ascii_whitespace() {
                return Ok(Some(first));
            }
            self.skip(first);
        }
    }

    /// The rest of the line, without its end (`\n` or `\r\n`); `None` at the end of the file.
    pub(super) fn next_line(&mut self) -> Result<Option<Piece>> {
        let start = (self.line, self.column);
        let mut bytes = Vec::new();
        let limited = &mut self.reader.by_ref().take(MAX_LINE as u64 + 1);
        if let Err(error) = limited.read_until(b'\n', &mut bytes) {
            return Err(self.error(error));
        }
        if bytes.is_empty() {
            return Ok(None);
        }
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
            (self.line, self.column) = (self.line + 1, 1);
        }
        self.piece(bytes, start).map(Some)
    }

    /// The value that begins here in an array: up to the comma or bracket that follows it, or the end of the file.
    /// Whether it is JSON is not looked at.
    pub(super) fn next_element(&mut self) -> Result<Piece> {
        let start = (self.line, self.column);
        let (mut bytes, mut depth, mut in_string, mut escaped) = (Vec::new(), 0usize, false, false);
        while bytes.len() <= MAX_LINE {
            let Some(&byte) = self.peek()?.first() else { break };
            match byte {
                _ if escaped => escaped = false,
                b'\\' if in_string => escaped = true,
                b'"' => in_string = !in_string,
                _ if in_string => {}
                b',' | b']' if depth == 0 => break,
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            self.skip(byte);
            bytes.push(byte);
        }
        self.piece(bytes, start)
    }

    fn piece(&self, bytes: Vec<u8>, start: (usize, usize)) -> Result<Piece> {
        if bytes.len() > MAX_LINE {
            let (at, expected) =
                (format!("line {}", start.0), format!("at most {MAX_LINE} bytes in a record"));
            return Err(Error::format(&self.origin, at, expected, "more", "is this JSON Lines?"));
        }
        Ok(Piece { text: encoding::utf8(bytes, &self.origin, start.0)?, start })
    }

    /// Everything as text.
    pub(super) fn read_all(mut self) -> Result<String> {
        let mut bytes = Vec::new();
        if let Err(error) = self.reader.read_to_end(&mut bytes) {
            return Err(self.error(error));
        }
        if let Some((at, wrong)) = content::control_character(&bytes) {
            let line = 1 + bytes[..at].iter().filter(|&&byte| byte == b'\n').count();
            return Err(Error::format(&self.origin, format!("line {line}"), "text", wrong.name, wrong.hint));
        }
        encoding::utf8(bytes, &self.origin, 1)
    }

    /// The first 64 KiB, or all of a smaller file.
    pub(super) fn start(self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match self.reader.take(1 << 16).read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(error) => Err(read_error(&self.origin, error)),
        }
    }

    fn error(&self, error: io::Error) -> Error {
        read_error(&self.origin, error)
    }
}

/// Looks at the first bytes: gives them with a reader of the whole, a byte order mark left out.
fn begin<'a>(origin: &str, mut reader: Box<dyn BufRead + 'a>) -> Result<(Vec<u8>, Box<dyn BufRead + 'a>)> {
    let start = content::beginning(&mut reader).map_err(|error| read_error(origin, error))?;
    if let Some(wrong) = content::binary(&start) {
        return Err(Error::format(origin, "", "text, plain or gzipped", wrong.name, wrong.hint));
    }
    if start == MARK.as_bytes() {
        return Ok((start, reader));
    }
    Ok((start.clone(), Box::new(Cursor::new(start).chain(reader))))
}

/// Most bytes of text, by how they are stored.
struct Limits {
    plain: u64,
    gzip: u64,
}

impl Limits {
    /// Those of a file of `size` bytes.
    fn of(size: u64) -> Limits {
        Limits { plain: MAX_BYTES, gzip: size.saturating_mul(MAX_RATIO).clamp(16 << 20, MAX_BYTES) }
    }
}

/// The members of gzip data one after another. As with `gzip -d`, zeros may follow them: tapes and some programs
/// fill up their blocks.
struct Members<R> {
    decoder: Option<GzDecoder<R>>,
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(decoder) = &mut self.decoder else { return Ok(0) };
            let count = decoder.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            let rest = decoder.get_mut();
            while rest.fill_buf()?.first() == Some(&0) {
                rest.consume(1);
            }
            let more = !rest.fill_buf()?.is_empty();
            let rest = self.decoder.take().map(GzDecoder::into_inner);
            self.decoder = rest.filter(|_| more).map(GzDecoder::new);
        }
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
        assert_eq!(text(&gzip("\u{feff}marked".as_bytes())).unwrap(), "marked");
        assert_eq!(
            text(&[&gzip(b"one "), &[0; 700][..], &gzip(b"two"), &[0; 9]].concat()).unwrap(),
            "one two"
        );
        let rubbish = text(&[&gzip(b"one"), &b"x"[..]].concat()).unwrap_err().to_string();
        assert!(rubbish.contains("complete gzip data"), "{rubbish}");
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
    fn what_is_no_text_is_refused_by_name() {
        for (bytes, words) in [
            (&b"PK\x03\x04"[..], ["x: expected text", "a zip archive"]),
            (b"PAR1", ["x: expected text", "pandas.read_parquet"]),
            (&gzip(b"%PDF-1.7"), ["x: expected text", "a PDF document"]),
            (b"\xff\xfea\0", ["UTF-16 text", "iconv -f UTF-16"]),
            (b"a\0b\0", ["line 1", "UTF-16 text"]),
            (b"a\n\0", ["line 2", "a zero byte"]),
            (b"a\n\x02", ["line 2", "a control character"]),
            (b"a\n\xe9", ["line 2", "WINDOWS-1252"]),
        ] {
            let error = text(bytes).unwrap_err().to_string();
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        }
    }

    /// A pipe that holds one line and is not closed: to read on would wait for ever.
    struct Pipe(Cursor<Vec<u8>>);
    impl Read for Pipe {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buffer)? {
                0 => panic!("read beyond the line"),
                count => Ok(count),
            }
        }
    }

    #[test]
    fn a_line_of_a_pipe_is_read_before_the_next_one_comes() {
        for bytes in [b"P\n".to_vec(), "\u{feff}P\n".into()] {
            let pipe = Box::new(BufReader::new(Pipe(Cursor::new(bytes))));
            let mut source = Source::stream("x", pipe).unwrap();
            assert_eq!(source.next_line().unwrap().unwrap().text, "P");
        }
    }

    #[test]
    fn lines_have_numbers_ends_and_limits() {
        let mut source = Source::from_bytes("x", b"a\r\n\nb\r\xff\n").unwrap();
        let mut next = || source.next_line().map(|piece| piece.map(|piece| (piece.start.0, piece.text)));
        assert_eq!(next().unwrap(), Some((1, "a".to_string())));
        assert_eq!(next().unwrap(), Some((2, String::new())));
        assert!(next().unwrap_err().to_string().contains("line 3"));
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
