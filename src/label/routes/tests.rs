//! Who is let in, and to what.

use super::super::record::{INSTRUCTIONS, QUESTIONS, TOPICS};
use super::*;
use crate::data::tags::MARKS;
use crate::num::sha256::sha256;
use hyper::Request;
use proptest::prelude::*;

const GATE: Gate = Gate { port: 8080, token: String::new(), loopback: true };

fn gate() -> Gate {
    Gate { token: "secret".into(), ..GATE }
}

fn admitted(gate: &Gate, method: &str, target: &str, headers: &[(&str, &str)]) -> Option<u16> {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (head, ()) = request.body(()).unwrap().into_parts();
    gate.admit(&head).err().map(|reply| reply.status.as_u16())
}

const HOST: (&str, &str) = ("host", "127.0.0.1:8080");
const SECRET: (&str, &str) = (TOKEN, "secret");

#[test]
fn the_page_is_for_everybody_here_and_the_rest_for_the_page() {
    assert_eq!(admitted(&gate(), "GET", "/", &[HOST]), None);
    let next = "/api/next?labeler=J%C3%BCrgen+X&work=rank";
    assert_eq!(admitted(&gate(), "GET", next, &[HOST, SECRET]), None);
    assert_eq!(admitted(&gate(), "GET", next, &[HOST]), Some(403));
    assert_eq!(admitted(&gate(), "GET", next, &[HOST, (TOKEN, "secreu")]), Some(403));
    let json = ("content-type", "application/json");
    assert_eq!(admitted(&gate(), "POST", "/api/submit", &[HOST, SECRET, json]), None);
    for content in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        let headers = [HOST, SECRET, ("content-type", content)];
        assert_eq!(admitted(&gate(), "POST", "/api/submit", &headers), Some(415));
    }
    assert_eq!(admitted(&gate(), "POST", "/api/submit", &[HOST, SECRET]), Some(415));
    assert_eq!(admitted(&gate(), "GET", "/api/submit", &[HOST, SECRET]), Some(405));
    assert_eq!(admitted(&gate(), "OPTIONS", "/api/submit", &[HOST]), Some(405));
    assert_eq!(admitted(&gate(), "GET", "/export/comparisons.jsonl", &[HOST, SECRET]), None);
    assert_eq!(admitted(&gate(), "GET", "/export/held_out/ratings.jsonl", &[HOST, SECRET]), None);
    assert_eq!(route("/api/work", Some("labeler=J%C3%BCrgen+X")).unwrap().0, Route::Work("Jürgen X".into()));
}

#[test]
fn other_hosts_and_sites_are_refused() {
    for host in ["localhost:8080", "[::1]:8080", "127.0.0.1:8080", "LOCALHOST:8080"] {
        assert_eq!(admitted(&gate(), "GET", "/", &[("host", host)]), None, "{host}");
    }
    for host in ["evil.example:8080", "127.0.0.1", "127.0.0.1:81", "10.0.0.1:8080", "", "localhost.evil:8080"]
    {
        assert_eq!(admitted(&gate(), "GET", "/", &[("host", host)]), Some(421), "{host}");
    }
    assert_eq!(admitted(&gate(), "GET", "/", &[]), Some(421));
    assert_eq!(admitted(&gate(), "GET", "/", &[HOST, HOST]), Some(421));
    let open = Gate { loopback: false, ..gate() };
    assert_eq!(admitted(&open, "GET", "/", &[("host", "10.0.0.1:8080")]), None);
    assert_eq!(admitted(&open, "GET", "/", &[("host", "evil.example:8080")]), Some(421));
    let work = "/api/work?labeler=a";
    for origin in ["http://evil.example", "null", "http://127.0.0.1:81", "https://127.0.0.1:8080"] {
        let headers = [HOST, SECRET, ("origin", origin)];
        assert_eq!(admitted(&gate(), "GET", work, &headers), Some(403), "{origin}");
    }
    let own = [HOST, SECRET, ("origin", "http://127.0.0.1:8080")];
    assert_eq!(admitted(&gate(), "GET", work, &own), None);
    for (site, refused) in
        [("cross-site", true), ("same-site", true), ("same-origin", false), ("none", false)]
    {
        let headers = [HOST, SECRET, ("sec-fetch-site", site)];
        assert_eq!(admitted(&gate(), "GET", work, &headers).is_some(), refused, "{site}");
    }
}

#[test]
fn only_the_table_is_served() {
    for path in [
        "/label",
        "/../Cargo.toml",
        "/label.css/",
        "//",
        "/export/",
        "/export/../labels.redb",
        "/%2e%2e/",
        "/export/labels.redb",
        "/api/",
        "/labels.redb",
    ] {
        assert_eq!(admitted(&gate(), "GET", path, &[HOST, SECRET]), Some(404), "{path}");
    }
    for path in [
        "/?a=1",
        "/api/work",
        "/api/work?labeler",
        "/api/work?labeler=%zz",
        "/api/work?labeler=%ff",
        "/api/next?labeler=a&work=all",
        "/api/work?labeler=a&x=1",
    ] {
        let status = admitted(&gate(), "GET", path, &[HOST, SECRET]).unwrap();
        assert!(matches!(status, 400 | 404), "{path}: {status}");
    }
    assert_eq!(admitted(&gate(), "GET", "http://127.0.0.1:8080/", &[HOST]), Some(400));
}

#[test]
fn the_token_is_in_the_page_on_this_machine_alone() {
    let text = |gate: &Gate| String::from_utf8(gate.file("/").body).unwrap();
    assert!(text(&gate()).contains("secret") && !text(&gate()).contains("{{"));
    assert!(!text(&Gate { loopback: false, ..gate() }).contains("secret"));
    for (path, _) in SCRIPTS {
        assert!(gate().file(path).body.len() > 1000, "{path}");
    }
}

/// The policy forbids what is inside of the page's text.
#[test]
fn the_page_has_no_script_or_style_inside() {
    assert!(!PAGE.contains("style=") && !PAGE.contains("<style") && !PAGE.contains(" onclick"));
    assert!(PAGE.match_indices("<script").all(|(at, _)| PAGE[at..].starts_with("<script src=\"/")));
    for (_, script) in SCRIPTS {
        for word in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!script.contains(word), "{word}: texts would become part of the page");
        }
    }
}

/// Who changes the instructions counts their version up, in `record.rs` and on the page, and puts their new hash here.
#[test]
fn instructions_and_questions_are_those_of_their_version() {
    let from = PAGE.find("<h3>What a good answer is").unwrap();
    let text = &PAGE[from..from + PAGE[from..].find("<form").unwrap()];
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!((INSTRUCTIONS, &sha256(words.as_bytes())[..16]), (2, "87fae7ada73c3aa3"));
    assert!(PAGE.contains(&format!("<span id=\"version\">{INSTRUCTIONS}</span>")));
    let script = SCRIPTS[0].1;
    for name in QUESTIONS.into_iter().chain(TOPICS).chain(MARKS.map(|(name, _)| name)) {
        assert!(script.contains(&format!("[\"{name}\", ")), "{name}");
    }
}

proptest! {
    #[test]
    fn no_address_panics(path in "[/a-z.%]{0,12}", query in "[a-z=&%+0-9]{0,20}") {
        let _ = route(&path, Some(&query));
    }
}
