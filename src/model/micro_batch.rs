//! Micro-batches: sequences that are in memory together. How they are cut shows in no bit.

use alloc::vec::Vec;
use core::ops::Range;

use super::gradients::Differentiated;
use super::layout::Head;
use super::network::Network;
use super::sequence::Sequence;
use crate::engine::Engine;

/// Tokens that a network reads of a sequence: a language model's last token is a target only.
pub(super) fn input_len(sequence: &Sequence, head: Head) -> usize {
    match head {
        Head::LanguageModel => sequence.tokens.len().saturating_sub(1),
        Head::Scalar => sequence.tokens.len(),
    }
}

impl<E: Engine> Network<E> {
    /// Token rows that the memory holds.
    pub(super) fn room(&self) -> usize {
        self.plan.0.max(self.config.context)
    }

    /// Token rows of sequences, as the network reads them.
    fn token_rows(&self, sequences: &[Sequence]) -> usize {
        sequences.iter().map(|sequence| input_len(sequence, self.head)).sum()
    }

    /// One past the last of the items from `first` on that have at most `room` token rows together, one at least.
    pub(super) fn micro_batch<'s, 't: 's>(
        &self,
        first: usize,
        count: usize,
        room: usize,
        sequences: impl Fn(usize) -> &'s [Sequence<'t>],
    ) -> usize {
        let (mut end, mut tokens) = (first, 0);
        while end < count {
            tokens += self.token_rows(sequences(end));
            if end > first && tokens > room {
                break;
            }
            end += 1;
        }
        end
    }

    /// The groups of each micro-batch of several ranks: as many as the memory holds, but no more than leaves one for
    /// each rank.
    pub(super) fn micro_batches(&self, batch: &Differentiated, ranks: usize) -> Vec<Range<usize>> {
        let room = self.room().min(self.token_rows(batch.sequences).div_ceil(ranks));
        let (mut first, count) = (0, batch.groups.len() - 1);
        let mut all = Vec::new();
        while first < count {
            let end = self.micro_batch(first, count, room, |group| batch.of(&(group..group + 1)));
            all.push(first..end);
            first = end;
        }
        all
    }
}
