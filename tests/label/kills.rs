//! Nothing that was acknowledged is lost: `kill -9` while four clients submit, and a full disk.

use std::collections::HashSet;
use std::fs;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::server::{Server, get, post, program, submission, succeeds};

const CLIENTS: usize = 4;

/// Where the server is; it changes with every start.
type Place = Mutex<(SocketAddr, String)>;

/// A labeler who writes prompts of their own, one after another, and sends each until it is acknowledged, as the page
/// does. Every tenth is sent again after that.
fn client(number: usize, place: &Place, stop: &AtomicBool) -> Vec<String> {
    let labeler = format!("labeler {number}");
    let mut acknowledged = vec![];
    for count in 0u128.. {
        let id = (number as u128) << 64 | count;
        let answer = json!({ "kind": "plain", "prompt": format!("{number}, {count}"), "response": "r" });
        let record = submission(id, &labeler, None, answer);
        let mut again = count % 10 == 0;
        loop {
            let (address, token) = place.lock().unwrap().clone();
            match post(address, &token, "/api/submit", &record) {
                Ok(answer) => {
                    assert_eq!(answer.status, 200, "{answer:?}");
                    if !again {
                        break;
                    }
                    again = false;
                }
                // It was killed: whether the record is there is not known. Only who stops may leave it so.
                Err(_) if stop.load(Ordering::Relaxed) => return acknowledged,
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        acknowledged.push(format!("{id:032x}"));
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    acknowledged
}

fn kill(times: usize) {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut server = Server::start(&data, &[]);
    let place = Mutex::new((server.address, server.token.clone()));
    let stop = AtomicBool::new(false);
    let acknowledged: Vec<String> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| (number, &place, &stop))
            .map(|(n, p, s)| scope.spawn(move || client(n, p, s)))
            .collect();
        for round in 0..times {
            // At another moment each time.
            std::thread::sleep(Duration::from_micros(5_000 + (round as u64 * 7_919) % 60_000));
            server.kill();
            server = Server::start(&data, &[]);
            *place.lock().unwrap() = (server.address, server.token.clone());
        }
        std::thread::sleep(Duration::from_millis(50));
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    server.kill();
    let out = directory.path().join("out");
    succeeds(&["export", "--data", data.to_str().unwrap(), "--out", out.to_str().unwrap()]);
    let lines = fs::read_to_string(out.join("demonstrations.jsonl")).unwrap();
    let kept: Vec<String> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_string())
        .collect();
    let once: HashSet<&String> = kept.iter().collect();
    println!("{times} kills: {} acknowledged, {} kept", acknowledged.len(), kept.len());
    assert_eq!(once.len(), kept.len(), "one is there twice");
    let lost: Vec<_> = acknowledged.iter().filter(|id| !once.contains(id)).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    assert!(kept.len() <= acknowledged.len() + CLIENTS, "{} kept of {}", kept.len(), acknowledged.len());
    assert!(acknowledged.len() > times, "{} submissions in {times} rounds", acknowledged.len());
}

#[test]
fn fifty_kills_lose_nothing() {
    kill(50);
}

#[test]
#[ignore = "half a minute: make test-label"]
fn two_hundred_kills_lose_nothing() {
    kill(200);
}

/// Killed while it makes its database, a first start leaves nothing that the next cannot open.
#[test]
fn a_first_start_may_be_killed_at_any_moment() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..40 {
        let data = directory.path().join(round.to_string());
        let mut command = program();
        command.arg("--data").arg(&data).args(["--port", "0"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // The database has one of these names from its first byte on.
        let begun = Instant::now();
        while !["labels.redb", "labels.redb.new"].iter().any(|name| data.join(name).exists()) {
            assert!(begun.elapsed() < Duration::from_secs(60), "no database");
        }
        std::thread::sleep(Duration::from_micros(round * 100));
        child.kill().unwrap();
        child.wait().unwrap();
        drop(Server::start(&data, &[]));
    }
}

/// A limit on the size of files stands in for a full disk: the page is told, nothing that was acknowledged is lost, and
/// when there is room again, the same process goes on.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_an_error_and_loses_nothing() {
    if !Command::new("prlimit").arg("--version").output().is_ok_and(|out| out.status.success()) {
        return println!("skipped: no prlimit");
    }
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    drop(Server::start(&data, &[]));
    // Room for some more. A write beyond the limit is an error only where the signal is ignored.
    let room = fs::metadata(data.join("labels.redb")).unwrap().len() / 1024 + 64;
    let mut command = Command::new("sh");
    let script = format!("trap '' XFSZ; ulimit -S -f {}; exec \"$@\"", room * 2);
    command.args(["-c", &script, "sh"]).arg(program().get_program());
    command.args(program().get_args()).arg("--data").arg(&data).args(["--port", "0"]);
    let mut server = Server::of(command);
    let text = "x".repeat(30_000);
    let record =
        |id| submission(id, "ann", None, json!({ "kind": "plain", "prompt": text, "response": "r" }));
    let begun = Instant::now();
    let mut saved = 0;
    let refused = loop {
        let answer = server.post("/api/submit", &record(saved)).unwrap();
        if answer.status != 200 {
            break answer;
        }
        saved += 1;
        assert!(begun.elapsed() < Duration::from_secs(60), "the disk never fills up");
    };
    assert_eq!(refused.status, 507, "{refused:?}");
    assert!(refused.json()["error"].as_str().unwrap().contains("labels.redb"), "{refused:?}");
    assert_eq!(server.post("/api/submit", &record(saved)).unwrap().status, 507, "still");
    assert_eq!(server.get("/").unwrap().status, 200, "the page is there");
    let freed = Command::new("prlimit")
        .args(["--fsize=unlimited:unlimited", "--pid", &server.id().to_string()])
        .status();
    assert!(freed.unwrap().success());
    let answer = server.post("/api/submit", &record(saved)).unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    let lines = get(server.address, &server.token, "/export/demonstrations.jsonl").unwrap().text;
    assert_eq!(lines.lines().count() as u128, saved + 1);
    assert!(server.is_alive());
}
