//! COPA: which of two sentences is the more plausible cause or effect? (Roemmele et al., 2011; SuperGLUE.)

use super::{Card, Item, Style, Task, choose_after, foundry, label};
use crate::data::fields::Fields;
use crate::error::Result;

/// The task.
pub struct Copa;

impl Task for Copa {
    fn card(&self) -> Card {
        Card {
            name: "copa",
            measures: "accuracy: which of two sentences is the cause, or the effect, of a third",
            fields: "premise, choice1, choice2, question (cause or effect), label (0 or 1); or query, choices, gold",
            source: "SuperGLUE's COPA, val.jsonl (100 documents); llm-foundry's copa.jsonl",
            files: &[],
            styles: &[Style::LmEval],
            paper: "none: the paper does not have this task",
            instructed: false,
        }
    }

    fn item(&self, document: &Fields, _: Style) -> Result<Item> {
        if let Some((query, choices, gold)) = foundry(document)? {
            return choose_after(document, query, " ", &choices, gold);
        }
        document.require(&["premise", "choice1", "choice2", "question", "label"])?;
        let connector = match document.required_text("question")? {
            "cause" => "because",
            "effect" => "therefore",
            other => return Err(document.error("question", "\"cause\" or \"effect\"", format!("{other:?}"))),
        };
        let premise = document.required_text("premise")?.trim();
        // The full stop, or whatever is last, makes room for the connector.
        let end = premise.char_indices().next_back().map_or(0, |(at, _)| at);
        let prompt = format!("{} {connector}", &premise[..end]);
        // In lm-evaluation-harness two spaces stand before a choice: its own and the delimiter's.
        let choices = [document.required_text("choice1")?, document.required_text("choice2")?];
        let choices = choices.map(|choice| match choice {
            "" => String::new(),
            _ => format!(" {}", first_small(choice)),
        });
        choose_after(document, prompt, " ", &choices, label(document, "label", &["choice1", "choice2"])?)
    }
}

/// The text with a small first letter.
fn first_small(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map_or(String::new(), |first| first.to_lowercase().chain(rest).collect())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{asked, items};
    use super::*;

    #[test]
    fn the_sentences_are_joined() {
        let record = r#"{"premise":"The man broke his toe. ","choice1":"He got a hole in his sock.",
            "choice2":"He dropped a hammer on his foot.","question":"cause","idx":3,"label":1}"#;
        let found = asked(&Copa, Style::LmEval, &record.replace('\n', ""));
        let prompt = "The man broke his toe because";
        assert_eq!(found[0][0], (prompt.into(), "  he got a hole in his sock.".into(), false));
        assert_eq!(found[0][1], (prompt.into(), "  he dropped a hammer on his foot.".into(), true));
        let foundry = r#"{"query":"It rained, therefore","choices":["we left","we stayed"],"gold":0}"#;
        assert_eq!(asked(&Copa, Style::LmEval, foundry)[0][0].1, " we left");
        assert_eq!(first_small("Élan"), "élan");
    }

    #[test]
    fn an_answer_out_of_range_and_an_empty_choice_are_named() {
        for (record, expected) in [
            (
                r#"{"query":"q","choices":["a","b"],"gold":2}"#,
                "x: line 1: expected the index of one of 2 choices, from 0, found 2",
            ),
            (
                r#"{"query":"q","choices":["a",""],"gold":0}"#,
                "x: line 1: expected choices of at least one character, found none in choice 1",
            ),
            (
                r#"{"premise":"p","choice1":"a","choice2":"b","question":"why","label":0}"#,
                "x: line 1: field \"question\": expected \"cause\" or \"effect\", found \"why\"",
            ),
        ] {
            assert_eq!(items(&Copa, Style::LmEval, record).unwrap_err().to_string(), expected);
        }
    }
}
