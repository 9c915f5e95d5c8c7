//! One hash table: open addressing over entry numbers, built once, then only looked up in.
//!
//! Neither `std` nor a random seed is needed, and nothing iterates over it, so its order can reach no
//! result. The keys stay with their owner, who compares them.

use alloc::vec;
use alloc::vec::Vec;
use core::hash::{BuildHasherDefault, Hasher};

/// Entry numbers by the hash of their keys; at most half full.
#[derive(Debug, Clone)]
pub(super) struct Index {
    /// `entry + 1`, or 0 for a free slot; the length is a power of two.
    slots: Vec<u32>,
}

impl Index {
    /// A table with room for `entries` insertions.
    pub(super) fn with_capacity(entries: usize) -> Index {
        Index { slots: vec![0; (2 * entries.max(1)).next_power_of_two()] }
    }

    /// Adds an entry whose key is not in the table yet.
    pub(super) fn insert(&mut self, hash: u64, entry: u32) {
        let mut slot = self.first_slot(hash);
        while self.slots[slot] != 0 {
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        self.slots[slot] = entry + 1;
    }

    /// The entry with this hash for which `is_key` holds.
    #[inline]
    pub(super) fn find(&self, hash: u64, is_key: impl Fn(u32) -> bool) -> Option<u32> {
        let mut slot = self.first_slot(hash);
        loop {
            match self.slots[slot].checked_sub(1)? {
                entry if is_key(entry) => return Some(entry),
                _ => slot = (slot + 1) & (self.slots.len() - 1),
            }
        }
    }

    /// Where a search begins: the hash's upper half, which a multiplication mixes best.
    #[inline]
    fn first_slot(&self, hash: u64) -> usize {
        (hash >> 32) as usize & (self.slots.len() - 1)
    }
}

/// 2^64 divided by the golden ratio, made odd: multiplying by it spreads neighbouring keys.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// A hash of two ids.
#[inline]
pub(super) fn hash_pair(left: u32, right: u32) -> u64 {
    let key = (u64::from(left) << 32 | u64::from(right)).wrapping_mul(SPREAD);
    (key ^ key >> 32).wrapping_mul(SPREAD)
}

/// A hash of bytes, eight at a time.
#[inline]
pub(super) fn hash_bytes(bytes: &[u8]) -> u64 {
    let (words, tail) = bytes.as_chunks::<8>();
    let mix = |hash: u64, word: u64| ((hash ^ word).wrapping_mul(SPREAD)).rotate_left(29);
    let hash = words.iter().fold(bytes.len() as u64, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    let tail = tail.iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
    mix(hash, tail).wrapping_mul(SPREAD)
}

/// Such hashes for maps of the standard library, whose own withstand keys that are chosen to collide, at several times the
/// cost. A map of a training text serves nobody else.
pub(super) type Spread = BuildHasherDefault<Spreading>;

/// The hasher of a [`Spread`].
#[derive(Debug, Default)]
pub(super) struct Spreading(u64);

impl Hasher for Spreading {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = (self.0 ^ hash_bytes(bytes)).wrapping_mul(SPREAD);
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = (self.0.rotate_left(32) ^ u64::from(number)).wrapping_mul(SPREAD);
    }

    fn write_usize(&mut self, _length: usize) {
        // What comes before a slice; `write` takes the length in.
    }

    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_inserted_and_nothing_else() {
        let keys: Vec<Vec<u8>> =
            (0..3000u32).map(|i| i.to_le_bytes()[..1 + i as usize % 4].to_vec()).collect();
        let mut index = Index::with_capacity(keys.len());
        let mut first = alloc::collections::BTreeMap::new();
        for (i, key) in keys.iter().enumerate() {
            if !first.contains_key(key) {
                first.insert(key.clone(), i as u32);
                index.insert(hash_bytes(key), i as u32);
            }
        }
        for key in &keys {
            assert_eq!(index.find(hash_bytes(key), |i| &keys[i as usize] == key), Some(first[key]));
        }
        assert_eq!(index.find(hash_bytes(b"none"), |i| keys[i as usize] == b"none"), None);
        assert_eq!(Index::with_capacity(0).find(7, |_| true), None);
    }

    #[test]
    fn hashes_spread() {
        // A grid of pairs into twice as many slots: a search must stay short on average.
        let mut index = Index::with_capacity(1 << 12);
        for i in 0..1u32 << 12 {
            index.insert(hash_pair(i / 64, i % 64), i);
        }
        let looked_at = core::cell::Cell::new(0);
        for i in 0..1u32 << 12 {
            index.find(hash_pair(i / 64, i % 64), |entry| {
                looked_at.set(looked_at.get() + 1);
                entry == i
            });
        }
        assert!(looked_at.get() < 3 << 12, "{} comparisons for {} searches", looked_at.get(), 1 << 12);
    }
}
