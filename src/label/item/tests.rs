//! What records ask, and which are refused.

use super::*;
use proptest::prelude::*;

fn read(text: &str) -> Result<Items> {
    read_items(Source::from_bytes("x", text.as_bytes())?)
}

const VALID: &str = r#"{"prompt":"p","user":7}
{"instruction":"i","input":"n"}
{"use_case":"brainstorming"}
{"prompt":"p","response":"r"}
{"prompt":"p","response":"r","gold":{"sensitive":false}}
{"prompt":"p","responses":["a","b","c","d"],"ranks":[1,1,2,3]}
{"prompt":"p","responses":["a","b"],"screening":true,"gold":{"ranks":[2,1]}}
{"prompt":" "}
{"prompt":"p","response":"r"}"#;

#[test]
fn a_record_says_what_is_asked() {
    let read = read(VALID).unwrap();
    let asked: Vec<_> = read.items.iter().map(|item| (item.task, item.work(), item.trains())).collect();
    assert_eq!(
        asked,
        [
            (Task::Write, Work::Write, true),
            (Task::Write, Work::Write, true),
            (Task::Write, Work::Write, true),
            (Task::Rate, Work::Rate, true),
            (Task::Flag, Work::Screening, false),
            (Task::Rank, Work::Rank, true),
            (Task::Rank, Work::Screening, false),
        ]
    );
    assert_eq!(read.items[1].prompt, "i\n\nn");
    assert_eq!(read.items[6].gold, Some(Answer::Ranking { ranks: vec![2, 1] }));
    let ids: HashSet<_> = read.items.iter().map(|item| &item.id).collect();
    assert_eq!((ids.len(), read.items[0].id.len()), (7, 32));
    let notes = read.notes.join("\n");
    assert!(notes.contains("1 records left out: empty prompt") && notes.contains("the same"), "{notes}");
    assert!(notes.contains("1 records have ranks"), "{notes}");
}

#[test]
fn wrong_records_are_refused_by_name() {
    for (line, words) in [
        (r#"{"text":"p"}"#, "\"prompt\""),
        (r#"{"prompt":7}"#, "a string"),
        (r#"{"prompt":"p","responses":["a"]}"#, "2 to 9 responses"),
        (r#"{"prompt":"p","responses":["a","b",7]}"#, "strings"),
        (r#"{"prompt":"p","response":"a","responses":["a","b"]}"#, "either"),
        (r#"{"use_case":"u","response":"a"}"#, "without a response"),
        (r#"{"prompt":"p","response":"a","gold":{"ranks":[1]}}"#, "\"sensitive\""),
        (r#"{"prompt":"p","response":"a","gold":{"rating":8}}"#, "1 to 7"),
        (r#"{"prompt":"p","responses":["a","b"],"gold":{"ranks":[1,-1]}}"#, "from 1"),
        (r#"{"prompt":"p","responses":["a","b"],"gold":{"ranks":[1]}}"#, "2 ranks"),
        (r#"{"prompt":"p","screening":"yes"}"#, "true or false"),
        (r#"{"prompt":"p","user":[1]}"#, "a number"),
        ("", "records to label"),
    ] {
        let error = read(line).expect_err(line).to_string();
        assert!(error.contains(words), "{line}: {error}");
    }
}

#[test]
fn a_graded_demonstration_is_an_item_of_its_own() {
    let item = &read(r#"{"prompt":"p","screening":true}"#).unwrap().items[0];
    let [a, b] = ["1", "2"].map(|record| item.grading(record, "r"));
    assert_eq!((a.work(), a.trains(), a.responses.len()), (Work::Grade, false, 1));
    assert!(a.id != b.id && a.id != item.id);
}

proptest! {
    #[test]
    fn mutated_files_never_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = VALID.as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(source) = Source::from_bytes("x", &bytes) {
            let _ = read_items(source);
        }
    }
}
