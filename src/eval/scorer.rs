//! A judge of the user's: a command that scores what a model wrote, since no honest judge of such texts can be built in.
//!
//! It is run once by `sh -c`, after all is written. On its standard input it gets a line of JSON for each text,
//! `{"id": .., "prompt": .., "continuation": ..}`; on its standard output it answers each, in any order, by a line
//! `{"id": .., "score": ..}` with a number from 0 to 1. What it says on standard error is shown.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::thread;

use serde_json::{Value, json};

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
/// [`Error::Io`] when there is no shell; [`Error::Format`] naming the command when it fails, leaves a text out, answers
/// one twice, or answers by anything else than such a line.
pub fn scores(command: &str, texts: &[Text]) -> Result<Vec<f64>> {
    let failed = |what| move |error| Error::io(format!("the scorer `{command}`"), what, error);
    let mut child = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed("start"))?;
    // Written by a thread of its own: a command may answer before it has read everything.
    let mut input = child.stdin.take().expect("asked for above");
    let lines: Vec<String> = texts.iter().enumerate().map(line).collect();
    let writer = thread::spawn(move || {
        // A command that stops reading shows in what it answers.
        let _ = lines.iter().try_for_each(|line| writeln!(input, "{line}"));
    });
    let answers = read(command, &mut child, texts.len());
    if answers.is_err() {
        let _ = child.kill();
    }
    let status = child.wait().map_err(failed("wait for"))?;
    // Those whom it started may still hold its input open; the thread ends with them, or with the program.
    if answers.is_ok() {
        let _ = writer.join();
    }
    let answers = answers?;
    let wrong = |expected: String, found: String| Err(refusal(command, "", expected, found));
    if !status.success() {
        return wrong("an exit code of 0".into(), status.to_string());
    }
    match answers.iter().position(Option::is_none) {
        None => Ok(answers.into_iter().flatten().collect()),
        Some(missing) => {
            let answered = answers.iter().flatten().count();
            let found = format!("{answered}; the first without one has the id {missing}");
            wrong(format!("a line with a score for each of {} texts", texts.len()), found)
        }
    }
}

fn line((id, text): (usize, &Text)) -> String {
    json!({ "id": id, "prompt": text.prompt, "continuation": text.continuation }).to_string()
}

/// What the command answers, to its end.
fn read(command: &str, child: &mut Child, texts: usize) -> Result<Vec<Option<f64>>> {
    let output = child.stdout.take().expect("asked for above");
    let mut scores = vec![None; texts];
    for (number, line) in BufReader::new(output).lines().enumerate() {
        let at = format!("line {}", number + 1);
        let wrong = |expected: &str, found: String| refusal(command, &at, expected, found);
        let line = line.map_err(|error| wrong("text", error.to_string()))?;
        let shown = || format!("{:?}", line.chars().take(60).collect::<String>());
        let answer = match json::parse(line.as_bytes()) {
            Ok(Value::Object(answer)) => answer,
            _ => return Err(wrong(FORM, shown())),
        };
        let (id, score) =
            (answer.get("id").and_then(Value::as_u64), answer.get("score").and_then(Value::as_f64));
        let (Some(id), Some(score)) = (id, score) else { return Err(wrong(FORM, shown())) };
        if !(0.0..=1.0).contains(&score) {
            return Err(wrong("a score from 0 to 1", score.to_string()));
        }
        match scores.get_mut(id as usize) {
            None => return Err(wrong(&format!("an id below {texts}"), id.to_string())),
            Some(Some(_)) => return Err(wrong("one score for each id", format!("the id {id} again"))),
            Some(place) => *place = Some(score),
        }
    }
    Ok(scores)
}

const FORM: &str = "a line of JSON with an id, a whole number, and a score, a number";

fn refusal(command: &str, at: &str, expected: impl ToString, found: String) -> Error {
    let hint = "a scorer reads lines of {\"id\", \"prompt\", \"continuation\"} and writes lines of {\"id\", \"score\"}";
    Error::format(format!("the scorer `{command}`"), at, expected, found, hint)
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
            ("exit 3", "expected an exit code of 0, found exit status: 3"),
            ("no-such-program-at-all 2>/dev/null", "expected an exit code of 0, found exit status: 127"),
            (
                "cat >/dev/null; echo '{\"id\":1,\"score\":0}'",
                "expected a line with a score for each of 2 texts, found 1; the first without one has the id 0",
            ),
            (
                "cat",
                "line 1: expected a line of JSON with an id, a whole number, and a score, a number, found \"{",
            ),
            ("echo hello", "line 1: expected a line of JSON with an id"),
            ("echo '{\"id\":0,\"score\":1.5}'", "line 1: expected a score from 0 to 1, found 1.5"),
            ("echo '{\"id\":2,\"score\":1}'", "line 1: expected an id below 2, found 2"),
            (
                "echo '{\"id\":0,\"score\":1}'; echo '{\"id\":0,\"score\":1}'",
                "line 2: expected one score for each id, found the id 0 again",
            ),
            ("printf '\\377\\n'", "line 1: expected text, found stream did not contain valid UTF-8"),
        ] {
            let message = scores(command, &texts(2)).unwrap_err().to_string();
            assert!(message.starts_with(&format!("the scorer `{command}`: {expected}")), "{message}");
        }
    }
}
