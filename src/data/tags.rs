//! What a labeler says of a prompt, whatever the record is about: its use case (the paper's Table 1) and its marks (Table 7).

use serde_json::Value;

use super::fields::Fields;
use crate::error::Result;

/// The marks of Table 7, in its order: the name in a record's field `"marks"`, and the paper's words.
pub const MARKS: [(&str, &str); 11] = [
    ("ambiguous", "Ambiguous"),
    ("sensitive", "Sensitive content"),
    ("identity_dependent", "Identity dependent"),
    ("closed_domain", "Closed domain"),
    ("continuation", "Continuation style"),
    ("requests_opinion", "Requests opinionated content"),
    ("requests_advice", "Requests advice"),
    ("requests_moral_judgment", "Requests moral judgment"),
    ("safety_constraints", "Contains explicit safety constraints"),
    ("other_constraints", "Contains other explicit constraints"),
    ("intent_unclear", "Intent unclear"),
];

/// A set of [`MARKS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks(u16);

impl Marks {
    /// The set of these names; the first that is none of [`MARKS`] otherwise.
    ///
    /// # Errors
    /// That name.
    pub fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> std::result::Result<Marks, &'a str> {
        let add = |Marks(set), name| {
            let place = MARKS.iter().position(|(known, _)| *known == name).ok_or(name)?;
            Ok(Marks(set | 1 << place))
        };
        names.into_iter().try_fold(Marks::default(), add)
    }

    /// Whether the mark of that place in [`MARKS`] is among them.
    pub fn has(self, place: usize) -> bool {
        self.0 >> place & 1 == 1
    }
}

/// What a labeler said of a prompt.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tags {
    /// What kind of task it is (Table 1).
    pub use_case: Option<String>,
    /// What holds of it (Table 7); none of them, and nobody has looked, are two things.
    pub marks: Option<Marks>,
}

/// What any record may say besides what it is.
impl Fields {
    /// What a labeler said of the prompt. A kind of task is `use_case`, or `category`, as Dolly calls it; a `category` that
    /// is no text is something else. `marks` is a list of the names of [`MARKS`].
    ///
    /// # Errors
    /// When `use_case` is there and no string, or `marks` is there and no such list.
    pub(super) fn tags(&self) -> Result<Tags> {
        let case = match self.text("use_case")? {
            Some(case) => Some(case),
            None => self.get("category").and_then(Value::as_str),
        };
        let use_case = case.map(str::trim).filter(|case| !case.is_empty()).map(str::to_string);
        Ok(Tags { use_case, marks: self.marks()? })
    }

    fn marks(&self) -> Result<Option<Marks>> {
        if !self.has("marks") {
            return Ok(None);
        }
        let names = self.required_texts("marks")?;
        let marks = Marks::named(names.iter().map(String::as_str)).map_err(|unknown| {
            let known = MARKS.map(|(name, _)| name).join(", ");
            self.error("marks", format!("a list of {known}"), format!("{unknown:?}"))
        })?;
        Ok(Some(marks))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{PromptForms, Source, read_prompts};
    use super::*;

    fn tags(more: &str) -> Result<Tags> {
        let line = format!("{{\"prompt\":\"p\"{more}}}");
        let source = Source::from_bytes("x", line.as_bytes())?;
        Ok(read_prompts(source, &PromptForms::default())?.records.remove(0).tags)
    }

    #[test]
    fn a_prompt_has_the_marks_that_its_record_names() {
        assert_eq!(tags("").unwrap(), Tags::default());
        let marks = |more| tags(more).unwrap().marks;
        assert_eq!(marks(",\"marks\":[]"), Some(Marks::default()));
        let two = marks(",\"marks\":[\"intent_unclear\",\"ambiguous\"],\"use_case\":\"Chat\"").unwrap();
        let has: Vec<usize> = (0..MARKS.len()).filter(|&place| two.has(place)).collect();
        assert_eq!(has, [0, 10]);
    }

    #[test]
    fn marks_that_nobody_knows_are_refused_by_name() {
        for (more, words) in [
            (",\"marks\":[\"vague\"]", "\"vague\""),
            (",\"marks\":\"ambiguous\"", "marks"),
            (",\"marks\":[1]", "marks"),
            (",\"use_case\":1", "use_case"),
        ] {
            let error = tags(more).unwrap_err().to_string();
            assert!(error.contains(words), "{more}: {error}");
        }
    }
}
