//! The embedded example's allocator, given and taking back blocks at random. Miri looks at every access:
//! `cargo +nightly miri test --test heap`.
#![allow(unsafe_code)]

#[path = "../examples/embedded/heap.rs"]
mod heap;

use std::alloc::{GlobalAlloc, Layout};

use heap::Heap;

const BYTES: usize = 8192;

/// A block in use: where, how it was asked for, and what was written into all of it.
struct Block {
    address: *mut u8,
    layout: Layout,
    mark: u8,
}

impl Block {
    fn range(&self) -> std::ops::Range<usize> {
        self.address.addr()..self.address.addr() + self.layout.size()
    }
}

/// Numbers that look random (Knuth's linear congruences, upper bits).
fn random(state: &mut u64, below: usize) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize % below
}

fn take(heap: &Heap<BYTES>, layout: Layout, mark: u8) -> Option<Block> {
    // SAFETY: layouts here have a size.
    let address = unsafe { heap.alloc(layout) };
    if address.is_null() {
        return None;
    }
    assert_eq!(address.addr() % layout.align(), 0, "{layout:?}");
    // SAFETY: a new block of that size.
    unsafe { address.write_bytes(mark, layout.size()) };
    Some(Block { address, layout, mark })
}

fn give_back(heap: &Heap<BYTES>, block: Block) {
    // SAFETY: the block is in use and was written to its end.
    let bytes = unsafe { std::slice::from_raw_parts(block.address, block.layout.size()) };
    assert!(bytes.iter().all(|&byte| byte == block.mark), "someone else wrote here");
    // SAFETY: the block came from this heap with this layout, and is used no more.
    unsafe { heap.dealloc(block.address, block.layout) };
}

#[test]
fn blocks_are_aligned_apart_and_come_together_again() {
    let steps = if cfg!(miri) { 400 } else { 20_000 };
    for seed in 0..8 {
        let heap = Box::new(Heap::<BYTES>::new());
        let (mut state, mut blocks, mut full) = (seed, Vec::<Block>::new(), 0);
        for step in 0..steps {
            if random(&mut state, 5) < 3 {
                let (size, align) = (1 + random(&mut state, 600), 1 << random(&mut state, 9));
                let layout = Layout::from_size_align(size, align).unwrap();
                match take(&heap, layout, step as u8) {
                    None => full += 1,
                    Some(block) => {
                        let new = block.range();
                        let apart =
                            |old: std::ops::Range<usize>| old.end <= new.start || new.end <= old.start;
                        assert!(blocks.iter().map(Block::range).all(apart));
                        blocks.push(block);
                    }
                }
            } else if !blocks.is_empty() {
                let at = random(&mut state, blocks.len());
                give_back(&heap, blocks.swap_remove(at));
            }
        }
        assert!(full > 0, "it was never full");
        blocks.into_iter().for_each(|block| give_back(&heap, block));
        // All of it is one block again.
        let whole = take(&heap, Layout::from_size_align(BYTES, 32).unwrap(), 0).expect("the whole heap");
        assert!(take(&heap, Layout::new::<u8>(), 0).is_none());
        assert_eq!(heap.peak(), (BYTES, BYTES));
        give_back(&heap, whole);
    }
}
