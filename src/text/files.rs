//! Reading a vocabulary and its merges: GPT-2's `vocab.json` and `merges.txt` (or `encoder.json` and `vocab.bpe`, the
//! same under other names), or Hugging Face's `tokenizer.json`. From text in memory; who reads files is the caller.
//! What else a directory says about its tokenizer is [`super::hub`]'s.
//!
//! A file that would tokenize otherwise than GPT-2 (a normalizer, another kind of model) is refused, not half
//! understood.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::encode::Merge;
use super::fields::{self, TOKENIZER_JSON};
use super::json::Strict;
use super::{END_OF_TEXT, MAX_VOCAB_SIZE, Tokenizer, bytes};
use crate::error::{Error, Result};

impl Tokenizer {
    /// Reads the contents of `vocab.json` and `merges.txt`; `origins` name the two in messages.
    ///
    /// # Errors
    /// JSON that is none, an id twice or too large, a byte without a token, no `<|endoftext|>`, a line of
    /// the merges that is not two tokens of the vocabulary, or whose two make none.
    pub fn from_vocab_and_merges(vocab_json: &str, merges: &str, origins: [&str; 2]) -> Result<Tokenizer> {
        Model::from_vocab_and_merges(vocab_json, merges, origins)?.build(&BTreeSet::new())
    }
}

/// A vocabulary and its merges as they were read, not yet checked against each other.
pub(super) struct Model {
    /// Texts and ids, in the order of the file.
    pub(super) entries: Vec<(String, u32)>,
    /// The sides of each merge, and its number in the file.
    pairs: Vec<(String, String, usize)>,
    /// What `entries` are read from.
    pub(super) origin: String,
    /// What `pairs` are read from, and of what they have the number.
    merges_origin: String,
    numbered: &'static str,
}

impl Model {
    /// See [`Tokenizer::from_vocab_and_merges`].
    pub(super) fn from_vocab_and_merges(vocab_json: &str, merges: &str, origins: [&str; 2]) -> Result<Model> {
        let [origin, merges_origin] = origins.map(String::from);
        let Vocabulary(entries) = serde_json::from_str(vocab_json).map_err(|e| json_error(e, &origin))?;
        let mut pairs = Vec::new();
        for (number, line) in merges.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
            if number == 0 && line.starts_with("#version") {
                continue;
            }
            let Some((left, right)) = split_pair(line) else {
                let (at, expected) =
                    (format!("line {}", number + 1), "two tokens with one space between them");
                return Err(Error::format(merges_origin, at, expected, quoted(line), ""));
            };
            pairs.push((left, right, number + 1));
        }
        Ok(Model { entries, pairs, origin, merges_origin, numbered: "line" })
    }

    /// Puts tokens and merges together, checking one against the other. The texts of `literal` tokens are themselves;
    /// in all others each character stands for a byte.
    pub(super) fn build(self, literal: &BTreeSet<&str>) -> Result<Tokenizer> {
        let Model { entries, pairs, origin, merges_origin, numbered } = &self;
        let wrong = |text: &str, expected: &str, found: String| {
            Error::format(origin, format!("token {}", quoted(text)), expected, found, "")
        };
        let mut texts: Vec<Option<&str>> =
            vec![None; entries.iter().map(|e| e.1 as usize + 1).max().unwrap_or(0)];
        let mut ids = BTreeMap::new();
        for (text, id) in entries {
            if let Some(other) = texts[*id as usize].replace(text) {
                return Err(wrong(text, "an id of its own", format!("{id}, which {} has", quoted(other))));
            }
            if ids.insert(text.as_str(), *id).is_some() {
                return Err(wrong(text, "each token once", "it twice".to_string()));
            }
        }
        let mut byte_ids = [0; 256];
        for byte in 0..=255u8 {
            let symbol = bytes::text_of(&[byte]);
            byte_ids[byte as usize] = *ids.get(symbol.as_str()).ok_or_else(|| {
                let expected = format!("the token {} of byte 0x{byte:02x}", quoted(&symbol));
                Error::format(origin, "vocabulary", expected, "none", "byte-level BPE needs all 256 bytes")
            })?;
        }
        let Some(&end_of_text) = ids.get(END_OF_TEXT) else {
            let hint = "it ends documents and responses; without it no text can be used";
            let expected = format!("the token \"{END_OF_TEXT}\"");
            return Err(Error::format(origin, "vocabulary", expected, "none", hint));
        };
        let mut merges = Vec::with_capacity(pairs.len());
        let mut made: Vec<bool> = vec![false; texts.len()];
        let mut seen = BTreeMap::new();
        for (left, right, number) in pairs {
            let wrong = |expected: &str, found: String| {
                Error::format(merges_origin, format!("{numbered} {number}"), expected, found, "")
            };
            let id_of = |text: &str| {
                ids.get(text).copied().ok_or_else(|| wrong("tokens of the vocabulary", quoted(text)))
            };
            let merge =
                Merge { left: id_of(left)?, right: id_of(right)?, result: id_of(&format!("{left}{right}"))? };
            if merge.result == end_of_text {
                return Err(wrong("a merge of plain text", quoted(END_OF_TEXT)));
            }
            if let Some(earlier) = seen.insert((merge.left, merge.right), number) {
                return Err(wrong("each pair once", format!("the pair of {earlier} again")));
            }
            made[merge.result as usize] = true;
            merges.push(merge);
        }
        byte_ids.iter().for_each(|&id| made[id as usize] = true);
        // A token that text becomes anyway would otherwise stand for two strings.
        let two = |text: &&str| made[ids[text] as usize] && bytes::bytes_of(text) != text.as_bytes();
        if let Some(text) = literal.iter().copied().find(two) {
            return Err(wrong(
                text,
                "an added token that is no other in the vocabulary",
                "one that is".to_string(),
            ));
        }
        let bytes_of = |text: &str| match literal.contains(text) {
            true => text.as_bytes().into(),
            false => bytes::bytes_of(text).into_boxed_slice(),
        };
        let tokens = texts.iter().map(|text| text.map(bytes_of)).collect();
        let unmade = texts.iter().zip(0..).filter(|&(_, id)| !made[id as usize]);
        let unmade = unmade.filter_map(|(text, id)| Some((id, text.as_ref()?.to_string()))).collect();
        Ok(Tokenizer::assemble(tokens, unmade, byte_ids, merges, end_of_text))
    }
}

/// `tokenizer.json`, as far as it decides the tokens. [`TOKENIZER_JSON`] says what becomes of each field.
#[derive(Deserialize)]
pub(super) struct File {
    #[serde(default)]
    pub(super) added_tokens: Vec<Strict>,
    #[serde(default)]
    normalizer: Strict,
    #[serde(default)]
    pre_tokenizer: Strict,
    #[serde(default)]
    pub(super) post_processor: Strict,
    #[serde(default)]
    decoder: Strict,
    model: FileModel,
}

#[derive(Deserialize)]
struct FileModel {
    #[serde(default, rename = "type")]
    kind: Value,
    #[serde(default)]
    dropout: Value,
    #[serde(default)]
    continuing_subword_prefix: Value,
    #[serde(default)]
    end_of_word_suffix: Value,
    #[serde(default)]
    ignore_merges: Value,
    vocab: Vocabulary,
    merges: Vec<Pair>,
}

impl File {
    /// Reads the file and refuses what would tokenize otherwise than GPT-2.
    pub(super) fn read(text: &str, origin: &str) -> Result<File> {
        let file: File = serde_json::from_str(text).map_err(|e| json_error(e, origin))?;
        let (model, pre) = (&file.model, &file.pre_tokenizer.0);
        for (field, value) in [
            ("model.type", &model.kind),
            ("model.dropout", &model.dropout),
            ("model.continuing_subword_prefix", &model.continuing_subword_prefix),
            ("model.end_of_word_suffix", &model.end_of_word_suffix),
            ("model.ignore_merges", &model.ignore_merges),
            ("normalizer", &file.normalizer.0),
            ("pre_tokenizer.type", &pre["type"]),
            ("pre_tokenizer.use_regex", &pre["use_regex"]),
            ("decoder.type", &file.decoder.0["type"]),
        ] {
            if !value.is_null() {
                fields::of(field, TOKENIZER_JSON).of(field, value, origin)?;
            }
        }
        // Without one, a text would be a single word.
        let (is_there, flag) = (!pre["type"].is_null(), &pre["add_prefix_space"]);
        if !is_there || !flag.is_boolean() {
            let field = if is_there { "pre_tokenizer.add_prefix_space" } else { "pre_tokenizer.type" };
            let expected = if is_there { "true or false" } else { "\"ByteLevel\"" };
            let found = if is_there { flag } else { &pre["type"] };
            let hint = "only GPT-2's byte-level BPE is read";
            return Err(Error::format(origin, format!("field \"{field}\""), expected, found, hint));
        }
        Ok(file)
    }

    /// Whether a space is put before a text.
    pub(super) fn prefix_space(&self) -> bool {
        self.pre_tokenizer.0["add_prefix_space"] == true
    }

    /// Its vocabulary and merges.
    pub(super) fn into_model(self, origin: &str) -> Model {
        let pairs = self.model.merges.into_iter().zip(1..);
        Model {
            entries: self.model.vocab.0,
            pairs: pairs.map(|(Pair(left, right), number)| (left, right, number)).collect(),
            origin: origin.to_string(),
            merges_origin: origin.to_string(),
            numbered: "field \"merges\", entry",
        }
    }
}

/// A JSON object of token to id, in the order of the file; a key may not come twice.
struct Vocabulary(Vec<(String, u32)>);

impl<'de> Deserialize<'de> for Vocabulary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> core::result::Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Vocabulary;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of token to id")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> core::result::Result<Vocabulary, A::Error> {
                let mut entries = Vec::new();
                while let Some((text, Id(id))) = map.next_entry()? {
                    entries.push((text, id));
                }
                Ok(Vocabulary(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// A token id below [`MAX_VOCAB_SIZE`].
struct Id(u32);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> core::result::Result<Self, D::Error> {
        id(deserializer).map(Id)
    }
}

fn id<'de, D: Deserializer<'de>>(deserializer: D) -> core::result::Result<u32, D::Error> {
    let id = u64::deserialize(deserializer)?;
    if id < MAX_VOCAB_SIZE as u64 {
        return Ok(id as u32);
    }
    Err(de::Error::custom(format!("id {id}, where the largest allowed is {}", MAX_VOCAB_SIZE - 1)))
}

/// A merge: `"a b"`, or `["a", "b"]` as newer files have it.
struct Pair(String, String);

impl<'de> Deserialize<'de> for Pair {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> core::result::Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Pair;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a merge: \"a b\" or [\"a\", \"b\"]")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> core::result::Result<Pair, E> {
                let wrong = || E::invalid_value(de::Unexpected::Str(text), &self);
                split_pair(text).map(|(left, right)| Pair(left, right)).ok_or_else(wrong)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> core::result::Result<Pair, A::Error> {
                let left = seq.next_element()?.ok_or_else(|| de::Error::invalid_length(0, &self))?;
                let right = seq.next_element()?.ok_or_else(|| de::Error::invalid_length(1, &self))?;
                Ok(Pair(left, right))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// The two sides of a merge that is written as one text.
fn split_pair(text: &str) -> Option<(String, String)> {
    let (left, right) = text.split_once(' ')?;
    let both = !left.is_empty() && !right.is_empty() && !right.contains(' ');
    both.then(|| (left.to_string(), right.to_string()))
}

/// A message of the JSON reader, with its place moved to the front.
fn json_error(error: serde_json::Error, origin: &str) -> Error {
    let position = format!("line {} column {}", error.line(), error.column());
    let message = error.to_string();
    let found = message.strip_suffix(&format!(" at {position}")).unwrap_or(&message);
    Error::format(origin, position, "a tokenizer's JSON", found, "")
}

/// A text in quotation marks, for a message.
pub(super) fn quoted(text: &str) -> String {
    format!("{text:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Tokenizer;

    /// A vocabulary of the bytes, `more` and `<|endoftext|>`, as JSON.
    fn vocabulary(more: &[&str]) -> String {
        let symbols = bytes::in_vocabulary_order().map(|byte| bytes::text_of(&[byte]));
        let texts = symbols.chain(more.iter().map(|t| t.to_string())).chain([END_OF_TEXT.to_string()]);
        let entries: Vec<String> =
            texts.zip(0..).map(|(t, id)| format!("{}: {id}", Value::from(t))).collect();
        format!("{{{}}}", entries.join(", "))
    }

    /// A `tokenizer.json` of that vocabulary; `model` and `rest` may add or replace fields.
    fn tokenizer_json(vocab: &str, merges: &str, model: &str, rest: &str) -> String {
        let pre = if rest.contains("pre_tokenizer") {
            ""
        } else {
            "\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false},"
        };
        format!("{{{rest}{pre}\"model\": {{{model}\"vocab\": {vocab}, \"merges\": {merges}}}}}")
    }

    fn message(result: Result<Tokenizer>) -> String {
        result.expect_err("a wrong file must not load").to_string()
    }

    #[test]
    fn gpt2s_files_give_gpt2s_tokens() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/gpt2-bpe");
        let read = |name: &str| std::fs::read_to_string(folder.join(name));
        let (Ok(encoder), Ok(merges), Ok(golden)) =
            (read("encoder.json"), read("vocab.bpe"), read("golden_ids.json"))
        else {
            return std::println!("skipped: no data");
        };
        let tokenizer =
            Tokenizer::from_vocab_and_merges(&encoder, &merges, ["encoder.json", "vocab.bpe"]).unwrap();
        assert_eq!((tokenizer.vocab_size(), tokenizer.end_of_text()), (50257, 50256));
        let golden: Vec<Value> = serde_json::from_str(&golden).unwrap();
        assert_eq!(golden.len(), 7);
        for case in golden {
            let text = case["text"].as_str().unwrap();
            let ids: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
            assert_eq!(tokenizer.encode(text), ids, "{text:?}");
            assert_eq!(tokenizer.decode(&ids).unwrap(), text.as_bytes());
        }
        // What is written is what was read.
        assert_eq!(tokenizer.merges_txt(), merges);
        let (ours, theirs): (Value, Value) =
            (serde_json::from_str(&tokenizer.vocab_json()).unwrap(), serde_json::from_str(&encoder).unwrap());
        assert_eq!(ours, theirs);
    }

    #[test]
    fn both_forms_of_merges_and_extra_tokens_load() {
        let vocab = vocabulary(&["ab", "abc", "[PAD]"]);
        let plain =
            Tokenizer::from_vocab_and_merges(&vocab, "#version: 0.2\r\na b\r\nab c\r\n\r\n", ["v", "m"])
                .unwrap();
        let added = "\"added_tokens\": [{\"id\": 260, \"content\": \"<a b>\", \"special\": true}, \
                     {\"id\": 259, \"content\": \"<|endoftext|>\"}],";
        for merges in ["[\"a b\", \"ab c\"]", "[[\"a\", \"b\"], [\"ab\", \"c\"]]"] {
            let json = tokenizer_json(&vocab, merges, "\"type\": \"BPE\", \"dropout\": null, ", added);
            let other = Tokenizer::from_tokenizer_json(&json, "tokenizer.json").unwrap();
            assert_eq!(other.vocab_size(), 261);
            assert_eq!(other.decode(&[260]).unwrap(), b"<a b>");
            assert_eq!(other.decode_lossy(&[257, 280, 64]), "abc\u{fffd}a");
            assert!(other.decode(&[280]).unwrap_err().to_string().contains("position 0"));
            // A token that is only in the vocabulary, and <|endoftext|> always, are plain text.
            let text = "abcab [PAD] <|endoftext|>";
            assert_eq!(other.encode(text), plain.encode(text));
            assert_eq!(other.encode("ab<a b>ab"), [256, 260, 256]);
            assert_eq!(other.merges_txt(), plain.merges_txt());
            let again = Tokenizer::from_tokenizer_json(&other.tokenizer_json(), "again").unwrap();
            assert_eq!((again.vocab_json(), again.merges_txt()), (other.vocab_json(), other.merges_txt()));
            assert_eq!(again.decode(&[260, 258]).unwrap(), b"<a b>[PAD]");
        }
    }

    #[test]
    fn wrong_vocabularies_and_merges_are_named() {
        let vocab = vocabulary(&["ab", "abc"]);
        let cases = [
            ("{\"a\": 0", "", "v: line 1 column 7"),
            ("[]", "", "an object of token to id"),
            ("{\"a\": 1e9}", "", "v: line 1"),
            ("{\"a\": 4194304}", "", "id 4194304, where the largest allowed is 4194303"),
            (&*vocab.replace("258}", "257}"), "", "an id of its own, found 257"),
            (&*vocab.replace("\"abc\"", "\"ab\""), "", "v: token \"ab\": expected each token once"),
            (&*vocab.replace("\"\u{120}\"", "\"zz\""), "", "the token \"\u{120}\" of byte 0x20, found none"),
            (&*vocab.replace(END_OF_TEXT, "</s>"), "", "the token \"<|endoftext|>\", found none"),
            (&*vocab, "a b\nab\n", "m: line 2: expected two tokens"),
            (&*vocab, "a b c\n", "m: line 1: expected two tokens"),
            (&*vocab, "a b\nab xyz\n", "m: line 2: expected tokens of the vocabulary, found \"xyz\""),
            (&*vocab, "a b\nb c\n", "m: line 2: expected tokens of the vocabulary, found \"bc\""),
            (&*vocab, "a b\nab c\na b\n", "m: line 3: expected each pair once"),
            (
                &*vocabulary(&["<|endoftext|"]),
                "<|endoftext| >\n",
                "m: line 1: expected a merge of plain text",
            ),
        ];
        for (vocab, merges, expected) in cases {
            let message = message(Tokenizer::from_vocab_and_merges(vocab, merges, ["v", "m"]));
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn settings_that_change_the_tokens_are_refused() {
        let vocab = vocabulary(&["ab"]);
        let cases = [
            ("\"type\": \"WordPiece\", ", "", "field \"model.type\": expected \"BPE\", found \"WordPiece\""),
            ("\"dropout\": 0.1, ", "", "model.dropout"),
            ("\"continuing_subword_prefix\": \"##\", ", "", "model.continuing_subword_prefix"),
            ("\"end_of_word_suffix\": \"</w>\", ", "", "model.end_of_word_suffix"),
            ("\"ignore_merges\": true, ", "", "model.ignore_merges"),
            ("", "\"normalizer\": {\"type\": \"NFC\"}, ", "normalizer"),
            ("", "\"pre_tokenizer\": null, ", "pre_tokenizer.type"),
            (
                "",
                "\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": true}, ",
                "add_prefix_space",
            ),
            (
                "",
                "\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": false}, ",
                "pre_tokenizer.use_regex",
            ),
            (
                "",
                "\"added_tokens\": [{\"id\": 9, \"content\": \"ab\"}], ",
                "its id in the vocabulary, 256, found 9",
            ),
            ("", "\"added_tokens\": [{\"id\": 9, \"content\": \"abc\"}], ", "expected id 258, found 9"),
        ];
        for (model, rest, expected) in cases {
            let json = tokenizer_json(&vocab, "[\"a b\"]", model, rest);
            let message = message(Tokenizer::from_tokenizer_json(&json, "tokenizer.json"));
            assert!(message.starts_with("tokenizer.json: ") && message.contains(expected), "{message}");
        }
        for merges in ["[\"ab\"]", "[[\"a\"]]", "[[\"a\", \"b\", \"c\"]]", "[3]"] {
            let json = tokenizer_json(&vocab, merges, "", "");
            let message = message(Tokenizer::from_tokenizer_json(&json, "tokenizer.json"));
            assert!(message.starts_with("tokenizer.json: line 1 column"), "{message}");
        }
        assert!(message(Tokenizer::from_tokenizer_json("{}", "t")).contains("missing field `model`"));
        let long = "x".repeat(1 << 20);
        assert!(message(Tokenizer::from_vocab_and_merges(&vocab, &long, ["v", "m"])).len() < 700);
    }
}
