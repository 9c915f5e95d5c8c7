//! Writing a tokenizer as `transformers` reads it (`GPT2TokenizerFast`, `AutoTokenizer`): the contents of
//! each file as text. Ids, merges, token texts and added tokens come out as they were read or learned; the token that
//! ends a text is `<|endoftext|>`. Special tokens around a whole text are not written: nothing is trained with them.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde_json::{Value, json};

use super::added::AddedToken;
use super::encode::Merge;
use super::{END_OF_TEXT, Tokenizer, bytes};

impl Tokenizer {
    /// `vocab.json`: token to id, in the order of the ids.
    pub fn vocab_json(&self) -> String {
        let entries: Vec<String> =
            self.entries().map(|(id, text)| format!("{}: {id}", json!(text))).collect();
        format!("{{{}}}\n", entries.join(", "))
    }

    /// `merges.txt`: a version line, then one merge a line in the order in which they apply.
    pub fn merges_txt(&self) -> String {
        let mut text = String::from("#version: 0.2\n");
        for (left, right) in self.merge_texts() {
            text.extend([&*left, " ", &*right, "\n"]);
        }
        text
    }

    /// `tokenizer.json`: vocabulary, merges and every setting in one file.
    pub fn tokenizer_json(&self) -> String {
        let byte_level = json!({
            "type": "ByteLevel", "add_prefix_space": self.prefix_space, "trim_offsets": true, "use_regex": true
        });
        let added: Vec<String> = self.added_tokens().map(|(_, token)| token.to_string()).collect();
        let merges: Vec<String> =
            self.merge_texts().map(|(left, right)| json!([left, right]).to_string()).collect();
        // The model is written by hand: JSON objects in memory would lose the order of the ids.
        format!(
            concat!(
                "{{\"version\": \"1.0\", \"truncation\": null, \"padding\": null, \"added_tokens\": [{added}], ",
                "\"normalizer\": null, \"pre_tokenizer\": {byte_level}, \"post_processor\": {byte_level}, ",
                "\"decoder\": {byte_level}, \"model\": {{\"type\": \"BPE\", \"dropout\": null, \"unk_token\": null, ",
                "\"continuing_subword_prefix\": \"\", \"end_of_word_suffix\": \"\", \"fuse_unk\": false, ",
                "\"byte_fallback\": false, \"ignore_merges\": false,\n\"vocab\": {vocab},\n\"merges\": [{merges}]}}}}\n",
            ),
            added = added.join(", "),
            byte_level = byte_level,
            vocab = self.vocab_json().trim_end(),
            merges = merges.join(", "),
        )
    }

    /// `tokenizer_config.json`; `context` is the longest sequence the model takes, where there is one.
    pub fn tokenizer_config_json(&self, context: Option<usize>) -> String {
        let mut config = json!({
            "tokenizer_class": "GPT2Tokenizer", "add_prefix_space": self.prefix_space, "add_bos_token": false,
            "clean_up_tokenization_spaces": false, "errors": "replace",
            "bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT, "unk_token": END_OF_TEXT
        });
        if let Some(context) = context {
            config["model_max_length"] = Value::from(context);
        }
        if let Some(format) = &self.prompt_format {
            config["chat_template"] = Value::from(format.chat_template());
        }
        if self.added.split_special {
            config["split_special_tokens"] = Value::from(true);
        }
        // Without tokenizer.json they stand nowhere else.
        if self.added_tokens().nth(1).is_some() {
            config["added_tokens_decoder"] = self
                .added_tokens()
                .map(|(id, mut token)| {
                    token.as_object_mut().expect("an object").remove("id");
                    (id.to_string(), token)
                })
                .collect::<serde_json::Map<_, _>>()
                .into();
        }
        format!("{config:#}\n")
    }

    /// `special_tokens_map.json`.
    pub fn special_tokens_map_json(&self) -> String {
        let map = json!({ "bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT, "unk_token": END_OF_TEXT });
        format!("{map:#}\n")
    }

    /// `<|endoftext|>` and all other added tokens, each with its id and its flags.
    fn added_tokens(&self) -> impl Iterator<Item = (u32, Value)> {
        let end_of_text = AddedToken {
            content: END_OF_TEXT.into(),
            id: self.end_of_text,
            special: true,
            normalized: false,
        };
        let others = self.added.list.iter().filter(|token| token.content != END_OF_TEXT).cloned();
        core::iter::once(end_of_text).chain(others).map(|token| {
            let AddedToken { content, id, special, normalized } = token;
            let value = json!({
                "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": normalized, "special": special
            });
            (id, value)
        })
    }

    /// All tokens with their texts, in the order of the ids.
    fn entries(&self) -> impl Iterator<Item = (u32, Cow<'_, str>)> {
        (0..self.tokens.len() as u32).filter_map(|id| Some((id, self.text(id)?)))
    }

    /// The two sides of each merge, in order.
    fn merge_texts(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        let side = |id| self.text(id).expect("the sides of a merge are tokens");
        self.merges.by_rank().iter().map(move |&Merge { left, right, .. }| (side(left), side(right)))
    }

    /// A token's text in a file.
    fn text(&self, id: u32) -> Option<Cow<'_, str>> {
        match self.unmade.get(&id) {
            Some(text) => Some(Cow::Borrowed(text)),
            None => self.token(id).map(|token| Cow::Owned(bytes::text_of(token))),
        }
    }
}
