//! Configuration files and `--set` overrides.
//!
//! A wrong key, type or value is an [`Error::Usage`] (exit code 2) that names file and line, or the
//! `--set`; an unknown key comes with the nearest valid one.

use std::path::Path;

use crate::checkpoint::atomic::read_text;
use crate::error::{Error, Result};
use crate::settings::{Section, Settings};
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table};

/// Reads a configuration file, applies the overrides (`section.key=value`) and validates the result.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read, [`Error::Usage`] for what is wrong in it or in an override.
pub fn load(path: &Path, overrides: &[String]) -> Result<Settings> {
    // A configuration is a few pages: 16 MiB tell it from a wrong file.
    let text = read_text(path, 16 << 20)?;
    parse(&text, &path.display().to_string(), overrides)
}

/// [`load`] for a text; `origin` stands for the file's name in messages.
///
/// # Errors
/// [`Error::Usage`].
pub fn parse(text: &str, origin: &str, overrides: &[String]) -> Result<Settings> {
    let mut settings = parse_file(text, origin)?;
    // The file was accepted above, so it reads as a table, and its values have the right types.
    let mut table: Table = toml::from_str(text).map_err(|e| syntax_error(text, origin, &e))?;
    for entry in overrides {
        apply(&mut table, entry)?;
        settings = table.clone().try_into().map_err(|e: toml::de::Error| {
            let key = entry.split('=').next().unwrap_or_default().trim();
            type_error(format!("--set {key}"), e.message())
        })?;
    }
    settings.validate().map_err(|error| match error {
        Error::Usage { field, expected, found, hint } => {
            Error::Usage { field: format!("{origin}: {field}"), expected, found, hint }
        }
        other => other,
    })?;
    Ok(settings)
}

/// The file alone, without overrides and without [`Settings::validate`].
fn parse_file(text: &str, origin: &str) -> Result<Settings> {
    let document = DeTable::parse(text).map_err(|e| syntax_error(text, origin, &e))?;
    let document = document.get_ref();
    let known = Settings::default();
    let place = |offset: usize, key: &str| format!("{origin}: line {}: {key}", line_of(text, offset));
    for (key, value) in document.iter() {
        let name: &str = key.get_ref();
        let at = place(key.span().start, name);
        let Some(section) = known.sections().into_iter().find(|s| s.key() == name) else {
            if known.fields().iter().all(|f| f.name != name) {
                return Err(unknown_key(at, "", name));
            }
            continue;
        };
        let DeValue::Table(inner) = value.get_ref() else {
            return Err(Error::usage(at, format!("a section, [{name}]"), "a value", ""));
        };
        for key in inner.keys() {
            let field: &str = key.get_ref();
            if section.fields().iter().all(|f| f.name != field) {
                return Err(unknown_key(place(key.span().start, &section.path(field)), name, field));
            }
        }
    }
    toml::from_str(text).map_err(|e| match e.span() {
        Some(span) => type_error(place(span.start, &key_at(document, span.start)), e.message()),
        None => type_error(origin.to_string(), e.message()),
    })
}

/// Applies one `section.key=value` to the table of a file.
fn apply(table: &mut Table, entry: &str) -> Result<()> {
    let Some((path, value)) = entry.split_once('=') else {
        return Err(Error::usage(
            "--set",
            "section.key=value",
            format!("{entry:?}"),
            "as in ppo.kl_coef=0.05",
        ));
    };
    let (path, value) = (path.trim(), value.trim());
    let (section, key) = path.split_once('.').unwrap_or(("", path));
    let known = Settings::default();
    let at = || format!("--set {path}");
    let target = if section.is_empty() {
        if known.fields().iter().all(|f| f.name != key) {
            return Err(unknown_key(at(), "", key));
        }
        table
    } else {
        let Some(fields) = known.sections().into_iter().find(|s| s.key() == section).map(|s| s.fields())
        else {
            return Err(unknown_key(at(), section, key));
        };
        if fields.iter().all(|f| f.name != key) {
            return Err(unknown_key(at(), section, key));
        }
        let entry = table.entry(section).or_insert_with(|| Table::new().into());
        entry.as_table_mut().expect("the file's sections were checked to be tables")
    };
    if value.is_empty() {
        target.remove(key);
    } else {
        target.insert(key.into(), typed(value));
    }
    Ok(())
}

/// A value as TOML types it; what is not TOML (a bare word, a path) is a string.
fn typed(text: &str) -> toml::Value {
    match toml::from_str::<Table>(&format!("value = {text}")) {
        Ok(mut table) if table.len() == 1 => table.remove("value").expect("the only key"),
        _ => toml::Value::String(text.to_string()),
    }
}

/// An unknown key, with the nearest valid one as hint. A slip of the pen in the right section comes
/// before a right name in the wrong section, which comes before anything else.
fn unknown_key(at: String, section: &str, key: &str) -> Error {
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
fn type_error(at: String, message: &str) -> Error {
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
fn syntax_error(text: &str, origin: &str, error: &toml::de::Error) -> Error {
    let line = error.span().map_or(1, |span| line_of(text, span.start));
    Error::usage(format!("{origin}: line {line}"), "TOML", error.message().replace('\n', ", "), "")
}

/// The number (from 1) of the line that byte `offset` is on.
fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset.min(text.len())].iter().filter(|&&b| b == b'\n').count() + 1
}

/// The `section.key` whose value stands at byte `offset`.
fn key_at(document: &DeTable<'_>, offset: usize) -> String {
    let holds = |value: &Spanned<DeValue<'_>>| value.span().contains(&offset);
    for (key, value) in document.iter() {
        if let DeValue::Table(inner) = value.get_ref() {
            if let Some((field, _)) = inner.iter().find(|(_, v)| holds(v)) {
                return format!("{}.{}", key.get_ref(), field.get_ref());
            }
        } else if holds(value) {
            return key.get_ref().to_string();
        }
    }
    "configuration".into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(entries: &[&str]) -> Result<Settings> {
        let entries: Vec<String> = entries.iter().map(|s| s.to_string()).collect();
        parse("seed = 3\n[ppo]\nkl_coef = 0.1\n", "c.toml", &entries)
    }

    /// The message for a text that must be refused.
    fn refused(text: &str) -> String {
        let error = parse(text, "c.toml", &[]).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error}");
        error.to_string()
    }

    #[test]
    fn a_file_and_overrides() {
        let s = set(&["ppo.ptx_coef=0", "sft.select=last", "seed=7", "data.prompts=[\"a\", \"b\"]"]).unwrap();
        assert_eq!((s.seed, s.ppo.kl_coef, s.ppo.ptx_coef), (7, 0.1, 0.0));
        assert_eq!(s.sft.select, crate::settings::Select::Last);
        assert_eq!(s.data.prompts, ["a", "b"]);
        assert_eq!(
            set(&["pretrain.init_from=/a b/c"]).unwrap().pretrain.init_from.as_deref(),
            Some("/a b/c")
        );
        assert_eq!(set(&["ppo.kl_coef="]).unwrap().ppo.kl_coef, 0.02, "no value: the default");
    }

    #[test]
    fn unknown_keys_name_line_and_nearest() {
        for (text, line, nearest) in [
            ("sed = 1", "line 1: sed", "nearest is seed"),
            ("\n[ppo]\nkl_coeff = 1", "line 3: ppo.kl_coeff", "nearest is ppo.kl_coef\n"),
            ("[sft]\nkl_coef = 1", "line 2: sft.kl_coef", "nearest is ppo.kl_coef\n"),
            ("[rewardmodel]\nbatch = 2", "line 1: rewardmodel", "nearest is [reward_model]\n"),
            ("kl_coef = 0.1", "line 1: kl_coef", "nearest is ppo.kl_coef\n"),
        ] {
            let message = refused(text) + "\n";
            assert!(message.contains(line) && message.contains(nearest), "{message}");
        }
        let message = set(&["ppo.minibatch=4"]).unwrap_err().to_string();
        assert!(message.contains("--set ppo.minibatch") && message.ends_with("ppo.minibatches"), "{message}");
        let message = set(&["pp.clip=0.3"]).unwrap_err().to_string();
        assert!(message.contains("unknown section \"pp\"") && message.ends_with("ppo.clip"), "{message}");
    }

    #[test]
    fn wrong_types_and_values_name_the_key() {
        for (text, parts) in [
            ("[ppo]\n\nkl_coef = \"x\"", ["line 3: ppo.kl_coef", "expected a number", "string \"x\""]),
            ("seed = -1", ["line 1: seed", "a whole number from 0 up", "-1"]),
            ("[sft]\nselect = \"best\"", ["line 2: sft.select", "\"validation_loss\"", "best"]),
            ("[data]\nworld = 1", ["line 2: data.world", "true or false", "1"]),
            ("ppo = 3", ["line 1: ppo", "[ppo]", "a value"]),
            ("[ppo]\nclip = 0.0", ["c.toml: ppo.clip", "above 0", "0.0"]),
            ("[ppo\nclip = 1", ["line 1", "TOML", ""]),
            ("[ppo]\nclip = 0.1\nclip = 0.2", ["line 3", "TOML", "duplicate"]),
        ] {
            let message = refused(text);
            assert!(parts.iter().all(|part| message.contains(part)), "{message}");
        }
        for (entry, part) in [
            ("ppo.clip=abc", "--set ppo.clip: expected a number, found string \"abc\""),
            ("ppo.clip", "expected section.key=value"),
            ("ppo.clip=nan", "ppo.clip: expected a finite number above 0"),
        ] {
            let message = set(&[entry]).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn a_missing_file_is_an_io_error() {
        let error = load(Path::new("no/such.toml"), &[]).unwrap_err();
        assert_eq!(error.exit_code(), 1);
        assert!(error.to_string().contains("no/such.toml"));
    }

    #[test]
    fn what_is_written_reads_back() {
        let s = set(&["ppo.kl_coef=0.30000001", "adam.epsilon=1e-5"]).unwrap();
        assert_eq!(parse(&s.to_toml(), "again", &[]).unwrap(), s);
    }

    proptest! {
        #[test]
        fn no_text_and_no_override_panics(text in "[a-z\\[\\]\\.=\" 0-9\n]{0,60}", entry in "[a-z\\.]{0,12}=?[^\n]{0,12}") {
            let _ = parse(&text, "c.toml", &[]);
            let _ = set(&[&entry]);
        }
    }
}
