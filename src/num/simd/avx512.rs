//! What safe Rust cannot say of AVX-512: the instruction for pairs of bf16, and the form of a multiply-add that takes one
//! of its factors from memory.

use core::arch::asm;

use super::LANES;
#[cfg(target_feature = "avx512bf16")]
use super::V16;

/// Columns of the tile.
pub const NR: usize = 2 * LANES;
/// Rows of the tile.
pub const MR: usize = 12;
/// Words of depth between two places where the loop may end.
const AT_ONCE: usize = 4;

/// The sums of a row of the tile, which are the registers x0 and x1: the next row of `from`.
#[rustfmt::skip]
macro_rules! load {
    ($x0:literal, $x1:literal) => {
        concat!(
            "vmovups zmm", $x0, ", zmmword ptr [{from}]\n",
            "vmovups zmm", $x1, ", zmmword ptr [{from} + 64]\n",
            "add {from}, {from_stride}\n",
        )
    };
}

/// They become the next row of C.
#[rustfmt::skip]
macro_rules! store {
    ($x0:literal, $x1:literal) => {
        concat!(
            "vmovups zmmword ptr [{c}], zmm", $x0, "\n",
            "vmovups zmmword ptr [{c} + 64], zmm", $x1, "\n",
            "add {c}, {stride}\n",
        )
    };
}

/// The step of row i at word w of the four: one instruction copies the element of A to all lanes.
#[rustfmt::skip]
macro_rules! even {
    ($w:literal, $i:literal, $x0:literal, $x1:literal) => {
        concat!(
            "vbroadcastss zmm26, dword ptr [{a} + 48 * ", $w, " + 4 * ", $i, "]\n",
            "vfmadd231ps zmm", $x0, ", zmm24, zmm26\n",
            "vfmadd231ps zmm", $x1, ", zmm25, zmm26\n",
        )
    };
}

/// The same, where both multiply-adds do that themselves.
#[rustfmt::skip]
macro_rules! odd {
    ($w:literal, $i:literal, $x0:literal, $x1:literal) => {
        concat!(
            "vfmadd231ps zmm", $x0, ", zmm24, dword ptr [{a} + 48 * ", $w, " + 4 * ", $i, "]{{1to16}}\n",
            "vfmadd231ps zmm", $x1, ", zmm25, dword ptr [{a} + 48 * ", $w, " + 4 * ", $i, "]{{1to16}}\n",
        )
    };
}

/// The steps of all rows at word w; zmm24 and zmm25 are the row of B.
#[rustfmt::skip]
macro_rules! word {
    ($w:literal) => {
        concat!(
            "vmovups zmm24, zmmword ptr [{b} + 128 * ", $w, "]\n",
            "vmovups zmm25, zmmword ptr [{b} + 128 * ", $w, " + 64]\n",
            even!($w, 0, 0, 1), odd!($w, 1, 2, 3), even!($w, 2, 4, 5), odd!($w, 3, 6, 7),
            even!($w, 4, 8, 9), odd!($w, 5, 10, 11), even!($w, 6, 12, 13), odd!($w, 7, 14, 15),
            even!($w, 8, 16, 17), odd!($w, 9, 18, 19), even!($w, 10, 20, 21), odd!($w, 11, 22, 23),
        )
    };
}

/// `c[i] = chain over p of a[p][i] * b[p]`, each step rounded once, for i = 0, 1, .. 11: a tile with A (words, 12), B (words,
/// 32) and rows of C, `stride` apart, which start as `start` or go on with what they hold. Meanwhile `next` is brought to
/// the second-level cache, unless it is too short. Takes four words at a time, and returns how many that were.
///
/// A core whose other hyperthread is busy, as on a shared machine, takes three instructions a cycle instead of six, and then
/// they are what a tile waits for. The compiler's loop has 44 for 24 multiply-adds, with one to copy each element of A.
/// Here it is 33: the loop ends after four words, and every other row's multiply-adds copy the element of A themselves.
/// (Of all rows, they would wait for the two reads of a cycle.) On a disturbed Xeon products became 1.1 to 1.2 times as
/// fast, on a quiet one up to 1.02.
///
/// # Panics
/// If C is too small.
#[allow(unsafe_code)]
#[rustfmt::skip]
pub fn multiply_add(
    a: &[f32],
    b: &[f32],
    next: &[f32],
    start: Option<&[f32; NR]>,
    c: &mut [f32],
    stride: usize,
) -> usize {
    let words = (a.len() / MR).min(b.len() / NR) / AT_ONCE * AT_ONCE;
    if words == 0 {
        return 0;
    }
    // Divided, as a product could overflow.
    let fits = c.len() >= NR && stride <= (c.len() - NR) / (MR - 1);
    assert!(stride >= NR && fits, "C has {} elements, not {MR} rows {stride} apart", c.len());
    let next = if next.len() < words / AT_ONCE * LANES { b } else { next };
    let c = c.as_mut_ptr();
    let (from, from_stride) = start.map_or((c.cast_const(), stride), |row| (row.as_ptr(), 0));
    // SAFETY: reads words * 12 elements of `a`, words * 32 of `b`, and, where `from` says, one row of 32 or the 12 rows of C;
    // writes these rows. All are inside, as the lines above compare. A prefetch reads nothing. The registers are named,
    // and this build runs on processors with AVX-512 only.
    unsafe {
        asm!(
            load!(0, 1), load!(2, 3), load!(4, 5), load!(6, 7), load!(8, 9), load!(10, 11),
            load!(12, 13), load!(14, 15), load!(16, 17), load!(18, 19), load!(20, 21), load!(22, 23),
            ".p2align 5",
            "2:",
            "prefetcht1 [{next}]",
            word!(0), word!(1), word!(2), word!(3),
            "add {a}, 192",
            "add {b}, 512",
            "add {next}, 64",
            "dec {fours}",
            "jnz 2b",
            store!(0, 1), store!(2, 3), store!(4, 5), store!(6, 7), store!(8, 9), store!(10, 11),
            store!(12, 13), store!(14, 15), store!(16, 17), store!(18, 19), store!(20, 21), store!(22, 23),
            a = inout(reg) a.as_ptr() => _,
            b = inout(reg) b.as_ptr() => _,
            next = inout(reg) next.as_ptr() => _,
            fours = inout(reg) words / AT_ONCE => _,
            from = inout(reg) from => _,
            from_stride = in(reg) 4 * from_stride,
            c = inout(reg) c => _,
            stride = in(reg) 4 * stride,
            out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _, out("zmm4") _, out("zmm5") _, out("zmm6") _,
            out("zmm7") _, out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _, out("zmm12") _, out("zmm13") _,
            out("zmm14") _, out("zmm15") _, out("zmm16") _, out("zmm17") _, out("zmm18") _, out("zmm19") _, out("zmm20") _,
            out("zmm21") _, out("zmm22") _, out("zmm23") _, out("zmm24") _, out("zmm25") _, out("zmm26") _,
            options(nostack),
        );
    }
    words
}

/// Sixteen times [`crate::num::bf16::step`], by the instruction whose definition that is.
#[cfg(target_feature = "avx512bf16")]
#[inline(always)]
#[allow(unsafe_code)]
pub fn dot_pairs(a: V16, b: V16, acc: V16) -> V16 {
    use core::arch::x86_64::{__m512, __m512bh, _mm512_dpbf16_ps};
    use core::mem::transmute;
    // SAFETY: all of these types are 64 bytes, for which every bit pattern is a value; this build runs on
    // processors with AVX512-BF16 only.
    unsafe {
        let operand = |v: V16| transmute::<[f32; LANES], __m512bh>(v.0.to_array());
        let acc = transmute::<[f32; LANES], __m512>(acc.0.to_array());
        let sums = _mm512_dpbf16_ps(acc, operand(a), operand(b));
        V16::load(&transmute::<__m512, [f32; LANES]>(sums))
    }
}
