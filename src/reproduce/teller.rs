//! What the many runs of the experiments tell: each stage under the name of its run, and each note once.

use std::collections::BTreeSet;

use crate::run::progress::Progress;

/// Between the runs and the one who is told.
pub struct Teller<'a> {
    told: &'a mut dyn Progress,
    /// The run that speaks, as in "seed-1/m".
    run: String,
    noted: BTreeSet<String>,
}

impl<'a> Teller<'a> {
    /// In front of `told`.
    pub fn new(told: &'a mut dyn Progress) -> Self {
        Teller { told, run: String::new(), noted: BTreeSet::new() }
    }

    /// From now on that run speaks.
    pub fn speaks(&mut self, run: String) {
        self.run = run;
    }
}

impl Progress for Teller<'_> {
    // The plan of a single run among dozens would be taken for that of all: it is left out.

    fn stage(&mut self, name: &str, total_steps: u64) {
        self.told.stage(&format!("{} {name}", self.run), total_steps);
    }

    fn step(&mut self, step: u64, line: &str) {
        self.told.step(step, line);
    }

    /// Dozens of runs read the same data.
    fn note(&mut self, text: &str) {
        if self.noted.insert(text.to_string()) {
            self.told.note(text);
        }
    }

    fn finish(&mut self) {
        self.told.finish();
    }
}
