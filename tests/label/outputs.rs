//! Outputs that models write on the spot: the same items to the bit however often it was stopped, and nobody who labels sees
//! who wrote what.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use instructgpt::checkpoint::save_model_directory;
use instructgpt::data::{PromptForms, load_comparisons};
use instructgpt::engine::Cpu;
use instructgpt::label::item::load_items;
use instructgpt::model::{Draw, Head, Layout, ModelConfig, Network, Sampling, generate};
use instructgpt::num::hash::{self, fnv1a};
use instructgpt::num::rng::{Purpose, Rng, Stage};
use instructgpt::text::Tokenizer;
use serde_json::{Value, json};

use super::server::{Server, label, program, submission, succeeds};
use super::tiny;

const PROMPTS: &str = r#"{"prompt":"the cat","user":"u"}
{"instruction":"the hat","input":"on the mat"}
{"prompt":"the cat sat on the mat and the cat saw the other cat and the hat sat on the cat and the mat sat on the hat and the cat saw"}
"#;

/// A folder with two models, of different tokenizers and contexts, and a file of prompts.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(prompts: &str) -> Folder {
        let directory = tempfile::tempdir().unwrap();
        tiny::save(&directory.path().join("small"), Head::LanguageModel);
        let tokenizer = Tokenizer::train(["another text, the one that others know"], 262).unwrap();
        let config = ModelConfig::gpt2(tokenizer.vocab_size(), 256, 24, 2, 3);
        let mut noise = Rng::at(6, Stage::Test, Purpose::Noise, 0, 0, 0);
        let parameters = (0..Layout::new(&config, Head::LanguageModel).len).map(|_| 0.3 * noise.normal());
        let network = Network::new(Cpu, config, Head::LanguageModel, parameters.collect());
        save_model_directory(&directory.path().join("other"), &network, Some(&tokenizer), &[]).unwrap();
        fs::write(directory.path().join("prompts.jsonl"), prompts).unwrap();
        Folder(directory)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// The command that samples three outputs to each prompt into a project.
    fn command(&self, data: &str, more: &[&str]) -> Command {
        let mut command = program();
        command.arg("--data").arg(self.path(data)).args(["--port", "0", "--outputs", "3"]);
        command.arg("--prompts").arg(self.path("prompts.jsonl")).args(["--max-new-tokens", "9"]);
        for model in ["small", "other"] {
            command.arg("--model").arg(self.path(model));
        }
        command.args(more);
        command
    }

    /// Everything of a project.
    fn records(&self, data: &str) -> String {
        succeeds(&["export", "--data", &self.text(data), "--out", &self.text("out")]);
        fs::read_to_string(self.path("out").join("records.jsonl")).unwrap()
    }
}

/// What a model of the library writes, as output `j` to the prompt of that id.
fn library(prompt: &str, id: &str, j: u64) -> String {
    let (network, tokenizer) = (tiny::network(Head::LanguageModel), tiny::tokenizer());
    let end_of_text = tokenizer.end_of_text();
    let sampling = Sampling {
        temperature: 1.0,
        top_k: 0,
        top_p: 1.0,
        max_new_tokens: 9,
        end_of_text: Some(end_of_text),
    };
    let draw = Draw { seed: 1, stage: Stage::Label, step: fnv1a(hash::EMPTY, id.bytes()), episode: j };
    let response = generate(&network, &[&tokenizer.encode(prompt)], &sampling, &[draw], &|_| true).remove(0);
    tokenizer.decode_lossy(&response.tokens[..response.tokens.len() - usize::from(response.ended)])
}

#[test]
fn models_write_what_is_ranked_and_only_the_export_says_who() {
    let folder = Folder::new(PROMPTS);
    let said = folder.path("said");
    let start = |data: &str, more: &[&str]| {
        Server::telling(folder.command(data, more), Stdio::from(File::create(&said).unwrap()))
    };
    let server = start("data", &[]);
    let notes = fs::read_to_string(&said).unwrap();
    assert!(notes.contains("outputs sampled to 2 prompts; 0 had theirs"), "{notes}");
    let room = tiny::CONTEXT - 1;
    assert!(notes.contains(&format!("1 prompts left out: longer than the {room} tokens that")), "{notes}");
    assert!(notes.contains("the cat sat on the mat and the cat saw"), "{notes}");
    let answer = server.get("/api/next?labeler=ann&work=rank").unwrap();
    for hidden in ["models", "sampled", "small", "other", "request"] {
        assert!(!answer.text.contains(hidden), "{hidden}: {}", answer.text);
    }
    let item = answer.json()["item"].clone();
    assert_eq!((&item["prompt"], item["responses"].as_array().unwrap().len()), (&json!("the cat"), 3));
    // Output 0 and 2 are the first model's, drawn at the address of the prompt and their number.
    let prompts = load_items(&folder.path("prompts.jsonl")).unwrap().items;
    for j in [0, 2] {
        assert_eq!(item["responses"][j], library("the cat", &prompts[0].id, j as u64), "{item}");
    }
    let ranked = submission(1, "ann", Some(&item), json!({ "kind": "ranking", "ranks": [1, 2, 3] }));
    assert_eq!(server.post("/api/submit", &ranked).unwrap().status, 200);
    drop(server);
    // Again: nothing is sampled twice.
    drop(start("data", &[]));
    let notes = fs::read_to_string(&said).unwrap();
    assert!(notes.contains("outputs sampled to 0 prompts; 2 had theirs"), "{notes}");
    let records = folder.records("data");
    assert_eq!(records.lines().filter(|line| line.starts_with("{\"item\"")).count(), 2, "{records}");
    let comparisons = folder.path("out").join("comparisons.jsonl");
    let line: Value = serde_json::from_str(fs::read_to_string(&comparisons).unwrap().trim()).unwrap();
    let [small, other] = ["small", "other"].map(|name| folder.text(name));
    assert_eq!(line["models"], json!([small, other, small]));
    let how = &line["sampled"];
    assert_eq!(
        (&how["seed"], &how["temperature"], &how["max_new_tokens"]),
        (&json!(1), &json!(1.0), &json!(9))
    );
    let read = load_comparisons(&comparisons, &PromptForms::default()).unwrap().records;
    assert_eq!((read[0].user.as_deref(), read[0].ranks.as_slice()), (Some("u"), &[1, 2, 3][..]));
    let report = succeeds(&["report", "--data", &folder.text("data")]);
    assert!(report.contains("Models: preferred") && report.contains(&small), "{report}");
    let page = folder.text("report.html");
    assert_eq!(succeeds(&["report", "--data", &folder.text("data"), "--html", &page]).trim(), page);
    assert!(fs::read_to_string(&page).unwrap().contains("<h3>Models</h3>"));
    // Other threads, the same items to the bit; another seed or temperature, others.
    drop(start("again", &["--threads", "2"]));
    let items =
        |text: &str| text.lines().filter(|line| line.starts_with("{\"item\"")).collect::<Vec<_>>().join("\n");
    assert_eq!(items(&folder.records("again")), items(&records));
    drop(start("colder", &["--temperature", "0.5"]));
    assert_ne!(items(&folder.records("colder")), items(&records));
    fs::create_dir(folder.path("seed")).unwrap();
    fs::write(folder.path("seed").join("label.toml"), "seed = 2").unwrap();
    drop(start("seed", &[]));
    assert_ne!(items(&folder.records("seed")), items(&records));
}

/// Killed at any time, it goes on where it was: the same items in the same order, none twice.
#[test]
fn sampling_that_was_killed_goes_on() {
    let prompts: String = (0..150).map(|i| format!("{{\"prompt\":\"the {i}\"}}\n")).collect();
    let folder = Folder::new(&prompts);
    drop(Server::of(folder.command("whole", &[])));
    let whole = folder.records("whole");
    assert_eq!(whole.lines().count(), 150);
    // Each time a little later, so that on a machine of any speed some kills come in between.
    let (mut seen, mut wait) = (vec![], 8);
    while seen.last() != Some(&150) && seen.len() < 50 {
        wait += 1 + wait / 7;
        let mut command = folder.command("torn", &[]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(wait));
        child.kill().unwrap();
        child.wait().unwrap();
        seen.push(match folder.path("torn").join("labels.redb").exists() {
            true => folder.records("torn").lines().count(),
            false => 0,
        });
    }
    println!("items after each kill: {seen:?}");
    assert!(seen.iter().any(|&items| 0 < items && items < 150), "no kill came in between: {seen:?}");
    assert!(seen.is_sorted(), "{seen:?}");
    drop(Server::of(folder.command("torn", &[])));
    assert_eq!(folder.records("torn"), whole);
}

#[test]
fn wrong_commands_about_models_are_refused_by_name() {
    let folder = Folder::new(PROMPTS);
    tiny::save(&folder.path("reward"), Head::Scalar);
    fs::write(folder.path("ranked.jsonl"), "{\"prompt\":\"p\",\"responses\":[\"a\",\"b\"]}").unwrap();
    let (data, prompts, small) = (folder.text("data"), folder.text("prompts.jsonl"), folder.text("small"));
    let [nowhere, reward, ranked] = ["nowhere", "reward", "ranked.jsonl"].map(|name| folder.text(name));
    let both: &[&str] = &["--prompts", &prompts, "--model", &small];
    for (arguments, code, words) in [
        (&["--prompts", &prompts][..], 2, "--model"),
        (&["--model", &small], 2, "--prompts"),
        (&["--outputs", "3"], 2, "--model"),
        (&["--temperature", "0.5"], 2, "--model"),
        (&[both, &["--outputs", "10"]].concat(), 2, "from 1 to 9"),
        (&[both, &["--outputs", "0"]].concat(), 2, "from 1 to 9"),
        (&[both, &["--model", &small]].concat(), 2, "each model once"),
        (&[both, &["--model", &nowhere]].concat(), 1, "nowhere"),
        (&[both, &["--model", &reward]].concat(), 1, "a language model"),
        (&["--prompts", &ranked, "--model", &small], 1, "a prompt alone"),
        (&["--prompts", &nowhere, "--model", &small], 1, "nowhere"),
    ] {
        let output = label(&[&["--data", &data, "--port", "0"], arguments].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(code) && said.contains(words), "{arguments:?}: {said}");
    }
    assert!(!Path::new(&data).join("labels.redb").exists() || folder.records("data").is_empty());
}
