//! A gradient that several ranks add up as one would.
//!
//! Every element is one chain over the tokens of a step in their order. So micro-batch `i`, which belongs to rank
//! `i mod R`, goes on with the chains where micro-batch `i - 1` left them: a relay round the ring. Each parameter's
//! chains are handed on as soon as the backward is done with them, and meanwhile it goes on with the next ones, so
//! that all ranks have something to do. After the last micro-batch the chains go round once more, as they are.

use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use crate::engine::{Engine, Relayed, pieces};
use crate::ranks::{Lane, Ranks, to_numbers, to_words};

/// Where the relay of a step is.
#[derive(Clone, Copy)]
pub(super) struct Relay {
    pub ranks: &'static dyn Ranks,
    /// Micro-batches before the one that is being added, of all ranks.
    pub before: usize,
}

impl Relay {
    /// The rank that a micro-batch belongs to.
    pub fn owner(&self, micro_batch: usize) -> usize {
        micro_batch % self.ranks.size()
    }

    /// Adds a micro-batch's part to some chains: takes over those that were begun, goes on with them, and hands on those
    /// that are begun then.
    pub fn go_on<E: Engine>(
        &mut self,
        e: &E,
        chains: &mut E::Buffer,
        begun: &[Range<usize>],
        begun_then: &[Range<usize>],
        add: impl FnOnce(&mut E::Buffer),
    ) {
        if self.ranks.size() == 1 {
            return add(chains);
        }
        for message in messages(begun) {
            let count = message.iter().map(Range::len).sum();
            self.take_over(count).iter().for_each(|numbers| unpack(e, chains, &message, numbers));
        }
        add(chains);
        messages(begun_then).for_each(|message| self.hand_on(pack(e, chains, &message)));
    }

    /// Gives all ranks the chains at `at`, once no micro-batch follows. Chains end in the order in which each
    /// micro-batch went on with them.
    pub fn end<E: Engine>(&self, e: &E, chains: &mut E::Buffer, at: &[Range<usize>]) {
        let size = self.ranks.size();
        if size == 1 || self.before == 0 {
            return;
        }
        // The last one has handed them on, not knowing that it was the last.
        let behind = (self.ranks.rank() + size - self.owner(self.before - 1)) % size;
        if behind == 0 {
            return;
        }
        for message in messages(at) {
            let words = self.ranks.receive(Lane::Gradient);
            let numbers = to_numbers(words);
            unpack(e, chains, &message, &numbers);
            if behind + 1 < size {
                self.ranks.send(Lane::Gradient, to_words(numbers));
            }
        }
    }
}

impl Relayed for Relay {
    fn take_over(&mut self, count: usize) -> Option<Vec<f32>> {
        let sums = (self.before > 0).then(|| to_numbers(self.ranks.receive(Lane::Gradient)))?;
        assert_eq!(sums.len(), count, "sums of another piece");
        Some(sums)
    }

    fn hand_on(&mut self, sums: Vec<f32>) {
        self.ranks.send(Lane::Gradient, to_words(sums));
    }
}

/// What is sent together: a whole piece, or as many short ones as make up one.
fn messages(at: &[Range<usize>]) -> impl Iterator<Item = Vec<Range<usize>>> {
    let mut cut = at.iter().flat_map(|at| pieces(at, 1)).peekable();
    core::iter::from_fn(move || {
        let mut message = vec![cut.next()?];
        let mut count = message[0].len();
        while let Some(next) = cut.next_if(|next| pieces(&(0..count + next.len()), 1).count() == 1) {
            count += next.len();
            message.push(next);
        }
        Some(message)
    })
}

fn pack<E: Engine>(e: &E, buffer: &E::Buffer, at: &[Range<usize>]) -> Vec<f32> {
    match at {
        [at] => e.read(buffer, at),
        several => several.iter().flat_map(|at| e.read(buffer, at)).collect(),
    }
}

fn unpack<E: Engine>(e: &E, buffer: &mut E::Buffer, at: &[Range<usize>], numbers: &[f32]) {
    let mut rest = numbers;
    for at in at {
        let (these, others) = rest.split_at(at.len());
        e.write(buffer, at, these);
        rest = others;
    }
}

/// The tokens that a step has read so far: of the gradient of their table, only these rows are anything but 0, and only
/// they are handed on.
#[derive(Default)]
pub(super) struct TokensRead {
    /// By token.
    is_read: Vec<bool>,
}

impl TokensRead {
    /// Adds what a micro-batch reads.
    pub fn add(&mut self, tokens: &[u32]) {
        for &token in tokens {
            let token = token as usize;
            self.is_read.resize(self.is_read.len().max(token + 1), false);
            self.is_read[token] = true;
        }
    }

    /// Forgets all of it.
    pub fn clear(&mut self) {
        self.is_read.clear();
    }

    /// Where their rows lie in a table with rows of `width` that begins at `start`.
    pub fn rows(&self, start: usize, width: usize) -> Vec<Range<usize>> {
        let (mut rows, mut token) = (Vec::new(), 0);
        for run in self.is_read.chunk_by(|a, b| a == b) {
            let next = token + run.len();
            if run[0] {
                rows.push(start + token * width..start + next * width);
            }
            token = next;
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_ranges_go_together_and_long_ones_in_pieces() {
        let of = |at: &[Range<usize>]| {
            let ends = |at: &Range<usize>| (at.start, at.end);
            messages(at).map(|message| message.iter().map(ends).collect()).collect::<Vec<Vec<_>>>()
        };
        assert!(of(&[]).is_empty());
        assert_eq!(of(&[3..5, 9..10]), [[(3, 5), (9, 10)]]);
        let piece = 1 << 18;
        let (second, third) = (1 + piece, 1 + 2 * piece);
        assert_eq!(
            of(&[1..third + 2, 0..0]),
            [vec![(1, second)], vec![(second, third)], vec![(third, third + 2)]]
        );
        assert_eq!(of(&[0..5, 9..piece, 1..6]), [vec![(0, 5), (9, piece)], vec![(1, 6)]]);
        assert_eq!(of(&[0..5, 9..piece + 9]), [vec![(0, 5)], vec![(9, piece + 9)]]);
    }

    #[test]
    fn rows_are_those_of_the_tokens_that_were_read() {
        let mut read = TokensRead::default();
        assert!(read.rows(100, 4).is_empty());
        read.add(&[7, 2, 9, 2]);
        assert_eq!(read.rows(100, 4), [108..112, 128..132, 136..140]);
        read.add(&[3, 7]);
        assert_eq!(read.rows(0, 1), [2..4, 7..8, 9..10]);
        read.clear();
        assert!(read.rows(0, 1).is_empty());
    }
}
