//! Whole sessions in a browser: by keyboard, by mouse and by touch, on a desk and on a telephone, light and dark. Needs
//! Chromium; without one the test says so and passes. Its pictures are in the target directory, `tmp/label/`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::devtools::Browser;
use super::server::{Server, program};

const ITEMS: &str = r#"{"prompt":"Explain to a child of six why the sky is blue.","responses":["The sky is blue because air scatters blue light more than red light.\n\nThe light of the sun is made of all colours. When it comes through the air, the blue part bounces around the most, so blue comes at us from everywhere.","Because it mirrors the sea.","Sunlight has every colour of the rainbow in it. Blue bounces off the air the most, so wherever you look you see blue. Like a ball in a room full of pillars!","blue blue blue"],"user":"u"}
{"prompt":"Give me a title for a story about a fox that learns to read.","responses":["The Fox Who Found the Words","Fox","A fox learns to read","Reading Red"]}
{"prompt":"Sum up: The mouse found a rope and was happy.","responses":["A mouse was glad about a rope.","The mouse lost its rope.","Mouse. Rope. Joy.","It is about a mouse."]}
{"prompt":"<b>Bold?</b> <script>window.hacked = 1</script> <img src=x onerror=\"window.hacked = 2\">","response":"<img src=x onerror=\"window.hacked = 3\"> No."}
{"prompt":"Write a polite answer to a friend who cannot come to the party."}
{"use_case":"Brainstorming: ideas for something"}
{"prompt":"Is it allowed to say this?","response":"Of course, my dear.","gold":{"sensitive":false},"screening":true}
"#;

/// A project with these items; all labelers see all of them.
fn project(directory: &Path) -> PathBuf {
    let data = directory.join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("items.jsonl"), ITEMS).unwrap();
    fs::write(data.join("label.toml"), "overlap_share = 1.0\noverlap_labelers = 9").unwrap();
    data
}

fn start(data: &Path, port: u16) -> Server {
    let mut command = program();
    command
        .arg("--data")
        .arg(data)
        .args(["--port", &port.to_string()])
        .arg("--items")
        .arg(data.join("items.jsonl"));
    Server::of(command)
}

/// The records of a labeler, in order.
fn said(server: &Server, labeler: &str) -> Vec<Value> {
    let lines = server.get("/export/records.jsonl").unwrap().text;
    let records = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["record"].clone());
    records.filter(|record| record["labeler"] == labeler).collect()
}

fn picture(browser: &mut Browser, name: &str) {
    browser.picture(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("label").join(format!("{name}.png")));
}

#[track_caller]
fn fits(browser: &mut Browser, width: u32) {
    let wide = browser.value("document.documentElement.scrollWidth").as_u64().unwrap();
    assert!(wide <= u64::from(width), "{wide} wide on {width}");
}

fn enter(browser: &mut Browser, server: &Server, name: &str) {
    browser.open(&format!("http://{}/", server.address));
    browser.wait("document.activeElement.id === 'name'");
    browser.write(name);
    browser.key("Enter", false);
    browser.wait(AT_WORK);
}

/// The first item is there.
const AT_WORK: &str = "document.querySelector('[aria-current=page]') && state.draft";

fn go(browser: &mut Browser, work: &str) {
    browser.press(&format!(
        "[...document.querySelectorAll('#works button')].find(b => b.textContent.startsWith('{work}'))"
    ));
    browser.wait(&format!("document.querySelector('[aria-current=page]').textContent.startsWith('{work}')"));
}

const SAVED: &str = "document.getElementById('status').textContent === 'Saved.'";

/// The box to tick whose words begin so.
fn box_of(words: &str) -> String {
    format!("[...document.querySelectorAll('.checks label')].find(l => l.textContent.startsWith('{words}'))")
}

/// The ranks that places of the cards (in the order shown) mean.
fn ranks(record: &Value) -> Vec<u64> {
    record["answer"]["ranks"].as_array().unwrap().iter().map(|rank| rank.as_u64().unwrap()).collect()
}

#[test]
fn a_labeler_works_by_keyboard_alone() {
    let Some(mut browser) = Browser::start() else { return println!("skipped: no Chromium") };
    let directory = tempfile::tempdir().unwrap();
    let server = start(&project(directory.path()), 0);
    browser.screen(1400, 900, false, false);
    enter(&mut browser, &server, "ann");
    // To the rankings.
    browser.wait("document.querySelector('[aria-current=page]')");
    browser.tab_to("e.textContent.startsWith('Rank')");
    browser.key("Enter", false);
    browser.wait("document.querySelectorAll('.card').length === 4");
    picture(&mut browser, "rank_begin_1400_light");
    // Places 2, 1, 1 and 4 for the cards A to D; the last one goes there by arrows.
    for (card, keys) in [(0, "2"), (1, "1"), (2, "1")] {
        browser.tab_to(&format!("e.dataset.card === '{card}'"));
        browser.key(keys, false);
        browser.wait(&format!("document.activeElement.dataset.card === '{card}'"));
    }
    let heard = browser.value("document.getElementById('status').textContent");
    assert_eq!(heard, "Response C is in place 1, tied with 1 other.");
    browser.tab_to("e.dataset.card === '3'");
    browser.key("ArrowUp", false);
    browser.key("ArrowUp", false);
    browser.key("ArrowDown", false);
    browser.wait("document.activeElement.closest('[data-place]').dataset.place === '4'");
    picture(&mut browser, "rank_1400_light");
    fits(&mut browser, 1400);
    browser.key("Enter", true);
    browser.wait(SAVED);
    let record = said(&server, "ann").pop().unwrap();
    // Places without gaps, in the item's order.
    let shown: Vec<usize> = serde_json::from_value(record["shown"].clone()).unwrap();
    let of_cards: Vec<u64> = shown.iter().map(|&k| ranks(&record)[k]).collect();
    assert_eq!(of_cards, [2, 1, 1, 3]);
    assert!(record["seconds"].as_f64().unwrap() > 0.0);
    // An incomplete ranking is not sent, and the focus goes where something is missing.
    browser.wait("document.querySelectorAll('.unplaced .card').length === 4");
    browser.key("Enter", true);
    browser.wait("document.getElementById('problem').textContent.includes('places for 4 responses')");
    assert_eq!(browser.value("document.activeElement.dataset.card"), "0");
    // The last one is taken back, changed and sent again.
    browser.tab_to("e.id === 'undo'");
    browser.key("Enter", false);
    browser.wait("document.getElementById('status').textContent.startsWith('Taken back')");
    assert_eq!(browser.value("JSON.stringify(state.draft.values.places)"), "[2,1,1,3]");
    browser.tab_to("e.dataset.card === '0'");
    browser.key("1", false);
    browser.key("Enter", true);
    browser.wait(SAVED);
    let records = said(&server, "ann");
    assert_eq!((records.len(), ranks(&records[0]).iter().filter(|&&rank| rank == 1).count()), (1, 3));
    // A demonstration, and a few-shot prompt.
    browser.tab_to("e.textContent.startsWith('Write')");
    browser.key("Enter", false);
    browser.wait("document.getElementById('f-response')");
    browser.tab_to("e.id === 'f-response'");
    browser.write("What a pity! Let us meet next week.");
    browser.key("Enter", true);
    browser.wait(SAVED);
    browser.tab_to("e.textContent.startsWith('Own')");
    browser.key("Enter", false);
    browser.wait("document.querySelector('input[value=few_shot]')");
    browser.tab_to("e.name === 'form'");
    browser.key("ArrowDown", false);
    browser.wait("document.getElementById('f-query2')");
    for (id, text) in [
        ("instruction", "Turn it."),
        ("query1", "ab"),
        ("response1", "ba"),
        ("query2", "cd"),
        ("response2", "dc"),
    ] {
        browser.tab_to(&format!("e.id === 'f-{id}'"));
        browser.write(text);
    }
    picture(&mut browser, "few_shot_1400_light");
    browser.key("Enter", true);
    browser.wait(SAVED);
    let kinds: Vec<Value> =
        said(&server, "ann").iter().map(|record| record["answer"]["kind"].clone()).collect();
    assert_eq!(kinds, ["ranking", "demonstration", "few_shot"]);
    assert!(browser.errors.is_empty(), "{:?}", browser.errors);
}

#[test]
fn a_labeler_works_by_mouse_and_nothing_is_lost() {
    let Some(mut browser) = Browser::start() else { return println!("skipped: no Chromium") };
    let directory = tempfile::tempdir().unwrap();
    let data = project(directory.path());
    let mut server = start(&data, 0);
    browser.screen(1400, 1100, true, false);
    enter(&mut browser, &server, "bob");
    go(&mut browser, "Rate");
    browser.wait("document.querySelector('input[name=overall]')");
    // Texts are shown as they stand, and do nothing.
    let shown = browser.value("document.querySelector('.prompt').textContent");
    assert!(shown.as_str().unwrap().starts_with("<b>Bold?</b> <script>"), "{shown}");
    assert_eq!(
        browser.value("typeof window.hacked + document.querySelectorAll('main img, main script').length"),
        "undefined0"
    );
    browser.press("document.querySelector('input[name=overall][value=\"6\"]')");
    browser.press("document.querySelector('input[name=hallucination][value=none]')");
    browser.press(&box_of("Expresses an opinion"));
    // One answer is missing.
    browser.press("document.getElementById('submit')");
    browser.wait("document.getElementById('problem').textContent.includes('Keeps what was asked for')");
    // A closed tab keeps the draft.
    browser.open(&format!("http://{}/", server.address));
    browser.wait(AT_WORK);
    go(&mut browser, "Rate");
    browser.wait("document.querySelector('input[name=overall][value=\"6\"]').checked");
    browser.press("document.querySelector('input[name=satisfies_constraint][value=yes]')");
    picture(&mut browser, "rate_1400_dark");
    // The server is gone: the work stays, and is saved when the server is back.
    let port = server.address.port();
    server.kill();
    browser.press("document.getElementById('submit')");
    browser.wait("document.getElementById('problem').textContent.startsWith('Not saved')");
    assert_eq!(browser.value("document.querySelector('input[name=overall][value=\"6\"]').checked"), true);
    drop(server);
    let server = start(&data, port);
    browser.errors.clear();
    browser.press("document.getElementById('submit')");
    browser.wait(SAVED);
    let record = said(&server, "bob").pop().unwrap();
    let answer = &record["answer"];
    assert_eq!(
        (&answer["overall"], &answer["questions"]["opinion"], &answer["questions"]["satisfies_constraint"]),
        (&json!(6), &json!(true), &json!(true))
    );
    assert!(
        answer["questions"].get("hallucination").is_none()
            && answer["questions"].as_object().unwrap().len() == 10
    );
    // By drag: D best, then A and B in one place, then C.
    go(&mut browser, "Rank");
    browser.wait("document.querySelectorAll('.unplaced .card').length === 4");
    for (card, place) in [(3, 1), (0, 2), (1, 2), (2, 3)] {
        browser.drag(
            &format!("document.querySelector('[data-card=\"{card}\"] .bar b')"),
            &format!("document.querySelector('[data-place=\"{place}\"]')"),
        );
        browser.wait(&format!("document.querySelector('[data-place=\"{place}\"] [data-card=\"{card}\"]')"));
    }
    // Somebody looked at the request, and had nothing to say of it.
    browser.press("document.querySelector('.marks summary')");
    browser.press(&box_of("None of these"));
    browser.value("scrollTo(0, 0)");
    picture(&mut browser, "rank_1400_dark");
    browser.press("document.getElementById('submit')");
    browser.wait(SAVED);
    let record = said(&server, "bob").pop().unwrap();
    assert_eq!(record["marks"], json!([]));
    let shown: Vec<usize> = serde_json::from_value(record["shown"].clone()).unwrap();
    assert_eq!(shown.iter().map(|&k| ranks(&record)[k]).collect::<Vec<_>>(), [2, 2, 3, 1]);
    // Instructions and report, and a skip.
    browser.press("document.getElementById('show-instructions')");
    browser.wait("document.getElementById('instructions').open");
    picture(&mut browser, "instructions_1400_dark");
    browser.press("document.querySelector('#instructions button')");
    browser.press("document.getElementById('show-report')");
    browser.wait("document.querySelectorAll('#tables table').length > 1");
    picture(&mut browser, "report_1400_dark");
    browser.press("document.querySelector('#report form button')");
    browser.press("[...document.querySelectorAll('button')].find(b => b.textContent === 'Skip')");
    browser.wait("document.getElementById('problem').textContent.includes('why')");
    browser.value("(s => { s.value = s.options[1].value })(document.querySelector('.actions select'))");
    browser.press("[...document.querySelectorAll('button')].find(b => b.textContent === 'Skip')");
    browser.wait(SAVED);
    assert_eq!(said(&server, "bob").pop().unwrap()["answer"]["kind"], "skip");
    assert!(browser.errors.is_empty(), "{:?}", browser.errors);
}

#[test]
fn a_labeler_works_by_touch_on_a_telephone() {
    let Some(mut browser) = Browser::start() else { return println!("skipped: no Chromium") };
    let directory = tempfile::tempdir().unwrap();
    let server = start(&project(directory.path()), 0);
    browser.screen(390, 1400, false, true);
    enter(&mut browser, &server, "cat");
    browser.value(
        "window.pressed = new Set(); addEventListener('pointerdown', e => pressed.add(e.pointerType), true); 0",
    );
    let work = |name: &str| {
        format!(
            "[...document.querySelectorAll('#works button')].find(b => b.textContent.startsWith('{name}'))"
        )
    };
    browser.press(&work("Rank"));
    browser.wait("document.querySelectorAll('.unplaced .card').length === 4");
    picture(&mut browser, "rank_begin_390_light");
    fits(&mut browser, 390);
    for (card, place) in [(0, 1), (1, 2), (2, 3), (3, 3)] {
        browser.swipe(
            &format!("document.querySelector('[data-card=\"{card}\"] .grip')"),
            &format!("document.querySelector('[data-place=\"{place}\"]')"),
        );
        browser.wait(&format!("document.querySelector('[data-place=\"{place}\"] [data-card=\"{card}\"]')"));
    }
    // What holds of the request.
    browser.press("document.querySelector('.marks summary')");
    browser.wait("document.querySelector('.marks').open");
    browser.press(&box_of("It can be read"));
    browser.scheme(true);
    picture(&mut browser, "rank_390_dark");
    fits(&mut browser, 390);
    browser.press("document.getElementById('submit')");
    browser.wait(SAVED);
    let record = said(&server, "cat").pop().unwrap();
    assert_eq!(record["marks"], json!(["ambiguous"]));
    let shown: Vec<usize> = serde_json::from_value(record["shown"].clone()).unwrap();
    assert_eq!(shown.iter().map(|&k| ranks(&record)[k]).collect::<Vec<_>>(), [1, 2, 3, 3]);
    browser.press(&work("Rate"));
    browser.wait("document.querySelector('input[name=overall]')");
    fits(&mut browser, 390);
    browser.scheme(false);
    picture(&mut browser, "rate_390_light");
    // Fingers need room.
    let small = browser.value("[...document.querySelectorAll('main button, .scale label, .checks label, header button')].filter(b => b.getBoundingClientRect().height < 40).length");
    assert_eq!(small, 0);
    browser.press(&work("Screening"));
    browser.wait("document.querySelector('input[name=sensitive]')");
    browser.press("document.querySelector('input[name=sensitive][value=false]')");
    browser.press("document.getElementById('submit')");
    browser.wait(SAVED);
    // The test ends with the question for topics.
    browser.wait("document.getElementById('f-other')");
    assert_eq!(said(&server, "cat").pop().unwrap()["answer"], json!({ "kind": "flag", "sensitive": false }));
    browser.press(&box_of("Religion"));
    fits(&mut browser, 390);
    picture(&mut browser, "topics_390_light");
    browser.press("document.getElementById('submit')");
    browser.wait("document.querySelector('main h2').textContent.includes('nothing more to do')");
    let topics = json!({ "kind": "coverage", "topics": ["religion"] });
    assert_eq!(said(&server, "cat").pop().unwrap()["answer"], topics);
    // A finger pressed all of it: there was no mouse.
    assert_eq!(browser.value("JSON.stringify([...window.pressed])"), "[\"touch\"]");
    assert!(browser.errors.is_empty(), "{:?}", browser.errors);
}
