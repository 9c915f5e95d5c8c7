//! What a run reads, by its fingerprints: a run goes on with what it began with, or not at all.
//!
//! A fingerprint is the CRC-64/XZ of a file's bytes as they lie on the disk. It guards against accident (a file that
//! was edited, replaced or lost), not against someone who wants to deceive. Files are read once more for it, before
//! anything else is done with them: at disk speed, while what is made of them takes far longer.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::checkpoint::checksum::{Crc64, digits};
use crate::error::{Error, Result};

/// Fingerprints of files and model directories, under the names that the configuration gives them: where `--data`
/// points is no input, what lies there is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fingerprints {
    /// Of data files.
    files: BTreeMap<String, String>,
    /// Of the files of model directories, by directory.
    models: BTreeMap<String, BTreeMap<String, String>>,
}

impl Fingerprints {
    /// Adds a data file below `root`. One that is not there has no fingerprint.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn add_file(&mut self, root: &Path, name: &str) -> Result<()> {
        let path = root.join(name);
        if path.is_file() && !self.files.contains_key(name) {
            self.files.insert(name.to_string(), fingerprint(&path)?);
        }
        Ok(())
    }

    /// Adds a model directory below `root`: all files of the kinds that can make up a model or a tokenizer. One that
    /// is not there has no fingerprint.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn add_model(&mut self, root: &Path, name: &str) -> Result<()> {
        let directory = root.join(name);
        if !directory.is_dir() || self.models.contains_key(name) {
            return Ok(());
        }
        let failed = |error| Error::io(directory.display(), "list", error);
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let kind = path.extension().and_then(|extension| extension.to_str());
            if matches!(kind, Some("json" | "txt" | "safetensors")) && path.is_file() {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                files.insert(name, fingerprint(&path)?);
            }
        }
        if !files.is_empty() {
            self.models.insert(name.to_string(), files);
        }
        Ok(())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.models.is_empty()
    }

    /// Compares what is there now, `found`, with this record of a run, and adds to the record what it does not know:
    /// a model directory that came to be since then. A directory that is gone is missed only where it is `needed`:
    /// that of a finished stage may be removed.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the first file that was changed, is missing, or was added to a model directory.
    pub fn go_on_with(&mut self, found: &Fingerprints, needed: impl Fn(&str) -> bool) -> Result<()> {
        compare(&self.files, &found.files, "")?;
        for (name, before) in &self.models {
            match found.models.get(name) {
                Some(now) => compare(before, now, &format!("{name}/"))?,
                None if needed(name) => return Err(changed(name, "a model directory", "nothing")),
                None => {}
            }
        }
        let new = found.models.iter().filter(|(name, _)| !self.models.contains_key(*name));
        let new: Vec<_> = new.map(|(name, files)| (name.clone(), files.clone())).collect();
        self.models.extend(new);
        Ok(())
    }
}

/// A line for each file.
impl fmt::Display for Fingerprints {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.files.iter().try_for_each(|(name, sum)| writeln!(f, "{name} of CRC-64 {sum}"))?;
        self.models.iter().try_for_each(|(model, files)| {
            files.iter().try_for_each(|(name, sum)| writeln!(f, "{model}/{name} of CRC-64 {sum}"))
        })
    }
}

/// Every file of either side must have its equal on the other.
fn compare(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>, inside: &str) -> Result<()> {
    for (name, expected) in before {
        let full = format!("{inside}{name}");
        match now.get(name) {
            Some(found) if found == expected => {}
            Some(found) => {
                let found = format!("another one, {found}");
                return Err(changed(&full, &format!("the file it began with, of CRC-64 {expected}"), &found));
            }
            None => return Err(changed(&full, "the file it began with", "no such file")),
        }
    }
    match now.keys().find(|name| !before.contains_key(*name)) {
        None => Ok(()),
        Some(name) => Err(changed(&format!("{inside}{name}"), "no such file, as in the beginning", "one")),
    }
}

fn changed(name: &str, expected: &str, found: &str) -> Error {
    let hint =
        "a run goes on with the inputs it began with: put them back, or start a new run in another directory";
    Error::usage(format!("{name} (an input of this run)"), expected, found, hint)
}

/// The checksum of a file, read in pieces.
///
/// # Errors
/// [`Error::Io`].
pub fn fingerprint(path: &Path) -> Result<String> {
    let failed = |error| Error::io(path.display(), "read", error);
    let mut file = File::open(path).map_err(failed)?;
    let (mut sum, mut piece) = (Crc64::default(), vec![0; 1 << 18]);
    loop {
        match file.read(&mut piece).map_err(failed)? {
            0 => return Ok(digits(sum.value())),
            bytes => sum.update(&piece[..bytes]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(root: &Path) -> Fingerprints {
        let mut found = Fingerprints::default();
        found.add_file(root, "d.jsonl").unwrap();
        found.add_file(root, "none.jsonl").unwrap();
        found.add_model(root, "model").unwrap();
        found.add_model(root, "none").unwrap();
        found
    }

    #[test]
    fn what_was_changed_removed_or_added_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let write = |name: &str, text: &str| fs::write(root.join(name), text).unwrap();
        fs::create_dir(root.join("model")).unwrap();
        write("d.jsonl", "123456789");
        write("model/config.json", "{}");
        write("model/README.md", "nothing that is read");
        let mut record = inputs(root);
        assert_eq!(record.files["d.jsonl"], "995dc9bbdf1939fa", "the check value of CRC-64/XZ");
        assert_eq!((record.files.len(), record.models.len(), record.models["model"].len()), (1, 1, 1));
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Fingerprints>(&text).unwrap(), record);

        let mut check = |needed| {
            let result = record.go_on_with(&inputs(root), |_| needed);
            result.map_err(|error| (error.exit_code(), error.to_string()))
        };
        check(true).unwrap();
        write("d.jsonl", "12345678");
        let (code, said) = check(true).unwrap_err();
        assert!(code == 2 && said.starts_with("d.jsonl (an input of this run): expected the file"), "{said}");
        fs::remove_file(root.join("d.jsonl")).unwrap();
        assert!(
            check(true).unwrap_err().1.contains("d.jsonl (an input of this run): expected the file it began")
        );
        write("d.jsonl", "123456789");

        write("model/merges.txt", "a b");
        assert!(check(true).unwrap_err().1.starts_with("model/merges.txt (an input"));
        fs::remove_file(root.join("model/merges.txt")).unwrap();
        write("model/config.json", "{ }");
        assert!(check(false).unwrap_err().1.starts_with("model/config.json (an input"));
        fs::remove_dir_all(root.join("model")).unwrap();
        assert!(check(true).unwrap_err().1.starts_with("model (an input"));
        check(false).unwrap();
    }

    #[test]
    fn a_directory_that_comes_later_is_taken_into_the_record() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let mut record = inputs(root);
        assert!(record.is_empty());
        fs::create_dir(root.join("model")).unwrap();
        fs::write(root.join("model/config.json"), "{}").unwrap();
        record.go_on_with(&inputs(root), |_| true).unwrap();
        assert_eq!(record, inputs(root));
        fs::write(root.join("model/config.json"), "{ }").unwrap();
        record.go_on_with(&inputs(root), |_| true).unwrap_err();
    }
}
