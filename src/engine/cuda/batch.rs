//! A batch in the device's memory: what the kernels ask about token rows, in one buffer of words that is written once.

use alloc::sync::Arc;
use alloc::vec::Vec;
use std::sync::{Mutex, PoisonError};

use super::device::{Buffer, Device};
use crate::engine::Batch;

/// Positions of a head that a block of attention works on, as `attention.cu` has it.
const SIDE: usize = 64;

/// A batch's copy in a device's memory. The memory is kept when the batch changes, so that only larger ones take more.
#[derive(Default)]
pub struct OnDevice(Mutex<Copies>);

#[derive(Default)]
struct Copies {
    current: Option<Arc<DeviceBatch>>,
    /// That of an earlier batch.
    memory: Option<Buffer>,
}

impl OnDevice {
    /// The copy is not the batch's any more.
    pub fn changed(&mut self) {
        let copies = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(batch) = copies.current.take().and_then(Arc::into_inner) {
            copies.memory = Some(batch.words);
        }
    }

    /// The batch in the device's memory.
    pub fn get(&self, device: &'static Device, batch: &Batch) -> Arc<DeviceBatch> {
        let mut copies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if copies.current.is_none() {
            let memory = copies.memory.take();
            copies.current = Some(Arc::new(DeviceBatch::new(device, batch, memory)));
        }
        copies.current.clone().expect("it was made")
    }
}

impl Clone for OnDevice {
    /// None yet.
    fn clone(&self) -> Self {
        OnDevice::default()
    }
}

impl core::fmt::Debug for OnDevice {
    fn fmt(&self, f: &mut core::fmt::Formatter) -> core::fmt::Result {
        f.write_str("OnDevice")
    }
}

/// The words of a batch, and where which are.
pub struct DeviceBatch {
    words: Buffer,
    /// First word of each part, in the order of [`Part`].
    starts: [usize; PARTS],
    /// Tiles of attention: every sequence cut into pieces of [`SIDE`] positions.
    pub tiles: usize,
    /// How many different tokens and positions there are.
    pub distinct: [usize; 2],
}

/// What a batch consists of.
#[derive(Clone, Copy)]
pub enum Part {
    /// Tokens, (N).
    Tokens,
    /// Positions, (N).
    Positions,
    /// First row of each sequence, and N, (B + 1).
    Offsets,
    /// The sequence of each row, (N).
    Sequences,
    /// The number in the step of each row's sequence, low word first, (N, 2).
    Numbers,
    /// Sequence and first position of each tile of attention, (tiles, 2).
    Tiles,
    /// The different tokens, (distinct).
    TokenIds,
    /// Where the rows of each begin among those sorted by token, (distinct + 1).
    TokenStarts,
    /// Rows sorted by token, those of one in order, (N).
    TokenRows,
    /// As for tokens.
    PositionIds,
    /// As for tokens.
    PositionStarts,
    /// As for tokens.
    PositionRows,
}

const PARTS: usize = Part::PositionRows as usize + 1;

impl DeviceBatch {
    /// Writes a batch into the device's memory, into `memory` if it is large enough.
    fn new(device: &'static Device, batch: &Batch, memory: Option<Buffer>) -> Self {
        let (mut words, mut starts, mut next) = (Vec::new(), [0; PARTS], 0);
        let mut part = |values: &mut dyn Iterator<Item = u32>| {
            starts[next] = words.len();
            words.extend(values);
            next += 1;
        };
        let lengths = || batch.offsets.windows(2).map(|pair| pair[1] - pair[0]).enumerate();
        part(&mut batch.tokens.iter().copied());
        part(&mut batch.positions.iter().copied());
        part(&mut batch.offsets.iter().map(|&offset| offset as u32));
        part(&mut lengths().flat_map(|(sequence, length)| core::iter::repeat_n(sequence as u32, length)));
        part(&mut batch.addresses.iter().flat_map(|at| [at.sequence as u32, (at.sequence >> 32) as u32]));
        let tiles = |(sequence, length): (usize, usize)| {
            (0..length).step_by(SIDE).flat_map(move |first| [sequence as u32, first as u32])
        };
        part(&mut lengths().flat_map(tiles));
        let distinct = [&batch.tokens, &batch.positions].map(|index| {
            let (ids, starts, rows) = sorted(index);
            part(&mut ids.iter().copied());
            part(&mut starts.into_iter());
            part(&mut rows.into_iter());
            ids.len()
        });
        let buffer = match memory.filter(|memory| memory.len >= words.len()) {
            Some(memory) => memory,
            // Twice as much as is needed: a batch that grows takes more memory only now and then.
            None => device.memory(2 * words.len()),
        };
        device.begin([]).0.write(buffer.at(0), &words);
        let tiles = (starts[Part::TokenIds as usize] - starts[Part::Tiles as usize]) / 2;
        DeviceBatch { words: buffer, starts, tiles, distinct }
    }

    /// The address of a part.
    pub fn at(&self, part: Part) -> u64 {
        self.words.at(self.starts[part as usize])
    }
}

/// The different values of an index, ascending; where the rows of each begin; the rows sorted by value, in order for each.
fn sorted(index: &[u32]) -> (Vec<u32>, Vec<u32>, Vec<u32>) {
    let mut rows: Vec<u32> = (0..index.len() as u32).collect();
    rows.sort_by_key(|&row| index[row as usize]);
    let (mut ids, mut starts) = (Vec::new(), Vec::new());
    for (place, &row) in rows.iter().enumerate() {
        let id = index[row as usize];
        if ids.last() != Some(&id) {
            ids.push(id);
            starts.push(place as u32);
        }
    }
    starts.push(rows.len() as u32);
    (ids, starts, rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_by_what_they_looked_up_and_stay_in_order() {
        let (ids, starts, rows) = sorted(&[7, 3, 7, 9, 3, 7]);
        assert_eq!((ids, starts, rows), (vec![3, 7, 9], vec![0, 2, 5, 6], vec![1, 4, 0, 2, 5, 3]));
        assert_eq!(sorted(&[]), (vec![], vec![0], vec![]));
    }
}
