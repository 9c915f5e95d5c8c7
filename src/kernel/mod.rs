//! Floor 1: kernels. Each has a scalar definition of a few lines, and the fast form gives its bits.

pub mod depth;
pub mod few_rows;
pub mod gemm;
pub(crate) mod operands;
pub(crate) mod pack;
pub mod packed;
pub mod rows;
