//! The fast engine. Each file holds an equation, its forward, and its backward right below.
//!
//! Conventions: buffers are row-major, shapes stand in the docs, `dx` is the gradient of `x`. A backward
//! says of each gradient whether it *overwrites* (`=`) or *adds to* (`+=`) what is there. Gradients of
//! parameters always add, token by token in the order of the batch, so that a batch cut in pieces gives
//! the bits of the whole.

use crate::engine::Heads;
pub(crate) use crate::num::par::regions;
use crate::num::{par, scratch};

pub mod attention;
pub mod depth;
pub mod dropout;
pub mod embedding;
pub mod few_rows;
pub mod gelu;
pub mod gemm;
pub mod layer_norm;
pub mod linear;
pub mod log_prob;
pub(crate) mod operands;
pub(crate) mod pack;
pub mod packed;
pub mod rows;
pub mod scalar_head;

/// Rows per piece of an elementwise loop: some ten microseconds of work for rows of `width`.
pub(crate) fn row_grain(width: usize) -> usize {
    (16 * 1024 / width.max(1)).max(1)
}

/// `buffer = 0`.
pub(crate) fn clear(buffer: &mut [f32]) {
    // Split over elements.
    par::for_each(par::rows(buffer, 1), 64 * 1024, |_, part| part.data.fill(0.0));
}

/// `sum += part`, elementwise.
pub(crate) fn add(sum: &mut [f32], part: &[f32]) {
    // Split over elements.
    par::for_each(par::rows(sum, 1), 64 * 1024, |first, sum| {
        sum.data.iter_mut().zip(&part[first..]).for_each(|(sum, part)| *sum += part);
    });
}

/// Gives every thread the working memory of any kernel on sequences of up to `context` tokens.
pub(crate) fn reserve(heads: Heads, context: usize) {
    scratch::reserve(scratch::Use::Attention, attention::workspace(context, heads.size));
    gemm::reserve();
}
pub use crate::optim::{adamw, gradient_norm};
