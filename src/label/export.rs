//! Out as JSON Lines that `run` reads, and in again. `records.jsonl` holds everything; the other files hold what trains:
//! no gold items, no screening, no skips, and no held-out labelers, whose files are in a folder of their own.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::item::Item;
use super::record::{Answer, Pair, Record};
use super::settings::Settings;
use super::store::{Store, Submitted};
use crate::checkpoint::atomic::write_atomic;
use crate::data::Source;
use crate::data::fields::Records;
use crate::error::{Error, Result};

/// The folder of held-out labelers.
pub const HELD_OUT: &str = "held_out";

/// A kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Export {
    /// `{"prompt", "response"}`: `data.demonstrations` of a run.
    Demonstrations,
    /// `{"prompt", "responses", "ranks"}`: `data.comparisons` of a run.
    Comparisons,
    /// `{"prompt", "rated_response", "rating", "questions"}`.
    Ratings,
    /// Items and records as they are kept, for [`import`].
    Records,
}

impl Export {
    /// All of them.
    pub const ALL: [Export; 4] =
        [Export::Demonstrations, Export::Comparisons, Export::Ratings, Export::Records];

    /// The file's name.
    pub fn file(self) -> &'static str {
        match self {
            Export::Demonstrations => "demonstrations.jsonl",
            Export::Comparisons => "comparisons.jsonl",
            Export::Ratings => "ratings.jsonl",
            Export::Records => "records.jsonl",
        }
    }
}

/// The lines of a file: of the labelers whose data train, or of those that are held out. ([`Export::Records`] has both.)
///
/// # Errors
/// [`Error::Io`], [`Error::Format`].
pub fn lines(store: &mut Store, settings: &Settings, kind: Export, held_out: bool) -> Result<String> {
    let (mut items, mut lines) = (HashMap::new(), String::new());
    store.items(|item| drop(items.insert(item.id.clone(), item)))?;
    if kind == Export::Records {
        store.items(|item| lines += &format!("{}\n", json!({ "item": item })))?;
        store.records(|record| lines += &format!("{}\n", json!({ "record": record })))?;
        return Ok(lines);
    }
    store.records(|record| {
        let item = record.item.as_ref().and_then(|id| items.get(id));
        let trains = item.is_none_or(Item::trains);
        if trains && settings.held_out.contains(&record.labeler) == held_out {
            said(kind, &record, item)
                .into_iter()
                .for_each(|line| lines += &format!("{}\n", Value::Object(line)));
        }
    })?;
    Ok(lines)
}

/// The lines of a record in a file, none if it is of another kind.
fn said(kind: Export, record: &Record, item: Option<&Item>) -> Vec<Map<String, Value>> {
    let line = |fields: Value| {
        // What the item's record said of the prompt, then what the labeler said.
        let mut line = item.map(|item| item.fields.clone()).unwrap_or_default();
        let about = json!({ "id": record.id, "labeler": record.labeler, "seconds": record.seconds,
            "time": record.time, "instructions": record.instructions });
        for fields in [about, fields] {
            line.extend(fields.as_object().cloned().unwrap_or_default());
        }
        if let Some(marks) = &record.marks {
            line.insert("marks".into(), json!(marks));
        }
        for (name, there) in [("notes", !record.notes.is_empty()), ("flagged", record.flagged)] {
            if there {
                line.insert(name.into(), if name == "notes" { json!(record.notes) } else { json!(true) });
            }
        }
        line
    };
    match (kind, &record.answer, item) {
        (Export::Demonstrations, Answer::Demonstration { response }, Some(item)) => {
            let name = if item.fields.contains_key("prompt") { "response" } else { "output" };
            vec![line(json!({ name: response }))]
        }
        (Export::Demonstrations, Answer::Plain { prompt, response }, _) => {
            let mut line = line(json!({ "prompt": prompt, "response": response }));
            if let Some(use_case) = item.and_then(|item| item.use_case.as_ref()) {
                line.insert("use_case".into(), json!(use_case));
            }
            vec![line]
        }
        (Export::Demonstrations, Answer::FewShot { instruction, pairs }, _) => {
            let prompts = (0..pairs.len()).map(|i| (few_shot(instruction, pairs, i), &pairs[i].response));
            prompts
                .map(|(prompt, response)| line(json!({ "prompt": prompt, "response": response })))
                .collect()
        }
        (Export::Comparisons, Answer::Ranking { ranks }, Some(item)) => {
            vec![line(json!({ "responses": item.responses, "ranks": ranks, "shown": record.shown }))]
        }
        (Export::Ratings, Answer::Rating { overall, questions }, Some(item)) => {
            // Not "response": a bad answer must not pass for a demonstration.
            vec![line(
                json!({ "rated_response": item.responses[0], "rating": overall, "questions": questions }),
            )]
        }
        _ => vec![],
    }
}

/// The prompt that asks for pair `asked`'s response: the instruction, the other pairs, the query (appendix A.1: of K pairs
/// each is trained on with the others before it).
fn few_shot(instruction: &str, pairs: &[Pair], asked: usize) -> String {
    let others = pairs.iter().enumerate().filter(|(i, _)| *i != asked);
    let others: String = others.map(|(_, pair)| format!("{}\n{}\n\n", pair.query, pair.response)).collect();
    format!("{instruction}\n\n{others}{}\n", pairs[asked].query)
}

/// Writes all files into a directory, and says of each where it is and how many lines it has.
///
/// # Errors
/// [`Error::Io`], [`Error::Format`].
pub fn write(store: &mut Store, settings: &Settings, directory: &Path) -> Result<Vec<(PathBuf, usize)>> {
    let made = |path: &Path| {
        std::fs::create_dir_all(path).map_err(|error| Error::io(path.display(), "create", error))
    };
    made(directory)?;
    let mut written = vec![];
    let mut put = |kind: Export, folder: &Path, held_out: bool| {
        let (path, lines) = (folder.join(kind.file()), lines(store, settings, kind, held_out)?);
        write_atomic(&path, |file| file.write_all(lines.as_bytes()))?;
        written.push((path, lines.lines().count()));
        Ok(())
    };
    Export::ALL.into_iter().try_for_each(|kind| put(kind, directory, false))?;
    if !settings.held_out.is_empty() {
        let folder = directory.join(HELD_OUT);
        made(&folder)?;
        Export::ALL[..3].iter().try_for_each(|kind| put(*kind, &folder, true))?;
    }
    Ok(written)
}

/// What an import has added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Imported {
    /// New items.
    pub items: usize,
    /// New records.
    pub records: usize,
    /// Records that were there.
    pub known: usize,
    /// Records of a labeler who has said something else about the item here.
    pub conflicts: usize,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    Item(Item),
    Record(Record),
}

/// Takes in a `records.jsonl`, what is there already once. All of it is looked at before anything is kept.
///
/// # Errors
/// [`Error::Io`]; [`Error::Format`] with its line for what is no such file.
pub fn import(store: &mut Store, source: Source) -> Result<Imported> {
    let (mut records, mut items, mut said) = (Records::new(source), HashMap::new(), vec![]);
    let mut order = vec![];
    while let Some(line) = records.read()? {
        let wrong = |expected: &str, found: &dyn ToString| {
            let hint = "`label export` writes such a file, records.jsonl";
            Error::format(line.origin(), line.at(), expected, found.to_string(), hint)
        };
        match serde_json::from_value(line.value()) {
            Err(error) => return Err(wrong("an item or a record", &error)),
            Ok(Line::Item(item)) if !item.is_whole() => {
                return Err(wrong("the item that its id was made of", &"another"));
            }
            Ok(Line::Item(item)) => {
                order.push(item.clone());
                items.insert(item.id.clone(), item);
            }
            Ok(Line::Record(record)) => {
                let item = match &record.item {
                    None => None,
                    Some(id) if items.contains_key(id) => items.get(id).cloned(),
                    Some(id) => match store.item(id)? {
                        None => return Err(wrong("its item in an earlier line", id)),
                        item => item,
                    },
                };
                if let Some(expected) = record.wrong(item.as_ref()) {
                    return Err(wrong(&expected, &"something else"));
                }
                said.push((record, item));
            }
        }
    }
    let mut imported = Imported { items: store.add_items(&order)?, ..Imported::default() };
    for (record, item) in said {
        match store.submit(&record, item.as_ref())? {
            Submitted::New(_) => imported.records += 1,
            Submitted::Already => imported.known += 1,
            Submitted::Conflict => imported.conflicts += 1,
        }
    }
    Ok(imported)
}

#[cfg(test)]
mod tests {
    use super::super::item::{Task, load_items};
    use super::super::record::tests::record;
    use super::*;
    use crate::data::{PromptForms, load_comparisons, load_demonstrations};

    const ITEMS: &str = r#"{"prompt":"write","user":"u"}
{"instruction":"do","input":"this"}
{"use_case":"chat"}
{"prompt":"rate","response":"r"}
{"prompt":"rank","responses":["a","b","c"],"user":7,"prompt_tokens":[1],"response_tokens":[[2],[3],[4]],"set":"test"}
{"prompt":"gold","responses":["a","b"],"gold":{"ranks":[1,2]}}
{"prompt":"test","response":"a","gold":{"sensitive":true}}
"#;

    fn ask(text: &str) -> Answer {
        Answer::Demonstration { response: text.into() }
    }

    /// A project in which ann answered everything, bob two items.
    fn project() -> (tempfile::TempDir, Store, Settings) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("items.jsonl");
        std::fs::write(&path, ITEMS).unwrap();
        let items = load_items(&path).unwrap().items;
        let mut store = Store::open(directory.path()).unwrap();
        store.add_items(&items).unwrap();
        let questions = super::super::record::QUESTIONS.map(|name| (name.to_string(), true)).into();
        let plain = Answer::Plain { prompt: "mine".into(), response: "own".into() };
        let pairs = ["1", "2"].map(|n| Pair { query: format!("q{n}"), response: format!("r{n}") }).to_vec();
        let ranking = |ranks: &[u32]| Answer::Ranking { ranks: ranks.to_vec() };
        let said = [
            ("ann", Some(0), ask("written")),
            ("ann", Some(1), ask("done")),
            ("ann", Some(2), plain.clone()),
            ("ann", Some(3), Answer::Rating { overall: 6, questions }),
            ("ann", Some(4), ranking(&[2, 1, 1])),
            ("ann", Some(5), ranking(&[2, 1])),
            ("ann", Some(6), Answer::Flag { sensitive: true }),
            ("ann", None, Answer::FewShot { instruction: "turn".into(), pairs }),
            ("bob", Some(4), ranking(&[1, 2, 3])),
            ("bob", Some(3), Answer::Skip { reason: "unclear".into() }),
        ];
        for (number, (labeler, item, answer)) in (1..).zip(said) {
            let item = item.map(|item: usize| &items[item]);
            let mut record = record(number, labeler, item, answer);
            record.marks = (number == 1).then(|| ["ambiguous".to_string()].into());
            assert_eq!(record.wrong(item), None, "{record:?}");
            assert_eq!(store.submit(&record, item).unwrap(), Submitted::New(None));
        }
        let settings = Settings { held_out: ["bob".to_string()].into(), ..Settings::default() };
        (directory, store, settings)
    }

    #[test]
    fn a_run_reads_what_is_exported() {
        let (directory, mut store, settings) = project();
        let out = directory.path().join("out");
        let written = write(&mut store, &settings, &out).unwrap();
        let counts: Vec<usize> = written.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [5, 1, 1, 17, 0, 1, 0]);
        let forms = PromptForms::default();
        let demonstrations = load_demonstrations(&out.join("demonstrations.jsonl"), &forms).unwrap().records;
        let pairs: Vec<_> = demonstrations.iter().map(|d| (d.prompt.as_str(), d.response.as_str())).collect();
        let instruction = "### Instruction:\ndo\n\n### Input:\nthis\n\n### Response:\n";
        assert_eq!(
            pairs,
            [
                ("write", "written"),
                (instruction, "done"),
                ("mine", "own"),
                ("turn\n\nq2\nr2\n\nq1\n", "r1"),
                ("turn\n\nq1\nr1\n\nq2\n", "r2"),
            ]
        );
        assert_eq!(
            (demonstrations[0].user.as_deref(), demonstrations[0].labeler.as_deref()),
            (Some("u"), Some("ann"))
        );
        let marks: Vec<bool> =
            demonstrations.iter().map(|d| d.tags.marks.is_some_and(|m| m.has(0))).collect();
        assert_eq!(marks, [true, false, false, false, false]);
        for (folder, labeler, ranks) in
            [(out.clone(), "ann", [2, 1, 1]), (out.join(HELD_OUT), "bob", [1, 2, 3])]
        {
            let read = load_comparisons(&folder.join("comparisons.jsonl"), &forms).unwrap().records;
            assert_eq!((read[0].labeler.as_deref(), &read[0].ranks[..]), (Some(labeler), &ranks[..]));
            assert_eq!((read.len(), read[0].responses.len(), read[0].user.as_deref()), (1, 3, Some("7")));
            assert_eq!(read[0].tokens.as_ref().unwrap().responses, [[2], [3], [4]]);
            assert_eq!(read[0].side.unwrap().name(), "test");
        }
        let ratings = lines(&mut store, &settings, Export::Ratings, false).unwrap();
        let rating: Value = serde_json::from_str(&ratings).unwrap();
        assert_eq!(
            (&rating["prompt"], &rating["rated_response"], &rating["rating"]),
            (&json!("rate"), &json!("r"), &json!(6))
        );
        assert_eq!(rating["questions"]["hallucination"], true);
    }

    #[test]
    fn an_export_goes_into_another_project_once() {
        let (directory, mut store, settings) = project();
        let file = directory.path().join("records.jsonl");
        let text = lines(&mut store, &settings, Export::Records, false).unwrap();
        std::fs::write(&file, &text).unwrap();
        let known = Imported { known: 10, ..Imported::default() };
        assert_eq!(import(&mut store, Source::open(&file).unwrap()).unwrap(), known);
        let other = tempfile::tempdir().unwrap();
        let mut copy = Store::open(other.path()).unwrap();
        let all = Imported { items: 7, records: 10, ..Imported::default() };
        assert_eq!(import(&mut copy, Source::open(&file).unwrap()).unwrap(), all);
        assert_eq!(import(&mut copy, Source::open(&file).unwrap()).unwrap(), known);
        assert_eq!(lines(&mut copy, &settings, Export::Records, false).unwrap(), text);
    }

    #[test]
    fn a_file_that_is_none_is_refused_before_anything_is_kept() {
        let (directory, mut store, settings) = project();
        let text = lines(&mut store, &settings, Export::Records, false).unwrap();
        let file = directory.path().join("records.jsonl");
        for (from, to, words) in [
            ("\"prompt\":\"write\"", "\"prompt\":\"other\"", "line 1"),
            ("\"ranks\":[2,1,1]", "\"ranks\":[2,1,9]", "ranks from 1"),
            ("{\"record\":", "{\"note\":", "an item or a record"),
            ("\"seconds\":1.5", "\"secs\":1.5", "an item or a record"),
        ] {
            let other = tempfile::tempdir().unwrap();
            let mut empty = Store::open(other.path()).unwrap();
            assert!(text.contains(from));
            std::fs::write(&file, text.replace(from, to)).unwrap();
            let error = import(&mut empty, Source::open(&file).unwrap()).expect_err(words).to_string();
            assert!(error.contains(words), "{error}");
            empty.items(|item| panic!("{item:?} was kept")).unwrap();
        }
        std::fs::write(&file, text.lines().last().unwrap()).unwrap();
        let other = tempfile::tempdir().unwrap();
        let error = import(&mut Store::open(other.path()).unwrap(), Source::open(&file).unwrap())
            .unwrap_err()
            .to_string();
        assert!(error.contains("its item in an earlier line"), "{error}");
        assert_eq!(Task::Rank, store.item(&read_rank(&text)).unwrap().unwrap().task);
    }

    fn read_rank(text: &str) -> String {
        let line = text.lines().find(|line| line.contains("prompt_tokens")).unwrap();
        let line: Value = serde_json::from_str(line).unwrap();
        line["item"]["id"].as_str().unwrap().to_string()
    }
}
