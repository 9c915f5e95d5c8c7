//! JSON in which an object has each key once. `serde_json` keeps the last of two equal keys and says nothing:
//! half of what stands in a hostile or clumsy file would not count. Deep nesting ends in its error (at 128),
//! not on the stack.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Parses a whole text.
///
/// # Errors
/// Of `serde_json`; a key that comes twice in its object.
pub fn parse(text: &[u8]) -> serde_json::Result<Value> {
    serde_json::from_slice::<Strict>(text).map(|Strict(value)| value)
}

/// What `serde_json` says about a text, without its place: of a line it would always be "line 1".
pub fn complaint(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or(&text).into()
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

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        Number::from_f64(number).map(Value::Number).ok_or_else(|| E::custom("a number that is not finite"))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
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
