//! GPT-Neo directories, through the program: used, trained from and written like GPT-2's.

#[path = "common/tiny.rs"]
mod tiny;

use std::fs;
use std::path::Path;

use instructgpt::checkpoint::{load_model_directory, load_tokenizer, save_model_directory};
use instructgpt::engine::{Cpu, Plain};
use instructgpt::model::{AttentionPattern, Family, Head, ModelConfig, Network, Sequence};
use instructgpt::num::rng::{Purpose, Rng, Stage};
use safetensors::SafeTensors;
use serde_json::{Value, json};
use tempfile::TempDir;
use tiny::{Outcome, instructgpt};

/// A GPT-Neo far from its initialisation, whose second layer of three sees five tokens.
fn gpt_neo(vocab_size: usize, context: usize, head: Head) -> Network {
    let attention = AttentionPattern::Alternating { window: 5 };
    let shape = ModelConfig::gpt2(vocab_size, context, 24, 3, 3);
    let config = ModelConfig { family: Family::GptNeo, attention, inner: 52, ..shape };
    let mut network = Network::random(Cpu, config, head, 5);
    let mut noise = Rng::at(5, Stage::Test, Purpose::Noise, 1, 0, 0);
    network.set_parameters(network.parameters().iter().map(|x| x + 0.2 * noise.normal()).collect());
    network
}

fn config(directory: &Path) -> Value {
    serde_json::from_slice(&fs::read(directory.join("config.json")).unwrap()).unwrap()
}

/// Asks a command of the program about some tokens.
fn asked(command: &str, model: &Path, tokens: &[u32]) -> Outcome {
    instructgpt(&[command, "--model", model.to_str().unwrap()], &json!({"tokens": tokens}).to_string())
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

/// What the program says of a GPT-Neo directory is what the network says, on either engine of the processor; and the
/// directory is written again to the byte.
#[test]
fn a_gpt_neo_directory_is_read_used_and_written() {
    let tokens = tiny::tokenizer().encode("the cat sat on the mat");
    assert!(tokens.len() > 5, "more than a local layer sees");
    for (head, command, class) in [
        (Head::LanguageModel, "logprobs", "GPTNeoForCausalLM"),
        (Head::Scalar, "score", "GPTNeoForSequenceClassification"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let mut network = gpt_neo(tiny::tokenizer().vocab_size(), tiny::CONTEXT, head);
        save_model_directory(path, &network, Some(&tiny::tokenizer()), &[]).unwrap();
        let config = config(path);
        assert_eq!((&config["model_type"], &config["architectures"]), (&json!("gpt_neo"), &json!([class])));
        assert_eq!((&config["window_size"], &config["intermediate_size"]), (&json!(5), &json!(52)));

        let answer = asked(command, path, &tokens);
        assert_eq!((answer.code, answer.stderr.as_str()), (0, ""));
        let answer: Value = serde_json::from_str(&answer.stdout).unwrap();
        let mut plain = network.clone().on(Plain);
        let (found, expected, defined) = match head {
            Head::LanguageModel => {
                let text = [Sequence::text(&tokens)];
                (answer["logprobs"].clone(), network.log_probs(&text, 1.0), plain.log_probs(&text, 1.0))
            }
            Head::Scalar => {
                let [scores, defined] = [network.scores([&*tokens]), plain.scores([&*tokens])];
                (json!([answer["reward"]]), scores, defined)
            }
        };
        let found: Vec<f32> = serde_json::from_value(found).unwrap();
        assert_eq!((bits(&found), bits(&defined)), (bits(&expected), bits(&expected)));

        let again = tempfile::tempdir().unwrap();
        let loaded = load_model_directory(path).unwrap();
        assert!(loaded == network);
        save_model_directory(again.path(), &loaded, Some(&tiny::tokenizer()), &[]).unwrap();
        for name in ["config.json", "model.safetensors"] {
            assert_eq!(
                fs::read(path.join(name)).unwrap(),
                fs::read(again.path().join(name)).unwrap(),
                "{name}"
            );
        }
    }
}

/// Key, output to input, of the directory; query, key and value side by side, input to output, of ours.
#[test]
fn a_gpt_neos_weights_lie_as_torch_has_them() {
    let directory = tempfile::tempdir().unwrap();
    let network = gpt_neo(300, 16, Head::LanguageModel);
    save_model_directory(directory.path(), &network, None, &[]).unwrap();
    let bytes = fs::read(directory.path().join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.len(), 2 + 3 * 13 + 2);
    let number = |name: &str, at: usize| {
        let bytes = &file.tensor(name).unwrap().data()[4 * at..][..4];
        u32::from_le_bytes(bytes.try_into().unwrap())
    };
    let parameters = network.parameters();
    let ours = |name: &str| bits(&parameters[network.layout.get(name).unwrap().range()]);
    let (c, f) = (24, 52);
    let (attn, fc) = (ours("transformer.h.1.attn.c_attn.weight"), ours("transformer.h.1.mlp.c_fc.weight"));
    for (input, output) in [(0, 0), (3, 0), (0, 3), (23, 7), (11, 23)] {
        for (part, name) in ["q_proj", "k_proj", "v_proj"].into_iter().enumerate() {
            let name = format!("transformer.h.1.attn.attention.{name}.weight");
            assert_eq!(number(&name, output * c + input), attn[input * 3 * c + part * c + output]);
        }
        let output = output + 20;
        assert_eq!(number("transformer.h.1.mlp.c_fc.weight", output * c + input), fc[input * f + output]);
    }
    assert!(file.tensor("transformer.h.0.attn.attention.q_proj.bias").is_err());
}

#[test]
fn a_gpt_neo_directory_that_is_wrong_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let network = gpt_neo(tiny::tokenizer().vocab_size(), tiny::CONTEXT, Head::LanguageModel);
    for (name, wrong, words) in [
        ("attention_types", json!([[["local"], 3]]), "there are 3 layers"),
        ("attention_layers", json!(["global", "global", "local"]), "every second one local"),
        ("window_size", json!(0), "at least 1"),
        ("num_heads", json!(5), "a divisor of the width 24"),
        ("model_type", json!("gptj"), "only GPT-2 and GPT-Neo directories can be loaded"),
        ("model_type", json!("gpt2"), "n_layer"),
        ("activation_function", json!("relu"), "gelu_new"),
    ] {
        save_model_directory(directory.path(), &network, None, &[]).unwrap();
        let mut config = config(directory.path());
        config[name] = wrong;
        fs::write(directory.path().join("config.json"), config.to_string()).unwrap();
        let outcome = asked("logprobs", directory.path(), &[1, 2]);
        assert_eq!(outcome.code, 1, "{outcome:?}");
        assert!(
            outcome.stderr.contains(words) && outcome.stderr.contains("config.json"),
            "{}",
            outcome.stderr
        );
    }
}

/// Every stage of `configs/tiny.toml`, from a GPT-Neo directory instead of random weights: every model it leaves is one,
/// has learnt, and has the same bits on another number of threads and with other micro-batches.
#[test]
fn every_stage_trains_from_a_gpt_neo_directory() {
    let [first, start, a, b] = [(); 4].map(|()| tempfile::tempdir().unwrap());
    let run = |out: &TempDir, more: &[&str]| {
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/tiny.toml");
        let [out, config] = [out.path(), &config].map(|path| path.to_str().unwrap());
        let outcome = instructgpt(&[&["run", config, "--out", out], more].concat(), "");
        assert_eq!(outcome.code, 0, "{outcome:?}");
    };
    // The tokenizer of the miniature.
    run(&first, &["--stage", "pretrain", "--set", "pretrain.steps=1"]);
    let tokenizer = load_tokenizer(&first.path().join("pretrain")).unwrap();
    let network = gpt_neo(512, 96, Head::LanguageModel);
    save_model_directory(start.path(), &network, tokenizer.as_ref(), &[]).unwrap();
    let from = format!("pretrain.init_from={}", start.path().display());
    run(&a, &["--threads", "2", "--set", &from]);
    run(&b, &["--threads", "1", "--set", &from, "--set", "micro_batch_tokens=600"]);
    let mut before = load_model_directory(start.path()).unwrap();
    for name in ["pretrain", "sft", "reward_model", "rlhf_init", "policy_without_ptx", "policy"] {
        let model = load_model_directory(&a.path().join(name)).unwrap();
        assert_eq!((model.config.family, model.config.layers), (Family::GptNeo, 3), "{name}");
        assert_eq!(model.config.attention, before.config.attention, "{name}");
        assert!(model != before, "{name} has learnt nothing");
        for file in ["config.json", "model.safetensors"] {
            let [a, b] = [&a, &b].map(|run| fs::read(run.path().join(name).join(file)).unwrap());
            assert!(a == b, "{name}/{file}: threads or micro-batches show");
        }
        before = model;
    }
}
