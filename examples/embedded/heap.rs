//! The embedded example's memory. Nothing but `core`; `tests/heap.rs` attacks it, under Miri as well.

#![allow(unsafe_code)]

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::{self, NonNull};

/// Blocks are multiples of this, so that each can hold a [`Free`] and most alignments come by themselves.
const GRAIN: usize = 32;

/// An allocator: first fit over a list of free blocks in the order of their addresses; free neighbours become one.
pub struct Heap<const BYTES: usize> {
    arena: UnsafeCell<Arena<BYTES>>,
    state: UnsafeCell<State>,
}

#[repr(C, align(64))]
struct Arena<const BYTES: usize>([u8; BYTES]);

struct State {
    started: bool,
    first: Option<NonNull<Free>>,
    in_use: usize,
    peak: usize,
    reached: usize,
}

/// What stands at the beginning of each free block.
struct Free {
    len: usize,
    next: Option<NonNull<Free>>,
}

// SAFETY: the program has one thread and no interrupt handlers, so nothing is ever shared.
unsafe impl<const BYTES: usize> Sync for Heap<BYTES> {}

impl<const BYTES: usize> Heap<BYTES> {
    /// Nothing is in use yet. `BYTES` is a multiple of 32.
    pub const fn new() -> Self {
        assert!(BYTES.is_multiple_of(GRAIN) && BYTES > 0);
        let state = State { started: false, first: None, in_use: 0, peak: 0, reached: 0 };
        Heap { arena: UnsafeCell::new(Arena([0; BYTES])), state: UnsafeCell::new(state) }
    }

    /// Most bytes that were in use at once, and the end of the highest block ever handed out.
    pub fn peak(&self) -> (usize, usize) {
        // SAFETY: one thread, and no reference to the state lives outside a call.
        let state = unsafe { &*self.state.get() };
        (state.peak, state.reached)
    }
}

fn block_len(layout: &Layout) -> usize {
    layout.size().next_multiple_of(GRAIN)
}

// SAFETY: a block handed out is cut out of one free block and leaves the list, so blocks never overlap; it
// is as long and aligned as the layout asks; a block given back has the length it was cut with, as that
// follows from the layout. Lists are changed by one call at a time (one thread).
unsafe impl<const BYTES: usize> GlobalAlloc for Heap<BYTES> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: one thread, and no reference to the state lives outside a call.
        let state = unsafe { &mut *self.state.get() };
        let base: *mut u8 = self.arena.get().cast();
        if !state.started {
            state.started = true;
            let whole = NonNull::new(base.cast::<Free>()).expect("an address of a static");
            // SAFETY: the arena is unused so far, aligned to 64 and longer than a `Free`.
            unsafe { whole.write(Free { len: BYTES, next: None }) };
            state.first = Some(whole);
        }
        let len = block_len(&layout);
        let mut link: *mut Option<NonNull<Free>> = &mut state.first;
        // SAFETY: `link` is the list's beginning or lies in a free block; free blocks are in the arena, and
        // hold an initialised `Free`.
        while let Some(block) = unsafe { *link } {
            let start: *mut u8 = block.as_ptr().cast();
            // SAFETY: as above.
            let free = unsafe { block.read() };
            // Blocks start at multiples of GRAIN, so what alignment skips is a block too.
            let skipped = start.align_offset(layout.align().max(GRAIN));
            if skipped.checked_add(len).is_none_or(|taken| taken > free.len) {
                // SAFETY: the field of a block that is still free.
                link = unsafe { &raw mut (*block.as_ptr()).next };
                continue;
            }
            let left = free.len - skipped - len;
            let mut next = free.next;
            // SAFETY: all three parts lie in the free block; the parts that stay free are multiples of
            // GRAIN, so aligned and large enough for a `Free`.
            unsafe {
                if left > 0 {
                    let rest: *mut Free = start.add(skipped + len).cast();
                    rest.write(Free { len: left, next });
                    next = NonNull::new(rest);
                }
                if skipped > 0 {
                    block.write(Free { len: skipped, next });
                    next = Some(block);
                }
                *link = next;
            }
            state.in_use += len;
            state.peak = state.peak.max(state.in_use);
            state.reached = state.reached.max(start.addr() - base.addr() + skipped + len);
            // SAFETY: inside the block.
            return unsafe { start.add(skipped) };
        }
        ptr::null_mut()
    }

    unsafe fn dealloc(&self, address: *mut u8, layout: Layout) {
        // SAFETY: one thread, and no reference to the state lives outside a call.
        let state = unsafe { &mut *self.state.get() };
        let mut len = block_len(&layout);
        state.in_use -= len;
        let block: *mut Free = address.cast();
        let mut previous: Option<NonNull<Free>> = None;
        let mut next = state.first;
        while let Some(free) = next.filter(|free| free.as_ptr() < block) {
            previous = next;
            // SAFETY: a block of the list holds an initialised `Free`.
            next = unsafe { free.as_ref().next };
        }
        // SAFETY: the caller gives back a block of this heap, which nobody uses any more: `len` bytes, at
        // least GRAIN, aligned to GRAIN. The blocks of the list hold an initialised `Free` each.
        unsafe {
            if let Some(free) = next.filter(|free| free.as_ptr().addr() == block.addr() + len) {
                let free = free.read();
                (len, next) = (len + free.len, free.next);
            }
            match previous {
                Some(mut free) if free.as_ptr().addr() + free.as_ref().len == block.addr() => {
                    free.as_mut().len += len;
                    free.as_mut().next = next;
                }
                Some(mut free) => {
                    block.write(Free { len, next });
                    free.as_mut().next = NonNull::new(block);
                }
                None => {
                    block.write(Free { len, next });
                    state.first = NonNull::new(block);
                }
            }
        }
    }
}
