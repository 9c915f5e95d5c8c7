//! Configuration files and `--set` overrides.
//!
//! A wrong key, type or value is an [`Error::Usage`] (exit code 2) that names file and line, or the
//! `--set`; an unknown key comes with the nearest valid one. All that is wrong is said at once.

mod mistakes;

use std::collections::BTreeMap;
use std::path::Path;

use crate::checkpoint::atomic::{read_file, read_text};
use crate::checkpoint::config_json::parse_config;
use crate::error::{Error, Result};
use crate::settings::{Section, Settings};
use mistakes::{line_of, syntax_error, type_error, unknown_key};
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table};

/// Reads a configuration file, applies the overrides (`section.key=value`) and validates the result. Paths are
/// relative to the file's folder.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read, [`Error::Usage`] for what is wrong in it or in an override, all of it
/// at once as [`Error::Several`].
pub fn load(path: &Path, overrides: &[String]) -> Result<Settings> {
    load_with_root(path, overrides, path.parent().unwrap_or(Path::new("")))
}

/// [`load`] with paths relative to `root`: limits that are not set follow from the models that are named.
///
/// # Errors
/// As [`load`]; those of a model directory's `config.json`.
pub fn load_with_root(path: &Path, overrides: &[String], root: &Path) -> Result<Settings> {
    // A configuration is a few pages: 16 MiB tell it from a wrong file.
    let text = read_text(path, 16 << 20)?;
    read(&text, &path.display().to_string(), overrides, root)
}

/// [`load`] for a text; `origin` stands for the file's name in messages.
///
/// # Errors
/// As [`load`].
pub fn parse(text: &str, origin: &str, overrides: &[String]) -> Result<Settings> {
    read(text, origin, overrides, Path::new(""))
}

fn read(text: &str, origin: &str, overrides: &[String], root: &Path) -> Result<Settings> {
    let mut given = Given::default();
    given.file(text, origin)?;
    overrides.iter().for_each(|entry| given.set(entry));
    given.settle(origin, root)
}

/// What was given: the keys that can be used, where each stands, and what is wrong with the others.
#[derive(Default)]
struct Given {
    table: Table,
    /// Line in the file and place in words, by `section.key`.
    places: BTreeMap<String, (usize, String)>,
    /// By line in the file.
    faults: Vec<(usize, Error)>,
}

/// Stands for the line of what is not in the file: it comes last.
const NO_LINE: usize = usize::MAX;

impl Given {
    /// Takes the keys of a file.
    ///
    /// # Errors
    /// [`Error::Usage`] if it is not TOML: then nothing else can be said.
    fn file(&mut self, text: &str, origin: &str) -> Result<()> {
        let document = DeTable::parse(text).map_err(|e| syntax_error(text, origin, &e))?;
        let values: Table = toml::from_str(text).map_err(|e| syntax_error(text, origin, &e))?;
        let known = Settings::default();
        for (key, value) in document.get_ref().iter() {
            let (name, line): (&str, usize) = (key.get_ref(), line_of(text, key.span().start));
            let Some(section) = known.sections().into_iter().find(|s| s.key() == name) else {
                self.take("", name, &values[name], value, (text, origin, line));
                continue;
            };
            let DeValue::Table(inner) = value.get_ref() else {
                let at = format!("{origin}: line {line}: {name}");
                self.faults.push((line, Error::usage(at, format!("a section, [{name}]"), "a value", "")));
                continue;
            };
            for (key, value) in inner.iter() {
                let (field, line): (&str, usize) = (key.get_ref(), line_of(text, key.span().start));
                self.take(section.key(), field, &values[name][field], value, (text, origin, line));
            }
        }
        Ok(())
    }

    /// Takes a key of the file, which stands on `line`; a wrong value is where it stands itself.
    fn take(
        &mut self,
        section: &str,
        key: &str,
        value: &toml::Value,
        written: &Spanned<DeValue<'_>>,
        (text, origin, line): (&str, &str, usize),
    ) {
        let path = path(section, key);
        let known = is_known(section, key);
        let line = if known { line_of(text, written.span().start) } else { line };
        let place = format!("{origin}: line {line}: {path}");
        match fault(section, key, value, &place) {
            Some(error) => self.faults.push((line, error)),
            None => self.insert(section, key, value.clone(), (line, place)),
        }
    }

    /// Takes one `section.key=value`; without a value the default stands again.
    fn set(&mut self, entry: &str) {
        let Some((path, text)) = entry.split_once('=') else {
            let hint = "as in ppo.kl_coef=0.05";
            let error = Error::usage("--set", "section.key=value", format!("{entry:?}"), hint);
            return self.faults.push((NO_LINE, error));
        };
        let (path, text) = (path.trim(), text.trim());
        let (section, key) = path.split_once('.').unwrap_or(("", path));
        let (value, place) = (typed(text), format!("--set {path}"));
        if text.is_empty() && is_known(section, key) {
            self.remove(section, key);
        } else if let Some(error) = fault(section, key, &value, &place) {
            self.faults.push((NO_LINE, error));
        } else {
            self.insert(section, key, value, (NO_LINE, place));
        }
    }

    fn section(&mut self, section: &str) -> &mut Table {
        if section.is_empty() {
            return &mut self.table;
        }
        let entry = self.table.entry(section).or_insert_with(|| Table::new().into());
        entry.as_table_mut().expect("only tables are inserted under a section's name")
    }

    fn insert(&mut self, section: &str, key: &str, value: toml::Value, place: (usize, String)) {
        self.section(section).insert(key.into(), value);
        self.places.insert(path(section, key), place);
    }

    fn remove(&mut self, section: &str, key: &str) {
        self.section(section).remove(key);
        self.places.remove(&path(section, key));
    }

    /// The settings, with what follows from others filled in; or all that is wrong.
    fn settle(mut self, origin: &str, root: &Path) -> Result<Settings> {
        let mut settings: Settings = self.table.try_into().expect("each key was tried alone");
        let is_set = |key: &str| self.places.contains_key(key);
        // Where something is wrong already, a directory that cannot be read is not the point.
        let derived = settings.derive_lengths(is_set, |directory| context(&root.join(directory)));
        if self.faults.is_empty() {
            derived?;
        }
        for error in settings.all_faults() {
            let Error::Usage { field, expected, found, hint } = error else { continue };
            let nowhere = (NO_LINE, format!("{origin}: {field}"));
            let (line, field) = self.places.get(&field).cloned().unwrap_or(nowhere);
            self.faults.push((line, Error::Usage { field, expected, found, hint }));
        }
        self.faults.sort_by_key(|(line, _)| *line);
        Error::all(self.faults.into_iter().map(|(_, error)| error).collect())?;
        // Only now are the counts that it follows from known to be right. Without PPO there is no average.
        if settings.ppo.episodes > 0 {
            settings.ppo.ema = Some(settings.ppo.average_decay());
        }
        Ok(settings)
    }
}

/// `section.key`, or the key alone above all sections.
fn path(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_string() } else { format!("{section}.{key}") }
}

fn is_known(section: &str, key: &str) -> bool {
    let settings = Settings::default();
    let mut sections = std::iter::once(&settings as &dyn Section).chain(settings.sections());
    sections.any(|s| s.key() == section && s.fields().iter().any(|field| field.name == key))
}

/// What is wrong with a key by itself: it is not known, or its value is of another type.
fn fault(section: &str, key: &str, value: &toml::Value, at: &str) -> Option<Error> {
    if !is_known(section, key) {
        return Some(unknown_key(at.into(), section, key));
    }
    let mut alone = Table::from_iter([(key.to_string(), value.clone())]);
    if !section.is_empty() {
        alone = Table::from_iter([(section.to_string(), alone.into())]);
    }
    let tried: core::result::Result<Settings, toml::de::Error> = alone.try_into();
    tried.err().map(|error| type_error(at.into(), error.message()))
}

/// The context of the model in a directory.
fn context(directory: &Path) -> Result<usize> {
    let path = directory.join("config.json");
    let (config, _) = parse_config(&read_file(&path, 1 << 24)?, &path.display().to_string())?;
    Ok(config.context)
}

/// A value as TOML types it; what is not TOML (a bare word, a path) is a string.
fn typed(text: &str) -> toml::Value {
    match toml::from_str::<Table>(&format!("value = {text}")) {
        Ok(mut table) if table.len() == 1 => table.remove("value").expect("the only key"),
        _ => toml::Value::String(text.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Head, ModelConfig};
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
        assert_eq!(set(&["tokenizer.from=/a b/c"]).unwrap().tokenizer.from.as_deref(), Some("/a b/c"));
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
            ("[ppo]\nclip = 0.0", ["c.toml: line 2: ppo.clip", "above 0", "0.0"]),
            ("[ppo\nclip = 1", ["line 1", "TOML", ""]),
            ("[ppo]\nclip = 0.1\nclip = 0.2", ["line 3", "TOML", "duplicate"]),
        ] {
            let message = refused(text);
            assert!(parts.iter().all(|part| message.contains(part)), "{message}");
        }
        for (entry, part) in [
            ("ppo.clip=abc", "--set ppo.clip: expected a number, found string \"abc\""),
            ("ppo.clip", "expected section.key=value"),
            ("ppo.clip=nan", "--set ppo.clip: expected a finite number above 0"),
        ] {
            let message = set(&[entry]).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn all_mistakes_are_said_at_once_by_line() {
        let text = "sed = 1\nseed = \"x\"\n[sft]\ndropout = 2.0\nepochs = 0\n[ppo]\nclap = 1\nminibatches = 7\n\
                    [model]\nheads = 5\n[wat]\nx = 1\n";
        let sets = ["ppo.clip=0", "ppo.lambda=x", "ppo.episodes", "nothing.at=1", "model.heads=7"];
        let error = parse(text, "c.toml", &sets.map(String::from)).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let message = error.to_string();
        let starts = [
            "11 mistakes",
            "  c.toml: line 1: sed: expected a key of the configuration, found unknown key \"sed\"; the nearest is seed",
            "  c.toml: line 2: seed: expected a whole number from 0 up, found string \"x\"",
            "  c.toml: line 4: sft.dropout: expected a number from 0 up and below 1, found 2.0",
            "  c.toml: line 7: ppo.clap: ",
            "  c.toml: line 8: ppo.minibatches: expected a divisor of ppo.batch = 512, found 7",
            "  c.toml: line 11: wat: ",
            "  --set ppo.lambda: expected a number, found string \"x\"",
            "  --set: expected section.key=value, found \"ppo.episodes\"",
            "  --set nothing.at: ",
            "  --set ppo.clip: expected a finite number above 0, found 0.0",
            "  --set model.heads: expected a divisor of model.width = 768, found 7; width = heads * head size",
        ];
        assert_eq!(message.lines().count(), starts.len(), "{message}");
        for (line, start) in message.lines().zip(starts) {
            assert!(line.starts_with(start), "{start}\n{message}");
        }
    }

    #[test]
    fn a_small_context_alone_is_enough() {
        let s = parse("[model]\ncontext = 64", "c.toml", &[]).unwrap();
        let lengths = |s: &Settings| {
            [
                s.data.max_prompt_tokens,
                s.data.max_response_tokens,
                s.ppo.max_prompt_tokens,
                s.ppo.max_response_tokens,
            ]
        };
        assert_eq!(lengths(&s), [32; 4]);
        // What is written says so, and a limit that is put back is derived again.
        assert_eq!(parse(&s.to_toml(), "again", &[]).unwrap(), s);
        let text = "[model]\ncontext = 64\n[ppo]\nmax_prompt_tokens = 20";
        assert_eq!(lengths(&parse(text, "c.toml", &[]).unwrap()), [32, 32, 20, 32]);
        assert_eq!(lengths(&parse(text, "c.toml", &["ppo.max_prompt_tokens=".into()]).unwrap()), [32; 4]);
        assert!(
            refused("[model]\ncontext = 64\n[ppo]\nmax_prompt_tokens = 64")
                .contains("ppo.max_response_tokens")
        );
    }

    #[test]
    fn limits_follow_from_a_model_directory() {
        let root = tempfile::tempdir().unwrap();
        let config = ModelConfig::gpt2(300, 40, 8, 1, 1);
        let text = crate::checkpoint::config_json::config_json(&config, Head::LanguageModel, None);
        std::fs::create_dir(root.path().join("gpt2")).unwrap();
        std::fs::write(root.path().join("gpt2/config.json"), text).unwrap();
        let path = root.path().join("c.toml");
        std::fs::write(&path, "[pretrain]\ninit_from = \"gpt2\"").unwrap();
        let s = load(&path, &[]).unwrap();
        assert_eq!((s.data.max_prompt_tokens, s.ppo.max_response_tokens), (20, 20));
        // Elsewhere there is no such directory.
        let error = load_with_root(&path, &[], Path::new("nowhere")).unwrap_err();
        assert!(error.to_string().contains("gpt2/config.json"), "{error}");
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
