//! SST-2: is a snippet of a film review positive or negative? (Socher et al., 2013; GLUE.)

use super::{Card, Item, Style, Task, choose_after, label};
use crate::data::fields::Fields;
use crate::error::Result;

/// The task.
pub struct Sst2;

const LABELS: [&str; 2] = ["negative", "positive"];

impl Task for Sst2 {
    fn card(&self) -> Card {
        Card {
            name: "sst2",
            measures: "accuracy: whether a snippet of a film review is positive or negative",
            fields: "sentence, label (0 negative, 1 positive, or the words)",
            source: "GLUE's SST-2, dev.tsv (872 documents)",
            files: &[],
            styles: &[Style::LmEval, Style::Paper],
            paper: "175B, zero-shot/few-shot (15): GPT .898/.944, SFT .907/.936, PPO .920/.944, PPO-ptx .900/.938",
            instructed: false,
        }
    }

    /// Paper, figure 23.
    fn head(&self, style: Style) -> &'static str {
        match style {
            Style::Paper => {
                "For each snippet of text, label the sentiment of the text as positive or negative.\n\n"
            }
            Style::LmEval => "",
        }
    }

    fn item(&self, document: &Fields, style: Style) -> Result<Item> {
        document.require(&["sentence", "label"])?;
        let sentence = document.required_text("sentence")?;
        let prompt = match style {
            Style::Paper => format!("Text: {}\nLabel:", sentence.trim()),
            // GLUE's sentences end with a space, which lm-evaluation-harness leaves in.
            Style::LmEval => {
                format!("{sentence}\nQuestion: Is this sentence positive or negative?\nAnswer:")
            }
        };
        let right = label(document, "label", &LABELS)?;
        choose_after(document, prompt, " ", &LABELS.map(String::from), right)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{asked, items};
    use super::*;

    #[test]
    fn both_styles() {
        let table = "sentence\tlabel\na \"fine\" film \t1\n";
        let found = asked(&Sst2, Style::LmEval, table);
        let prompt = "a \"fine\" film \nQuestion: Is this sentence positive or negative?\nAnswer:";
        assert_eq!(found[0][0], (prompt.into(), " negative".into(), false));
        assert_eq!(found[0][1], (prompt.into(), " positive".into(), true));
        let records =
            "{\"sentence\":\"a dull film\",\"label\":0}\n{\"sentence\":\"x\",\"label\":\"positive\"}";
        let found = asked(&Sst2, Style::Paper, records);
        assert_eq!(found[0][0], ("Text: a dull film\nLabel:".into(), " negative".into(), true));
        assert!(found[1][1].2);
        let example = items(&Sst2, Style::Paper, records).unwrap()[0].example.clone();
        assert_eq!(example.unwrap(), "Text: a dull film\nLabel: negative");
    }

    #[test]
    fn a_label_out_of_range_is_named() {
        let error = items(&Sst2, Style::Paper, "sentence\tlabel\nx\t1\ny\t2\n").unwrap_err().to_string();
        let expected = "x: line 3: field \"label\": expected 0 or negative, 1 or positive, found \"2\"";
        assert_eq!(error, expected);
    }
}
