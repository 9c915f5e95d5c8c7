//! JSONL on standard input and output: one JSON value a line.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::path::Path;

use crate::error::{Error, Result};
use crate::text::json;
use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest line that is read; more is no record but the wrong file.
const LONGEST_LINE: u64 = 64 << 20;

/// Reads JSONL line by line; blank lines are skipped.
pub struct Lines {
    reader: Box<dyn BufRead>,
    name: String,
    line: usize,
}

impl Lines {
    /// Opens a file, or standard input.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be opened.
    pub fn open(input: Option<&Path>) -> Result<Lines> {
        match input {
            None => Ok(Lines::new(Box::new(std::io::stdin().lock()), "standard input")),
            Some(path) => {
                let name = path.display().to_string();
                let file = File::open(path).map_err(|e| Error::io(&name, "open", e))?;
                Ok(Lines::new(Box::new(BufReader::new(file)), &name))
            }
        }
    }

    /// Reads from anything; `name` stands for it in messages.
    pub fn new(reader: Box<dyn BufRead>, name: &str) -> Lines {
        Lines { reader, name: name.to_string(), line: 0 }
    }

    /// The next record; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Format`] with the line's number if it is not a `T`, [`Error::Io`].
    pub fn record<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = self.reader.by_ref().take(LONGEST_LINE + 1).read_until(b'\n', &mut line);
            if read.map_err(|e| Error::io(&self.name, "read", e))? == 0 {
                return Ok(None);
            }
            self.line += 1;
            if line.len() as u64 > LONGEST_LINE {
                return Err(self.wrong("a line of at most 64 MiB", "a longer one", ""));
            }
            if !line.trim_ascii().is_empty() {
                break;
            }
        }
        serde_json::from_slice(&line)
            .map(Some)
            .map_err(|e| self.wrong("a JSON record", &json::complaint(&e), ""))
    }

    /// The next input of `logprobs`, `score` or `tokenize`; `None` at the end.
    ///
    /// # Errors
    /// As [`Lines::record`], and if the record is none of the three kinds.
    pub fn input(&mut self) -> Result<Option<Input>> {
        let Some(record) = self.record::<Fields>()? else { return Ok(None) };
        match record {
            Fields { tokens: Some(tokens), text: None, prompt: None, response: None } => {
                Ok(Some(Input::Tokens(tokens)))
            }
            Fields { tokens: None, text: Some(text), prompt: None, response: None } => {
                Ok(Some(Input::Text(text)))
            }
            Fields { tokens: None, text: None, prompt: Some(prompt), response: Some(response) } => {
                Ok(Some(Input::Pair { prompt, response }))
            }
            Fields { tokens, text, prompt, response } => {
                let present = [
                    ("tokens", tokens.is_some()),
                    ("text", text.is_some()),
                    ("prompt", prompt.is_some()),
                    ("response", response.is_some()),
                ];
                let present: Vec<&str> = present.iter().filter(|p| p.1).map(|p| p.0).collect();
                let found = if present.is_empty() { "none of them".into() } else { present.join(" and ") };
                Err(self.wrong("either \"tokens\", or \"text\", or \"prompt\" with \"response\"", &found, ""))
            }
        }
    }

    /// An [`Error::Format`] at the line read last, for what only the caller can see ("token 60000").
    pub fn wrong(&self, expected: &str, found: &str, hint: &str) -> Error {
        Error::format(&self.name, format!("line {}", self.line), expected, found, hint)
    }
}

/// Every field an input may have; others are ignored.
#[derive(Deserialize)]
struct Fields {
    tokens: Option<Vec<u32>>,
    text: Option<String>,
    prompt: Option<String>,
    response: Option<String>,
}

/// What a line of input asks about.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// `{"tokens":[..]}`
    Tokens(Vec<u32>),
    /// `{"text":".."}`
    Text(String),
    /// `{"prompt":"..","response":".."}`
    Pair {
        /// What was asked.
        prompt: String,
        /// What was answered.
        response: String,
    },
}

/// Writes lines. When the reader goes away (`| head`), writing simply stops.
pub struct Output {
    writer: Box<dyn Write>,
    open: bool,
}

impl Output {
    /// Standard output.
    pub fn stdout() -> Output {
        Output::new(Box::new(std::io::stdout().lock()))
    }

    /// Writes to anything.
    pub fn new(writer: Box<dyn Write>) -> Output {
        Output { writer, open: true }
    }

    /// Writes a record as one JSON line and flushes it; floats with the fewest digits that read back
    /// to the same bits. `false`: the reader has gone, there is no need to go on.
    ///
    /// # Errors
    /// [`Error::Io`], except for a reader that has gone.
    pub fn record<T: Serialize>(&mut self, record: &T) -> Result<bool> {
        let line = serde_json::to_string(record).expect("records are plain data");
        self.text(&line)
    }

    /// Writes a line of text; otherwise as [`Output::record`].
    ///
    /// # Errors
    /// As [`Output::record`].
    pub fn text(&mut self, line: &str) -> Result<bool> {
        self.piece(&format!("{line}\n"))
    }

    /// Writes a piece of a line; otherwise as [`Output::record`].
    ///
    /// # Errors
    /// As [`Output::record`].
    pub fn piece(&mut self, text: &str) -> Result<bool> {
        if self.open {
            let written = self.writer.write_all(text.as_bytes()).and_then(|()| self.writer.flush());
            match written {
                Ok(()) => {}
                Err(e) if e.kind() == ErrorKind::BrokenPipe => self.open = false,
                Err(e) => return Err(Error::io("standard output", "write", e)),
            }
        }
        Ok(self.open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    fn lines(text: &str) -> Lines {
        Lines::new(Box::new(std::io::Cursor::new(text.as_bytes().to_vec())), "in.jsonl")
    }

    /// A writer whose contents stay readable.
    #[derive(Clone, Default)]
    struct Shared(Rc<RefCell<Vec<u8>>>);
    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.borrow_mut().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_three_kinds_of_input() {
        let mut l = lines(
            "{\"tokens\":[1,2]}\n\n {\"text\":\"é\", \"user\":\"x\"}\r\n{\"prompt\":\"a\",\"response\":\"\"}",
        );
        assert_eq!(l.input().unwrap(), Some(Input::Tokens(vec![1, 2])));
        assert_eq!(l.input().unwrap(), Some(Input::Text("é".into())));
        assert_eq!(l.input().unwrap(), Some(Input::Pair { prompt: "a".into(), response: String::new() }));
        assert_eq!(l.input().unwrap(), None);
    }

    #[test]
    fn errors_count_lines() {
        for (text, parts) in [
            ("{\"text\":\"a\"}\n\n{\"text\":", ["line 3", "EOF"]),
            ("\n{\"tokens\":[-1]}", ["line 2", "-1"]),
            ("{\"prompt\":\"a\"}", ["line 1", "found prompt"]),
            ("{\"text\":\"a\",\"tokens\":[]}", ["line 1", "found tokens and text"]),
            ("{}", ["line 1", "none of them"]),
            ("[1]\n", ["line 1", "in.jsonl"]),
        ] {
            let mut l = lines(text);
            let error = loop {
                match l.input() {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("{text} was accepted"),
                    Err(e) => break e,
                }
            };
            assert_eq!(error.exit_code(), 1);
            let message = error.to_string();
            assert!(parts.iter().all(|p| message.contains(p)), "{message}");
        }
    }

    #[test]
    fn a_reader_that_goes_away_is_no_error() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let mut output = Output::new(Box::new(Closed));
        assert!(!output.text("x").unwrap());
        assert!(!output.record(&1).unwrap());
    }

    proptest! {
        #[test]
        fn floats_read_back_to_the_same_bits(bits in any::<u32>()) {
            let x = f32::from_bits(bits);
            prop_assume!(x.is_finite());
            let written = Shared::default();
            Output::new(Box::new(written.clone())).record(&[x]).unwrap();
            let text = String::from_utf8(written.0.borrow().clone()).unwrap();
            // Both as single and, like most readers, as double precision.
            let single: Vec<f32> = serde_json::from_str(&text).unwrap();
            let double: Vec<f64> = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(single[0].to_bits(), bits);
            prop_assert_eq!((double[0] as f32).to_bits(), bits);
        }

        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let mut l = Lines::new(Box::new(std::io::Cursor::new(bytes)), "x");
            while let Ok(Some(_)) = l.input() {}
        }
    }
}
