//! The definitions: every operation as plain loops over indices. Read these first.
//!
//! There are no threads here, no blocks and no vectors, and no tricks: what a loop does in which order *is* the
//! definition, down to the bit. The fast engine must give the same bits, and its tests compare the two. Each file
//! states its equation, computes it, derives its gradient, and computes that.
//!
//! | file | what |
//! |---|---|
//! | [`reduce`] | sums over a row: sixteen lanes and a tree |
//! | [`gemm`] | sums of products: one chain |
//! | [`embedding`], [`layer_norm`], [`linear`], [`attention`], [`gelu`], [`dropout`] | a transformer's block |
//! | [`log_prob`], [`scalar_head`] | what stands on it |
//! | [`adamw`], [`gradient_norm`] | what moves the weights |
//!
//! # How to read a backward
//! A loss is one number. The gradient of a buffer `x`, written `dx`, says for every element of it how the loss changes
//! with it. A backward is handed `dy`, the gradient of what its forward wrote, and applies the chain rule:
//! `dx[i]` is the sum over j of `dy[j]` times the slope of `y[j]` in `x[i]`. That is all; no graph is recorded.

pub mod adamw;
pub mod attention;
pub mod dropout;
pub mod embedding;
pub mod gelu;
pub mod gemm;
pub mod gradient_norm;
pub mod layer_norm;
pub mod linear;
pub mod log_prob;
pub mod reduce;
pub mod scalar_head;

#[cfg(test)]
mod tests;

use super::Heads;

/// `buffer = 0`.
pub(crate) fn clear(buffer: &mut [f32]) {
    buffer.fill(0.0);
}

/// `sum += part`, elementwise.
pub(crate) fn add(sum: &mut [f32], part: &[f32]) {
    sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
}

/// All rows at once.
pub(crate) fn regions<S>(offsets: &[usize], rows: S, _: usize, body: impl Fn(&[usize], S)) {
    body(offsets, rows);
}

/// Nothing: these operations allocate what they need.
pub(crate) fn reserve(_: Heads, _: usize) {}
