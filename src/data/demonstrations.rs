//! Demonstrations: `{"prompt", "response"}`, Alpaca's `{"instruction", "input", "output"}`, or
//! Self-Instruct's `{"instruction", "instances": [{"input", "output"}, ..]}` (one demonstration each).
//! A record with an empty prompt or response is skipped: there is nothing to condition on or to learn.

use std::path::Path;

use super::fields::Fields;
use super::{Demonstration, InstructionTemplate, Loaded, Skipped, Source, fields};
use crate::error::Result;

/// Loads demonstrations from JSON Lines or a JSON array, gzipped or not.
///
/// # Errors
/// Of [`Source::open`]; [`crate::Error::Format`] with line and field; a file without any usable record.
pub fn load_demonstrations(path: &Path, template: &InstructionTemplate) -> Result<Loaded<Demonstration>> {
    read_demonstrations(Source::open(path)?, template)
}

/// [`load_demonstrations`] from any source.
///
/// # Errors
/// As [`load_demonstrations`].
pub fn read_demonstrations(source: Source, template: &InstructionTemplate) -> Result<Loaded<Demonstration>> {
    let origin = source.origin().to_string();
    let mut loaded = Loaded { records: Vec::new(), skipped: Vec::new() };
    fields::for_each_record(source, |record| {
        for (prompt, response) in pairs(record, template)? {
            let reason = match (prompt.trim().is_empty(), response.trim().is_empty()) {
                (true, _) => Some("empty prompt"),
                (_, true) => Some("empty response"),
                _ => None,
            };
            if let Some(reason) = reason {
                loaded.skipped.push(Skipped { at: record.at().to_string(), reason });
                continue;
            }
            let (user, labeler) = (record.person("user")?, record.person("labeler")?);
            loaded.records.push(Demonstration { prompt, response, user, labeler });
        }
        Ok(())
    })?;
    loaded.not_empty(&origin)
}

/// The prompts and responses of a record (one, except for Self-Instruct's).
fn pairs(record: &Fields, template: &InstructionTemplate) -> Result<Vec<(String, String)>> {
    if let Some(prompt) = record.text("prompt")? {
        return Ok(vec![(prompt.to_string(), record.required_text("response")?.to_string())]);
    }
    let Some(instruction) = record.text("instruction")? else {
        return Err(record.unknown("fields \"prompt\" and \"response\", or \"instruction\" and \"output\""));
    };
    let pair = |instance: &Fields| {
        let prompt = template.render(instruction, instance.text("input")?.unwrap_or_default());
        Ok((prompt, instance.required_text("output")?.to_string()))
    };
    match record.get("instances") {
        None => Ok(vec![pair(record)?]),
        Some(_) => {
            record.required_array("instances")?.iter().map(|value| pair(&record.inner(value)?)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Loaded<Demonstration>> {
        read_demonstrations(Source::from_bytes("x", text.as_bytes())?, &InstructionTemplate::default())
    }

    const VALID: &str = r#"{"prompt":"p","response":"r","user":"u","labeler":7}
{"instruction":"i","input":"","output":"o"}
{"instruction":"i","instances":[{"input":"1","output":"a"},{"input":"2","output":"b"}]}
{"prompt":"","response":"r"}
{"prompt":"p","response":" "}"#;

    #[test]
    fn every_form_is_read() {
        let loaded = read(VALID).unwrap();
        let [first, second, third, fourth] = &loaded.records[..] else { panic!("{loaded:?}") };
        assert_eq!((first.prompt.as_str(), first.response.as_str()), ("p", "r"));
        assert_eq!((first.user.as_deref(), first.labeler.as_deref()), (Some("u"), Some("7")));
        assert_eq!(second.prompt, "### Instruction:\ni\n\n### Response:\n");
        assert!(third.prompt.contains("### Input:\n1\n") && fourth.response == "b");
        assert_eq!(loaded.summary(), "4 records; 2 skipped: 1 x empty prompt, 1 x empty response");
        assert_eq!(loaded.skipped[0].at, "line 4");
    }

    #[test]
    fn wrong_records_are_errors_with_their_line() {
        for (wrong, place) in [
            (r#"{"prompt":"p"}"#, "\"response\""),
            (r#"{"prompt":1,"response":"r"}"#, "\"prompt\""),
            (r#"{"instruction":"i","output":["o"]}"#, "\"output\""),
            (r#"{"instruction":"i","instances":"o"}"#, "\"instances\""),
            (r#"{"instruction":"i","instances":[1]}"#, "object"),
            (r#"{"prompt":"p","response":"r","user":[]}"#, "\"user\""),
            (r#"{"question":"p"}"#, "\"instruction\""),
        ] {
            let error = read(&format!("{VALID}\n{wrong}")).unwrap_err().to_string();
            assert!(error.contains("line 6") && error.contains(place), "{error}");
        }
        assert!(read("").unwrap_err().to_string().contains("at least one"));
        assert!(
            read(r#"[{"prompt":"p","response":""}]"#).unwrap_err().to_string().contains("empty response")
        );
    }

    proptest! {
        #[test]
        fn mutated_files_never_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = VALID.as_bytes().to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let source = Source::from_bytes("x", &bytes).unwrap();
            let _ = read_demonstrations(source, &InstructionTemplate::default());
        }
    }
}
