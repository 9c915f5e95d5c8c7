//! The documents of a public benchmark as the world distributes them: JSON Lines, a JSON array, one JSON object over many
//! lines, or a table in CSV or TSV; gzipped or not. Which of them a file is shows in its content, never in its name.

use std::path::Path;

use serde_json::Value;

use super::fields::{Fields, Records};
use super::source::Source;
use super::table;
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
        false => table::rows(&origin, &text)?,
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
