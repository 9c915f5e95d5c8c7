//! What a model directory says beside its weights, through the program: the form of its prompts, its pad token, the
//! tokens that end a text, the settings of its tokenizer, and what is said about the rest.

#[path = "common/tiny.rs"]
mod tiny;

use std::fs;
use std::path::Path;

use instructgpt::checkpoint::{load_tokenizer, save_model_directory};
use instructgpt::model::{Draw, Head, Sampling, generate};
use instructgpt::num::rng::Stage;
use instructgpt::text::PromptFormat;
use serde_json::{Value, json};
use tempfile::TempDir;
use tiny::{Outcome, instructgpt};

/// A model directory.
struct Model(TempDir);

impl Model {
    /// With the tiny network of that head, without a prompt format.
    fn new(head: Head) -> Model {
        let directory = tempfile::tempdir().unwrap();
        tiny::save(directory.path(), head);
        Model(directory)
    }

    /// Whose prompts have [`format`]'s form.
    fn with_format(head: Head) -> Model {
        let model = Model::new(head);
        let mut tokenizer = tiny::tokenizer();
        tokenizer.prompt_format = Some(format());
        save_model_directory(model.0.path(), &tiny::network(head), Some(&tokenizer), &[]).unwrap();
        model
    }

    fn run(&self, command: &str, more: &[&str], input: &str) -> Outcome {
        instructgpt(&[&[command, "--model", self.0.path().to_str().unwrap()], more].concat(), input)
    }

    /// The answers to records.
    fn answers(&self, command: &str, more: &[&str], records: &[Value]) -> Vec<Value> {
        let input: String = records.iter().map(|record| format!("{record}\n")).collect();
        let outcome = self.run(command, more, &input);
        assert_eq!(outcome.code, 0, "{outcome:?}");
        outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Changes fields of a JSON file, which may be new.
    fn set(&self, file: &str, fields: Value) {
        let path = self.0.path().join(file);
        let mut object: Value =
            fs::read(&path).map_or(json!({}), |text| serde_json::from_slice(&text).unwrap());
        object.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        fs::write(path, object.to_string()).unwrap();
    }
}

/// Short, as the context is.
fn format() -> PromptFormat {
    PromptFormat::new("the ", " on", " ")
}

fn pair(prompt: &str, response: &str) -> Value {
    json!({"prompt": prompt, "response": response})
}

fn encode(parts: &[&str]) -> Vec<u32> {
    parts.iter().flat_map(|part| tiny::tokenizer().encode(part)).collect()
}

#[test]
fn prompts_and_responses_are_put_into_the_models_form() {
    for (head, command, end) in [(Head::LanguageModel, "logprobs", None), (Head::Scalar, "score", Some(()))] {
        let model = Model::with_format(head);
        let end = end.map(|()| tiny::tokenizer().end_of_text());
        let records = [
            pair("cat", "sat"),
            pair("the cat on", " sat"),
            json!({"text": "cat sat"}),
            json!({"tokens": [1]}),
        ];
        let tokens = |more: &[&str]| -> Vec<Value> {
            model.answers(command, more, &records).iter().map(|answer| answer["tokens"].clone()).collect()
        };
        let whole = |parts: &[&str]| json!(encode(parts).into_iter().chain(end).collect::<Vec<u32>>());
        let formed = tokens(&[]);
        assert_eq!(formed[0], whole(&["the cat on", " sat"]));
        assert_eq!(formed[1], formed[0], "what is in the form already stays");
        assert_eq!(formed[2..], [json!(encode(&["cat sat"])), json!([1])]);
        let raw = tokens(&["--raw"]);
        assert_eq!(raw[..2], [whole(&["cat", "sat"]), whole(&["the cat on", " sat"])]);
        assert_eq!(raw[2..], formed[2..]);
        // It is said once.
        let input = format!("{0}\n{0}\n", pair("the cat on", " sat"));
        assert_eq!(model.run(command, &[], &input).stderr.matches("note: a prompt that is in").count(), 1);
        assert_eq!(model.run(command, &["--raw"], &input).stderr, "");
    }
}

#[test]
fn sample_and_chat_ask_in_the_models_form() {
    let model = Model::with_format(Head::LanguageModel);
    let flags = ["--max-new-tokens", "5", "--seed", "7"];
    let sample = |model: &Model, more: &[&str]| model.run("sample", &[&flags[..], more].concat(), "");
    let formed = sample(&model, &["--prompt", "cat"]);
    let by_hand = sample(&model, &["--prompt", "the cat on", "--raw"]);
    let answer = by_hand.stdout.strip_prefix(' ').unwrap_or(&by_hand.stdout);
    assert_eq!((formed.code, formed.stdout.as_str()), (0, answer));
    assert_ne!(formed.stdout, sample(&model, &["--prompt", "cat", "--raw"]).stdout);
    // An empty prompt begins a document, whatever the form.
    let empty = ["--prompt", ""];
    assert_eq!(sample(&model, &empty).stdout, sample(&Model::new(Head::LanguageModel), &empty).stdout);

    // Each line is answered as text of its number, and empty lines are none.
    let several = sample(&model, &["--prompt", "cat", "-n", "2"]).stdout;
    let chat = model.run("chat", &flags, "cat\n\ncat\r\n");
    assert_eq!(chat.code, 0, "{chat:?}");
    let (first, second) = chat.stdout.split_at(formed.stdout.len());
    assert_eq!(several, format!("--- 1 of 2 ---\n{first}--- 2 of 2 ---\n{second}"));
    assert_eq!(first, formed.stdout);
    assert_eq!(chat.stderr, "note: every line is a request of its own; the model sees no earlier ones\n");
    let raw = model.run("chat", &[&flags[..], &["--raw"]].concat(), "the cat on");
    assert_eq!(raw.stdout, by_hand.stdout);
    let bare = Model::new(Head::LanguageModel).run("chat", &flags, "the cat on\n");
    assert!(bare.stderr.contains("carries no prompt format") && bare.stdout == by_hand.stdout, "{bare:?}");
    // A line that the model cannot take is named, after the answers before it.
    let long = model.run("chat", &flags, &format!("cat\n{}\n", "a".repeat(tiny::CONTEXT)));
    assert_eq!((long.code, long.stdout), (1, formed.stdout));
    assert!(long.stderr.contains("standard input: line 2: expected at most 31 tokens"), "{}", long.stderr);
}

#[test]
fn chat_keeps_what_was_asked_and_says_so() {
    let model = Model::with_format(Head::LanguageModel);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("asked.jsonl");
    let file = path.to_str().unwrap();
    let ask = |more: &[&str], input: &str| {
        model.run("chat", &[&["--max-new-tokens", "2", "--collect", file], more].concat(), input)
    };
    let first = ask(&[], "cat\n\n\"cat\" on\n");
    assert_eq!(first.code, 0, "{first:?}");
    assert!(first.stderr.contains(&format!("every request is kept in {file}")), "{}", first.stderr);
    // What the model cannot take is not kept, what came before it is; a later chat goes on in the file.
    let long = ask(&["--user", "ann"], &format!("the cat\n{}\n", "a".repeat(tiny::CONTEXT)));
    assert_eq!(long.code, 1);
    let kept = fs::read_to_string(&path).unwrap();
    let records: Vec<Value> = kept.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let expected = [
        json!({ "prompt": "cat" }),
        json!({ "prompt": "\"cat\" on" }),
        json!({ "prompt": "the cat", "user": "ann" }),
    ];
    assert_eq!(records, expected);
    // Nothing is put behind half a record, and without a file there is no user.
    fs::write(&path, &kept[..kept.len() - 1]).unwrap();
    let torn = ask(&[], "cat\n");
    assert_eq!((torn.code, torn.stdout.as_str()), (1, ""));
    assert!(torn.stderr.contains("last line: expected the end of a line"), "{}", torn.stderr);
    assert_eq!(model.run("chat", &["--user", "ann"], "").code, 2);
}

#[test]
fn a_form_goes_with_the_tokenizer_and_goes_away_with_it() {
    let model = Model::with_format(Head::LanguageModel);
    let read = || load_tokenizer(model.0.path()).unwrap().unwrap();
    assert_eq!(read().prompt_format, Some(format()));
    let config: Value =
        serde_json::from_slice(&fs::read(model.0.path().join("tokenizer_config.json")).unwrap()).unwrap();
    assert_eq!(config["chat_template"], json!(format().chat_template()));
    tiny::save(model.0.path(), Head::LanguageModel);
    assert_eq!(read().prompt_format, None);
    fs::write(model.0.path().join("prompt_format.json"), "{\"before\": 1}").unwrap();
    let outcome = model.run("sample", &["--prompt", "cat"], "");
    assert!(outcome.code == 1 && outcome.stderr.contains("prompt_format.json: expected"), "{outcome:?}");
}

#[test]
fn a_reward_is_read_before_the_pad_token() {
    let model = Model::new(Head::Scalar);
    let pad = tiny::tokenizer().end_of_text();
    let rewards = |tokens: &[Vec<u32>]| -> Vec<Value> {
        let records: Vec<Value> = tokens.iter().map(|tokens| json!({"tokens": tokens})).collect();
        model.answers("score", &[], &records).iter().map(|answer| answer["reward"].clone()).collect()
    };
    let cases =
        [vec![3, 1], vec![3, 1, pad, pad], vec![3, pad, 1, pad], vec![pad, pad], vec![3, pad, 1], vec![pad]];
    let without = rewards(&cases);
    assert_ne!(without[1], without[0]);
    model.set("config.json", json!({"pad_token_id": pad}));
    let with = rewards(&cases);
    assert_eq!(with[..2], [without[0].clone(), without[0].clone()]);
    assert_eq!(with[2..5], [without[4].clone(), without[5].clone(), without[4].clone()]);
    // The tokens of the answer are the whole response, with its end.
    let answer = &model.answers("score", &[], &[pair("a", "b")])[0];
    assert_eq!(answer["tokens"], json!([encode(&["a", "b"]), vec![pad]].concat()));
}

#[test]
fn every_stop_token_ends_a_text() {
    let model = Model::new(Head::LanguageModel);
    let prompt = encode(&["the cat"]);
    let sampling = Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, max_new_tokens: 20, end_of_text: None };
    let draw = |episode| Draw { seed: 7, stage: Stage::Sample, step: 0, episode };
    let network = tiny::network(Head::LanguageModel);
    let whole = generate(&network, &[&*prompt; 2], &sampling, &[draw(0), draw(1)], &|_| true);
    // The text of each up to the first of these tokens.
    let stops = [whole[0].tokens[6], whole[1].tokens[3]];
    let texts: Vec<String> = whole
        .iter()
        .map(|response| {
            let end = response.tokens.iter().position(|token| stops.contains(token)).unwrap_or(20);
            tiny::tokenizer().decode_lossy(&response.tokens[..end])
        })
        .collect();
    let flags = ["--prompt", "the cat", "--seed", "7", "--max-new-tokens", "20"];
    let run = |more: &[&str]| model.run("sample", &[&flags[..], more].concat(), "").stdout;
    let as_list = json!({"eos_token_id": stops});
    // Of config.json; of generation_config.json, which comes first.
    for (file, before) in [("config.json", json!({})), ("generation_config.json", json!({"eos_token_id": 0}))]
    {
        model.set("config.json", before);
        model.set(file, as_list.clone());
        assert_eq!(run(&[]), format!("{}\n", texts[0]), "{file}");
        assert_eq!(
            run(&["-n", "2"]),
            format!("--- 1 of 2 ---\n{}\n--- 2 of 2 ---\n{}\n", texts[0], texts[1])
        );
    }
    model.set(
        "generation_config.json",
        json!({"eos_token_id": 70000, "top_k": 50, "repetition_penalty": 1.5}),
    );
    let outcome = model.run("sample", &flags, "");
    for word in
        ["top_k is 50: the flags", "repetition_penalty is 1.5: this is not done", "no token of the model's"]
    {
        assert!(outcome.stderr.contains(word), "{}", outcome.stderr);
    }
    assert!(!model.run("logprobs", &[], "{\"tokens\":[1]}").stderr.contains("top_k"));
}

#[test]
fn a_tokenizers_settings_count_for_whole_texts_and_prompts() {
    let model = Model::new(Head::LanguageModel);
    fs::remove_file(model.0.path().join("tokenizer.json")).unwrap();
    let next = tiny::tokenizer().vocab_size() as u32;
    let end = tiny::tokenizer().end_of_text();
    model.set(
        "tokenizer_config.json",
        json!({"add_bos_token": true, "add_prefix_space": true, "pad_token": "<p>"}),
    );
    let tokens = |command: &str, record: Value| model.answers(command, &[], &[record])[0]["tokens"].clone();
    let text = json!({"text": "cat<p>sat"});
    let expected = [vec![end], encode(&[" cat"]), vec![next], encode(&[" sat"])].concat();
    assert_eq!(tokens("tokenize", text.clone()), json!(expected));
    assert_eq!(
        tokens("logprobs", pair("cat", "sat")),
        json!([vec![end], encode(&[" cat", " sat"])].concat())
    );
    // The model has no row for it.
    let outcome = model.run("logprobs", &[], &text.to_string());
    assert!(outcome.code == 1 && outcome.stderr.contains(&format!("= {next}")), "{outcome:?}");
    // Other ids than those of transformers are said to be so.
    let literal = json!({"text": "a<|endoftext|>"}).to_string();
    let outcome = model.run("tokenize", &[], &format!("{literal}\n{literal}"));
    assert_eq!(outcome.stderr.matches("are plain text here").count(), 1, "{outcome:?}");
}

#[test]
fn a_tokenizer_of_another_kind_is_refused_by_the_name_of_its_field() {
    let model = Model::new(Head::LanguageModel);
    model.set("tokenizer_config.json", json!({"tokenizer_class": "LlamaTokenizer"}));
    let outcome = model.run("tokenize", &[], "{\"text\":\"a\"}");
    assert_eq!(outcome.code, 1);
    assert!(outcome.stderr.contains("tokenizer_config.json: field \"tokenizer_class\""), "{outcome:?}");
}

/// The tokenizer's files name the one of them that is wrong.
#[test]
fn the_file_that_is_wrong_is_named() {
    let model = Model::new(Head::LanguageModel);
    fs::remove_file(model.0.path().join("tokenizer.json")).unwrap();
    fs::write(model.0.path().join("merges.txt"), "#version: 0.2\na\n").unwrap();
    let outcome = model.run("tokenize", &[], "{\"text\":\"a\"}");
    assert!(outcome.stderr.contains("merges.txt: line 2: expected two tokens"), "{outcome:?}");
    assert!(!outcome.stderr.contains("vocab.json"), "{outcome:?}");
}

/// A note that cannot be written is no reason to stop.
#[test]
#[cfg(unix)]
fn a_standard_error_that_is_full_or_closed_stops_nothing() {
    let model = Model::new(Head::LanguageModel);
    model.set("config.json", json!({"a_field_of_the_future": 1}));
    let program = env!("CARGO_BIN_EXE_instructgpt");
    let path = model.0.path().to_str().unwrap();
    let run = |script: &str| {
        let outcome =
            tiny::run(Path::new("/bin/sh"), &["-c", script, "sh", program, path], b"{\"tokens\":[1,2]}\n");
        (outcome.code, outcome.stdout)
    };
    let (code, answer) = run("exec \"$1\" logprobs --model \"$2\"");
    assert!(code == 0 && answer.contains("logprobs"), "{answer}");
    let mut closed = vec!["2>&-"];
    if Path::new("/dev/full").exists() {
        closed.push("2>/dev/full");
    }
    for redirection in closed {
        assert_eq!(run(&format!("exec \"$1\" logprobs --model \"$2\" {redirection}")), (0, answer.clone()));
        // A failure stays one.
        assert_eq!(run(&format!("exec \"$1\" logprobs --model \"$2/no\" {redirection}")).0, 1);
        assert_eq!(run(&format!("exec \"$1\" logprobs --wrong {redirection}")).0, 2);
    }
    if Path::new("/dev/full").exists() {
        assert_eq!(run("exec \"$1\" --help >/dev/full").0, 1);
        assert_eq!(run("exec \"$1\" logprobs --model \"$2\" >/dev/full").0, 1);
    }
}

#[test]
fn what_nobody_knows_is_named() {
    let model = Model::new(Head::LanguageModel);
    model.set("config.json", json!({"a_field_of_the_future": 1, "dtype": "bfloat16"}));
    let outcome = model.run("logprobs", &[], "{\"tokens\":[1]}");
    assert!(
        outcome.stderr.contains("note: ")
            && outcome.stderr.contains("not known here and not used: \"a_field")
    );
    assert!(outcome.stderr.contains("dtype is \"bfloat16\": transformers 5 computes in it"), "{outcome:?}");
}
