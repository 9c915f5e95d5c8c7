//! `instructgpt evaluate` from outside, on tiny model directories: values worked by hand from the library's log-probs, the
//! form of the files, the same bytes whatever the threads and after a stop, and what bad input gets.

#[path = "../common/runs.rs"]
mod runs;
#[path = "../common/tiny.rs"]
mod tiny;

mod stage;
mod stops;
mod writing;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use instructgpt::data::examples::load_examples;
use instructgpt::eval::run_tasks::{Asking, Prepared};
use instructgpt::eval::task_results::Results;
use instructgpt::eval::tasks::{Instruction, Style, named};
use instructgpt::model::{Head, Sequence};
use instructgpt::num::par;
use instructgpt::run::progress::Silent;
use serde_json::{Value, json};
use tempfile::TempDir;
use tiny::{Outcome, instructgpt};

/// A folder with a language model in `lm`, a reward model in `rm`, and data.
struct Place(TempDir);

const PIQA: &str = "{\"goal\":\"the cat\",\"sol1\":\"sat\",\"sol2\":\"the mat\",\"label\":0}\n\
                    {\"goal\":\"hat\",\"sol1\":\"on\",\"sol2\":\"saw\",\"label\":1}\n\
                    {\"goal\":\"mat\",\"sol1\":\"the hat sat\",\"sol2\":\"cat\",\"label\":1}\n";
const PAIRS: &str = "sent_more,sent_less\nthe cat sat,the hat sat\n\"on, the mat\",on the cat\n";
const WORDS: &str = "{\"text\":\"the cat sat on the mat\"}\n{\"text\":\"the other cat saw the hat\"}\n";

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        tiny::save(&place.0.path().join("lm"), Head::LanguageModel);
        tiny::save(&place.0.path().join("rm"), Head::Scalar);
        place.write("piqa.jsonl", PIQA);
        place.write("crows_pairs.csv", PAIRS);
        place.write("lambada.jsonl", WORDS);
        place
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    /// Evaluates tasks on the file or folder `data` into `out`.
    fn evaluate(&self, tasks: &str, data: &str, out: &str, more: &[&str]) -> Outcome {
        self.evaluate_model("lm", tasks, data, out, more)
    }

    fn evaluate_model(&self, model: &str, tasks: &str, data: &str, out: &str, more: &[&str]) -> Outcome {
        let [model, data, out] = [model, data, out].map(|name| self.path(name));
        let usual = ["evaluate", "--model", &model, "--task", tasks, "--data", &data, "--out", &out];
        instructgpt(&[&usual[..], more].concat(), "")
    }

    /// The files of a directory of results.
    fn files(&self, out: &str) -> BTreeMap<String, String> {
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_string();
        let entries = fs::read_dir(self.path(out)).unwrap().map(|entry| entry.unwrap().path());
        let files = entries.filter(|path| name(path) != "run.lock");
        files.map(|path| (name(&path), fs::read_to_string(&path).unwrap())).collect()
    }

    fn json(&self, file: &str) -> Value {
        serde_json::from_str(&fs::read_to_string(self.path(file)).unwrap()).unwrap()
    }

    fn lines(&self, file: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.path(file)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn done(outcome: Outcome) -> Outcome {
    assert_eq!(outcome.code, 0, "{outcome:?}");
    outcome
}

/// Starts a command again and again and kills it, each time after a little more time, until it ends by itself.
fn kill_until_it_gets_through(arguments: &[&str]) {
    let mut kills = 0;
    loop {
        let mut command = Command::new(env!("CARGO_BIN_EXE_instructgpt"));
        let mut child = command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        sleep(Duration::from_secs_f64(0.002 * 1.2f64.powi(kills)));
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "after {kills} kills: {status}");
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
    println!("{kills} kills");
    assert!(kills > 2, "too few to mean anything: {kills}");
}

/// The log-likelihood of a continuation and its number of tokens, by the definition: the longest common prefix.
fn log_likelihood(context: &str, continuation: &str) -> (f64, usize) {
    let tokenizer = tiny::tokenizer();
    let (alone, whole) = (tokenizer.encode(context), tokenizer.encode(&format!("{context}{continuation}")));
    let shared = whole.iter().zip(&alone).take_while(|(a, b)| a == b).count().min(whole.len() - 1);
    let (tokens, first) = match shared {
        0 => ([&[tokenizer.end_of_text()], &whole[..]].concat(), 1),
        _ => (whole, shared),
    };
    let log_probs = tiny::network(Head::LanguageModel).log_probs(&[Sequence::text(&tokens)], 1.0);
    let of = &log_probs[first - 1..];
    (of.iter().fold(0.0, |sum, &log_prob| sum + f64::from(log_prob)), of.len())
}

#[test]
fn choices_are_those_of_the_log_probs() {
    let place = Place::new();
    let outcome = done(place.evaluate("piqa", "piqa.jsonl", "out", &[]));
    let documents =
        [(["the cat", "sat", "the mat"], 0), (["hat", "on", "saw"], 1), (["mat", "the hat sat", "cat"], 1)];
    let mut right = [0.0; 3];
    for (([goal, first, second], label), sample) in
        documents.into_iter().zip(place.lines("out/samples_piqa_lm-eval.jsonl"))
    {
        let context = format!("Question: {goal}\nAnswer:");
        let answers = [first, second].map(|text| (text, log_likelihood(&context, &format!(" {text}"))));
        let larger = |[first, second]: [f64; 2]| usize::from(second > first);
        let chosen = [
            larger(answers.map(|(_, (sum, _))| sum)),
            larger(answers.map(|(_, (sum, tokens))| sum / tokens as f64)),
            larger(answers.map(|(text, (sum, _))| sum / text.len() as f64)),
        ];
        for (measure, (chosen, right)) in
            ["acc", "acc_token", "acc_norm"].iter().zip(chosen.iter().zip(&mut right))
        {
            let hit = if *chosen == label { 1.0 } else { 0.0 };
            assert_eq!(sample[measure], hit, "{measure} of {sample}");
            *right += hit / 3.0;
        }
        assert_eq!(sample["arguments"]["gen_args_1"]["arg_0"], context);
        assert_eq!(sample["arguments"]["gen_args_1"]["arg_1"], format!(" {second}"));
        for (number, (_, (sum, _))) in answers.iter().enumerate() {
            let said = sample["filtered_resps"][number][0].as_str().unwrap();
            assert_eq!(said.parse::<f64>().unwrap(), *sum);
            assert_eq!(sample["resps"][number][0], sample["filtered_resps"][number]);
        }
        assert_eq!(sample["target"], label.to_string());
        assert_eq!(sample["doc"]["goal"], goal);
        assert_eq!(sample["metrics"], json!(["acc", "acc_token", "acc_norm"]));
        assert_eq!(sample["prompt_hash"].as_str().unwrap().len(), 64);
    }
    let results = place.json("out/results_lm-eval.json");
    for (measure, right) in ["acc", "acc_token", "acc_norm"].iter().zip(right) {
        let found = results["results"]["piqa"][format!("{measure},none")].as_f64().unwrap();
        assert!((found - right).abs() < 1e-12, "{measure}: {found} beside {right}");
        assert_eq!(results["intervals"]["piqa"][measure]["chance"], 0.5);
    }
    assert_eq!(results["n-samples"]["piqa"], json!({"original": 3, "effective": 3}));
    assert!(outcome.stdout.contains("piqa") && outcome.stdout.contains("0.5000"), "{}", outcome.stdout);
    assert!(outcome.stderr.contains("piqa: 3 steps"), "{}", outcome.stderr);
}

#[test]
fn entropies_and_perplexities_are_those_of_the_log_probs() {
    let place = Place::new();
    done(place.evaluate("crows_pairs", "crows_pairs.csv", "paper", &["--style", "paper"]));
    let pairs = [["the cat sat", "the hat sat"], ["on, the mat", "on the cat"]];
    let entropies = pairs.map(|pair| {
        let [more, less] = pair.map(|sentence| log_likelihood("", sentence).0);
        let p = 1.0 / (1.0 + (less - more).exp());
        -(p * p.log2() + (1.0 - p) * (1.0 - p).log2())
    });
    let found =
        place.json("paper/results_paper.json")["results"]["crows_pairs"]["entropy,none"].as_f64().unwrap();
    assert!((found - (entropies[0] + entropies[1]) / 2.0).abs() < 1e-9, "{found} beside {entropies:?}");

    done(place.evaluate("lambada,crows_pairs", ".", "out", &[]));
    let results = place.json("out/results_lm-eval.json")["results"].clone();
    let words = [("the cat sat on the", " mat"), ("the other cat saw the", " hat")];
    let mean = words.iter().map(|(context, word)| log_likelihood(context, word).0).sum::<f64>() / 2.0;
    let perplexity = results["lambada"]["perplexity,none"].as_f64().unwrap();
    assert!((perplexity / (-mean).exp() - 1.0).abs() < 1e-12);
    let differences = pairs.map(|pair| {
        let [more, less] = pair.map(|sentence| log_likelihood("", sentence).0);
        (more - less).abs()
    });
    let difference = results["crows_pairs"]["likelihood_diff,none"].as_f64().unwrap();
    assert!((difference - (differences[0] + differences[1]) / 2.0).abs() < 1e-12);
}

#[test]
fn neither_threads_nor_a_stop_change_a_byte() {
    let place = Place::new();
    let tasks = "piqa,crows_pairs,lambada";
    done(place.evaluate(tasks, ".", "one", &["--threads", "1"]));
    let expected = place.files("one");
    assert_eq!(expected.len(), 4, "{:?}", expected.keys());
    for threads in ["2", "3"] {
        done(place.evaluate(tasks, ".", threads, &["--threads", threads]));
        assert!(place.files(threads) == expected, "{threads} threads");
    }
    // Stopped after its first task: the others follow, and the first is kept.
    done(place.evaluate("piqa", ".", "stopped", &[]));
    let again = done(place.evaluate(tasks, ".", "stopped", &[]));
    assert!(again.stderr.contains("piqa: complete already"), "{}", again.stderr);
    assert!(place.files("stopped") == expected);
    // A task whose samples are not as they were written is asked anew.
    fs::write(place.path("stopped/samples_piqa_lm-eval.jsonl"), "half").unwrap();
    let again = done(place.evaluate(tasks, ".", "stopped", &[]));
    assert!(
        !again.stderr.contains("piqa: complete already")
            && again.stderr.contains("lambada: complete already")
    );
    assert!(place.files("stopped") == expected);
}

/// Through the library, with as few tokens in a pass as there can be, some, and all at once.
#[test]
fn neither_passes_nor_threads_change_a_byte() {
    let place = Place::new();
    let more = ["--shots", "1"];
    done(place.evaluate("piqa,lambada", ".", "program", &more));
    let expected = place.files("program");
    let network = tiny::network(Head::LanguageModel);
    let asking =
        Asking { style: Style::LmEval, shots: 1, seed: 1, limit: None, instruction: Instruction::None };
    for (rows, threads) in [(1, 3), (40, 2), (100_000, 1)] {
        let out = format!("rows{rows}");
        fs::create_dir(place.path(&out)).unwrap();
        let [directory, model] = [&out, "lm"].map(|name| place.0.path().join(name));
        let mut results = Results::open(&directory, &model, "f32", asking).unwrap();
        for task in ["piqa", "lambada"] {
            let file = place.0.path().join(format!("{task}.jsonl"));
            let prepared =
                Prepared::new(named(task).unwrap(), &load_examples(&file).unwrap(), asking).unwrap();
            let outcome = par::with_threads(threads, || {
                prepared.ask(&network, &tiny::tokenizer(), None, rows, &mut Silent, &|| Ok(())).unwrap()
            });
            results.add(task, &file, None, &outcome).unwrap();
        }
        assert!(place.files(&out) == expected, "{rows} rows, {threads} threads");
    }
}

#[test]
fn examples_limits_and_long_prompts() {
    let place = Place::new();
    // The context is 32 tokens: with an example the prompts are too long, and are cut.
    let outcome = done(place.evaluate("piqa", "piqa.jsonl", "out", &["--shots", "1", "--limit", "2"]));
    let results = place.json("out/results_lm-eval.json");
    assert_eq!(results["n-samples"]["piqa"], json!({"original": 3, "effective": 2}));
    assert_eq!(results["n-shot"]["piqa"], 1);
    let samples = place.lines("out/samples_piqa_lm-eval.jsonl");
    assert_eq!(samples.len(), 2);
    let context = samples[0]["arguments"]["gen_args_0"]["arg_0"].as_str().unwrap();
    assert!(context.ends_with("\n\nQuestion: the cat\nAnswer:") && context.matches("Question").count() == 2);
    let cut = &results["truncated"]["piqa"];
    assert_eq!(cut["requests"], 4, "{cut}");
    assert!(outcome.stderr.contains("note: piqa: 4 prompts were too long"), "{}", outcome.stderr);
    let other = done(place.evaluate("piqa", "piqa.jsonl", "other", &["--shots", "2", "--seed", "9"]));
    assert!(other.stdout.contains("piqa"));
}

#[test]
fn bad_input_gets_one_clear_error_and_leaves_nothing() {
    let place = Place::new();
    place.write("empty.jsonl", "");
    place.write("range.jsonl", &PIQA.replace("\"label\":1", "\"label\":2"));
    place.write("no_choice.jsonl", &PIQA.replace("\"saw\"", "\"\""));
    place.write("field.jsonl", &PIQA.replace("\"sol1\":\"on\",", ""));
    place.write("broken.jsonl", &PIQA.replace("\"hat\",", "\"hat"));
    let long = "the cat sat on the mat and ".repeat(8);
    place.write("long.jsonl", &PIQA.replace("the hat sat", &long));
    fs::create_dir(place.path("none")).unwrap();
    for (model, tasks, data, more, code, parts) in [
        ("lm", "arc", "piqa.jsonl", &[][..], 2, ["--task: expected one of", "found \"arc\""]),
        ("lm", "piqa,piqa", "piqa.jsonl", &[], 2, ["--task: expected each task once", "piqa twice"]),
        (
            "lm",
            "piqa",
            "piqa.jsonl",
            &["--style", "paper"],
            2,
            ["--style: expected lm-eval for piqa", "paper"],
        ),
        (
            "lm",
            "piqa",
            "piqa.jsonl",
            &["--shots", "3"],
            2,
            ["--shots: expected at most 2 examples", "found 3"],
        ),
        (
            "lm",
            "piqa",
            "piqa.jsonl",
            &["--instruction", "biased"],
            2,
            ["--instruction: expected none", "biased"],
        ),
        ("lm", "piqa", "none", &[], 2, ["--data: expected one file for piqa", "none in"]),
        ("lm", "piqa", "missing.jsonl", &[], 1, ["missing.jsonl: cannot read", ""]),
        ("lm", "piqa", "empty.jsonl", &[], 1, ["empty.jsonl: expected at least one document", "found none"]),
        ("lm", "piqa", "range.jsonl", &[], 1, ["line 2: field \"label\"", "found \"2\""]),
        ("lm", "piqa", "no_choice.jsonl", &[], 1, ["line 2: expected choices of at least one character", ""]),
        (
            "lm",
            "piqa",
            "field.jsonl",
            &[],
            1,
            ["line 2: expected the fields \"goal\", \"sol1\"", "found the fields"],
        ),
        ("lm", "piqa", "broken.jsonl", &[], 1, ["broken.jsonl: line 2", ""]),
        ("lm", "piqa", "crows_pairs.csv", &[], 1, ["line 2: expected the fields \"goal\"", "\"sent_less\""]),
        ("rm", "piqa", "piqa.jsonl", &[], 1, ["expected a language model", "found a reward model"]),
        ("none", "piqa", "piqa.jsonl", &[], 1, ["none", ""]),
    ] {
        let outcome = place.evaluate_model(model, tasks, data, "out", more);
        assert_eq!(outcome.code, code, "{outcome:?}");
        assert!(parts.iter().all(|part| outcome.stderr.contains(part)), "{parts:?}: {}", outcome.stderr);
        assert!(!Path::new(&place.path("out")).exists(), "{tasks} {data}: something was written");
    }
    // What only the model shows: nothing of the task is written.
    let outcome = place.evaluate("piqa", "long.jsonl", "out", &[]);
    assert!(outcome.stderr.contains("line 3: expected continuations of at most 32 tokens"), "{outcome:?}");
    assert_eq!(place.files("out").len(), 0);
}

#[test]
fn results_of_something_else_are_not_mixed() {
    let place = Place::new();
    done(place.evaluate("piqa", "piqa.jsonl", "out", &[]));
    let before = place.files("out");
    for (more, part) in [
        (&["--shots", "1"][..], "num_fewshot"),
        (&["--limit", "2"], "limit"),
        (&["--precision", "bf16"], "precision"),
    ] {
        let outcome = place.evaluate("piqa", "piqa.jsonl", "out", more);
        assert_eq!(outcome.code, 2, "{outcome:?}");
        assert!(outcome.stderr.contains(&format!("those of the same {part}")), "{}", outcome.stderr);
    }
    place.write("piqa.jsonl", &PIQA.replace("hat", "cat"));
    let outcome = place.evaluate("piqa", "piqa.jsonl", "out", &[]);
    assert!(outcome.code == 2 && outcome.stderr.contains("--data: expected the data that"), "{outcome:?}");
    assert!(place.files("out") == before);
}

#[test]
fn the_list_says_what_each_task_is() {
    let listed = done(instructgpt(&["evaluate", "--list"], "")).stdout;
    for part in [
        "truthfulqa_mc1\n",
        "  fields: sentence, label",
        "  styles: lm-eval, paper",
        "GPT .735",
        "lambada_openai",
    ] {
        assert!(listed.contains(part), "{part}: {listed}");
    }
}
