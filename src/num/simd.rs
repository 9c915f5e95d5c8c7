//! The one facade over `wide::f32x16`. Only operations whose bits are the same on every target leave this
//! file; in particular not `wide`'s `mul_add` (unfused without the `fma` feature), `reduce_add` (three
//! different orders), `recip` (approximate) or `exp`/`ln`/`tanh` (change between versions).
//!
//! Everything elementwise is instead a plain loop over the scalar functions of [`crate::num::math`], which
//! the compiler turns into vector code without changing a bit. This type is for the two places where it
//! cannot see through: the matrix-product tile and the sums over a row.

use wide::bytemuck::cast;
pub(crate) use wide::bytemuck::cast_slice;
use wide::{f32x8, f32x16, u32x16};

#[cfg(all(target_arch = "x86_64", target_feature = "avx512f"))]
pub mod avx512;

/// Lanes of a [`V16`], and of every row sum.
pub const LANES: usize = 16;

/// Whether fused multiply-adds are one instruction in this build. Without it the answers are the same
/// and slow.
pub const HARDWARE_FMA: bool = cfg!(any(target_feature = "fma", target_arch = "aarch64"));

/// Whether a pair of bf16 products is one instruction in this build, which needs AVX512-BF16.
pub const HARDWARE_BF16: bool = cfg!(all(target_arch = "x86_64", target_feature = "avx512bf16"));

/// Sixteen f32 lanes.
#[derive(Clone, Copy)]
pub struct V16(f32x16);

impl V16 {
    /// All lanes +0.
    pub const ZERO: V16 = V16(f32x16::ZERO);

    /// All lanes `x`.
    #[inline(always)]
    pub fn splat(x: f32) -> Self {
        V16(f32x16::splat(x))
    }

    /// Lane `l` is `xs[l]`; `xs` has at least 16 elements.
    #[inline(always)]
    pub fn load(xs: &[f32]) -> Self {
        let array: &[f32; LANES] = xs[..LANES].try_into().unwrap();
        V16(f32x16::new(*array))
    }

    /// `xs[l]` becomes lane `l`; `xs` has at least 16 elements.
    #[inline(always)]
    pub fn store(self, xs: &mut [f32]) {
        xs[..LANES].copy_from_slice(&self.0.to_array());
    }

    /// Lanewise `self + b`.
    #[inline(always)]
    #[allow(clippy::should_implement_trait)]
    pub fn add(self, b: V16) -> V16 {
        V16(self.0 + b.0)
    }

    /// Lanewise `self * b + c`, rounded once.
    #[inline(always)]
    pub fn fma(self, b: V16, c: V16) -> V16 {
        if HARDWARE_FMA {
            V16(self.0.mul_add(b.0, c.0))
        } else {
            let (a, b, c) = (self.0.to_array(), b.0.to_array(), c.0.to_array());
            V16(f32x16::new(core::array::from_fn(|l| super::math::fma(a[l], b[l], c[l]))))
        }
    }

    /// Lanewise [`bf16::step`](super::bf16::step), by the instruction whose definition that is.
    ///
    /// # Panics
    /// Without [`HARDWARE_BF16`].
    #[inline(always)]
    pub fn dot_pairs(self, b: V16, acc: V16) -> V16 {
        #[cfg(all(target_arch = "x86_64", target_feature = "avx512bf16"))]
        return avx512::dot_pairs(self, b, acc);
        #[cfg(not(all(target_arch = "x86_64", target_feature = "avx512bf16")))]
        unreachable!("no instruction for {} pairs", [self, b, acc].len());
    }

    /// Lanewise the second of [`bf16::halves`](super::bf16::halves).
    #[inline(always)]
    pub fn upper_halves(self) -> V16 {
        V16(cast(cast::<f32x16, u32x16>(self.0) & u32x16::splat(0xffff_0000)))
    }

    /// Lanewise the first of [`bf16::halves`](super::bf16::halves).
    #[inline(always)]
    pub fn lower_halves(self) -> V16 {
        V16(cast(cast::<f32x16, u32x16>(self.0) << 16u32))
    }

    /// Lanewise [`bf16::flush`](super::bf16::flush).
    #[inline(always)]
    pub fn flush(self) -> V16 {
        let small: u32x16 = cast(self.0.abs().simd_lt(f32x16::splat(f32::MIN_POSITIVE)));
        let bits: u32x16 = cast(self.0);
        V16(cast(bits & !(small & u32x16::splat(u32::MAX >> 1))))
    }

    /// Whether a lane is neither 0 nor as large as `bound`.
    #[inline(always)]
    pub fn any_below(self, bound: f32) -> bool {
        let size = self.0.abs();
        (size.simd_lt(f32x16::splat(bound)) & size.simd_gt(f32x16::ZERO)).to_bitmask() != 0
    }

    /// The sum of the lanes by the fixed halving tree 8-4-2-1: lane `l` takes lane `l + 8`, then
    /// `l + 4`, `l + 2`, `l + 1`.
    #[inline(always)]
    pub fn halving_sum(self) -> f32 {
        halving_sum(self.0.to_array())
    }
}

/// Starts to bring the cache line of `xs[0]`, if there is one, into the nearest cache. Nothing waits for it.
#[inline(always)]
pub fn prefetch(xs: &[f32]) {
    bring::<false>(xs);
}

/// The same, into the second-level cache: of what does not fit the nearest one beside what is in use.
#[inline(always)]
pub fn prefetch_second(xs: &[f32]) {
    bring::<true>(xs);
}

#[inline(always)]
fn bring<const SECOND: bool>(xs: &[f32]) {
    #[cfg(all(target_arch = "x86_64", target_feature = "sse"))]
    match xs.first() {
        Some(x) if SECOND => safe_arch::prefetch_t1(x),
        Some(x) => safe_arch::prefetch_t0(x),
        None => {}
    }
    #[cfg(not(all(target_arch = "x86_64", target_feature = "sse")))]
    let _ = xs;
}

/// Transposes a block of 8 x 8 numbers, which are only moved: row `i` of the result is column `i`.
#[inline(always)]
pub fn transpose_8x8(rows: [&[f32; 8]; 8]) -> [[f32; 8]; 8] {
    f32x8::transpose(rows.map(|row| f32x8::new(*row))).map(|row| row.to_array())
}

/// The fixed halving tree 8-4-2-1 over sixteen partial sums.
#[inline(always)]
pub fn halving_sum(lanes: [f32; LANES]) -> f32 {
    let mut lanes = lanes;
    let mut half = LANES / 2;
    while half > 0 {
        for l in 0..half {
            lanes[l] += lanes[l + half];
        }
        half /= 2;
    }
    lanes[0]
}
