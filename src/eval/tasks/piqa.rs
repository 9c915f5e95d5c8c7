//! PIQA: which of two ways reaches a goal of daily life? (Bisk et al., 2020.)

use super::{Card, Item, Style, Task, choose_after, foundry, label};
use crate::data::fields::Fields;
use crate::error::Result;

/// The task.
pub struct Piqa;

impl Task for Piqa {
    fn card(&self) -> Card {
        Card {
            name: "piqa",
            measures: "accuracy: which of two ways reaches a goal of daily life",
            fields: "goal, sol1, sol2, label (0 or 1); or query (Question: ..), choices, gold",
            source: "PIQA's validation set (1,838 documents); llm-foundry's piqa.jsonl",
            files: &[],
            styles: &[Style::LmEval],
            paper: "none: the paper does not have this task",
            instructed: false,
        }
    }

    fn item(&self, document: &Fields, _: Style) -> Result<Item> {
        let (goal, choices, right) = match foundry(document)? {
            // llm-foundry's query has the first word and the line's end of its prompt.
            Some((query, choices, gold)) => {
                let goal = query.strip_prefix("Question: ").unwrap_or(&query);
                (goal.trim_end_matches('\n').to_string(), choices, gold)
            }
            None => {
                document.require(&["goal", "sol1", "sol2", "label"])?;
                let text = |name| document.required_text(name).map(str::to_string);
                (
                    text("goal")?,
                    vec![text("sol1")?, text("sol2")?],
                    label(document, "label", &["sol1", "sol2"])?,
                )
            }
        };
        choose_after(document, format!("Question: {goal}\nAnswer:"), " ", &choices, right)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::asked;
    use super::*;

    #[test]
    fn both_layouts_ask_the_same() {
        let ours = r#"{"goal":"ice box","sol1":"add water","sol2":"add soda","label":0}"#;
        let foundry = r#"{"query":"Question: ice box\n","choices":["add water","add soda"],"gold":0}"#;
        let found = asked(&Piqa, Style::LmEval, ours);
        assert_eq!(found, asked(&Piqa, Style::LmEval, foundry));
        assert_eq!(found[0][0], ("Question: ice box\nAnswer:".into(), " add water".into(), true));
    }
}
