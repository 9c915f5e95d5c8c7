//! A tokenizer as a Hugging Face directory has it: vocabulary and merges, and the settings in up to four more files.
//! The ids are those of `transformers` 5's `AutoTokenizer` for a GPT-2 model, or the directory is refused, or a note
//! says what differs. [`super::fields`] lists every field.
//!
//! Where files say different things, `transformers` 5 decides: `tokenizer.json` before `vocab.json` with `merges.txt`;
//! the class `GPT2Tokenizer` takes `add_prefix_space` from `tokenizer_config.json` and the special tokens'
//! places in a text from `tokenizer.json`; without that file `add_bos_token` and `add_eos_token` count.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde_json::{Map, Value};

use super::added::{AddedToken, AddedTokens};
use super::fields::{self, TOKENIZER_CONFIG, brief};
use super::files::{File, Model, quoted};
use super::{END_OF_TEXT, MAX_VOCAB_SIZE, PromptFormat, Tokenizer, json};
use crate::error::{Error, Result};

/// A file's name, for messages, and its contents.
#[derive(Debug, Clone, Copy)]
pub struct TextFile<'a> {
    /// Its path.
    pub name: &'a str,
    /// What it says.
    pub text: &'a str,
}

/// What a directory says about its tokenizer; `None` is a file that is not there.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokenizerFiles<'a> {
    /// `tokenizer.json`.
    pub tokenizer_json: Option<TextFile<'a>>,
    /// `vocab.json` and `merges.txt`, read where `tokenizer.json` is not there.
    pub vocab_and_merges: Option<[TextFile<'a>; 2]>,
    /// `tokenizer_config.json`.
    pub tokenizer_config: Option<TextFile<'a>>,
    /// `special_tokens_map.json`.
    pub special_tokens_map: Option<TextFile<'a>>,
    /// `added_tokens.json`.
    pub added_tokens: Option<TextFile<'a>>,
    /// `prompt_format.json`, which is ours.
    pub prompt_format: Option<TextFile<'a>>,
}

/// The special tokens that have a name, in the order in which `transformers` adds them.
const NAMED: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

impl Tokenizer {
    /// Reads a directory's tokenizer, and gives one sentence for anything the user should know; `None` if there is no
    /// vocabulary.
    ///
    /// # Errors
    /// A file that is not what its name says, and any setting that would tokenize otherwise than here.
    pub fn from_files(files: &TokenizerFiles) -> Result<Option<(Tokenizer, Vec<String>)>> {
        let mut settings = Settings::read(files)?;
        let mut read = match (files.tokenizer_json, files.vocab_and_merges) {
            (Some(file), _) => settings.with_tokenizer_json(file)?,
            (None, Some([vocab, merges])) => {
                let origins = [vocab.name, merges.name];
                settings.with_model(Model::from_vocab_and_merges(vocab.text, merges.text, origins)?)?
            }
            (None, None) => return Ok(None),
        };
        for (flag, token, tokens) in
            [("add_bos_token", "bos", &read.before), ("add_eos_token", "eos", &read.after)]
        {
            if settings.flag(flag)? && tokens.is_empty() {
                let reason = match files.tokenizer_json {
                    Some(_) => {
                        "only the post_processor of tokenizer.json counts, as in transformers 5".to_string()
                    }
                    None => format!("{token}_token is null"),
                };
                settings.notes.push(format!("{}: {flag} has no effect: {reason}", settings.config));
            }
        }
        read.prompt_format =
            files.prompt_format.map(|file| PromptFormat::parse(file.text, file.name)).transpose()?;
        Ok(Some((read, settings.notes)))
    }

    /// Reads the contents of a `tokenizer.json` without the settings of other files; `origin` names it in messages.
    ///
    /// # Errors
    /// As [`Tokenizer::from_files`].
    pub fn from_tokenizer_json(text: &str, origin: &str) -> Result<Tokenizer> {
        let tokenizer_json = Some(TextFile { name: origin, text });
        let read = Tokenizer::from_files(&TokenizerFiles { tokenizer_json, ..TokenizerFiles::default() })?;
        Ok(read.expect("it has a vocabulary").0)
    }
}

/// An added token as a file declares it: without an id it follows the others.
struct Declared {
    content: String,
    id: Option<u32>,
    special: bool,
    normalized: bool,
}

/// What `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json` say.
#[derive(Default)]
struct Settings {
    /// The first one's name, to be blamed.
    config: String,
    /// The fields of the first, changed by those of the second.
    fields: Map<String, Value>,
    /// The second's name, and its fields.
    map_name: String,
    of_map: BTreeSet<String>,
    /// The third's, with its name.
    added: Vec<(String, Value)>,
    added_name: String,
    notes: Vec<String>,
}

impl Settings {
    fn read(files: &TokenizerFiles) -> Result<Settings> {
        let config = files.tokenizer_config.map_or("tokenizer_config.json", |file| file.name).to_string();
        let mut settings = Settings { config, ..Settings::default() };
        if let Some(file) = files.tokenizer_config {
            settings.fields = object(file)?;
            if files.prompt_format.is_some() {
                // It says the same.
                settings.fields.remove("chat_template");
            }
            settings.notes = fields::check(&settings.fields, &[TOKENIZER_CONFIG], file.name)?;
        }
        // Where the first file lists the added tokens, transformers 5 leaves the two older ones unread.
        if settings.field("added_tokens_decoder").is_none() {
            if let Some(file) = files.special_tokens_map {
                let map = object(file)?;
                settings.notes.extend(fields::check(&map, &[TOKENIZER_CONFIG], file.name)?);
                settings.map_name = file.name.to_string();
                settings.of_map = map.keys().cloned().collect();
                settings.fields.extend(map);
            }
            if let Some(file) = files.added_tokens {
                settings.added = object(file)?.into_iter().collect();
                settings.added_name = file.name.to_string();
            }
        }
        Ok(settings)
    }

    fn field(&self, name: &str) -> Option<&Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    fn flag(&self, name: &str) -> Result<bool> {
        match self.field(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(value) => Err(self.wrong(name, "true or false", value, "")),
        }
    }

    /// The file that a field's value is from.
    fn origin_of(&self, field: &str) -> &str {
        if self.of_map.contains(field) { &self.map_name } else { &self.config }
    }

    fn wrong(&self, field: &str, expected: &str, found: &Value, hint: &str) -> Error {
        Error::format(self.origin_of(field), format!("field \"{field}\""), expected, brief(found), hint)
    }

    /// Whether everything is taken from `tokenizer.json`; otherwise the class is `GPT2Tokenizer`.
    fn is_generic(&self) -> bool {
        let class = self.field("tokenizer_class").and_then(Value::as_str);
        matches!(class, Some("PreTrainedTokenizerFast" | "TokenizersBackend"))
    }

    fn with_tokenizer_json(&self, file: TextFile) -> Result<Tokenizer> {
        let read = File::read(file.text, file.name)?;
        let prefix_space = read.prefix_space();
        if !self.is_generic() && prefix_space != self.flag("add_prefix_space")? {
            let hint = "transformers takes it from tokenizer_config.json; make the two files say the same";
            let at = "field \"pre_tokenizer.add_prefix_space\"";
            return Err(Error::format(file.name, at, !prefix_space, prefix_space, hint));
        }
        let mut own = Vec::new();
        for value in &read.added_tokens {
            own.push(declared(&value.0, file.name, "added_tokens")?);
        }
        let template = read.post_processor.0.clone();
        let mut tokenizer = self.build(read.into_model(file.name), own, file.name)?;
        tokenizer.prefix_space = prefix_space;
        (tokenizer.before, tokenizer.after) = template_of(&template, &tokenizer, file.name)?;
        Ok(tokenizer)
    }

    fn with_model(&self, model: Model) -> Result<Tokenizer> {
        let mut tokenizer = self.build(model, Vec::new(), "")?;
        tokenizer.prefix_space = self.flag("add_prefix_space")?;
        for (flag, name) in [("add_bos_token", "bos_token"), ("add_eos_token", "eos_token")] {
            let token = match self.fields.get(name) {
                Some(Value::Null) => None,
                None => Some(END_OF_TEXT.to_string()),
                Some(value) => Some(declared(value, self.origin_of(name), name)?.content),
            };
            if let (true, Some(token)) = (self.flag(flag)?, token) {
                let id = tokenizer.id_of_added(&token);
                let place = if name == "bos_token" { &mut tokenizer.before } else { &mut tokenizer.after };
                *place = alloc::vec![id.expect("special tokens are added tokens")];
            }
        }
        Ok(tokenizer)
    }

    /// The tokenizer with all added tokens; `own` are those of `tokenizer.json`, whose name is `own_name`.
    fn build(&self, mut model: Model, own: Vec<Declared>, own_name: &str) -> Result<Tokenizer> {
        let declared = self.declared(own, own_name)?;
        let ids: BTreeMap<&str, u32> = model.entries.iter().map(|(text, id)| (text.as_str(), *id)).collect();
        // transformers numbers them on from the vocabulary, in this order.
        let (mut next, mut beyond) = (model.entries.len(), Vec::new());
        let mut list: Vec<AddedToken> = Vec::new();
        let mut places: BTreeMap<String, usize> = BTreeMap::new();
        for (Declared { content, id, special, normalized }, origin) in declared {
            if let Some(&place) = places.get(&content) {
                list[place].special |= special;
                continue;
            }
            let known = ids.get(content.as_str()).copied();
            if known.is_none() && id.is_none() && content == END_OF_TEXT {
                // Only a default; whether it is missing, the vocabulary's check says.
                continue;
            }
            let assigned = known.unwrap_or(next.min(MAX_VOCAB_SIZE) as u32);
            let at = format!("token {}", quoted(&content));
            if let Some(id) = id.filter(|&id| id != assigned) {
                let (expected, hint) = match known {
                    Some(known) => (format!("its id in the vocabulary, {known}"), ""),
                    None => (format!("id {assigned}"), "added tokens are numbered on from the vocabulary"),
                };
                return Err(Error::format(origin, at, expected, id, hint));
            }
            if assigned as usize >= MAX_VOCAB_SIZE {
                return Err(Error::format(origin, at, format!("an id below {MAX_VOCAB_SIZE}"), assigned, ""));
            }
            if known.is_none() {
                next += 1;
                beyond.push((content.clone(), assigned));
            }
            places.insert(content.clone(), list.len());
            list.push(AddedToken { content, id: assigned, special, normalized });
        }
        model.entries.extend(beyond);
        let literal: BTreeSet<&str> = list.iter().map(|token| token.content.as_str()).collect();
        let mut tokenizer = model.build(&literal)?;
        tokenizer.added = AddedTokens::new(list, self.flag("split_special_tokens")?);
        Ok(tokenizer)
    }

    /// All declared tokens in the order in which `transformers` adds them, each with the file to blame.
    fn declared<'a>(&'a self, own: Vec<Declared>, own_name: &'a str) -> Result<Vec<(Declared, &'a str)>> {
        let config = self.config.as_str();
        let mut by_id: BTreeMap<u32, (Declared, &str)> = BTreeMap::new();
        let mut all = Vec::new();
        if let Some(decoder) = self.field("added_tokens_decoder") {
            let expected = "an object of ids to tokens";
            let wrong = || self.wrong("added_tokens_decoder", expected, decoder, "");
            for (id, value) in decoder.as_object().ok_or_else(wrong)? {
                let id: u32 = id.parse().map_err(|_| wrong())?;
                let token = declared(value, config, "added_tokens_decoder")?;
                by_id.insert(id, (Declared { id: Some(id), ..token }, config));
            }
        }
        for (content, id) in &self.added {
            let number = id.as_u64().and_then(|id| u32::try_from(id).ok());
            let Some(id) = number.filter(|_| !content.is_empty()) else {
                let at = format!("token {}", quoted(content));
                return Err(Error::format(&self.added_name, at, "a string and its id", brief(id), ""));
            };
            let token = Declared { content: content.clone(), id: Some(id), special: false, normalized: true };
            by_id.insert(id, (token, &self.added_name));
        }
        let listed = self.field("added_tokens_decoder").is_some();
        for token in own {
            match token.id {
                // The class GPT2Tokenizer sorts them by id with the others, unless the first file lists them all.
                Some(_) if listed && !self.is_generic() => {}
                Some(id) if !self.is_generic() => {
                    by_id.insert(id, (token, own_name));
                }
                _ => all.push((token, own_name)),
            }
        }
        all.extend(by_id.into_values());
        for name in NAMED {
            let default = !self.is_generic() && ["bos_token", "eos_token", "unk_token"].contains(&name);
            match self.fields.get(name) {
                Some(Value::Null) => {}
                None if !default => {}
                None => all.push((special(END_OF_TEXT), config)),
                Some(value) => all.push((
                    Declared { special: true, ..declared(value, self.origin_of(name), name)? },
                    self.origin_of(name),
                )),
            }
        }
        for name in ["extra_special_tokens", "additional_special_tokens"] {
            let Some(value) = self.field(name) else { continue };
            let Some(tokens) = value.as_array() else {
                return Err(self.wrong(name, "a list of tokens", value, ""));
            };
            for value in tokens {
                all.push((
                    Declared { special: true, ..declared(value, self.origin_of(name), name)? },
                    self.origin_of(name),
                ));
            }
            // The second is the first's old name.
            break;
        }
        Ok(all)
    }
}

fn special(content: &str) -> Declared {
    Declared { content: content.to_string(), id: None, special: true, normalized: false }
}

/// A token as a file writes it: a string, or an object with its flags.
fn declared(value: &Value, origin: &str, field: &str) -> Result<Declared> {
    let wrong = |expected: &str, found: &Value, hint: &str| {
        Error::format(origin, format!("field \"{field}\""), expected, brief(found), hint)
    };
    if let Some(content) = value.as_str().filter(|content| !content.is_empty()) {
        return Ok(special(content));
    }
    let Some(content) = value["content"].as_str().filter(|content| !content.is_empty()) else {
        return Err(wrong(
            "a token: a string that is not empty, or an object with such a \"content\"",
            value,
            "",
        ));
    };
    for flag in ["lstrip", "rstrip", "single_word"] {
        if value[flag] == true && content != END_OF_TEXT {
            let expected = format!("{flag}: false in the token {}", quoted(content));
            return Err(wrong(&expected, &value[flag], "added tokens are found as they are here"));
        }
    }
    let id = match &value["id"] {
        Value::Null => None,
        id => Some(
            id.as_u64().and_then(|id| u32::try_from(id).ok()).ok_or_else(|| wrong("a token's id", id, ""))?,
        ),
    };
    let special = value["special"] == true;
    let normalized = value["normalized"].as_bool().unwrap_or(!special);
    Ok(Declared { content: content.to_string(), id, special, normalized })
}

/// The tokens that a post-processor puts before and after a text.
fn template_of(processor: &Value, tokenizer: &Tokenizer, origin: &str) -> Result<(Vec<u32>, Vec<u32>)> {
    let refused = |found: &Value| {
        let expected = "null, ByteLevel, or a TemplateProcessing of special tokens around the text";
        Error::format(origin, "field \"post_processor\"", expected, brief(found), "")
    };
    match processor["type"].as_str() {
        _ if processor.is_null() => Ok((Vec::new(), Vec::new())),
        Some("ByteLevel") => Ok((Vec::new(), Vec::new())),
        Some("Sequence") => {
            let all = processor["processors"].as_array().ok_or_else(|| refused(processor))?;
            let others: Vec<&Value> = all.iter().filter(|one| one["type"] != "ByteLevel").collect();
            match others[..] {
                [] => Ok((Vec::new(), Vec::new())),
                [one] if one["type"] == "TemplateProcessing" => template_of(one, tokenizer, origin),
                _ => Err(refused(processor)),
            }
        }
        Some("TemplateProcessing") => {
            let (mut before, mut after, mut text) = (Vec::new(), Vec::new(), 0);
            let single = processor["single"].as_array().ok_or_else(|| refused(&processor["single"]))?;
            for piece in single {
                if piece["Sequence"]["id"] == "A" {
                    text += 1;
                    continue;
                }
                let name = piece["SpecialToken"]["id"].as_str().ok_or_else(|| refused(piece))?;
                let ids = &processor["special_tokens"][name]["ids"];
                let place = if text == 0 { &mut before } else { &mut after };
                for id in ids.as_array().ok_or_else(|| refused(ids))? {
                    let known = id.as_u64().and_then(|id| u32::try_from(id).ok());
                    let known = known.filter(|&id| tokenizer.token(id).is_some());
                    place.push(known.ok_or_else(|| refused(id))?);
                }
            }
            if text == 1 { Ok((before, after)) } else { Err(refused(&processor["single"])) }
        }
        _ => Err(refused(&processor["type"])),
    }
}

fn object(file: TextFile) -> Result<Map<String, Value>> {
    let wrong = |found: String| Error::format(file.name, "", "a JSON object", found, "");
    match json::parse(file.text.as_bytes()).map_err(|error| wrong(error.to_string()))? {
        Value::Object(map) => Ok(map),
        other => Err(wrong(json::kind(&other).to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::bytes;
    use alloc::vec;

    /// The bytes, "ab" (256), "<s>" (257) and `<|endoftext|>` (258).
    fn vocabulary() -> String {
        let symbols = bytes::in_vocabulary_order().map(|byte| bytes::text_of(&[byte]));
        let texts = symbols.chain(["ab", "<s>", END_OF_TEXT].map(String::from));
        let entries: Vec<String> =
            texts.zip(0..).map(|(text, id)| format!("{}: {id}", Value::from(text))).collect();
        format!("{{{}}}", entries.join(", "))
    }

    /// A `tokenizer.json` of it with those fields more.
    fn tokenizer_json(prefix: bool, more: &str) -> String {
        format!(
            "{{{more} \"pre_tokenizer\": {{\"type\": \"ByteLevel\", \"add_prefix_space\": {prefix}}}, \
             \"model\": {{\"type\": \"BPE\", \"vocab\": {}, \"merges\": [\"a b\"]}}}}",
            vocabulary()
        )
    }

    /// What is in a directory beside the vocabulary.
    #[derive(Default)]
    struct Directory<'a> {
        tokenizer_json: Option<String>,
        config: &'a str,
        map: &'a str,
        added: &'a str,
        prompt_format: &'a str,
    }

    impl Directory<'_> {
        fn read(&self) -> Result<(Tokenizer, Vec<String>)> {
            let vocab = vocabulary();
            let file = |name, text| TextFile { name, text };
            let optional = |name, text: &'static str| (!text.is_empty()).then_some(TextFile { name, text });
            let leaked = |text: &str| -> &'static str { alloc::boxed::Box::leak(text.into()) };
            let files = TokenizerFiles {
                tokenizer_json: self.tokenizer_json.as_ref().map(|text| file("tokenizer.json", text)),
                vocab_and_merges: Some([file("vocab.json", &vocab), file("merges.txt", "a b\n")]),
                tokenizer_config: optional("tokenizer_config.json", leaked(self.config)),
                special_tokens_map: optional("special_tokens_map.json", leaked(self.map)),
                added_tokens: optional("added_tokens.json", leaked(self.added)),
                prompt_format: optional("prompt_format.json", leaked(self.prompt_format)),
            };
            Ok(Tokenizer::from_files(&files)?.expect("there is a vocabulary"))
        }

        fn tokens(&self, text: &str) -> Vec<u32> {
            self.read().unwrap().0.encode_whole(text)
        }

        fn error(&self) -> String {
            self.read().unwrap_err().to_string()
        }
    }

    const SPACE: u32 = 220;
    const X: u32 = 87;
    const AB: u32 = 256;
    const END: u32 = 258;

    #[test]
    fn a_prefix_space_stands_before_each_piece_that_has_none() {
        let config = r#"{"add_prefix_space": true, "pad_token": "[PAD]"}"#;
        let directory = Directory { config, ..Directory::default() };
        assert_eq!(directory.tokens("x[PAD]x x"), [SPACE, X, 259, SPACE, X, SPACE, X]);
        assert_eq!(directory.tokens(" x"), [SPACE, X]);
        assert!(directory.tokens("").is_empty());
        // What is written is read.
        let (tokenizer, _) = directory.read().unwrap();
        let again = Tokenizer::from_tokenizer_json(&tokenizer.tokenizer_json(), "again");
        assert!(again.unwrap_err().to_string().contains("expected false, found true"));
        let (json, config) = (tokenizer.tokenizer_json(), tokenizer.tokenizer_config_json(None));
        let again = Directory { tokenizer_json: Some(json), config: &config, ..Directory::default() };
        assert_eq!(again.tokens("x[PAD]x"), [SPACE, X, 259, SPACE, X]);
        // Without tokenizer.json the added tokens stand in tokenizer_config.json.
        assert!(config.contains("added_tokens_decoder"));
    }

    #[test]
    fn the_class_says_whose_prefix_space_counts() {
        let generic = r#"{"tokenizer_class": "PreTrainedTokenizerFast", "add_prefix_space": false}"#;
        let json = Some(tokenizer_json(true, ""));
        let directory = Directory { tokenizer_json: json.clone(), config: generic, ..Directory::default() };
        assert_eq!(directory.tokens("x"), [SPACE, X]);
        let error = Directory { tokenizer_json: json, ..Directory::default() }.error();
        assert!(error.starts_with("tokenizer.json: field \"pre_tokenizer.add_prefix_space\""), "{error}");
        let config = r#"{"tokenizer_class": "BertTokenizer"}"#;
        let error = Directory { config, ..Directory::default() }.error();
        assert!(error.contains("tokenizer_class") && error.contains("BertTokenizer"), "{error}");
    }

    #[test]
    fn bos_and_eos_stand_around_a_text_where_they_are_asked_for() {
        let config = r#"{"add_bos_token": true, "add_eos_token": true, "bos_token": "<s>"}"#;
        let directory = Directory { config, ..Directory::default() };
        assert_eq!(directory.tokens("x"), [257, X, END]);
        assert_eq!(directory.read().unwrap().0.encode("x"), [X], "a part of a text has none");
        // With tokenizer.json only its post-processor counts, and that is said.
        let json = Some(tokenizer_json(false, ""));
        let directory = Directory { tokenizer_json: json, config, ..Directory::default() };
        assert_eq!(directory.tokens("x"), [X]);
        let notes = directory.read().unwrap().1;
        assert!(notes[0].contains("add_bos_token has no effect") && notes.len() == 2, "{notes:?}");
        let config = r#"{"add_bos_token": true, "bos_token": null}"#;
        let directory = Directory { config, ..Directory::default() };
        assert_eq!(directory.tokens("x"), [X]);
        assert!(directory.read().unwrap().1[0].contains("bos_token is null"));
    }

    #[test]
    fn a_template_is_taken_if_it_is_special_tokens_around_the_text() {
        let template = |single: &str| {
            format!(
                "\"post_processor\": {{\"type\": \"TemplateProcessing\", \"single\": [{single}], \
                 \"special_tokens\": {{\"<s>\": {{\"id\": \"<s>\", \"ids\": [257]}}}}}},"
            )
        };
        let (text, special) = (r#"{"Sequence": {"id": "A"}}"#, r#"{"SpecialToken": {"id": "<s>"}}"#);
        let of = |more: &str| Directory {
            tokenizer_json: Some(tokenizer_json(false, more)),
            ..Directory::default()
        };
        assert_eq!(of(&template(&format!("{special}, {text}, {special}"))).tokens("x"), [257, X, 257]);
        assert_eq!(of(&template(text)).tokens("x"), [X]);
        assert_eq!(of("\"post_processor\": {\"type\": \"ByteLevel\"},").tokens("x"), [X]);
        let sequence = template(&format!("{special}, {text}"));
        let inner = sequence.trim_start_matches("\"post_processor\": ").trim_end_matches(',');
        let both = format!(
            "\"post_processor\": {{\"type\": \"Sequence\", \"processors\": [{{\"type\": \"ByteLevel\"}}, {inner}]}},"
        );
        assert_eq!(of(&both).tokens("x"), [257, X]);
        for wrong in [
            template(&format!("{text}, {text}")),
            template(r#"{"SpecialToken": {"id": "<t>"}}, {"Sequence": {"id": "A"}}"#),
            template(special),
            "\"post_processor\": {\"type\": \"RobertaProcessing\"},".to_string(),
            "\"post_processor\": 3,".to_string(),
        ] {
            let error = of(&wrong).error();
            assert!(error.starts_with("tokenizer.json: field \"post_processor\""), "{error}");
        }
    }

    #[test]
    fn added_tokens_of_every_file_stand_for_their_strings() {
        let added = r#"{"<u>": 259, "<v>": 260}"#;
        let directory = Directory { added, ..Directory::default() };
        assert_eq!(directory.tokens("<u>ab<v>"), [259, AB, 260]);
        // <|endoftext|> in a text is plain text always.
        assert!(!directory.tokens(END_OF_TEXT).contains(&END));
        let json = |content: &str, id: u32| {
            format!("\"added_tokens\": [{{\"id\": {id}, \"content\": \"{content}\", \"special\": true}}],")
        };
        let directory = Directory {
            tokenizer_json: Some(tokenizer_json(false, &json("<u>", 259))),
            ..Directory::default()
        };
        assert_eq!(directory.tokens("<u>ab<s>")[..2], [259, AB]);
        // tokenizer_config.json's list stands in place of tokenizer.json's, and of the older files.
        let config = r#"{"added_tokens_decoder": {"259": {"content": "<w>", "special": true}}}"#;
        let directory = Directory { config, added, ..directory };
        assert_eq!((directory.tokens("<w>"), directory.tokens("<u>").len()), (vec![259], 3));
        // Named tokens follow in their order, then the others; the older file changes the newer's.
        let directory = Directory {
            config: r#"{"pad_token": "<p>", "extra_special_tokens": ["<y>", {"content": "<z>"}], "eos_token": "<s>"}"#,
            map: r#"{"pad_token": {"content": "<q>", "lstrip": false}, "sep_token": "<t>"}"#,
            ..Directory::default()
        };
        assert_eq!(directory.tokens("<t><q><y><z><s>"), [259, 260, 261, 262, 257]);
        assert_eq!(directory.tokens("<p>").len(), 3);
        let split = r#"{"pad_token": "<p>", "split_special_tokens": true}"#;
        assert_eq!(Directory { config: split, ..Directory::default() }.tokens("<p>").len(), 3);
    }

    #[test]
    fn added_tokens_that_transformers_would_take_otherwise_are_refused() {
        for (config, added, words) in [
            ("", r#"{"<u>": 300}"#, "added_tokens.json: token \"<u>\": expected id 259, found 300"),
            ("", r#"{"ab": 7}"#, "expected its id in the vocabulary, 256, found 7"),
            ("", r#"{"<u>": -1}"#, "a string and its id"),
            (
                r#"{"pad_token": {"content": "<p>", "lstrip": true}}"#,
                "",
                "lstrip: false in the token \"<p>\"",
            ),
            (r#"{"pad_token": ""}"#, "", "field \"pad_token\""),
            (r#"{"pad_token": 3}"#, "", "field \"pad_token\""),
            (r#"{"extra_special_tokens": {"a_token": "<p>"}}"#, "", "a list of tokens"),
            (r#"{"added_tokens_decoder": {"x": {"content": "<p>"}}}"#, "", "an object of ids to tokens"),
            (r#"{"add_prefix_space": 1}"#, "", "true or false"),
            ("[]", "", "tokenizer_config.json: expected a JSON object"),
        ] {
            let error = Directory { config, added, ..Directory::default() }.error();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_chat_template_that_is_not_ours_is_noted() {
        let config = r#"{"chat_template": "{{ messages }}"}"#;
        let notes = Directory { config, ..Directory::default() }.read().unwrap().1;
        assert!(notes[0].contains("chat templates are not read here"), "{notes:?}");
        let prompt_format = r#"{"before_prompt": "Q: ", "after_prompt": "\nA:"}"#;
        let (tokenizer, notes) = Directory { config, prompt_format, ..Directory::default() }.read().unwrap();
        assert!(notes.is_empty() && tokenizer.prompt_format == Some(PromptFormat::new("Q: ", "\nA:", "")));
    }
}
