//! Records as JSON objects: one per line (JSON Lines), or in one array. Which of the two a file is shows
//! in its first byte. Empty lines are passed over. Unknown fields are ignored: data sets carry many.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::content;
use super::source::{Piece, Source};
use crate::error::{Error, Result};
use crate::text::json;

/// One record and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Fields {
    map: Map<String, Value>,
    origin: String,
    at: String,
}

/// The records of a source in order, one at a time: each is there before the next is read.
pub struct Records<'a> {
    source: Source<'a>,
    /// `None` before the first byte.
    form: Option<Form>,
    /// Elements of the array that were read.
    count: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Form {
    Lines,
    Array,
}

const FORMAT: &str = "the format is one JSON object per line, or one JSON array";

impl<'a> Records<'a> {
    /// Nothing is read yet.
    pub fn new(source: Source<'a>) -> Self {
        Records { source, form: None, count: 0 }
    }

    /// The next record; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Format`] with line and column for anything that is no JSON object. Do not go on after it.
    pub fn read(&mut self) -> Result<Option<Fields>> {
        if self.form.is_none() {
            let array = self.source.first_byte()? == Some(b'[');
            self.form = Some(if array { Form::Array } else { Form::Lines });
        }
        let Some((at, piece)) = (match self.form {
            Some(Form::Array) => self.element()?,
            _ => self.line()?,
        }) else {
            return Ok(None);
        };
        let value = json::parse(piece.text.as_bytes()).map_err(|error| self.refusal(&piece, &error))?;
        Fields::new(value, self.source.origin(), at).map(Some)
    }

    fn line(&mut self) -> Result<Option<(String, Piece)>> {
        while let Some(piece) = self.source.next_line()? {
            if !piece.text.trim().is_empty() {
                return Ok(Some((format!("line {}", piece.start.0), piece)));
            }
        }
        Ok(None)
    }

    fn element(&mut self) -> Result<Option<(String, Piece)>> {
        match (self.count, self.source.first_byte()?) {
            (0, Some(b'[')) => {
                self.source.skip(b'[');
                if self.source.first_byte()? == Some(b']') {
                    return self.end();
                }
            }
            (1.., Some(b',')) => self.source.skip(b','),
            (1.., Some(b']')) => return self.end(),
            (_, found) => {
                let found = if found.is_none() { "the end of the file" } else { "something else" };
                return Err(self.wrong("\",\" or \"]\" after an element of the array", found));
            }
        }
        if self.source.first_byte()?.is_none() {
            return Err(self.wrong("an element of the array", "the end of the file"));
        }
        self.count += 1;
        Ok(Some((format!("record {}", self.count), self.source.next_element()?)))
    }

    /// Passes the array's closing bracket, which nothing follows.
    fn end(&mut self) -> Result<Option<(String, Piece)>> {
        self.source.skip(b']');
        match self.source.first_byte()? {
            None => {
                // All that is left is nothing, in lines.
                self.form = Some(Form::Lines);
                Ok(None)
            }
            Some(_) => Err(self.wrong("nothing after the array", "more")),
        }
    }

    fn wrong(&self, expected: &str, found: &str) -> Error {
        Error::format(self.source.origin(), self.source.place(), expected, found, "")
    }

    /// The error of a piece that is no JSON, by what it is instead.
    fn refusal(&self, piece: &Piece, error: &serde_json::Error) -> Error {
        let (origin, text) = (self.source.origin(), piece.text.as_bytes());
        let table = if piece.start.0 == 1 { content::table(origin, text, &BTreeMap::new()) } else { None };
        let binary =
            || content::control_character(text).filter(|(_, wrong)| wrong.name != "a control character");
        if let Some(wrong) = table.or_else(|| binary().map(|(_, wrong)| wrong)) {
            return Error::format(origin, "", "JSON Lines or a JSON array", wrong.name, wrong.hint);
        }
        let lines = self.form == Some(Form::Lines);
        if !piece.text.trim_start().starts_with(['{', '[', '"']) {
            let (line, column) = piece.start;
            let found = match piece.text.trim() {
                "" => "nothing".to_string(),
                text => format!("{:?}", text.chars().take(40).collect::<String>()),
            };
            let hint = if lines { FORMAT } else { "" };
            return Error::format(
                origin,
                format!("line {line}, column {column}"),
                "a JSON object",
                found,
                hint,
            );
        }
        // JSON that goes on in the next line is no JSON Lines; a mistake within the line is one whatever the format.
        let hint = if lines && error.is_eof() { FORMAT } else { "" };
        let expected = match error.to_string().starts_with("trailing characters") && !lines {
            true => "\",\" or \"]\"",
            false => "a JSON object",
        };
        json::refusal(origin, text, piece.start, expected, error, hint)
    }
}

impl Fields {
    /// A row of a table.
    pub(super) fn row(map: Map<String, Value>, origin: &str, at: String) -> Fields {
        Fields { map, origin: origin.to_string(), at }
    }

    fn new(value: Value, origin: &str, at: String) -> Result<Fields> {
        match value {
            Value::Object(map) => Ok(Fields { map, origin: origin.to_string(), at }),
            other => Err(Error::format(origin, at, "a JSON object", json::kind(&other), "")),
        }
    }

    /// Where the record stands: "line 12" or "record 12".
    pub fn at(&self) -> &str {
        &self.at
    }

    /// The name of its file, as messages have it.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The value of a field; `null` counts as absent.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// The names of all fields, in alphabetical order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.map.keys().map(String::as_str)
    }

    /// The record with each field of `columns` under our name for it, and which of these there were. The map goes from
    /// our name to the file's; where a record has both, the mapped one counts.
    pub(super) fn renamed(self, columns: &BTreeMap<String, String>) -> (Fields, BTreeSet<String>) {
        let found: Vec<(String, Value)> = columns
            .iter()
            .filter_map(|(ours, theirs)| Some((ours.clone(), self.map.get(theirs)?.clone())))
            .collect();
        let names = found.iter().map(|(ours, _)| ours.clone()).collect();
        (self.extended(found), names)
    }

    /// The record with these fields besides, or instead.
    pub(super) fn extended(mut self, fields: Vec<(String, Value)>) -> Fields {
        self.map.extend(fields);
        self
    }

    /// Whether a field is there and not null.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The whole record.
    pub fn value(&self) -> Value {
        Value::Object(self.map.clone())
    }

    /// That all of these fields are there.
    ///
    /// # Errors
    /// When one is not; it names them all, and those that are there.
    pub fn require(&self, names: &[&str]) -> Result<()> {
        match names.iter().all(|name| self.has(name)) {
            true => Ok(()),
            false => {
                let names: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
                let fields = if names.len() == 1 { "a field" } else { "the fields" };
                Err(self.unknown(&format!("{fields} {}", names.join(", "))))
            }
        }
    }

    /// A whole number that must be there, from 0 up. A table has it as text.
    ///
    /// # Errors
    /// When it is missing or no such number.
    pub fn whole_number(&self, name: &str) -> Result<usize> {
        const EXPECTED: &str = "a whole number from 0";
        let number = match self.get(name).ok_or_else(|| self.missing(name, EXPECTED))? {
            Value::String(text) => text.trim().parse().map_err(|_| format!("{text:?}")),
            Value::Number(number) => number.as_u64().map(|n| n as usize).ok_or(number.to_string()),
            other => Err(json::kind(other).to_string()),
        };
        number.map_err(|found| self.error(name, EXPECTED, found))
    }

    /// An array of texts that must be there.
    ///
    /// # Errors
    /// When it is missing, no array, or not of strings alone.
    pub fn required_texts(&self, name: &str) -> Result<Vec<String>> {
        let texts = self.required_array(name)?.iter().map(|value| match value {
            Value::String(text) => Ok(text.clone()),
            other => {
                Err(self.error(name, "an array of strings", format!("{} among them", json::kind(other))))
            }
        });
        texts.collect()
    }

    /// A record inside this one that must be there.
    ///
    /// # Errors
    /// When it is missing or no object.
    pub fn required_object(&self, name: &str) -> Result<Fields> {
        match self.get(name) {
            None => Err(self.missing(name, "an object")),
            Some(value @ Value::Object(_)) => self.inner(value),
            Some(other) => Err(self.error(name, "an object", json::kind(other))),
        }
    }

    /// The records of an array inside this one that must be there, each with its place: "line 1, paragraph 3" of what is
    /// called a `each`.
    ///
    /// # Errors
    /// When it is missing, no array, or not of objects alone.
    pub fn objects(&self, name: &str, each: &str) -> Result<Vec<Fields>> {
        let objects = self.required_array(name)?.iter().enumerate();
        let of = |(i, value): (usize, &Value)| {
            Fields::new(value.clone(), &self.origin, format!("{}, {each} {}", self.at, i + 1))
        };
        objects.map(of).collect()
    }

    /// The records that are this one's values, in the alphabetical order of their names, each with its place: "line 1,
    /// nfl_1184". `None` unless there are some and all are objects.
    pub fn object_of_objects(&self) -> Option<Vec<Fields>> {
        let of = |(name, value): (&String, &Value)| {
            Fields::new(value.clone(), &self.origin, format!("{}, {name}", self.at)).ok()
        };
        self.map.iter().map(of).collect::<Option<Vec<Fields>>>().filter(|records| !records.is_empty())
    }

    /// Other fields at the same place.
    pub fn with(&self, map: Map<String, Value>) -> Fields {
        Fields { map, origin: self.origin.clone(), at: self.at.clone() }
    }

    /// A text field, if it is there.
    ///
    /// # Errors
    /// When it is there and no string.
    pub fn text(&self, name: &str) -> Result<Option<&str>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.error(name, "a string", json::kind(other))),
        }
    }

    /// A text field that must be there.
    ///
    /// # Errors
    /// When it is missing or no string.
    pub fn required_text(&self, name: &str) -> Result<&str> {
        self.text(name)?.ok_or_else(|| self.missing(name, "a string"))
    }

    /// A field of token ids, if it is there.
    ///
    /// # Errors
    /// When it is there and no array of such.
    pub fn tokens(&self, name: &str) -> Result<Option<Vec<u32>>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        token_ids(value).map(Some).map_err(|found| self.error(name, "token ids, whole numbers from 0", found))
    }

    /// An array that must be there.
    ///
    /// # Errors
    /// When it is missing or no array.
    pub fn required_array(&self, name: &str) -> Result<&[Value]> {
        match self.get(name) {
            None => Err(self.missing(name, "an array")),
            Some(Value::Array(values)) => Ok(values),
            Some(other) => Err(self.error(name, "an array", json::kind(other))),
        }
    }

    /// `user` or `labeler`: a string, or a number taken as one. An empty or blank string is nobody.
    ///
    /// # Errors
    /// When it is there and neither.
    pub fn person(&self, name: &str) -> Result<Option<String>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.trim().is_empty())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(other) => Err(self.error(name, "a string or a number", json::kind(other))),
        }
    }

    /// The error of a field.
    pub fn error(&self, name: &str, expected: impl ToString, found: impl ToString) -> Error {
        Error::format(&self.origin, format!("{}: field \"{name}\"", self.at), expected, found, "")
    }

    /// The error of a field that is not there, or null.
    fn missing(&self, name: &str, expected: &str) -> Error {
        match self.map.get(name) {
            Some(Value::Null) => self.error(name, expected, "null"),
            _ => self.unknown(&format!("a field \"{name}\"")),
        }
    }

    /// The error of a record that is something else than is wanted.
    pub(super) fn is_no(&self, wanted: &str, format: &str) -> Error {
        Error::format(&self.origin, &self.at, wanted, format, "")
    }

    /// The error of a record with the wrong fields. One that is null is shown as such, as it counts for none.
    pub fn unknown(&self, expected: &str) -> Error {
        let named = |(name, value): (&String, &Value)| match value {
            Value::Null => format!("\"{name:.40}\": null"),
            _ => format!("\"{name:.40}\""),
        };
        let names: Vec<_> = self.map.iter().take(10).map(named).collect();
        let found = if names.is_empty() {
            "no fields".to_string()
        } else {
            format!("the fields {}", names.join(", "))
        };
        Error::format(&self.origin, &self.at, expected, found, "")
    }

    /// A record inside this one, at the same place.
    pub(super) fn inner(&self, value: &Value) -> Result<Fields> {
        Fields::new(value.clone(), &self.origin, self.at.clone())
    }
}

/// The token ids of an array, or what is there instead.
pub(super) fn token_ids(value: &Value) -> std::result::Result<Vec<u32>, String> {
    let Value::Array(values) = value else { return Err(json::kind(value).to_string()) };
    let id = |value: &Value| match value.as_u64().and_then(|id| u32::try_from(id).ok()) {
        Some(id) => Ok(id),
        None if value.is_number() => Err(value.to_string()),
        None => Err(format!("{} among them", json::kind(value))),
    };
    values.iter().map(id).collect()
}

#[cfg(test)]
mod tests;
