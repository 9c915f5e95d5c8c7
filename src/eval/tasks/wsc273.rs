//! WSC273: whom does a pronoun stand for? Each candidate is put in its place, and the rest of the sentence is judged
//! (Levesque et al., 2012; the partial evaluation of Trinh and Le, 2018).

use serde_json::Value;

use super::{Card, Choice, Item, Style, Task, item, label, no_such_choice};
use crate::data::fields::Fields;
use crate::error::Result;

/// The task.
pub struct Wsc273;

/// First words that are small inside a sentence.
const CAPITALS: [&str; 11] = ["A", "An", "The", "She", "He", "It", "They", "My", "His", "Her", "Their"];
/// Pronouns that stand for somebody's.
const POSSESSIVE: [&str; 5] = ["my", "his", "her", "our", "their"];

impl Task for Wsc273 {
    fn card(&self) -> Card {
        Card {
            name: "wsc273",
            measures: "accuracy: whom a pronoun stands for, by the likelihood of the rest of the sentence",
            fields: "text, pronoun, pronoun_loc (in characters), options, label; or context_options, continuation, gold",
            source: "the Winograd schemas, wsc273 (273 documents); llm-foundry's winograd_wsc.jsonl",
            files: &["winograd_wsc"],
            styles: &[Style::LmEval],
            paper: "none: the paper has SuperGLUE's 104 documents, see wsc",
            instructed: false,
        }
    }

    fn item(&self, document: &Fields, _: Style) -> Result<Item> {
        let (contexts, rest, right) = match document.has("context_options") {
            true => {
                document.require(&["context_options", "continuation", "gold"])?;
                let rest = format!(" {}", document.required_text("continuation")?);
                (document.required_texts("context_options")?, rest, document.whole_number("gold")?)
            }
            false => {
                document.require(&["text", "pronoun", "pronoun_loc", "options", "label"])?;
                replaced(document)?
            }
        };
        if right >= contexts.len() {
            return Err(no_such_choice(document, right, contexts.len()));
        }
        let choice = |(index, context): (usize, &String)| Choice {
            prompt: context.clone(),
            continuation: rest.clone(),
            // What lm-evaluation-harness calls the choice is all that comes before.
            characters: context.chars().count(),
            right: index == right,
        };
        let choices = contexts.iter().enumerate().map(choice).collect();
        item(document, right.to_string(), choices, Some(format!("{}{rest}", contexts[right])))
    }
}

/// The beginning of the sentence with each option in the pronoun's place, the rest of it, and the answer's index. The
/// rest begins with two spaces, its own and the delimiter, as in lm-evaluation-harness.
fn replaced(document: &Fields) -> Result<(Vec<String>, String, usize)> {
    let text: Vec<char> = document.required_text("text")?.replace("  ", " ").chars().collect();
    let pronoun = document.required_text("pronoun")?;
    let (begin, length) = (document.whole_number("pronoun_loc")?, pronoun.chars().count());
    let there: String = text.iter().skip(begin).take(length).collect();
    if pronoun.is_empty() || there != pronoun || begin + length >= text.len() {
        let expected = format!("where {pronoun:?} stands in the text, before something else");
        return Err(document.error("pronoun_loc", expected, format!("{begin}: {there:?}")));
    }
    let before: String = text[..begin].iter().collect();
    // Two characters before, counted from the end where there are none.
    let starts = text[(begin + text.len() - 2) % text.len()] == '.';
    let options = options(document)?;
    let names: Vec<&str> = options.iter().map(String::as_str).collect();
    let right = label(document, "label", &names)?;
    let contexts =
        options.iter().map(|option| format!("{before}{}", fitting(option, pronoun, starts))).collect();
    let rest: String = text[begin + length..].iter().collect();
    Ok((contexts, format!(" {rest}"), right))
}

/// The two options; in a table they are one cell of JSON.
fn options(document: &Fields) -> Result<Vec<String>> {
    match document.get("options") {
        Some(Value::String(cell)) => {
            let wrong = |_| document.error("options", "an array of strings", format!("{cell:?}"));
            serde_json::from_str(cell).map_err(wrong)
        }
        _ => document.required_texts("options"),
    }
}

/// An option as it fits in the pronoun's place: somebody's for a possessive, and small inside a sentence.
fn fitting(option: &str, pronoun: &str, starts: bool) -> String {
    let mut option = option.to_string();
    if POSSESSIVE.contains(&pronoun.to_lowercase().as_str()) {
        option += "'s";
    }
    let first = option.split_whitespace().next().unwrap_or_default().to_string();
    match !starts && CAPITALS.contains(&first.as_str()) {
        true => option.replace(&first, &first.to_lowercase()),
        false => option,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{asked, items};
    use super::*;

    #[test]
    fn options_take_the_pronouns_place() {
        let record =
            r#"{"text":"The city  denied them a permit because they feared violence.","pronoun":"they",
            "pronoun_loc":38,"options":["The city","The men"],"label":0}"#
                .replace('\n', " ");
        let found = asked(&Wsc273, Style::LmEval, &record);
        let context = "The city denied them a permit because the city";
        assert_eq!(found[0][0], (context.into(), "  feared violence.".into(), true));
        assert_eq!(found[0][1].0, "The city denied them a permit because the men");
        let foundry =
            r#"{"context_options":["The city","The men"],"continuation":"feared violence.","gold":1}"#;
        let found = asked(&Wsc273, Style::LmEval, foundry);
        assert_eq!(found[0][1], ("The men".into(), " feared violence.".into(), true));
    }

    #[test]
    fn options_are_made_to_fit() {
        assert_eq!(fitting("The man", "his", false), "the man's");
        assert_eq!(fitting("The man", "He", true), "The man");
        assert_eq!(fitting("Ann", "she", false), "Ann");
    }

    #[test]
    fn a_pronoun_that_is_not_there_and_an_option_too_many_are_errors() {
        let record = |at: usize, label: usize| {
            format!(
                "{{\"text\":\"Ann saw that she won.\",\"pronoun\":\"she\",\"pronoun_loc\":{at},\
                 \"options\":[\"Ann\",\"Eve\"],\"label\":{label}}}"
            )
        };
        assert_eq!(items(&Wsc273, Style::LmEval, &record(13, 1)).unwrap().len(), 1);
        for (record, expected) in [
            (record(12, 1), "x: line 1: field \"pronoun_loc\": expected where \"she\" stands in the text"),
            (record(99, 1), "x: line 1: field \"pronoun_loc\": expected where \"she\" stands in the text"),
            (record(13, 2), "x: line 1: field \"label\": expected 0 or Ann, 1 or Eve, found \"2\""),
        ] {
            let message = items(&Wsc273, Style::LmEval, &record).unwrap_err().to_string();
            assert!(message.starts_with(expected), "{message}");
        }
    }
}
