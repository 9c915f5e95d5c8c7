//! Where the records of one kind went: what was left out and why, and how many each side of the split has.

use std::fmt;

use crate::data::{Side, Split};

/// The account of one kind of data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// "demonstrations".
    pub kind: &'static str,
    /// How many were read.
    pub read: usize,
    /// How many each side has in the end.
    pub sides: Split<usize>,
    /// What was left out, and other things to be said.
    remarks: Vec<String>,
}

impl Account {
    /// The account of records that were just read.
    pub fn new(kind: &'static str, read: usize) -> Self {
        Account { kind, read, sides: Split::default(), remarks: Vec::new() }
    }

    /// Adds a sentence's part.
    pub fn remark(&mut self, remark: impl Into<String>) {
        self.remarks.push(remark.into());
    }

    /// Says how many were left out, if any.
    pub fn leave_out(&mut self, count: usize, reason: &str) {
        if count > 0 {
            self.remark(format!("{count} left out: {reason}"));
        }
    }

    /// [`Account::leave_out`], by side.
    pub fn leave_out_by_side(&mut self, counts: Split<usize>, reason: &str) {
        let count = counts.train + counts.validation + counts.test;
        if count > 0 {
            let sides = Side::ALL.iter().filter(|&&side| *counts.of(side) > 0);
            let sides: Vec<String> =
                sides.map(|&side| format!("{} {}", counts.of(side), side.name())).collect();
            self.remark(format!("{count} left out ({}): {reason}", sides.join(", ")));
        }
    }

    /// The final counts. `shares` are what each side should have, `keys` says what the split goes by ("3 users"): a side
    /// that should have something and has nothing is remarked upon.
    pub fn close(&mut self, sides: Split<usize>, shares: Split<f64>, keys: &str) {
        self.sides = sides;
        for side in Side::ALL {
            if self.read > 0 && *sides.of(side) == 0 && *shares.of(side) > 0.0 {
                self.remark(format!("nothing is left for {} (the split goes by {keys})", side.name()));
            }
        }
    }
}

/// `demonstrations: 90 train, 5 validation, 4 test (of 100; 1 left out: ..)`.
impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let sides = Side::ALL.map(|side| format!("{} {}", self.sides.of(side), side.name()));
        write!(f, "{}: {}", self.kind, sides.join(", "))?;
        if self.remarks.is_empty() {
            return Ok(());
        }
        write!(f, " (of {}; {})", self.read, self.remarks.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_where_everything_went() {
        let shares = Split { train: 0.8, validation: 0.1, test: 0.1 };
        let mut account = Account::new("prompts", 9);
        account.leave_out(0, "never said");
        account.close(Split { train: 7, validation: 1, test: 1 }, shares, "9 prompts");
        assert_eq!(account.to_string(), "prompts: 7 train, 1 validation, 1 test");

        let mut account = Account::new("prompts", 9);
        account.leave_out(2, "one user's");
        account.leave_out_by_side(Split { train: 3, validation: 0, test: 1 }, "too long");
        account.close(Split { train: 3, ..Split::default() }, Split { test: 0.0, ..shares }, "1 user");
        assert_eq!(
            account.to_string(),
            "prompts: 3 train, 0 validation, 0 test (of 9; 2 left out: one user's; \
             4 left out (3 train, 1 test): too long; nothing is left for validation (the split goes by 1 user))"
        );
    }
}
