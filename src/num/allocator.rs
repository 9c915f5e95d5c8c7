//! An allocator whose large pieces begin where a cache line does.
//!
//! The system's begins them 16 bytes after: then each vector of 64 bytes lies in two lines, and to read or write it takes
//! two accesses. A program that declares this one
//!
//! ```
//! #[global_allocator]
//! static ALLOCATOR: instructgpt::num::allocator::CacheLines = instructgpt::num::allocator::CacheLines;
//! # fn main() {}
//! ```
//!
//! computes the same bits: with AVX-512 training steps took 1.05 times and sampling 1.1 times as long without. `instructgpt`
//! itself declares it.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};

/// Bytes of a cache line, and of the widest vector.
const LINE: usize = 64;

/// Bytes from which on a piece of memory is large: there the lines added are few beside it.
const LARGE: usize = 2048;

/// The system's allocator, with large pieces moved to the next cache line.
///
/// ```text
/// block                 place - 8     place
/// | up to 56 bytes ...  | block's address | layout.size() bytes ... |
/// ```
pub struct CacheLines;

/// What is asked of the system for a piece that is moved: a line more. `None` for all others: small ones, those of more than
/// a line's alignment, and the largest there are, which have no room for a line (no system has so much memory).
fn block_layout(layout: Layout) -> Option<Layout> {
    let moved = layout.size() >= LARGE && layout.align() <= LINE;
    let size = layout.size().checked_add(LINE).filter(|_| moved)?;
    Layout::from_size_align(size, align_of::<usize>()).ok()
}

/// Bytes from the beginning of a block to its first line that leaves room for an address before it.
fn first_line(block: *mut u8) -> usize {
    LINE - block.addr() % LINE
}

/// The first line of a block that leaves room for its address, which is put there.
///
/// # Safety
/// `block` is null or the address of at least [`LINE`] bytes that may be written, aligned as a `usize`.
unsafe fn place(block: *mut u8) -> *mut u8 {
    if block.is_null() {
        return block;
    }
    // SAFETY: an aligned block leaves 8 to 64 bytes before the next line, enough for an address, which is aligned there.
    unsafe {
        let place = block.add(first_line(block));
        place.cast::<*mut u8>().sub(1).write(block);
        place
    }
}

/// The block whose [`place`] this is.
///
/// # Safety
/// `place` was made by that function, of no null pointer, and its block still exists.
unsafe fn block_of(place: *mut u8) -> *mut u8 {
    // SAFETY: the address stands there.
    unsafe { place.cast::<*mut u8>().sub(1).read() }
}

// SAFETY: everything is the system's: either as it is, or a block that is a line larger, of which the caller gets the part
// from `place` on, `layout.size()` bytes of the block (at most LINE are before it). A layout says which of the two it is, and a
// caller gives back what it got with the layout that it got it for. LINE is a multiple of all alignments that are moved.
unsafe impl GlobalAlloc for CacheLines {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's layout has a size that is not 0, and a block's is larger.
        unsafe {
            match block_layout(layout) {
                Some(block) => place(System.alloc(block)),
                None => System.alloc(layout),
            }
        }
    }

    /// The system's zeros cost nothing until they are touched; those of `alloc` would be written.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as for `alloc`. The address that `place` writes lies before what the caller gets.
        unsafe {
            match block_layout(layout) {
                Some(block) => place(System.alloc_zeroed(block)),
                None => System.alloc_zeroed(layout),
            }
        }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: `memory` came from this allocator with this layout, so that the same choice was made.
        unsafe {
            match block_layout(layout) {
                Some(block) => System.dealloc(block_of(memory), block),
                None => System.dealloc(memory, layout),
            }
        }
    }

    /// The system can often make a large piece longer without copying it.
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: `memory` came from this allocator with this layout. Its own alignment is fine for the new size, as the
        // caller says.
        unsafe {
            let new = Layout::from_size_align_unchecked(size, layout.align());
            let (old_block, new_block) = (block_layout(layout), block_layout(new));
            match (old_block, new_block) {
                (None, None) => System.realloc(memory, layout, size),
                (Some(old_block), Some(new_block)) => {
                    let block = block_of(memory);
                    let offset = memory.offset_from_unsigned(block);
                    let block = System.realloc(block, old_block, new_block.size());
                    if block.is_null() {
                        return block;
                    }
                    // The new block may begin elsewhere in a line. The address is written last: it may lie where the bytes
                    // were.
                    let kept = layout.size().min(size);
                    std::ptr::copy(block.add(offset), block.add(first_line(block)), kept);
                    place(block)
                }
                _ => {
                    let other = self.alloc(new);
                    if !other.is_null() {
                        std::ptr::copy_nonoverlapping(memory, other, layout.size().min(size));
                        self.dealloc(memory, layout);
                    }
                    other
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A piece of memory and what was last written to it.
    struct Piece {
        memory: *mut u8,
        layout: Layout,
        seed: usize,
    }

    impl Piece {
        fn byte(&self, i: usize) -> u8 {
            (self.seed.wrapping_mul(31) + i * 7) as u8
        }

        fn fill(&mut self, seed: usize) {
            self.seed = seed;
            // SAFETY: the piece has so many bytes.
            (0..self.layout.size()).for_each(|i| unsafe { self.memory.add(i).write(self.byte(i)) });
        }

        /// Where it lies, and that its first `len` bytes are what was written.
        fn check(&self, len: usize) {
            let large = self.layout.size() >= LARGE;
            let aligned = if large { LINE.max(self.layout.align()) } else { self.layout.align() };
            assert_eq!(self.memory.addr() % aligned, 0, "{:?}", self.layout);
            // SAFETY: as above.
            (0..len).for_each(|i| assert_eq!(unsafe { self.memory.add(i).read() }, self.byte(i), "byte {i}"));
        }
    }

    /// Around the size from which on pieces are large, and beyond what the system takes from its heap.
    fn size() -> impl Strategy<Value = usize> {
        prop_oneof![1..LARGE, LARGE - 70..LARGE + 70, LARGE..20_000, Just(300_000usize)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 64 }))]
        #[test]
        fn pieces_are_kept_and_large_ones_begin_a_line(
            steps in prop::collection::vec((size(), 0..8u32, 0..4u8, 0..6usize), 1..40)
        ) {
            let mut pieces: Vec<Piece> = Vec::new();
            for (number, (size, align, what, which)) in steps.into_iter().enumerate() {
                let which = which.min(pieces.len().saturating_sub(1));
                match pieces.get_mut(which) {
                    Some(piece) if what == 0 => {
                        piece.check(piece.layout.size());
                        // SAFETY: it came from there with this layout, and is forgotten.
                        unsafe { CacheLines.dealloc(piece.memory, piece.layout) };
                        pieces.swap_remove(which);
                    }
                    Some(piece) if what == 1 => {
                        // SAFETY: it came from there with this layout; no size is 0.
                        piece.memory = unsafe { CacheLines.realloc(piece.memory, piece.layout, size) };
                        let kept = size.min(piece.layout.size());
                        piece.layout = Layout::from_size_align(size, piece.layout.align()).unwrap();
                        piece.check(kept);
                        piece.fill(number);
                    }
                    _ => {
                        let layout = Layout::from_size_align(size, 1 << align).unwrap();
                        // SAFETY: no size is 0.
                        let memory = unsafe {
                            match what {
                                2 => CacheLines.alloc_zeroed(layout),
                                _ => CacheLines.alloc(layout),
                            }
                        };
                        if what == 2 {
                            // SAFETY: it has so many bytes.
                            (0..size).for_each(|i| assert_eq!(unsafe { memory.add(i).read() }, 0));
                        }
                        let mut piece = Piece { memory, layout, seed: 0 };
                        piece.fill(number);
                        pieces.push(piece);
                    }
                }
            }
            for piece in pieces {
                piece.check(piece.layout.size());
                // SAFETY: as above.
                unsafe { CacheLines.dealloc(piece.memory, piece.layout) };
            }
        }
    }

    #[test]
    fn what_the_system_does_not_have_is_null() {
        let huge = Layout::from_size_align(isize::MAX as usize - 8, 8).unwrap();
        // SAFETY: its size is not 0.
        let memory = std::hint::black_box(unsafe { CacheLines.alloc(std::hint::black_box(huge)) });
        assert!(memory.is_null());
    }
}
