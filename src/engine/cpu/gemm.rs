//! Matrix products `C = init + A B`, one [chain](crate::engine::plain::gemm::chain) per element of C.
//!
//! The fast form is Goto's: B is packed in panels of `NR` columns, A in panels of `MR` rows, and a tile of
//! `MR x NR` accumulators stays in registers for `KC` steps of `p`. Between two blocks of `p` the chain is
//! carried through C itself, so no blocking, packing or threading can show in a bit. A panel is made of words of
//! 32 bits, an f32 or a pair of bf16 (which is moved as if it were an f32), so both precisions share all of this.
//!
//! ```text
//! for jc in columns by NC            C[:, jc..]
//!   for pc in words of k by KC       pack B[pc.., jc..]   (all threads, split over panels)
//!     for ic in rows by MC           pack A[ic.., pc..]   (one thread, its own buffer; split over rows)
//!       for jr in panels of NR
//!         for ir in panels of MR     tile: C[ic+ir.., jc+jr..] += A panel * B panel
//! ```

use core::ops::Range;

use super::depth::{Block, Depth};
use super::operands::{Bf16, F32, Operands};
use super::pack::{pack_columns, pack_rows};
use crate::engine::{Init, Matrix, Precision};
use crate::num::par;
use crate::num::scratch::{self, Use};
use crate::num::simd::{LANES, V16, prefetch};

/// Rows of the register tile. 12 x 32 with AVX-512's 32 registers (24 accumulators), 6 x 16 with 16
/// registers of half the width (12 accumulators); larger tiles spill and are three times slower.
pub(crate) const MR: usize = if cfg!(target_feature = "avx512f") { 12 } else { 6 };
/// Vectors a tile is wide.
pub(crate) const NV: usize = if cfg!(target_feature = "avx512f") { 2 } else { 1 };
/// Columns of the register tile.
pub(crate) const NR: usize = NV * LANES;
/// Depth of a block: a B panel of `KC * NR` floats (32 or 24 KiB) stays in the first-level cache.
const KC: usize = if cfg!(target_feature = "avx512f") { 256 } else { 384 };
/// Rows of a block: an A block of `MC * KC` floats (96 or 144 KiB) stays in the second-level cache.
const MC: usize = 96;
/// Columns of a block: a packed B block of `KC * NC` floats, 4 or 6 MiB, is read from the third-level cache.
/// Fewer columns would mean more hand-overs between threads.
const NC: usize = 4096;

/// What starts the chains of the columns from `j` on.
pub(super) fn at_column(init: Init<'_>, j: usize) -> Init<'_> {
    match init {
        Init::Bias(bias) => Init::Bias(&bias[j..]),
        other => other,
    }
}

/// `C = init + A B` with A (m, k), B (k, n) and row-major C (m, n). `depth` is k, or what k consists of.
///
/// # Panics
/// If a buffer is too small for its shape.
pub fn gemm<'d>(
    precision: Precision,
    m: usize,
    n: usize,
    depth: impl Into<Depth<'d>>,
    a: Matrix,
    b: Matrix,
    init: Init,
    c: &mut [f32],
) {
    match precision {
        Precision::F32 | Precision::Tf32 => gemm_of::<F32>(m, n, depth.into(), a, b, init, c),
        Precision::Bf16 | Precision::Bf16Fast => gemm_of::<Bf16>(m, n, depth.into(), a, b, init, c),
    }
}

fn gemm_of<O: Operands>(m: usize, n: usize, depth: Depth, a: Matrix, b: Matrix, init: Init, c: &mut [f32]) {
    let k = depth.len();
    assert_eq!(c.len(), m * n, "C has {} elements, not {m} x {n}", c.len());
    check("A", a, m, k);
    check("B", b, k, n);
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        c.chunks_exact_mut(n).for_each(|row| initialise(init, row));
        return;
    }
    let words = depth.words(O::DEEP);
    // Equal blocks: a thin last one would read and write C, or start the threads, for little work.
    let block_words = words.div_ceil(words.div_ceil(KC / O::STEPS));
    let block_columns = n.div_ceil(n.div_ceil(NC)).next_multiple_of(NR);
    scratch::with(Use::PackB, block_words * block_columns, |packed_b| {
        for jc in (0..n).step_by(block_columns) {
            let columns = block_columns.min(n - jc);
            for pc in (0..words).step_by(block_words) {
                let block = depth.block(O::DEEP, pc..words.min(pc + block_words));
                // Only the first block starts the chains; the others go on with what C holds.
                let init = if pc == 0 { init } else { Init::Accumulate };
                let packed_b = &mut packed_b[..columns.next_multiple_of(NR) * block.words()];
                let grain = (32 * 1024 / (block.words() * NR)).max(1);
                // Split over panels: each is a copy of its own columns.
                par::for_each(par::rows(packed_b, block.words() * NR), grain, |first, panels| {
                    pack_columns::<O>(b, &block, jc + first * NR..jc + columns, panels.data);
                });
                // Split over rows of C: each tile's chain is carried on by the one piece that owns it.
                let grain = MR * (256 * 1024 / (MR * columns * block.words())).max(1);
                par::for_each(par::rows(c, n), grain, |first, rows| {
                    block_of_rows::<O>(a, first, &block, packed_b, jc, columns, n, init, rows.data);
                });
            }
        }
    });
}

/// Gives every thread of the current pool its packing buffers now, so that no later product allocates.
pub fn reserve() {
    scratch::reserve(Use::PackA, MC * KC);
    scratch::reserve(Use::PackB, KC * NC);
}

/// The rows of one piece: packs A in blocks of MC rows and runs the tiles.
fn block_of_rows<O: Operands>(
    a: Matrix,
    first: usize,
    depth: &Block,
    packed_b: &[f32],
    jc: usize,
    columns: usize,
    n: usize,
    init: Init,
    c: &mut [f32],
) {
    let words = depth.words();
    scratch::with(Use::PackA, MC * KC, |packed_a| {
        for (block, c) in c.chunks_mut(MC * n).enumerate() {
            let rows = c.len() / n;
            for (panel, ir) in packed_a.chunks_exact_mut(words * O::STEPS * MR).zip((0..rows).step_by(MR)) {
                pack_rows::<O>(a, first + block * MC + ir, depth, MR.min(rows - ir), panel);
            }
            for (b_panel, jr) in packed_b.chunks_exact(words * NR).zip((0..columns).step_by(NR)) {
                let (columns, init) = (NR.min(columns - jr), at_column(init, jc + jr));
                for (a_panel, ir) in packed_a.chunks_exact(words * O::STEPS * MR).zip((0..rows).step_by(MR)) {
                    prefetch_rows(c, ir + MR..rows.min(ir + 2 * MR), n, jc + jr..jc + jr + columns);
                    let corner = &mut c[ir * n + jc + jr..];
                    carry::<O>(a_panel, b_panel, MR.min(rows - ir), columns, n, init, corner);
                }
            }
        }
    });
}

/// Brings the rows of the next tile of C, which it will start from or overwrite, while this one is computed: they
/// are too far apart for the processor to guess. Products became 1.03 to 1.11 times as fast. A row is asked for by
/// its ends of vectors, because its beginning shares a cache line with the tile on its left.
#[inline(always)]
fn prefetch_rows(c: &[f32], rows: Range<usize>, stride: usize, columns: Range<usize>) {
    for i in rows {
        for v in 1..=NV {
            prefetch(&c[i * stride + columns.end.min(columns.start + v * LANES) - 1..]);
        }
    }
}

/// Starts the chains of one tile of C (at most MR x NR, rows `stride` apart), or takes them up, and carries
/// them over one block of depth.
#[inline(always)]
fn carry<O: Operands>(
    a_panel: &[f32],
    b_panel: &[f32],
    rows: usize,
    columns: usize,
    stride: usize,
    init: Init,
    c: &mut [f32],
) {
    if rows == MR && columns == NR {
        let mut acc = [[V16::ZERO; NV]; MR];
        match init {
            Init::Zero => {}
            Init::Bias(bias) => acc = [load_row(bias); MR],
            Init::Accumulate => (0..MR).for_each(|i| acc[i] = load_row(&c[i * stride..])),
        }
        tile::<O>(a_panel, b_panel, &mut acc);
        for i in 0..MR {
            for v in 0..NV {
                acc[i][v].store(&mut c[i * stride + v * LANES..]);
            }
        }
        return;
    }
    // An edge: the same tile on a padded copy; what is padding is never written back.
    let mut edge = [[0.0; NR]; MR];
    for i in 0..rows {
        match init {
            Init::Zero => {}
            Init::Bias(bias) => edge[i][..columns].copy_from_slice(&bias[..columns]),
            Init::Accumulate => edge[i][..columns].copy_from_slice(&c[i * stride..][..columns]),
        }
    }
    let mut acc = core::array::from_fn(|i| load_row(&edge[i]));
    tile::<O>(a_panel, b_panel, &mut acc);
    for i in 0..rows {
        for v in 0..NV {
            acc[i][v].store(&mut edge[i][v * LANES..]);
        }
        c[i * stride..][..columns].copy_from_slice(&edge[i][..columns]);
    }
}

/// The first NR numbers.
#[inline(always)]
pub(super) fn load_row(row: &[f32]) -> [V16; NV] {
    core::array::from_fn(|v| V16::load(&row[v * LANES..]))
}

/// The inner loop: one step of every chain of the tile per word of depth.
#[inline(always)]
pub(crate) fn tile<O: Operands>(a_panel: &[f32], b_panel: &[f32], acc: &mut [[V16; NV]; MR]) {
    let least = O::least_exponent(a_panel) + O::least_exponent(b_panel);
    if O::may_underflow(least, acc.as_flattened()) {
        chains::<O, true>(a_panel, b_panel, acc);
    } else {
        chains::<O, false>(a_panel, b_panel, acc);
    }
}

#[inline(always)]
fn chains<O: Operands, const UNDERFLOW: bool>(a_panel: &[f32], b_panel: &[f32], acc: &mut [[V16; NV]; MR]) {
    // No `map`: calls of it stay calls, and the accumulators go through memory (measured: 5 to 10 % of a product).
    let mut sums = *acc;
    for sum in sums.as_flattened_mut() {
        *sum = O::start(*sum);
    }
    for (a, b) in a_panel.chunks_exact(O::STEPS * MR).zip(b_panel.chunks_exact(NR)) {
        let b = load_row(b);
        for (step, a) in a.chunks_exact(MR).enumerate() {
            let b = b.map(|b| O::part(b, step));
            for i in 0..MR {
                let a = V16::splat(a[i]);
                for v in 0..NV {
                    sums[i][v] = O::step::<UNDERFLOW>(a, b[v], sums[i][v]);
                }
            }
        }
    }
    *acc = sums;
}

/// The start of the chains of one row of C.
pub(super) fn initialise(init: Init, c: &mut [f32]) {
    match init {
        Init::Accumulate => {}
        Init::Zero => c.fill(0.0),
        Init::Bias(bias) => c.copy_from_slice(&bias[..c.len()]),
    }
}

pub(super) fn check(name: &str, x: Matrix, rows: usize, columns: usize) {
    if rows > 0 && columns > 0 {
        let last = (rows - 1) * x.row + (columns - 1) * x.column;
        assert!(last < x.data.len(), "{name} ({rows}, {columns}) does not fit {} elements", x.data.len());
    }
}

#[cfg(test)]
mod tests {
    use super::super::packed::Packed;
    use super::*;
    use crate::engine::plain;
    use crate::num::rng::{Purpose, Rng, Stage};
    use alloc::vec;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn noise(seed: u64, n: usize) -> Vec<f32> {
        let mut rng = Rng::at(seed, Stage::Test, Purpose::Test, 0, 0, 0);
        (0..n).map(|_| rng.normal()).collect()
    }

    fn bits(xs: &[f32]) -> Vec<u32> {
        xs.iter().map(|x| x.to_bits()).collect()
    }

    /// Numbers of very different sizes, subnormal and vanishing ones among them.
    fn hostile(seed: u64, n: usize) -> Vec<f32> {
        let mut rng = Rng::at(seed, Stage::Test, Purpose::Noise, 0, 0, 0);
        let scales = [1.0, 1e-18, 1e-20, 1e-38, 0.0, -1e3, 1e-40];
        (0..n).map(|_| rng.normal() * scales[rng.below(scales.len())]).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]
        #[test]
        fn fast_equals_definition(
            m in 0usize..70, n in 0usize..100, k in 0usize..40, deep in 0usize..6, in_bf16: bool,
            transpose_a: bool, transpose_b: bool, start in 0usize..3, threads in 1usize..4,
            cuts in proptest::collection::vec(0usize..900, 0..9), numbers: bool, seed: u64,
        ) {
            let precision = if in_bf16 { Precision::Bf16 } else { Precision::F32 };
            let k = k + deep * 170; // to cross a block of depth now and then
            let noise = if numbers { noise } else { hostile };
            let (a, b) = (noise(seed, m * k), noise(seed + 1, k * n));
            let (bias, start_c) = (noise(seed + 2, n), noise(seed + 3, m * n));
            let a_view = if transpose_a { Matrix::transposed(&a, m) } else { Matrix::new(&a, k) };
            let b_view = if transpose_b { Matrix::transposed(&b, k) } else { Matrix::new(&b, n) };
            let init = [Init::Zero, Init::Bias(&bias), Init::Accumulate][start];
            let (mut fast, mut defined) = (start_c.clone(), start_c.clone());
            par::with_threads(threads, || gemm(precision, m, n, k, a_view, b_view, init, &mut fast));
            plain::gemm::gemm(precision, m, n, &[0, k], a_view, b_view, init, &mut defined);
            prop_assert_eq!(bits(&fast), bits(&defined));
            if !transpose_a && m > 0 && k > 0 {
                let mut packed = start_c.clone();
                let product = || Packed::new(precision, k, n, b_view).multiply(&a, init, &mut packed);
                par::with_threads(threads, product);
                prop_assert_eq!(bits(&packed), bits(&defined));
            }
            // The same depth in runs.
            let mut offsets: Vec<usize> = cuts.into_iter().map(|cut| cut.min(k)).chain([0, k]).collect();
            offsets.sort_unstable();
            let runs = Depth::runs(&offsets);
            let (mut fast, mut defined) = (start_c.clone(), start_c.clone());
            par::with_threads(threads, || gemm(precision, m, n, runs, a_view, b_view, init, &mut fast));
            plain::gemm::gemm(precision, m, n, &offsets, a_view, b_view, init, &mut defined);
            prop_assert_eq!(bits(&fast), bits(&defined));
            // And in two products, cut where no pair is: what micro-batches do.
            let cut = runs.cut(k / 2);
            let halves = [0..cut, cut..k].map(|part| {
                let a = if transpose_a { &a[part.start * m..] } else { &a[part.start.min(a.len())..] };
                let b = if transpose_b { &b[part.start.min(b.len())..] } else { &b[part.start * n..] };
                (runs.part(part), Matrix { data: a, ..a_view }, Matrix { data: b, ..b_view })
            });
            let [(head, a_head, b_head), (tail, a_tail, b_tail)] = halves;
            let mut twice = start_c.clone();
            gemm(precision, m, n, head, a_head, b_head, init, &mut twice);
            gemm(precision, m, n, tail, a_tail, b_tail, Init::Accumulate, &mut twice);
            if cut > 0 || matches!(init, Init::Accumulate) {
                prop_assert_eq!(bits(&twice), bits(&defined));
            }
        }
    }

    #[test]
    fn blocks_of_every_kind_equal_the_definition() {
        for (precision, deep) in [(Precision::F32, 1), (Precision::Bf16, 2)] {
            // Larger than every block size at once, with tails.
            let (m, n, k) = (2 * MC + 5, NC + NR + 3, deep * KC + 7);
            let (a, b) = (noise(1, m * k), noise(2, k * n));
            let (mut fast, mut defined) = (vec![0.0; m * n], vec![0.0; m * n]);
            let (a, b) = (Matrix::new(&a, k), Matrix::new(&b, n));
            par::with_threads(3, || gemm(precision, m, n, k, a, b, Init::Zero, &mut fast));
            plain::gemm::gemm(precision, m, n, &[0, k], a, b, Init::Zero, &mut defined);
            assert_eq!(bits(&fast), bits(&defined));
        }
    }

    #[test]
    fn bf16_is_the_product_of_rounded_operands() {
        // An oracle that knows nothing of pairs: products of bf16 are exact in f64, and so are their sums here.
        let (m, n, k) = (7, 20, 33);
        let whole = |seed, n| noise(seed, n).into_iter().map(|x| (x * 64.0).round()).collect::<Vec<_>>();
        let (a, b) = (whole(1, m * k), whole(2, k * n));
        let mut c = vec![0.0; m * n];
        let (a_view, b_view) = (Matrix::new(&a, k), Matrix::new(&b, n));
        gemm(Precision::Bf16, m, n, k, a_view, b_view, Init::Zero, &mut c);
        for (i, c) in c.iter().enumerate() {
            let round = |x: f32| f64::from(half::bf16::from_f32(x));
            let exact: f64 = (0..k).map(|p| round(a[i / n * k + p]) * round(b[p * n + i % n])).sum();
            assert_eq!(f64::from(*c), exact);
        }
    }

    #[test]
    fn bf16_flushes_what_cancels_below_the_normal_numbers() {
        let power = |e: i32| if e < -126 { 0.0 } else { f32::from_bits(((e + 127) as u32) << 23) };
        let of_rows = |a: [f32; 2], b: [f32; 2], start: f32, expected: f32| {
            // One row, which goes another way than several, and several.
            for m in [1, 3] {
                let (a, init) = (a.repeat(m), Init::Bias(&[start]));
                let (a_view, b_view) = (Matrix::new(&a, 2), Matrix::new(&b, 1));
                let (mut fast, mut packed, mut defined) = (vec![9.0; m], vec![9.0; m], vec![9.0; m]);
                gemm(Precision::Bf16, m, 1, 2, a_view, b_view, init, &mut fast);
                Packed::new(Precision::Bf16, 2, 1, b_view).multiply(&a, init, &mut packed);
                plain::gemm::gemm(Precision::Bf16, m, 1, &[0, 2], a_view, b_view, init, &mut defined);
                for found in [fast, packed, defined] {
                    assert_eq!(bits(&found), bits(&vec![expected; m]), "{a:?} {b:?} {start}");
                }
            }
        };
        let (x, y) = (1.0 + power(-6), 1.0 + power(-7));
        for e in -125..-90 {
            let (one, other) = (power(e / 2), power(e - e / 2));
            // y^2 - x is 2^-14: what two products leave of each other.
            of_rows([one * x, one * y], [-other, other * y], 0.0, power(e - 14));
            // What a product leaves of the start.
            of_rows([-one, 0.0], [other, 0.0], power(e) * (1.0 + power(-23)), power(e - 23));
        }
    }

    #[test]
    fn a_single_row_equals_the_same_row_among_others() {
        let (m, n, k) = (19, 8 * NR + 5, 77);
        let (a, b) = (noise(1, m * k), noise(2, k * n));
        for precision in [Precision::F32, Precision::Bf16] {
            let packed = Packed::new(precision, k, n, Matrix::new(&b, n));
            let mut together = vec![0.0; m * n];
            packed.multiply(&a, Init::Zero, &mut together);
            for (a, row) in a.chunks(k).zip(together.chunks(n)) {
                let mut alone = vec![0.0; n];
                packed.multiply(a, Init::Zero, &mut alone);
                assert_eq!(bits(&alone), bits(row));
            }
        }
    }
}
