//! Hugging Face's `config.json` for GPT-2, read into a [`ModelConfig`] and written from one.
//!
//! What would change the arithmetic is either understood or an error, never ignored:
//! [`CONFIG`] lists every field. Here are those that are used.
//! GPT-3's banded attention has no key of Hugging Face's: we write and read an extra one,
//! `attention_window`. `transformers` ignores it and attends densely, so such a model gives other
//! results there. The precision of a model's products, `precision`, is another: the parameters are f32 whatever it
//! is, and `transformers` computes with these.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::model::{Activation, AttentionPattern, Head, ModelConfig, Precision};
use crate::text;
use crate::text::fields::{CONFIG, brief, check};

/// Reads a `config.json`; `origin` names it in messages. The head is `None` where the file leaves it
/// open (no `architectures`, or the bare `GPT2Model`): the tensors then decide.
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
    check(&map, CONFIG, origin)?;
    let fields = Fields { map: &map, origin };

    let width = fields.size(&["n_embd", "hidden_size"])?;
    let inner = match fields.get(&["n_inner"]) {
        None => width.saturating_mul(4),
        Some(_) => fields.size(&["n_inner"])?,
    };
    let config = ModelConfig {
        vocab_size: fields.size(&["vocab_size"])?,
        context: fields.size(&["n_positions", "n_ctx", "max_position_embeddings"])?,
        width,
        layers: fields.size(&["n_layer", "num_hidden_layers"])?,
        heads: fields.size(&["n_head", "num_attention_heads"])?,
        inner,
        layer_norm_epsilon: fields.epsilon()?,
        activation: fields.activation()?,
        attention: match fields.get(&["attention_window"]) {
            None => AttentionPattern::Dense,
            Some(_) => AttentionPattern::Alternating { window: fields.size(&["attention_window"])? },
        },
        tied_head: fields.flag("tie_word_embeddings", true)?,
        precision: fields.precision()?,
        pad_token: fields.pad_token()?,
    };
    config.validate(origin)?;
    Ok((config, fields.head()?))
}

/// One sentence for every field of a `config.json` that is left out of account though `transformers` acts on it, or
/// that nobody knows.
///
/// # Errors
/// As [`parse_config`].
pub fn config_notes(bytes: &[u8], origin: &str) -> Result<Vec<String>> {
    match text::json::parse(bytes) {
        Ok(Value::Object(map)) => check(&map, CONFIG, origin),
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

    fn head(&self) -> Result<Option<Head>> {
        let Some((name, value)) = self.get(&["architectures"]) else {
            return Ok(None);
        };
        let architecture = value.as_array().and_then(|names| names.first()).and_then(Value::as_str);
        match architecture {
            Some("GPT2LMHeadModel") => Ok(Some(Head::LanguageModel)),
            Some("GPT2Model") => Ok(None),
            Some("GPT2ForSequenceClassification") => self.one_label().map(|()| Some(Head::Scalar)),
            None if value.as_array().is_some_and(|names| names.is_empty()) => Ok(None),
            _ => {
                let expected = "GPT2LMHeadModel or GPT2ForSequenceClassification";
                Err(self.bad(name, expected, brief(value), "only GPT-2 directories can be loaded"))
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
    let mut value = json!({
        "activation_function": match config.activation {
            Activation::Gelu => "gelu",
            Activation::GeluTanh => "gelu_new",
        },
        "architectures": [match head {
            Head::LanguageModel => "GPT2LMHeadModel",
            Head::Scalar => "GPT2ForSequenceClassification",
        }],
        "bos_token_id": end_of_text,
        "eos_token_id": end_of_text,
        "layer_norm_epsilon": epsilon,
        "model_type": "gpt2",
        "n_ctx": config.context,
        "n_embd": config.width,
        "n_head": config.heads,
        "n_inner": inner,
        "n_layer": config.layers,
        "n_positions": config.context,
        "scale_attn_weights": true,
        "tie_word_embeddings": config.tied_head,
        "torch_dtype": "float32",
        "vocab_size": config.vocab_size,
    });
    if let AttentionPattern::Alternating { window } = config.attention {
        value["attention_window"] = json!(window);
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn minimal() -> Value {
        json!({"vocab_size": 11, "n_positions": 8, "n_embd": 6, "n_layer": 1, "n_head": 2})
    }

    fn parse(value: &Value) -> Result<(ModelConfig, Option<Head>)> {
        parse_config(value.to_string().as_bytes(), "config.json")
    }

    #[test]
    fn defaults_are_those_of_transformers() {
        let (config, head) = parse(&minimal()).unwrap();
        assert_eq!((config, head), (ModelConfig::gpt2(11, 8, 6, 1, 2), None));
    }

    #[test]
    fn every_configuration_survives_a_round_trip() {
        for head in [Head::LanguageModel, Head::Scalar] {
            for activation in [Activation::Gelu, Activation::GeluTanh] {
                for attention in [AttentionPattern::Dense, AttentionPattern::Alternating { window: 3 }] {
                    for (inner, tied_head, epsilon, pad_token) in
                        [(24, true, 1e-5, None), (7, false, 1.234_567_9e-6, Some(3))]
                    {
                        let config = ModelConfig {
                            activation,
                            attention,
                            inner,
                            tied_head,
                            layer_norm_epsilon: epsilon,
                            pad_token,
                            ..ModelConfig::gpt2(11, 8, 6, 1, 2)
                        };
                        let text = config_json(&config, head, Some(10));
                        assert_eq!(parse_config(text.as_bytes(), "x").unwrap(), (config, Some(head)));
                    }
                }
            }
        }
        let text = config_json(&ModelConfig::gpt2(11, 8, 6, 1, 2), Head::Scalar, None);
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["layer_norm_epsilon"].as_f64(), Some(1e-5));
    }

    #[test]
    fn what_changes_the_arithmetic_is_refused_by_name() {
        let cases = [
            ("model_type", json!("llama")),
            ("activation_function", json!("relu")),
            ("scale_attn_weights", json!(false)),
            ("scale_attn_by_inverse_layer_idx", json!(true)),
            ("add_cross_attention", json!(true)),
            ("pruned_heads", json!({"0": [1]})),
            ("quantization_config", json!({"bits": 4})),
            ("architectures", json!(["GPT2ForTokenClassification"])),
            ("n_layer", json!(0)),
            ("n_layer", json!(-1)),
            ("n_layer", json!(1.5)),
            ("n_layer", json!("1")),
            ("n_layer", Value::Null),
            ("n_head", json!(5)),
            ("vocab_size", json!(u64::MAX)),
            ("layer_norm_epsilon", json!(0)),
            ("layer_norm_epsilon", json!("small")),
            ("tie_word_embeddings", json!(1)),
            ("attention_window", json!(0)),
            ("pad_token_id", json!("x")),
            ("hidden_size", json!(12)),
        ];
        for (name, wrong) in cases {
            let mut value = minimal();
            value[name] = wrong;
            let error = parse(&value).expect_err(name).to_string();
            let name = match name {
                "n_head" => "heads",
                "hidden_size" => "n_embd and hidden_size name one size",
                name => name,
            };
            assert!(error.contains(name) && error.contains("config.json"), "{error}");
        }
        let mut harmless = minimal();
        harmless["reorder_and_upcast_attn"] = json!(true);
        harmless["resid_pdrop"] = json!(0.1);
        harmless["n_inner"] = Value::Null;
        parse(&harmless).unwrap();
    }

    #[test]
    fn a_classifier_with_two_labels_is_no_reward_model() {
        for (name, wrong) in [("num_labels", json!(2)), ("id2label", json!({"0": "a", "1": "b"}))] {
            let mut value = minimal();
            value["architectures"] = json!(["GPT2ForSequenceClassification"]);
            assert_eq!(parse(&value).unwrap().1, Some(Head::Scalar));
            value[name] = wrong;
            assert!(parse(&value).unwrap_err().to_string().contains(name));
        }
    }

    proptest! {
        #[test]
        fn hostile_configs_never_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..100),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let _ = parse_config(&bytes, "x");
            let mut text = config_json(&ModelConfig::gpt2(11, 8, 6, 1, 2), Head::Scalar, None).into_bytes();
            let at = at.index(text.len());
            text[at] = byte;
            let _ = parse_config(&text, "x");
        }

        #[test]
        fn hostile_values_never_panic(key in 0usize..20, number in any::<i64>(), shape in 0usize..5) {
            let keys: Vec<String> = serde_json::from_str::<Map<String, Value>>(&config_json(
                &ModelConfig::gpt2(11, 8, 6, 1, 2), Head::Scalar, None)).unwrap().keys().cloned().collect();
            let mut value = minimal();
            let wrong = [json!(number), json!(number.to_string()), json!([number]), json!({"x": number}), Value::Null];
            value[&keys[key % keys.len()]] = wrong[shape].clone();
            let _ = parse(&value);
        }
    }
}
