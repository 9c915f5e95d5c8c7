//! Configurations of both families: what is read, written, refused, and survives hostile bytes.

use super::*;
use proptest::prelude::*;

/// Of a GPT-Neo of three layers, of which the second is local.
fn minimal_neo() -> Value {
    json!({
        "model_type": "gpt_neo", "vocab_size": 11, "max_position_embeddings": 8, "hidden_size": 6, "num_layers": 3,
        "num_heads": 2, "attention_types": [[["global", "local"], 1], [["global"], 1]], "window_size": 4
    })
}

fn neo() -> ModelConfig {
    let attention = AttentionPattern::Alternating { window: 4 };
    ModelConfig { family: Family::GptNeo, attention, ..ModelConfig::gpt2(11, 8, 6, 3, 2) }
}

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
    assert_eq!(parse(&minimal_neo()).unwrap(), (neo(), None));
    // 24 layers by turns, of which the local ones see 256 tokens.
    let mut large = minimal_neo();
    for name in ["attention_types", "window_size"] {
        large.as_object_mut().unwrap().remove(name);
    }
    large["num_layers"] = json!(24);
    large["max_position_embeddings"] = json!(2048);
    let attention = AttentionPattern::Alternating { window: 256 };
    let expected = ModelConfig { layers: 24, context: 2048, attention, ..neo() };
    assert_eq!(parse(&large).unwrap().0, expected);
    assert_eq!(expected.window(1), 256);
}

/// As `EleutherAI/gpt-neo-125M` and the models of TinyStories have them: nothing is to be said of any field.
#[test]
fn published_gpt_neo_configurations_are_read_without_a_note() {
    let mut published = minimal_neo();
    let fields = json!({
        "activation_function": "gelu_new", "architectures": ["GPTNeoForCausalLM"], "attention_dropout": 0,
        "attention_layers": ["global", "local", "global"], "bos_token_id": 50256, "embed_dropout": 0,
        "eos_token_id": 50256, "gradient_checkpointing": false, "initializer_range": 0.02,
        "intermediate_size": null, "layer_norm_epsilon": 1e-05, "resid_dropout": 0, "summary_activation": null,
        "summary_first_dropout": 0.1, "summary_proj_to_labels": true, "summary_type": "cls_index",
        "summary_use_proj": true, "torch_dtype": "float32", "transformers_version": "4.9.0.dev0",
        "use_cache": true, "tokenizer_class": "GPT2Tokenizer"
    });
    published.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    assert_eq!(parse(&published).unwrap(), (neo(), Some(Head::LanguageModel)));
    let bytes = published.to_string();
    assert!(config_notes(bytes.as_bytes(), "config.json").unwrap().is_empty());
    published["n_embd"] = json!(6);
    let notes = config_notes(published.to_string().as_bytes(), "config.json").unwrap();
    assert!(notes[0].contains("not known here and not used: \"n_embd\""), "{notes:?}");
}

#[test]
fn the_kinds_of_a_gpt_neos_layers_are_told_or_refused() {
    let kinds = |types: Value| {
        let mut value = minimal_neo();
        value["attention_types"] = types;
        parse(&value).map(|(config, _)| config.attention)
    };
    for dense in [json!([[["global"], 3]]), json!([[["global", "global"], 1], [["global"], 1], [[], 7]])] {
        assert_eq!(kinds(dense).unwrap(), AttentionPattern::Dense);
    }
    for banded in
        [json!([[["global", "local", "global"], 1]]), json!([[["global"], 1], [["local", "global"], 1]])]
    {
        assert_eq!(kinds(banded).unwrap(), neo().attention);
    }
    for wrong in [
        json!([[["local"], 3]]),
        json!([[["local", "global"], 1], [["local"], 1]]),
        json!([[["global", "local"], 2]]),
        json!([[["global", "local"], 1]]),
        json!([[["global", "sparse"], 1], [["global"], 1]]),
        json!([[["global"], u64::MAX], [["global", "local"], u64::MAX]]),
        json!([[["global"], -3]]),
        json!([["global", 3]]),
        json!([[["global"], 3, 1]]),
        json!([]),
        json!("global"),
    ] {
        let error = kinds(wrong).unwrap_err().to_string();
        assert!(error.contains("attention_types") && error.contains("there are 3 layers"), "{error}");
    }
    let with = |name: &str, wrong: Value| {
        let mut value = minimal_neo();
        value[name] = wrong;
        parse(&value).unwrap_err().to_string()
    };
    for wrong in [json!(["global", "global", "global"]), json!(["global", "local"]), json!(3)] {
        assert!(with("attention_layers", wrong).contains("attention_layers"));
    }
    for (name, wrong) in [
        ("window_size", json!(0)),
        ("num_layers", json!(1u64 << 40)),
        ("num_hidden_layers", json!(2)),
        ("intermediate_size", json!("x")),
        ("architectures", json!(["GPT2LMHeadModel"])),
    ] {
        let error = with(name, wrong);
        let name = if name == "num_layers" { "layers" } else { name };
        assert!(error.contains(name) && error.starts_with("config.json"), "{error}");
    }
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
                    for (family, layers) in [(Family::Gpt2, 1), (Family::GptNeo, 3), (Family::GptNeo, 4)] {
                        let config = ModelConfig { family, layers, ..config.clone() };
                        let text = config_json(&config, head, Some(10));
                        assert_eq!(parse_config(text.as_bytes(), "x").unwrap(), (config, Some(head)));
                        assert!(config_notes(text.as_bytes(), "x").unwrap().is_empty());
                    }
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
        for config in [ModelConfig::gpt2(11, 8, 6, 1, 2), neo()] {
            let mut text = config_json(&config, Head::Scalar, None).into_bytes();
            let at = at.index(text.len());
            text[at] = byte;
            let _ = parse_config(&text, "x");
        }
    }

    #[test]
    fn hostile_values_never_panic(key in 0usize..20, number in any::<i64>(), shape in 0usize..5) {
        for (config, minimal) in [(ModelConfig::gpt2(11, 8, 6, 1, 2), minimal()), (neo(), minimal_neo())] {
            let text = config_json(&config, Head::Scalar, None);
            let fields: Map<String, Value> = serde_json::from_str(&text).unwrap();
            let keys: Vec<&String> = fields.keys().collect();
            let wrong = [
                json!(number), json!(number.to_string()), json!([number]), json!({"x": number}), Value::Null,
            ];
            let mut value = minimal;
            value[keys[key % keys.len()]] = wrong[shape].clone();
            let _ = parse(&value);
        }
    }
}
