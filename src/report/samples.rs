//! Reads `samples.jsonl`: requests, and what each model answered.

use core::ops::Range;

use super::record::lines;
use crate::error::{Error, Result};
use serde_json::Value;

/// A prompt and what each model answered, least trained first.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sample {
    /// What was asked.
    pub prompt: String,
    /// The answers.
    pub answers: Vec<Answer>,
}

/// One model's answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Answer {
    /// The model's name, as in tables.
    pub model: String,
    /// What it said.
    pub text: String,
    /// The reward model's score.
    pub reward: Option<f64>,
    /// The miniature's own judgement, 1 to 7.
    pub gold: Option<f64>,
    /// Bytes of the text that earned (`true`) or lost the judgement; in order, none within another.
    pub marks: Vec<(Range<usize>, bool)>,
}

/// Models from the least to the most trained; others follow by name.
const MODEL_ORDER: [&str; 7] = ["pretrained", "sft", "rlhf_init", "ppo", "ppo_ptx", "policy", "reference"];

/// Reads the file's text: a line is `{"prompt", "answers": {MODEL: {"text", "reward", "gold", "marks"}}}`, or as earlier
/// versions wrote it `{"prompt", MODEL: TEXT}`; what else a line holds is skipped.
///
/// # Errors
/// [`Error::Format`] with file and line.
pub fn samples(text: &str, origin: &str) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    for line in lines(text, origin) {
        let (at, value) = line?;
        let Some(prompt) = value["prompt"].as_str() else {
            return Err(Error::format(origin, at, "\"prompt\" (a string)", value, ""));
        };
        let fields = match value["answers"].as_object() {
            Some(answers) => answers,
            None => value.as_object().expect("lines are objects"),
        };
        let mut answers = Vec::new();
        for (model, field) in fields.iter().filter(|(name, _)| name.as_str() != "prompt") {
            answers.extend(answer(model, field).map_err(|expected| {
                Error::format(origin, &at, expected, format!("another in the answer of {model:?}"), "")
            })?);
        }
        let rank = |name: &str| MODEL_ORDER.iter().position(|m| *m == name).unwrap_or(MODEL_ORDER.len());
        answers.sort_by(|a, b| (rank(&a.model), &a.model).cmp(&(rank(&b.model), &b.model)));
        samples.push(Sample { prompt: prompt.to_string(), answers });
    }
    Ok(samples)
}

/// One answer, if the field is one; else what is expected of its marks.
fn answer(model: &str, field: &Value) -> core::result::Result<Option<Answer>, &'static str> {
    let Some(text) = field.as_str().or_else(|| field["text"].as_str()) else { return Ok(None) };
    let mut answer = Answer {
        model: model.into(),
        text: text.into(),
        reward: field["reward"].as_f64(),
        gold: field["gold"].as_f64(),
        marks: Vec::new(),
    };
    for mark in field["marks"].as_array().into_iter().flatten() {
        let (start, end) = (mark[0].as_u64(), mark[1].as_u64());
        let (Some(start), Some(end), Some(good)) = (start, end, mark[2].as_bool()) else {
            return Err("marks [start, end, good]");
        };
        let range = start as usize..end as usize;
        let before = answer.marks.last().map_or(0, |last| last.0.end);
        if range.start < before || text.get(range.clone()).is_none() {
            return Err("marks in order, within the text");
        }
        answer.marks.push((range, good));
    }
    Ok(Some(answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earlier_form_goes_from_least_to_most_trained() {
        let s = samples("{\"prompt\":\"p\",\"zz\":\"3\",\"ppo\":\"2\",\"pretrained\":\"1\",\"n\":1}", "s")
            .unwrap();
        let names: Vec<&str> = s[0].answers.iter().map(|a| a.model.as_str()).collect();
        assert_eq!(names, ["pretrained", "ppo", "zz"]);
        assert_eq!((s[0].answers[1].text.as_str(), s[0].answers[1].reward), ("2", None));
    }

    #[test]
    fn answers_bring_their_judgement() {
        let line = "{\"prompt\":\"p\",\"answers\":{\"ppo\":{\"text\":\"an ö\",\"reward\":0.5,\"gold\":7.0,\
                    \"marks\":[[0,2,true],[3,5,false]]},\"sft\":{\"text\":\"b\"}}}";
        let s = samples(line, "s").unwrap();
        let [sft, ppo] = s[0].answers.as_slice() else { panic!("two answers") };
        assert_eq!((sft.model.as_str(), sft.gold), ("sft", None));
        assert_eq!(
            (ppo.reward, ppo.gold, ppo.marks.clone()),
            (Some(0.5), Some(7.0), vec![(0..2, true), (3..5, false)])
        );
    }

    #[test]
    fn marks_outside_of_the_text_are_refused() {
        for marks in ["[[0,9,true]]", "[[3,4,true]]", "[[1,2,true],[0,1,true]]", "[[0,1]]", "[[2,1,true]]"] {
            let line = format!(
                "\n{{\"prompt\":\"p\",\"answers\":{{\"a\":{{\"text\":\"an ö\",\"marks\":{marks}}}}}}}"
            );
            let message = samples(&line, "s.jsonl").unwrap_err().to_string();
            assert!(message.contains("s.jsonl: line 2") && message.contains("marks"), "{message}");
        }
        assert!(samples("{\"sft\":\"x\"}", "s").unwrap_err().to_string().contains("line 1"));
    }
}
