//! WMT 2015, French to English: newsdiscusstest2015, comments on the news (Bojar et al., 2015).
//!
//! lm-evaluation-harness has WMT 2014 of this direction; its words are here in its style. Its TER and chrF are not.

use super::measures::{Aggregate, Measure, Score};
use super::{Card, Item, Style, Task, Writing, Written, write};
use crate::data::fields::Fields;
use crate::error::Result;
use crate::eval::metrics::bleu::Counts;

/// The task.
pub struct Wmt15FrEn;

/// BLEU of all sentences together, as sacrebleu has it.
static BLEU: Measure =
    Measure { name: "bleu", unit: "percent", higher_is_better: true, aggregate: Aggregate::Bleu };

impl Task for Wmt15FrEn {
    fn card(&self) -> Card {
        Card {
            name: "wmt15-fr-en",
            measures: "BLEU of translations from French into English (sacrebleu's 13a, exp)",
            fields: "fr, en; or translation (fr, en)",
            source: "newsdiscusstest2015 of WMT15, fr-en (1,500 documents), as JSON Lines or a table",
            files: &["wmt14-fr-en", "newsdiscusstest2015"],
            styles: &[Style::LmEval, Style::Paper],
            paper: "175B, zero-shot/few-shot (15): GPT 38.92/39.93, SFT 36.90/35.07, PPO 24.16/26.58, PPO-ptx 34.28/36.76",
            instructed: false,
        }
    }

    fn head(&self, style: Style) -> &'static str {
        match style {
            Style::LmEval => "",
            Style::Paper => "Translate the following sentences from French into English.\n\n",
        }
    }

    fn item(&self, document: &Fields, style: Style) -> Result<Item> {
        let inner =
            if document.has("translation") { Some(document.required_object("translation")?) } else { None };
        let pair = inner.as_ref().unwrap_or(document);
        pair.require(&["fr", "en"])?;
        let [french, english] = [pair.required_text("fr")?, pair.required_text("en")?];
        // The translations of lm-evaluation-harness begin with a blank of their own; in an example that makes two.
        let (prompt, target) = match style {
            Style::Paper => (format!("French: {french}\nEnglish:"), english.to_string()),
            Style::LmEval => (format!("French phrase: {french}\nEnglish phrase:"), format!(" {english}")),
        };
        let references = vec![vec![english.to_string()]];
        let writing = Writing { prompt, stops: &["\n"], most: 256, references, beside: None };
        Ok(write(document, " ", target, writing))
    }

    fn judge(&self, writing: &Writing, written: &Written, _: Style) -> Vec<Score> {
        vec![Score::bleu(&BLEU, Counts::new(&written.text, &writing.references[0]))]
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{items, judged, writings};
    use super::*;

    #[test]
    fn three_layouts_and_both_styles() {
        let nested = r#"{"translation":{"fr":"Super article, merci !","en":"Great article, thanks!"}}"#;
        let flat = r#"{"fr":"Super article, merci !","en":"Great article, thanks!"}"#;
        let table = "fr\ten\nSuper article, merci !\tGreat article, thanks!\n";
        for (style, prompt) in [
            (Style::Paper, "French: Super article, merci !\nEnglish:"),
            (Style::LmEval, "French phrase: Super article, merci !\nEnglish phrase:"),
        ] {
            for text in [nested, flat, table] {
                let found = writings(&Wmt15FrEn, style, text).remove(0);
                assert_eq!((&found.prompt[..], found.stops, found.most), (prompt, &["\n"][..], 256));
                assert_eq!(found.references, [["Great article, thanks!"]]);
            }
        }
        for (style, example) in [
            (Style::Paper, "French: Super article, merci !\nEnglish: Great article, thanks!"),
            (Style::LmEval, "French phrase: Super article, merci !\nEnglish phrase:  Great article, thanks!"),
        ] {
            assert_eq!(items(&Wmt15FrEn, style, flat).unwrap()[0].example.as_deref(), Some(example));
        }
        assert_eq!(
            Wmt15FrEn.head(Style::Paper),
            "Translate the following sentences from French into English.\n\n"
        );
        let writing = writings(&Wmt15FrEn, Style::Paper, flat).remove(0);
        let [(_, right)] = judged(&Wmt15FrEn, Style::Paper, &writing, " Great article, thanks!")[..] else {
            panic!()
        };
        assert!((right - 100.0).abs() < 1e-9, "{right}");
        assert_eq!(judged(&Wmt15FrEn, Style::Paper, &writing, " Thank you!"), [("bleu", 0.0)]);
    }
}
