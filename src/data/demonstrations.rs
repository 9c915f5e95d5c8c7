//! Demonstrations: `{"prompt", "response"}`, Alpaca's `{"instruction", "input", "output"}`, or
//! Self-Instruct's `{"instruction", "instances": [{"input", "output"}, ..]}` (one demonstration each).
//! Other programs' forms are those of `import.rs`.
//! A record with an empty prompt or response is skipped: there is nothing to condition on or to learn. What a
//! template or a joint adds does not count.

use std::path::Path;

use super::end_of_text::Markers;
use super::fields::Fields;
use super::template::Rendered;
use super::{Demonstration, Loaded, Outcome, PromptForms, Source, collect, import};
use crate::error::Result;

/// Loads demonstrations from JSON Lines or a JSON array, gzipped or not.
///
/// # Errors
/// Of [`Source::open`]; [`crate::Error::Format`] with line and field; a file without any usable record.
pub fn load_demonstrations(path: &Path, forms: &PromptForms) -> Result<Loaded<Demonstration>> {
    read_demonstrations(Source::open(path)?, forms)
}

/// [`load_demonstrations`] from any source.
///
/// # Errors
/// As [`load_demonstrations`].
pub fn read_demonstrations(source: Source, forms: &PromptForms) -> Result<Loaded<Demonstration>> {
    collect(source, &forms.columns, |record, markers| {
        if let Some(imported) = import::read(record, forms, markers)? {
            return Ok(vec![match imported.demonstration(record)? {
                Ok((asked, response)) => demonstration(record, asked, response)?,
                Err(reason) => Outcome::Skip(reason),
            }]);
        }
        let pairs = pairs(record, forms, markers)?;
        if pairs.is_empty() {
            return Ok(vec![Outcome::Skip("no instances")]);
        }
        pairs.into_iter().map(|(prompt, response)| demonstration(record, prompt, response)).collect()
    })
}

fn demonstration(record: &Fields, asked: Rendered, response: String) -> Result<Outcome<Demonstration>> {
    if asked.empty {
        return Ok(Outcome::Skip("empty prompt"));
    }
    if response.trim().is_empty() {
        return Ok(Outcome::Skip("empty response"));
    }
    let (user, labeler) = (record.person("user")?, record.person("labeler")?);
    let Rendered { prompt, form, .. } = asked;
    let (tags, place) = (record.tags()?, record.place());
    Ok(Outcome::Keep(Demonstration { prompt, response, user, labeler, tags, place }, Some(form)))
}

/// The prompts and responses of a record (one, except for Self-Instruct's).
fn pairs(record: &Fields, forms: &PromptForms, markers: &mut Markers) -> Result<Vec<(Rendered, String)>> {
    if let Some(prompt) = record.text("prompt")? {
        let response = markers.ended(record.required_text("response")?);
        return Ok(vec![(forms.stated(markers.going_on(prompt)), response.to_string())]);
    }
    let Some(instruction) = record.text("instruction")? else {
        return Err(record.unknown("fields \"prompt\" and \"response\", or \"instruction\" and \"output\""));
    };
    let mut pair = |instance: &Fields| {
        let input = instance.text("input")?.unwrap_or_default();
        let prompt = forms.instruction(markers.going_on(instruction), markers.going_on(input));
        Ok((prompt, markers.ended(instance.required_text("output")?).to_string()))
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
    use super::super::PromptForm;
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Loaded<Demonstration>> {
        read_demonstrations(Source::from_bytes("x", text.as_bytes())?, &PromptForms::default())
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
    fn emptiness_is_that_of_the_record_and_not_of_the_template() {
        let text = r#"{"instruction":"","input":" \n","output":"o"}
{"instruction":"","input":"x","output":"o"}
{"instruction":" ","instances":[{"input":"","output":"o"},{"input":"x","output":" "},{"input":"x","output":"o"}]}
{"instruction":"i","instances":[]}
{"prompt":" ","response":"r"}
{"prompt":"p","response":"<|endoftext|>"}"#;
        let forms = PromptForms { joint: "\nAnswer:".into(), ..PromptForms::default() };
        let loaded = read_demonstrations(Source::from_bytes("x", text.as_bytes()).unwrap(), &forms).unwrap();
        let skipped = "3 x empty prompt, 2 x empty response, 1 x no instances";
        assert_eq!(loaded.summary(), format!("2 records; 6 skipped: {skipped}"));
        assert_eq!(loaded.forms, [(PromptForm::Instruction, 2)].into());
    }

    #[test]
    fn a_joint_follows_stated_prompts_only_and_forms_are_counted() {
        let forms = PromptForms { joint: "\nA:".into(), ..PromptForms::default() };
        let loaded = read_demonstrations(Source::from_bytes("x", VALID.as_bytes()).unwrap(), &forms).unwrap();
        assert_eq!(loaded.records[0].prompt, "p\nA:");
        assert_eq!(loaded.records[1].prompt, "### Instruction:\ni\n\n### Response:\n");
        assert_eq!(loaded.forms, [(PromptForm::Stated, 1), (PromptForm::Instruction, 3)].into());
    }

    #[test]
    fn a_written_end_of_text_is_taken_off_and_reported() {
        let text = r#"{"prompt":"p","response":"r.<|endoftext|>\n"}
{"instruction":"i","output":"o<|endoftext|><|endoftext|>"}
{"prompt":"p<|endoftext|>","response":"r"}
{"prompt":"p","response":"r"}"#;
        let loaded = read(text).unwrap();
        let responses: Vec<_> = loaded.records.iter().map(|r| r.response.as_str()).collect();
        assert_eq!(responses, ["r.", "o", "r", "r"]);
        assert_eq!((loaded.markers_taken_off, loaded.plain_markers), (2, 1));
        assert!(loaded.summary().contains("2 had <|endoftext|> at the end"), "{}", loaded.summary());
    }

    #[test]
    fn wrong_records_are_errors_with_their_line() {
        for (wrong, place) in [
            (r#"{"prompt":"p"}"#, "\"response\""),
            (r#"{"prompt":"p","response":null}"#, "field \"response\": expected a string, found null"),
            (r#"{"prompt":null,"response":"r"}"#, "found the fields \"prompt\": null, \"response\""),
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
            let _ = read_demonstrations(source, &PromptForms::default());
        }
    }
}
