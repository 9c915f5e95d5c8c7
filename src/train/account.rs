//! Where the records of one kind went: what was left out and why, and how many each side of the split has.

use std::fmt;

use crate::data::{Record, Side, Split};

/// A record that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Its place: "a.jsonl, line 12". Empty for what was in no file.
    pub place: String,
    /// Why.
    pub reason: String,
}

/// The account of one kind of data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// "demonstrations".
    pub kind: &'static str,
    /// How many were read.
    pub read: usize,
    /// How many each side has in the end.
    pub sides: Split<usize>,
    /// Each record that was left out; those too that were of no use as they were read.
    pub left_out: Vec<LeftOut>,
    /// What was left out, and other things to be said.
    remarks: Vec<String>,
}

impl Account {
    /// The account of records that were just read.
    pub fn new(kind: &'static str, read: usize) -> Self {
        Account { kind, read, sides: Split::default(), left_out: Vec::new(), remarks: Vec::new() }
    }

    /// Adds a sentence's part.
    pub fn remark(&mut self, remark: impl Into<String>) {
        self.remarks.push(remark.into());
    }

    /// Says how many were left out, if any.
    pub fn leave_out<T: Record>(&mut self, records: &[T], reason: &str) {
        if !records.is_empty() {
            self.remark(format!("{} left out: {reason}", records.len()));
        }
        self.keep(records, reason);
    }

    /// [`Account::leave_out`], by side.
    pub fn leave_out_by_side<T: Record>(&mut self, records: &Split<Vec<T>>, reason: &str) {
        self.count_by_side(records.map(Vec::len), reason);
        Side::ALL.iter().for_each(|&side| self.keep(records.of(side), reason));
    }

    /// Says how many were left out of each side, of what has no places.
    pub fn count_by_side(&mut self, counts: Split<usize>, reason: &str) {
        let count = counts.train + counts.validation + counts.test;
        if count > 0 {
            let sides = Side::ALL.iter().filter(|&&side| *counts.of(side) > 0);
            let sides: Vec<String> =
                sides.map(|&side| format!("{} {}", counts.of(side), side.name())).collect();
            self.remark(format!("{count} left out ({}): {reason}", sides.join(", ")));
        }
    }

    fn keep<T: Record>(&mut self, records: &[T], reason: &str) {
        let of = |record: &T| LeftOut { place: record.place().to_string(), reason: reason.to_string() };
        self.left_out.extend(records.iter().map(of));
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
    use crate::data::Prompt;

    fn records(count: usize) -> Vec<Prompt> {
        let of = |i| Prompt {
            prompt: "p".into(),
            user: None,
            tags: Default::default(),
            place: format!("a, line {i}"),
        };
        (0..count).map(of).collect()
    }

    #[test]
    fn it_says_where_everything_went() {
        let shares = Split { train: 0.8, validation: 0.1, test: 0.1 };
        let mut account = Account::new("prompts", 9);
        account.leave_out(&records(0), "never said");
        account.close(Split { train: 7, validation: 1, test: 1 }, shares, "9 prompts");
        assert_eq!(account.to_string(), "prompts: 7 train, 1 validation, 1 test");

        let mut account = Account::new("prompts", 9);
        account.leave_out(&records(2), "one user's");
        account.leave_out_by_side(
            &Split { train: records(3), validation: records(0), test: records(1) },
            "too long",
        );
        account.close(Split { train: 3, ..Split::default() }, Split { test: 0.0, ..shares }, "1 user");
        assert_eq!(
            account.to_string(),
            "prompts: 3 train, 0 validation, 0 test (of 9; 2 left out: one user's; \
             4 left out (3 train, 1 test): too long; nothing is left for validation (the split goes by 1 user))"
        );
        let places: Vec<(&str, &str)> =
            account.left_out.iter().map(|one| (one.place.as_str(), one.reason.as_str())).collect();
        assert_eq!(places.len(), 6);
        assert_eq!((places[1], places[4]), (("a, line 1", "one user's"), ("a, line 2", "too long")));
    }
}
