//! RTE: does a passage entail a sentence? (Dagan et al., 2006, and later; GLUE and SuperGLUE.)

use super::{Card, Item, Style, Task, choose_after, label};
use crate::data::fields::Fields;
use crate::error::Result;

/// The task.
pub struct Rte;

impl Task for Rte {
    fn card(&self) -> Card {
        Card {
            name: "rte",
            measures: "accuracy: whether a sentence follows from a passage",
            fields: "sentence1, sentence2, label; or premise, hypothesis, label (0 entailment, 1 not_entailment, or the \
                     words)",
            source: "GLUE's RTE, dev.tsv, or SuperGLUE's, val.jsonl (277 documents)",
            files: &[],
            styles: &[Style::LmEval, Style::Paper],
            paper: "175B, zero-shot/few-shot (15): GPT .563/.614, SFT .570/.700, PPO .704/.711, PPO-ptx .668/.765",
            instructed: false,
        }
    }

    fn item(&self, document: &Fields, style: Style) -> Result<Item> {
        let [passage, sentence] = match document.has("premise") {
            true => ["premise", "hypothesis"],
            false => ["sentence1", "sentence2"],
        };
        document.require(&[passage, sentence, "label"])?;
        let [passage, sentence] = [document.required_text(passage)?, document.required_text(sentence)?];
        let (prompt, choices) = match style {
            // Figure 22: the sentence without its full stop becomes the end of a question.
            Style::Paper => {
                let claim = sentence.trim();
                let claim = claim.strip_suffix('.').unwrap_or(claim);
                let asked = "From this passage can one reasonably conclude that";
                (format!("Passage: {}\nQuestion: {asked} {claim}?\nAnswer:", passage.trim()), ["Yes", "No"])
            }
            Style::LmEval => {
                (format!("{passage}\nQuestion: {sentence} True or False?\nAnswer:"), ["True", "False"])
            }
        };
        let right = label(document, "label", &["entailment", "not_entailment"])?;
        choose_after(document, prompt, " ", &choices.map(String::from), right)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::asked;
    use super::*;

    /// The document of the paper's figure 22.
    #[test]
    fn both_styles() {
        let table = "premise,hypothesis,label\n\"It is ready, it seems.\",Maglev is commercially used.,not_entailment";
        let found = asked(&Rte, Style::Paper, table);
        let prompt = "Passage: It is ready, it seems.\nQuestion: From this passage can one reasonably conclude that \
                      Maglev is commercially used?\nAnswer:";
        assert_eq!(found[0][0], (prompt.into(), " Yes".into(), false));
        assert_eq!(found[0][1], (prompt.into(), " No".into(), true));
        let record = "{\"sentence1\":\"A.\",\"sentence2\":\"B.\",\"label\":0}";
        let found = asked(&Rte, Style::LmEval, record);
        assert_eq!(found[0][0], ("A.\nQuestion: B. True or False?\nAnswer:".into(), " True".into(), true));
    }
}
