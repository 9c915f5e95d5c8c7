//! A Hugging Face model, GPT-2 or GPT-Neo: `config.json` and one or several safetensors files in, one flat f32 buffer
//! out.
//! Needs no operating system; [`super::directory`] adds paths.
//!
//! Accepted as `transformers` writes and has written it: keys with or without the `transformer.` prefix,
//! the mask buffers of old files (`h.N.attn.bias`, `h.N.attn.masked_bias`, in a GPT-Neo's under `attn.attention`; not
//! parameters, ignored), a tied or an explicit head, f32, f16 or bf16. Everything is checked against the layout before the
//! parameters are allocated, so a configuration cannot make us allocate more than the files hold.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::config_json::{Names, config_notes, parse_config};
use super::read_at::ReadAt;
use super::safetensors::{Tensor, TensorFile, zeros};
use super::tensors::{StoredTensor, from_stored, stored_tensors};
use crate::engine::Cpu;
use crate::error::{Error, Result};
use crate::model::{Family, Head, Layout, ModelConfig, Network};

const LM_HEAD: &str = "lm_head.weight";
const SCORE: &str = "score.weight";

/// Loads a model from the bytes of its `config.json` and of its safetensors files, each with its name.
///
/// # Errors
/// [`Error::Format`] naming file and tensor, with the expected and the found shape.
pub fn load_model(config_json: &[u8], shards: &[(&str, &[u8])]) -> Result<Network> {
    let shards: Vec<_> = shards.iter().map(|(name, bytes)| (*name, bytes as &dyn ReadAt)).collect();
    load_model_with_warnings(config_json, "config.json", &shards).map(|(model, _)| model)
}

/// [`load_model`] from anywhere, with the configuration's own name and one sentence for anything the user
/// should know.
///
/// Among such things are the fields of the configuration that are not acted upon, and a head beside a configuration
/// that ties it. Equal to the embedding it is dropped; different, it is kept and the model loads untied, as
/// `transformers` 5 does (version 4 ties and drops it).
///
/// # Errors
/// As [`load_model`]; [`Error::Io`].
pub fn load_model_with_warnings(
    config_json: &[u8],
    config_name: &str,
    shards: &[(&str, &dyn ReadAt)],
) -> Result<(Network, Vec<String>)> {
    let (mut config, head) = parse_config(config_json, config_name)?;
    let files = open(shards)?;
    let (tensors, head, mut layout, ask) = plan(&mut config, head, config_name, &files)?;
    let mut parameters = tensors.read(&layout, config.family)?;
    let mut warnings = config_notes(config_json, config_name)?;
    if ask {
        let mut pairs = parameters[layout.wte.clone()].iter().zip(&parameters[layout.head.clone()]);
        if pairs.all(|(a, b)| a.to_bits() == b.to_bits()) {
            config.tied_head = true;
            layout = Layout::new(&config, head);
            // The head is the table's last row.
            parameters.truncate(layout.len);
            parameters.shrink_to_fit();
        } else {
            warnings.push(format!(
                "{}: config.json ties the head to the token embedding, but {LM_HEAD} is there and differs; it is \
                 used, as transformers 5 does (version 4 would drop it)",
                tensors.by_name[LM_HEAD].file.origin()
            ));
        }
    }
    Ok((Network::new(Cpu, config, head, parameters), warnings))
}

/// What a model is, from its configuration and the names and shapes of its tensors, of which none is read. A head
/// beside a configuration that ties it counts as untied.
///
/// # Errors
/// As [`load_model_with_warnings`], but for what is wrong with the numbers.
pub fn inspect_model(
    config_json: &[u8],
    config_name: &str,
    shards: &[(&str, &dyn ReadAt)],
) -> Result<(ModelConfig, Head)> {
    let (mut config, head) = parse_config(config_json, config_name)?;
    let files = open(shards)?;
    let (_, head, ..) = plan(&mut config, head, config_name, &files)?;
    Ok((config, head))
}

fn open<'a>(shards: &[(&'a str, &'a dyn ReadAt)]) -> Result<Vec<TensorFile<'a>>> {
    shards.iter().map(|(name, bytes)| TensorFile::open(*bytes, name)).collect()
}

/// The tensors, the head, the layout they fill, and whether there is a head that the configuration ties: whether to
/// drop it shows when it is read.
fn plan<'a>(
    config: &mut ModelConfig,
    head: Option<Head>,
    config_name: &'a str,
    files: &'a [TensorFile<'a>],
) -> Result<(Tensors<'a>, Head, Layout, bool)> {
    let mut plan = || {
        let tensors = Tensors::collect(config_name, files, config.family)?;
        let head = head.unwrap_or(match tensors.by_name.contains_key(SCORE) {
            true => Head::Scalar,
            false => Head::LanguageModel,
        });
        let ask = head == Head::LanguageModel && config.tied_head && tensors.by_name.contains_key(LM_HEAD);
        config.tied_head &= !ask;
        check_size(config, config_name, &tensors)?;
        let layout = Layout::new(config, head);
        tensors.check(&stored_tensors(&layout, config.family))?;
        Ok((tensors, head, layout, ask))
    };
    // Of an altered file it is best said that it was altered.
    let altered =
        |error| files.iter().try_for_each(|file| file.read(BTreeMap::new()).map(drop)).and(Err(error));
    plan().or_else(altered)
}

/// The tensors of all files under their full names.
struct Tensors<'a> {
    by_name: BTreeMap<String, Found<'a>>,
    files: &'a [TensorFile<'a>],
    /// The file to blame for a missing tensor: the only one, or the configuration.
    origin: &'a str,
}

/// A tensor, the file it is in and its name there.
struct Found<'a> {
    file: &'a TensorFile<'a>,
    key: &'a str,
    tensor: &'a Tensor,
}

impl<'a> Tensors<'a> {
    fn collect(config_name: &'a str, files: &'a [TensorFile<'a>], family: Family) -> Result<Self> {
        let mut by_name = BTreeMap::new();
        for file in files {
            for (key, tensor) in &file.tensors {
                let name = full_name(key);
                if is_mask_buffer(&name, family) {
                    continue;
                }
                if let Some(other) = by_name.insert(name, Found { file, key, tensor }) {
                    let found = format!("it again (first in {})", other.file.origin());
                    return Err(Error::format(file.origin(), at(key), "each tensor once", found, ""));
                }
            }
        }
        let origin = if let [file] = files { file.origin() } else { config_name };
        Ok(Tensors { by_name, files, origin })
    }

    /// Checks that the tensors are these, each in its shape.
    fn check(&self, stored: &[StoredTensor]) -> Result<()> {
        for StoredTensor { name, shape, .. } in stored {
            let Some(Found { file, tensor, .. }) = self.by_name.get(name) else {
                let hint = match name.as_str() {
                    SCORE => "this is no reward model: its config.json promises a score for each token",
                    LM_HEAD => "with \"tie_word_embeddings\": true the token embedding is the head",
                    _ => "",
                };
                let expected = format!("shape {shape:?}");
                return Err(Error::format(self.origin, at(name), expected, "no such tensor", hint));
            };
            if tensor.shape != *shape {
                let (expected, found) = (format!("shape {shape:?}"), format!("shape {:?}", tensor.shape));
                let hint = "the weights do not belong to this config.json";
                return Err(Error::format(file.origin(), at(name), expected, found, hint));
            }
        }
        let known: BTreeSet<&str> = stored.iter().map(|tensor| tensor.name.as_str()).collect();
        if let Some((name, found)) = self.by_name.iter().find(|(name, _)| !known.contains(name.as_str())) {
            let hint = match name.as_str() {
                SCORE => "this is a reward model, but its config.json says otherwise",
                _ => "the weights do not belong to this config.json",
            };
            return Err(Error::format(found.file.origin(), at(name), "no tensor of this name", "one", hint));
        }
        Ok(())
    }

    /// Reads everything into one buffer.
    fn read(&self, layout: &Layout, family: Family) -> Result<Vec<f32>> {
        let Some(mut parameters) = zeros(layout.len) else {
            let expected = format!("memory for {} parameters", layout.len);
            return Err(Error::format(self.origin, "", expected, "not enough", ""));
        };
        let mut rest = parameters.as_mut_slice();
        let stored = stored_tensors(layout, family);
        let mut places: BTreeMap<&str, &mut [f32]> = BTreeMap::new();
        for StoredTensor { name, range, .. } in &stored {
            let (place, behind) = rest.split_at_mut(range.len());
            places.insert(name, place);
            rest = behind;
        }
        let mut not_finite = None;
        for file in self.files {
            let mine = self.by_name.iter().filter(|(_, found)| core::ptr::eq(found.file, file));
            let place =
                |(name, found): (&String, &Found<'a>)| Some((found.key, places.remove(name.as_str())?));
            not_finite = not_finite.or(file.read(mine.filter_map(place).collect())?.map(|key| (file, key)));
        }
        if let Some((file, key)) = not_finite {
            let name = full_name(key);
            let tensor = stored.iter().find(|tensor| tensor.name == name).expect("a tensor with a place");
            let mut values = (0..).zip(&parameters[tensor.range.clone()]);
            let (index, value) = values.find(|(_, value)| !value.is_finite()).expect("one");
            let found = format!("{value} at element {index}");
            let hint = "the model was damaged in training";
            return Err(Error::format(file.origin(), at(key), "finite numbers", found, hint));
        }
        from_stored(&mut parameters, layout, family);
        Ok(parameters)
    }
}

fn at(name: &str) -> String {
    format!("tensor \"{name}\"")
}

/// `h.0.ln_1.weight` and `transformer.h.0.ln_1.weight` are one; the heads never have the prefix.
fn full_name(key: &str) -> String {
    match key {
        LM_HEAD | SCORE => key.to_string(),
        _ if key.starts_with("transformer.") => key.to_string(),
        _ => format!("transformer.{key}"),
    }
}

/// The causal mask that old versions of `transformers` stored with each layer.
fn is_mask_buffer(name: &str, family: Family) -> bool {
    let rest = name.strip_prefix("transformer.h.").and_then(|rest| rest.split_once('.'));
    let Some((layer, buffer)) = rest else { return false };
    let prefix = if family == Family::GptNeo { "attn.attention." } else { "attn." };
    let is_one = matches!(buffer.strip_prefix(prefix), Some("bias" | "masked_bias"));
    is_one && layer.parse::<u32>().is_ok()
}

/// Refuses, before the layout is made, sizes that the files cannot hold or an address cannot reach.
fn check_size(config: &ModelConfig, config_name: &str, tensors: &Tensors) -> Result<()> {
    // Each layer has 12 tensors or more, so the table is never longer than the files' headers.
    if config.layers > tensors.by_name.len() {
        let found = format!("{} tensors in the weights", tensors.by_name.len());
        let field = Names::of(config.family).layers[0];
        return Err(Error::format(config_name, field, format!("{} layers", config.layers), found, ""));
    }
    if config.parameter_count() > isize::MAX as u128 / 4 {
        let expected = "sizes that fit into memory";
        return Err(Error::format(
            config_name,
            "",
            expected,
            format!("{} parameters", config.parameter_count()),
            "",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::config_json::config_json;
    use super::super::safetensors::{TensorView, encode};
    use super::super::tensors::to_stored;
    use super::*;
    use proptest::prelude::*;

    /// A config, and tensors whose element `i` of the flat buffer is `i + 1`.
    struct Sample {
        config: ModelConfig,
        head: Head,
        tensors: Vec<(String, Vec<usize>, Vec<f32>)>,
    }

    impl Sample {
        fn new(tied_head: bool, head: Head) -> Self {
            Sample::of(Family::Gpt2, tied_head, head)
        }

        fn of(family: Family, tied_head: bool, head: Head) -> Self {
            let config = ModelConfig { family, tied_head, inner: 7, ..ModelConfig::gpt2(11, 5, 6, 2, 2) };
            let value = |i: usize| (i + 1) as f32;
            let tensors = stored_tensors(&Layout::new(&config, head), family)
                .into_iter()
                .map(|tensor| (tensor.name, tensor.shape, tensor.range.map(value).collect()))
                .collect();
            Sample { config, head, tensors }
        }

        fn edit(&mut self, name: &str, values: impl FnOnce(&mut Vec<f32>)) {
            values(&mut self.tensors.iter_mut().find(|t| t.0 == name).unwrap().2);
        }

        fn push(&mut self, name: &str, shape: &[usize]) {
            self.tensors.push((name.to_string(), shape.to_vec(), alloc::vec![9.0; shape.iter().product()]));
        }

        fn weights(&self) -> Vec<u8> {
            let views: Vec<_> =
                self.tensors.iter().map(|(name, shape, values)| TensorView { name, shape, values }).collect();
            encode(&views, &BTreeMap::new())
        }

        fn json(&self) -> String {
            config_json(&self.config, self.head, None)
        }

        fn load(&self) -> Result<(Network, Vec<String>)> {
            let weights = self.weights();
            load_model_with_warnings(
                self.json().as_bytes(),
                "config.json",
                &[("w.safetensors", &weights as &dyn ReadAt)],
            )
        }

        fn error(&self) -> String {
            self.load().unwrap_err().to_string()
        }
    }

    fn counted(model: &Network) -> bool {
        let stored = to_stored(model.parameters(), &model.layout, model.config.family);
        stored.iter().enumerate().all(|(i, &value)| value == (i + 1) as f32)
    }

    #[test]
    fn every_kind_loads_with_and_without_prefix_and_in_any_order() {
        let kinds = [(true, Head::LanguageModel), (false, Head::LanguageModel), (true, Head::Scalar)];
        for (family, buffers) in [(Family::Gpt2, "attn"), (Family::GptNeo, "attn.attention")] {
            for ((tied, head), prefix) in kinds.into_iter().flat_map(|kind| [(kind, true), (kind, false)]) {
                let mut sample = Sample::of(family, tied, head);
                sample.tensors.reverse();
                if !prefix {
                    for tensor in &mut sample.tensors {
                        tensor.0 = tensor.0.trim_start_matches("transformer.").to_string();
                    }
                }
                sample.push(&format!("h.0.{buffers}.bias"), &[1, 1, 5, 5]);
                sample.push(&format!("transformer.h.1.{buffers}.masked_bias"), &[]);
                let (model, warnings) = sample.load().unwrap();
                assert!(counted(&model) && warnings.is_empty());
                assert_eq!((model.head, model.config), (head, sample.config));
            }
        }
    }

    /// Each family has names of its own.
    #[test]
    fn a_tensor_of_the_other_family_is_refused() {
        for (family, name) in [
            (Family::Gpt2, "h.0.attn.attention.bias"),
            (Family::GptNeo, "h.0.attn.bias"),
            (Family::GptNeo, "h.0.attn.c_attn.bias"),
        ] {
            let mut sample = Sample::of(family, true, Head::LanguageModel);
            sample.push(name, &[18]);
            assert!(sample.error().contains(name), "{}", sample.error());
        }
        let mut neo = Sample::of(Family::GptNeo, true, Head::LanguageModel);
        neo.config.family = Family::Gpt2;
        assert!(neo.error().contains("c_attn.weight"), "{}", neo.error());
        let mut neo = Sample::of(Family::GptNeo, true, Head::LanguageModel);
        neo.edit("transformer.h.1.attn.attention.k_proj.weight", |values| values[5] = f32::NAN);
        let error = neo.error();
        assert!(error.contains("k_proj.weight") && error.contains("element 5"), "{error}");
        neo.config.layers = 1 << 20;
        assert!(neo.error().contains("num_layers"), "{}", neo.error());
    }

    #[test]
    fn shards_equal_one_file() {
        let mut first = Sample::new(true, Head::LanguageModel);
        let mut second = Sample::new(true, Head::LanguageModel);
        second.tensors = first.tensors.split_off(9);
        let (a, b) = (first.weights(), second.weights());
        let model = load_model(first.json().as_bytes(), &[("b", &b), ("a", &a)]).unwrap();
        assert!(counted(&model));
        let error = load_model(first.json().as_bytes(), &[("a", &a), ("again", &a)]).unwrap_err().to_string();
        assert!(error.contains("again") && error.contains("once"), "{error}");
        let error = load_model(first.json().as_bytes(), &[]).unwrap_err().to_string();
        assert!(error.contains("n_layer"), "{error}");
    }

    #[test]
    fn without_architectures_the_tensors_decide() {
        for head in [Head::Scalar, Head::LanguageModel] {
            let sample = Sample::new(true, head);
            let json = sample.json().replace("architectures", "prefix");
            assert_eq!(load_model(json.as_bytes(), &[("w", &sample.weights())]).unwrap().head, head);
        }
    }

    #[test]
    fn an_explicit_head_under_a_tied_config_is_dropped_if_equal_and_kept_if_not() {
        let mut sample = Sample::new(true, Head::LanguageModel);
        let embedding = sample.tensors[0].2.clone();
        sample.push(LM_HEAD, &[11, 6]);
        let (model, warnings) = sample.load().unwrap();
        assert!(!model.config.tied_head && warnings[0].contains("version 4"), "{warnings:?}");
        assert_eq!(model.parameters()[model.layout.head.clone()], [9.0; 66]);
        sample.edit(LM_HEAD, |values| *values = embedding);
        let (model, warnings) = sample.load().unwrap();
        assert!(model.config.tied_head && warnings.is_empty() && counted(&model));
    }

    #[test]
    fn what_disagrees_is_named_with_both_shapes() {
        let mut sample = Sample::new(true, Head::LanguageModel);
        let removed = sample.tensors.remove(4);
        assert!(sample.error().contains(&removed.0) && sample.error().contains("w.safetensors"));
        sample.push(&removed.0, &[18, 6]);
        let error = sample.error();
        assert!(error.contains("[6, 18]") && error.contains("[18, 6]"), "{error}");
        let mut sample = Sample::new(true, Head::LanguageModel);
        sample.push("h.2.ln_1.weight", &[6]);
        assert!(sample.error().contains("transformer.h.2.ln_1.weight"));
        // Heads that contradict the configuration.
        let mut reward = Sample::new(true, Head::Scalar);
        reward.head = Head::LanguageModel;
        assert!(reward.error().contains("reward model"));
        let mut policy = Sample::new(true, Head::LanguageModel);
        policy.head = Head::Scalar;
        assert!(policy.error().contains("score.weight"));
        let mut untied = Sample::new(true, Head::LanguageModel);
        untied.config.tied_head = false;
        assert!(untied.error().contains("tie_word_embeddings"));
    }

    #[test]
    fn an_altered_header_is_blamed_before_what_it_says() {
        let sample = Sample::new(true, Head::LanguageModel);
        let mut weights = sample.weights();
        let at = weights.windows(4).position(|window| window == b"ln_f").unwrap();
        weights[at] = b'x';
        let error = load_model(sample.json().as_bytes(), &[("w", &weights)]).unwrap_err().to_string();
        assert!(error.starts_with("w: checksum: expected "), "{error}");
        super::super::checksum::renew(&mut weights);
        let error = load_model(sample.json().as_bytes(), &[("w", &weights)]).unwrap_err().to_string();
        assert!(error.contains("tensor \"transformer.ln_f"), "{error}");
    }

    #[test]
    fn numbers_that_are_not_finite_are_refused() {
        for bad in [f32::NAN, f32::INFINITY] {
            let mut sample = Sample::new(true, Head::LanguageModel);
            sample.edit("transformer.ln_f.bias", |values| values[3] = bad);
            let error = sample.error();
            assert!(error.contains("ln_f.bias") && error.contains("element 3"), "{error}");
        }
    }

    #[test]
    fn sizes_the_files_cannot_hold_cost_nothing() {
        let mut sample = Sample::new(true, Head::LanguageModel);
        let small = sample.config.clone();
        for (field, error) in [(0, "n_layer"), (1, "wte.weight"), (2, "wpe.weight"), (3, "wte.weight")] {
            sample.config = small.clone();
            match field {
                0 => sample.config.layers = 1 << 24,
                1 => sample.config.vocab_size = 1 << 24,
                2 => sample.config.context = 1 << 24,
                _ => sample.config.width = 1 << 24,
            }
            assert!(sample.error().contains(error), "{}", sample.error());
        }
    }

    #[test]
    fn parameter_count_is_the_layouts() {
        let sample = Sample::new(false, Head::LanguageModel);
        assert_eq!(sample.config.parameter_count(), Layout::new(&sample.config, sample.head).len as u128);
    }

    proptest! {
        #[test]
        fn mutated_weights_never_panic(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
            for family in [Family::Gpt2, Family::GptNeo] {
                let sample = Sample::of(family, true, Head::LanguageModel);
                let mut weights = sample.weights();
                let at = at.index(weights.len());
                weights[at] = byte;
                if cut { weights.truncate(at); }
                let _ = load_model(sample.json().as_bytes(), &[("w", &weights)]);
            }
        }
    }
}
