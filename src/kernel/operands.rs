//! What the operands of a product are, and the step of its chains.

use serde::{Deserialize, Serialize};

use crate::num::bf16;
use crate::num::simd::V16;

/// What the operands of a product are rounded to. Sums are f32 always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Nothing: they are f32.
    #[default]
    F32,
    /// bf16: half the memory to read, and half the instructions where the processor has one for pairs.
    Bf16,
}

/// The words that packed panels are made of. A word has 32 bits and is moved as an f32.
pub(crate) trait Operands {
    /// Elements of depth in a word.
    const DEEP: usize;
    /// The word of an element and of the next one in depth, which has a part in it only where DEEP is 2.
    fn word(element: f32, next: f32) -> f32;
    /// Where a chain starts.
    fn start(acc: V16) -> V16;
    /// A chain's step over one word of depth.
    fn step(a: V16, b: V16, acc: V16) -> V16;
}

/// [`Precision::F32`]: a word is an element.
pub(crate) struct F32;

impl Operands for F32 {
    const DEEP: usize = 1;

    #[inline(always)]
    fn word(element: f32, _: f32) -> f32 {
        element
    }

    #[inline(always)]
    fn start(acc: V16) -> V16 {
        acc
    }

    #[inline(always)]
    fn step(a: V16, b: V16, acc: V16) -> V16 {
        a.fma(b, acc)
    }
}

/// [`Precision::Bf16`]: a word is a pair, see [`bf16`].
pub(crate) struct Bf16;

impl Operands for Bf16 {
    const DEEP: usize = 2;

    #[inline(always)]
    fn word(element: f32, next: f32) -> f32 {
        bf16::pair(element, next)
    }

    #[inline(always)]
    fn start(acc: V16) -> V16 {
        acc.flush()
    }

    #[inline(always)]
    fn step(a: V16, b: V16, acc: V16) -> V16 {
        a.bf16_step(b, acc)
    }
}
