//! Tables in CSV and TSV. The first row names the fields, and every cell is text. CSV is that of RFC 4180: a cell in quotes
//! may hold separators, line ends and doubled quotes, and a quote inside an unquoted cell is plain text. TSV has no quotes,
//! as GLUE and Winogender distribute it: a cell is what stands between two tabs. (The tests are those of `examples`.)

use serde_json::{Map, Value};

use super::fields::Fields;
use crate::error::{Error, Result};

/// The rows of a table, each as a record of texts; the first row names the fields.
///
/// # Errors
/// [`Error::Format`] with the line of a row that has other cells than the head, or of a quote that does not close.
pub(super) fn rows(origin: &str, text: &str) -> Result<Vec<Fields>> {
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
