//! Floor 0: numbers. Everything above is built from these few definitions.

#[cfg(feature = "std")]
pub mod allocator;
pub mod bf16;
pub mod hash;
pub mod math;
pub mod par;
pub mod rng;
pub mod scratch;
pub mod sha256;
pub mod simd;
pub mod statistics;
