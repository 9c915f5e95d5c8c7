//! How a record's fields become a prompt. Three forms: a prompt as it stands, an instruction (Alpaca-style, perhaps
//! with an input), and the turns of a dialogue (hh-rlhf).

use std::collections::BTreeMap;

use crate::text::PromptFormat;

/// The text around instruction and input. By default
/// `### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n`, where the input's part is
/// left out if the input is empty. (Alpaca's own has a sentence before it: set it in `instruction`.)
///
/// What of it goes with a model: see [`PromptForms::format`].
#[derive(Debug, Clone, PartialEq, Eq)]
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
        InstructionTemplate::new("### Instruction:\n", "\n\n### Input:\n", "\n\n### Response:\n")
    }
}

impl InstructionTemplate {
    /// From the text before the instruction, between instruction and input, and before the answer.
    pub fn new(instruction: &str, input: &str, response: &str) -> Self {
        let [instruction, input, response] = [instruction, input, response].map(str::to_string);
        InstructionTemplate { instruction, input, response }
    }

    /// The prompt of a record. An input of blanks only is none.
    pub fn render(&self, instruction: &str, input: &str) -> String {
        let parts = match input.trim().is_empty() {
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

/// The form of a record's prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PromptForm {
    /// A field `prompt`, used as it stands.
    Stated,
    /// A field `instruction`, put into the template.
    Instruction,
    /// The turns of a dialogue.
    Dialogue,
}

impl PromptForm {
    /// Its name in notes.
    pub fn name(self) -> &'static str {
        match self {
            PromptForm::Stated => "as they stand",
            PromptForm::Instruction => "in the instruction template",
            PromptForm::Dialogue => "as dialogues",
        }
    }
}

/// How many records have prompts of each form.
pub type FormCounts = BTreeMap<PromptForm, usize>;

/// How records of every form become prompts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PromptForms {
    /// For instructions.
    pub template: InstructionTemplate,
    /// What joins a stated prompt and its response: put at the end of the prompt. By default nothing.
    pub joint: String,
    /// How the files call our fields, by our names: `prompt` may be their `question`. By default as we do.
    pub columns: BTreeMap<String, String>,
}

impl PromptForms {
    /// How a bare instruction becomes a prompt of that form. (The turns of hh-rlhf's dialogues begin with a blank.)
    pub fn format(&self, form: PromptForm) -> PromptFormat {
        match form {
            PromptForm::Stated => PromptFormat::new("", &self.joint, ""),
            PromptForm::Instruction => PromptFormat::from(&self.template),
            PromptForm::Dialogue => PromptFormat::new("\n\nHuman: ", "\n\nAssistant:", " "),
        }
    }

    /// The format for a model that has learnt from such records: that of the form which most of them have (of equals,
    /// the first). `None` without any record.
    pub fn most_common(&self, counts: &FormCounts) -> Option<PromptFormat> {
        let (form, _) = counts.iter().rev().max_by_key(|(_, count)| **count)?;
        Some(self.format(*form))
    }
}

/// A prompt ready for the tokenizer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rendered {
    pub prompt: String,
    pub form: PromptForm,
    /// Nothing is asked: only the words of a template are there.
    pub empty: bool,
}

impl PromptForms {
    pub(super) fn stated(&self, prompt: &str) -> Rendered {
        let empty = prompt.trim().is_empty();
        Rendered { prompt: [prompt, &self.joint].concat(), form: PromptForm::Stated, empty }
    }

    pub(super) fn instruction(&self, instruction: &str, input: &str) -> Rendered {
        let empty = instruction.trim().is_empty() && input.trim().is_empty();
        Rendered { prompt: self.template.render(instruction, input), form: PromptForm::Instruction, empty }
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
        for empty in ["", " \n"] {
            assert_eq!(template.render("Hi", empty), "### Instruction:\nHi\n\n### Response:\n");
        }
    }

    #[test]
    fn every_form_has_its_format() {
        let forms = PromptForms { joint: "\nA:".into(), ..PromptForms::default() };
        assert_eq!(forms.format(PromptForm::Stated).prompt("Hi"), forms.stated("Hi").prompt);
        assert_eq!(forms.format(PromptForm::Instruction).prompt("Hi"), forms.instruction("Hi", "").prompt);
        assert_eq!(forms.format(PromptForm::Dialogue).prompt("Hi"), "\n\nHuman: Hi\n\nAssistant:");
        let counts = |counts: &[(PromptForm, usize)]| counts.iter().copied().collect::<FormCounts>();
        let [s, i, d] = [PromptForm::Stated, PromptForm::Instruction, PromptForm::Dialogue];
        for (counts, most) in [
            (counts(&[(s, 1), (i, 2), (d, 1)]), Some(i)),
            (counts(&[(i, 2), (d, 2)]), Some(i)),
            (counts(&[(d, 3), (s, 2)]), Some(d)),
            (counts(&[]), None),
        ] {
            assert_eq!(forms.most_common(&counts), most.map(|form| forms.format(form)));
        }
    }

    #[test]
    fn what_is_asked_decides_what_is_empty() {
        let forms = PromptForms { joint: "A:".into(), ..PromptForms::default() };
        assert!(forms.stated(" ").empty && forms.instruction("", " \n").empty);
        assert!(!forms.instruction("", "x").empty && !forms.instruction("x", "").empty);
    }
}
