//! WSC as SuperGLUE has it: does a pronoun refer to a noun, yes or no? (Levesque et al., 2012; Wang et al., 2019.)
//!
//! lm-evaluation-harness asks just that. In the paper a model writes what the pronoun refers to, and one of answer and noun
//! must be a part of the other (in any case of letters); that decides yes or no. The words are those of GPT-3's figure
//! G.13, which the paper's format follows; the most tokens of an answer are our choice. Examples are documents whose answer
//! is yes, as only of them it is known what belongs there.

use super::{Card, Item, Score, Style, Task, Writing, Written, choose_after, choosing, label, write};
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
            styles: &[Style::LmEval, Style::Paper],
            paper: "175B, zero-shot/few-shot (15): GPT .740/.798, SFT .654/.779, PPO .683/.654, PPO-ptx .731/.788",
            instructed: false,
        }
    }

    fn head(&self, style: Style) -> &'static str {
        match style {
            Style::LmEval => "",
            Style::Paper => {
                "Final Exam with Answer Key\nInstructions: Please carefully read the following passages. For each passage, \
                 you must identify which noun the pronoun marked in *bold* refers to.\n=====\n\n"
            }
        }
    }

    fn item(&self, document: &Fields, style: Style) -> Result<Item> {
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
        let right = label(document, "label", &["false", "true"])?;
        if style == Style::Paper {
            let question = format!("In the passage above, what does the pronoun \"*{pronoun}*\" refer to?");
            let prompt = format!("Passage: {passage}\nQuestion: {question}\nAnswer:");
            // The noun, and whether the pronoun refers to it.
            let references = vec![vec![noun.to_string()], vec![(right == 1).to_string()]];
            let writing = Writing { prompt, stops: &["\n"], most: 16, references, beside: None };
            let item = write(document, " ", noun.to_string(), writing);
            return Ok(Item {
                example: item.example.filter(|_| right == 1),
                target: right.to_string(),
                ..item
            });
        }
        let question =
            format!("In the passage above, does the pronoun \"*{pronoun}*\" refer to \"*{noun}*\"?");
        let prompt = format!("Passage: {passage}\nQuestion: {question}\nAnswer:");
        let choices = ["no", "yes"].map(String::from);
        choose_after(document, prompt, " ", &choices, right)
    }

    fn judge(&self, writing: &Writing, written: &Written, _: Style) -> Vec<Score> {
        let [noun, refers] =
            [&writing.references[0][0], &writing.references[1][0]].map(|text| text.to_lowercase());
        let answer = written.text.trim().trim_end_matches('.').to_lowercase();
        let says_so = !answer.is_empty() && (answer.contains(&noun) || noun.contains(&answer));
        vec![Score::flag(&choosing::ACC, says_so.to_string() == refers)]
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
    use super::super::tests::{asked, items, judged, writings};
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
    fn the_paper_asks_for_the_noun() {
        let of = |label| {
            format!(
                r#"{{"text":"Jane saw Joan , and she ran .","label":{label},"target":{{"span1_text":"Joan","span2_text":"she","span2_index":5}}}}"#
            )
        };
        let text = format!("{}\n{}", of(true), of(false));
        let found = writings(&Wsc, Style::Paper, &text);
        let prompt = "Passage: Jane saw Joan, and *she* ran.\nQuestion: In the passage above, what does the pronoun \
                      \"*she*\" refer to?\nAnswer:";
        assert_eq!((&found[0].prompt[..], found[0].stops, found[0].most), (prompt, &["\n"][..], 16));
        let items = items(&Wsc, Style::Paper, &text).unwrap();
        assert_eq!(items[0].example, Some(format!("{prompt} Joan")));
        assert_eq!((&items[0].target[..], &items[1].target[..], &items[1].example), ("1", "0", &None));
        for (answer, says_so) in
            [(" joan.", true), (" It is Joan", true), (" Jo", true), (" Jane", false), ("", false)]
        {
            let of = |writing| judged(&Wsc, Style::Paper, writing, answer)[0].1 == 1.0;
            assert_eq!((of(&found[0]), of(&found[1])), (says_so, !says_so), "{answer}");
        }
        assert!(Wsc.head(Style::Paper).ends_with("marked in *bold* refers to.\n=====\n\n"));
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
