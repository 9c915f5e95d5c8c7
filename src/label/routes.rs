//! What the server answers: a fixed table of routes. Everything else is refused, and so is whatever another site could make
//! a browser send: another `Host` (DNS rebinding), another `Origin` or a request without the page's token (forgery).

use std::net::IpAddr;

use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::desk::{Desk, Refusal};
use super::export::{self, Export};
use super::item::Work;
use super::report::Report;
use crate::error::Result;

/// The header in which the page sends the token.
pub const TOKEN: &str = "x-label-token";
/// Most bytes in a request's body: a few-shot prompt of the largest texts.
pub const MAX_BODY: usize = 8 << 20;

const PAGE: &str = include_str!("page/label.html");
const SCRIPTS: [(&str, &str); 2] =
    [("/label.js", include_str!("page/label.js")), ("/ranking.js", include_str!("page/ranking.js"))];
const STYLE: &str = include_str!("page/label.css");
const ICON: &str = include_str!("page/icon.svg");

/// On every answer. The page loads nothing but its own files, runs no script inside of a text, and stands in no frame.
pub const HEADERS: [(&str, &str); 7] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cache-control", "no-store"),
    ("permissions-policy", "camera=(), microphone=(), geolocation=()"),
];

/// Who is let in.
#[derive(Debug, Clone)]
pub struct Gate {
    /// The server's port.
    pub port: u16,
    /// What the page has to send.
    pub token: String,
    /// Whether the server listens on this machine alone: then the page holds the token. Elsewhere the labeler brings it
    /// along, behind the `#` of the page's address.
    pub loopback: bool,
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// The type of its content.
    pub content: &'static str,
    /// The content.
    pub body: Vec<u8>,
}

const JSON: &str = "application/json";

impl Reply {
    fn new(content: &'static str, body: impl Into<Vec<u8>>) -> Reply {
        Reply { status: StatusCode::OK, content, body: body.into() }
    }

    /// A refusal in a few words.
    pub fn refusal(status: StatusCode, words: impl ToString) -> Reply {
        let body = json!({ "error": words.to_string() }).to_string().into_bytes();
        Reply { status, content: JSON, body }
    }

    /// The words of a refusal.
    pub fn words(&self) -> String {
        let value: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        value["error"].as_str().unwrap_or_default().to_string()
    }
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Route {
    /// The page or one of its files: name and type.
    File(&'static str),
    /// What there is to do.
    Work(String),
    /// The next item.
    Next(String, Work),
    /// A record, in the body.
    Submit,
    /// The last one back.
    Undo,
    /// What was said, as JSON Lines.
    Export(Export, bool),
    /// How well labelers agree.
    Report,
}

impl Gate {
    /// Looks at a request's head, before its body is read.
    pub fn admit(&self, head: &Parts) -> std::result::Result<Route, Reply> {
        let refuse = |status, words: &str| Err(Reply::refusal(status, words));
        if !self.is_mine(&head.headers) {
            return refuse(StatusCode::MISDIRECTED_REQUEST, "this is not the server's address");
        }
        if head.uri.authority().is_some() {
            return refuse(StatusCode::BAD_REQUEST, "this is no proxy");
        }
        let (route, method) = route(head.uri.path(), head.uri.query())?;
        if head.method != method {
            return refuse(StatusCode::METHOD_NOT_ALLOWED, "another method belongs to this address");
        }
        if matches!(route, Route::File(_)) {
            return Ok(route);
        }
        if !is_of_this_site(&head.headers) {
            return refuse(StatusCode::FORBIDDEN, "the request comes from another site");
        }
        // The time that a comparison takes says where two tokens part: this one looks at all bytes.
        let given = head.headers.get(TOKEN).map(|token| token.as_bytes()).unwrap_or_default();
        let differ = given.iter().zip(self.token.as_bytes()).fold(0, |differ, (a, b)| differ | (a ^ b));
        if given.len() != self.token.len() || differ != 0 {
            return refuse(StatusCode::FORBIDDEN, "the page's token is missing: open the page anew");
        }
        if method == Method::POST && only(&head.headers, "content-type") != Some(JSON) {
            return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body has to be application/json");
        }
        Ok(route)
    }

    /// Whether `Host` is the server's own address. Behind a name could be anybody, who lets it lead here (DNS rebinding),
    /// so there is but one name.
    fn is_mine(&self, headers: &HeaderMap) -> bool {
        let Some(host) = only(headers, "host") else { return false };
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => (name, port.parse().ok()),
            _ => (host, Some(80)),
        };
        let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
        let known = match address {
            Some(address) => address.is_loopback() || !self.loopback,
            None => name.eq_ignore_ascii_case("localhost"),
        };
        known && port == Some(self.port)
    }

    /// Answers what was let in.
    pub fn answer(&self, desk: &mut Desk, route: Route, body: &[u8]) -> Reply {
        let done = match route {
            Route::File(path) => return self.file(path),
            Route::Work(labeler) => desk.work(&labeler),
            Route::Next(labeler, work) => desk.next(&labeler, work),
            Route::Submit => parse(body).and_then(|record| desk.submit(record)),
            Route::Undo => parse(body).and_then(|undo| desk.undo(undo)),
            Route::Export(kind, held_out) => {
                return lines(export::lines(&mut desk.store, &desk.settings, kind, held_out));
            }
            Route::Report => {
                let report = Report::of(&mut desk.store, &desk.settings);
                return lines(report.map(|report| report.json()));
            }
        };
        match done {
            Ok(value) => Reply::new(JSON, value.to_string()),
            Err(Refusal::Wrong(expected)) => {
                Reply::refusal(StatusCode::UNPROCESSABLE_ENTITY, format!("expected {expected}"))
            }
            Err(Refusal::Conflict(words)) => Reply::refusal(StatusCode::CONFLICT, words),
            Err(Refusal::Failed(error)) => Reply::refusal(StatusCode::INSUFFICIENT_STORAGE, error),
        }
    }

    fn file(&self, path: &str) -> Reply {
        let script = SCRIPTS.iter().find(|(name, _)| *name == path);
        match path {
            "/" => {
                let token = if self.loopback { &self.token } else { "" };
                Reply::new("text/html; charset=utf-8", PAGE.replace("{{token}}", token))
            }
            "/label.css" => Reply::new("text/css; charset=utf-8", STYLE),
            "/icon.svg" => Reply::new("image/svg+xml", ICON),
            _ => Reply::new("text/javascript; charset=utf-8", script.map_or("", |(_, text)| *text)),
        }
    }
}

fn lines(text: Result<String>) -> Reply {
    match text {
        Ok(text) => Reply::new("text/plain; charset=utf-8", text),
        Err(error) => Reply::refusal(StatusCode::INSUFFICIENT_STORAGE, error),
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> std::result::Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::Wrong(format!("a record of the page ({error})")))
}

/// The table: what a path asks for, and by which method.
fn route(path: &str, query: Option<&str>) -> std::result::Result<(Route, Method), Reply> {
    let wrong = || Reply::refusal(StatusCode::BAD_REQUEST, "the address has other parameters");
    let parameters = parameters(query.unwrap_or_default()).ok_or_else(wrong)?;
    let given: Vec<(&str, &str)> = parameters.iter().map(|(name, value)| (&**name, &**value)).collect();
    let files = ["/", "/label.css", "/icon.svg"].into_iter().chain(SCRIPTS.iter().map(|(name, _)| *name));
    if let Some(file) = files.into_iter().find(|file| *file == path) {
        return if given.is_empty() { Ok((Route::File(file), Method::GET)) } else { Err(wrong()) };
    }
    let export = |name: &str| Export::ALL.into_iter().find(|kind| kind.file() == name);
    Ok(match (path, &given[..]) {
        ("/api/work", [("labeler", labeler)]) => (Route::Work(labeler.to_string()), Method::GET),
        ("/api/next", [("labeler", labeler), ("work", work)]) => {
            (Route::Next(labeler.to_string(), Work::named(work).ok_or_else(wrong)?), Method::GET)
        }
        ("/api/submit", []) => (Route::Submit, Method::POST),
        ("/api/undo", []) => (Route::Undo, Method::POST),
        ("/report", []) => (Route::Report, Method::GET),
        (path, []) => {
            let nothing = || Reply::refusal(StatusCode::NOT_FOUND, "there is nothing at this address");
            let name = path.strip_prefix("/export/").ok_or_else(nothing)?;
            let (name, held_out) = match name.strip_prefix("held_out/") {
                Some(name) => (name, true),
                None => (name, false),
            };
            (Route::Export(export(name).ok_or_else(nothing)?, held_out), Method::GET)
        }
        (path, _) if path.starts_with("/api/") => return Err(wrong()),
        _ => return Err(Reply::refusal(StatusCode::NOT_FOUND, "there is nothing at this address")),
    })
}

/// The parameters of an address, decoded; `None` where they are no such thing.
fn parameters(query: &str) -> Option<Vec<(String, String)>> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    parts.map(|part| part.split_once('=').and_then(|(k, v)| Some((decoded(k)?, decoded(v)?)))).collect()
}

/// `%41` as `A`, `+` as a blank.
fn decoded(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (vec![], text.bytes());
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
                (digit()? * 16 + digit()?) as u8
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

/// Browsers say where a request comes from; other programs do not.
fn is_of_this_site(headers: &HeaderMap) -> bool {
    let own = only(headers, "host").map(|host| format!("http://{host}"));
    let origin = !headers.contains_key("origin") || only(headers, "origin") == own.as_deref();
    let site = !headers.contains_key("sec-fetch-site")
        || matches!(only(headers, "sec-fetch-site"), Some("same-origin" | "none"));
    origin && site
}

/// The value of a header that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests;
