//! Remarks for the user on standard error. `eprintln!` panics where that is closed or full; a remark that nobody can
//! read is no reason to stop.

use std::fmt::Display;
use std::io::Write;

/// Writes something to which a line on standard input is the answer.
pub fn ask(text: &str) {
    let mut stderr = std::io::stderr();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

/// Writes a line.
pub fn say(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
