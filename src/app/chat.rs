//! `chat`: a conversation with a model, one request and one answer at a time.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, IsTerminal, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use serde_json::json;

use super::args::ChatArgs;
use super::jsonl::Output;
use super::writer::Writer;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::run::stderr::{ask, say};

/// The longest line in bytes; no model's context takes more.
const LONGEST_LINE: u64 = 1 << 20;

/// Answers each line of standard input until it ends. Line `i` that is not empty draws as text `i` of `sample`.
///
/// # Errors
/// Those of the model's directory; a line that the model cannot take ([`Error::Format`] with its number), which a
/// person at a terminal is only told; [`Error::Io`] if a request cannot be kept.
pub fn run<E: Engine>(args: &ChatArgs, engine: E) -> Result<()> {
    let writer = Writer::open(&args.write.model, &args.write.draw, args.write.seed, engine)?;
    let mut collected = args.collect.clone().map(|path| Collected::open(path, &args.user)).transpose()?;
    if let Some(collected) = &collected {
        // The paper's users were told each time they came (section 3.2).
        say(format!(
            "note: every request is kept in {}. People who label may read it, and models may be trained on it. Whoever does \
             not want that ends this program now, and leaves out what is private",
            collected.path.display()
        ));
    }
    say(match &writer.format {
        Some(_) => "note: every line is a request of its own; the model sees no earlier ones".to_string(),
        None if args.write.draw.raw => "note: --raw: the model writes on from each line as it is".to_string(),
        None => format!(
            "note: {} carries no prompt format, so the model writes on from each line as it is, as from any text",
            args.write.model.display()
        ),
    });
    let mut stdin = std::io::stdin().lock();
    let interactive = stdin.is_terminal();
    let mut output = Output::stdout();
    let (mut number, mut answers) = (0, 0);
    loop {
        if interactive {
            ask("> ");
        }
        number += 1;
        let line = match read_line(&mut stdin, number) {
            Ok(None) => return Ok(()),
            Ok(Some(line)) => line,
            Err(error) => return Err(error),
        };
        if line.is_empty() {
            continue;
        }
        match writer.prompt(&line, "standard input") {
            Ok(prompt) => {
                collected.iter_mut().try_for_each(|collected| collected.keep(&line))?;
                if !writer.stream(&prompt, answers, &mut output)? {
                    return Ok(());
                }
                answers += 1;
            }
            Err(error) if interactive => say(error),
            Err(error) => return Err(at_line(error, number)),
        }
    }
}

/// Where the requests are kept: JSON Lines that `label --items` and a run's `data.prompts` read.
struct Collected {
    path: PathBuf,
    file: File,
    user: Option<String>,
}

impl Collected {
    fn open(path: PathBuf, user: &Option<String>) -> Result<Collected> {
        let failed = |error| Error::io(path.display(), "open", error);
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(&path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let mut last = [b'\n'];
        if length > 0 {
            let read = file.seek(SeekFrom::Start(length - 1)).and_then(|_| file.read_exact(&mut last));
            read.map_err(failed)?;
        }
        if last != [b'\n'] {
            let hint = "a record was cut off: take its beginning out";
            return Err(Error::format(
                path.display(),
                "last line",
                "the end of a line",
                "the end of the file",
                hint,
            ));
        }
        Ok(Collected { path, file, user: user.clone() })
    }

    /// Puts a request at the file's end. When this returns, it is on the disk.
    fn keep(&mut self, prompt: &str) -> Result<()> {
        let mut record = json!({ "prompt": prompt });
        if let Some(user) = &self.user {
            record["user"] = json!(user);
        }
        let kept = self.file.write_all(format!("{record}\n").as_bytes()).and_then(|()| self.file.sync_data());
        kept.map_err(|error| Error::io(self.path.display(), "write", error))
    }
}

/// A line without its end; `None` at the end of the input.
fn read_line(input: &mut impl BufRead, number: usize) -> Result<Option<String>> {
    let mut line = Vec::new();
    let read = input.by_ref().take(LONGEST_LINE + 1).read_until(b'\n', &mut line);
    if read.map_err(|error| Error::io("standard input", "read", error))? == 0 {
        return Ok(None);
    }
    let wrong = |expected: &str, found: &str| {
        Err(Error::format("standard input", format!("line {number}"), expected, found, ""))
    };
    if line.len() as u64 > LONGEST_LINE {
        return wrong("a line of at most 1 MiB", "a longer one");
    }
    match String::from_utf8(line) {
        Ok(line) => Ok(Some(line.trim_end_matches(['\r', '\n']).to_string())),
        Err(_) => wrong("UTF-8 text", "bytes that are not"),
    }
}

/// A request's error, with the line it stands in.
fn at_line(error: Error, number: usize) -> Error {
    match error {
        Error::Usage { field, expected, found, hint } => {
            Error::format(field, format!("line {number}"), expected, found, hint)
        }
        other => other,
    }
}
