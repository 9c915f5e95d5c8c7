//! Hugging Face's `config.json` for GPT-2 and GPT-Neo, read into a [`ModelConfig`] and written from one.
//!
//! What would change the arithmetic is either understood or an error, never ignored:
//! [`CONFIG`] lists every field. Here are those that are used.
//! GPT-3's banded attention has no key in a GPT-2's file (a GPT-Neo's has some): we write and read an extra one,
//! `attention_window`. `transformers` ignores it and attends densely, so such a model gives other results there. The
//! precision of a model's products, `precision`, is another: the parameters are f32 whatever it is, and `transformers`
//! computes with these.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::model::{Activation, AttentionPattern, Family, Head, ModelConfig, Precision};
use crate::text;
use crate::text::fields::{CONFIG, GPT_2, GPT_NEO, Table, brief, check};

/// Reads a `config.json`; `origin` names it in messages. The head is `None` where the file leaves it
/// open (no `architectures`, or the bare `GPT2Model` or `GPTNeoModel`): the tensors then decide.
///
/// # Errors
/// [`Error::Format`] naming the key.
pub fn parse_config(bytes: &[u8], origin: &str) -> Result<(ModelConfig, Option<Head>)> {
    let value = text::json::parse(bytes).map_err(|error| {
        let hint = "is this a Hugging Face config.json?";
        text::json::refusal(origin, bytes, (1, 1), "a JSON object", &error, hint)
    })?;
    let Value::Object(map) = value else {
        return Err(Error::format(origin, "", "a JSON object", text::json::kind(&value), ""));
    };
    let family = family(&map);
    check(&map, &tables(family), origin)?;
    let fields = Fields { map: &map, origin };

    let names = Names::of(family);
    let width = fields.size(names.width)?;
    let inner = match fields.get(names.inner) {
        None => width.saturating_mul(4),
        Some(_) => fields.size(names.inner)?,
    };
    let mut config = ModelConfig {
        family,
        vocab_size: fields.size(&["vocab_size"])?,
        context: fields.size(names.context)?,
        width,
        layers: fields.size(names.layers)?,
        heads: fields.size(names.heads)?,
        inner,
        layer_norm_epsilon: fields.epsilon()?,
        activation: fields.activation()?,
        attention: AttentionPattern::Dense,
        tied_head: fields.flag("tie_word_embeddings", true)?,
        precision: fields.precision()?,
        pad_token: fields.pad_token()?,
    };
    config.validate(origin)?;
    config.attention = match family {
        Family::Gpt2 if fields.get(&["attention_window"]).is_none() => AttentionPattern::Dense,
        Family::Gpt2 => AttentionPattern::Alternating { window: fields.size(&["attention_window"])? },
        Family::GptNeo => fields.attention_types(config.layers)?,
    };
    config.validate(origin)?;
    Ok((config, fields.head(family)?))
}

/// Whose file it is. Of another `model_type` than these two, [`CONFIG`] refuses it.
fn family(map: &Map<String, Value>) -> Family {
    match map.get("model_type").and_then(Value::as_str) {
        Some("gpt_neo") => Family::GptNeo,
        _ => Family::Gpt2,
    }
}

fn tables(family: Family) -> [Table; 2] {
    [CONFIG, if family == Family::GptNeo { GPT_NEO } else { GPT_2 }]
}

/// What a family calls its sizes, its own name first, and the classes of `transformers` that load it.
pub(super) struct Names {
    context: &'static [&'static str],
    width: &'static [&'static str],
    pub(super) layers: &'static [&'static str],
    heads: &'static [&'static str],
    inner: &'static [&'static str],
    model_type: &'static str,
    language_model: &'static str,
    reward_model: &'static str,
    /// Without a head.
    trunk: &'static str,
}

impl Names {
    pub(super) fn of(family: Family) -> Names {
        match family {
            Family::Gpt2 => Names {
                context: &["n_positions", "n_ctx", "max_position_embeddings"],
                width: &["n_embd", "hidden_size"],
                layers: &["n_layer", "num_hidden_layers"],
                heads: &["n_head", "num_attention_heads"],
                inner: &["n_inner"],
                model_type: "gpt2",
                language_model: "GPT2LMHeadModel",
                reward_model: "GPT2ForSequenceClassification",
                trunk: "GPT2Model",
            },
            Family::GptNeo => Names {
                context: &["max_position_embeddings"],
                width: &["hidden_size"],
                layers: &["num_layers", "num_hidden_layers"],
                heads: &["num_heads", "num_attention_heads"],
                inner: &["intermediate_size"],
                model_type: "gpt_neo",
                language_model: "GPTNeoForCausalLM",
                reward_model: "GPTNeoForSequenceClassification",
                trunk: "GPTNeoModel",
            },
        }
    }
}

/// One sentence for every field of a `config.json` that is left out of account though `transformers` acts on it, or
/// that nobody knows.
///
/// # Errors
/// As [`parse_config`].
pub fn config_notes(bytes: &[u8], origin: &str) -> Result<Vec<String>> {
    match text::json::parse(bytes) {
        Ok(Value::Object(map)) => check(&map, &tables(family(&map)), origin),
        _ => parse_config(bytes, origin).map(|_| Vec::new()),
    }
}

/// The file's keys; a `null` counts as absent, as `transformers` has it.
struct Fields<'a> {
    map: &'a Map<String, Value>,
    origin: &'a str,
}

impl<'a> Fields<'a> {
    fn get(&self, names: &[&'static str]) -> Option<(&'static str, &'a Value)> {
        names.iter().find_map(|&name| Some((name, self.map.get(name).filter(|value| !value.is_null())?)))
    }

    fn bad(&self, name: &str, expected: impl ToString, found: impl ToString, hint: &str) -> Error {
        Error::format(self.origin, format!("field \"{name}\""), expected, found, hint)
    }

    /// A positive number under the first of `names` that is there.
    fn size(&self, names: &[&'static str]) -> Result<usize> {
        let expected = "a whole number of at least 1";
        let Some((name, value)) = self.get(names) else {
            return Err(self.bad(names[0], expected, "nothing", ""));
        };
        // Of two names for one size transformers takes either; n_ctx it does not read beside n_positions.
        let mut others =
            names.iter().filter(|&&other| other != "n_ctx").filter_map(|&other| self.get(&[other]));
        if let Some((other, differs)) = others.find(|(_, other)| *other != value) {
            let hint = format!("{name} and {other} name one size");
            return Err(self.bad(name, differs, brief(value), &hint));
        }
        let size = value.as_u64().and_then(|size| usize::try_from(size).ok()).filter(|&size| size > 0);
        size.ok_or_else(|| self.bad(name, expected, brief(value), ""))
    }

    /// What a GPT-Neo's layers see. `attention_types` is a list of pairs, of the kinds of some layers and how often
    /// these follow each other: `[[["global", "local"], 6]]` for 12 layers. `attention_layers`, if it is there, is the
    /// same written out. A global layer sees everything, a local one `window_size` tokens, its own included.
    fn attention_types(&self, layers: usize) -> Result<AttentionPattern> {
        let default = json!([[["global", "local"], 12]]);
        let types = self.get(&["attention_types"]).map_or(&default, |(_, types)| types);
        let expected =
            "[[[\"global\"], N]] or [[[\"global\", \"local\"], N]], for as many layers as there are";
        let bad = |name, value| {
            let hint =
                format!("there are {layers} layers; of them all must be global, or every second one local");
            self.bad(name, expected, brief(value), &hint)
        };
        let repeated = |group: &Value| {
            let [kinds, times] = group.as_array()?.as_slice() else { return None };
            let (kinds, times) = (kinds.as_array()?.clone(), usize::try_from(times.as_u64()?).ok()?);
            let count = kinds.len().saturating_mul(times);
            Some((0..count).map(move |i| kinds[i % kinds.len()].clone()))
        };
        let groups =
            types.as_array().and_then(|groups| groups.iter().map(repeated).collect::<Option<Vec<_>>>());
        let pattern = groups.and_then(|groups| alternation(groups.into_iter().flatten(), layers));
        let alternates = pattern.ok_or_else(|| bad("attention_types", types))?;
        if let Some((name, value)) = self.get(&["attention_layers"]) {
            let written_out = value.as_array().and_then(|kinds| alternation(kinds.iter().cloned(), layers));
            if written_out != Some(alternates) {
                return Err(bad(name, value));
            }
        }
        Ok(match alternates {
            false => AttentionPattern::Dense,
            true if self.get(&["window_size"]).is_none() => AttentionPattern::Alternating { window: 256 },
            true => AttentionPattern::Alternating { window: self.size(&["window_size"])? },
        })
    }

    fn flag(&self, name: &'static str, default: bool) -> Result<bool> {
        match self.get(&[name]) {
            None => Ok(default),
            Some((_, Value::Bool(flag))) => Ok(*flag),
            Some((_, value)) => Err(self.bad(name, "true or false", brief(value), "")),
        }
    }

    fn epsilon(&self) -> Result<f32> {
        match self.get(&["layer_norm_epsilon"]) {
            None => Ok(1e-5),
            Some((name, value)) => match value.as_f64() {
                Some(epsilon) => Ok(epsilon as f32),
                None => Err(self.bad(name, "a small positive number", brief(value), "")),
            },
        }
    }

    fn activation(&self) -> Result<Activation> {
        match self.get(&["activation_function"]) {
            None => Ok(Activation::GeluTanh),
            Some((name, value)) => match value.as_str() {
                Some("gelu") => Ok(Activation::Gelu),
                Some("gelu_new" | "gelu_pytorch_tanh") => Ok(Activation::GeluTanh),
                _ => Err(self.bad(name, "gelu, gelu_new or gelu_pytorch_tanh", brief(value), "")),
            },
        }
    }

    fn precision(&self) -> Result<Precision> {
        match self.get(&["precision"]) {
            None => Ok(Precision::F32),
            Some((name, value)) => {
                let precision = value.as_str().and_then(Precision::named);
                precision.ok_or_else(|| self.bad(name, "f32, bf16, tf32 or bf16-fast", brief(value), ""))
            }
        }
    }

    /// A negative number is none, as older files write it.
    fn pad_token(&self) -> Result<Option<u32>> {
        match self.get(&["pad_token_id"]) {
            None => Ok(None),
            Some((_, value)) if value.as_i64().is_some_and(|id| id < 0) => Ok(None),
            Some((name, value)) => match token(value) {
                Some(id) => Ok(Some(id)),
                None => Err(self.bad(name, "a token's id", brief(value), "")),
            },
        }
    }

    fn head(&self, family: Family) -> Result<Option<Head>> {
        let Some((name, value)) = self.get(&["architectures"]) else {
            return Ok(None);
        };
        let architecture = value.as_array().and_then(|names| names.first()).and_then(Value::as_str);
        let Names { language_model, reward_model, trunk, model_type, .. } = Names::of(family);
        match architecture {
            Some(class) if class == language_model => Ok(Some(Head::LanguageModel)),
            Some(class) if class == reward_model => self.one_label().map(|()| Some(Head::Scalar)),
            Some(class) if class == trunk => Ok(None),
            None if value.as_array().is_some_and(|names| names.is_empty()) => Ok(None),
            _ => {
                let expected = format!("{language_model} or {reward_model}");
                let hint = format!(
                    "the model_type is {model_type}; only GPT-2 and GPT-Neo directories can be loaded"
                );
                Err(self.bad(name, expected, brief(value), &hint))
            }
        }
    }

    /// A reward is one number. Where neither key is there, the shape of `score.weight` is checked alone.
    fn one_label(&self) -> Result<()> {
        let hint = "a reward model has exactly one label";
        if let Some((name, value)) = self.get(&["num_labels"])
            && value.as_u64() != Some(1)
        {
            return Err(self.bad(name, 1, brief(value), hint));
        }
        if let Some((name, value)) = self.get(&["id2label"])
            && value.as_object().is_none_or(|labels| labels.len() != 1)
        {
            return Err(self.bad(name, "one label", brief(value), hint));
        }
        Ok(())
    }
}

/// Whether of so many `kinds` of layers every second one is local: `Some(false)` where all are global, `None` where they
/// are more or fewer, or anything else.
fn alternation(kinds: impl Iterator<Item = Value>, layers: usize) -> Option<bool> {
    let (mut count, mut dense, mut alternating) = (0, true, true);
    for kind in kinds.take(layers + 1) {
        dense &= kind == "global";
        alternating &= kind == if count % 2 == 0 { "global" } else { "local" };
        count += 1;
    }
    (count == layers && (dense || alternating)).then_some(!dense)
}

pub(super) fn token(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|id| u32::try_from(id).ok())
}

/// Writes a `config.json` that `transformers` loads unchanged.
///
/// `end_of_text` is the tokenizer's `<|endoftext|>`, both `bos_token_id` and `eos_token_id`. A model of a run has no
/// `pad_token_id`: nothing is padded in training, and `transformers` then reads a reward at the last token.
/// (With more than one sequence per batch it wants a pad token from the caller.)
pub fn config_json(config: &ModelConfig, head: Head, end_of_text: Option<u32>) -> String {
    // The shortest decimal that reads back to the same f32: 1e-5, not 9.999999747378752e-6.
    let epsilon: f64 = format!("{:?}", config.layer_norm_epsilon).parse().expect("an f32 prints as a number");
    let inner = (config.inner != 4 * config.width).then_some(config.inner);
    let names = Names::of(config.family);
    let mut value = json!({
        "activation_function": match config.activation {
            Activation::Gelu => "gelu",
            Activation::GeluTanh => "gelu_new",
        },
        "architectures": [match head {
            Head::LanguageModel => names.language_model,
            Head::Scalar => names.reward_model,
        }],
        "bos_token_id": end_of_text,
        "eos_token_id": end_of_text,
        "layer_norm_epsilon": epsilon,
        "model_type": names.model_type,
        "tie_word_embeddings": config.tied_head,
        "torch_dtype": "float32",
        "vocab_size": config.vocab_size,
    });
    value[names.context[0]] = json!(config.context);
    value[names.width[0]] = json!(config.width);
    value[names.layers[0]] = json!(config.layers);
    value[names.heads[0]] = json!(config.heads);
    value[names.inner[0]] = json!(inner);
    match (config.family, config.attention) {
        (Family::Gpt2, attention) => {
            value["n_ctx"] = json!(config.context);
            value["scale_attn_weights"] = json!(true);
            if let AttentionPattern::Alternating { window } = attention {
                value["attention_window"] = json!(window);
            }
        }
        (Family::GptNeo, AttentionPattern::Dense) => {
            value["attention_types"] = json!([[["global"], config.layers]]);
        }
        (Family::GptNeo, AttentionPattern::Alternating { window }) => {
            let mut types = vec![json!([["global", "local"], config.layers / 2])];
            if config.layers % 2 == 1 {
                types.push(json!([["global"], 1]));
            }
            value["attention_types"] = json!(types);
            value["window_size"] = json!(window);
        }
    }
    if config.precision != Precision::F32 {
        value["precision"] = json!(config.precision.name());
    }
    if let Some(pad_token) = config.pad_token {
        value["pad_token_id"] = json!(pad_token);
    }
    if head == Head::Scalar {
        value["num_labels"] = json!(1);
        value["id2label"] = json!({"0": "reward"});
        value["label2id"] = json!({"reward": 0});
    }
    let mut text = serde_json::to_string_pretty(&value).expect("plain values are valid JSON");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests;
