//! Model directories, both ways: `config.json`, `model.safetensors` (or shards and their index), the
//! tokenizer's files, `generation_config.json`.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::atomic::{read_file, read_text, write_atomic};
use super::config_json::{config_json, parse_config};
use super::generation_config::{Generation, parse_generation};
use super::hugging_face::{inspect_model, load_model_with_warnings};
use super::read_at::{DiskFile, ReadAt};
use super::safetensors::{TensorView, encode_to};
use super::tensors::{StoredTensor, stored_tensors, to_stored};
use super::weight_files::{WEIGHTS, weight_files};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::model::{Head, ModelConfig, Network};
use crate::text::fields::CHAT_TEMPLATE;
use crate::text::{TextFile, Tokenizer, TokenizerFiles};

const CONFIG: &str = "config.json";
/// Ours: how the model wants to be asked. For `transformers` it is a chat template in `tokenizer_config.json`.
const PROMPT_FORMAT: &str = "prompt_format.json";

/// Longest JSON or text file of a model directory that is read, in bytes.
pub(super) const MAX_TEXT: u64 = 1 << 28;

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
        match &tokenizer.prompt_format {
            Some(format) => write_text(PROMPT_FORMAT, format.to_json())?,
            None => remove_if_there(&path.join(PROMPT_FORMAT))?,
        }
    }
    let (stored, values) =
        (stored_tensors(layout, config.family), to_stored(parameters, layout, config.family));
    let tensors: Vec<_> = stored
        .iter()
        .map(|StoredTensor { name, shape, range }| TensorView { name, shape, values: &values[range.clone()] })
        .collect();
    let mut metadata: BTreeMap<String, String> =
        notes.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect();
    metadata.insert("format".to_string(), "pt".to_string());
    write_atomic(&path.join(WEIGHTS), |w| encode_to(&tensors, &metadata, |piece| w.write_all(piece)))?;
    write_text(CONFIG, config_json(config, *head, tokenizer.map(Tokenizer::end_of_text)))
}

fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(path.display(), "remove", error)),
        _ => Ok(()),
    }
}

/// Loads the tokenizer of a model directory: `tokenizer.json`, or `vocab.json` with `merges.txt`, and the settings in
/// the files beside them; `None` without a vocabulary (none is needed where only token ids are used).
///
/// # Errors
/// [`Error::Io`] and [`Error::Format`]; one of `vocab.json` and `merges.txt` without the other.
pub fn load_tokenizer(path: &Path) -> Result<Option<Tokenizer>> {
    Ok(load_tokenizer_with_warnings(path)?.map(|(tokenizer, _)| tokenizer))
}

/// [`load_tokenizer`], with a sentence for anything the user should know.
///
/// # Errors
/// As [`load_tokenizer`].
pub fn load_tokenizer_with_warnings(path: &Path) -> Result<Option<(Tokenizer, Vec<String>)>> {
    let read = |name: &str| -> Result<Option<(String, String)>> {
        let file = path.join(name);
        let name = file.display().to_string();
        if file.exists() { Ok(Some((name, read_text(&file, MAX_TEXT)?))) } else { Ok(None) }
    };
    let tokenizer_json = read("tokenizer.json")?;
    let pair = match tokenizer_json {
        Some(_) => None,
        None => match (read("vocab.json")?, read("merges.txt")?) {
            (Some(vocab), Some(merges)) => Some((vocab, merges)),
            (None, None) => None,
            (only, other) => {
                let expected = "vocab.json and merges.txt, or tokenizer.json";
                let (name, _) = only.or(other).expect("one of them");
                return Err(Error::format(path.display(), "", expected, format!("{name} alone"), ""));
            }
        },
    };
    let settings = ["tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", PROMPT_FORMAT];
    let [tokenizer_config, special_tokens_map, added_tokens, prompt_format] = settings.map(read);
    let (tokenizer_config, special_tokens_map) = (tokenizer_config?, special_tokens_map?);
    let (added_tokens, prompt_format) = (added_tokens?, prompt_format?);
    let files = TokenizerFiles {
        tokenizer_json: tokenizer_json.as_ref().map(text_file),
        vocab_and_merges: pair.as_ref().map(|(vocab, merges)| [text_file(vocab), text_file(merges)]),
        tokenizer_config: tokenizer_config.as_ref().map(text_file),
        special_tokens_map: special_tokens_map.as_ref().map(text_file),
        added_tokens: added_tokens.as_ref().map(text_file),
        prompt_format: prompt_format.as_ref().map(text_file),
    };
    let mut read = Tokenizer::from_files(&files)?;
    let template = path.join("chat_template.jinja");
    if let Some((_, notes)) = &mut read
        && prompt_format.is_none()
        && template.exists()
    {
        notes.push(format!("{}: {CHAT_TEMPLATE}", template.display()));
    }
    Ok(read)
}

fn text_file((name, text): &(String, String)) -> TextFile<'_> {
    TextFile { name, text }
}

/// What a model directory says about sampling: `generation_config.json` and `config.json`.
///
/// # Errors
/// [`Error::Io`] and [`Error::Format`].
pub fn load_generation(path: &Path) -> Result<Generation> {
    let [config, generation] = [CONFIG, "generation_config.json"].map(|name| path.join(name));
    let [config_name, generation_name] = [&config, &generation].map(|path| path.display().to_string());
    let config = read_file(&config, MAX_TEXT)?;
    let generation = if generation.exists() { Some(read_file(&generation, MAX_TEXT)?) } else { None };
    parse_generation((&config_name, &config), generation.as_ref().map(|file| (&*generation_name, &**file)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::engine::Cpu;
    use crate::model::{Family, Layout};

    pub fn sample(head: Head) -> Network {
        of_family(Family::Gpt2, head)
    }

    fn of_family(family: Family, head: Head) -> Network {
        let config = ModelConfig { family, ..ModelConfig::gpt2(11, 5, 6, 2, 2) };
        let layout = Layout::new(&config, head);
        let parameters = (0..layout.len).map(|i| i as f32 / 7.0).collect();
        Network::new(Cpu, config, head, parameters)
    }

    #[test]
    fn a_saved_model_loads_as_it_was_and_again_to_the_same_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let families = [Family::Gpt2, Family::GptNeo];
        for (family, head) in
            families.into_iter().flat_map(|family| [(family, Head::LanguageModel), (family, Head::Scalar)])
        {
            let [a, b] = ["a", "b"].map(|name| directory.path().join(name));
            let model = of_family(family, head);
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
        let tokenizer =
            Tokenizer::from_vocab_and_merges(&vocab, &merges, ["encoder.json", "vocab.bpe"]).unwrap();
        let directory = tempfile::tempdir().unwrap();
        save_model_directory(directory.path(), &sample(Head::LanguageModel), Some(&tokenizer), &[]).unwrap();
        let check = || {
            let loaded = load_tokenizer(directory.path()).unwrap().unwrap();
            assert_eq!(loaded.encode("It's 2 o'clock"), tokenizer.encode("It's 2 o'clock"));
        };
        check();
        // Without `tokenizer.json` the pair serves.
        fs::remove_file(directory.path().join("tokenizer.json")).unwrap();
        check();
    }
}
