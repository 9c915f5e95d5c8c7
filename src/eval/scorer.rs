//! A judge of the user's: a command that scores what a model wrote, since no honest judge of such texts can be built in.
//!
//! It is run once by `sh -c`, after all is written. On its standard input it gets a line of JSON for each text,
//! `{"id": .., "prompt": .., "continuation": ..}`; on its standard output it answers each, in any order, by a line
//! `{"id": .., "score": ..}` with a number from 0 to 1. What it says on standard error is shown.

use serde_json::{Value, json};

use crate::data::program;
use crate::error::{Error, Result};
use crate::text::json;

/// A text to judge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// What was there.
    pub prompt: String,
    /// What the model wrote.
    pub continuation: String,
}

/// The scores of texts, each from 0 to 1, in the order of the texts. The id of a text is its place, from 0.
///
/// # Errors
/// Those of [`program::ask`]; [`Error::Format`] naming the command when it leaves a text out, answers one twice, or answers
/// by anything else than such a line.
pub fn scores(command: &str, texts: &[Text]) -> Result<Vec<f64>> {
    let mut scores = vec![None; texts.len()];
    program::ask(command, texts.iter().enumerate().map(line).collect(), |number, line| {
        let (id, score) = score(line, texts.len())
            .map_err(|(expected, found)| refusal(command, program::at(number), expected, found))?;
        match scores[id].replace(score) {
            None => Ok(()),
            Some(_) => {
                let found = format!("the id {id} again");
                Err(refusal(command, program::at(number), "one score for each id".into(), found))
            }
        }
    })?;
    match scores.iter().position(Option::is_none) {
        None => Ok(scores.into_iter().flatten().collect()),
        Some(missing) => {
            let answered = scores.iter().flatten().count();
            let found = format!("{answered}; the first without one has the id {missing}");
            let expected = format!("a line with a score for each of {} texts", texts.len());
            Err(refusal(command, String::new(), expected, found))
        }
    }
}

fn line((id, text): (usize, &Text)) -> String {
    json!({ "id": id, "prompt": text.prompt, "continuation": text.continuation }).to_string()
}

/// The id and the score of an answer; or what was expected and found.
fn score(line: &str, texts: usize) -> core::result::Result<(usize, f64), (String, String)> {
    let answer = json::parse(line.as_bytes()).unwrap_or(Value::Null);
    let (Some(id), Some(score)) = (answer["id"].as_u64(), answer["score"].as_f64()) else {
        let form = "a line of JSON with an id, a whole number, and a score, a number";
        return Err((form.into(), format!("{:?}", line.chars().take(60).collect::<String>())));
    };
    if !(0.0..=1.0).contains(&score) {
        return Err(("a score from 0 to 1".into(), score.to_string()));
    }
    match usize::try_from(id).ok().filter(|id| *id < texts) {
        Some(id) => Ok((id, score)),
        None => Err((format!("an id below {texts}"), id.to_string())),
    }
}

fn refusal(command: &str, at: String, expected: String, found: String) -> Error {
    let hint = "a scorer reads lines of {\"id\", \"prompt\", \"continuation\"} and writes lines of {\"id\", \"score\"}";
    Error::format(format!("`{command}`"), at, expected, found, hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(n: usize) -> Vec<Text> {
        (0..n).map(|i| Text { prompt: format!("p{i}"), continuation: format!("é \"{i}\"\n") }).collect()
    }

    #[test]
    fn each_text_gets_its_score_whatever_the_order() {
        let command =
            "cat >/dev/null; echo '{\"id\":1,\"score\":1,\"more\":[]}'; echo '{\"score\":0.25,\"id\":0}'";
        assert_eq!(scores(command, &texts(2)).unwrap(), [0.25, 1.0]);
        assert_eq!(scores("cat", &[]).unwrap(), [0.0; 0]);
    }

    /// Far more than a pipe holds, answered line by line.
    #[test]
    fn texts_reach_the_command_as_they_are() {
        let many = texts(5000);
        let command = "sed -E 's/^\\{\"continuation\":\"é \\\\\"[0-9]+\\\\\"\\\\n\",\"id\":([0-9]+),\"prompt\":\"p[0-9]+\"\\}$/{\"id\":\\1,\"score\":0.5}/'";
        assert_eq!(scores(command, &many).unwrap(), [0.5; 5000]);
    }

    #[test]
    fn what_is_no_answer_is_one_clear_error() {
        for (command, expected) in [
            ("exit 3", ": expected a program that succeeds, found exit status: 3"),
            (
                "no-such-program-at-all 2>/dev/null",
                ": expected a program that succeeds, found exit status: 127",
            ),
            (
                "cat >/dev/null; echo '{\"id\":1,\"score\":0}'",
                ": expected a line with a score for each of 2 texts, found 1; the first without one has the id 0",
            ),
            (
                "cat",
                ": line 1 of its output: expected a line of JSON with an id, a whole number, and a score, a number, found \"{",
            ),
            ("echo hello", ": line 1 of its output: expected a line of JSON with an id"),
            (
                "echo '{\"id\":0,\"score\":1.5}'",
                ": line 1 of its output: expected a score from 0 to 1, found 1.5",
            ),
            ("echo '{\"id\":2,\"score\":1}'", ": line 1 of its output: expected an id below 2, found 2"),
            (
                "echo '{\"id\":0,\"score\":1}'; echo '{\"id\":0,\"score\":1}'",
                ": line 2 of its output: expected one score for each id, found the id 0 again",
            ),
            (
                "printf '\\377\\n'",
                ": line 1 of its output: expected text, found stream did not contain valid UTF-8",
            ),
        ] {
            let message = scores(command, &texts(2)).unwrap_err().to_string();
            assert!(message.starts_with(&format!("`{command}`{expected}")), "{message}");
        }
    }
}
