//! WSC as SuperGLUE has it: does a pronoun refer to a noun, yes or no? (Levesque et al., 2012; Wang et al., 2019.)

use super::{Card, Choice, Item, Likelihood, Score, Style, Task, choose_after, choosing, label};
use crate::data::fields::Fields;
use crate::error::Result;

/// The task.
pub struct Wsc;

impl Task for Wsc {
    fn card(&self) -> Card {
        Card {
            name: "wsc",
            measures: "accuracy: whether a pronoun refers to a noun",
            fields: "text, label (true or false), target (span1_text, span2_text, span2_index), or the three beside text",
            source: "SuperGLUE's WSC, val.jsonl (104 documents)",
            files: &[],
            styles: &[Style::LmEval],
            paper: "175B, zero-shot/few-shot (15): GPT .740/.798, SFT .654/.779, PPO .683/.654, PPO-ptx .731/.788; of \
                    answers that are sampled, so there is no style paper here",
            instructed: false,
        }
    }

    fn item(&self, document: &Fields, _: Style) -> Result<Item> {
        document.require(&["text", "label"])?;
        let inner = if document.has("target") { Some(document.required_object("target")?) } else { None };
        let spans = inner.as_ref().unwrap_or(document);
        spans.require(&["span1_text", "span2_text", "span2_index"])?;
        let [noun, pronoun] = [spans.required_text("span1_text")?, spans.required_text("span2_text")?];
        let index = spans.whole_number("span2_index")?;
        let text = document.required_text("text")?;
        let words: Vec<&str> = text.split_whitespace().collect();
        if index >= words.len() {
            let expected = format!("the index of one of {} words, from 0", words.len());
            return Err(spans.error("span2_index", expected, index));
        }
        // As lm-evaluation-harness cuts: by the length of the words joined by single spaces, the pronoun and one more.
        let before = words[..index].join(" ");
        let after = before.chars().count() + pronoun.chars().count() + 1;
        let after: String = text.chars().skip(after).collect();
        let passage = without_blanks(&format!("{before} *{pronoun}*{after}"));
        let question =
            format!("In the passage above, does the pronoun \"*{pronoun}*\" refer to \"*{noun}*\"?");
        let prompt = format!("Passage: {passage}\nQuestion: {question}\nAnswer:");
        let choices = ["no", "yes"].map(String::from);
        choose_after(document, prompt, " ", &choices, label(document, "label", &["false", "true"])?)
    }

    fn score(&self, choices: &[Choice], answers: &[Likelihood], _: Style) -> Vec<Score> {
        choosing::scores(choices, answers)
    }
}

/// Without the blanks that tokenised text has around punctuation.
fn without_blanks(text: &str) -> String {
    let pairs = [
        (" n't", "n't"),
        (" )", ")"),
        ("( ", "("),
        ("\" ", "\""),
        (" \"", "\""),
        (" '", "'"),
        (" .", "."),
        (" ,", ","),
    ];
    pairs.iter().fold(text.to_string(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{asked, items};
    use super::*;

    #[test]
    fn both_layouts_ask_the_same() {
        let nested = r#"{"text":"Mark told Pete many lies , which he did n't believe.","label":false,"idx":0,
            "target":{"span1_index":0,"span1_text":"Mark","span2_index":7,"span2_text":"he"}}"#
            .replace('\n', " ");
        let flat =
            r#"{"text":"Mark told Pete many lies , which he did n't believe.","label":0,"span1_index":0,
            "span1_text":"Mark","span2_index":7,"span2_text":"he"}"#
                .replace('\n', " ");
        let found = asked(&Wsc, Style::LmEval, &nested);
        assert_eq!(found, asked(&Wsc, Style::LmEval, &flat));
        let prompt = "Passage: Mark told Pete many lies, which *he* didn't believe.\nQuestion: In the passage above, does \
                      the pronoun \"*he*\" refer to \"*Mark*\"?\nAnswer:";
        assert_eq!(found[0][0], (prompt.into(), " no".into(), true));
        assert_eq!(found[0][1], (prompt.into(), " yes".into(), false));
    }

    #[test]
    fn a_pronoun_beyond_the_text_is_an_error() {
        let record = r#"{"text":"He is.","label":true,"span1_text":"a","span2_text":"He","span2_index":2}"#;
        let error = items(&Wsc, Style::LmEval, record).unwrap_err().to_string();
        assert_eq!(
            error,
            "x: line 1: field \"span2_index\": expected the index of one of 2 words, from 0, found 2"
        );
    }
}
