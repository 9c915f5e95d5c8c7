//! Prompts: `{"prompt"}`, or any demonstration or comparison, of which only the prompt is used. Nothing is
//! merged here: a prompt that stands in the file twice comes twice (see [`super::deduplicate_by_prefix`]).

use std::path::Path;

use super::comparisons::{split_dialogues, stated_prompt};
use super::fields::Fields;
use super::{InstructionTemplate, Loaded, Outcome, Prompt, Source, collect};
use crate::error::Result;

/// Loads prompts from JSON Lines or a JSON array, gzipped or not.
///
/// # Errors
/// Of [`Source::open`]; [`crate::Error::Format`] with line and field; a file without any usable record.
pub fn load_prompts(path: &Path, template: &InstructionTemplate) -> Result<Loaded<Prompt>> {
    read_prompts(Source::open(path)?, template)
}

/// [`load_prompts`] from any source.
///
/// # Errors
/// As [`load_prompts`].
pub fn read_prompts(source: Source, template: &InstructionTemplate) -> Result<Loaded<Prompt>> {
    collect(source, |record| {
        let Some(prompt) = prompt(record, template)? else {
            return Ok(Outcome::Skip("the dialogues differ before the last answer, or have none"));
        };
        if prompt.trim().is_empty() {
            return Ok(Outcome::Skip("empty prompt"));
        }
        Ok(Outcome::Keep(Prompt { prompt, user: record.person("user")? }))
    })
}

fn prompt(record: &Fields, template: &InstructionTemplate) -> Result<Option<String>> {
    if let Some(prompt) = stated_prompt(record, template)? {
        return Ok(Some(prompt));
    }
    if record.get("chosen").is_none() {
        return Err(record.unknown("a field \"prompt\" or \"instruction\", or \"chosen\" and \"rejected\""));
    }
    let dialogues = split_dialogues(record.required_text("chosen")?, record.required_text("rejected")?);
    Ok(dialogues.map(|(prompt, _)| prompt.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Result<Loaded<Prompt>> {
        read_prompts(Source::from_bytes("x", bytes)?, &InstructionTemplate::default())
    }

    const VALID: &str = r#"{"prompt":"p","user":"u"}
{"instruction":"i","output":"o"}
{"chosen":"\n\nHuman: q\n\nAssistant: a","rejected":"\n\nHuman: q\n\nAssistant: b"}
{"chosen":"a","rejected":"b"}
{"prompt":""}"#;

    #[test]
    fn any_record_serves_as_a_prompt() {
        let loaded = read(VALID.as_bytes()).unwrap();
        let prompts: Vec<_> = loaded.records.iter().map(|p| p.prompt.as_str()).collect();
        assert_eq!(prompts, ["p", "### Instruction:\ni\n\n### Response:\n", "\n\nHuman: q\n\nAssistant:"]);
        assert_eq!((loaded.records[0].user.as_deref(), loaded.skipped.len()), (Some("u"), 2));
        let error = read(b"{\"prompt\":\"p\"}\n{\"text\":\"p\"}").unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("\"prompt\""), "{error}");
    }

    proptest! {
        #[test]
        fn mutated_files_never_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = VALID.as_bytes().to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = read(&bytes);
        }
    }
}
