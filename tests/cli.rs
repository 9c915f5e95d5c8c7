//! The program from outside: `sample`, `logprobs`, `score`, `tokenize` and `doctor` on tiny model
//! directories, and what bad input gets.

#[path = "common/tiny.rs"]
mod tiny;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use instructgpt::checkpoint::checksum::renew;
use instructgpt::checkpoint::save_model_directory;
use instructgpt::engine::plain::scalar_head;
use instructgpt::model::{Draw, Head, Response, Sampling, generate};
use instructgpt::num::rng::Stage;
use serde_json::{Value, json};
use tempfile::TempDir;
use tiny::{CONTEXT, Outcome, instructgpt};

/// A directory with a language model in `lm` and a reward model in `rm`.
struct Models(TempDir);

impl Models {
    fn new() -> Models {
        let directory = tempfile::tempdir().unwrap();
        tiny::save(&directory.path().join("lm"), Head::LanguageModel);
        tiny::save(&directory.path().join("rm"), Head::Scalar);
        Models(directory)
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    /// Runs `command` on the model `name`.
    fn run(&self, command: &str, name: &str, more: &[&str], input: &str) -> Outcome {
        let path = self.path(name);
        instructgpt(&[&[command, "--model", path.as_str()], more].concat(), input)
    }
}

/// The lines of a successful answer.
fn records(outcome: Outcome) -> Vec<Value> {
    assert_eq!(outcome.code, 0, "{outcome:?}");
    outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Floats as a reader in double precision gets them, back to their single-precision bits.
fn bits(values: &Value) -> Vec<u32> {
    values.as_array().unwrap().iter().map(|x| (x.as_f64().unwrap() as f32).to_bits()).collect()
}

/// What the library samples for a prompt.
fn library_samples(prompt: &[u32], count: usize, sampling: &Sampling) -> Vec<Response> {
    let network = tiny::network(Head::LanguageModel);
    let draws: Vec<Draw> =
        (0..count as u64).map(|episode| Draw { seed: 7, stage: Stage::Sample, step: 0, episode }).collect();
    generate(&network, &vec![prompt; count], sampling, &draws, &|_| true)
}

fn default_sampling(max_new_tokens: usize) -> Sampling {
    let end_of_text = Some(tiny::tokenizer().end_of_text());
    Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, max_new_tokens, end_of_text }
}

#[test]
fn logprobs_of_a_sample_are_its_own_to_the_bit() {
    let (models, tokenizer) = (Models::new(), tiny::tokenizer());
    let prompt = tokenizer.encode("the cat");
    let response = library_samples(&prompt, 1, &default_sampling(12)).remove(0);
    let whole = [prompt.as_slice(), &response.tokens].concat();
    let input = format!("{}\n{{\"tokens\":[3]}}\n", json!({"tokens": whole}));
    let answer = records(models.run("logprobs", "lm", &[], &input));
    assert_eq!(answer[0]["tokens"], json!(whole));
    let found = bits(&answer[0]["logprobs"]);
    assert_eq!(found.len(), whole.len() - 1);
    let sampled: Vec<u32> = response.log_probs.iter().map(|p| p.to_bits()).collect();
    assert_eq!(found[prompt.len() - 1..], sampled);
    assert_eq!(answer[1], json!({"tokens": [3], "logprobs": []}));
    // Neither threads nor a file instead of standard input change a byte.
    let file = models.path("in.jsonl");
    fs::write(&file, &input).unwrap();
    let again = models.run("logprobs", "lm", &["--input", &file, "--threads", "1"], "");
    assert_eq!(records(again), answer);
}

#[test]
fn precision_is_the_models_own_unless_another_is_asked_for() {
    let models = Models::new();
    let config = models.path("lm/config.json");
    let answer = |command: &str, model: &str, flags: &[&str]| {
        models.run(command, model, flags, "{\"tokens\":[3, 1, 4, 1, 5]}").stdout
    };
    let (plain, half) = (answer("logprobs", "lm", &[]), answer("logprobs", "lm", &["--precision", "bf16"]));
    assert_eq!(answer("logprobs", "lm", &["--precision", "f32"]), plain);
    assert_ne!(half, plain);
    assert_ne!(answer("score", "rm", &["--precision", "bf16"]), answer("score", "rm", &[]));
    // A model that was trained in bf16 says so itself.
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replacen('{', "{\"precision\": \"bf16\",", 1)).unwrap();
    assert_eq!(answer("logprobs", "lm", &[]), half);
    assert_eq!(answer("logprobs", "lm", &["--precision", "f32"]), plain);
    fs::write(&config, text.replacen('{', "{\"precision\": \"fp16\",", 1)).unwrap();
    let refused = models.run("logprobs", "lm", &[], "");
    assert!(
        refused.stderr.contains("precision") && refused.stderr.contains("f32 or bf16"),
        "{}",
        refused.stderr
    );
}

#[test]
fn texts_and_pairs_are_their_tokens() {
    let (models, tokenizer) = (Models::new(), tiny::tokenizer());
    let (prompt, response) = ("the cat", " sat on <|endoftext|>");
    let tokens = [tokenizer.encode(prompt), tokenizer.encode(response)].concat();
    assert!(!tokens.contains(&tokenizer.end_of_text()), "plain text stays plain");
    let pair = json!({"prompt": prompt, "response": response, "user": "ignored"});
    let answer =
        records(models.run("logprobs", "lm", &[], &format!("{pair}\n\n{}", json!({"tokens": tokens}))));
    assert_eq!(answer[0], answer[1]);
    let text = json!({"text": "the mat"}).to_string();
    let answer = records(models.run("logprobs", "lm", &[], &text));
    assert_eq!(answer[0]["tokens"], json!(tokenizer.encode("the mat")));
}

#[test]
fn score_reads_the_reward_at_the_last_token_and_ends_responses() {
    let (models, tokenizer) = (Models::new(), tiny::tokenizer());
    let mut tokens = [tokenizer.encode("the cat"), tokenizer.encode(" sat")].concat();
    let text = json!({"tokens": tokens}).to_string();
    tokens.push(tokenizer.end_of_text());
    let input = format!(
        "{}\n{}\n{text}",
        json!({"prompt": "the cat", "response": " sat"}),
        json!({"tokens": tokens})
    );
    let answer = records(models.run("score", "rm", &[], &input));
    assert_eq!(answer[0], answer[1]);
    assert_eq!(answer[0]["tokens"], json!(tokens));
    assert_ne!(answer[2]["reward"], answer[0]["reward"]);

    let mut network = tiny::network(Head::Scalar);
    let hidden = network.hidden_states(&[&tokens]);
    let last = &hidden[(tokens.len() - 1) * network.config.width..];
    let reward = scalar_head::forward(last, &network.parameters()[network.layout.head.clone()]);
    assert_eq!(bits(&json!([answer[0]["reward"]])), [reward.to_bits()]);
}

#[test]
fn tokenize_and_back() {
    let (models, tokenizer) = (Models::new(), tiny::tokenizer());
    let texts = ["the cat", "", "a\u{1f600}\n<|endoftext|>"];
    let input: String = texts.iter().map(|text| format!("{}\n", json!({"text": text}))).collect();
    let outcome = models.run("tokenize", "lm", &[], &input);
    for (record, text) in records(outcome.clone()).iter().zip(texts) {
        assert_eq!(*record, json!({"tokens": tokenizer.encode(text)}));
    }
    let back = records(models.run("tokenize", "lm", &["--decode"], &outcome.stdout));
    assert_eq!(back, texts.map(|text| json!({"text": text})));
    // Half an emoji is no text.
    let half = &tokenizer.encode_bytes(b"\xf0\x9f")[..];
    let back = records(models.run("tokenize", "lm", &["--decode"], &json!({"tokens": half}).to_string()));
    assert_eq!(back, [json!({"bytes": [0xf0, 0x9f]})]);
    let end = json!({"tokens": [tokenizer.end_of_text()]}).to_string();
    assert_eq!(
        records(models.run("tokenize", "lm", &["--decode"], &end)),
        [json!({"text": "<|endoftext|>"})]
    );
}

#[test]
fn sample_prints_the_response_alone() {
    let (models, tokenizer) = (Models::new(), tiny::tokenizer());
    let text = |response: &Response| {
        let tokens = &response.tokens[..response.tokens.len() - usize::from(response.ended)];
        tokenizer.decode_lossy(tokens)
    };
    let prompt = tokenizer.encode("the cat");
    let expected = library_samples(&prompt, 3, &default_sampling(12));
    let flags = ["--prompt", "the cat", "--seed", "7", "--max-new-tokens", "12"];
    let one = models.run("sample", "lm", &flags, "");
    assert_eq!((one.code, one.stdout), (0, format!("{}\n", text(&expected[0]))));
    let three = models.run("sample", "lm", &[&flags[..], &["-n", "3", "--threads", "1"]].concat(), "");
    let texts: Vec<String> =
        expected.iter().enumerate().map(|(i, r)| format!("--- {} of 3 ---\n{}\n", i + 1, text(r))).collect();
    assert_eq!(three.stdout, texts.concat());
    // An empty prompt is <|endoftext|>; a response ends with the context at the latest.
    let expected = library_samples(&[tokenizer.end_of_text()], 1, &default_sampling(1000));
    let empty = models.run("sample", "lm", &["--prompt", "", "--seed", "7", "--max-new-tokens", "1000"], "");
    assert_eq!(empty.stdout, format!("{}\n", text(&expected[0])));
    let greedy = Sampling { temperature: 0.0, ..default_sampling(9) };
    let expected = library_samples(&prompt, 1, &greedy);
    let flags = ["--prompt", "the cat", "--temperature", "0", "--max-new-tokens", "9"];
    assert_eq!(models.run("sample", "lm", &flags, "").stdout, format!("{}\n", text(&expected[0])));
}

#[test]
fn a_line_is_answered_before_the_next_is_asked() {
    let models = Models::new();
    let mut child = Command::new(env!("CARGO_BIN_EXE_instructgpt"))
        .args(["logprobs", "--model", &models.path("lm")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    for tokens in [[1, 2], [3, 4]] {
        writeln!(stdin, "{}", json!({"tokens": tokens})).unwrap();
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["tokens"], json!(tokens));
    }
    // A reader that goes away is no error.
    drop(stdout);
    for _ in 0..3 {
        let _ = writeln!(stdin, "{}", json!({"tokens": [1]}));
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

#[test]
fn doctor_finds_the_promised_bits() {
    for threads in ["1", "3"] {
        let outcome = instructgpt(&["doctor", "--threads", threads], "");
        assert_eq!(outcome.code, 0, "{outcome:?}");
        assert!(outcome.stdout.contains("same bits as the reference build: yes"), "{outcome:?}");
    }
}

/// A failure: its code, every one of `parts` in its message, and the number of answers before it.
fn fails(outcome: Outcome, code: i32, answers: usize, parts: &[&str]) {
    assert_eq!((outcome.code, outcome.stdout.lines().count()), (code, answers), "{outcome:?}");
    for part in parts {
        assert!(outcome.stderr.contains(part), "{part:?} is not in {outcome:?}");
    }
}

#[test]
fn lines_that_are_wrong_name_their_number() {
    let models = Models::new();
    let vocabulary = tiny::tokenizer().vocab_size();
    let outside = json!({"tokens": [1, vocabulary, 2]}).to_string();
    let long = json!({"tokens": vec![1; CONTEXT + 1]}).to_string();
    let long_pair = json!({"prompt": "a".repeat(CONTEXT - 1), "response": "a"}).to_string();
    let below = format!("tokens below {vocabulary}");
    let context = format!("at most {CONTEXT} tokens");
    for (command, name) in [("logprobs", "lm"), ("score", "rm")] {
        for (line, parts) in [
            (outside.as_str(), [below.as_str(), &format!("found tokens[1] = {vocabulary}")]),
            (&long, [context.as_str(), &format!("found {}", CONTEXT + 1)]),
            ("{\"tokens\":[]}", ["at least one token", "found none"]),
            ("{\"text\":\"\"}", ["at least one token", "found none"]),
            ("{\"tokens\":[1.5]}", ["token ids", "found 1.5"]),
            ("{\"tokens\":[-1]}", ["token ids", "found -1"]),
            ("{\"tokens\":[4294967296]}", ["token ids", "found 4294967296"]),
            ("{\"tokens\":[1]", ["a JSON object", "EOF"]),
            ("nonsense", ["a JSON object", "found \"nonsense\""]),
            ("{\"response\":\"x\"}", ["either \"tokens\"", "found the fields \"response\""]),
            ("{\"prompt\":\"x\",\"response\":null}", ["either \"tokens\"", "\"response\": null"]),
            ("{}", ["either \"tokens\"", "found no fields"]),
        ] {
            let outcome = models.run(command, name, &[], &format!("{{\"tokens\":[1,2]}}\n\n{line}\n"));
            fails(outcome, 1, 1, &[&["error: standard input: line 3"], &parts[..]].concat());
        }
    }
    // The end of the response counts for `score` only.
    assert_eq!(models.run("logprobs", "lm", &[], &long_pair).code, 0);
    fails(models.run("score", "rm", &[], &long_pair), 1, 0, &["line 1", &context]);
    let path = models.path("bytes.jsonl");
    fs::write(&path, b"{\"text\":\"\xff\"}").unwrap();
    fails(models.run("logprobs", "lm", &["--input", &path], ""), 1, 0, &["bytes.jsonl: line 1"]);
}

/// Whatever `run` takes for a data file, `--input` and standard input take too.
#[test]
fn marks_gzip_and_arrays_are_read_everywhere() {
    let models = Models::new();
    let expected = records(models.run("tokenize", "lm", &[], "{\"text\":\"the cat\"}"));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(b"{\"text\":\"the cat\"}\n").unwrap();
    let gzip = [gzip.finish().unwrap(), vec![0; 1000]].concat();
    let file = models.path("input");
    for bytes in ["\u{feff}{\"text\":\"the cat\"}".as_bytes(), &gzip, b"[{\"text\":\"the cat\"}]"] {
        fs::write(&file, bytes).unwrap();
        assert_eq!(records(models.run("tokenize", "lm", &["--input", &file], "")), expected);
        let arguments = ["tokenize", "--model", &models.path("lm")];
        assert_eq!(
            records(tiny::run(Path::new(env!("CARGO_BIN_EXE_instructgpt")), &arguments, bytes)),
            expected
        );
    }
    let array = models.run("tokenize", "lm", &[], "[null,\"Hello there\",null,null]");
    fails(array, 1, 0, &["standard input: record 1: expected a JSON object, found null"]);
    // The text files of a model directory and of a run may have a mark too.
    let before = records(models.run("logprobs", "lm", &[], "{\"text\":\"the cat\"}"));
    for name in ["config.json", "vocab.json", "merges.txt", "tokenizer.json"] {
        let path = models.path(&format!("lm/{name}"));
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("\u{feff}{text}")).unwrap();
    }
    assert_eq!(records(models.run("logprobs", "lm", &[], "{\"text\":\"the cat\"}")), before);
    fs::remove_file(models.path("lm/vocab.json")).unwrap();
    fs::remove_file(models.path("lm/merges.txt")).unwrap();
    assert_eq!(records(models.run("logprobs", "lm", &[], "{\"text\":\"the cat\"}")), before);
    let configuration = models.path("c.toml");
    fs::write(&configuration, "\u{feff}[ppo]\nclip = \"x\"\n").unwrap();
    let outcome = instructgpt(&["run", &configuration, "--out", &models.path("out")], "");
    fails(outcome, 2, 0, &["c.toml: line 2: ppo.clip: expected a number"]);
}

/// A line of a pipe is answered before the next one comes.
#[test]
fn a_pipe_is_answered_line_by_line() {
    let models = Models::new();
    let mut child = Command::new(env!("CARGO_BIN_EXE_instructgpt"))
        .args(["tokenize", "--model", &models.path("lm")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut output = BufReader::new(output).lines();
    for text in ["the", "cat"] {
        writeln!(input, "{{\"text\":\"{text}\"}}").unwrap();
        let answer = output.next().unwrap().unwrap();
        let tokens = tiny::tokenizer().encode(text);
        assert_eq!(serde_json::from_str::<Value>(&answer).unwrap(), json!({ "tokens": tokens }));
    }
    drop(input);
    assert!(child.wait().unwrap().success() && output.next().is_none());
}

#[test]
fn tokenize_refuses_the_other_direction_and_unknown_tokens() {
    let models = Models::new();
    let outside = json!({"tokens": [5, 99999]}).to_string();
    let parts = ["line 1", "vocabulary of", "tokens[1] = 99999"];
    fails(models.run("tokenize", "lm", &["--decode"], &outside), 1, 0, &parts);
    fails(models.run("tokenize", "lm", &[], &outside), 1, 0, &["line 1", "text", "--decode"]);
    let text = "{\"text\":\"a\"}";
    fails(models.run("tokenize", "lm", &["--decode"], text), 1, 0, &["line 1", "tokens"]);
}

#[test]
fn the_wrong_kind_of_model_is_named() {
    let models = Models::new();
    let line = "{\"tokens\":[1]}";
    let parts = ["config.json: expected a language model, found a reward model", "instructgpt score"];
    fails(models.run("logprobs", "rm", &[], line), 1, 0, &parts);
    fails(models.run("sample", "rm", &["--prompt", "a"], ""), 1, 0, &parts);
    let parts = ["config.json: expected a reward model, found a language model", "instructgpt logprobs"];
    fails(models.run("score", "lm", &[], line), 1, 0, &parts);
}

#[test]
fn tokens_need_no_tokenizer_and_text_does() {
    let models = Models::new();
    save_model_directory(Path::new(&models.path("bare")), &tiny::network(Head::LanguageModel), None, &[])
        .unwrap();
    let input = "{\"tokens\":[1,2]}\n{\"text\":\"a\"}\n";
    let parts = ["line 2", "vocab.json and merges.txt, or tokenizer.json", "bare"];
    fails(models.run("logprobs", "bare", &[], input), 1, 1, &parts);
    fails(models.run("sample", "bare", &["--prompt", "a"], ""), 1, 0, &parts[1..]);
    fails(models.run("tokenize", "bare", &[], input), 1, 0, &parts[1..]);
    fails(models.run("tokenize", "nowhere", &[], input), 1, 0, &["nowhere", "no such directory"]);
    // One file of two; a broken one.
    fs::write(Path::new(&models.path("bare")).join("vocab.json"), "{}").unwrap();
    fails(models.run("tokenize", "bare", &[], input), 1, 0, &["vocab.json alone"]);
    fs::remove_file(Path::new(&models.path("lm")).join("tokenizer.json")).unwrap();
    fs::write(Path::new(&models.path("lm")).join("vocab.json"), "[1]").unwrap();
    fails(models.run("tokenize", "lm", &[], input), 1, 0, &["vocab.json"]);
}

#[test]
fn broken_model_directories_are_named_and_stay_as_they_are() {
    let line = "{\"tokens\":[1,2]}";
    // Each breaks a fresh directory and says what the message must hold.
    type Break = fn(&Path);
    let breaks: [(Break, &[&str]); 9] = [
        (|d| fs::remove_dir_all(d).unwrap(), &["config.json", "cannot read"]),
        (|d| fs::remove_file(d.join("config.json")).unwrap(), &["config.json", "cannot read"]),
        (|d| fs::remove_file(d.join("model.safetensors")).unwrap(), &["model.safetensors", "cannot read"]),
        (|d| fs::write(d.join("config.json"), "{\"n_embd\":").unwrap(), &["config.json", "EOF"]),
        (|d| edit(d, "\"n_embd\": 24", "\"n_embd\": 27"), &["model.safetensors", "wte.weight", "27]", "24]"]),
        (|d| edit(d, "\"n_head\": 3", "\"n_head\": 5"), &["config.json", "24", "5"]),
        (|d| edit(d, "\"n_layer\": 2", "\"n_layer\": 3"), &["h.2.", "no such tensor"]),
        (|d| truncate(d, 100), &["model.safetensors", "bytes"]),
        (
            // The last value of the last tensor.
            |d| {
                truncate(d, 4);
                let path = d.join("model.safetensors");
                let mut bytes = [fs::read(&path).unwrap(), f32::NAN.to_le_bytes().to_vec()].concat();
                renew(&mut bytes);
                fs::write(&path, bytes).unwrap();
            },
            &["model.safetensors", "ln_f.bias", "NaN"],
        ),
    ];
    for (number, (break_it, parts)) in breaks.into_iter().enumerate() {
        let models = Models::new();
        let directory = models.path("lm");
        break_it(Path::new(&directory));
        let before = listing(Path::new(&directory));
        let outcome = models.run("logprobs", "lm", &[], line);
        assert_eq!(outcome.code, 1, "break {number}: {outcome:?}");
        fails(outcome, 1, 0, parts);
        fails(models.run("sample", "lm", &["--prompt", "a"], ""), 1, 0, parts);
        assert_eq!(listing(Path::new(&directory)), before);
    }
}

fn edit(directory: &Path, from: &str, to: &str) {
    let path = directory.join("config.json");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    fs::write(path, text.replace(from, to)).unwrap();
}

fn truncate(directory: &Path, bytes: u64) {
    let file = fs::OpenOptions::new().write(true).open(directory.join("model.safetensors")).unwrap();
    file.set_len(file.metadata().unwrap().len() - bytes).unwrap();
}

/// Every file's name and contents.
fn listing(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(directory) else { return vec![] };
    let read =
        |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
    let mut files: Vec<_> = entries.map(|entry| read(entry.unwrap())).collect();
    files.sort();
    files
}

#[test]
fn weights_that_overflow_are_an_error_not_null() {
    let models = Models::new();
    for (name, head, command) in [("lm", Head::LanguageModel, "logprobs"), ("rm", Head::Scalar, "score")] {
        let mut network = tiny::network(head);
        network.set_parameters(network.parameters().iter().map(|p| p * 1e38).collect());
        save_model_directory(Path::new(&models.path(name)), &network, None, &[]).unwrap();
        let outcome = models.run(command, name, &[], "{\"tokens\":[1,2,3]}");
        fails(outcome, 1, 0, &["line 1", "overflow", "NaN"]);
    }
    let outcome = models.run("sample", "lm", &["--prompt", "the", "-n", "2"], "");
    fails(outcome, 1, 0, &["finite log-probs", "NaN"]);
}

#[test]
fn a_prompt_must_leave_room() {
    let models = Models::new();
    let (fits, long) = ("a".repeat(CONTEXT - 1), "a".repeat(CONTEXT));
    assert_eq!(models.run("sample", "lm", &["--prompt", &fits], "").code, 0);
    let parts = [&format!("--prompt: expected at most {} tokens", CONTEXT - 1), "found 32 tokens"];
    fails(models.run("sample", "lm", &["--prompt", &long], ""), 2, 0, &parts);
}

#[test]
fn flags_that_are_wrong_exit_with_2() {
    let models = Models::new();
    let path = models.path("lm");
    for (line, part) in [
        ("sample --model M", "--prompt"),
        ("logprobs", "--model"),
        ("sample --model M --prompt a --temperature nan", "--temperature"),
        ("sample --model M --prompt a --temperature -1", "--temperature"),
        ("sample --model M --prompt a --top-p 1.5", "--top-p"),
        ("sample --model M --prompt a --top-k x", "--top-k"),
        ("sample --model M --prompt a -n 0", "-n"),
        ("sample --model M --prompt a --seed -3", "--seed"),
        ("score --model M --threads 0", "--threads"),
        ("logprobs --model M --wat", "--wat"),
        ("logprob --model M", "logprobs"),
    ] {
        let arguments: Vec<&str> =
            line.split(' ').map(|word| if word == "M" { &path } else { word }).collect();
        fails(instructgpt(&arguments, ""), 2, 0, &[part]);
    }
    let outcome = models.run("logprobs", "lm", &["--input", "no/such.jsonl"], "");
    fails(outcome, 1, 0, &["no/such.jsonl", "cannot open"]);
    fails(models.run("logprobs", "lm", &["--input", &path], ""), 1, 0, &["lm: cannot read"]);
}

/// In builds without the feature `label`; `.ci/run` asks such a build the same.
#[test]
#[cfg(not(feature = "label"))]
fn a_build_without_the_labelers_page_says_where_it_is() {
    fails(
        instructgpt(&["label", "--data", "d"], ""),
        2,
        0,
        &["'label'", "cargo build --release --features label"],
    );
    let another = instructgpt(&["labels"], "");
    assert!(another.code == 2 && !another.stderr.contains("--features"), "{another:?}");
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_device_that_is_not_built_in_is_said() {
    let models = Models::new();
    let words = ["device: expected a build with the feature `cuda`, found one without it", "--features cuda"];
    let outcome = models.run("sample", "lm", &["--prompt", "the", "--device", "cuda:1"], "");
    fails(outcome, 1, 0, &words);
    let config = format!("{}/configs/tiny.toml", env!("CARGO_MANIFEST_DIR"));
    let out = models.path("run");
    fails(instructgpt(&["run", &config, "--out", &out, "--set", "device=cuda"], ""), 1, 0, &words);
    assert!(!Path::new(&out).exists());
    for precision in ["tf32", "bf16-fast"] {
        let words = ["precision: expected f32 or bf16 on the processor", precision, "--device cuda"];
        let outcome = models.run("sample", "lm", &["--prompt", "the", "--precision", precision], "");
        fails(outcome, 2, 0, &words);
        let set = format!("precision={precision}");
        fails(instructgpt(&["run", &config, "--out", &out, "--set", &set], ""), 2, 0, &words);
    }
}

/// A model that was trained on tensor cores says so, and is read anywhere.
#[test]
fn a_model_of_a_gpus_precision_is_computed_in_the_nearest_exact_one() {
    let models = Models::new();
    let config = Path::new(&models.path("lm")).join("config.json");
    let answer = models.run("logprobs", "lm", &["--precision", "bf16"], "{\"tokens\":[1,2,3]}\n");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replacen('{', "{\n  \"precision\": \"bf16-fast\",", 1)).unwrap();
    let outcome = models.run("logprobs", "lm", &[], "{\"tokens\":[1,2,3]}\n");
    assert!(
        outcome.stderr.contains("note: trained in bf16-fast on a GPU; the processor computes in bf16"),
        "{outcome:?}"
    );
    assert_eq!(outcome.stdout, answer.stdout);
}

#[test]
fn a_wrong_configuration_starts_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (config, out) = (path("config.toml"), path("out"));
    for (text, set, parts) in [
        (
            "[ppo]\nkl_coeff = 1",
            "seed=1",
            ["config.toml: line 2: ppo.kl_coeff", "the nearest is ppo.kl_coef"],
        ),
        ("[ppo]\nkl_coef = \"x\"", "seed=1", ["line 2: ppo.kl_coef", "expected a number"]),
        ("seed = 1", "ppo.clip=0", ["ppo.clip", "above 0"]),
        ("seed = 1", "ppo.clap=0.1", ["--set ppo.clap", "the nearest is ppo.clip"]),
        ("seed =", "seed=1", ["line 1", "TOML"]),
    ] {
        fs::write(&config, text).unwrap();
        let outcome = instructgpt(&["run", &config, "--out", &out, "--set", set], "");
        if outcome.stderr.contains("not built in yet") {
            println!("skipped: `run` is not built in");
            return;
        }
        fails(outcome, 2, 0, &parts);
        assert!(!Path::new(&out).exists(), "{text}");
    }
    let missing = path("missing.toml");
    fails(instructgpt(&["run", &missing, "--out", &out], ""), 1, 0, &["missing.toml"]);
    assert!(!Path::new(&out).exists());
}

#[test]
fn data_check_prints_tables_and_every_record_that_was_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let lines = [
        json!({"prompt": "Write to ada@example.org", "response": "Yes.", "user": "u", "use_case": "Generation"}),
        json!({"prompt": "", "response": "Yes."}),
    ];
    fs::write(path("d.jsonl"), lines.map(|line| line.to_string()).join("\n")).unwrap();
    let config = "[data]\ndemonstrations = [\"d.jsonl\"]\n[tokenizer]\nvocab_size = 257\n";
    fs::write(path("c.toml"), config).unwrap();
    let check = |more: &[&str]| {
        let config = path("c.toml");
        let outcome = instructgpt(&[&["data", "check", config.as_str()], more].concat(), "");
        assert_eq!(outcome.code, 0, "{outcome:?}");
        outcome.stdout
    };
    let left_out = format!("left out: demonstrations: {}, line 2: empty prompt\n", path("d.jsonl"));
    let personal =
        format!("personal data: demonstrations: {}, line 1: e-mail address: ada@", path("d.jsonl"));
    let plain = check(&[]);
    assert!(
        plain.starts_with(
            "Use cases (paper: table 1)\n  use case    records  %\n  Generation  2        100.0\n"
        ),
        "{plain}"
    );
    assert!(plain.contains(&left_out) && !plain.contains("ada@"), "{plain}");
    let explained = check(&["--explain"]);
    assert!(explained.starts_with(&plain) && explained.contains(&personal), "{explained}");
    assert!(!check(&["--explain", "--set", "data.pii=replace"]).contains("personal data:"));
    let all: Value = serde_json::from_str(&check(&["--json"])).unwrap();
    assert_eq!(all["left_out"][0]["what"], "empty prompt");
    assert_eq!((&all["personal"], &all["tables"][1]["rows"][0][2]), (&json!([]), &json!(1)));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is written");
    let config = path("c.toml");
    fails(instructgpt(&["data", "check", &config, "--device", "cpu"], ""), 2, 0, &["--device"]);
    fails(instructgpt(&["data", "check", "no.toml"], ""), 1, 0, &["no.toml"]);
}
