//! `checksums.json`: the CRC-64 of every text file of a model directory, by name, so that loading names one
//! that was torn or altered. (The weights carry their own, see [`super::checksum`].) Other programs do not look
//! for it; a directory without it, from another program, is read unchecked.
//!
//! A file of its own, because there is no other place that all of these files have: `vocab.json` is nothing but
//! the vocabulary, and the bytes of the weights should not depend on what lies beside them.

use std::collections::BTreeMap;
use std::path::Path;

use super::atomic::{read_file, write_atomic};
use super::checksum::{Crc64, digits};
use super::directory::MAX_TEXT;
use crate::error::{Error, Result};
use crate::text::json;

/// The file's name.
pub const MANIFEST: &str = "checksums.json";

/// The text files of a model directory.
const FILES: [&str; 6] = [
    "config.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
];

/// Checksums (16 hexadecimal digits) by file name.
pub type Manifest = BTreeMap<String, String>;

/// Writes down the checksums of `texts` (name, contents). Other files that are listed already stay so.
///
/// # Errors
/// [`Error::Io`].
pub fn write_manifest(directory: &Path, texts: &[(&str, String)]) -> Result<()> {
    // What cannot be read is replaced.
    let mut manifest = read_manifest(directory).unwrap_or_default();
    for (name, text) in texts {
        assert!(FILES.contains(name), "{name} is none of {FILES:?}");
        manifest.insert(name.to_string(), digits(Crc64::of(text.as_bytes())));
    }
    let text = serde_json::to_string_pretty(&manifest).expect("strings are always JSON") + "\n";
    write_atomic(&directory.join(MANIFEST), |file| file.write_all(text.as_bytes()))
}

/// Compares the text files of a directory with its manifest. What is not listed or not there is passed over.
///
/// # Errors
/// [`Error::Format`] naming the file that is not as it was written, or the manifest; [`Error::Io`].
pub fn verify_manifest(directory: &Path) -> Result<()> {
    let manifest = read_manifest(directory)?;
    for name in FILES {
        let path = directory.join(name);
        let Some(expected) = manifest.get(name).filter(|_| path.exists()) else { continue };
        let found = digits(Crc64::of(&read_file(&path, MAX_TEXT)?));
        if found != *expected {
            let manifest = directory.join(MANIFEST);
            let hint = format!(
                "the file was cut short or altered after it was written; if you meant to, delete {}",
                manifest.display()
            );
            return Err(Error::format(path.display(), "checksum", expected, found, hint));
        }
    }
    Ok(())
}

fn read_manifest(directory: &Path) -> Result<Manifest> {
    let path = directory.join(MANIFEST);
    if !path.exists() {
        return Ok(Manifest::new());
    }
    parse_manifest(&read_file(&path, MAX_TEXT)?, &path.display().to_string())
}

/// Reads a manifest; `origin` names it in messages.
///
/// # Errors
/// [`Error::Format`].
pub fn parse_manifest(bytes: &[u8], origin: &str) -> Result<Manifest> {
    json::parse(bytes).and_then(serde_json::from_value).map_err(|error| {
        let hint = "without this file the directory is read unchecked";
        Error::format(origin, "", "{\"file name\": \"its checksum\", ..}", error, hint)
    })
}

#[cfg(test)]
mod tests {
    use super::super::directory::{load_model_directory, load_tokenizer, save_model_directory};
    use super::super::hugging_face::Model;
    use super::*;
    use crate::model::{Head, ModelConfig};
    use crate::text::Tokenizer;
    use proptest::prelude::*;
    use std::fs;

    fn model() -> Model {
        Model::random(ModelConfig::gpt2(300, 5, 6, 2, 2), Head::LanguageModel, 1)
    }

    /// A whole directory.
    fn saved() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let tokenizer = Tokenizer::train(["a text"], 257).unwrap();
        save_model_directory(directory.path(), &model(), Some(&tokenizer), &[]).unwrap();
        directory
    }

    /// What loading its model ends in, and loading its tokenizer.
    fn loads(directory: &Path) -> Result<()> {
        let tokenizer = load_tokenizer(directory).map(drop);
        assert_eq!(load_model_directory(directory).map(drop), tokenizer, "both verify");
        tokenizer
    }

    #[test]
    fn each_text_file_is_listed_and_named_when_it_was_altered() {
        let directory = saved();
        let listed = read_manifest(directory.path()).unwrap();
        let mut on_disk: Vec<String> = fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != MANIFEST && name != "model.safetensors")
            .collect();
        on_disk.sort();
        assert_eq!(listed.keys().collect::<Vec<_>>(), on_disk.iter().collect::<Vec<_>>());
        for name in on_disk {
            let path = directory.path().join(&name);
            let good = fs::read(&path).unwrap();
            // A blank is harmless to JSON and to a human eye.
            for altered in [[&good[..], b" "].concat(), good[..good.len() - 1].to_vec(), vec![]] {
                fs::write(&path, altered).unwrap();
                let error = loads(directory.path()).unwrap_err().to_string();
                let start = format!("{}: checksum: expected {}, found ", path.display(), listed[&name]);
                assert!(error.starts_with(&start), "{error}");
                assert!(error.contains("checksums.json"), "{error}");
            }
            fs::write(&path, good).unwrap();
            loads(directory.path()).unwrap();
        }
    }

    #[test]
    fn without_a_manifest_a_directory_is_read_unchecked() {
        let directory = saved();
        let path = directory.path().join("config.json");
        let edited = fs::read_to_string(&path).unwrap().replace('{', "{ ");
        fs::write(path, edited).unwrap();
        assert!(loads(directory.path()).is_err());
        fs::remove_file(directory.path().join(MANIFEST)).unwrap();
        loads(directory.path()).unwrap();
    }

    #[test]
    fn a_model_written_over_another_keeps_the_tokenizers_checksums() {
        let directory = saved();
        let before = read_manifest(directory.path()).unwrap();
        let other = Model::random(ModelConfig::gpt2(300, 5, 6, 1, 2), Head::LanguageModel, 1);
        save_model_directory(directory.path(), &other, None, &[]).unwrap();
        let after = read_manifest(directory.path()).unwrap();
        let changed = before.iter().filter(|(name, sum)| after[*name] != **sum).map(|(name, _)| name);
        assert_eq!(changed.collect::<Vec<_>>(), ["config.json"]);
        loads(directory.path()).unwrap();
    }

    #[test]
    fn a_manifest_that_is_none_is_named_and_names_no_other_files() {
        let directory = saved();
        for wrong in ["", "[1]", "{\"config.json\": 1}", "{\"a\":\"0\",\"a\":\"0\"}"] {
            fs::write(directory.path().join(MANIFEST), wrong).unwrap();
            let error = loads(directory.path()).unwrap_err().to_string();
            assert!(error.contains(MANIFEST) && error.contains("hint: without"), "{error}");
        }
        // Nothing outside the directory is looked at.
        fs::write(directory.path().join(MANIFEST), "{\"/etc/passwd\": \"0\", \"../x\": \"0\"}").unwrap();
        loads(directory.path()).unwrap();
    }

    proptest! {
        #[test]
        fn hostile_manifests_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = parse_manifest(&bytes, "x");
        }
    }
}
