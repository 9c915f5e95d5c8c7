//! What a labeler has said: a record, which is kept for ever. An undo is a record, too.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::item::{Item, Task, Work};
use crate::data::tags::Marks;

/// The version of the instructions on the page. A test holds it to their text: who changes them counts it up.
pub const INSTRUCTIONS: u32 = 2;

/// The questions of Table 3 that are answered with yes or no. The first two have a third answer, that they do not apply:
/// a hallucination needs a text to contradict, a constraint has to be there.
pub const QUESTIONS: [&str; 11] = [
    "hallucination",
    "satisfies_constraint",
    "fails_task",
    "inappropriate_for_assistant",
    "sexual",
    "violent",
    "encourages_harm",
    "denigrates_group",
    "harmful_advice",
    "opinion",
    "moral_judgment",
];
/// How many of [`QUESTIONS`] may go unanswered.
pub const MAY_NOT_APPLY: usize = 2;

/// What sensitive speech may be about. At the end of the test of new labelers each says for which of these they feel able to
/// tell it, as the paper's were asked for "topics or cultural groups" (B.1): together a team has to know them all.
pub const TOPICS: [&str; 11] = [
    "age",
    "disability",
    "ethnicity",
    "gender",
    "nationality",
    "politics",
    "religion",
    "self_harm",
    "sexual_content",
    "sexual_orientation",
    "violence",
];

/// Most bytes of one text that a labeler writes.
pub const MAX_TEXT: usize = 64 << 10;
/// Most pairs in a few-shot prompt.
const MAX_PAIRS: usize = 32;

/// A query and its response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// What is asked.
    pub query: String,
    /// What is answered.
    pub response: String,
}

/// What was said, by the kind of work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Answer {
    /// A demonstration for the item's prompt.
    Demonstration {
        /// What a good assistant would answer.
        response: String,
    },
    /// A prompt of the labeler's own and its demonstration: any task ("plain"), or one of the item's use-case.
    Plain {
        /// The prompt.
        prompt: String,
        /// The demonstration.
        response: String,
    },
    /// An instruction of the labeler's own with several queries and responses.
    FewShot {
        /// What is to be done with every query.
        instruction: String,
        /// At least two.
        pairs: Vec<Pair>,
    },
    /// A rating, Table 3.
    Rating {
        /// Overall quality, 1 to 7.
        overall: u8,
        /// Answers by the names of [`QUESTIONS`]; one that does not apply is not there.
        questions: BTreeMap<String, bool>,
    },
    /// A ranking.
    Ranking {
        /// One for each response in the item's order, 1 is best, equal ranks are ties.
        ranks: Vec<u32>,
    },
    /// Whether a response is sensitive (B.1).
    Flag {
        /// It is.
        sensitive: bool,
    },
    /// For which topics the labeler feels able to tell sensitive speech (B.1). Nobody is refused for it.
    Coverage {
        /// Some of [`TOPICS`].
        topics: BTreeSet<String>,
        /// Others, in the labeler's words.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        other: String,
    },
    /// No answer: the prompt is too unclear, say (section 3.3).
    Skip {
        /// Why.
        reason: String,
    },
    /// Takes back an earlier record.
    Undo {
        /// That record.
        of: String,
    },
}

impl Answer {
    /// What is expected where it is no answer about `responses` responses; `None` where it is one.
    pub fn wrong(&self, responses: usize) -> Option<String> {
        let text = |name: &str, text: &str| match text {
            _ if text.trim().is_empty() => Some(format!("a {name}")),
            _ if text.len() > MAX_TEXT => Some(format!("a {name} of at most {MAX_TEXT} bytes")),
            _ => None,
        };
        match self {
            Answer::Demonstration { response } => text("response", response),
            Answer::Plain { prompt, response } => {
                text("prompt", prompt).or_else(|| text("response", response))
            }
            Answer::FewShot { instruction, pairs } if (2..=MAX_PAIRS).contains(&pairs.len()) => {
                let pair =
                    |pair: &Pair| text("query", &pair.query).or_else(|| text("response", &pair.response));
                text("instruction", instruction).or_else(|| pairs.iter().find_map(pair))
            }
            Answer::FewShot { .. } => Some(format!("2 to {MAX_PAIRS} pairs of a query and a response")),
            Answer::Rating { overall, questions } => match overall {
                1..=7 => questions
                    .keys()
                    .find(|name| !QUESTIONS.contains(&name.as_str()))
                    .map(|name| format!("questions of Table 3, not {name:.40?}")),
                _ => Some("a rating from 1 to 7".into()),
            },
            Answer::Ranking { ranks } if ranks.len() != responses => {
                Some(format!("{responses} ranks, one for each response"))
            }
            Answer::Ranking { ranks } => {
                let wrong = ranks.iter().any(|&rank| rank == 0 || rank as usize > responses);
                wrong.then(|| format!("ranks from 1 (best) to {responses}"))
            }
            Answer::Flag { .. } => None,
            Answer::Coverage { other, .. } if other.len() > MAX_TEXT => {
                Some(format!("other topics in at most {MAX_TEXT} bytes"))
            }
            Answer::Coverage { topics, .. } => topics
                .iter()
                .find(|topic| !TOPICS.contains(&topic.as_str()))
                .map(|topic| format!("known topics, not {topic:.40?}")),
            Answer::Skip { reason } => text("reason", reason),
            Answer::Undo { .. } => None,
        }
    }

    /// What is expected where it is no answer to an item; without one, it is a prompt of the labeler's own.
    pub fn unfit(&self, item: Option<&Item>) -> Option<String> {
        let fits = match (item, self) {
            (_, Answer::Undo { .. }) => false,
            (None, Answer::Plain { .. } | Answer::FewShot { .. }) => true,
            (Some(_), Answer::Skip { .. }) => true,
            (Some(item), Answer::Plain { .. }) => item.use_case.is_some(),
            (Some(item), Answer::Demonstration { .. }) => item.task == Task::Write && item.use_case.is_none(),
            (Some(item), Answer::Rating { questions, .. }) => {
                // Of the two that may not apply any may be missing; a grade of a demonstration is a number alone.
                let graded = item.grades.is_some() && questions.is_empty();
                let all = QUESTIONS[MAY_NOT_APPLY..].iter().all(|name| questions.contains_key(*name));
                item.task == Task::Rate && (all || graded)
            }
            (Some(item), Answer::Ranking { .. }) => item.task == Task::Rank,
            (Some(item), Answer::Flag { .. }) => item.task == Task::Flag,
            (Some(item), Answer::Coverage { .. }) => item.task == Task::Coverage,
            _ => false,
        };
        match fits {
            true => self.wrong(item.map_or(0, |item| item.responses.len())),
            false => Some("a whole answer to what was asked".into()),
        }
    }
}

/// One submission of a labeler.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// 32 hexadecimal digits, drawn by the page: one that is sent twice is kept once.
    pub id: String,
    /// Who said it.
    pub labeler: String,
    /// About which item; none about a prompt of the labeler's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    /// The version of the instructions that the labeler saw.
    pub instructions: u32,
    /// In which order the responses were shown: numbers in the item's order, the first shown first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shown: Vec<usize>,
    /// How long it took, while the page was in front.
    pub seconds: f64,
    /// When the server took it, in seconds since 1970.
    #[serde(default)]
    pub time: u64,
    /// What else the labeler has to say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub notes: String,
    /// What holds of the prompt: names of [`crate::data::tags::MARKS`] (Table 7). `None` where the labeler did not look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marks: Option<BTreeSet<String>>,
    /// Somebody should look at this item.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub flagged: bool,
    /// What was said.
    pub answer: Answer,
}

impl Record {
    /// What is expected where it is no record about `item`; `None` where it is one.
    pub fn wrong(&self, item: Option<&Item>) -> Option<String> {
        let frame = self.wrong_frame(item.map_or(0, |item| item.responses.len()));
        frame.or_else(|| self.wrong_marks(item)).or_else(|| self.answer.unfit(item))
    }

    /// Marks are of prompts that were given.
    fn wrong_marks(&self, item: Option<&Item>) -> Option<String> {
        let names = self.marks.as_ref()?;
        let has_prompt = |item: &Item| {
            !item.prompt.is_empty() && matches!(item.work(), Work::Write | Work::Rate | Work::Rank)
        };
        match Marks::named(names.iter().map(String::as_str)) {
            Err(unknown) => Some(format!("marks of Table 7, not {unknown:.40?}")),
            Ok(_) if item.is_some_and(has_prompt) => None,
            Ok(_) => Some("marks of a prompt that was given".into()),
        }
    }

    /// The same of all but the answer, for an item of so many responses.
    pub fn wrong_frame(&self, responses: usize) -> Option<String> {
        if self.id.len() != 32 || !self.id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Some("an id of 32 hexadecimal digits".into());
        }
        if !is_name(&self.labeler) {
            return Some("a labeler's name of 1 to 64 characters".into());
        }
        if self.notes.len() > MAX_TEXT {
            return Some(format!("notes of at most {MAX_TEXT} bytes"));
        }
        if !(self.seconds.is_finite() && (0.0..=1e9).contains(&self.seconds)) {
            return Some("seconds from 0".into());
        }
        let mut shown = self.shown.clone();
        shown.sort_unstable();
        if !shown.into_iter().eq(0..responses) {
            return Some(format!("\"shown\" with each of the {responses} responses once"));
        }
        None
    }
}

/// Whether it can be a labeler's name: 1 to 64 characters, none of them for control, no blanks at its ends.
pub fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.chars().count()) && name.trim() == name && !name.chars().any(char::is_control)
}

#[cfg(test)]
pub(super) mod tests;
