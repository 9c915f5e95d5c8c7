//! Records in, from a file or standard input, and JSON lines out.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::Path;

use crate::data::Source;
use crate::data::fields::Records;
use crate::error::{Error, Result};
use serde::Serialize;

/// The records of `--input`, read as all data files are: JSON Lines or a JSON array, gzipped or not. Each is there
/// before the next is read, so that a pipe is answered line by line.
pub struct Lines {
    name: String,
    input: Reading,
    /// Where the record read last stands: "line 3", "record 3".
    at: String,
}

/// Nothing is read before the first record is asked for: standard input may be waiting for us.
enum Reading {
    Ahead(Option<Box<dyn BufRead>>),
    Begun(Records<'static>),
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
        Lines { name: name.to_string(), input: Reading::Ahead(Some(reader)), at: String::new() }
    }

    /// The next input of `logprobs`, `score` or `tokenize`; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Format`] with its place if it is no record, or none of the three kinds; [`Error::Io`].
    pub fn input(&mut self) -> Result<Option<Input>> {
        if let Reading::Ahead(reader) = &mut self.input {
            let reader = reader.take().unwrap_or_else(|| Box::new(std::io::empty()));
            self.input = Reading::Begun(Records::new(Source::stream(&self.name, reader)?));
        }
        let Reading::Begun(records) = &mut self.input else { unreachable!("it was begun above") };
        let Some(record) = records.read()? else { return Ok(None) };
        self.at = record.at().to_string();
        let text = |name| record.text(name).map(|text| text.map(str::to_string));
        let texts = (text("text")?, text("prompt")?, text("response")?);
        match (record.tokens("tokens")?, texts) {
            (Some(tokens), (None, None, None)) => Ok(Some(Input::Tokens(tokens))),
            (None, (Some(text), None, None)) => Ok(Some(Input::Text(text))),
            (None, (None, Some(prompt), Some(response))) => Ok(Some(Input::Pair { prompt, response })),
            _ => Err(record.unknown("either \"tokens\", or \"text\", or \"prompt\" with \"response\"")),
        }
    }

    /// An [`Error::Format`] at the record read last, for what only the caller can see ("token 60000").
    pub fn wrong(&self, expected: &str, found: &str, hint: &str) -> Error {
        Error::format(&self.name, &self.at, expected, found, hint)
    }
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

    /// All inputs of a file of these bytes.
    fn inputs(bytes: &[u8]) -> Result<Vec<Input>> {
        let mut lines = Lines::new(Box::new(std::io::Cursor::new(bytes.to_vec())), "in.jsonl");
        let mut inputs = Vec::new();
        while let Some(input) = lines.input()? {
            inputs.push(input);
        }
        Ok(inputs)
    }

    #[test]
    fn what_data_files_may_be_input_may_be() {
        let plain = b"{\"text\":\"a\"}\n{\"tokens\":[3]}\n";
        let expected = inputs(plain).unwrap();
        assert_eq!(expected, [Input::Text("a".into()), Input::Tokens(vec![3])]);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(plain).unwrap();
        let gzip = [gzip.finish().unwrap(), vec![0; 512]].concat();
        for bytes in
            [&["\u{feff}".as_bytes(), plain].concat()[..], &gzip, b"[{\"text\":\"a\"},\n {\"tokens\":[3]}]"]
        {
            assert_eq!(inputs(bytes).unwrap(), expected);
        }
        assert!(inputs(b"").unwrap().is_empty());
    }

    #[test]
    fn errors_say_where() {
        for (text, parts) in [
            ("{\"text\":\"a\"}\n\n{\"text\":", ["line 3, column 8", "EOF"]),
            ("\n{\"tokens\":[-1]}", ["line 2: field \"tokens\"", "found -1"]),
            ("\n{\"tokens\":[1.5]}", ["line 2: field \"tokens\"", "found 1.5"]),
            ("{\"tokens\":[4294967296]}", ["token ids", "found 4294967296"]),
            ("{\"tokens\":[null]}", ["token ids", "found null among them"]),
            ("{\"text\":1}", ["field \"text\"", "expected a string, found a number"]),
            ("{\"prompt\":\"a\"}", ["line 1", "found the fields \"prompt\""]),
            (
                "{\"prompt\":\"a\",\"response\":null}",
                ["line 1", "found the fields \"prompt\", \"response\": null"],
            ),
            ("{\"text\":\"a\",\"tokens\":[]}", ["line 1", "found the fields \"text\", \"tokens\""]),
            ("{}", ["line 1", "no fields"]),
            ("[1]\n", ["record 1", "expected a JSON object, found a number"]),
            ("[null,\"Hello there\",null,null]", ["record 1", "expected a JSON object, found null"]),
            ("text,user\na,b", ["in.jsonl", "a CSV table"]),
        ] {
            let error = inputs(text.as_bytes()).expect_err(text);
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
            let _ = inputs(&bytes);
        }
    }
}
