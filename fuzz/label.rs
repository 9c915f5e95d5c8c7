//! What the labelers' page takes from outside: items, another project's records, and requests.

use std::sync::LazyLock;

use hyper::Request;
use instructgpt::data::Source;
use instructgpt::label::desk::Desk;
use instructgpt::label::export::{Export, import, lines};
use instructgpt::label::item::{Item, Items, read_items};
use instructgpt::label::record::Record;
use instructgpt::label::server::Gate;
use instructgpt::label::settings::Settings;
use instructgpt::label::store::Store;
use serde_json::Value;

/// Items to label: each is whole, and read back as it was kept.
pub fn items(bytes: &[u8]) -> bool {
    let Ok(Items { items, .. }) = Source::from_bytes("x", bytes).and_then(read_items) else { return false };
    for item in &items {
        assert!(item.is_whole());
        let kept = serde_json::to_vec(item).unwrap();
        assert_eq!(serde_json::from_slice::<Item>(&kept).unwrap(), *item);
        assert!(item.gold.as_ref().is_none_or(|gold| gold.wrong(item.responses.len()).is_none()));
    }
    !items.is_empty()
}

/// Another project's records: all of a file or nothing is kept, and what was kept goes out and in again unchanged.
pub fn records(bytes: &[u8]) -> bool {
    let settings = Settings::default();
    let all = |store: &mut Store| lines(store, &settings, Export::Records, false).unwrap();
    let mut store = Store::in_memory().unwrap();
    let imported = Source::from_bytes("x", bytes).and_then(|source| import(&mut store, source));
    let Ok(imported) = imported else {
        assert_eq!(all(&mut store), "");
        return false;
    };
    let kept = all(&mut store);
    if kept.is_empty() {
        return false;
    }
    let mut copy = Store::in_memory().unwrap();
    let again = import(&mut copy, Source::from_bytes("x", kept.as_bytes()).unwrap()).unwrap();
    assert_eq!((again.records, again.conflicts), (imported.records, 0));
    assert_eq!(all(&mut copy), kept);
    imported.records > 0
}

/// What can be labelled where requests come in: one item of each kind.
const ITEMS: &str = r#"{"prompt":"write"}
{"use_case":"chat"}
{"prompt":"rate","response":"r"}
{"prompt":"rank","responses":["a","b","c"]}
{"prompt":"test","response":"a","gold":{"sensitive":true},"screening":true}
"#;

static PROJECT: LazyLock<Vec<Item>> =
    LazyLock::new(|| read_items(Source::from_bytes("x", ITEMS.as_bytes()).unwrap()).unwrap().items);

/// A request, in its own lines: method and address, headers, an empty line, the body. Two, with a zero byte between them,
/// come one after the other. Whatever is refused says why and keeps nothing; what is called saved is there.
pub fn requests(bytes: &[u8]) -> bool {
    let mut desk = Desk::new(Store::in_memory().unwrap(), Settings::default()).unwrap();
    desk.add(&PROJECT).unwrap();
    let gate = Gate { port: 80, token: "secret".into(), loopback: true };
    let answered: Vec<bool> =
        bytes.split(|&byte| byte == 0).take(2).map(|request| answer(&mut desk, &gate, request)).collect();
    answered.iter().all(|&answered| answered)
}

fn answer(desk: &mut Desk, gate: &Gate, request: &[u8]) -> bool {
    let end = request.windows(2).position(|two| two == b"\n\n");
    let (head, body) = match end {
        Some(end) => (&request[..end], &request[end + 2..]),
        None => (request, &[][..]),
    };
    let Ok(head) = str::from_utf8(head) else { return false };
    let mut lines = head.lines();
    let Some((method, target)) = lines.next().and_then(|line| line.split_once(' ')) else { return false };
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        request = request.header(name, value);
    }
    let Ok(request) = request.body(()) else { return false };
    let before = kept(desk);
    let reply = match gate.admit(&request.into_parts().0) {
        Err(refusal) => refusal,
        Ok(route) => gate.answer(desk, route, body),
    };
    let said: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    if !reply.status.is_success() {
        assert!(reply.status.is_client_error(), "{reply:?}");
        assert!(said["error"].as_str().is_some_and(|words| !words.is_empty()), "{reply:?}");
        assert_eq!(kept(desk), before, "{reply:?}");
    }
    if let Some(id) = said["saved"].as_str() {
        let sent: Record = serde_json::from_slice(body).unwrap();
        let kept = desk.store.record(id).unwrap().unwrap();
        assert_eq!(kept, Record { time: kept.time, ..sent });
    }
    reply.status.is_success()
}

/// How many records are in force.
fn kept(desk: &mut Desk) -> usize {
    let mut count = 0;
    desk.store.records(|_| count += 1).unwrap();
    count
}
