//! The settings of a labelling project, `label.toml` in its directory: who labels what. All commands read them.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;

use super::record::is_name;
use crate::checkpoint::atomic::{read_text, write_atomic};
use crate::error::{Error, Result};

/// The file's name in the project's directory.
pub const FILE: &str = "label.toml";

/// The file as it is written into a new project: the defaults, explained.
const NEW: &str = r#"# Who labels what. `instructgpt label` reads this file when it starts.

# All draws (which items overlap, the order in which responses are shown, when gold items come) follow from this number.
seed = 1
# The share of items that several labelers see, so that their agreement can be measured.
overlap_share = 0.1
# How many labelers see such an item.
overlap_labelers = 2
# How often a labeler gets a gold item, whose answer is known, as long as there are some.
gold_share = 0.1
# Labelers whose records train nothing: their exports go into a folder of their own (section 3.4 of the paper).
held_out = []
# Who grades the demonstrations of the test of new labelers (appendix B.1).
graders = []
"#;

/// Who labels what.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Seed of all draws.
    pub seed: u64,
    /// Share of the items that several labelers see, 0 to 1.
    pub overlap_share: f64,
    /// How many labelers see such an item.
    pub overlap_labelers: usize,
    /// Probability that a labeler's next item is a gold one, 0 to 1.
    pub gold_share: f64,
    /// Labelers whose data train nothing.
    pub held_out: BTreeSet<String>,
    /// Labelers who grade the demonstrations of the screening.
    pub graders: BTreeSet<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            seed: 1,
            overlap_share: 0.1,
            overlap_labelers: 2,
            gold_share: 0.1,
            held_out: BTreeSet::new(),
            graders: BTreeSet::new(),
        }
    }
}

impl Settings {
    /// Those of a project; a new one gets the file with the defaults.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] for a key that is unknown or out of its range.
    pub fn of(directory: &Path) -> Result<Settings> {
        let path = directory.join(FILE);
        if !path.exists() {
            write_atomic(&path, |file| file.write_all(NEW.as_bytes()))?;
        }
        Settings::parse(&read_text(&path, 1 << 20)?, &path.display().to_string())
    }

    fn parse(text: &str, origin: &str) -> Result<Settings> {
        let settings: Settings = toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| 1 + text[..span.start].matches('\n').count());
            let at = line.map_or(String::new(), |line| format!("line {line}"));
            let expected = "the keys of a labelling project with values of their kind";
            Error::format(origin, at, expected, error.message(), "remove the file to get the defaults")
        })?;
        let wrong = |key: &str, expected: &str, found: &dyn std::fmt::Debug| {
            Err(Error::format(origin, format!("key {key}"), expected, format!("{found:?}"), ""))
        };
        for (key, share) in [("overlap_share", settings.overlap_share), ("gold_share", settings.gold_share)] {
            if !(0.0..=1.0).contains(&share) {
                return wrong(key, "a share from 0 to 1", &share);
            }
        }
        if !(1..=100).contains(&settings.overlap_labelers) {
            return wrong("overlap_labelers", "1 to 100 labelers", &settings.overlap_labelers);
        }
        for (key, names) in [("held_out", &settings.held_out), ("graders", &settings.graders)] {
            if let Some(name) = names.iter().find(|name| !is_name(name)) {
                return wrong(key, "names of 1 to 64 characters", name);
            }
        }
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_a_new_project_has_the_defaults() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Settings::of(directory.path()).unwrap(), Settings::default());
        assert!(directory.path().join(FILE).exists());
        assert_eq!(Settings::of(directory.path()).unwrap(), Settings::default());
    }

    #[test]
    fn each_key_is_read_and_wrong_ones_are_refused() {
        let text =
            "seed=7\noverlap_share=0.5\noverlap_labelers=3\ngold_share=0\nheld_out=['a']\ngraders=['b']";
        let expected = Settings {
            seed: 7,
            overlap_share: 0.5,
            overlap_labelers: 3,
            gold_share: 0.0,
            held_out: ["a".to_string()].into(),
            graders: ["b".to_string()].into(),
        };
        assert_eq!(Settings::parse(text, "x").unwrap(), expected);
        for (text, words) in [
            ("\nsed = 1", "line 2"),
            ("seed = 'x'", "line 1"),
            ("overlap_share = 1.5", "from 0 to 1"),
            ("gold_share = -0.1", "from 0 to 1"),
            ("gold_share = nan", "from 0 to 1"),
            ("overlap_labelers = 0", "1 to 100"),
            ("held_out = [' a']", "names"),
            ("graders = ['']", "names"),
        ] {
            let error = Settings::parse(text, "x").expect_err(text).to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
