//! Working memory of the kernels. With threads, each keeps its buffers for the next call, so that a
//! training step allocates nothing; without `std` a call allocates what it needs.
//!
//! A buffer is *taken* for the time of a call and given back afterwards: should a thread, waiting inside
//! one kernel, pick up a piece of another, that piece finds no buffer and makes its own.

use alloc::vec::Vec;

/// What a buffer is for; each thread keeps one of each.
#[derive(Clone, Copy)]
pub enum Use {
    /// Packed left operand of a matrix product.
    PackA,
    /// Packed right operand of a matrix product.
    PackB,
    /// Attention weights of one head.
    Attention,
    /// The distribution of a token that is being drawn.
    Sampling,
}

/// Gives every thread of the current pool a buffer of at least `len` floats for `what`, so that no later
/// call of up to that size allocates.
pub fn reserve(what: Use, len: usize) {
    #[cfg(feature = "std")]
    rayon::broadcast(|_| with(what, len, |_| ()));
    #[cfg(not(feature = "std"))]
    let _ = (what, len);
}

/// Runs `body` on `len` floats of unspecified content.
pub fn with<R>(what: Use, len: usize, body: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut buffer = take(what);
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    let result = body(&mut buffer[..len]);
    give_back(what, buffer);
    result
}

#[cfg(feature = "std")]
mod kept {
    use super::*;
    use std::cell::Cell;

    std::thread_local! {
        static BUFFERS: [Cell<Vec<f32>>; 4] = const { [const { Cell::new(Vec::new()) }; 4] };
    }

    pub fn take(what: Use) -> Vec<f32> {
        BUFFERS.with(|buffers| buffers[what as usize].take())
    }

    pub fn give_back(what: Use, buffer: Vec<f32>) {
        BUFFERS.with(|buffers| buffers[what as usize].set(buffer));
    }
}

#[cfg(not(feature = "std"))]
mod kept {
    use super::*;

    pub fn take(_: Use) -> Vec<f32> {
        Vec::new()
    }

    pub fn give_back(_: Use, _: Vec<f32>) {}
}

use kept::{give_back, take};
