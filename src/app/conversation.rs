//! Cases for a program in any language, over its standard input and output: JSON lines there and back.
//!
//! A line to it is `{"id":..,"function":..,"settings":{..},"inputs":{NAME:{"shape":[..],"data":[..]}}}`, an input that is
//! no array stands there as it is; an answer is `{"id":..,"outputs":{NAME:..}}`, with arrays in the same form or as lists in
//! lists, or `{"id":..,"skip":"why"}`. Answers may come in any order.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::data::program;
use crate::error::{Error, Result};
use crate::fixtures::{Array, Arrays, Case, Vectors};

/// Asks a program (a line of the system's shell) all cases; its outputs by case. A case that it does not answer is not
/// there.
///
/// # Errors
/// Those of [`program::ask`]; [`Error::Format`] for a line that is no answer, and a case answered twice.
pub fn ask(command: &str, vectors: &Vectors, cases: &[&Case]) -> Result<BTreeMap<String, Arrays>> {
    let mut answers = BTreeMap::new();
    let questions = cases.iter().map(|case| question(vectors, case).to_string()).collect();
    program::ask(command, questions, |number, line| {
        let answer = answer(vectors, cases, line);
        let (id, arrays) = answer.map_err(|wrong| refusal(command, number, wrong))?;
        match answers.insert(id.clone(), arrays) {
            None => Ok(()),
            Some(_) => Err(refusal(command, number, ("each case answered once".into(), id))),
        }
    })?;
    Ok(answers)
}

fn refusal(command: &str, number: usize, (expected, found): (String, String)) -> Error {
    let found: String = found.chars().take(80).collect();
    let hint = "`instructgpt verify --template numpy` writes a program that speaks this";
    Error::format(format!("`{command}`"), program::at(number), expected, found, hint)
}

fn question(vectors: &Vectors, case: &Case) -> Value {
    let input = |name: &String| (name.clone(), vectors.input(case, name).to_json());
    let inputs: Map<String, Value> = case.inputs.keys().map(input).collect();
    json!({ "id": case.id, "function": case.function, "settings": case.settings, "inputs": inputs })
}

/// The id and the outputs of a line; or what was expected and found.
fn answer(
    vectors: &Vectors,
    cases: &[&Case],
    line: &str,
) -> core::result::Result<(String, Arrays), (String, String)> {
    let form =
        || Err(("{\"id\":..,\"outputs\":{..}} or {\"id\":..,\"skip\":..}".to_string(), line.to_string()));
    let Ok(Value::Object(said)) = serde_json::from_str(&in_quotes(line)) else { return form() };
    let id = said.get("id").and_then(Value::as_str).unwrap_or_default();
    let Some(case) = cases.iter().find(|case| case.id == id) else {
        return Err(("the id of a case that was asked".into(), line.into()));
    };
    let outputs = match (said.get("outputs"), said.get("skip")) {
        (Some(Value::Object(outputs)), None) if said.len() == 2 => outputs,
        (None, Some(_)) if said.len() == 2 => &Map::new(),
        _ => return form(),
    };
    let mut arrays = Arrays::new();
    for (name, value) in outputs {
        if !case.outputs.contains_key(name) {
            // A function gives all it has; which of it a case asks for is the case's.
            if vectors.of(&case.function).any(|other| other.outputs.contains_key(name)) {
                continue;
            }
            let names: Vec<&str> = case.outputs.keys().map(String::as_str).collect();
            return Err((format!("outputs of {id}: {}", names.join(", ")), name.clone()));
        }
        let array = Array::from_answer(value);
        let array = array
            .ok_or_else(|| (format!("{id}, {name}: numbers in lists of one shape"), value.to_string()))?;
        arrays.insert(name.clone(), array);
    }
    Ok((id.to_string(), arrays))
}

/// The words that Python writes for what is no number in quotes, so that a line is JSON.
fn in_quotes(line: &str) -> String {
    let (mut text, mut rest) = (String::with_capacity(line.len()), line);
    while let Some(first) = rest.chars().next() {
        let word = ["NaN", "-Infinity", "Infinity"].into_iter().find(|word| rest.starts_with(word));
        let length = match (first, word) {
            ('"', _) => string(rest),
            (_, Some(word)) => {
                text += &format!("\"{word}\"");
                rest = &rest[word.len()..];
                continue;
            }
            _ => first.len_utf8(),
        };
        text += &rest[..length];
        rest = &rest[length..];
    }
    text
}

/// The length of the string that begins a text, both of its quotes included; the whole text if it does not end.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_is_put_in_quotes_and_strings_are_left_alone() {
        for (line, expected) in [
            ("{\"y\":[NaN, -Infinity,Infinity]}", "{\"y\":[\"NaN\", \"-Infinity\",\"Infinity\"]}"),
            ("{\"NaN\":\"\\\"NaN\\\\\",\"é\":1}", "{\"NaN\":\"\\\"NaN\\\\\",\"é\":1}"),
            ("\"NaN", "\"NaN"),
            ("", ""),
        ] {
            assert_eq!(in_quotes(line), expected);
        }
    }
}
