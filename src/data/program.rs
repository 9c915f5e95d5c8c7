//! A program of the user's that is asked line by line: what it gets on its standard input, it answers on its standard
//! output. What it says on standard error is shown.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::thread;

use crate::error::{Error, Result};

/// Runs a line of the system's shell once, hands it all `lines`, and every line that it says to `answer`, with its number
/// from 1; empty lines are passed over. It may answer before it has read everything, and may stop reading.
///
/// # Errors
/// [`Error::Io`] when it cannot be started; [`Error::Format`] naming it when it says what is no text, or fails; those of
/// `answer`, which end it.
pub fn ask(command: &str, lines: Vec<String>, answer: impl FnMut(usize, &str) -> Result<()>) -> Result<()> {
    let failed = |what| move |error| Error::io(format!("`{command}`"), what, error);
    let shell = if cfg!(windows) { ["cmd", "/C"] } else { ["sh", "-c"] };
    let mut program = Command::new(shell[0]);
    program.args([shell[1], command]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = program.spawn().map_err(failed("start"))?;
    let mut input = child.stdin.take().expect("asked for above");
    let writer = thread::spawn(move || {
        // That it does not read on shows in what it answers.
        let _ = lines.iter().try_for_each(|line| writeln!(input, "{line}"));
    });
    let answered = listen(command, &mut child, answer);
    if answered.is_err() {
        let _ = child.kill();
    }
    let status = child.wait().map_err(failed("wait for"))?;
    answered?;
    // Whom it started may still hold its input open; after an error the thread ends with them, or with this program.
    let _ = writer.join();
    match status.success() {
        true => Ok(()),
        false => Err(Error::format(format!("`{command}`"), "", "a program that succeeds", status, "")),
    }
}

fn listen(command: &str, child: &mut Child, mut answer: impl FnMut(usize, &str) -> Result<()>) -> Result<()> {
    let output = child.stdout.take().expect("asked for above");
    for (number, line) in (1..).zip(BufReader::new(output).lines()) {
        let no_text = |error| Error::format(format!("`{command}`"), at(number), "text", error, "");
        let line = line.map_err(no_text)?;
        if !line.trim().is_empty() {
            answer(number, &line)?;
        }
    }
    Ok(())
}

/// Where a line stands, for messages.
pub fn at(number: usize) -> String {
    format!("line {number} of its output")
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn said(command: &str, lines: usize) -> Result<Vec<(usize, String)>> {
        let mut said = Vec::new();
        let lines = (0..lines).map(|i| format!("question {i}")).collect();
        ask(command, lines, |number, line| {
            said.push((number, line.to_string()));
            if line == "wrong" { Err(Error::format("it", at(number), "right", line, "")) } else { Ok(()) }
        })?;
        Ok(said)
    }

    #[test]
    fn lines_go_there_and_back() {
        let found = said("echo first; echo; cat", 2).unwrap();
        let expected = [(1, "first"), (3, "question 0"), (4, "question 1")];
        assert_eq!(found, expected.map(|(number, line)| (number, line.to_string())));
        // More than a pipe holds, both ways; and nothing read at all.
        assert_eq!(said("cat", 20_000).unwrap().len(), 20_000);
        assert_eq!(said("true", 20_000).unwrap(), []);
    }

    #[test]
    fn what_goes_wrong_names_the_program() {
        for (command, expected) in [
            (
                "echo right; exit 3",
                "`echo right; exit 3`: expected a program that succeeds, found exit status: 3",
            ),
            ("/no/such/program", "`/no/such/program`: expected a program that succeeds"),
            ("printf '\\377\\n'", "`printf '\\377\\n'`: line 1 of its output: expected text, found"),
            ("echo right; echo wrong; sleep 60", "it: line 2 of its output: expected right, found wrong"),
        ] {
            let message = said(command, 3).unwrap_err().to_string();
            assert!(message.starts_with(expected), "{message}");
        }
    }
}
