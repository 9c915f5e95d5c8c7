//! The records of a source, whether JSON or a table in CSV or TSV, under our names: the setting `data.columns` says how a
//! file calls our fields.

use std::collections::{BTreeMap, BTreeSet};
use std::vec::IntoIter;

use serde_json::Value;

use super::fields::{Fields, Records};
use super::source::Source;
use super::{content, table};
use crate::error::Result;
use crate::text::json;

/// Reads one record after another.
pub(super) struct Reader<'a> {
    records: Either<'a>,
    columns: BTreeMap<String, String>,
    /// Our names of the columns that a record had.
    found: BTreeSet<String>,
}

enum Either<'a> {
    Json(Records<'a>),
    Table(IntoIter<Fields>),
}

/// Our fields, as `data.columns` may name them.
pub const NAMES: [&str; 16] = [
    "prompt",
    "response",
    "instruction",
    "input",
    "output",
    "chosen",
    "rejected",
    "responses",
    "ranks",
    "answer1",
    "answer2",
    "user",
    "labeler",
    "use_case",
    "marks",
    "set",
];

/// Fields that hold lists. A table has them as JSON in a cell.
const LISTS: [&str; 3] = ["responses", "ranks", "marks"];

impl<'a> Reader<'a> {
    /// What begins like JSON is JSON; a table is told by its head.
    ///
    /// # Errors
    /// Of the first line, or of a table's rows.
    pub fn new(mut source: Source<'a>, columns: &BTreeMap<String, String>) -> Result<Reader<'a>> {
        let records = match source.first_byte()? {
            None | Some(b'{' | b'[') => Either::Json(Records::new(source)),
            Some(_) => Either::Table(rows(source, columns)?.into_iter()),
        };
        Ok(Reader { records, columns: columns.clone(), found: BTreeSet::new() })
    }

    /// The next record; `None` at the end.
    ///
    /// # Errors
    /// As [`Records::read`].
    pub fn read(&mut self) -> Result<Option<Fields>> {
        let record = match &mut self.records {
            Either::Json(records) => records.read()?,
            Either::Table(rows) => rows.next(),
        };
        let Some(record) = record else { return Ok(None) };
        let (mut record, found) = record.renamed(&self.columns);
        self.found.extend(found);
        if matches!(self.records, Either::Table(_)) {
            record = lists(record)?;
        }
        Ok(Some(record))
    }

    /// Our names of the columns that a record had.
    pub fn found(self) -> BTreeSet<String> {
        self.found
    }
}

fn rows(mut source: Source, columns: &BTreeMap<String, String>) -> Result<Vec<Fields>> {
    let origin = source.origin().to_string();
    let Some(head) = source.next_line()? else { return Ok(Vec::new()) };
    // Lines and columns are counted as in the file.
    let before = |line: usize, column: usize| "\n".repeat(line - 1) + &" ".repeat(column - 1);
    if content::table(&origin, head.text.as_bytes(), columns).is_some() {
        let text = before(head.start.0, 1) + &head.text + "\n" + &source.read_all()?;
        return table::rows(&origin, &text);
    }
    // It is no JSON either: what it is is said by the reader of JSON.
    let text = before(head.start.0, head.start.1) + &head.text;
    let mut records = Records::new(Source::from_bytes(&origin, text.as_bytes())?);
    records.read().map(|record| record.into_iter().collect())
}

fn lists(record: Fields) -> Result<Fields> {
    let mut lists = Vec::new();
    for name in LISTS {
        if let Some(Value::String(cell)) = record.get(name) {
            let list = json::parse(cell.as_bytes()).ok().filter(Value::is_array);
            let list =
                list.ok_or_else(|| record.error(name, "a list in JSON, as in [1, 2]", format!("{cell:?}")))?;
            lists.push((name.to_string(), list));
        }
    }
    Ok(record.extended(lists))
}

/// What any record may say besides what it is.
impl Fields {
    /// The record's file and place in it.
    pub(super) fn place(&self) -> String {
        format!("{}, {}", self.origin(), self.at())
    }
}

#[cfg(test)]
mod tests;
