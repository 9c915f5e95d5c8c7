//! What is said of a configuration that cannot be used.

use crate::error::Error;
use crate::settings::{Section, Settings};

/// An unknown key, with the nearest valid one as hint. A slip of the pen in the right section comes
/// before a right name in the wrong section, which comes before anything else.
pub fn unknown_key(at: String, section: &str, key: &str) -> Error {
    let settings = Settings::default();
    let given_path = if section.is_empty() { key.to_string() } else { format!("{section}.{key}") };
    let mut candidates: Vec<(usize, String)> = Vec::new();
    for (i, s) in std::iter::once(&settings as &dyn Section).chain(settings.sections()).enumerate() {
        for field in s.fields() {
            let moved = if s.key() == section { 0 } else { 3 };
            let by_name = 2 * strsim::damerau_levenshtein(field.name, key) + moved;
            let by_path = 2 * strsim::damerau_levenshtein(&s.path(field.name), &given_path) + 1;
            candidates.push((by_name.min(by_path), s.path(field.name)));
        }
        if i > 0 && section.is_empty() {
            candidates.push((2 * strsim::damerau_levenshtein(s.key(), key), format!("[{}]", s.key())));
        }
    }
    // `min_by_key` keeps the first of equals, so the answer does not depend on anything else.
    let nearest = candidates.into_iter().min_by_key(|c| c.0).map(|c| c.1).unwrap_or_default();
    let known_section = section.is_empty() || settings.sections().iter().any(|s| s.key() == section);
    let found =
        if known_section { format!("unknown key {key:?}") } else { format!("unknown section {section:?}") };
    Error::usage(at, "a key of the configuration", found, format!("the nearest is {nearest}"))
}

/// A value of the wrong type, from serde's words ("invalid type: string "x", expected f32").
pub fn type_error(at: String, message: &str) -> Error {
    let message = message.trim();
    let (found, expected) = message.split_once(", expected ").unwrap_or((message, "a valid value"));
    let expected = match expected {
        "f32" | "f64" => "a number".to_string(),
        "usize" | "u64" => "a whole number from 0 up".to_string(),
        "a boolean" => "true or false".to_string(),
        "a sequence" => "a list, as in [\"a.txt\", \"b.txt\"]".to_string(),
        other => other.replace('`', "\""),
    };
    let found =
        found.trim_start_matches("invalid type: ").trim_start_matches("invalid value: ").replace('`', "");
    Error::usage(at, expected, found, "")
}

/// A file that is not TOML.
pub fn syntax_error(text: &str, origin: &str, error: &toml::de::Error) -> Error {
    let line = error.span().map_or(1, |span| line_of(text, span.start));
    Error::usage(format!("{origin}: line {line}"), "TOML", error.message().replace('\n', ", "), "")
}

/// The number (from 1) of the line that byte `offset` is on.
pub fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset.min(text.len())].iter().filter(|&&b| b == b'\n').count() + 1
}
