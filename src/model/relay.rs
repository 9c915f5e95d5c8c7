//! A gradient that several ranks add up as one would.
//!
//! Every element is one chain over the tokens of a step in their order. So micro-batch `i`, which belongs to rank
//! `i mod R`, goes on with the chains where micro-batch `i - 1` left them: a relay round the ring. Each parameter's
//! chains are handed on as soon as the backward is done with them, and meanwhile it goes on with the next ones, so
//! that all ranks have something to do. After the last micro-batch the chains go round once more, as they are.

use core::ops::Range;

use crate::engine::Engine;
use crate::ranks::{Lane, Ranks, to_numbers, to_words};

/// Numbers in a message, about 1 MB: the first of them are on their way while the others are still to be packed.
const MESSAGE: usize = 1 << 18;

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

    /// Adds a micro-batch's part to the chains at `at`: takes them over, goes on with them, and hands them on.
    pub fn go_on<E: Engine>(
        &self,
        e: &E,
        chains: &mut E::Buffer,
        at: &Range<usize>,
        add: impl FnOnce(&mut E::Buffer),
    ) {
        if self.ranks.size() == 1 {
            return add(chains);
        }
        if self.before > 0 {
            messages(at).for_each(|at| e.write(chains, &at, &self.receive()));
        }
        add(chains);
        messages(at).for_each(|at| self.ranks.send(Lane::Gradient, to_words(e.read(chains, &at))));
    }

    /// Gives all ranks the chains at `at`, once no micro-batch follows. Chains end in the order in which each
    /// micro-batch went on with them.
    pub fn end<E: Engine>(&self, e: &E, chains: &mut E::Buffer, at: &Range<usize>) {
        let size = self.ranks.size();
        if size == 1 || self.before == 0 {
            return;
        }
        // The last one has handed them on, not knowing that it was the last.
        let behind = (self.ranks.rank() + size - self.owner(self.before - 1)) % size;
        if behind == 0 {
            return;
        }
        for at in messages(at) {
            let numbers = self.receive();
            e.write(chains, &at, &numbers);
            if behind + 1 < size {
                self.ranks.send(Lane::Gradient, to_words(numbers));
            }
        }
    }

    fn receive(&self) -> alloc::vec::Vec<f32> {
        to_numbers(self.ranks.receive(Lane::Gradient))
    }
}

/// A range cut into messages.
fn messages(at: &Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
    let end = at.end;
    at.clone().step_by(MESSAGE).map(move |start| start..end.min(start + MESSAGE))
}
