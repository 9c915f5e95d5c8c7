//! The one error type. A user's mistake becomes a value of it: what, where, expected, found, hint.
//! (A shape mistake inside the library is an `assert!` instead.)

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

/// What went wrong, in the user's terms. [`fmt::Display`] prints everything a user needs, in one message.
#[derive(Debug, Clone, PartialEq)]
pub enum Error {
    /// The command line or the configuration is wrong. Exit code 2.
    Usage {
        /// The flag, key or argument.
        field: String,
        /// What is allowed there.
        expected: String,
        /// What was given.
        found: String,
        /// How to go on (may be empty).
        hint: String,
    },
    /// The operating system refused to read or write. Exit code 1.
    Io {
        /// The file or directory.
        path: String,
        /// What was being done: "read", "create", "rename" ...
        action: &'static str,
        /// The system's own words.
        reason: String,
    },
    /// A file was read and is not what it should be. Exit code 1.
    Format {
        /// The file (or "standard input").
        path: String,
        /// Where in it: "line 12", "field \"prompt\"", "tensor \"wte.weight\"" (may be empty).
        at: String,
        /// What belongs there.
        expected: String,
        /// What is there.
        found: String,
        /// How to go on (may be empty).
        hint: String,
    },
    /// A number is not finite, or a run has left the bounds set for it. Exit code 1.
    Numeric {
        /// The stage, as in the configuration.
        stage: String,
        /// The step (from 1) at which it was seen.
        step: u64,
        /// The tensor or measure.
        what: String,
        /// Its value, or where in the tensor it stands.
        found: String,
        /// How to go on.
        hint: String,
    },
    /// A device that was asked for cannot be used, or has failed. Exit code 1.
    Device {
        /// What is needed.
        expected: String,
        /// What there is.
        found: String,
        /// How to go on (may be empty).
        hint: String,
    },
    /// Several mistakes of one kind of input, which are said together. Exit code 2 if one of them has it.
    Several(Vec<Error>),
    /// The user stopped the run; all that is finished is saved. Exit code 1.
    Interrupted {
        /// How to go on.
        hint: String,
    },
    /// The first rank of a run has failed, which says why. Exit code 1.
    Elsewhere,
}

/// The result of anything a user can make fail.
pub type Result<T> = core::result::Result<T, Error>;

impl Error {
    /// A [`Error::Usage`].
    pub fn usage(
        field: impl ToString,
        expected: impl ToString,
        found: impl ToString,
        hint: impl ToString,
    ) -> Self {
        Error::Usage {
            field: shortened(field),
            expected: shortened(expected),
            found: shortened(found),
            hint: hint.to_string(),
        }
    }

    /// A [`Error::Format`].
    pub fn format(
        path: impl ToString,
        at: impl ToString,
        expected: impl ToString,
        found: impl ToString,
        hint: impl ToString,
    ) -> Self {
        Error::Format {
            path: path.to_string(),
            at: shortened(at),
            expected: shortened(expected),
            found: shortened(found),
            hint: hint.to_string(),
        }
    }

    /// A [`Error::Device`].
    pub fn device(expected: impl ToString, found: impl ToString, hint: impl ToString) -> Self {
        Error::Device { expected: shortened(expected), found: shortened(found), hint: hint.to_string() }
    }

    /// A [`Error::Io`]; `reason` is usually a `std::io::Error`.
    pub fn io(path: impl ToString, action: &'static str, reason: impl ToString) -> Self {
        Error::Io { path: path.to_string(), action, reason: reason.to_string() }
    }

    /// All of `errors` as one; nothing is wrong where there is none.
    ///
    /// # Errors
    /// The only one as it is, [`Error::Several`] for more.
    pub fn all(mut errors: Vec<Error>) -> Result<()> {
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(Error::Several(errors)),
        }
    }

    /// The process's exit code: 2 for usage, 1 for everything else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Usage { .. } => 2,
            Error::Several(errors) => errors.iter().map(Error::exit_code).max().unwrap_or(1),
            _ => 1,
        }
    }
}

/// The beginning of what a message quotes: a name or a line of a wrong file may be the whole file.
fn shortened(text: impl ToString) -> String {
    let mut text = text.to_string();
    if let Some((cut, _)) = text.char_indices().nth(500) {
        text.truncate(cut);
        text.push_str(" ...");
    }
    text
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hint = match self {
            Error::Usage { field, expected, found, hint } => {
                write!(f, "{field}: expected {expected}, found {found}")?;
                hint
            }
            Error::Io { path, action, reason } => return write!(f, "{path}: cannot {action}: {reason}"),
            Error::Format { path, at, expected, found, hint } => {
                write!(f, "{path}: ")?;
                if !at.is_empty() {
                    write!(f, "{at}: ")?;
                }
                write!(f, "expected {expected}, found {found}")?;
                hint
            }
            Error::Numeric { stage, step, what, found, hint } => {
                write!(f, "{stage}: step {step}: {what} is {found}")?;
                hint
            }
            Error::Device { expected, found, hint } => {
                write!(f, "device: expected {expected}, found {found}")?;
                hint
            }
            Error::Several(errors) => {
                write!(f, "{} mistakes", errors.len())?;
                // One a line, whatever it quotes.
                return errors.iter().try_for_each(|error| {
                    write!(f, "\n  {}", error.to_string().replace("\n  hint: ", "; "))
                });
            }
            Error::Elsewhere => return write!(f, "the first rank has failed"),
            Error::Interrupted { hint } => {
                write!(f, "interrupted; all that is finished is saved")?;
                hint
            }
        };
        if !hint.is_empty() {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl core::error::Error for Error {}
