//! Threads and kills change no byte of any result, of tasks of both kinds.

use crate::writing::place;
use crate::{PIQA, Place, done, kill_until_it_gets_through};

const TASKS: &str =
    "squadv2,piqa,drop,quac,wmt15-fr-en,truthfulqa_gen,realtoxicityprompts,cnn_dailymail,tldr,lambada";

#[test]
fn threads_change_no_byte() {
    let place = place();
    for (style, tasks) in [("lm-eval", TASKS.replace("quac,", "").replace("tldr,", "")), ("paper", paper())] {
        let expected = with_threads(&place, style, &tasks, "1");
        assert!(expected.len() > 7, "{:?}", expected.keys());
        for threads in ["2", "3"] {
            assert!(with_threads(&place, style, &tasks, threads) == expected, "{style}, {threads} threads");
        }
    }
}

/// Those of them that have the paper's words.
fn paper() -> String {
    TASKS.replace("piqa,", "").replace(",lambada", "")
}

fn with_threads(
    place: &Place,
    style: &str,
    tasks: &str,
    threads: &str,
) -> std::collections::BTreeMap<String, String> {
    let out = format!("{style}-{threads}");
    done(place.evaluate(tasks, ".", &out, &["--style", style, "--threads", threads]));
    place.files(&out)
}

/// Killed again and again, in the middle of tasks, until it gets through.
#[test]
fn kills_change_no_byte() {
    let place = place();
    // Enough documents that a task takes a while.
    place.write("piqa.jsonl", &PIQA.repeat(60));
    let line = "{\"content\":\"the hat saw the cat\",\"summary\":\"hat saw cat\"}\n";
    place.write("tldr.jsonl", &line.repeat(60));
    let toxic = "{\"prompt\":{\"text\":\"the cat saw\"}}\n";
    place.write("prompts.jsonl", &toxic.repeat(60));
    let judge = "sed -E 's/.*\"id\":([0-9]+).*/{\"id\":\\1,\"score\":0.75}/'";
    let options = ["--style", "paper", "--scorer", judge];
    done(place.evaluate(&paper(), ".", "whole", &options));
    let expected = place.files("whole");
    let [model, data, out] = ["lm", ".", "killed"].map(|name| place.path(name));
    let arguments = ["evaluate", "--model", &model, "--task", &paper(), "--data", &data, "--out", &out];
    kill_until_it_gets_through(&[&arguments[..], &options].concat());
    assert!(place.files("killed") == expected);
}
