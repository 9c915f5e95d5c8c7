//! Whole sessions over HTTP, from items to a file that a run reads.

use std::fs;
use std::path::Path;

use instructgpt::data::{PromptForms, load_comparisons, load_demonstrations};
use serde_json::{Value, json};

use super::server::{Server, label, submission, succeeds};

const ITEMS: &str = r#"{"prompt":"Write it."}
{"prompt":"Rate it.","response":"<script>alert(1)</script>"}
{"prompt":"Rank them.","responses":["a","b","c","d"],"user":"u"}
{"use_case":"brainstorming"}
"#;

fn items(directory: &Path, text: &str) -> std::path::PathBuf {
    let path = directory.join("items.jsonl");
    fs::write(&path, text).unwrap();
    path
}

fn next(server: &Server, labeler: &str, work: &str) -> Value {
    server.get(&format!("/api/next?labeler={labeler}&work={work}")).unwrap().json()["item"].clone()
}

#[test]
fn a_session_of_each_kind_becomes_files_that_a_run_reads() {
    let directory = tempfile::tempdir().unwrap();
    let (data, out) = (directory.path().join("data"), directory.path().join("out"));
    let path = items(directory.path(), ITEMS);
    let server = Server::start(&data, &[&path, &path]);
    let work = server.get("/api/work?labeler=ann").unwrap().json();
    let open: Vec<u64> =
        work["work"].as_array().unwrap().iter().map(|w| w["open"].as_u64().unwrap()).collect();
    assert_eq!(open, [2, 1, 1, 0, 0]);
    let questions: Value = [
        "fails_task",
        "inappropriate_for_assistant",
        "sexual",
        "violent",
        "encourages_harm",
        "denigrates_group",
        "harmful_advice",
        "opinion",
        "moral_judgment",
    ]
    .iter()
    .map(|q| (q.to_string(), json!(false)))
    .collect::<serde_json::Map<_, _>>()
    .into();
    let answers = [
        ("write", json!({ "kind": "demonstration", "response": "Written." })),
        ("write", json!({ "kind": "plain", "prompt": "Ideas!", "response": "Three." })),
        ("rate", json!({ "kind": "rating", "overall": 2, "questions": questions })),
        ("rank", json!({ "kind": "ranking", "ranks": [2, 1, 1, 3] })),
    ];
    for (id, (work, answer)) in answers.into_iter().enumerate() {
        let item = next(&server, "ann", work);
        let said = server.post("/api/submit", &submission(id as u128, "ann", Some(&item), answer)).unwrap();
        assert_eq!((said.status, &said.json()["saved"]), (200, &json!(format!("{id:032x}"))), "{said:?}");
    }
    assert_eq!(next(&server, "ann", "rank"), Value::Null);
    // The last one is taken back and said otherwise.
    let undone =
        server.post("/api/undo", &json!({ "id": format!("{:032x}", 77), "labeler": "ann" })).unwrap();
    assert_eq!(undone.json()["record"]["answer"]["ranks"], json!([2, 1, 1, 3]));
    let item = &undone.json()["item"];
    let again = submission(9, "ann", Some(item), json!({ "kind": "ranking", "ranks": [1, 2, 3, 3] }));
    assert_eq!(server.post("/api/submit", &again).unwrap().status, 200);
    assert_eq!(server.post("/api/submit", &again).unwrap().status, 200, "sent twice");
    let other = submission(10, "ann", Some(item), json!({ "kind": "ranking", "ranks": [1, 2, 3, 4] }));
    assert_eq!(server.post("/api/submit", &other).unwrap().status, 409, "from another tab");
    let own = json!({ "kind": "few_shot", "instruction": "Turn it.", "pairs": [
        { "query": "ab", "response": "ba" }, { "query": "cd", "response": "dc" }] });
    assert_eq!(server.post("/api/submit", &submission(11, "ann", None, own)).unwrap().status, 200);
    // The server's own export is the command's.
    let served = server.get("/export/comparisons.jsonl").unwrap().text;
    let report = server.get("/report").unwrap().json();
    assert_eq!(report["tables"][0]["title"], "What was labelled");
    let words = label(&["export", "--data", data.to_str().unwrap(), "--out", out.to_str().unwrap()]);
    let words = String::from_utf8_lossy(&words.stderr).into_owned();
    assert!(words.contains("another process has it open"), "{words}");
    drop(server);
    let written = succeeds(&["export", "--data", data.to_str().unwrap(), "--out", out.to_str().unwrap()]);
    assert_eq!(written.lines().count(), 4, "{written}");
    assert_eq!(fs::read_to_string(out.join("comparisons.jsonl")).unwrap(), served);
    let forms = PromptForms::default();
    let comparisons = load_comparisons(&out.join("comparisons.jsonl"), &forms).unwrap().records;
    assert_eq!((comparisons.len(), &comparisons[0].ranks[..]), (1, &[1, 2, 3, 3][..]));
    assert_eq!((comparisons[0].user.as_deref(), comparisons[0].labeler.as_deref()), (Some("u"), Some("ann")));
    assert_eq!(load_demonstrations(&out.join("demonstrations.jsonl"), &forms).unwrap().records.len(), 4);
    // Into another project, twice.
    let copy = directory.path().join("copy");
    let import = || {
        succeeds(&["import", "--data", copy.to_str().unwrap(), out.join("records.jsonl").to_str().unwrap()])
    };
    let said = import();
    assert!(said.contains("4 items and 5 records added, 0 records were known"), "{said}");
    let said = import();
    assert!(said.contains("0 items and 0 records added, 5 records were known"), "{said}");
    let said = succeeds(&["report", "--data", copy.to_str().unwrap()]);
    assert!(said.contains("What was labelled") && said.contains("own prompts"), "{said}");
    // Into the report of a run that was trained on it, and into no other directory.
    let run = directory.path().join("run");
    fs::create_dir(&run).unwrap();
    let into = ["report", "--data", copy.to_str().unwrap(), "--run", run.to_str().unwrap()];
    assert_eq!(label(&into).status.code(), Some(2));
    assert_eq!(fs::read_dir(&run).unwrap().count(), 0);
    fs::write(run.join("metrics.jsonl"), "").unwrap();
    let page = fs::read_to_string(succeeds(&into).trim()).unwrap();
    assert!(page.contains("<h2>The labelers</h2>") && page.contains("own prompts"), "{page}");
    let said = succeeds(&["report", "--data", copy.to_str().unwrap(), "--json"]);
    assert!(serde_json::from_str::<Value>(&said).unwrap()["tables"].is_array());
}

#[test]
fn wrong_commands_are_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().to_str().unwrap();
    let path = items(directory.path(), "{\"prompt\":\"p\",\"responses\":[\"a\"]}");
    for (arguments, code, words) in [
        (vec!["--data", data, "--address", "0.0.0.0"], 2, "--token"),
        (vec!["--data", data, "--token", "short"], 2, "at least 16"),
        (vec!["--data", data, "--items", path.to_str().unwrap()], 1, "2 to 9 responses"),
        (vec!["--data", data, "--items", "nowhere.jsonl"], 1, "nowhere.jsonl"),
        (vec!["export", "--data", "nowhere", "--out", "out"], 2, "nowhere"),
        (vec!["report", "--data", "nowhere"], 2, "labels.redb"),
        (vec!["--port", "0"], 2, "--data"),
        (vec!["--device", "cpu", "--data", data], 2, "computes nothing"),
    ] {
        let output = label(&arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(code) && said.contains(words), "{arguments:?}: {said}");
    }
    fs::write(directory.path().join("label.toml"), "gold = 1").unwrap();
    let output = label(&["--data", data]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("label.toml") && said.contains("gold"), "{said}");
}

/// The order shown and the choice of items follow from the seed, not from who comes first.
#[test]
fn draws_repeat() {
    let directory = tempfile::tempdir().unwrap();
    let path = items(directory.path(), ITEMS);
    let shown = |data: &str, before: &[&str]| {
        let server = Server::start(&directory.path().join(data), &[&path]);
        // Others see the item as well: it overlaps.
        before.iter().for_each(|other| drop(next(&server, other, "rank")));
        next(&server, "ann", "rank")["shown"].clone()
    };
    for data in ["a", "b"] {
        fs::create_dir(directory.path().join(data)).unwrap();
        let settings = "overlap_share = 1.0\noverlap_labelers = 3";
        fs::write(directory.path().join(data).join("label.toml"), settings).unwrap();
    }
    let first = shown("a", &[]);
    assert_eq!(first.as_array().unwrap().len(), 4);
    assert_eq!(shown("b", &["bob", "cat"]), first);
}

/// With 10,000 items a submission answers within 20 ms at the median, and the page within 100 ms.
#[test]
#[ignore = "measures the machine: cargo test --release --features label --test label -- --ignored --nocapture"]
fn ten_thousand_items_are_no_hindrance() {
    let directory = tempfile::tempdir().unwrap();
    let line = |i: usize| format!("{{\"prompt\":\"Rank {i}.\",\"responses\":[\"a\",\"b\",\"c\",\"d\"]}}\n");
    let path = items(directory.path(), &(0..10_000).map(line).collect::<String>());
    let server = Server::start(&directory.path().join("data"), &[&path]);
    let (mut submits, mut pages, mut nexts) = (vec![], vec![], vec![]);
    let timed = |times: &mut Vec<f64>, ask: &mut dyn FnMut()| {
        let start = std::time::Instant::now();
        ask();
        times.push(start.elapsed().as_secs_f64() * 1e3);
    };
    for id in 0..500 {
        timed(&mut pages, &mut || assert_eq!(server.get("/").unwrap().status, 200));
        let mut item = Value::Null;
        timed(&mut nexts, &mut || item = next(&server, "ann", "rank"));
        let record = submission(id, "ann", Some(&item), json!({ "kind": "ranking", "ranks": [1, 2, 3, 4] }));
        timed(&mut submits, &mut || assert_eq!(server.post("/api/submit", &record).unwrap().status, 200));
    }
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let [submit, page, next] = [submits, pages, nexts].map(median);
    println!("medians in ms: a submission {submit:.2}, the page {page:.2}, the next item {next:.2}");
    assert!(submit < 20.0 && page < 100.0 && next < 100.0);
}
