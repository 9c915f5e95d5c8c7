//! Records of other programs, in our terms. Which format a record has shows in its fields alone, and each format is one
//! function from its fields to what was asked and what was answered. What a kind of data makes of that is its own affair:
//! a file of rankings serves as comparisons and as prompts, and is refused by its name where demonstrations are wanted.
//!
//! Our own forms are no matter of this file: see `demonstrations.rs`, `comparisons.rs` and `prompts.rs`.

mod conversations;
mod judgments;
mod tools;

use super::Outcome;
use super::comparisons::{MAX_RESPONSES, Ranked, usable};
use super::end_of_text::Markers;
use super::fields::Fields;
use super::template::{PromptForms, Rendered};
use crate::error::Result;

/// One record of another program.
pub(super) struct Imported {
    /// What it is, in messages.
    pub format: &'static str,
    /// The prompt, or why there is none that can be used.
    pub asked: Reason<Rendered>,
    /// What was answered, by each person who answered or judged.
    pub answers: Vec<Answer>,
}

/// Something, or the reason why a record has nothing of it to use.
pub(super) type Reason<T> = core::result::Result<T, &'static str>;

/// What one person said.
pub(super) enum Answer {
    /// A response.
    Written(String),
    /// Several responses, and a rank for each: 1 is best, equal ranks are ties.
    Ranked { responses: Vec<String>, ranks: Vec<u32>, labeler: Option<String> },
    /// Nothing of use, and why.
    Unusable(&'static str),
}

/// Whether a record is of one format.
type Is = fn(&Fields) -> bool;

/// Reads a record of one format.
type Read = fn(&Fields, &PromptForms, &mut Markers) -> Result<Imported>;

/// How a format is told, and read. The first that fits is taken.
const FORMATS: [(Is, Read); 9] = [
    (tools::is_label_studio, tools::label_studio),
    (tools::is_argilla, tools::argilla),
    (judgments::is_summaries, judgments::summaries),
    (judgments::is_pandalm, judgments::pandalm),
    (judgments::is_pandalm_training, judgments::pandalm_training),
    (judgments::is_ultrafeedback, judgments::ultrafeedback),
    (conversations::is_preference, conversations::preference),
    (conversations::is_conversation, conversations::conversation),
    (is_dolly, dolly),
];

/// The record in our terms, if it is of another program's format.
///
/// # Errors
/// [`crate::Error::Format`] with line and field where it is not what its format says.
pub(super) fn read(record: &Fields, forms: &PromptForms, markers: &mut Markers) -> Result<Option<Imported>> {
    let format = FORMATS.iter().find(|(is, _)| is(record));
    format.map(|(_, read)| read(record, forms, markers)).transpose()
}

impl Imported {
    /// Its prompt; of no use where nothing is asked.
    pub fn prompt(&self) -> Reason<&Rendered> {
        match &self.asked {
            Ok(asked) if asked.empty => Err("empty prompt"),
            Ok(asked) => Ok(asked),
            Err(reason) => Err(reason),
        }
    }

    /// The prompt and the response of a demonstration.
    ///
    /// # Errors
    /// [`crate::Error::Format`] where the format holds judgments and no demonstrations.
    pub fn demonstration(self, record: &Fields) -> Result<Reason<(Rendered, String)>> {
        let response = match self.answers.into_iter().next() {
            Some(Answer::Written(response)) => Ok(response),
            Some(Answer::Unusable(reason)) => Err(reason),
            Some(Answer::Ranked { .. }) => return Err(record.is_no("demonstrations", self.format)),
            None => Err("no answer"),
        };
        Ok(self.asked.and_then(|asked| response.map(|response| (asked, response))))
    }

    /// The rankings, each with its prompt.
    ///
    /// # Errors
    /// [`crate::Error::Format`] where the format holds no judgments, or too many responses.
    pub fn rankings(self, record: &Fields) -> Result<Vec<Outcome<Ranked>>> {
        let asked = match self.asked {
            Ok(asked) => asked,
            Err(reason) => return Ok(vec![Outcome::Skip(reason)]),
        };
        if self.answers.is_empty() {
            return Ok(vec![Outcome::Skip("nobody has judged it")]);
        }
        let of = |answer| match answer {
            Answer::Written(_) => Err(record.is_no("comparisons", self.format)),
            Answer::Unusable(reason) => Ok(Outcome::Skip(reason)),
            Answer::Ranked { responses, .. } if responses.len() < 2 => {
                Ok(Outcome::Skip("fewer than two answers"))
            }
            Answer::Ranked { responses, .. } if responses.len() > MAX_RESPONSES => {
                let expected = format!("at most {MAX_RESPONSES} answers to a prompt");
                Err(record.is_no(&expected, &responses.len().to_string()))
            }
            Answer::Ranked { responses, ranks, labeler } => {
                Ok(usable(Ranked { asked: asked.clone(), responses, ranks, labeler }))
            }
        };
        self.answers.into_iter().map(of).collect()
    }
}

/// Ranks by scores, the highest first; equal scores are ties.
fn ranks(scores: &[f64]) -> Vec<u32> {
    let above = |score: f64| scores.iter().filter(|&&other| other > score).count();
    scores.iter().map(|&score| 1 + above(score) as u32).collect()
}

/// What was asked, of fields of a user's own choosing: `prompt`, `instruction` (with its `input` or `context`), or
/// `question`.
fn asked(fields: &Fields, forms: &PromptForms, markers: &mut Markers) -> Result<Rendered> {
    if let Some(prompt) = fields.text("prompt")? {
        return Ok(forms.stated(markers.going_on(prompt)));
    }
    if fields.has("instruction") {
        return instruction(fields, forms, markers);
    }
    let Some(question) = fields.text("question")? else {
        return Err(
            fields.unknown("a field \"prompt\", \"instruction\" or \"question\" (data.columns renames)")
        );
    };
    Ok(forms.stated(markers.going_on(question)))
}

/// An instruction with its input, which some call `context`.
fn instruction(fields: &Fields, forms: &PromptForms, markers: &mut Markers) -> Result<Rendered> {
    let instruction = fields.required_text("instruction")?;
    let input = fields.text("input")?.filter(|input| !input.trim().is_empty());
    let input = input.or(fields.text("context")?).unwrap_or_default();
    Ok(forms.instruction(markers.going_on(instruction), markers.going_on(input)))
}

/// Dolly's `{"instruction", "context", "response", "category"}` (Conover et al. 2023).
fn is_dolly(record: &Fields) -> bool {
    let others = ["prompt", "output", "instances", "chosen", "responses"];
    record.has("instruction") && record.has("response") && !others.iter().any(|name| record.has(name))
}

fn dolly(record: &Fields, forms: &PromptForms, markers: &mut Markers) -> Result<Imported> {
    let response = markers.ended(record.required_text("response")?).to_string();
    let asked = Ok(instruction(record, forms, markers)?);
    Ok(Imported {
        format: "a demonstration in the form of Dolly",
        asked,
        answers: vec![Answer::Written(response)],
    })
}

#[cfg(test)]
mod tests;
