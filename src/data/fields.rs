//! Records as JSON objects: one per line (JSON Lines), or in one array. Which of the two a file is shows
//! in its first byte. Empty lines are passed over. Unknown fields are ignored: data sets carry many.

use std::fmt;

use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::source::{Source, read_error};
use crate::error::{Error, Result};
use crate::text::json::{self, Strict};

/// One record and where it stands.
pub struct Fields {
    map: Map<String, Value>,
    origin: String,
    at: String,
}

/// Calls `visit` for each record in order, holding one at a time; stops at the first error.
///
/// # Errors
/// [`Error::Format`] with the line for anything that is no JSON object; `visit`'s own.
pub fn for_each_record(mut source: Source, mut visit: impl FnMut(&Fields) -> Result<()>) -> Result<()> {
    if source.first_byte()? == Some(b'[') {
        return for_each_element(source, &mut visit);
    }
    while let Some((number, line)) = source.next_line()? {
        if line.trim().is_empty() {
            continue;
        }
        let at = format!("line {number}");
        let value = json::parse(line.as_bytes()).map_err(|error| {
            let hint = "the format is one JSON object per line, or one JSON array";
            Error::format(source.origin(), &at, "a JSON object", error, hint)
        })?;
        visit(&Fields::new(value, source.origin(), at)?)?;
    }
    Ok(())
}

fn for_each_element(source: Source, visit: &mut dyn FnMut(&Fields) -> Result<()>) -> Result<()> {
    let (origin, reader, first_line) = source.into_reader();
    let mut deserializer = serde_json::Deserializer::from_reader(reader);
    let mut elements = Elements { origin: &origin, visit, failed: None };
    let parsed = deserializer.deserialize_seq(&mut elements).and_then(|()| deserializer.end());
    match (elements.failed, parsed) {
        (Some(error), _) => Err(error),
        (None, Ok(())) => Ok(()),
        (None, Err(error)) if error.is_io() => Err(read_error(&origin, error.into())),
        (None, Err(error)) => {
            let at = format!("line {}", first_line - 1 + error.line());
            Err(Error::format(&origin, at, "a JSON array of objects", error, ""))
        }
    }
}

/// Visits an array's elements as they are read.
struct Elements<'a> {
    origin: &'a str,
    visit: &'a mut dyn FnMut(&Fields) -> Result<()>,
    /// Our own error, which does not fit through the parser's.
    failed: Option<Error>,
}

impl<'de> Visitor<'de> for &mut Elements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> std::result::Result<(), A::Error> {
        let mut count = 0;
        while let Some(Strict(value)) = sequence.next_element()? {
            count += 1;
            let record = Fields::new(value, self.origin, format!("record {count}"));
            if let Err(error) = record.and_then(|record| (self.visit)(&record)) {
                self.failed = Some(error);
                return Err(A::Error::custom("a record is wrong"));
            }
        }
        Ok(())
    }
}

impl Fields {
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

    /// The value of a field; `null` counts as absent.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.map.get(name).filter(|value| !value.is_null())
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
        self.text(name)?.ok_or_else(|| self.missing(name))
    }

    /// An array that must be there.
    ///
    /// # Errors
    /// When it is missing or no array.
    pub fn required_array(&self, name: &str) -> Result<&[Value]> {
        match self.get(name) {
            None => Err(self.missing(name)),
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

    fn missing(&self, name: &str) -> Error {
        self.unknown(&format!("a field \"{name}\""))
    }

    /// The error of a record with the wrong fields.
    pub fn unknown(&self, expected: &str) -> Error {
        let names: Vec<_> = self.map.keys().take(10).map(|name| format!("\"{name:.40}\"")).collect();
        let found =
            if names.is_empty() { "no fields".to_string() } else { format!("only {}", names.join(", ")) };
        Error::format(&self.origin, &self.at, expected, found, "")
    }

    /// A record inside this one, at the same place.
    pub(super) fn inner(&self, value: &Value) -> Result<Fields> {
        Fields::new(value.clone(), &self.origin, self.at.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::tests::gzip;
    use super::*;
    use proptest::prelude::*;

    fn texts(bytes: &[u8]) -> Result<Vec<String>> {
        let mut texts = Vec::new();
        for_each_record(Source::from_bytes("x", bytes)?, |record| {
            texts.push(format!("{}: {}", record.at(), record.required_text("t")?));
            Ok(())
        })?;
        Ok(texts)
    }

    #[test]
    fn lines_and_arrays_give_the_same_records() {
        let lines = b"\n{\"t\":\"a\"}\r\n  \n{\"t\":\"b\",\"other\":1}";
        assert_eq!(texts(lines).unwrap(), ["line 2: a", "line 4: b"]);
        assert_eq!(texts(&gzip(lines)).unwrap(), ["line 2: a", "line 4: b"]);
        let array = b"\n [ {\"t\":\"a\"},\n{\"t\":\"b\",\"other\":1}]\n";
        assert_eq!(texts(array).unwrap(), ["record 1: a", "record 2: b"]);
        assert!(texts(b" \n").unwrap().is_empty());
    }

    #[test]
    fn an_empty_name_is_nobody() {
        let mut users = Vec::new();
        let lines =
            b"{\"user\":\"\"}\n{\"user\":\" \\t\"}\n{\"user\":null}\n{}\n{\"user\":\" u \"}\n{\"user\":0}";
        for_each_record(Source::from_bytes("x", lines).unwrap(), |record| {
            users.push(record.person("user")?);
            Ok(())
        })
        .unwrap();
        assert_eq!(users, [None, None, None, None, Some(" u ".to_string()), Some("0".to_string())]);
    }

    #[test]
    fn errors_say_where() {
        let nested = format!("{{\"t\":\"a\"}}\n{}", "[".repeat(100_000));
        let nested_array = "[".repeat(100_000);
        for (bytes, place) in [
            (&b"{\"t\":\"a\"}\n{\"t\":"[..], "line 2"),
            (b"{\"t\":\"a\"}\n[1]", "line 2"),
            (b"{\"t\":\"a\"}\n{\"t\":\"\xff\"}", "line 2"),
            (b"{\"t\":1}", "line 1: field \"t\""),
            (b"{\"u\":1}", "line 1: expected a field \"t\", found only \"u\""),
            (b"{\n\"t\":\"a\"\n}", "line 1"),
            (b"\n[{\"t\":\"a\"},\n3]", "record 2"),
            (b"\n[{\"t\":\"a\"},\n{\"t\" 3}]", "line 3"),
            (b"[{\"t\":\"a\"}", "line 1"),
            (b"[{\"t\":\"a\"}] x", "line 1"),
            (b"[{\"t\":\"\xff\"}]", "line 1"),
            (nested.as_bytes(), "line 2"),
            (nested_array.as_bytes(), "line 1"),
        ] {
            let error = texts(bytes).unwrap_err().to_string();
            assert!(error.starts_with("x: ") && error.contains(place), "{place}: {error}");
        }
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = texts(&bytes);
            let _ = texts(&[b"[", &bytes[..]].concat());
            let _ = texts(&[&[0x1f, 0x8b, 8, 0][..], &bytes].concat());
        }

        #[test]
        fn mutated_gzip_never_panics(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = gzip(b"{\"t\":\"a\"}\n{\"t\":\"b\"}\n");
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = texts(&bytes);
        }
    }
}
