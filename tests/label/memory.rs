//! The memory of a server that has taken a hundred thousand submissions.

use std::fs;

use instructgpt::label::store::CACHE;
use serde_json::{Value, json};

use super::server::{Server, submission};

/// Items, and submissions: each item has one labeler.
const SUBMISSIONS: usize = 100_000;

/// A process's memory in bytes: what it has (`VmRSS`), or the most that it ever had (`VmHWM`).
fn memory(id: u32, name: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

/// From the 10,000th submission to the 100,000th the server grows by no more than the cache of its file, whose size is set, and
/// the 32 bytes that the allocator takes for a labeler's number in the queue. A record itself has 300 bytes: kept in memory
/// they would be 27 MB.
#[test]
#[ignore = "minutes: make test-label"]
#[cfg(target_os = "linux")]
fn memory_is_flat_over_a_hundred_thousand_submissions() {
    // In memory where there is such a file system: how durable a submission is is tested elsewhere.
    let memory_disk = std::path::Path::new("/dev/shm");
    let directory = match memory_disk.is_dir() {
        true => tempfile::tempdir_in(memory_disk).unwrap(),
        false => tempfile::tempdir().unwrap(),
    };
    let line = |i: usize| format!("{{\"prompt\":\"Rank {i}.\",\"responses\":[\"a\",\"b\",\"c\",\"d\"]}}\n");
    let path = directory.path().join("items.jsonl");
    fs::write(&path, (0..SUBMISSIONS).map(line).collect::<String>()).unwrap();
    let data = directory.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("label.toml"), "overlap_share = 0.0").unwrap();
    let server = Server::start(&data, &[&path]);
    // A server that has just read its items has needed room for them; one that is started again has not.
    drop(server);
    let server = Server::start(&data, &[]);
    let megabytes = |bytes: usize| bytes as f64 / 1e6;
    let say = |count: usize| {
        let [now, most] = ["VmRSS", "VmHWM"].map(|name| megabytes(memory(server.id(), name)));
        println!("after {count:6} submissions: {now:.1} MB, at most {most:.1} MB");
    };
    say(0);
    let (mut at_first, mut item) = (0, Value::Null);
    for count in 0..SUBMISSIONS {
        let labeler = ["ann", "bob", "cat", "dan"][count % 4];
        // The page asks for what is left and for the next item before each.
        if count % 100 == 0 {
            assert_eq!(server.get(&format!("/api/work?labeler={labeler}")).unwrap().status, 200);
        }
        let next = server.get(&format!("/api/next?labeler={labeler}&work=rank")).unwrap().json();
        assert_ne!(next["item"]["id"], item["id"]);
        item = next["item"].clone();
        let answer = json!({ "kind": "ranking", "ranks": [1, 2, 3, 4] });
        let record = submission(count as u128, labeler, Some(&item), answer);
        assert_eq!(server.post("/api/submit", &record).unwrap().status, 200);
        if [10_000, 25_000, 50_000, 75_000, SUBMISSIONS].contains(&(count + 1)) {
            say(count + 1);
        }
        if count + 1 == 10_000 {
            at_first = memory(server.id(), "VmRSS");
        }
    }
    let grown = memory(server.id(), "VmRSS").saturating_sub(at_first);
    let bound = CACHE + 32 * (SUBMISSIONS - 10_000);
    assert!(grown <= bound, "{:.1} MB, not {:.1}", megabytes(grown), megabytes(bound));
    assert_eq!(server.get("/api/next?labeler=ann&work=rank").unwrap().json()["item"], Value::Null);
}
