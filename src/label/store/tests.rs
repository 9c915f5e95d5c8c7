//! What is kept is kept once, and survives.

use super::super::record::tests::{item, record};
use super::*;
use std::slice;

fn ranking() -> Answer {
    Answer::Ranking { ranks: vec![1, 2] }
}

fn in_force(store: &mut Store) -> Vec<String> {
    let mut ids = vec![];
    store.records(|record| ids.push(record.id)).unwrap();
    ids
}

#[test]
fn a_record_is_kept_once_and_survives() {
    let directory = tempfile::tempdir().unwrap();
    let rank = item(Task::Rank, 2);
    let mut store = Store::open(directory.path()).unwrap();
    assert_eq!(store.add_items(&[rank.clone(), rank.clone()]).unwrap(), 1);
    assert_eq!(store.add_items(slice::from_ref(&rank)).unwrap(), 0);
    let first = record(1, "ann", Some(&rank), ranking());
    assert_eq!(store.submit(&first, Some(&rank)).unwrap(), Submitted::New(None));
    let later = Record { time: 9, ..first.clone() };
    assert_eq!(store.submit(&later, Some(&rank)).unwrap(), Submitted::Already);
    let other = Record { notes: "n".into(), ..first.clone() };
    assert_eq!(store.submit(&other, Some(&rank)).unwrap(), Submitted::Conflict);
    let second = record(2, "ann", Some(&rank), ranking());
    assert_eq!(store.submit(&second, Some(&rank)).unwrap(), Submitted::Conflict);
    let of_bob = record(3, "bob", Some(&rank), ranking());
    assert_eq!(store.submit(&of_bob, Some(&rank)).unwrap(), Submitted::New(None));
    drop(store);
    let mut store = Store::open(directory.path()).unwrap();
    assert_eq!(in_force(&mut store), [first.id.clone(), of_bob.id]);
    assert_eq!(store.record(&first.id).unwrap(), Some(first));
    assert_eq!(store.item("i").unwrap(), Some(rank));
    assert_eq!(store.item("j").unwrap(), None);
}

#[test]
fn the_last_record_is_taken_back_once() {
    let directory = tempfile::tempdir().unwrap();
    let rank = item(Task::Rank, 2);
    let mut store = Store::open(directory.path()).unwrap();
    store.add_items(slice::from_ref(&rank)).unwrap();
    let first = record(1, "ann", Some(&rank), ranking());
    store.submit(&first, Some(&rank)).unwrap();
    let undo = |number| record(number, "ann", None, Answer::Undo { of: String::new() });
    assert_eq!(store.undo(record(7, "bob", None, Answer::Undo { of: String::new() })).unwrap(), None);
    assert_eq!(store.undo(undo(2)).unwrap(), Some(first.clone()));
    assert_eq!(store.undo(undo(2)).unwrap(), Some(first.clone()), "sent again");
    assert_eq!(store.undo(undo(3)).unwrap(), None, "there is no second one");
    assert!(in_force(&mut store).is_empty());
    let kept = store.record(&undo(2).id).unwrap().unwrap();
    assert_eq!((kept.item, kept.answer), (Some("i".into()), Answer::Undo { of: first.id }));
    let edited = record(4, "ann", Some(&rank), Answer::Ranking { ranks: vec![2, 1] });
    assert_eq!(store.submit(&edited, Some(&rank)).unwrap(), Submitted::New(None));
    assert_eq!(in_force(&mut store), [edited.id]);
}

#[test]
fn a_demonstration_of_the_screening_is_to_be_graded() {
    let directory = tempfile::tempdir().unwrap();
    let write = Item { screening: true, ..item(Task::Write, 0) };
    let mut store = Store::open(directory.path()).unwrap();
    store.add_items(slice::from_ref(&write)).unwrap();
    let answer = Answer::Demonstration { response: "r".into() };
    let written = record(1, "ann", Some(&write), answer);
    let Submitted::New(Some(grading)) = store.submit(&written, Some(&write)).unwrap() else { panic!() };
    assert_eq!((grading.responses.as_slice(), &grading.grades), (&["r".to_string()][..], &Some(written.id)));
    let mut ids = vec![];
    store.items(|item| ids.push(item.id)).unwrap();
    assert_eq!(ids, ["i".to_string(), grading.id]);
}

#[test]
fn one_process_at_a_time_and_one_token_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(directory.path()).unwrap();
    assert_eq!(store.token("a").unwrap(), "a");
    let error = Store::open(directory.path()).unwrap_err().to_string();
    assert!(error.contains("another process has it open"), "{error}");
    drop(store);
    assert_eq!(Store::open(directory.path()).unwrap().token("b").unwrap(), "a");
    std::fs::write(directory.path().join(FILE), "no database").unwrap();
    assert!(Store::open(directory.path()).is_err());
}

#[test]
fn a_database_whose_making_was_cut_off_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let unfinished = directory.path().join(UNFINISHED);
    std::fs::write(&unfinished, [7; 5000]).unwrap();
    let rank = item(Task::Rank, 2);
    Store::open(directory.path()).unwrap().add_items(slice::from_ref(&rank)).unwrap();
    assert!(!unfinished.exists());
    assert_eq!(Store::open(directory.path()).unwrap().item("i").unwrap(), Some(rank));
}
