//! Prompts: `{"prompt"}`, or any demonstration or comparison, of which only the prompt is used. Nothing is
//! merged here: a prompt that stands in the file twice comes twice (see [`super::deduplicate_by_prefix`]).

use std::path::Path;

use super::comparisons::{dialogue, split_dialogues, stated_prompt};
use super::end_of_text::Markers;
use super::fields::Fields;
use super::template::Rendered;
use super::{Loaded, Outcome, Prompt, PromptForms, Source, collect, import};
use crate::error::Result;

/// Loads prompts from JSON Lines or a JSON array, gzipped or not.
///
/// # Errors
/// Of [`Source::open`]; [`crate::Error::Format`] with line and field; a file without any usable record.
pub fn load_prompts(path: &Path, forms: &PromptForms) -> Result<Loaded<Prompt>> {
    read_prompts(Source::open(path)?, forms)
}

/// [`load_prompts`] from any source.
///
/// # Errors
/// As [`load_prompts`].
pub fn read_prompts(source: Source, forms: &PromptForms) -> Result<Loaded<Prompt>> {
    collect(source, &forms.columns, |record, markers| {
        if let Some(imported) = import::read(record, forms, markers)? {
            return Ok(vec![match imported.prompt() {
                Ok(asked) => kept(record, asked.clone())?,
                Err(reason) => Outcome::Skip(reason),
            }]);
        }
        let Some(asked) = prompt(record, forms, markers)? else {
            return Ok(vec![Outcome::Skip("the dialogues differ before the last answer, or have none")]);
        };
        if asked.empty {
            return Ok(vec![Outcome::Skip("empty prompt")]);
        }
        Ok(vec![kept(record, asked)?])
    })
}

fn kept(record: &Fields, asked: Rendered) -> Result<Outcome<Prompt>> {
    let (user, tags, place) = (record.person("user")?, record.tags()?, record.place());
    Ok(Outcome::Keep(Prompt { prompt: asked.prompt, user, tags, place }, Some(asked.form)))
}

fn prompt(record: &Fields, forms: &PromptForms, markers: &mut Markers) -> Result<Option<Rendered>> {
    if let Some(prompt) = stated_prompt(record, forms, markers)? {
        return Ok(Some(prompt));
    }
    if record.get("chosen").is_none() {
        return Err(record.unknown("a field \"prompt\" or \"instruction\", or \"chosen\" and \"rejected\""));
    }
    let dialogues = split_dialogues(record.required_text("chosen")?, record.required_text("rejected")?);
    Ok(dialogues.map(|(prompt, _)| dialogue(markers.going_on(prompt))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Result<Loaded<Prompt>> {
        read_prompts(Source::from_bytes("x", bytes)?, &PromptForms::default())
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

    #[test]
    fn prompts_are_made_as_those_of_demonstrations() {
        let text = br#"{"prompt":"p"}
{"prompt":" "}
{"instruction":"i"}
{"instruction":" ","input":""}
{"chosen":"\n\nHuman: \n\nAssistant: a","rejected":"\n\nHuman: \n\nAssistant: b"}
{"prompt":"q<|endoftext|>"}"#;
        let forms = PromptForms { joint: " A:".into(), ..PromptForms::default() };
        let loaded = read_prompts(Source::from_bytes("x", text).unwrap(), &forms).unwrap();
        let prompts: Vec<_> = loaded.records.iter().map(|p| p.prompt.as_str()).collect();
        assert_eq!(prompts, ["p A:", "### Instruction:\ni\n\n### Response:\n", "q<|endoftext|> A:"]);
        assert_eq!((loaded.plain_markers, loaded.markers_taken_off), (1, 0));
        assert!(loaded.summary().ends_with("3 skipped: 3 x empty prompt"), "{}", loaded.summary());
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
