//! What a model directory says about sampling: `generation_config.json`, and `config.json` where that is silent.
//! [`GENERATION_CONFIG`] lists every field.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use serde_json::{Map, Value};

use super::config_json::token;
use crate::error::{Error, Result};
use crate::text::fields::{GENERATION_CONFIG, brief, check};
use crate::text::json;

/// What a model directory says about sampling.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Generation {
    /// The tokens that end a text; none if the directory names none.
    pub stop_tokens: Vec<u32>,
    /// A sentence for everything in `generation_config.json` that is not acted upon.
    pub notes: Vec<String>,
}

/// Reads what `generation_config.json` and, where it is not there or names no token that ends a text, `config.json`
/// say about sampling. Each is its name and its contents.
///
/// # Errors
/// [`Error::Format`] naming the key.
pub fn parse_generation(config: (&str, &[u8]), generation: Option<(&str, &[u8])>) -> Result<Generation> {
    let (mut stop_tokens, mut notes) = (Vec::new(), Vec::new());
    for ((origin, bytes), is_generation) in
        generation.into_iter().map(|file| (file, true)).chain([(config, false)])
    {
        let map = match json::parse(bytes) {
            Ok(Value::Object(map)) => map,
            Ok(other) => {
                return Err(Error::format(origin, "", "a JSON object", json::kind(&other), ""));
            }
            Err(error) => return Err(Error::format(origin, "", "a JSON object", error, "")),
        };
        if is_generation {
            notes = check(&map, &[GENERATION_CONFIG], origin)?;
        }
        if stop_tokens.is_empty() {
            stop_tokens = stops(&map, origin)?;
        }
    }
    Ok(Generation { stop_tokens, notes })
}

/// `eos_token_id`: one token, several, or none.
fn stops(fields: &Map<String, Value>, origin: &str) -> Result<Vec<u32>> {
    let name = "eos_token_id";
    let tokens = match fields.get(name) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(values)) => values.iter().map(token).collect(),
        Some(value) => token(value).map(|id| vec![id]),
    };
    tokens.ok_or_else(|| {
        let expected = "a token's id, or a list of them";
        Error::format(origin, format!("field \"{name}\""), expected, brief(&fields[name]), "")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_ends_a_text_comes_from_the_generation_config_first() {
        use alloc::string::ToString;
        let of = |config: Value, generation: Option<Value>| {
            let [config, other] =
                [config, generation.clone().unwrap_or(Value::Null)].map(|file| file.to_string());
            let generation = generation.map(|_| ("generation_config.json", other.as_bytes()));
            parse_generation(("config.json", config.as_bytes()), generation)
        };
        let tokens = |config: Value, generation: Option<Value>| of(config, generation).unwrap().stop_tokens;
        assert!(tokens(json!({}), None).is_empty());
        assert_eq!(tokens(json!({"eos_token_id": 7}), None), [7]);
        assert_eq!(tokens(json!({"eos_token_id": 7}), Some(json!({"eos_token_id": [1, 2]}))), [1, 2]);
        assert_eq!(tokens(json!({"eos_token_id": 7}), Some(json!({"eos_token_id": null}))), [7]);
        let notes = of(json!({}), Some(json!({"repetition_penalty": 1.2}))).unwrap().notes;
        assert!(notes[0].contains("repetition_penalty is 1.2: this is not done here"), "{notes:?}");
        for wrong in [json!("x"), json!(-1), json!([1, null])] {
            let error = of(json!({"eos_token_id": wrong}), None).unwrap_err().to_string();
            assert!(error.starts_with("config.json: field \"eos_token_id\""), "{error}");
        }
        assert!(of(json!({}), Some(json!([]))).unwrap_err().to_string().contains("generation_config.json"));
    }
}
