//! JSON Schema (2020-12), as much of it as the cases' schema uses: any other keyword is an error. (The Python package's
//! tests hold the same files to the library `jsonschema`.)

use regex::Regex;
use serde_json::Value;

/// What is wrong with a value, and where; `None` if it follows the schema.
pub fn fault(schema: &Value, value: &Value) -> Option<String> {
    Schema { root: schema }.fault(schema, value, "")
}

struct Schema<'a> {
    root: &'a Value,
}

impl Schema<'_> {
    fn fault(&self, schema: &Value, value: &Value, at: &str) -> Option<String> {
        let keywords = schema.as_object().expect("a schema is an object");
        keywords.iter().find_map(|(keyword, wanted)| self.keyword(schema, keyword, wanted, value, at))
    }

    fn follows(&self, schema: &Value, value: &Value) -> bool {
        self.fault(schema, value, "").is_none()
    }

    fn keyword(
        &self,
        schema: &Value,
        keyword: &str,
        wanted: &Value,
        value: &Value,
        at: &str,
    ) -> Option<String> {
        let (text, list, object) = (value.as_str(), value.as_array(), value.as_object());
        let schemas = || wanted.as_array().unwrap().iter();
        let matches =
            |pattern: &Value, text: &str| Regex::new(pattern.as_str().unwrap()).unwrap().is_match(text);
        let least = wanted.as_u64().unwrap_or(0) as usize;
        let right = match keyword {
            "$schema" | "$defs" | "title" | "description" => true,
            "$ref" => {
                let path = wanted.as_str().unwrap().strip_prefix('#').expect("a place in this schema");
                return self.fault(self.root.pointer(path).expect("a place in this schema"), value, at);
            }
            "type" => match wanted.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "number" => value.is_number(),
                "integer" => value.is_i64() || value.is_u64(),
                other => panic!("the type {other}"),
            },
            "enum" => wanted.as_array().unwrap().contains(value),
            "const" => wanted.as_f64().map_or(wanted == value, |number| value.as_f64() == Some(number)),
            "minimum" => value.as_f64().is_none_or(|number| number >= wanted.as_f64().unwrap()),
            "pattern" => text.is_none_or(|text| matches(wanted, text)),
            "minLength" => text.is_none_or(|text| text.chars().count() >= least),
            "minItems" => list.is_none_or(|list| list.len() >= least),
            "uniqueItems" => {
                let once = |list: &Vec<Value>| (0..list.len()).all(|i| !list[..i].contains(&list[i]));
                *wanted == false || list.is_none_or(once)
            }
            "items" => {
                let mut items = list.into_iter().flatten().enumerate();
                return items.find_map(|(i, item)| self.fault(wanted, item, &format!("{at}/{i}")));
            }
            "required" => {
                schemas().all(|name| object.is_none_or(|object| object.contains_key(name.as_str().unwrap())))
            }
            "minProperties" => object.is_none_or(|object| object.len() >= least),
            "propertyNames" => {
                let mut names = object.into_iter().flat_map(|object| object.keys());
                names.all(|name| self.follows(wanted, &Value::from(name.as_str())))
            }
            "properties" => {
                let mut known = wanted.as_object().unwrap().iter();
                return known.find_map(|(name, schema)| {
                    self.fault(schema, value.get(name)?, &format!("{at}/{name}"))
                });
            }
            "additionalProperties" => {
                let known = |name: &str| schema["properties"].get(name).is_some();
                let mut others = object.into_iter().flatten().filter(|(name, _)| !known(name));
                return others.find_map(|(name, other)| match wanted {
                    Value::Bool(false) => Some(format!("{at}: no {name} is expected")),
                    schema => self.fault(schema, other, &format!("{at}/{name}")),
                });
            }
            "oneOf" => schemas().filter(|schema| self.follows(schema, value)).count() == 1,
            "anyOf" => schemas().any(|schema| self.follows(schema, value)),
            "not" => !self.follows(wanted, value),
            "if" => !self.follows(wanted, value) || self.follows(&schema["then"], value),
            "then" => true,
            other => panic!("the keyword {other}"),
        };
        (!right).then(|| format!("{at}: {keyword} is {wanted}"))
    }
}

#[test]
fn every_keyword_can_refuse() {
    use serde_json::json;
    for (schema, right, wrong) in [
        (json!({ "type": "integer" }), json!(1), json!(1.5)),
        (json!({ "enum": ["a", 1] }), json!("a"), json!("b")),
        (json!({ "const": 0 }), json!(0.0), json!(1)),
        (json!({ "minimum": 0 }), json!(0), json!(-0.5)),
        (json!({ "pattern": "^a+$" }), json!("aa"), json!("ab")),
        (json!({ "minLength": 1 }), json!("é"), json!("")),
        (json!({ "minItems": 1 }), json!([0]), json!([])),
        (json!({ "uniqueItems": true }), json!([1, 2]), json!([1, 1])),
        (json!({ "items": { "type": "string" } }), json!(["a"]), json!(["a", 1])),
        (json!({ "required": ["a"] }), json!({ "a": 1 }), json!({ "b": 1 })),
        (json!({ "minProperties": 1 }), json!({ "a": 1 }), json!({})),
        (json!({ "propertyNames": { "pattern": "^[A-Z]$" } }), json!({ "A": 1 }), json!({ "a": 1 })),
        (json!({ "properties": { "a": { "type": "string" } } }), json!({ "b": 1 }), json!({ "a": 1 })),
        (
            json!({ "properties": { "a": {} }, "additionalProperties": false }),
            json!({ "a": 1 }),
            json!({ "b": 1 }),
        ),
        (json!({ "additionalProperties": { "type": "string" } }), json!({ "a": "b" }), json!({ "a": 1 })),
        (json!({ "oneOf": [{ "minimum": 1 }, { "minimum": 3 }] }), json!(2), json!(4)),
        (json!({ "anyOf": [{ "minimum": 3 }, { "const": 1 }] }), json!(1), json!(2)),
        (json!({ "not": { "const": 1 } }), json!(2), json!(1)),
        (json!({ "if": { "minimum": 1 }, "then": { "const": 2 } }), json!(0), json!(1)),
        (json!({ "$ref": "#/$defs/a", "$defs": { "a": { "const": 1 } } }), json!(1), json!(2)),
    ] {
        assert_eq!(fault(&schema, &right), None, "{schema}");
        assert!(fault(&schema, &wrong).is_some(), "{schema}");
    }
}
