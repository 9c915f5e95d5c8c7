//! The desk over HTTP. One thread answers one request after another; a connection carries one request and has its time.

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, RandomState};
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

use super::desk::Desk;
pub use super::routes::Gate;
use super::routes::{HEADERS, MAX_BODY, Reply};
use crate::error::{Error, Result};
use crate::run::stderr::say;

/// Most connections at a time; a browser opens six.
const CONNECTIONS: usize = 256;
/// A request's head and its body have so long each.
const REQUEST: Duration = Duration::from_secs(10);
/// A connection has so long in all, a large export included.
const CONNECTION: Duration = Duration::from_secs(120);

/// Listens at an address; port 0 takes one that is free.
///
/// # Errors
/// [`Error::Io`].
pub fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).and_then(|listener| Ok((listener.local_addr()?, listener)));
    let (address, listener) = listener.map_err(|error| Error::io(address, "listen", error))?;
    Ok((listener, address))
}

/// 32 hexadecimal digits that nobody can guess: the system's random numbers, which every `RandomState` is made of.
pub fn new_token() -> String {
    let word = || RandomState::new().hash_one("instructgpt label");
    format!("{:016x}{:016x}", word(), word())
}

/// Serves the desk until the process ends.
///
/// # Errors
/// [`Error::Io`] if there is no listening.
pub fn serve(desk: Desk, gate: Gate, listener: TcpListener) -> Result<()> {
    let failed = |error: std::io::Error| Error::io("the server", "start", error);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let site = Rc::new(Site { desk: RefCell::new(desk), gate, refusals: Refusals::default() });
    LocalSet::new().block_on(&runtime.map_err(failed)?, async {
        listener.set_nonblocking(true).map_err(failed)?;
        accept(site, tokio::net::TcpListener::from_std(listener).map_err(failed)?).await
    })
}

async fn accept(site: Rc<Site>, listener: tokio::net::TcpListener) -> Result<()> {
    let open = Rc::new(Cell::new(0));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            // No files left, say: soon there are some.
            Err(error) => {
                site.refusals.note(&format!("a connection: {error}"));
                sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        if open.get() >= CONNECTIONS {
            site.refusals.note("a connection: there are too many");
            continue;
        }
        open.set(open.get() + 1);
        let (site, open) = (site.clone(), open.clone());
        tokio::task::spawn_local(async move {
            let service = service_fn(|request| site.answer(request));
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new())
                .header_read_timeout(REQUEST)
                .keep_alive(false)
                .max_buf_size(1 << 16);
            match timeout(CONNECTION, http.serve_connection(TokioIo::new(stream), service)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => site.refusals.note(&format!("a request: {error}")),
                Err(_) => site.refusals.note("a connection: it takes too long"),
            }
            open.set(open.get() - 1);
        });
    }
}

struct Site {
    desk: RefCell<Desk>,
    gate: Gate,
    refusals: Refusals,
}

impl Site {
    async fn answer(
        &self,
        request: Request<Incoming>,
    ) -> std::result::Result<Response<Full<Bytes>>, hyper::Error> {
        let (head, body) = request.into_parts();
        let reply = match self.gate.admit(&head) {
            Err(refusal) => refusal,
            Ok(route) => match timeout(REQUEST, Limited::new(body, MAX_BODY).collect()).await {
                Err(_) => Reply::refusal(StatusCode::REQUEST_TIMEOUT, "the body takes too long"),
                Ok(Err(_)) => {
                    let words = format!("expected a whole body of at most {MAX_BODY} bytes");
                    Reply::refusal(StatusCode::PAYLOAD_TOO_LARGE, words)
                }
                Ok(Ok(body)) => self.gate.answer(&mut self.desk.borrow_mut(), route, &body.to_bytes()),
            },
        };
        if !reply.status.is_success() {
            let (method, path) = (&head.method, head.uri.path());
            let words = format!("{method} {path:.80?}: {} {}", reply.status.as_u16(), reply.words());
            self.refusals.note(&words);
        }
        let mut response = Response::new(Full::new(Bytes::from(reply.body)));
        *response.status_mut() = reply.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(reply.content));
        for (name, value) in HEADERS {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        Ok(response)
    }
}

/// Says on standard error what was refused, but not more than a person can read.
#[derive(Default)]
struct Refusals {
    /// When the minute began, how many were said in it, and how many were not.
    minute: Cell<Option<(Instant, usize, usize)>>,
}

impl Refusals {
    const A_MINUTE: usize = 20;

    fn note(&self, words: &str) {
        let now = Instant::now();
        let (began, said, unsaid) = self.minute.get().unwrap_or((now, 0, 0));
        if now - began > Duration::from_secs(60) {
            if unsaid > 0 {
                say(format_args!("refused: {unsaid} more"));
            }
            self.minute.set(Some((now, 1, 0)));
        } else if said < Refusals::A_MINUTE {
            self.minute.set(Some((began, said + 1, unsaid)));
        } else {
            self.minute.set(Some((began, said, unsaid + 1)));
            return;
        }
        say(format_args!("refused: {words}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ() {
        let [a, b] = [new_token(), new_token()];
        assert!(a != b && a.len() == 32 && a.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}
