//! Model directories, both ways: `config.json`, `model.safetensors` (or shards and their index), the
//! tokenizer's files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::atomic::{read_file, read_text, write_atomic};
use super::config_json::{config_json, parse_config};
use super::hugging_face::{inspect_model, load_model_with_warnings};
use super::read_at::{DiskFile, ReadAt};
use super::safetensors::{TensorView, encode_to};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::model::{Head, ModelConfig, Network};
use crate::text::{Tokenizer, json};

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Longest JSON or text file of a model directory that is read, in bytes.
const MAX_TEXT: u64 = 1 << 28;

/// Loads the model in `path`. See [`super::hugging_face`] for what is accepted.
///
/// # Errors
/// [`Error::Io`] and [`Error::Format`], naming the file and what in it.
pub fn load_model_directory(path: &Path) -> Result<Network> {
    load_model_directory_with_warnings(path).map(|(model, _)| model)
}

/// [`load_model_directory`], with a sentence for anything the user should know.
///
/// # Errors
/// As [`load_model_directory`].
pub fn load_model_directory_with_warnings(path: &Path) -> Result<(Network, Vec<String>)> {
    with_files(path, load_model_with_warnings)
}

/// What the model in `path` is, from its configuration and the list of its tensors; no weight is read.
///
/// # Errors
/// As [`load_model_directory`], but for what is wrong with the weights themselves.
pub fn inspect_model_directory(path: &Path) -> Result<(ModelConfig, Head)> {
    with_files(path, inspect_model)
}

/// Opens the files of a model and hands them on: `config.json`, its name, the weights with theirs.
fn with_files<T>(
    path: &Path,
    read: impl FnOnce(&[u8], &str, &[(&str, &dyn ReadAt)]) -> Result<T>,
) -> Result<T> {
    let config_path = path.join(CONFIG);
    let config_name = config_path.display().to_string();
    let config_bytes = read_file(&config_path, MAX_TEXT)?;
    let (config, _) = parse_config(&config_bytes, &config_name)?;

    // The weights in f32, the mask buffers of old files, and the headers. Known before anything is read,
    // so a wrong file cannot fill the memory.
    let (layers, context) = (config.layers as u128, config.context as u128);
    let bytes = 4 * config.parameter_count() + layers * (4 * context * context + 64) + (1 << 24);
    let mut limit = u64::try_from(bytes).unwrap_or(u64::MAX);

    let mut shards = Vec::new();
    for path in weight_files(path)? {
        let file = DiskFile::open(&path, limit)?;
        limit -= file.size();
        shards.push((path.display().to_string(), file));
    }
    let shards: Vec<(&str, &dyn ReadAt)> =
        shards.iter().map(|(name, file)| (name.as_str(), file as &dyn ReadAt)).collect();
    read(&config_bytes, &config_name, &shards)
}

/// The safetensors files of a directory: the single one, or those its index names.
fn weight_files(directory: &Path) -> Result<Vec<PathBuf>> {
    let single = directory.join(WEIGHTS);
    let index = directory.join(INDEX);
    if single.exists() || !index.exists() {
        return Ok(vec![single]);
    }
    let names = shard_names(&read_file(&index, MAX_TEXT)?, &index.display().to_string())?;
    names.iter().map(|name| inside(directory, name, &index)).collect()
}

/// The file names in an index, each once, in order; `origin` names it in messages.
///
/// # Errors
/// [`Error::Format`], also for a name that is not that of a file in the same directory.
pub fn shard_names(bytes: &[u8], origin: &str) -> Result<BTreeSet<String>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let expected = "{\"weight_map\": {tensor: file, ..}}";
    let index: Index = json::parse(bytes)
        .and_then(serde_json::from_value)
        .map_err(|error| json::refusal(origin, bytes, (1, 1), expected, &error, ""))?;
    let names: BTreeSet<String> = index.weight_map.into_values().collect();
    if names.is_empty() {
        return Err(Error::format(origin, "weight_map", "at least one file", "none", ""));
    }
    for name in &names {
        let mut components = Path::new(name).components();
        let plain = matches!((components.next(), components.next()), (Some(Component::Normal(part)), None) if part == name.as_str());
        if !plain || name.contains(['\\', '\0']) {
            let expected = "plain file names of this directory";
            return Err(Error::format(origin, "weight_map", expected, format!("{name:?}"), ""));
        }
    }
    Ok(names)
}

/// A shard's path, which must not lead out of the directory through a link.
fn inside(directory: &Path, name: &str, index: &Path) -> Result<PathBuf> {
    let path = directory.join(name);
    let resolve =
        |path: &Path| fs::canonicalize(path).map_err(|error| Error::io(path.display(), "read", error));
    if !resolve(&path)?.starts_with(resolve(directory)?) {
        let expected = "files of this directory";
        let found = format!("{name:?}, a link out of it");
        return Err(Error::format(index.display(), "weight_map", expected, found, "copy the file here"));
    }
    Ok(path)
}

/// Writes `network` as a directory that `transformers` loads unchanged, creating the directory if needed.
///
/// Each file is written whole or not at all, `config.json` last: a new directory without it is no model
/// yet. `notes` are free-form strings for the
/// safetensors header (stage, step ...), beside `{"format": "pt"}`. Existing tokenizer files stay when
/// `tokenizer` is `None`.
///
/// # Errors
/// [`Error::Io`]; [`Error::Format`] if a parameter is not finite (nothing is written then).
pub fn save_model_directory<E: Engine>(
    path: &Path,
    network: &Network<E>,
    tokenizer: Option<&Tokenizer>,
    notes: &[(&str, &str)],
) -> Result<()> {
    let Network { config, head, layout, .. } = network;
    let parameters = network.parameters();
    if let Some(index) = parameters.iter().position(|value| !value.is_finite()) {
        return Err(Error::format(
            path.display(),
            format!("tensor \"{}\"", layout.name_of(index)),
            "finite parameters to save",
            parameters[index],
            "nothing was written",
        ));
    }
    fs::create_dir_all(path).map_err(|error| Error::io(path.display(), "create", error))?;
    let write_text =
        |name: &str, text: String| write_atomic(&path.join(name), |file| file.write_all(text.as_bytes()));
    if let Some(tokenizer) = tokenizer {
        write_text("vocab.json", tokenizer.vocab_json())?;
        write_text("merges.txt", tokenizer.merges_txt())?;
        write_text("tokenizer.json", tokenizer.tokenizer_json())?;
        write_text("tokenizer_config.json", tokenizer.tokenizer_config_json(Some(config.context)))?;
        write_text("special_tokens_map.json", tokenizer.special_tokens_map_json())?;
    }
    let tensors: Vec<_> = layout
        .parameters
        .iter()
        .map(|row| TensorView { name: &row.name, shape: &row.shape, values: &parameters[row.range()] })
        .collect();
    let mut metadata: BTreeMap<String, String> =
        notes.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect();
    metadata.insert("format".to_string(), "pt".to_string());
    write_atomic(&path.join(WEIGHTS), |w| encode_to(&tensors, &metadata, |piece| w.write_all(piece)))?;
    write_text(CONFIG, config_json(config, *head, tokenizer.map(Tokenizer::end_of_text)))
}

/// Loads the tokenizer of a model directory: `vocab.json` with `merges.txt`, else `tokenizer.json`, else
/// `None` (none is needed where only token ids are used).
///
/// # Errors
/// [`Error::Io`] and [`Error::Format`]; one of `vocab.json` and `merges.txt` without the other.
pub fn load_tokenizer(path: &Path) -> Result<Option<Tokenizer>> {
    let [vocab, merges, json] = ["vocab.json", "merges.txt", "tokenizer.json"].map(|name| path.join(name));
    if vocab.exists() && merges.exists() {
        let origin = vocab.display().to_string();
        return Tokenizer::from_vocab_and_merges(
            &read_text(&vocab, MAX_TEXT)?,
            &read_text(&merges, MAX_TEXT)?,
            &origin,
        )
        .map(Some);
    }
    if json.exists() {
        return Tokenizer::from_tokenizer_json(&read_text(&json, MAX_TEXT)?, &json.display().to_string())
            .map(Some);
    }
    match [vocab, merges].iter().find(|file| file.exists()) {
        None => Ok(None),
        Some(only) => {
            let expected = "vocab.json and merges.txt, or tokenizer.json";
            Err(Error::format(path.display(), "", expected, format!("{} alone", only.display()), ""))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Cpu;
    use crate::model::Layout;
    use proptest::prelude::*;

    fn sample(head: Head) -> Network {
        let config = ModelConfig::gpt2(11, 5, 6, 2, 2);
        let layout = Layout::new(&config, head);
        let parameters = (0..layout.len).map(|i| i as f32 / 7.0).collect();
        Network::new(Cpu, config, head, parameters)
    }

    #[test]
    fn a_saved_model_loads_as_it_was_and_again_to_the_same_bytes() {
        let directory = tempfile::tempdir().unwrap();
        for head in [Head::LanguageModel, Head::Scalar] {
            let [a, b] = ["a", "b"].map(|name| directory.path().join(name));
            let model = sample(head);
            save_model_directory(&a, &model, None, &[("stage", "sft")]).unwrap();
            let loaded = load_model_directory(&a).unwrap();
            assert_eq!(loaded, model);
            assert_eq!(inspect_model_directory(&a).unwrap(), (model.config.clone(), head));
            save_model_directory(&b, &loaded, None, &[("stage", "sft")]).unwrap();
            for name in [CONFIG, WEIGHTS] {
                assert_eq!(fs::read(a.join(name)).unwrap(), fs::read(b.join(name)).unwrap(), "{name}");
            }
            assert!(load_tokenizer(&a).unwrap().is_none());
        }
    }

    #[test]
    fn a_configuration_may_be_edited_by_hand() {
        let directory = tempfile::tempdir().unwrap();
        save_model_directory(directory.path(), &sample(Head::Scalar), None, &[]).unwrap();
        let path = directory.path().join(CONFIG);
        let text = fs::read_to_string(&path).unwrap().replace("\"n_head\": 2", "\"n_head\": 3");
        fs::write(&path, text).unwrap();
        // Earlier versions wrote checksums of the texts beside them.
        fs::write(directory.path().join("checksums.json"), "{\"config.json\":\"0\"}").unwrap();
        assert_eq!(load_model_directory(directory.path()).unwrap().config.heads, 3);
    }

    #[test]
    fn models_that_are_not_finite_are_not_written() {
        let directory = tempfile::tempdir().unwrap();
        let mut model = sample(Head::Scalar);
        let mut parameters = model.parameters().into_owned();
        *parameters.last_mut().unwrap() = f32::NAN;
        model.set_parameters(parameters);
        let path = directory.path().join("m");
        let error = save_model_directory(&path, &model, None, &[]).unwrap_err().to_string();
        assert!(error.contains("score.weight") && !path.exists(), "{error}");
    }

    #[test]
    fn missing_and_oversized_files_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let error = |path: &Path| load_model_directory(path).unwrap_err().to_string();
        assert!(error(directory.path()).contains(CONFIG));
        save_model_directory(directory.path(), &sample(Head::Scalar), None, &[]).unwrap();
        let weights = directory.path().join(WEIGHTS);
        // A sparse file: 1 TiB that nobody must read.
        fs::File::create(&weights).unwrap().set_len(1 << 40).unwrap();
        assert!(error(directory.path()).contains("at most"), "{}", error(directory.path()));
        fs::remove_file(&weights).unwrap();
        assert!(error(directory.path()).contains(WEIGHTS));
        fs::write(directory.path().join("vocab.json"), "{}").unwrap();
        assert!(load_tokenizer(directory.path()).err().unwrap().to_string().contains("vocab.json alone"));
    }

    #[test]
    fn shards_load_through_the_index_and_stay_inside() {
        let directory = tempfile::tempdir().unwrap();
        let model = sample(Head::LanguageModel);
        save_model_directory(directory.path(), &model, None, &[]).unwrap();
        let shard = directory.path().join("model-00001-of-00001.safetensors");
        fs::rename(directory.path().join(WEIGHTS), &shard).unwrap();
        let index = |name: &str| {
            let text = serde_json::json!({"metadata": {}, "weight_map": {"wte.weight": name}}).to_string();
            fs::write(directory.path().join(INDEX), text).unwrap();
        };
        index("model-00001-of-00001.safetensors");
        assert_eq!(load_model_directory(directory.path()).unwrap(), model);
        for name in ["/etc/passwd", "../x.safetensors", "a/b", "..", ".", "", "a\\b", "x/", "./x"] {
            index(name);
            let error = load_model_directory(directory.path()).unwrap_err().to_string();
            assert!(error.contains(INDEX) && error.contains("plain file names"), "{name:?}: {error}");
        }
        index("none.safetensors");
        assert!(load_model_directory(directory.path()).unwrap_err().to_string().contains("none.safetensors"));
        #[cfg(unix)]
        {
            let outside = tempfile::NamedTempFile::new().unwrap();
            std::os::unix::fs::symlink(outside.path(), directory.path().join("link.safetensors")).unwrap();
            index("link.safetensors");
            assert!(
                load_model_directory(directory.path()).unwrap_err().to_string().contains("link out of it")
            );
        }
    }

    #[test]
    fn a_real_hugging_face_directory_loads() {
        let path = Path::new("../shared/data/tiny-gpt2-hf");
        if !path.exists() {
            println!("skipped: no data");
            return;
        }
        let model = load_model_directory(path).unwrap();
        assert_eq!(
            (model.config.clone(), model.head),
            (ModelConfig::gpt2(21, 1024, 2, 1, 1), Head::LanguageModel)
        );
        // Its toy vocabulary lacks most bytes; the model loads all the same, for token ids.
        assert!(load_tokenizer(path).is_err());
    }

    #[test]
    fn an_exported_tokenizer_encodes_the_same() {
        let path = Path::new("../shared/data/gpt2-bpe");
        if !path.exists() {
            println!("skipped: no data");
            return;
        }
        let [vocab, merges] =
            ["encoder.json", "vocab.bpe"].map(|name| read_text(&path.join(name), MAX_TEXT).unwrap());
        let tokenizer = Tokenizer::from_vocab_and_merges(&vocab, &merges, "gpt2").unwrap();
        let directory = tempfile::tempdir().unwrap();
        save_model_directory(directory.path(), &sample(Head::LanguageModel), Some(&tokenizer), &[]).unwrap();
        let check = || {
            let loaded = load_tokenizer(directory.path()).unwrap().unwrap();
            assert_eq!(loaded.encode("It's 2 o'clock"), tokenizer.encode("It's 2 o'clock"));
        };
        check();
        // Without the pair, `tokenizer.json` serves alone.
        fs::remove_file(directory.path().join("vocab.json")).unwrap();
        check();
    }

    proptest! {
        #[test]
        fn hostile_indexes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60), name in ".{0,12}") {
            let _ = shard_names(&bytes, "x");
            let text = serde_json::json!({"weight_map": {"w": name}}).to_string();
            if let Ok(names) = shard_names(text.as_bytes(), "x") {
                for name in names {
                    let path = Path::new("d").join(&name);
                    prop_assert_eq!(path.parent(), Some(Path::new("d")));
                }
            }
        }
    }
}
