//! The filter of personal data, on what is trained on (the paper, section 3.2). It comes after the split, so that it moves
//! no record to another side; what is held out stays as it is.

use std::collections::BTreeMap;

use super::records::Kind;
use crate::data::pii::{self, Found, PiiRule};
use crate::data::{Comparison, Demonstration, Prompt, Record, Side};

/// A record whose texts can be read and changed.
pub(super) trait Texts: Record {
    /// All that people wrote in it.
    fn texts(&mut self) -> Vec<&mut String>;
    /// Called once texts have changed.
    fn changed(&mut self) {}
}

impl Texts for Demonstration {
    fn texts(&mut self) -> Vec<&mut String> {
        vec![&mut self.prompt, &mut self.response]
    }
}

impl Texts for Comparison {
    fn texts(&mut self) -> Vec<&mut String> {
        [&mut self.prompt].into_iter().chain(&mut self.responses).collect()
    }
    /// The tokens that were sampled are those of the old texts.
    fn changed(&mut self) {
        self.tokens = None;
    }
}

impl Texts for Prompt {
    fn texts(&mut self) -> Vec<&mut String> {
        vec![&mut self.prompt]
    }
}

/// The kind after the filter, which says in the account what it has done.
pub(super) fn filtered<T: Texts>(mut kind: Kind<T>, rule: PiiRule) -> Kind<T> {
    if rule == PiiRule::Keep {
        return kind;
    }
    let (mut counts, mut changed) = (BTreeMap::new(), 0);
    let (mut kept, mut dropped) = (Vec::new(), Vec::new());
    for mut record in kind.sides.take(Side::Train) {
        let found: Vec<Vec<Found>> = record.texts().iter().map(|text| pii::find(text)).collect();
        found.iter().flatten().for_each(|one| *counts.entry(one.kind).or_insert(0) += 1);
        let clean = found.iter().all(Vec::is_empty);
        if !clean && rule == PiiRule::Drop {
            dropped.push(record);
            continue;
        }
        if !clean {
            for (text, found) in record.texts().into_iter().zip(&found) {
                *text = pii::replaced(text, found);
            }
            record.changed();
            changed += 1;
        }
        kept.push(record);
    }
    *kind.sides.of_mut(Side::Train) = kept;
    let each: Vec<String> = counts
        .iter()
        .map(|(kind, count): (&pii::Kind, &usize)| format!("{count} x {}", kind.name()))
        .collect();
    kind.account.leave_out(&dropped, "they hold personal data (data.pii)");
    if changed > 0 {
        kind.account.remark(format!("personal data replaced in {changed} of train (data.pii)"));
    }
    if !each.is_empty() {
        kind.account.remark(format!("personal data found: {}", each.join(", ")));
    }
    kind
}
