//! What stands before a document: an instruction, the task's head, and solved examples (few-shot).

use std::collections::BTreeMap;

use super::Prepared;
use crate::num::hash::{EMPTY, fnv1a};
use crate::num::rng::{Purpose, Rng, Stage};

impl Prepared {
    /// What stands before a document: instruction, the task's head, examples.
    pub(super) fn before(&self, index: usize) -> String {
        let mut before = format!("{}{}", self.asking.instruction.text(), self.task.head(self.asking.style));
        for example in self.examples(index) {
            before += self.items[example].example.as_deref().unwrap_or_default();
            before += "\n\n";
        }
        before
    }

    /// The number of the first item about the same text.
    pub(super) fn group(&self, index: usize) -> usize {
        self.items[index].group.unwrap_or(index)
    }

    /// Whether a document can be shown before another.
    fn is_example(&self, other: usize, index: usize) -> bool {
        self.items[other].example.is_some() && self.group(other) != self.group(index)
    }

    /// How many examples there are for every document: all but those of the largest group.
    pub(super) fn most_examples(&self) -> usize {
        let mut of_group = BTreeMap::new();
        for index in (0..self.items.len()).filter(|&index| self.items[index].example.is_some()) {
            *of_group.entry(self.group(index)).or_insert(0) += 1;
        }
        of_group.values().sum::<usize>() - of_group.values().max().unwrap_or(&0)
    }

    /// The examples of a document: others, drawn without return at the address of task and document.
    pub(super) fn examples(&self, index: usize) -> Vec<usize> {
        let step = fnv1a(EMPTY, self.task.card().name.bytes());
        let mut rng = Rng::at(self.asking.seed, Stage::Eval, Purpose::Prompt, step, index as u64, 0);
        let mut chosen = Vec::with_capacity(self.asking.shots);
        while chosen.len() < self.asking.shots {
            let other = rng.below(self.items.len() - 1);
            let other = other + usize::from(other >= index);
            if !chosen.contains(&other) && self.is_example(other, index) {
                chosen.push(other);
            }
        }
        chosen
    }
}
