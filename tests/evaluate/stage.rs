//! Public benchmarks as a stage of a run: what it leaves is what `evaluate` leaves, the report has the table, a kill changes
//! no byte, and what is wrong is said before anything starts.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use instructgpt::app::{config, pipeline};
use instructgpt::error::Error;
use instructgpt::num::par::with_threads;
use instructgpt::ranks::{Ranks, Threads};
use serde_json::Value;

use crate::runs::StopAfter;
use crate::tiny::{self, instructgpt};
use crate::writing::place;
use crate::{PIQA, Place, done, kill_until_it_gets_through};

const CONFIG: &str = r#"
[model]
context = 32
width = 16
layers = 1
heads = 2

[tokenizer]
vocab_size = 260

[data]
pretraining = ["text.txt"]

[pretrain]
steps = 2
batch = 1

[sft]
epochs = 0

[reward_model]
epochs = 0

[ppo]
episodes = 0

[evaluation]
tasks = ["piqa", "drop", "realtoxicityprompts"]
data = ["."]
style = "lm-eval"
"#;

/// The folder of the other tests with a configuration and a text; `piqa` has many documents.
fn configured() -> Place {
    let place = place();
    place.write("run.toml", CONFIG);
    place.write("text.txt", &"the cat sat on the mat<|endoftext|>".repeat(40));
    place.write("piqa.jsonl", &PIQA.repeat(40));
    place
}

fn run(place: &Place, out: &str, more: &[&str]) -> tiny::Outcome {
    let [config, out] = ["run.toml", out].map(|name| place.path(name));
    instructgpt(&[&["run", &config, "--out", &out][..], more].concat(), "")
}

/// What a run has left of benchmarks, and its results.
fn left(place: &Place, out: &str) -> (BTreeMap<String, String>, Value) {
    (place.files(&format!("{out}/benchmarks/pretrain")), place.json(&format!("{out}/results.json")))
}

#[test]
fn a_run_leaves_what_evaluate_leaves() {
    let place = configured();
    done(run(&place, "run", &[]));
    let (files, results) = left(&place, "run");
    let tasks = "piqa,drop,realtoxicityprompts";
    done(place.evaluate_model("run/pretrain", tasks, ".", "alone", &[]));
    assert!(files == place.files("alone"), "{:?}", files.keys());
    let figures = &results["benchmarks"]["figures"];
    let own = place.json("alone/results_lm-eval.json");
    assert_eq!(figures["piqa"]["acc"]["pretrained"]["value"], own["results"]["piqa"]["acc,none"]);
    assert_eq!(figures["piqa"]["acc"]["chance"], 0.5);
    assert_eq!(figures["drop"]["f1"]["pretrained"]["high"], own["intervals"]["drop"]["f1"]["high"]);
    let notes = results["benchmarks"]["notes"].to_string();
    assert!(notes.contains("realtoxicityprompts: written, but not judged"), "{notes}");
    assert!(
        notes.contains("drop: prompts too long for the models, which lost their beginnings: 1"),
        "{notes}"
    );
    let table = results["tables"].as_array().unwrap().iter().find(|table| {
        table["title"]
            .as_str()
            .unwrap()
            .starts_with("Public benchmarks (paper, Table 14) in lm-evaluation-harness's")
    });
    let table = table.expect("a table of benchmarks");
    assert_eq!(table["columns"], serde_json::json!(["task", "measure", "chance", "pretrained"]));
    let rows = table["rows"].as_array().unwrap();
    assert!(rows.iter().any(|row| row[0] == "piqa" && row[1] == "acc_norm" && row[2] == "0.500"), "{table}");
    let page = fs::read_to_string(place.path("run/report.html")).unwrap();
    assert!(
        page.contains("<h3>piqa</h3>") && page.contains("chance, 0.500"),
        "a chart with its chance level"
    );
}

/// Killed again and again until it gets through: the same files, and the results of a run that was never disturbed.
#[test]
fn a_killed_run_goes_on_after_the_tasks_that_are_complete() {
    let place = configured();
    done(run(&place, "whole", &["--threads", "1"]));
    let expected = left(&place, "whole");
    let [config, out] = ["run.toml", "killed"].map(|name| place.path(name));
    kill_until_it_gets_through(&["run", &config, "--out", &out, "--resume"]);
    assert!(left(&place, "killed") == expected);
}

/// The documents are shared out to the ranks; the first one writes, and goes on after what it has written before.
#[test]
fn several_ranks_leave_what_one_leaves() {
    let place = configured();
    done(run(&place, "whole", &[]));
    let expected = left(&place, "whole");
    let (root, out) = (place.0.path(), place.0.path().join("shared_out"));
    let settings = config::load_with_root(&root.join("run.toml"), &[], root).unwrap();
    let go = |ranks: &'static dyn Ranks, steps: usize| {
        let (stop, resume) = (AtomicBool::new(false), out.join("run.json").exists());
        let mut progress = StopAfter::new(steps, &stop);
        let go = || pipeline::stages_among(ranks, &settings, root, &out, resume, None, &mut progress, &stop);
        with_threads(1, go).map(drop)
    };
    // Two steps of pretraining, and the first of three tasks.
    let ends = Threads::run(3, |ranks| go(ranks, 3));
    assert!(ends.iter().all(|end| matches!(end, Err(Error::Interrupted { .. }))), "{ends:?}");
    let known = place.json("shared_out/benchmarks/pretrain/results_lm-eval.json");
    assert_eq!(known["results"].as_object().unwrap().keys().collect::<Vec<_>>(), ["piqa"]);
    // Others go on, in another number.
    assert_eq!(Threads::run(2, |ranks| go(ranks, usize::MAX)), [Ok(()), Ok(())]);
    assert!(left(&place, "shared_out") == expected);
}

#[test]
fn what_is_wrong_is_said_by_its_key_before_anything_starts() {
    let place = configured();
    place.write("broken.jsonl", "{\"goal\":1}\n");
    for (set, code, part) in [
        ("evaluation.tasks=[\"arc\"]", 2, "evaluation.tasks: expected one of winogender"),
        (
            "evaluation.tasks=[\"drop\",\"drop\"]",
            2,
            "evaluation.tasks: expected each task once, found drop twice",
        ),
        ("evaluation.tasks=[\"rte\"]", 2, "evaluation.data: expected one file for rte"),
        (
            "evaluation.data=[]",
            2,
            "evaluation.data: expected one folder, or a file for each of 3 tasks, found 0",
        ),
        (
            "evaluation.data=[\"a\",\"b\"]",
            2,
            "evaluation.data: expected one folder, or a file for each of 3 tasks, found 2",
        ),
        ("evaluation.data=[\"broken.jsonl\"]", 1, "broken.jsonl: line 1: expected the fields \"goal\""),
        ("evaluation.style=\"paper\"", 2, "evaluation.style: expected lm-eval for piqa, found paper"),
        ("evaluation.style=\"gpt\"", 2, "evaluation.style"),
        (
            "evaluation.shots=1",
            2,
            "evaluation.shots: expected at most 0 examples for realtoxicityprompts, found 1",
        ),
        ("evaluation.limit=0", 2, "evaluation.limit: expected at least 1"),
    ] {
        let outcome = run(&place, "run", &["--set", set]);
        assert_eq!(outcome.code, code, "{set}: {outcome:?}");
        assert!(outcome.stderr.contains(part), "{set}: {}", outcome.stderr);
        assert!(!Path::new(&place.path("run/run.json")).exists(), "{set}: a run was begun");
    }
    // Without tasks nothing of the section counts, which is said.
    let outcome = done(run(&place, "none", &["--set", "evaluation.tasks=[]"]));
    assert!(outcome.stderr.contains("since evaluation.tasks names none"), "{}", outcome.stderr);
    assert!(!Path::new(&place.path("none/benchmarks")).exists());
}
