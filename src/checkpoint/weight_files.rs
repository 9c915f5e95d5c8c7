//! Which files of a model directory hold the weights: `model.safetensors`, or the shards that its index names. What
//! protects us is that an index can name files of its own directory only; a link may lead anywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::atomic::read_file;
use super::directory::MAX_TEXT;
use crate::error::{Error, Result};
use crate::text::json;

pub(super) const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The safetensors files of a directory: the single one, or those its index names. Either may be a link to anywhere,
/// as in the Hugging Face cache: a link is the user's doing, a name in the index is whoever wrote the model's.
pub(super) fn weight_files(directory: &Path) -> Result<Vec<PathBuf>> {
    let single = directory.join(WEIGHTS);
    let index = directory.join(INDEX);
    if single.exists() {
        return Ok(vec![single]);
    }
    if !index.exists() {
        return Err(other_weights(directory).unwrap_or_else(|| {
            Error::io(single.display(), "read", "no such file, and no model.safetensors.index.json")
        }));
    }
    let names = shard_names(&read_file(&index, MAX_TEXT)?, &index.display().to_string())?;
    Ok(names.iter().map(|name| directory.join(name)).collect())
}

/// What to say of a directory whose weights are in another format, or under another name.
fn other_weights(directory: &Path) -> Option<Error> {
    let entries = fs::read_dir(directory).ok()?;
    let mut names: Vec<String> =
        entries.filter_map(|entry| Some(entry.ok()?.file_name().to_str()?.to_string())).collect();
    names.sort();
    let found = |kinds: &[&str]| names.iter().find(|name| kinds.iter().any(|kind| name.ends_with(kind)));
    let convert = |load: &str| {
        format!(
            "only safetensors is read; transformers converts it: python -c \"import transformers; \
             transformers.{load}.save_pretrained('NEW_DIR')\" (AutoModelForSequenceClassification for a reward model)"
        )
    };
    let of = |more: &str| {
        convert(&format!("AutoModelForCausalLM.from_pretrained('{}'{more})", directory.display()))
    };
    let (name, hint) = if let Some(name) = found(&[".safetensors"]) {
        (name, format!("if these are the weights, copy {name} to {WEIGHTS}; f32, f16 and bf16 are read"))
    } else if let Some(name) = found(&[".bin", ".bin.index.json", ".pt", ".pth"]) {
        (name, of(""))
    } else if let Some(name) = found(&[".gguf"]) {
        (name, of(&format!(", gguf_file='{name}'")))
    } else if let Some(name) = found(&[".h5", ".index"]) {
        (name, of(", from_tf=True") + "; version 4 of transformers still reads TensorFlow's files")
    } else {
        let name = found(&[".msgpack"])?;
        (name, of(", from_flax=True") + "; version 4 of transformers still reads Flax's files")
    };
    Some(Error::format(directory.display(), "", WEIGHTS, format!("{name} alone"), hint))
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
        .map_err(|error| Error::format(origin, "", expected, error, ""))?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::directory::tests::sample;
    use crate::checkpoint::{load_model_directory, save_model_directory};
    use crate::model::Head;
    use proptest::prelude::*;

    const CONFIG: &str = "config.json";

    #[test]
    fn an_index_names_files_of_its_directory_only() {
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
    }

    /// `~/.cache/huggingface/hub`: a snapshot's files are links into `blobs`.
    #[test]
    #[cfg(unix)]
    fn a_snapshot_of_the_hugging_face_cache_loads() {
        use std::os::unix::fs::symlink;
        let cache = tempfile::tempdir().unwrap();
        let (blobs, snapshot) = (cache.path().join("blobs"), cache.path().join("snapshots/0123"));
        let model = sample(Head::LanguageModel);
        save_model_directory(&blobs, &model, None, &[]).unwrap();
        fs::create_dir_all(&snapshot).unwrap();
        symlink("../../blobs/config.json", snapshot.join(CONFIG)).unwrap();
        symlink("../../blobs/model.safetensors", snapshot.join(WEIGHTS)).unwrap();
        assert_eq!(load_model_directory(&snapshot).unwrap(), model);
        // Sharded.
        let shard = "model-00001-of-00001.safetensors";
        fs::rename(snapshot.join(WEIGHTS), snapshot.join(shard)).unwrap();
        let text = serde_json::json!({"metadata": {}, "weight_map": {"wte.weight": shard}}).to_string();
        fs::write(blobs.join("index"), text).unwrap();
        symlink("../../blobs/index", snapshot.join(INDEX)).unwrap();
        assert_eq!(load_model_directory(&snapshot).unwrap(), model);
    }

    #[test]
    fn weights_of_another_format_are_named_with_the_way_out() {
        for (file, words) in [
            ("pytorch_model.bin", "AutoModelForCausalLM.from_pretrained('"),
            ("pytorch_model.bin.index.json", "safetensors is read"),
            ("pytorch_model-00001-of-00002.bin", "safetensors is read"),
            ("model.fp16.safetensors", "copy model.fp16.safetensors to model.safetensors"),
            ("tf_model.h5", "from_tf=True"),
            ("flax_model.msgpack", "from_flax=True"),
            ("gpt2.Q8_0.gguf", "gguf_file='gpt2.Q8_0.gguf'"),
        ] {
            let directory = tempfile::tempdir().unwrap();
            save_model_directory(directory.path(), &sample(Head::LanguageModel), None, &[]).unwrap();
            fs::rename(directory.path().join(WEIGHTS), directory.path().join(file)).unwrap();
            let error = load_model_directory(directory.path()).unwrap_err().to_string();
            let found = format!("expected model.safetensors, found {file} alone");
            assert!(error.contains(&found) && error.contains(words), "{error}");
        }
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
