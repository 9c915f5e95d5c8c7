//! What stands around a request and before its answer: the form in which a model was taught to answer. It goes with
//! the model (`prompt_format.json`), and for users of `transformers` as a `chat_template`.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};

use serde::{Deserialize, Serialize};

use super::json;
use crate::error::{Error, Result};

/// The texts around a request and before its answer. All of them may be empty.
///
/// ```
/// # use instructgpt::text::PromptFormat;
/// let format = PromptFormat::new("### Instruction:\n", "\n\n### Response:\n", "");
/// assert_eq!(format.prompt("Hi"), "### Instruction:\nHi\n\n### Response:\n");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptFormat {
    /// Before the request.
    pub before_prompt: String,
    /// After the request; the model writes on from here.
    pub after_prompt: String,
    /// With what every answer begins: it belongs to the answer, as its first token does.
    #[serde(default)]
    pub before_response: String,
}

impl PromptFormat {
    /// From its three texts.
    pub fn new(before_prompt: &str, after_prompt: &str, before_response: &str) -> Self {
        let [before_prompt, after_prompt, before_response] =
            [before_prompt, after_prompt, before_response].map(String::from);
        PromptFormat { before_prompt, after_prompt, before_response }
    }

    /// Reads the contents of a `prompt_format.json`; `origin` names it in messages.
    ///
    /// # Errors
    /// [`Error::Format`].
    pub fn parse(text: &str, origin: &str) -> Result<Self> {
        let expected = "{\"before_prompt\": .., \"after_prompt\": .., \"before_response\": ..}";
        json::parse(text.as_bytes())
            .and_then(serde_json::from_value)
            .map_err(|error| Error::format(origin, "", expected, error, ""))
    }

    /// The contents of a `prompt_format.json`.
    pub fn to_json(&self) -> String {
        let text = serde_json::to_string_pretty(self).expect("texts are JSON");
        format!("{text}\n")
    }

    /// Whether a prompt is in this form already: it begins and ends so. Such a prompt is taken as it is.
    pub fn is_in_form(&self, prompt: &str) -> bool {
        let inside =
            prompt.strip_prefix(&*self.before_prompt).and_then(|text| text.strip_suffix(&*self.after_prompt));
        inside.is_some() && !(self.before_prompt.is_empty() && self.after_prompt.is_empty())
    }

    /// The prompt of a request.
    pub fn prompt<'a>(&self, request: &'a str) -> Cow<'a, str> {
        match self.is_in_form(request) {
            true => Cow::Borrowed(request),
            false => Cow::Owned(format!("{}{request}{}", self.before_prompt, self.after_prompt)),
        }
    }

    /// The response of an answer: it begins as every answer does.
    pub fn response<'a>(&self, answer: &'a str) -> Cow<'a, str> {
        match answer.starts_with(&*self.before_response) {
            true => Cow::Borrowed(answer),
            false => Cow::Owned(format!("{}{answer}", self.before_response)),
        }
    }

    /// The form in Jinja, as `apply_chat_template` of `transformers` takes it: one message of the user's, and perhaps
    /// the answer, each wrapped as [`PromptFormat::prompt`] and [`PromptFormat::response`] do. The model has learned
    /// nothing else, so a system message and further turns raise an exception.
    pub fn chat_template(&self) -> String {
        // A JSON string is also one of Jinja's.
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let [before, after, response] =
            [&self.before_prompt, &self.after_prompt, &self.before_response].map(|text| quoted(text));
        let wrong = "this model has learned to answer one request: expected a user message, perhaps with an assistant \
                     message after it";
        let least = self.before_prompt.chars().count() + self.after_prompt.chars().count();
        let in_form = format!(
            "{least} > 0 and request | length >= {least} and request.startswith({before}) and \
             request.endswith({after})"
        );
        [
            "{%- if messages | length not in [1, 2] or messages[0]['role'] != 'user' or (messages | length == 2 and \
             messages[1]['role'] != 'assistant') -%}",
            &format!("{{{{- raise_exception({}) -}}}}", quoted(wrong)),
            "{%- endif -%}",
            "{%- set request = messages[0]['content'] -%}",
            &format!("{{{{- request if {in_form} else {before} + request + {after} -}}}}"),
            "{%- if messages | length == 2 -%}",
            "{%- set answer = messages[1]['content'] -%}",
            &format!("{{{{- (answer if answer.startswith({response}) else {response} + answer) + eos_token -}}}}"),
            "{%- endif -%}",
        ]
        .concat()
    }
}

/// An answer as it is sampled, without the text with which every answer begins.
#[derive(Debug, Clone, Default)]
pub struct AnswerStream {
    /// What is still to be left out, if the answer begins so.
    begins: String,
    held: String,
}

impl AnswerStream {
    /// Leaves out the beginning `begins`.
    pub fn new(begins: &str) -> Self {
        AnswerStream { begins: begins.to_string(), held: String::new() }
    }

    /// Takes the next piece and returns what can be shown.
    pub fn push(&mut self, piece: &str) -> String {
        self.held.push_str(piece);
        if self.held.len() < self.begins.len() && self.begins.starts_with(&*self.held) {
            return String::new();
        }
        let shown = self.held.strip_prefix(&*self.begins).unwrap_or(&self.held).to_string();
        self.begins.clear();
        self.held.clear();
        shown
    }

    /// What was held back, at the end.
    pub fn finish(&mut self) -> String {
        core::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_request_is_wrapped_once() {
        let format = PromptFormat::new("Request: ", "\nAnswer:", " ");
        let prompt = format.prompt("Hi");
        assert_eq!(prompt, "Request: Hi\nAnswer:");
        assert_eq!(format.prompt(&prompt), prompt);
        assert_eq!(format.prompt("Request: Hi"), "Request: Request: Hi\nAnswer:");
        assert_eq!((&*format.response("Yes"), &*format.response(" Yes")), (" Yes", " Yes"));
        assert_eq!(PromptFormat::default().prompt("Hi"), "Hi");
        // The two texts may not overlap.
        assert!(!PromptFormat::new("aa", "ab", "").is_in_form("aab"));
    }

    #[test]
    fn it_is_written_and_read() {
        let format = PromptFormat::new("a\n\"", "é", "");
        assert_eq!(PromptFormat::parse(&format.to_json(), "x"), Ok(format.clone()));
        // Jinja reads JSON's strings; transformers itself is asked by reference/check_export.py.
        let template = format.chat_template();
        assert!(
            template.contains(r#"else "a\n\"" + request + "é" -}}"#) && template.contains("length >= 4"),
            "{template}"
        );
        for (text, word) in
            [("[]", "before_prompt"), ("{\"before_prompt\": \"\"}", "after_prompt"), ("{", "EOF")]
        {
            let error = PromptFormat::parse(text, "prompt_format.json").unwrap_err().to_string();
            assert!(error.starts_with("prompt_format.json: ") && error.contains(word), "{error}");
        }
    }

    proptest! {
        #[test]
        fn a_stream_leaves_out_the_beginning(begins in "[a ]{0,3}", pieces in proptest::collection::vec("[a b]{0,2}", 0..5)) {
            let mut stream = AnswerStream::new(&begins);
            let mut shown: String = pieces.iter().map(|piece| stream.push(piece)).collect();
            shown += &stream.finish();
            let whole = pieces.concat();
            prop_assert_eq!(shown, whole.strip_prefix(&*begins).unwrap_or(&whole));
        }
    }
}
