//! A browser that the test drives: Chromium's DevTools protocol over a WebSocket (RFC 6455), as much of both as is needed.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A headless Chromium with one page. It ends when this is dropped.
pub struct Browser {
    child: Child,
    socket: TcpStream,
    count: u64,
    /// Whether its screen is pressed with a finger, and there is no mouse.
    touch: bool,
    /// Errors on the page's console and exceptions of its scripts.
    pub errors: Vec<String>,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// `None` where there is no Chromium.
    pub fn start() -> Option<Browser> {
        let answers =
            |name: &&str| Command::new(name).arg("--version").output().is_ok_and(|out| out.status.success());
        let name = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(answers)?;
        let profile = tempfile::tempdir().unwrap();
        let mut child = Command::new(name)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--remote-debugging-port=0", "--hide-scrollbars", "about:blank"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let port: u16 = loop {
            let mut line = String::new();
            assert!(said.read_line(&mut line).unwrap() > 0, "{name} does not start");
            if let Some((_, address)) = line.split_once("DevTools listening on ws://127.0.0.1:") {
                break address.split('/').next().unwrap().parse().unwrap();
            }
        };
        // What else it says has to be read, or it would wait.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        let begun = Instant::now();
        let path = loop {
            assert!(begun.elapsed() < Duration::from_secs(60), "no page");
            let pages: Value = serde_json::from_str(&list(port)).unwrap_or_default();
            let page = pages.as_array().and_then(|pages| pages.iter().find(|page| page["type"] == "page"));
            if let Some(address) = page.and_then(|page| page["webSocketDebuggerUrl"].as_str()) {
                break address.splitn(4, '/').nth(3).unwrap().to_string();
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        write!(
            socket,
            "GET /{path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        .unwrap();
        let (mut head, mut byte) = (vec![], [0]);
        while !head.ends_with(b"\r\n\r\n") {
            socket.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        let mut browser =
            Browser { child, socket, count: 0, touch: false, errors: vec![], _profile: profile };
        ["Page.enable", "Runtime.enable", "Log.enable"]
            .iter()
            .for_each(|name| drop(browser.call(name, json!({}))));
        Some(browser)
    }

    /// One command of the protocol: its result.
    #[track_caller]
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.count += 1;
        let id = self.count;
        self.send(json!({ "id": id, "method": method, "params": parameters }).to_string().as_bytes());
        loop {
            let message: Value = serde_json::from_slice(&self.receive()).unwrap();
            if message["id"] == id {
                assert!(message.get("error").is_none(), "{method}: {message}");
                return message["result"].clone();
            }
            match message["method"].as_str() {
                Some("Runtime.exceptionThrown") => self.errors.push(message["params"].to_string()),
                Some("Log.entryAdded") if message["params"]["entry"]["level"] == "error" => {
                    self.errors.push(message["params"]["entry"].to_string());
                }
                _ => {}
            }
        }
    }

    /// A frame of text, whose mask is zero.
    fn send(&mut self, text: &[u8]) {
        let mut frame = vec![0x81];
        match text.len() {
            n @ 0..126 => frame.push(0x80 | n as u8),
            n @ 126..65_536 => {
                frame.push(0x80 | 126);
                frame.extend((n as u16).to_be_bytes());
            }
            n => {
                frame.push(0x80 | 127);
                frame.extend((n as u64).to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend(text);
        self.socket.write_all(&frame).unwrap();
    }

    /// The next message, from all of its frames.
    fn receive(&mut self) -> Vec<u8> {
        let mut message = vec![];
        loop {
            let mut start = [0; 2];
            self.socket.read_exact(&mut start).unwrap();
            let length = match start[1] & 0x7f {
                126 => {
                    let mut bytes = [0; 2];
                    self.socket.read_exact(&mut bytes).unwrap();
                    u64::from(u16::from_be_bytes(bytes))
                }
                127 => {
                    let mut bytes = [0; 8];
                    self.socket.read_exact(&mut bytes).unwrap();
                    u64::from_be_bytes(bytes)
                }
                short => u64::from(short),
            };
            let mut part = vec![0; length as usize];
            self.socket.read_exact(&mut part).unwrap();
            // Text or its continuation; the rest is for keeping the connection.
            if matches!(start[0] & 0xf, 0 | 1) {
                message.extend(part);
                if start[0] & 0x80 != 0 {
                    return message;
                }
            }
        }
    }

    pub fn open(&mut self, address: &str) {
        self.call("Page.navigate", json!({ "url": address }));
        self.wait("document.readyState === 'complete' && typeof state === 'object'");
    }

    /// The value of an expression on the page.
    #[track_caller]
    pub fn value(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let result = self.call("Runtime.evaluate", parameters);
        assert!(result.get("exceptionDetails").is_none(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub fn wait(&mut self, expression: &str) {
        let begun = Instant::now();
        // The page may be on its way: then nothing can be asked of it.
        let guarded =
            format!("(() => {{ try {{ return Boolean({expression}) }} catch {{ return false }} }})()");
        while self.value(&guarded) != json!(true) {
            let shown = self.value("document.body && document.body.innerText.slice(0, 1500)");
            assert!(begun.elapsed() < Duration::from_secs(30), "{expression}\n{shown}\n{:?}", self.errors);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn screen(&mut self, width: u32, height: u32, dark: bool, touch: bool) {
        self.call(
            "Emulation.setDeviceMetricsOverride",
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": touch }),
        );
        self.call("Emulation.setTouchEmulationEnabled", json!({ "enabled": touch }));
        self.touch = touch;
        self.scheme(dark);
    }

    pub fn scheme(&mut self, dark: bool) {
        let scheme = if dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features }));
    }

    /// Presses a key: "Tab", "Enter", "ArrowUp", "3".
    pub fn key(&mut self, key: &str, control: bool) {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            " " => 32,
            "ArrowUp" => 38,
            "ArrowDown" => 40,
            other => u32::from(other.as_bytes()[0]),
        };
        let mut event = json!({ "type": "keyDown", "key": key, "windowsVirtualKeyCode": code,
            "modifiers": if control { 2 } else { 0 } });
        if !control && (key.len() == 1 || key == "Enter") {
            event["text"] = json!(if key == "Enter" { "\r" } else { key });
        }
        self.call("Input.dispatchKeyEvent", event.clone());
        event["type"] = json!("keyUp");
        event.as_object_mut().unwrap().remove("text");
        self.call("Input.dispatchKeyEvent", event);
    }

    /// Types into what has the focus.
    pub fn write(&mut self, text: &str) {
        self.call("Input.insertText", json!({ "text": text }));
    }

    /// Presses Tab until an expression about the element with the focus, `e`, is true.
    #[track_caller]
    pub fn tab_to(&mut self, expression: &str) {
        for _ in 0..80 {
            self.key("Tab", false);
            if self.value(&format!("(e => Boolean({expression}))(document.activeElement)")) == json!(true) {
                return;
            }
        }
        panic!("Tab does not lead to {expression}");
    }

    /// The middle of what an expression gives, after it was scrolled into view.
    #[track_caller]
    pub fn middle(&mut self, element: &str) -> [f64; 2] {
        let script = format!(
            "(async () => {{ const e = {element}; e.scrollIntoView({{ block: 'center' }}); \
             const drawn = () => new Promise(requestAnimationFrame); await drawn(); await drawn(); \
             const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + Math.min(r.height / 2, 30)] }})()"
        );
        let place = self.value(&script);
        [0, 1].map(|i| place[i].as_f64().unwrap())
    }

    fn mouse(&mut self, kind: &str, [x, y]: [f64; 2]) {
        let buttons = if kind == "mouseReleased" { 0 } else { 1 };
        self.call(
            "Input.dispatchMouseEvent",
            json!({ "type": kind, "x": x, "y": y, "button": "left", "buttons": buttons, "clickCount": 1 }),
        );
    }

    /// Presses an element, with a finger where there is a touch screen.
    #[track_caller]
    pub fn press(&mut self, element: &str) {
        let at = self.middle(element);
        if self.touch {
            return self.tap(at);
        }
        self.mouse("mousePressed", at);
        self.mouse("mouseReleased", at);
    }

    /// Taps until the page has seen a click. A browser without a screen does not make a click of each tap; a person taps again,
    /// too.
    #[track_caller]
    fn tap(&mut self, at: [f64; 2]) {
        self.value("window.taps = 0; addEventListener('click', () => { taps = 1 }, { capture: true, once: true }); 0");
        for _ in 0..5 {
            self.touch("touchStart", &[at]);
            self.touch("touchEnd", &[]);
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_secs(2) {
                if self.value("window.taps") == json!(1) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        panic!("no click of a tap at {at:?}");
    }

    #[track_caller]
    pub fn drag(&mut self, from: &str, to: &str) {
        let from = self.middle(from);
        self.mouse("mousePressed", from);
        let to = self.place(to);
        for step in 1..=4 {
            self.mouse("mouseMoved", between(from, to, step));
        }
        self.mouse("mouseReleased", to);
    }

    /// Where an element is now, without scrolling.
    fn place(&mut self, element: &str) -> [f64; 2] {
        let place = self.value(&format!(
            "(r => [r.x + r.width / 2, r.y + Math.min(r.height / 2, 20)])({element}.getBoundingClientRect())"
        ));
        [0, 1].map(|i| place[i].as_f64().unwrap())
    }

    fn touch(&mut self, kind: &str, points: &[[f64; 2]]) {
        let points: Vec<Value> = points.iter().map(|[x, y]| json!({ "x": x, "y": y })).collect();
        self.call("Input.dispatchTouchEvent", json!({ "type": kind, "touchPoints": points }));
    }

    /// Drags with a finger.
    #[track_caller]
    pub fn swipe(&mut self, from: &str, to: &str) {
        let from = self.middle(from);
        self.touch("touchStart", &[from]);
        let to = self.place(to);
        for step in 1..=4 {
            self.touch("touchMove", &[between(from, to, step)]);
        }
        self.touch("touchEnd", &[]);
    }

    /// The whole page as a picture.
    pub fn picture(&mut self, path: &Path) {
        let data =
            self.call("Page.captureScreenshot", json!({ "format": "png", "captureBeyondViewport": true }));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, base64(data["data"].as_str().unwrap())).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn between(from: [f64; 2], to: [f64; 2], quarter: u32) -> [f64; 2] {
    [0, 1].map(|i| from[i] + (to[i] - from[i]) * f64::from(quarter) / 4.0)
}

/// The browser's list of pages. It keeps the connection open, so its length says where the answer ends.
fn list(port: u16) -> String {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return String::new() };
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let _ = write!(stream, "GET /json/list HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    let mut reader = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
        line.clear();
    }
    let mut body = vec![0; length];
    let _ = reader.read_exact(&mut body);
    String::from_utf8_lossy(&body).into_owned()
}

fn base64(text: &str) -> Vec<u8> {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut count) = (vec![], 0u32, 0);
    for letter in text.bytes().filter(|&letter| letter != b'=') {
        let value = LETTERS.iter().position(|&l| l == letter).unwrap() as u32;
        (bits, count) = (bits << 6 | value, count + 6);
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}
