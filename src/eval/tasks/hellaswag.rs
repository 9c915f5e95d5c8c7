//! HellaSwag: which of four endings goes on with a scene? (Zellers et al., 2019.)

use super::{Card, Item, Style, Task, choose_after, foundry};
use crate::data::fields::Fields;
use crate::error::Result;

/// The task.
pub struct HellaSwag;

impl Task for HellaSwag {
    fn card(&self) -> Card {
        Card {
            name: "hellaswag",
            measures: "accuracy: which of four endings goes on with a scene",
            fields: "activity_label, ctx_a, ctx_b, endings, label (0 to 3); or query, choices, gold",
            source: "HellaSwag, hellaswag_val.jsonl (10,042 documents); llm-foundry's hellaswag.jsonl",
            files: &["hellaswag_val", "hellaswag_small"],
            styles: &[Style::LmEval, Style::Paper],
            paper: "175B, zero-shot/few-shot (15): GPT .781/.791, SFT .753/.741, PPO .743/.759, PPO-ptx .807/.820",
            instructed: false,
        }
    }

    /// Paper, figure 21.
    fn head(&self, style: Style) -> &'static str {
        match style {
            Style::Paper => "Complete each independent paragraph using common-sense reasoning.\n\n",
            Style::LmEval => "",
        }
    }

    fn item(&self, document: &Fields, _: Style) -> Result<Item> {
        if let Some((query, choices, gold)) = foundry(document)? {
            return choose_after(document, query, " ", &choices, gold);
        }
        document.require(&["activity_label", "ctx_a", "ctx_b", "endings", "label"])?;
        let [activity, first] = [document.required_text("activity_label")?, document.required_text("ctx_a")?];
        let second = capitalised(document.required_text("ctx_b")?);
        let prompt = cleaned(&format!("{activity}: {first} {second}"));
        let endings: Vec<String> =
            document.required_texts("endings")?.iter().map(|text| cleaned(text)).collect();
        choose_after(document, prompt, " ", &endings, document.whole_number("label")?)
    }
}

/// A capital first and small letters after it, as Python's `capitalize`, which lm-evaluation-harness applies.
fn capitalised(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map_or(String::new(), |first| {
        first.to_uppercase().chain(rest.as_str().chars().flat_map(char::to_lowercase)).collect()
    })
}

/// WikiHow's marks taken out, as lm-evaluation-harness does: ` [title]` ends a sentence, what else stands in brackets on
/// one line goes, and then two spaces become one.
fn cleaned(text: &str) -> String {
    let text = text.trim().replace(" [title]", ". ");
    let mut kept = String::new();
    let mut rest = text.as_str();
    while let Some(open) = rest.find('[') {
        kept.push_str(&rest[..open]);
        let inside = &rest[open..];
        let line = &inside[..inside.find('\n').unwrap_or(inside.len())];
        match line.find(']') {
            Some(close) => rest = &inside[close + 1..],
            None => {
                kept.push('[');
                rest = &inside[1..];
            }
        }
    }
    kept.push_str(rest);
    kept.replace("  ", " ")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{asked, items};
    use super::*;

    #[test]
    fn a_scene_and_its_endings() {
        let record = r#"{"activity_label":"Cooking","ctx_a":"A man cooks. ","ctx_b":"then HE","ctx":"..",
            "endings":["eats.","[step] sleeps  well."],"label":"1","split":"val"}"#
            .replace('\n', " ");
        let found = asked(&HellaSwag, Style::LmEval, &record);
        assert_eq!(found[0][0], ("Cooking: A man cooks. Then he".into(), " eats.".into(), false));
        assert_eq!(found[0][1].1, "  sleeps well.");
        assert!(found[0][1].2);
        let example = items(&HellaSwag, Style::Paper, &record).unwrap()[0].example.clone().unwrap();
        assert_eq!(example, "Cooking: A man cooks. Then he  sleeps well.");
    }

    /// What Python's `re.sub("\\[.*?\\]", "", ..)` and `replace` give.
    #[test]
    fn marks_are_taken_out() {
        for (text, expected) in [
            (" How to [title] Wash [step] it ", "How to.  Wash it".replace("  ", " ").as_str()),
            ("a [b [c] d] e", "a d] e"),
            ("a [b\nc] d", "a [b\nc] d"),
            ("a [ b", "a [ b"),
            ("a    b", "a  b"),
        ] {
            assert_eq!(cleaned(text), expected);
        }
        assert_eq!(capitalised("éCOLE And"), "École and");
    }
}
