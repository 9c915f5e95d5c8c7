//! A packed batch: the token rows of all sequences back to back. There is no padding and no mask.

use alloc::vec::Vec;

use super::types::Address;

/// Sequences back to back. Reused from step to step: clearing keeps the memory.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Tokens of all sequences, (N).
    pub tokens: Vec<u32>,
    /// Position of each token in its sequence, (N).
    pub positions: Vec<u32>,
    /// First row of each sequence, and N at the end, (B + 1).
    pub offsets: Vec<usize>,
    /// Address of each row for the dropout masks, (N).
    pub addresses: Vec<Address>,
    /// Its copy in a device's memory, made when it is first needed there.
    #[cfg(feature = "cuda")]
    pub(super) on_device: super::cuda::batch::OnDevice,
}

impl Batch {
    /// An empty batch with room for `tokens` rows in up to `sequences` sequences.
    pub fn with_capacity(tokens: usize, sequences: usize) -> Self {
        let mut offsets = Vec::with_capacity(sequences + 1);
        offsets.push(0);
        Batch {
            tokens: Vec::with_capacity(tokens),
            positions: Vec::with_capacity(tokens),
            offsets,
            addresses: Vec::with_capacity(tokens),
            #[cfg(feature = "cuda")]
            on_device: Default::default(),
        }
    }

    /// A batch of the given sequences, numbered from 0.
    pub fn of<S: AsRef<[u32]>>(sequences: &[S]) -> Self {
        let mut batch = Self::with_capacity(0, sequences.len());
        for (number, sequence) in sequences.iter().enumerate() {
            batch.push(sequence.as_ref(), number as u64);
        }
        batch
    }

    /// Removes all sequences.
    pub fn clear(&mut self) {
        self.changed();
        self.tokens.clear();
        self.positions.clear();
        self.addresses.clear();
        self.offsets.truncate(1);
    }

    /// A copy elsewhere is not this batch's any more.
    fn changed(&mut self) {
        #[cfg(feature = "cuda")]
        self.on_device.changed();
    }

    /// Appends a sequence and returns its first row. `number` is its place in the optimizer step's whole
    /// batch: it addresses random draws, so that cutting the batch in pieces cannot move them.
    pub fn push(&mut self, tokens: &[u32], number: u64) -> usize {
        self.push_at(0, tokens, number)
    }

    /// [`Batch::push`] of tokens that go on with a sequence, the first at position `start`.
    pub fn push_at(&mut self, start: usize, tokens: &[u32], number: u64) -> usize {
        self.changed();
        let first = self.tokens.len();
        self.tokens.extend_from_slice(tokens);
        for position in start as u32..(start + tokens.len()) as u32 {
            self.positions.push(position);
            self.addresses.push(Address { sequence: number, position });
        }
        self.offsets.push(self.tokens.len());
        first
    }

    /// N, the number of token rows.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there are no token rows.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// B, the number of sequences.
    pub fn sequences(&self) -> usize {
        self.offsets.len() - 1
    }
}
