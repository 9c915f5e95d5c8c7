//! Requests that no page makes: each is refused, and the server lives on and keeps nothing of them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use super::server::{Server, send, submission};

fn server() -> (tempfile::TempDir, Server) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("items.jsonl");
    let item = r#"{"prompt":"</div><script>alert(1)</script>","responses":["<img src=x onerror=alert(1)>","b","c","d"]}"#;
    std::fs::write(&path, item).unwrap();
    let server = Server::start(&directory.path().join("data"), &[&path]);
    (directory, server)
}

#[test]
fn hostile_requests_are_refused() {
    let (_directory, mut server) = server();
    let (host, token) = (server.address.to_string(), server.token.clone());
    let body =
        submission(1, "ann", None, json!({ "kind": "plain", "prompt": "p", "response": "r" })).to_string();
    let post = |host: &str, more: &str, body: &str| {
        format!(
            "POST /api/submit HTTP/1.1\r\nHost: {host}\r\n{more}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let json = "Content-Type: application/json\r\n";
    let secret = format!("X-Label-Token: {token}\r\n");
    let long = "x".repeat(9 << 20);
    let cases = [
        (post("evil.example", &format!("{secret}{json}"), &body), 421),
        (post(&host, json, &body), 403),
        (post(&host, &format!("X-Label-Token: {}\r\n{json}", "0".repeat(32)), &body), 403),
        (post(&host, &format!("{secret}{json}Origin: http://evil.example\r\n"), &body), 403),
        (post(&host, &format!("{secret}{json}Sec-Fetch-Site: cross-site\r\n"), &body), 403),
        (post(&host, &format!("{secret}Content-Type: text/plain\r\n"), &body), 415),
        (post(&host, &format!("{secret}Content-Type: application/x-www-form-urlencoded\r\n"), "a=b"), 415),
        (post(&host, &format!("{secret}{json}"), &long), 413),
        (post(&host, &format!("{secret}{json}"), "{"), 422),
        (post(&host, &format!("{secret}{json}"), "[]"), 422),
        (post(&host, &format!("{secret}{json}"), &"[".repeat(100_000)), 422),
        (post(&host, &format!("{secret}{json}"), &body.replace("\"notes\"", "\"note\"")), 422),
        (post(&host, &format!("{secret}{json}"), &body.replace("ann", "a\\u0000n")), 422),
        (format!("GET /../../etc/passwd HTTP/1.1\r\nHost: {host}\r\n\r\n"), 404),
        (format!("GET /%2e%2e/labels.redb HTTP/1.1\r\nHost: {host}\r\n\r\n"), 404),
        (format!("GET /export/records.jsonl HTTP/1.1\r\nHost: {host}\r\n\r\n"), 403),
        (format!("DELETE / HTTP/1.1\r\nHost: {host}\r\n\r\n"), 405),
        (format!("GET http://evil.example/ HTTP/1.1\r\nHost: {host}\r\n\r\n"), 400),
        ("GET / HTTP/1.1\r\n\r\n".to_string(), 421),
        ("nonsense\r\n\r\n".to_string(), 400),
        (format!("GET / HTTP/1.1\r\nHost: {host}\r\nX: {}\r\n\r\n", "x".repeat(1 << 20)), 431),
    ];
    for (request, status) in cases {
        let start: String = request.chars().take(150).collect();
        match send(server.address, request.as_bytes()) {
            Ok(answer) => assert_eq!(answer.status, status, "{start:?}: {answer:?}"),
            // A connection that is cut is a refusal, where so much was sent that the answer got lost.
            Err(error) => assert!(request.len() > 500_000, "{start:?}: {error}"),
        }
    }
    assert!(server.is_alive());
    assert!(!server.get("/export/records.jsonl").unwrap().text.contains("\"record\""), "something was kept");
    assert_eq!(server.post("/api/submit", &serde_json::from_str(&body).unwrap()).unwrap().status, 200);
}

#[test]
fn every_answer_has_the_headers_of_a_page_that_loads_nothing() {
    let (_directory, server) = server();
    for target in
        ["/", "/label.js", "/ranking.js", "/label.css", "/icon.svg", "/nothing", "/api/work?labeler=a"]
    {
        let answer = server.get(target).unwrap();
        for header in [
            "content-security-policy: default-src 'none'; script-src 'self'",
            "x-content-type-options: nosniff",
            "frame-ancestors 'none'",
            "cache-control: no-store",
        ] {
            assert!(answer.head.contains(header), "{target}: {}", answer.head);
        }
        assert!(!answer.head.contains("access-control"), "{target}");
    }
    let item = server.get("/api/next?labeler=a&work=rank").unwrap();
    assert!(item.head.contains("content-type: application/json"), "{}", item.head);
}

/// Thousands of connections, most of which never say anything: some are refused, and labelers are answered soon.
#[test]
fn ten_thousand_connections_do_not_stop_it() {
    let (_directory, mut server) = server();
    let mut idle = vec![];
    for i in 0..10_000 {
        let Ok(mut stream) = TcpStream::connect(server.address) else { continue };
        let _ = stream.write_all(b"GET / HT");
        // As many as this process may have open.
        if i % 50 == 0 {
            idle.push(stream);
        }
    }
    let begun = Instant::now();
    while server.get("/").is_err() {
        assert!(begun.elapsed() < Duration::from_secs(30), "no answer any more");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(server.is_alive());
    // Who says nothing is sent away.
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: ").unwrap();
    let mut bytes = vec![];
    let _ = stream.read_to_end(&mut bytes);
    assert!(begun.elapsed() < Duration::from_secs(60));
}
