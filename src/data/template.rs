//! How an Alpaca-style record (`instruction`, perhaps `input`) becomes a prompt.

use serde::{Deserialize, Serialize};

use crate::text::PromptFormat;

/// The text around instruction and input. By default
/// `### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n`, where the input's part is
/// left out if the input is empty. (Alpaca's own has a sentence before it: set it in `instruction`.)
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InstructionTemplate {
    /// Before the instruction.
    pub instruction: String,
    /// Between instruction and input.
    pub input: String,
    /// Before the answer.
    pub response: String,
}

impl Default for InstructionTemplate {
    fn default() -> Self {
        InstructionTemplate {
            instruction: "### Instruction:\n".to_string(),
            input: "\n\n### Input:\n".to_string(),
            response: "\n\n### Response:\n".to_string(),
        }
    }
}

impl InstructionTemplate {
    /// The prompt of a record.
    pub fn render(&self, instruction: &str, input: &str) -> String {
        let parts = match input.is_empty() {
            true => [&self.instruction, instruction, "", "", &self.response],
            false => [&self.instruction, instruction, &self.input, input, &self.response],
        };
        parts.concat()
    }
}

/// The form of a record without an input, which goes with a model that was trained on such records.
impl From<&InstructionTemplate> for PromptFormat {
    fn from(template: &InstructionTemplate) -> PromptFormat {
        PromptFormat::new(&template.instruction, &template.response, "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_input_leaves_no_trace() {
        let template = InstructionTemplate::default();
        assert_eq!(
            template.render("Add.", "1 2"),
            "### Instruction:\nAdd.\n\n### Input:\n1 2\n\n### Response:\n"
        );
        assert_eq!(template.render("Hi", ""), "### Instruction:\nHi\n\n### Response:\n");
        assert_eq!(PromptFormat::from(&template).prompt("Hi"), template.render("Hi", ""));
    }
}
