//! The labelers' desk: the store, the queue and the settings together. What it has answered is kept.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::{Value, json};

use super::item::{Item, Task, Work};
use super::queue::{Queue, order};
use super::record::{Answer, INSTRUCTIONS, Record, is_name};
use super::settings::Settings;
use super::store::{Store, Submitted};
use crate::error::{Error, Result};

/// Why a request gets nothing.
#[derive(Debug, Clone, PartialEq)]
pub enum Refusal {
    /// It is no lawful request: what was expected.
    Wrong(String),
    /// Something else was said already: how to go on.
    Conflict(&'static str),
    /// The store failed, and nothing was kept.
    Failed(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        Refusal::Failed(error)
    }
}

/// A request to take back the last record.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Undo {
    /// 32 hexadecimal digits, as of [`Record::id`].
    pub id: String,
    /// Whose last record.
    pub labeler: String,
}

/// The store, the queue and the settings.
#[derive(Debug)]
pub struct Desk {
    /// What is kept.
    pub store: Store,
    /// Who labels what.
    pub settings: Settings,
    queue: Queue,
}

impl Desk {
    /// Opens the project of a directory.
    ///
    /// # Errors
    /// Of [`Settings::of`] and [`Store::open`].
    pub fn open(directory: &Path) -> Result<Desk> {
        let settings = Settings::of(directory)?;
        Desk::new(Store::open(directory)?, settings)
    }

    /// Of a store that is open.
    ///
    /// # Errors
    /// Those of the store.
    pub fn new(store: Store, settings: Settings) -> Result<Desk> {
        let mut desk = Desk { store, queue: Queue::new(settings.clone()), settings };
        desk.rebuild()?;
        Ok(desk)
    }

    /// Makes the queue from what is in the store. Where there is a test of new labelers, its last question is there as well.
    fn rebuild(&mut self) -> Result<()> {
        let mut queue = Queue::new(self.settings.clone());
        let mut graded = vec![];
        let (mut tested, mut asked) = (false, false);
        self.store.items(|item| {
            queue.add(&item);
            tested |= item.work() == Work::Screening;
            asked |= item.task == Task::Coverage;
            graded.extend(item.grades);
        })?;
        if tested && !asked {
            let coverage = Item::coverage();
            self.store.add_items(std::slice::from_ref(&coverage))?;
            queue.add(&coverage);
        }
        let mut in_force = std::collections::HashSet::new();
        self.store.records(|record| {
            queue.done(&record);
            in_force.insert(record.id);
        })?;
        for id in graded.into_iter().filter(|id| !in_force.contains(id)) {
            queue.withdraw(&id);
        }
        self.queue = queue;
        Ok(())
    }

    /// Adds items; how many were not there yet.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn add(&mut self, items: &[Item]) -> Result<usize> {
        let added = self.store.add_items(items)?;
        if added > 0 {
            self.rebuild()?;
        }
        Ok(added)
    }

    /// What there is to do for a labeler, by work.
    ///
    /// # Errors
    /// [`Refusal::Wrong`].
    pub fn work(&mut self, labeler: &str) -> std::result::Result<Value, Refusal> {
        named(labeler)?;
        let left = Work::ALL.map(|work| {
            let left = self.queue.left(labeler, work);
            json!({ "work": work, "open": left.open, "done": left.done })
        });
        Ok(json!({ "work": left, "instructions": INSTRUCTIONS }))
    }

    /// The labeler's next item of that work, or null.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn next(&mut self, labeler: &str, work: Work) -> std::result::Result<Value, Refusal> {
        named(labeler)?;
        let Some(id) = self.queue.next(labeler, work) else { return Ok(json!({ "item": null })) };
        match self.store.item(&id)? {
            Some(item) => Ok(json!({ "item": self.shown(&item, labeler) })),
            None => Ok(json!({ "item": null })),
        }
    }

    /// What the page may know of an item: not the gold answer, nor who asked.
    fn shown(&self, item: &Item, labeler: &str) -> Value {
        json!({ "id": item.id, "task": item.task, "work": item.work(), "prompt": item.prompt,
            "responses": item.responses, "use_case": item.use_case, "grade": item.grades.is_some(),
            "shown": order(self.settings.seed, item, labeler) })
    }

    /// Keeps a record. When this returns, it is on the disk.
    ///
    /// # Errors
    /// [`Refusal`]; then nothing is kept.
    pub fn submit(&mut self, mut record: Record) -> std::result::Result<Value, Refusal> {
        let item = match &record.item {
            None => None,
            Some(id) => match self.store.item(id)? {
                None => return Err(Refusal::Wrong("an item of this project".into())),
                item => item,
            },
        };
        if let Some(expected) = record.wrong(item.as_ref()) {
            return Err(Refusal::Wrong(expected));
        }
        if item.as_ref().is_some_and(|item| item.grades.is_some())
            && !self.settings.graders.contains(&record.labeler)
        {
            return Err(Refusal::Wrong("a grader's name (graders in label.toml)".into()));
        }
        record.time = now();
        match self.store.submit(&record, item.as_ref())? {
            Submitted::Conflict => {
                Err(Refusal::Conflict("you have answered this item already, perhaps in another tab"))
            }
            Submitted::Already => Ok(json!({ "saved": record.id })),
            Submitted::New(grading) => {
                self.queue.done(&record);
                grading.iter().for_each(|item| self.queue.add(item));
                Ok(json!({ "saved": record.id }))
            }
        }
    }

    /// Takes back the labeler's last record, and gives it with its item, to be edited.
    ///
    /// # Errors
    /// [`Refusal`]; then nothing is changed.
    pub fn undo(&mut self, undo: Undo) -> std::result::Result<Value, Refusal> {
        let record = Record {
            id: undo.id,
            labeler: undo.labeler,
            item: None,
            instructions: INSTRUCTIONS,
            shown: vec![],
            seconds: 0.0,
            time: now(),
            notes: String::new(),
            marks: None,
            flagged: false,
            answer: Answer::Undo { of: String::new() },
        };
        if let Some(expected) = record.wrong_frame(0) {
            return Err(Refusal::Wrong(expected));
        }
        let labeler = record.labeler.clone();
        let Some(undone) = self.store.undo(record)? else {
            return Err(Refusal::Conflict("there is nothing to take back: only the last submission can be"));
        };
        self.queue.undone(&undone);
        let item = match &undone.item {
            Some(id) => self.store.item(id)?.map(|item| self.shown(&item, &labeler)),
            None => None,
        };
        Ok(json!({ "record": undone, "item": item }))
    }
}

fn named(labeler: &str) -> std::result::Result<(), Refusal> {
    match is_name(labeler) {
        true => Ok(()),
        false => Err(Refusal::Wrong("a labeler's name of 1 to 64 characters".into())),
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::{item, record};
    use super::*;

    fn desk(items: &[Item]) -> (tempfile::TempDir, Desk) {
        let directory = tempfile::tempdir().unwrap();
        let mut desk = Desk::open(directory.path()).unwrap();
        assert_eq!(desk.add(items).unwrap(), items.len());
        (directory, desk)
    }

    #[test]
    fn a_session_of_one_labeler() {
        let rank = item(Task::Rank, 2);
        let (directory, mut desk) = desk(std::slice::from_ref(&rank));
        let next = desk.next("ann", Work::Rank).unwrap();
        assert_eq!(next["item"]["id"], "i");
        assert!(next["item"].get("gold").is_none() && next["item"].get("fields").is_none());
        let said = record(1, "ann", Some(&rank), Answer::Ranking { ranks: vec![1, 1] });
        assert_eq!(desk.submit(said.clone()).unwrap()["saved"], said.id);
        assert_eq!(desk.next("ann", Work::Rank).unwrap()["item"], Value::Null);
        // The same after a restart.
        drop(desk);
        let mut desk = Desk::open(directory.path()).unwrap();
        assert_eq!(desk.next("ann", Work::Rank).unwrap()["item"], Value::Null);
        assert_eq!(desk.work("ann").unwrap()["work"][2], json!({ "work": "rank", "open": 0, "done": 1 }));
        let undone = desk.undo(Undo { id: format!("{:032x}", 2), labeler: "ann".into() }).unwrap();
        assert_eq!((&undone["record"]["id"], &undone["item"]["id"]), (&json!(said.id), &json!("i")));
        assert_eq!(desk.next("ann", Work::Rank).unwrap()["item"]["id"], "i");
        let again = desk.undo(Undo { id: format!("{:032x}", 3), labeler: "ann".into() });
        assert!(matches!(again, Err(Refusal::Conflict(_))));
        let nobody = desk.undo(Undo { id: format!("{:032x}", 4), labeler: String::new() });
        assert!(matches!(nobody, Err(Refusal::Wrong(_))));
    }

    #[test]
    fn a_grade_is_asked_for_only_while_its_demonstration_stands() {
        let write = Item { screening: true, ..item(Task::Write, 0) };
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("label.toml"), "graders = [\"eve\"]").unwrap();
        let mut desk = Desk::open(directory.path()).unwrap();
        desk.add(std::slice::from_ref(&write)).unwrap();
        let answer = Answer::Demonstration { response: "r".into() };
        desk.submit(record(1, "ann", Some(&write), answer.clone())).unwrap();
        let asked = desk.next("eve", Work::Grade).unwrap();
        assert_eq!((&asked["item"]["responses"][0], &asked["item"]["grade"]), (&json!("r"), &json!(true)));
        let id = asked["item"]["id"].as_str().unwrap().to_string();
        let mut grade = record(5, "bob", None, Answer::Rating { overall: 6, questions: Default::default() });
        (grade.item, grade.shown) = (Some(id), vec![0]);
        assert!(matches!(desk.submit(grade.clone()), Err(Refusal::Wrong(words)) if words.contains("grader")));
        desk.undo(Undo { id: format!("{:032x}", 2), labeler: "ann".into() }).unwrap();
        assert_eq!(desk.next("eve", Work::Grade).unwrap()["item"], Value::Null);
        drop(desk);
        let mut desk = Desk::open(directory.path()).unwrap();
        assert_eq!(desk.next("eve", Work::Grade).unwrap()["item"], Value::Null);
        desk.submit(record(3, "ann", Some(&write), answer)).unwrap();
        assert_ne!(desk.next("eve", Work::Grade).unwrap()["item"], Value::Null);
        grade.labeler = "eve".into();
        grade.item = Some(desk.next("eve", Work::Grade).unwrap()["item"]["id"].as_str().unwrap().into());
        desk.submit(grade).unwrap();
        assert_eq!(desk.next("eve", Work::Grade).unwrap()["item"], Value::Null);
    }

    #[test]
    fn the_test_ends_with_the_question_for_topics() {
        let flag = Item { screening: true, ..item(Task::Flag, 1) };
        let (directory, mut desk) = desk(&[item(Task::Rank, 2)]);
        let first = |desk: &mut Desk| desk.next("ann", Work::Screening).unwrap()["item"].clone();
        assert_eq!(first(&mut desk), Value::Null, "without a test nobody is asked");
        desk.add(&[Item { id: "f".into(), ..flag.clone() }]).unwrap();
        desk.add(&[Item { id: "g".into(), ..flag.clone() }]).unwrap();
        for (number, id) in [(1, "f"), (2, "g")] {
            assert_eq!(first(&mut desk)["id"], id, "what was added later comes before it, too");
            let flagged = Item { id: id.into(), ..flag.clone() };
            desk.submit(record(number, "ann", Some(&flagged), Answer::Flag { sensitive: true })).unwrap();
        }
        drop(desk);
        let mut desk = Desk::open(directory.path()).unwrap();
        assert_eq!(first(&mut desk)["task"], "coverage");
        let topics = ["religion".to_string()].into();
        let said = Answer::Coverage { topics, other: "dialects".into() };
        desk.submit(record(3, "ann", Some(&Item::coverage()), said)).unwrap();
        assert_eq!(first(&mut desk), Value::Null);
    }

    #[test]
    fn an_unknown_item_and_a_wrong_answer_are_refused() {
        let rank = item(Task::Rank, 2);
        let (_directory, mut desk) = desk(std::slice::from_ref(&rank));
        let stranger = Item { id: "x".into(), ..rank.clone() };
        let said = record(1, "ann", Some(&stranger), Answer::Ranking { ranks: vec![1, 1] });
        assert!(matches!(desk.submit(said), Err(Refusal::Wrong(words)) if words.contains("project")));
        let said = record(1, "ann", Some(&rank), Answer::Ranking { ranks: vec![1] });
        assert!(matches!(desk.submit(said), Err(Refusal::Wrong(words)) if words.contains("2 ranks")));
        assert!(desk.next("", Work::Rank).is_err() && desk.work(" ").is_err());
    }
}
