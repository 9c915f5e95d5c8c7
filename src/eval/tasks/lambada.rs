//! LAMBADA: the last word of a passage, which only the whole passage gives away (Paperno et al., 2016).

use super::measures::{Aggregate, Measure, Score};
use super::{Card, Choice, Item, Likelihood, Style, Task, item};
use crate::data::fields::Fields;
use crate::error::Result;

/// The task.
pub struct Lambada;

/// Of the last word: `exp` of the mean loss per document (not per token), as lm-evaluation-harness has it.
pub static PERPLEXITY: Measure =
    Measure { name: "perplexity", unit: "", higher_is_better: false, aggregate: Aggregate::Perplexity };
/// Whether every token of the last word is the most likely one.
pub static GREEDY: Measure =
    Measure { name: "acc", unit: "share", higher_is_better: true, aggregate: Aggregate::Share };

impl Task for Lambada {
    fn card(&self) -> Card {
        Card {
            name: "lambada",
            measures: "accuracy of the last word, written greedily, and its perplexity (lm-eval: lambada_openai)",
            fields: "text; or context, continuation",
            source: "OpenAI's LAMBADA, lambada_test.jsonl (5,153 documents); llm-foundry's lambada_openai.jsonl",
            files: &["lambada_openai", "lambada_test"],
            styles: &[Style::LmEval],
            paper: "none: the paper does not have this task",
            instructed: false,
        }
    }

    fn item(&self, document: &Fields, _: Style) -> Result<Item> {
        let [passage, word] = if document.has("context") {
            document.require(&["context", "continuation"])?;
            [document.required_text("context")?, document.required_text("continuation")?]
        } else {
            document.require(&["text"])?;
            let text = document.required_text("text")?;
            let parts = text.rsplit_once(' ');
            let (passage, word) = parts.ok_or_else(|| document.error("text", "at least two words", "one"))?;
            [passage, word]
        };
        let continuation = format!(" {word}");
        let choice = Choice {
            prompt: passage.to_string(),
            continuation: continuation.clone(),
            characters: word.chars().count(),
            right: true,
        };
        // As an example the word has two blanks before it in lm-evaluation-harness: its own and the delimiter.
        let example = format!("{passage} {continuation}");
        item(document, continuation, vec![choice], Some(example))
    }

    fn score(&self, _: &[Choice], answers: &[Likelihood], _: Style) -> Vec<Score> {
        vec![Score::new(&PERPLEXITY, answers[0].log_prob), Score::flag(&GREEDY, answers[0].greedy)]
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{asked, items};
    use super::*;

    #[test]
    fn the_last_word_is_asked_for() {
        let ours = "{\"text\":\"I saw  the sign.\"}";
        let foundry = "{\"context\":\"I saw  the\",\"continuation\":\"sign.\"}";
        let found = asked(&Lambada, Style::LmEval, ours);
        assert_eq!(found[0], [("I saw  the".to_string(), " sign.".to_string(), true)]);
        assert_eq!(found, asked(&Lambada, Style::LmEval, foundry));
        let example = items(&Lambada, Style::LmEval, ours).unwrap().remove(0).example.unwrap();
        assert_eq!(example, "I saw  the  sign.");
        let error = |text| items(&Lambada, Style::LmEval, text).unwrap_err().to_string();
        assert_eq!(
            error("{\"text\":\"sign\"}"),
            "x: line 1: field \"text\": expected at least two words, found one"
        );
        assert!(error("{\"text\":\"the \"}").contains("choices of at least one character"));
    }

    #[test]
    fn greedy_or_not() {
        let scores =
            |greedy| Lambada.score(&[], &[Likelihood { log_prob: -2.0, tokens: 1, greedy }], Style::LmEval);
        assert_eq!([scores(true)[0].value, scores(true)[1].value, scores(false)[1].value], [-2.0, 1.0, 0.0]);
    }
}
