//! What a labeler is given: a prompt to write for, a response to rate or to flag, or responses to rank.
//!
//! Items come as JSON Lines or a JSON array, and what a record holds says what is asked:
//!
//! | record | work |
//! |---|---|
//! | `{"prompt"}` or `{"instruction", "input"}` | write a demonstration |
//! | `{"use_case"}` | write a prompt of that kind and a demonstration ("user-based", appendix A.1) |
//! | a prompt and `"response"` | rate it from 1 to 7, with the questions of Table 3 |
//! | a prompt, `"response"` and `"gold": {"sensitive": true or false}` | say whether it is sensitive (screening, B.1) |
//! | a prompt and `"responses"`, 2 to 9 (the paper has 4 to 9) | rank them |
//!
//! `"gold"` holds the answer of somebody who knows: `{"sensitive"}`, `{"rating"}` or `{"ranks"}`. A gold item is given to
//! everybody and trains nothing. `"screening": true` puts an item into the test of new labelers, at whose end is
//! [`Item::coverage`].

use std::collections::HashSet;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::record::Answer;
use crate::data::Source;
use crate::data::fields::{Fields, Records};
use crate::error::Result;
use crate::num::sha256::sha256;

/// Most responses in a ranking (section 3.5).
pub const MAX_RANKED: usize = 9;

/// What is asked about an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Write a demonstration.
    Write,
    /// Rate a response.
    Rate,
    /// Rank responses.
    Rank,
    /// Say whether a response is sensitive.
    Flag,
    /// Say for which topics one can tell sensitive speech.
    Coverage,
}

/// What a labeler works through; each has a queue of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Demonstrations.
    Write,
    /// Ratings.
    Rate,
    /// Rankings.
    Rank,
    /// The test of new labelers, whatever its items ask.
    Screening,
    /// Demonstrations of that test, to be graded.
    Grade,
}

impl Work {
    /// All of them, in the order of the page.
    pub const ALL: [Work; 5] = [Work::Write, Work::Rate, Work::Rank, Work::Screening, Work::Grade];

    /// The name, as in addresses and files.
    pub fn name(self) -> &'static str {
        match self {
            Work::Write => "write",
            Work::Rate => "rate",
            Work::Rank => "rank",
            Work::Screening => "screening",
            Work::Grade => "grade",
        }
    }

    /// The work of that name.
    pub fn named(name: &str) -> Option<Work> {
        Work::ALL.into_iter().find(|work| work.name() == name)
    }
}

/// One thing to label.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// 32 hexadecimal digits of its content's hash: the same item in two files is one.
    pub id: String,
    /// What is asked.
    pub task: Task,
    /// What the labeler reads; empty for a use-case.
    pub prompt: String,
    /// What is rated, flagged or ranked, in the file's order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub responses: Vec<String>,
    /// The kind of prompt to write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_case: Option<String>,
    /// Whether it belongs to the test of new labelers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub screening: bool,
    /// The answer of somebody who knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gold: Option<Answer>,
    /// The record of the demonstration that is to be graded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grades: Option<String>,
    /// Fields of the record that go into every export of it: the prompt as it stood, its user, tokens and side.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub fields: Map<String, Value>,
}

/// The field that names who wrote each response.
pub const MODELS: &str = "models";

/// The fields that an item keeps for its export.
const KEPT: [&str; 8] =
    ["prompt", "instruction", "input", "user", "set", "prompt_tokens", "response_tokens", MODELS];

impl Item {
    /// In which queue it stands.
    pub fn work(&self) -> Work {
        match self.task {
            _ if self.grades.is_some() => Work::Grade,
            _ if self.screening => Work::Screening,
            Task::Write => Work::Write,
            Task::Rate => Work::Rate,
            Task::Rank => Work::Rank,
            Task::Flag | Task::Coverage => Work::Screening,
        }
    }

    /// The last question of the test of new labelers (B.1): for which topics they can tell sensitive speech.
    pub fn coverage() -> Item {
        let mut item = Item {
            id: String::new(),
            task: Task::Coverage,
            prompt: String::new(),
            responses: vec![],
            use_case: None,
            screening: true,
            gold: None,
            grades: None,
            fields: Map::new(),
        };
        item.id = item.hash();
        item
    }

    /// Whether what is said about it may train a model.
    pub fn trains(&self) -> bool {
        self.gold.is_none() && matches!(self.work(), Work::Write | Work::Rate | Work::Rank)
    }

    /// The demonstration of a labeler in the test, to be graded from 1 to 7 (B.1).
    pub fn grading(&self, record: &str, response: &str) -> Item {
        let mut item = Item {
            task: Task::Rate,
            responses: vec![response.to_string()],
            grades: Some(record.to_string()),
            ..self.clone()
        };
        (item.gold, item.screening) = (None, false);
        item.id = item.hash();
        item
    }

    /// The item that asks about responses to this one's prompt; `more` goes into its exports.
    pub fn answered(&self, responses: Vec<String>, more: Map<String, Value>) -> Item {
        let task = if responses.len() == 1 { Task::Rate } else { Task::Rank };
        let mut item = Item { task, responses, ..self.clone() };
        item.fields.extend(more);
        item.id = item.hash();
        item
    }

    /// Whether its id is that of its content.
    pub fn is_whole(&self) -> bool {
        self.id == self.hash()
    }

    fn hash(&self) -> String {
        // The user and the tokens belong to the item as well: what is exported has to be what was labelled.
        let content = json!([
            self.task,
            self.prompt,
            self.responses,
            self.use_case,
            self.screening,
            self.gold,
            self.grades,
            self.fields
        ]);
        sha256(content.to_string().as_bytes())[..32].to_string()
    }

    /// A record of a file; `None` where its prompt is empty.
    ///
    /// # Errors
    /// [`crate::Error::Format`] with line and field.
    pub fn read(record: &Fields) -> Result<Option<Item>> {
        let use_case = record.text("use_case")?.map(str::to_string);
        let prompt = match (record.text("prompt")?, record.text("instruction")?) {
            (Some(prompt), _) => prompt.to_string(),
            (None, Some(instruction)) => match record.text("input")?.unwrap_or_default() {
                "" => instruction.to_string(),
                input => format!("{instruction}\n\n{input}"),
            },
            (None, None) if use_case.is_some() => String::new(),
            (None, None) => return Err(record.unknown("a field \"prompt\", \"instruction\" or \"use_case\"")),
        };
        if prompt.trim().is_empty() && use_case.as_deref().unwrap_or_default().trim().is_empty() {
            return Ok(None);
        }
        let responses = match (record.text("response")?, record.has("responses")) {
            (Some(response), false) => vec![response.to_string()],
            (None, true) => record.required_texts("responses")?,
            (None, false) => vec![],
            (Some(_), true) => return Err(record.unknown("either \"response\" or \"responses\"")),
        };
        if record.has("responses") && !(2..=MAX_RANKED).contains(&responses.len()) {
            return Err(record.error("responses", format!("2 to {MAX_RANKED} responses"), responses.len()));
        }
        if use_case.is_some() && !responses.is_empty() {
            return Err(record.unknown("\"use_case\" without a response"));
        }
        record.person("user")?;
        let gold = gold(record, responses.len())?;
        let task = match (responses.len(), &gold) {
            (0, _) => Task::Write,
            (1, Some(Answer::Flag { .. })) => Task::Flag,
            (1, _) => Task::Rate,
            _ => Task::Rank,
        };
        let screening = match record.get("screening") {
            None => false,
            Some(Value::Bool(screening)) => *screening,
            Some(other) => return Err(record.error("screening", "true or false", other)),
        };
        let kept = KEPT.iter().filter_map(|name| Some((name.to_string(), record.get(name)?.clone())));
        let fields = kept.collect();
        let mut item = Item {
            id: String::new(),
            task,
            prompt,
            responses,
            use_case,
            screening,
            gold,
            grades: None,
            fields,
        };
        item.id = item.hash();
        Ok(Some(item))
    }
}

/// The field `"gold"`, where it is there, for so many responses.
fn gold(record: &Fields, responses: usize) -> Result<Option<Answer>> {
    if !record.has("gold") {
        return Ok(None);
    }
    let gold = record.required_object("gold")?;
    let answer = match (responses, gold.get("sensitive"), gold.has("rating"), gold.has("ranks")) {
        (1, Some(Value::Bool(sensitive)), false, false) => Answer::Flag { sensitive: *sensitive },
        (1, None, true, false) => {
            let overall = gold.whole_number("rating")?.try_into().unwrap_or(0);
            Answer::Rating { overall, questions: Default::default() }
        }
        (2.., None, false, true) => {
            let rank = |value: &Value| value.as_u64().and_then(|rank| u32::try_from(rank).ok()).unwrap_or(0);
            Answer::Ranking { ranks: gold.required_array("ranks")?.iter().map(rank).collect() }
        }
        _ => {
            let expected =
                "\"sensitive\" (true or false) or \"rating\" of a \"response\", \"ranks\" of \"responses\"";
            return Err(gold.unknown(expected));
        }
    };
    match answer.wrong(responses) {
        None => Ok(Some(answer)),
        Some(expected) => Err(record.error("gold", expected, gold.value())),
    }
}

/// The items of a file.
#[derive(Debug, Default)]
pub struct Items {
    /// In the file's order, each once.
    pub items: Vec<Item>,
    /// What was left out or is not used, in words.
    pub notes: Vec<String>,
}

/// Loads the items of a file.
///
/// # Errors
/// Of [`Source::open`]; [`crate::Error::Format`] with line and field; a file without any item.
pub fn load_items(path: &Path) -> Result<Items> {
    read_items(Source::open(path)?)
}

/// [`load_items`] from any source.
///
/// # Errors
/// As [`load_items`].
pub fn read_items(source: Source) -> Result<Items> {
    let origin = source.origin().to_string();
    let (mut records, mut read, mut seen) = (Records::new(source), Items::default(), HashSet::new());
    let (mut empty, mut repeated, mut ranked) = (0, 0, 0);
    while let Some(record) = records.read()? {
        match Item::read(&record)? {
            None => empty += 1,
            Some(item) if !seen.insert(item.id.clone()) => repeated += 1,
            Some(item) => {
                ranked += usize::from(record.has("ranks"));
                read.items.push(item);
            }
        }
    }
    if read.items.is_empty() {
        let expected = "records to label";
        return Err(crate::Error::format(origin, "", expected, "none", ""));
    }
    let mut note = |count: usize, words: &str| {
        if count > 0 {
            read.notes.push(format!("{origin}: {count} {words}"));
        }
    };
    note(empty, "records left out: empty prompt");
    note(repeated, "records left out: the same as an earlier one");
    note(ranked, "records have ranks, which are not used: labelers rank anew");
    Ok(read)
}

#[cfg(test)]
mod tests;
