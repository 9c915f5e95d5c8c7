//! JSON in which an object has each key once. `serde_json` keeps the last of two equal keys and says nothing:
//! half of what stands in a hostile or clumsy file would not count. Deep nesting ends in its error (at 128),
//! not on the stack.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::encoding::without_mark;
use crate::error::Error;

/// Parses a whole text; a byte order mark may stand before it.
///
/// # Errors
/// Of `serde_json`; a key that comes twice in its object. [`refusal`] puts them into the user's terms.
pub fn parse(text: &[u8]) -> serde_json::Result<Value> {
    serde_json::from_slice::<Strict>(without_mark(text)).map(|Strict(value)| value)
}

/// Where a piece of JSON begins in its file: line and column, from 1.
pub type Start = (usize, usize);

/// The error of a text that was refused, with its one place in the file: the text begins at `start` of `origin`.
/// `expected` is said where `serde_json` does not know better.
pub fn refusal(
    origin: impl ToString,
    text: &[u8],
    start: Start,
    expected: &str,
    error: &serde_json::Error,
    hint: &str,
) -> Error {
    let said = error.to_string();
    let said = said.split(" at line ").next().unwrap_or_default();
    let (expected, found) = match (said.strip_prefix("expected "), said.split_once(", expected ")) {
        (Some(wanted), _) => (named(wanted), shown(without_mark(text), error)),
        (None, Some((found, wanted))) => (named(wanted), found.replace("invalid type: ", "")),
        (None, None) => (expected.to_string(), said.to_string()),
    };
    Error::format(origin, place(error, start), expected, found, hint)
}

/// "line 31, column 26"; nothing for an error that has no place.
fn place(error: &serde_json::Error, (line, column): Start) -> String {
    match (error.line(), error.column()) {
        (0, _) => String::new(),
        (1, offset) => format!("line {line}, column {}", (column - 1 + offset).max(1)),
        (lines, column) => format!("line {}, column {column}", line - 1 + lines),
    }
}

/// What `serde_json` wants, in the user's terms.
fn named(wanted: &str) -> String {
    match wanted {
        "value" => "a JSON value".to_string(),
        "ident" => "null, true or false".to_string(),
        other => other.replace('`', "\""),
    }
}

/// The text at an error's place.
fn shown(text: &[u8], error: &serde_json::Error) -> String {
    let line = text.split(|&byte| byte == b'\n').nth(error.line().saturating_sub(1)).unwrap_or_default();
    let rest = line.get(error.column().saturating_sub(1)..).unwrap_or_default();
    match String::from_utf8_lossy(rest).trim_end() {
        "" => "the end of the line".to_string(),
        rest => format!("{:?}", rest.chars().take(20).collect::<String>()),
    }
}

/// What a value is, for a message.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// A [`Value`] whose objects have each key once.
#[derive(Default)]
pub struct Strict(pub Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: serde::de::Error>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Value, E> {
        Number::from_f64(number).map(Value::Number).ok_or_else(|| E::custom("a number that is not finite"))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Strict(value)) = sequence.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if object.contains_key(&key) {
                return Err(A::Error::custom(format!("the key {key:?} twice")));
            }
            let Strict(value) = map.next_value()?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_key_once_at_any_depth() {
        for text in [r#"{"a":1,"a":1}"#, r#"[{"b":{"a":1,"a":null}}]"#, r#"{"a":1,"\u0061":2}"#] {
            let error = parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("the key \"a\" twice"), "{error}");
        }
        assert!(parse(br#"{"a":{"a":1},"b":[{"a":1},{"a":2}]}"#).is_ok());
    }

    #[test]
    fn a_mark_is_passed_over_and_a_refusal_has_one_place() {
        assert_eq!(parse("\u{feff}[1]".as_bytes()).unwrap(), serde_json::json!([1]));
        for (text, start, expected) in [
            ("{\"a\": NaN}", (31, 1), "x: line 31, column 7: expected a JSON value, found \"NaN}\""),
            ("{\"a\": NaN}", (3, 5), "x: line 3, column 11: expected a JSON value, found \"NaN}\""),
            ("{\n\"a\" 1}", (3, 5), "x: line 4, column 5: expected \":\", found \"1}\""),
            ("{\"a\":", (2, 1), "x: line 2, column 5: expected J, found EOF while parsing a value"),
            ("[1 2]", (1, 1), "x: line 1, column 4: expected \",\" or \"]\", found \"2]\""),
        ] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert_eq!(refusal("x", text.as_bytes(), start, "J", &error, "").to_string(), expected);
        }
        let error = serde_json::from_str::<u8>("\"a\"").unwrap_err();
        let message = refusal("x", b"\"a\"", (1, 1), "J", &error, "").to_string();
        assert_eq!(message, "x: line 1, column 3: expected u8, found string \"a\"");
    }

    #[test]
    fn deep_nesting_is_an_error_and_no_overflow() {
        for open in ["[", "{\"a\":"] {
            let error = parse(open.repeat(100_000).as_bytes()).unwrap_err().to_string();
            assert!(error.contains("recursion limit"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn everything_else_is_as_serde_json_has_it(
            pieces in proptest::collection::vec(prop::sample::select(alloc::vec![
                "{", "}", "[", "]", ":", ",", " ", "\"a\"", "\"b\"", "null", "true", "-1", "1e400", "0.1",
                "18446744073709551615", "18446744073709551616", "\"\\u00e9\\n\"", "\"",
            ]), 0..12)
        ) {
            let text: String = pieces.concat();
            match (parse(text.as_bytes()), serde_json::from_str::<Value>(&text)) {
                (Ok(found), Ok(expected)) => prop_assert_eq!(found, expected),
                (Err(found), Err(expected)) => {
                    prop_assert!(found.to_string().contains("twice") || found.to_string() == expected.to_string());
                }
                (Err(found), Ok(_)) => prop_assert!(found.to_string().contains("twice"), "{text}: {found}"),
                (Ok(_), Err(expected)) => prop_assert!(false, "{text}: {expected}"),
            }
        }
    }
}
