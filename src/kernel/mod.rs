//! Floor 1: kernels. Each has a scalar definition of a few lines, and the fast form gives its bits.

pub mod few_rows;
pub mod gemm;
pub mod rows;
