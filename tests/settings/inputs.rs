//! Sections `data`, `world`, `tokenizer` and `model`: what a run starts from.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use instructgpt::app::pipeline;
use instructgpt::checkpoint::{load_model_directory, load_tokenizer, save_model_directory};
use instructgpt::engine::Cpu;
use instructgpt::model::{Activation, AttentionPattern, Head, Layout, ModelConfig, Network, Precision};
use instructgpt::run::StageId;
use instructgpt::run::progress::Silent;
use instructgpt::text::Tokenizer;
use instructgpt::train::dataset::Dataset;
use serde_json::json;

use crate::{network, settings};

/// JSON Lines.
fn write(folder: &Path, name: &str, records: impl Iterator<Item = serde_json::Value>) {
    let lines: Vec<String> = records.map(|record| record.to_string()).collect();
    fs::write(folder.join(name), lines.join("\n")).unwrap();
}

/// Files of every kind whose records begin with the file's own letter, and a text.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    for file in ["a", "b"] {
        let prompt = |i: usize| format!("{file}{i}");
        let text: String = (0..60).map(|i| format!("{file} story {i}\n<|endoftext|>\n")).collect();
        fs::write(path.join(format!("{file}.txt")), text).unwrap();
        let all = || 0..60;
        write(path, &format!("{file}-d"), all().map(|i| json!({ "prompt": prompt(i), "response": "r" })));
        write(
            path,
            &format!("{file}-c"),
            all().map(|i| json!({ "prompt": prompt(i), "responses": ["r", "s"], "ranks": [1, 2] })),
        );
        write(path, &format!("{file}-p"), all().map(|i| json!({ "prompt": prompt(i) })));
    }
    let text = "the cat sat on the mat, and the other cat saw the hat on that mat ";
    fs::write(path.join("text.txt"), text.repeat(30)).unwrap();
    folder
}

fn load(folder: &Path, changes: &[&str]) -> Dataset {
    Dataset::load(&settings(changes), folder).unwrap()
}

/// Each list of files is read, and as what it is.
#[test]
fn data_comes_from_the_files_that_are_named() {
    let folder = folder();
    let begins = |data: &Dataset, tokens: &[u32], letter: char| {
        data.tokenizer.decode_lossy(tokens).starts_with(letter)
    };
    for (letter, other) in [('a', 'b'), ('b', 'a')] {
        let files = [
            format!("data.pretraining=[\"{letter}.txt\"]"),
            format!("data.demonstrations=[\"{letter}-d\"]"),
            format!("data.comparisons=[\"{letter}-c\"]"),
            format!("data.prompts=[\"{other}-p\"]"),
        ];
        let data = load(folder.path(), &files.each_ref().map(String::as_str));
        assert!(data.text.train.len() > 300 && begins(&data, data.text.train.tokens(), letter));
        let demonstrations = &data.demonstrations.train;
        assert!(demonstrations.len() > 20 && demonstrations.iter().all(|d| begins(&data, &d.tokens, letter)));
        let rankings = &data.rankings.train;
        assert!(rankings.len() > 20);
        assert!(rankings.iter().all(|r| begins(&data, &r.responses[0].tokens, letter)));
        let prompts = &data.prompts.train;
        assert!(prompts.len() > 20 && prompts.iter().all(|prompt| begins(&data, prompt, other)));
        assert!(data.world.is_none());
    }
    // Without files of their own, prompts are the demonstrations'.
    let data = load(folder.path(), &["data.demonstrations=[\"a-d\"]"]);
    assert!(data.prompts.train.len() > 20 && begins(&data, &data.prompts.train[0], 'a'));
}

/// The share of keys that is held out: of 600, within four standard deviations.
#[test]
fn the_share_of_validation_is_that_of_the_setting() {
    let folder = folder();
    let record = |i| json!({ "prompt": format!("{i}"), "response": "r" });
    write(folder.path(), "many", (0..600).map(record));
    for (share, expected) in [("0.1", 31..=89), ("0.3", 135..=225), ("0.0", 0..=0)] {
        let share = format!("data.validation_fraction={share}");
        let data = load(folder.path(), &["data.demonstrations=[\"many\"]", &share]);
        let found = data.demonstrations.validation.len();
        assert!(expected.contains(&found), "{share}: {found} of 600");
    }
}

/// Longer prompts and responses are left out, to the token: with this vocabulary a token is a byte. A response's
/// end counts.
#[test]
fn longer_prompts_and_responses_are_left_out() {
    let folder = folder();
    let lengths = || (1..=24).flat_map(|length| ["a", "b", "c", "d", "e", "f"].map(|c| c.repeat(length)));
    let by_prompt = lengths().map(|prompt| json!({ "prompt": prompt, "response": "r" }));
    let by_response = lengths().enumerate();
    let by_response = by_response.map(|(i, r)| json!({ "prompt": format!("{i}"), "response": r }));
    write(folder.path(), "by-prompt", by_prompt);
    write(folder.path(), "by-response", by_response);
    write(folder.path(), "prompts", lengths().map(|prompt| json!({ "prompt": prompt })));
    let longest = |changes: &[&str]| {
        let with = |file: &str| {
            let files = [&format!("data.demonstrations=[\"{file}\"]"), "data.prompts=[\"prompts\"]"];
            load(folder.path(), &[&files, changes].concat())
        };
        let (prompts, responses) = (with("by-prompt"), with("by-response"));
        let prompt = prompts.demonstrations.train.iter().map(|example| example.prompt).max();
        let response = responses.demonstrations.train.iter().map(|example| example.response().len()).max();
        let asked = prompts.prompts.train.iter().map(Vec::len).max();
        [prompt, response, asked].map(Option::unwrap)
    };
    assert_eq!(longest(&[]), [11, 9, 10]);
    assert_eq!(longest(&["data.max_prompt_tokens=8"]), [8, 9, 10]);
    assert_eq!(longest(&["data.max_response_tokens=12"]), [11, 12, 10]);
    assert_eq!(longest(&["ppo.max_prompt_tokens=14"]), [11, 9, 14]);
}

/// The cap of the paper's section 3.2: the first records of each user.
#[test]
fn no_user_has_more_prompts_than_the_cap() {
    let folder = folder();
    let users = ["u", "v", "w", "x", "y", "z"];
    let records =
        (0..120).map(|i| json!({ "prompt": format!("{i} {}", users[i % 6]), "user": users[i % 6] }));
    write(folder.path(), "users", records);
    for cap in [7, 4] {
        let change = format!("data.prompts_per_user={cap}");
        let data = load(folder.path(), &["data.prompts=[\"users\"]", &change]);
        let mut full = 0;
        for user in users {
            let of_user = |prompt: &&Vec<u32>| data.tokenizer.decode_lossy(prompt).ends_with(user);
            let found = data.prompts.train.iter().filter(of_user).count();
            assert!(found == cap || found == 0, "{user}: {found} of at most {cap}");
            full += usize::from(found == cap);
        }
        assert!(full >= 2, "{cap}: {full} users in training");
    }
}

/// Joined, all documents are one run of text, in which a sequence may begin anywhere; apart, each is a run of its own.
#[test]
fn documents_are_joined_or_kept_apart() {
    let folder = folder();
    fs::write(folder.path().join("three.txt"), "one<|endoftext|>and two<|endoftext|>3").unwrap();
    let runs = |joined: bool| -> Vec<String> {
        let joined = format!("data.join_documents={joined}");
        let all = ["data.pretraining=[\"three.txt\"]", "data.validation_fraction=0.0"];
        let data = load(folder.path(), &[&all[..], &[&joined]].concat());
        data.text.train.runs().map(|run| data.tokenizer.decode_lossy(run)).collect()
    };
    let end = "<|endoftext|>";
    assert_eq!(runs(true), [format!("one{end}and two{end}3{end}")]);
    assert_eq!(runs(false), ["one", "and two", "3"].map(|document| format!("{document}{end}")));
}

/// The miniature has as many items as it is told to have.
#[test]
fn the_miniature_has_the_sizes_of_its_section() {
    let of = |changes: &[&str]| {
        let whole = ["data.world=true", "model.context=900", "data.max_prompt_tokens=450"];
        let whole = [&whole[..], &["data.max_response_tokens=450", "ppo.max_prompt_tokens=450"]].concat();
        let data = load(Path::new("."), &[&whole, changes].concat());
        assert!(data.world.is_some());
        let end = data.tokenizer.end_of_text();
        [
            data.text.train.tokens().iter().filter(|&&token| token == end).count(),
            data.demonstrations.train.len(),
            data.ranking_prompts.train.len(),
            data.prompts.train.len(),
        ]
    };
    let base =
        ["world.documents=7", "world.demonstrations=9", "world.comparisons=5", "world.prompts=11"].to_vec();
    assert_eq!(of(&base), [7, 9, 5, 11]);
    assert_eq!(of(&[&base[..], &["world.documents=8"]].concat()), [8, 9, 5, 11]);
    assert_eq!(of(&[&base[..], &["world.demonstrations=6"]].concat()), [7, 6, 5, 11]);
    assert_eq!(of(&[&base[..], &["world.comparisons=4"]].concat()), [7, 9, 4, 11]);
    assert_eq!(of(&[&base[..], &["world.prompts=10"]].concat()), [7, 9, 5, 10]);
}

#[test]
fn the_tokenizer_is_trained_to_its_size_or_taken_from_a_directory() {
    let folder = folder();
    for size in [260, 270] {
        let change = format!("tokenizer.vocab_size={size}");
        assert_eq!(load(folder.path(), &[&change]).tokenizer.vocab_size(), size);
    }
    let other = Tokenizer::train(["zq zq zqx zqx zq"], 259).unwrap();
    let model = ModelConfig::gpt2(other.vocab_size(), 8, 4, 1, 1);
    let model = Network::random(Cpu, model, Head::LanguageModel, 1);
    save_model_directory(&folder.path().join("other"), &model, Some(&other), &[]).unwrap();
    let data = load(folder.path(), &["tokenizer.from=other"]);
    assert_eq!(data.tokenizer.vocab_size(), other.vocab_size());
    assert_eq!(data.tokenizer.encode(" zqx"), other.encode(" zqx"));
}

/// What one step of pretraining makes of fresh weights.
fn pretrained(folder: &Path, changes: &[&str]) -> (Network, Tokenizer) {
    let out = tempfile::tempdir().unwrap();
    let settings = settings(&[changes, &["pretrain.steps=1"]].concat());
    let (only, stop) = (Some(StageId::Pretrain), AtomicBool::new(false));
    pipeline::stages(&settings, folder, out.path(), false, only, &mut Silent, &stop).unwrap();
    let directory = out.path().join("pretrain");
    (load_model_directory(&directory).unwrap(), load_tokenizer(&directory).unwrap().unwrap())
}

/// The shape of section `model` is the shape of what is trained.
#[test]
fn the_model_has_the_shape_of_its_section() {
    let folder = folder();
    let base = ModelConfig::gpt2(257, 24, 8, 2, 2);
    let dense = base.attention;
    assert_eq!(dense, AttentionPattern::Dense);
    let cases: &[(&str, ModelConfig)] = &[
        ("model.context=28", ModelConfig { context: 28, ..base.clone() }),
        ("model.width=12", ModelConfig { width: 12, inner: 48, ..base.clone() }),
        ("model.layers=3", ModelConfig { layers: 3, ..base.clone() }),
        ("model.heads=4", ModelConfig { heads: 4, ..base.clone() }),
        ("model.inner=20", ModelConfig { inner: 20, ..base.clone() }),
        ("model.layer_norm_epsilon=1e-3", ModelConfig { layer_norm_epsilon: 1e-3, ..base.clone() }),
        ("model.activation=gelu", ModelConfig { activation: Activation::Gelu, ..base.clone() }),
        (
            "model.attention_window=5",
            ModelConfig { attention: AttentionPattern::Alternating { window: 5 }, ..base.clone() },
        ),
        ("model.tied_head=false", ModelConfig { tied_head: false, ..base.clone() }),
        ("precision=bf16", ModelConfig { precision: Precision::Bf16, ..base.clone() }),
        ("seed=4", base.clone()),
    ];
    let mut models = Vec::new();
    for (change, expected) in cases {
        let (model, tokenizer) = pretrained(folder.path(), &[change]);
        assert_eq!((&model.config, model.head), (expected, Head::LanguageModel), "{change}");
        assert_eq!(tokenizer.vocab_size(), 257);
        models.push(model);
    }
    // Of one shape, another seed has other weights.
    assert_ne!(models.last(), Some(&network(Head::LanguageModel, 1)));
    let tied = models.iter().position(|model| model.config == base).unwrap();
    assert_eq!(tied, cases.len() - 1);
}

/// The first weights have the deviation that is set, and those of the residual projections go with it; at GPT-2's 0.02
/// they are those of `Network::random`, to the bit.
#[test]
fn the_first_weights_have_the_deviation_that_is_set() {
    let folder = folder();
    // At this rate a step changes no weight but those that are 0.
    let first = |range: &str| {
        let range = format!("model.initializer_range={range}");
        pretrained(folder.path(), &[&range, "pretrain.learning_rate=1e-30"]).0
    };
    let (gpt2, wide) = (first("0.02"), first("0.05"));
    let random = Network::random(Cpu, gpt2.config.clone(), Head::LanguageModel, 3);
    let layout = Layout::new(&gpt2.config, Head::LanguageModel);
    let weights = |network: &Network, name: &str| {
        let parameter = layout.get(&format!("transformer.{name}.weight")).unwrap();
        network.parameters()[parameter.range()].to_vec()
    };
    for name in ["wte", "wpe", "h.1.attn.c_attn", "h.1.attn.c_proj", "h.0.mlp.c_proj"] {
        let (narrow, wide) = (weights(&random, name), weights(&wide, name));
        assert_eq!(weights(&gpt2, name), narrow, "{name}");
        for (one, other) in narrow.iter().zip(&wide) {
            assert!((2.5 * one - other).abs() <= 1e-6 * other.abs(), "{name}: {one} became {other}");
        }
    }
    // Of 2056 normal numbers, to four standard errors.
    let embedding = weights(&wide, "wte");
    let squares = embedding.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
    let deviation = (squares / embedding.len() as f64).sqrt();
    assert!((deviation - 0.05).abs() < 4.0 * 0.05 / (2.0 * 2056.0_f64).sqrt(), "{deviation}");
}
