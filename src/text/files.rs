//! Reading a tokenizer: GPT-2's `vocab.json` and `merges.txt` (or `encoder.json` and `vocab.bpe`, the same
//! under other names), or Hugging Face's `tokenizer.json`. From text in memory; who reads files is the caller.
//!
//! A file that would tokenize otherwise than GPT-2 (a normalizer, a prefix space, another kind of model)
//! is refused, not half understood.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::encode::Merge;
use super::{END_OF_TEXT, MAX_VOCAB_SIZE, Tokenizer, bytes};
use crate::error::{Error, Result};

impl Tokenizer {
    /// Reads the contents of `vocab.json` and `merges.txt`; `origin` names them in messages, usually their
    /// directory.
    ///
    /// # Errors
    /// JSON that is none, an id twice or too large, a byte without a token, no `<|endoftext|>`, a line of
    /// the merges that is not two tokens of the vocabulary, or whose two make none.
    pub fn from_vocab_and_merges(vocab_json: &str, merges: &str, origin: &str) -> Result<Tokenizer> {
        let Vocabulary(entries) =
            serde_json::from_str(vocab_json).map_err(|e| json_error(e, origin, "vocabulary"))?;
        let mut pairs = Vec::new();
        for (number, line) in merges.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
            if number == 0 && line.starts_with("#version") {
                continue;
            }
            let at = format!("merges, line {}", number + 1);
            let Some(pair) = split_pair(line) else {
                return Err(Error::format(
                    origin,
                    at,
                    "two tokens with one space between them",
                    quoted(line),
                    "",
                ));
            };
            pairs.push((pair, at));
        }
        build(entries, pairs, origin)
    }

    /// Reads the contents of a `tokenizer.json`; `origin` names it in messages.
    ///
    /// # Errors
    /// As [`Tokenizer::from_vocab_and_merges`], and any setting that would tokenize otherwise than GPT-2.
    pub fn from_tokenizer_json(text: &str, origin: &str) -> Result<Tokenizer> {
        let file: File = serde_json::from_str(text).map_err(|e| json_error(e, origin, ""))?;
        file.check(origin)?;
        let mut entries = file.model.vocab.0;
        let by_text: BTreeMap<&str, u32> = entries.iter().map(|(text, id)| (text.as_str(), *id)).collect();
        let mut beyond = Vec::new();
        for AddedToken { id, content } in file.added_tokens {
            match by_text.get(content.as_str()) {
                None => beyond.push((content, id)),
                Some(&known) if known != id => {
                    let at = format!("field \"added_tokens\", token {}", quoted(&content));
                    return Err(Error::format(
                        origin,
                        at,
                        format!("its id in the vocabulary, {known}"),
                        id,
                        "",
                    ));
                }
                Some(_) => {}
            }
        }
        entries.extend(beyond);
        let place = |rank| format!("field \"merges\", entry {}", rank + 1);
        let pairs = file.model.merges.into_iter().enumerate().map(|(rank, Pair(l, r))| ((l, r), place(rank)));
        build(entries, pairs.collect(), origin)
    }
}

/// Puts tokens and merges (each with its place in the file) together, checking one against the other.
fn build(
    entries: Vec<(String, u32)>,
    pairs: Vec<((String, String), String)>,
    origin: &str,
) -> Result<Tokenizer> {
    let mut texts: Vec<Option<String>> =
        vec![None; entries.iter().map(|e| e.1 as usize + 1).max().unwrap_or(0)];
    let mut ids = BTreeMap::new();
    for (text, id) in &entries {
        if let Some(other) = texts[*id as usize].replace(text.clone()) {
            let found = format!("{id}, which {} has", quoted(&other));
            return Err(Error::format(
                origin,
                format!("token {}", quoted(text)),
                "an id of its own",
                found,
                "",
            ));
        }
        if ids.insert(text.as_str(), *id).is_some() {
            return Err(Error::format(
                origin,
                format!("token {}", quoted(text)),
                "each token once",
                "it twice",
                "",
            ));
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
        return Err(Error::format(
            origin,
            "vocabulary",
            format!("the token \"{END_OF_TEXT}\""),
            "none",
            hint,
        ));
    };
    let mut merges = Vec::with_capacity(pairs.len());
    let mut made: Vec<bool> = vec![false; texts.len()];
    let mut seen = BTreeMap::new();
    for ((left, right), at) in pairs {
        let id_of = |text: &str| {
            let none = |_| Error::format(origin, &at, "tokens of the vocabulary", quoted(text), "");
            ids.get(text).copied().ok_or(()).map_err(none)
        };
        let merge =
            Merge { left: id_of(&left)?, right: id_of(&right)?, result: id_of(&format!("{left}{right}"))? };
        if merge.result == end_of_text {
            return Err(Error::format(origin, at, "a merge of plain text", quoted(END_OF_TEXT), ""));
        }
        if let Some(earlier) = seen.insert((merge.left, merge.right), at.clone()) {
            let found = format!("the pair of {earlier} again");
            return Err(Error::format(origin, at, "each pair of tokens once", found, ""));
        }
        made[merge.result as usize] = true;
        merges.push(merge);
    }
    byte_ids.iter().for_each(|&id| made[id as usize] = true);
    let tokens =
        texts.iter().map(|text| text.as_ref().map(|t| bytes::bytes_of(t).into_boxed_slice())).collect();
    let added = texts.into_iter().zip(0..).filter(|&(_, id)| !made[id as usize]);
    let added = added.filter_map(|(text, id)| Some((id, text?))).collect();
    Ok(Tokenizer::assemble(tokens, added, byte_ids, merges, end_of_text))
}

/// `tokenizer.json`, as far as it decides the tokens; everything else in it is passed over.
#[derive(Deserialize)]
struct File {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    model: Model,
}

#[derive(Deserialize)]
struct AddedToken {
    #[serde(deserialize_with = "id")]
    id: u32,
    content: String,
}

#[derive(Deserialize)]
struct Model {
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
    /// Refuses what would tokenize otherwise than GPT-2.
    fn check(&self, origin: &str) -> Result<()> {
        let (model, pre) = (&self.model, &self.pre_tokenizer);
        let absent = |value: &Value| value.is_null() || *value == "";
        let (splits, prefix) = (&pre["use_regex"], &pre["add_prefix_space"]);
        let settings = [
            ("model.type", "\"BPE\"", &model.kind, model.kind.is_null() || model.kind == "BPE"),
            ("model.dropout", "null", &model.dropout, model.dropout.is_null() || model.dropout == 0.0),
            ("model.continuing_subword_prefix", "null", &model.continuing_subword_prefix, {
                absent(&model.continuing_subword_prefix)
            }),
            (
                "model.end_of_word_suffix",
                "null",
                &model.end_of_word_suffix,
                absent(&model.end_of_word_suffix),
            ),
            ("model.ignore_merges", "false", &model.ignore_merges, model.ignore_merges != true),
            ("normalizer", "null", &self.normalizer, self.normalizer.is_null()),
            ("pre_tokenizer.type", "\"ByteLevel\"", &pre["type"], pre["type"] == "ByteLevel"),
            ("pre_tokenizer.use_regex", "true", splits, splits.is_null() || *splits == true),
            ("pre_tokenizer.add_prefix_space", "false", prefix, *prefix == false),
        ];
        match settings.into_iter().find(|setting| !setting.3) {
            None => Ok(()),
            Some((field, expected, found, _)) => {
                let at = format!("field \"{field}\"");
                Err(Error::format(
                    origin,
                    at,
                    expected,
                    shortened(found.to_string()),
                    "only GPT-2's byte-level BPE is read",
                ))
            }
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
fn json_error(error: serde_json::Error, origin: &str, part: &str) -> Error {
    let position = format!("line {} column {}", error.line(), error.column());
    let message = error.to_string();
    let found = message.strip_suffix(&format!(" at {position}")).unwrap_or(&message);
    let at = if part.is_empty() { position } else { format!("{part}, {position}") };
    Error::format(origin, at, "a tokenizer's JSON", shortened(found.to_string()), "")
}

/// A text in quotation marks, for a message.
fn quoted(text: &str) -> String {
    shortened(format!("{text:?}"))
}

/// The beginning of what a message quotes: a line of a wrong file may be the whole file.
fn shortened(mut text: String) -> String {
    if let Some((cut, _)) = text.char_indices().nth(120) {
        text.truncate(cut);
        text.push_str(" ...");
    }
    text
}
