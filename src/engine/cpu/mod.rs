//! The fast engine: what [`plain`](super::plain) defines, bit for bit, with vectors, blocks and threads. Of a function
//! of single elements there is the definition alone; here it is given its share of the work.

use crate::engine::Heads;
pub(crate) use crate::num::par::regions;
use crate::num::{par, scratch};

pub mod adamw;
pub mod attention;
pub mod depth;
pub mod dropout;
pub mod embedding;
pub mod few_rows;
pub mod gelu;
pub mod gemm;
pub mod gradient_norm;
pub mod layer_norm;
pub mod linear;
pub mod log_prob;
pub(crate) mod operands;
pub(crate) mod pack;
pub mod packed;
pub mod reduce;
pub(crate) mod tile;

#[cfg(test)]
mod tests;

pub use super::plain::scalar_head;

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
