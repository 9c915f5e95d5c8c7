//! The documents of a public benchmark as the world distributes them: JSON Lines, a JSON array, one JSON object over many
//! lines, or a table in CSV or TSV; gzipped or not. Which of them a file is shows in its content, never in its name.
//!
//! A table's first row names its fields, and every cell is text. CSV is that of RFC 4180: a cell in quotes may hold
//! separators, line ends and doubled quotes, and a quote inside an unquoted cell is plain text. TSV has no quotes, as
//! GLUE and Winogender distribute it: a cell is what stands between two tabs.

use std::path::Path;

use serde_json::{Map, Value};

use super::fields::{Fields, Records};
use super::source::Source;
use crate::error::{Error, Result};
use crate::text::json;

/// The documents of a file, at least one.
///
/// # Errors
/// [`Error::Io`]; [`Error::Format`] with the line of what is no record or row.
pub fn load_examples(path: &Path) -> Result<Vec<Fields>> {
    read_examples(Source::open(path)?)
}

/// [`load_examples`] of what was opened already.
///
/// # Errors
/// As [`load_examples`].
pub fn read_examples(source: Source) -> Result<Vec<Fields>> {
    let origin = source.origin().to_string();
    let text = source.read_all()?;
    let examples = match text.trim_start().starts_with(['{', '[']) {
        true => records(&origin, &text)?,
        false => table(&origin, &text)?,
    };
    match examples.is_empty() {
        true => Err(Error::format(origin, "", "at least one document", "none", "")),
        false => Ok(examples),
    }
}

fn records(origin: &str, text: &str) -> Result<Vec<Fields>> {
    if let Some(whole) = one_object(origin, text) {
        return Ok(vec![whole]);
    }
    let mut records = Records::new(Source::from_bytes(origin, text.as_bytes())?);
    let mut all = Vec::new();
    while let Some(record) = records.read()? {
        all.push(record);
    }
    Ok(all)
}

/// The object that a file is as a whole, if its first line is not one already.
fn one_object(origin: &str, text: &str) -> Option<Fields> {
    let first = text.trim_start().lines().next().filter(|line| line.starts_with('{'))?;
    if json::parse(first.as_bytes()).is_ok() {
        return None;
    }
    match json::parse(text.as_bytes()) {
        Ok(Value::Object(map)) => Some(Fields::row(map, origin, "record 1".into())),
        _ => None,
    }
}

fn table(origin: &str, text: &str) -> Result<Vec<Fields>> {
    let mut rows = Rows::new(origin, text);
    let Some((line, names)) = rows.next_row()? else { return Ok(Vec::new()) };
    if let Some(twice) = (1..names.len()).find(|&i| names[..i].contains(&names[i])) {
        let found = format!("\"{}\" twice", names[twice]);
        return Err(Error::format(origin, format!("line {line}"), "a table's head", found, ""));
    }
    let mut all = Vec::new();
    while let Some((line, cells)) = rows.next_row()? {
        let at = format!("line {line}");
        if cells.len() != names.len() {
            let expected = format!("{} cells, as in the table's head", names.len());
            return Err(Error::format(origin, at, expected, cells.len(), ""));
        }
        let map: Map<String, Value> =
            names.iter().cloned().zip(cells.into_iter().map(Value::String)).collect();
        all.push(Fields::row(map, origin, at));
    }
    Ok(all)
}

/// The rows of a table, with the lines on which they begin.
struct Rows<'a> {
    origin: &'a str,
    text: &'a str,
    /// Of the next byte, from 0, and the line it is on, from 1.
    at: usize,
    line: usize,
    separator: u8,
    quotes: bool,
}

impl<'a> Rows<'a> {
    /// The head tells what separates: a tab, or else a comma, or else a semicolon.
    fn new(origin: &'a str, text: &'a str) -> Self {
        let head = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let separator = [b'\t', b','].into_iter().find(|&byte| head.as_bytes().contains(&byte));
        let separator = separator.unwrap_or(b';');
        Rows { origin, text, at: 0, line: 1, separator, quotes: separator != b'\t' }
    }

    /// The next row and its line; empty lines are passed over.
    fn next_row(&mut self) -> Result<Option<(usize, Vec<String>)>> {
        while self.at < self.text.len() {
            let (begin, line) = (self.at, self.line);
            let mut cells = vec![self.cell()?];
            while self.byte() == Some(self.separator) {
                self.at += 1;
                cells.push(self.cell()?);
            }
            let blank = self.text[begin..self.at].trim().is_empty() && cells.len() == 1;
            self.end_line();
            if !blank {
                return Ok(Some((line, cells)));
            }
        }
        Ok(None)
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Passes `\n`, `\r\n`, or a `\r` at the end of the file.
    fn end_line(&mut self) {
        if self.byte() == Some(b'\r') {
            self.at += 1;
        }
        if self.byte() == Some(b'\n') {
            (self.at, self.line) = (self.at + 1, self.line + 1);
        }
    }

    /// The cell that begins here; afterwards the next byte is a separator, a line's end or none.
    fn cell(&mut self) -> Result<String> {
        if self.quotes && self.byte() == Some(b'"') {
            return self.quoted();
        }
        let rest = &self.text[self.at..];
        let end = rest.bytes().position(|byte| byte == self.separator || byte == b'\n').unwrap_or(rest.len());
        // A carriage return belongs to the line's end.
        let ends_line = rest.as_bytes().get(end) != Some(&self.separator);
        let cell =
            if ends_line { rest[..end].strip_suffix('\r').unwrap_or(&rest[..end]) } else { &rest[..end] };
        self.at += cell.len();
        Ok(cell.to_string())
    }

    fn quoted(&mut self) -> Result<String> {
        let begin = self.line;
        let wrong = |line: usize, expected: &str, found: &str| {
            Error::format(
                self.origin,
                format!("line {line}"),
                expected,
                found,
                "a quote inside a cell is doubled",
            )
        };
        let mut cell = String::new();
        let mut at = self.at + 1;
        loop {
            let Some(length) = self.text[at..].find('"') else {
                return Err(wrong(begin, "a closing quote for the one on this line", "the end of the file"));
            };
            cell.push_str(&self.text[at..at + length]);
            at += length + 1;
            if self.text.as_bytes().get(at) != Some(&b'"') {
                break;
            }
            cell.push('"');
            at += 1;
        }
        let line = begin + self.text[self.at..at].matches('\n').count();
        let rest = &self.text[at..];
        let ends =
            rest.is_empty() || rest.starts_with(['\n', self.separator as char]) || rest.starts_with("\r\n");
        if !ends {
            let found = format!("{:?}", rest.chars().take(20).collect::<String>());
            return Err(wrong(line, "a separator or the line's end after a closing quote", &found));
        }
        (self.at, self.line) = (at, line);
        Ok(cell)
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::tests::gzip;
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Vec<(String, Value)>> {
        let examples = read_examples(Source::from_bytes("x", text.as_bytes())?)?;
        Ok(examples.into_iter().map(|fields| (fields.at().to_string(), fields.value())).collect())
    }

    fn json(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    /// The rules of RFC 4180, section 2.
    #[test]
    fn csv_is_that_of_the_rfc() {
        let text = "a,b,\r\n1,\"x, \"\"y\"\"\r\nz\",\r\n\r\n \"2\", 3 \"q\" ,4";
        let rows = read(text).unwrap();
        assert_eq!(rows[0], ("line 2".into(), json(r#"{"a":"1","b":"x, \"y\"\r\nz","":""}"#)));
        assert_eq!(rows[1], ("line 5".into(), json(r#"{"a":" \"2\"","b":" 3 \"q\" ","":"4"}"#)));
        assert_eq!(read("a;b\n1,5;\"2\"\n").unwrap()[0].1, json(r#"{"a":"1,5","b":"2"}"#));
        assert_eq!(read("a,b\r\n1,2\r").unwrap()[0].1, json(r#"{"a":"1","b":"2"}"#));
        assert_eq!(read("a,b\n,").unwrap()[0].1, json(r#"{"a":"","b":""}"#));
    }

    #[test]
    fn tsv_has_no_quotes() {
        let rows = read("id\ttext, or so\n1\t\"a\" said \"b\r\n\n2\t, \t\n");
        let message = rows.unwrap_err().to_string();
        assert!(message.contains("line 4: expected 2 cells, as in the table's head, found 3"), "{message}");
        let rows = read("\ttext\n1\t\"a\" said \"b\r\n\n2\t, ").unwrap();
        assert_eq!(rows[0], ("line 2".into(), json(r#"{"":"1","text":"\"a\" said \"b"}"#)));
        assert_eq!(rows[1].1, json(r#"{"":"2","text":", "}"#));
    }

    #[test]
    fn every_form_gives_the_same_documents() {
        let expected = vec![json(r#"{"a":"1","b":"é"}"#), json(r#"{"a":"2","b":""}"#)];
        for text in [
            "a,b\n1,é\n2,\n",
            "a\tb\n1\té\n2\t",
            "{\"a\":\"1\",\"b\":\"é\"}\n\n{\"a\":\"2\",\"b\":\"\"}",
            "\u{feff}[{\"a\":\"1\",\"b\":\"é\"},{\"a\":\"2\",\"b\":\"\"}]",
        ] {
            let values = |examples: Vec<Fields>| examples.iter().map(Fields::value).collect::<Vec<_>>();
            for bytes in [text.as_bytes().to_vec(), gzip(text.as_bytes())] {
                let examples = read_examples(Source::from_bytes("x.bin", &bytes).unwrap()).unwrap();
                assert_eq!(values(examples), expected, "{text}");
            }
        }
    }

    #[test]
    fn an_object_may_span_lines() {
        let expected = json(r#"{"a":{"b":["1"]},"c":"2"}"#);
        for text in [
            "{\n \"a\": {\n  \"b\": [\"1\"]\n },\n \"c\": \"2\"\n}\n",
            "\n{\"a\":{\"b\":[\"1\"]},\n\"c\":\"2\"}",
        ] {
            assert_eq!(read(text).unwrap(), [("record 1".into(), expected.clone())]);
        }
        assert_eq!(read("{\"a\":{\"b\":[\"1\"]},\"c\":\"2\"}\n").unwrap(), [("line 1".into(), expected)]);
    }

    #[test]
    fn errors_say_where() {
        for (text, place) in [
            ("", "x: expected at least one document, found none"),
            ("a,b\n", "x: expected at least one document, found none"),
            ("[]", "x: expected at least one document, found none"),
            ("a,b\n1,2\n3\n", "x: line 3: expected 2 cells, as in the table's head, found 1"),
            ("a,b,a\n1,2,3\n", "x: line 1: expected a table's head, found \"a\" twice"),
            (
                "a,b\n1,\"2\n\n3",
                "x: line 2: expected a closing quote for the one on this line, found the end",
            ),
            ("a,b\n\"1\n\"x,2", "x: line 3: expected a separator or the line's end after a closing quote"),
            ("{\"a\":1}\n{", "x: line 2"),
            ("{\n\"a\":1\n", "x: line 1, column 1: expected a JSON object"),
            ("{\"a\":1}\n\n{\"b\":\n2}", "x: line 3"),
            ("a,b\n1,\u{1}", "x: line 2: expected text, found a control character"),
        ] {
            let message = read(text).unwrap_err().to_string();
            assert!(message.starts_with(place), "{text}: {message}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a,;\"\t\r\n é]{0,40}") {
            let _ = read(&text);
        }

        /// What a writer by the RFC writes is read back.
        #[test]
        fn csv_goes_round(cells in proptest::collection::vec("[a,\"\r\n é]{0,6}", 4)) {
            let quoted = |text: &String| format!("\"{}\"", text.replace('"', "\"\""));
            let text = format!(
                "a,b\r\n{},{}\r\n{},{}\r\n", quoted(&cells[0]), quoted(&cells[1]), quoted(&cells[2]), quoted(&cells[3])
            );
            let values: Vec<String> = read(&text).unwrap().iter()
                .flat_map(|(_, row)| ["a", "b"].map(|name| row[name].as_str().unwrap().to_string())).collect();
            prop_assert_eq!(values, cells);
        }
    }
}
