//! The fast engine: what [`plain`](super::plain) defines, bit for bit, with vectors, blocks and threads. Of a function
//! of single elements there is the definition alone; here it is given its share of the work.

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
pub mod rows;

#[cfg(test)]
mod tests;

pub use super::plain::scalar_head;

/// Rows per piece of an elementwise loop: some ten microseconds of work for rows of `width`.
pub(crate) fn row_grain(width: usize) -> usize {
    (16 * 1024 / width.max(1)).max(1)
}
