//! The program as a process that serves the page, and a small HTTP client.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_instructgpt"));
    command.args(["--threads", "1", "label"]);
    command
}

/// A serving process; killed when dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    pub token: String,
}

impl Server {
    pub fn start(data: &Path, items: &[&Path]) -> Server {
        let mut command = program();
        command.arg("--data").arg(data).args(["--port", "0"]);
        for path in items {
            command.arg("--items").arg(path);
        }
        Server::of(command)
    }

    /// Starts it and waits until it has said its address, and has given its page with the token.
    pub fn of(command: Command) -> Server {
        Server::telling(command, Stdio::null())
    }

    /// The same, and what it says on standard error goes there.
    pub fn telling(mut command: Command, said: Stdio) -> Server {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(said);
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().trim_start_matches("http://").split('/').next().unwrap().parse();
        let mut server =
            Server { child, address: address.unwrap_or_else(|_| panic!("{line:?}")), token: String::new() };
        let page = server.get("/").unwrap();
        let token = page.text.split("name=\"token\" content=\"").nth(1).unwrap();
        server.token = token.split('"').next().unwrap().to_string();
        server
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn get(&self, target: &str) -> std::io::Result<Answer> {
        get(self.address, &self.token, target)
    }

    pub fn post(&self, target: &str, body: &Value) -> std::io::Result<Answer> {
        post(self.address, &self.token, target, body)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{self:?}"))
    }
}

pub fn get(address: SocketAddr, token: &str, target: &str) -> std::io::Result<Answer> {
    let head = format!("GET {target} HTTP/1.1\r\nHost: {address}\r\nX-Label-Token: {token}\r\n\r\n");
    send(address, head.as_bytes())
}

pub fn post(address: SocketAddr, token: &str, target: &str, body: &Value) -> std::io::Result<Answer> {
    let body = body.to_string();
    let request = format!(
        "POST {target} HTTP/1.1\r\nHost: {address}\r\nX-Label-Token: {token}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    send(address, request.as_bytes())
}

/// Sends bytes as they are, and reads a whole answer: with less it is an error.
pub fn send(address: SocketAddr, request: &[u8]) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    // Who refuses a request early does not read it to its end.
    let written = stream.write_all(request);
    let mut bytes = vec![];
    let read = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    let Some((head, text)) = text.split_once("\r\n\r\n") else {
        written?;
        read?;
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    match (status, length) {
        (Some(status), Some(length)) if text.len() == length => {
            Ok(Answer { status, head: head.to_string(), text: text.to_string() })
        }
        _ => Err(std::io::ErrorKind::UnexpectedEof.into()),
    }
}

/// A submission as the page makes it.
pub fn submission(id: u128, labeler: &str, item: Option<&Value>, answer: Value) -> Value {
    let mut record = json!({ "id": format!("{id:032x}"), "labeler": labeler, "instructions": 1, "seconds": 1.0,
        "notes": "", "flagged": false, "answer": answer, "shown": [] });
    if let Some(item) = item {
        (record["item"], record["shown"]) = (item["id"].clone(), item["shown"].clone());
    }
    record
}

/// Runs a command of `label`: its output.
pub fn label(arguments: &[&str]) -> Output {
    program().args(arguments).output().unwrap()
}

#[track_caller]
pub fn succeeds(arguments: &[&str]) -> String {
    let output = label(arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
