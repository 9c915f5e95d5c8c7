//! What a labeler has said: a record, which is kept for ever. An undo is a record, too.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::item::{Item, Task};

/// The version of the instructions on the page. A test holds it to their text: who changes them counts it up.
pub const INSTRUCTIONS: u32 = 1;

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
    /// Somebody should look at this item.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub flagged: bool,
    /// What was said.
    pub answer: Answer,
}

impl Record {
    /// What is expected where it is no record about `item`; `None` where it is one.
    pub fn wrong(&self, item: Option<&Item>) -> Option<String> {
        self.wrong_frame(item.map_or(0, |item| item.responses.len())).or_else(|| self.answer.unfit(item))
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
pub(super) mod tests {
    use super::*;

    pub fn item(task: Task, responses: usize) -> Item {
        Item {
            id: "i".into(),
            task,
            prompt: "p".into(),
            responses: (0..responses).map(|i| format!("response {i}")).collect(),
            use_case: None,
            screening: false,
            gold: None,
            grades: None,
            fields: Default::default(),
        }
    }

    /// A record with an id that ends in `number`.
    pub fn record(number: u64, labeler: &str, item: Option<&Item>, answer: Answer) -> Record {
        let shown = (0..item.map_or(0, |item| item.responses.len())).collect();
        Record {
            id: format!("{number:032x}"),
            labeler: labeler.into(),
            item: item.map(|item| item.id.clone()),
            instructions: INSTRUCTIONS,
            shown,
            seconds: 1.5,
            time: 0,
            notes: String::new(),
            flagged: false,
            answer,
        }
    }

    fn all_no() -> BTreeMap<String, bool> {
        QUESTIONS[MAY_NOT_APPLY..].iter().map(|name| (name.to_string(), false)).collect()
    }

    #[test]
    fn answers_fit_what_was_asked() {
        let (write, rate, rank, flag) =
            (item(Task::Write, 0), item(Task::Rate, 1), item(Task::Rank, 4), item(Task::Flag, 1));
        let use_case = Item { use_case: Some("chat".into()), ..write.clone() };
        let text = || "t".to_string();
        let demonstration = Answer::Demonstration { response: text() };
        let plain = Answer::Plain { prompt: text(), response: text() };
        let few_shot = |n| Answer::FewShot {
            instruction: text(),
            pairs: vec![Pair { query: text(), response: text() }; n],
        };
        let rating = |overall| Answer::Rating { overall, questions: all_no() };
        let ranking = |ranks: &[u32]| Answer::Ranking { ranks: ranks.to_vec() };
        let right: Vec<(Option<&Item>, Answer)> = vec![
            (Some(&write), demonstration.clone()),
            (Some(&use_case), plain.clone()),
            (None, plain.clone()),
            (None, few_shot(2)),
            (Some(&rate), rating(7)),
            (Some(&rank), ranking(&[2, 1, 1, 4])),
            (Some(&flag), Answer::Flag { sensitive: true }),
            (Some(&rank), Answer::Skip { reason: text() }),
        ];
        for (item, answer) in right {
            assert_eq!(record(1, "ann", item, answer.clone()).wrong(item), None, "{answer:?}");
        }
        let wrong: Vec<(Option<&Item>, Answer)> = vec![
            (Some(&use_case), demonstration.clone()),
            (Some(&write), plain),
            (Some(&write), Answer::Demonstration { response: " ".into() }),
            (Some(&write), Answer::Demonstration { response: "x".repeat(MAX_TEXT + 1) }),
            (None, demonstration),
            (None, few_shot(1)),
            (None, few_shot(33)),
            (None, Answer::Skip { reason: text() }),
            (Some(&rate), rating(0)),
            (Some(&rate), rating(8)),
            (Some(&rate), Answer::Rating { overall: 3, questions: Default::default() }),
            (Some(&rank), ranking(&[1, 2, 3])),
            (Some(&rank), ranking(&[0, 1, 2, 3])),
            (Some(&rank), ranking(&[5, 1, 2, 3])),
            (Some(&rate), Answer::Flag { sensitive: true }),
            (Some(&rank), Answer::Skip { reason: String::new() }),
            (Some(&rank), Answer::Undo { of: "1".into() }),
        ];
        for (item, answer) in wrong {
            assert!(record(1, "ann", item, answer.clone()).wrong(item).is_some(), "{answer:?}");
        }
    }

    #[test]
    fn records_are_looked_at_before_they_are_kept() {
        let rank = item(Task::Rank, 4);
        let good = record(1, "ann", Some(&rank), Answer::Ranking { ranks: vec![1, 2, 3, 4] });
        let wrong = |change: fn(&mut Record)| {
            let mut record = good.clone();
            change(&mut record);
            record.wrong(Some(&rank)).unwrap_or_else(|| panic!("{record:?} passes"))
        };
        assert!(wrong(|r| r.id = "1".into()).contains("32"));
        assert!(wrong(|r| r.id = "G".repeat(32)).contains("32"));
        for name in ["", " ann", "a\nb"] {
            assert!(!is_name(name), "{name:?}");
        }
        assert!(is_name("Änn O'Neil") && !is_name(&"x".repeat(65)));
        assert!(wrong(|r| r.labeler = String::new()).contains("name"));
        assert!(wrong(|r| r.seconds = f64::NAN).contains("seconds"));
        assert!(wrong(|r| r.seconds = -1.0).contains("seconds"));
        assert!(wrong(|r| r.shown = vec![0, 1, 2]).contains("shown"));
        assert!(wrong(|r| r.shown = vec![0, 1, 2, 2]).contains("shown"));
        assert!(wrong(|r| r.notes = "x".repeat(MAX_TEXT + 1)).contains("notes"));
    }
}
