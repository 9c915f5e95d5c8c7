//! What a prompt asks, by which prompts are compared: the text that a person would call the same question. White space
//! counts as one space, and neither the template's words around an instruction nor what joins a stated prompt and its
//! response count, so `Add.\n1 2` and the same question inside of the template are one.

use super::{InstructionTemplate, PromptForms};

/// How prompts are compared.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NormalForm {
    /// Their words do not count.
    pub forms: PromptForms,
    /// Prompts whose first `prefix` characters agree count as one prompt; 0: only those that agree as a whole.
    pub prefix: usize,
}

impl NormalForm {
    /// All that a prompt asks.
    pub fn whole(&self, prompt: &str) -> String {
        let words = spaced(prompt);
        let PromptForms { template: InstructionTemplate { instruction, input, response }, joint, .. } =
            &self.forms;
        let inside = words.strip_prefix(&spaced(instruction)).and_then(|w| w.strip_suffix(&spaced(response)));
        let stated = words.strip_suffix(&spaced(joint)).unwrap_or(&words);
        let inside = inside.unwrap_or(stated).trim();
        match format!(" {} ", spaced(input)) {
            input if input.trim().is_empty() => inside.to_string(),
            input => inside.replacen(&input, " ", 1),
        }
    }

    /// Its beginning: what is equal for prompts that count as one.
    pub fn beginning(&self, prompt: &str) -> String {
        let mut text = self.whole(prompt);
        if let Some((end, _)) = text.char_indices().nth(self.prefix).filter(|_| self.prefix > 0) {
            text.truncate(end);
        }
        text
    }
}

/// The words with one space between them.
fn spaced(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_and_the_template_do_not_count() {
        let form = NormalForm::default();
        let rendered = form.forms.template.render("Add the\nnumbers.", "1 2");
        for prompt in [rendered.as_str(), rendered.trim(), "Add the numbers.\n1 2", " Add the numbers. 1 2\n"]
        {
            assert_eq!(form.whole(prompt), "Add the numbers. 1 2", "{prompt:?}");
        }
        assert_eq!(form.whole(&form.forms.template.render("Hi", "")), "Hi");
        assert_eq!(form.whole("\n\nHuman: q\n\nAssistant:"), "Human: q Assistant:");
        assert_ne!(form.whole("add"), form.whole("Add"));
        let none = InstructionTemplate { instruction: "".into(), input: "".into(), response: "".into() };
        assert_eq!(
            NormalForm { forms: PromptForms { template: none, ..PromptForms::default() }, prefix: 0 }
                .whole("a ### Input: b"),
            "a ### Input: b"
        );
    }

    #[test]
    fn what_joins_prompt_and_response_does_not_count() {
        let forms = PromptForms { joint: "\nAnswer: ".into(), ..PromptForms::default() };
        let form = NormalForm { forms, prefix: 0 };
        assert_eq!(form.whole("Why?\nAnswer: "), "Why?");
        assert_eq!(form.whole("Why?"), "Why?");
    }

    #[test]
    fn the_beginning_is_counted_in_characters_behind_the_template() {
        let form = NormalForm { prefix: 4, ..NormalForm::default() };
        assert_eq!(form.beginning("éabcX"), "éabc");
        assert_eq!(form.beginning(&form.forms.template.render("éabcX", "")), "éabc");
        assert_eq!(form.beginning("éab"), "éab");
        assert_eq!(NormalForm::default().beginning("éabcX"), "éabcX");
    }
}
