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
use super::tile::{MR, NR, NV, padded, tile};
use crate::engine::{Init, Matrix, Precision};
use crate::num::par;
use crate::num::scratch::{self, Use};
use crate::num::simd::{LANES, prefetch};

/// Depth of a block. Without AVX-512 a B panel of `KC * NR` floats (24 KiB) stays in the first-level cache. With it a tile
/// takes 512 bytes of the panel for 96 multiply-adds, which the second-level cache gives as fast, and the deeper block reads
/// C half as often: 64 KiB are 1.02 times as fast as 32.
const KC: usize = if cfg!(target_feature = "avx512f") { 512 } else { 384 };
/// Rows of a block: an A block of `MC * KC` floats (192 or 144 KiB) stays in the second-level cache.
const MC: usize = 96;
/// Columns of a block: a packed B block of `KC * NC` floats, 8 or 6 MiB, is read from the third-level cache.
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
    assert_eq!(c.len(), m * n, "C has {} elements, not {m} x {n}", c.len());
    products(precision, depth, [Product { n, a, b, init, c }]);
}

/// One of several products of one depth: `C = init + A B` with A (m, k), B (k, n) and row-major C (m, n).
pub struct Product<'a> {
    /// Columns of B and C.
    pub n: usize,
    /// A.
    pub a: Matrix<'a>,
    /// B.
    pub b: Matrix<'a>,
    /// What starts the chains.
    pub init: Init<'a>,
    /// C.
    pub c: &'a mut [f32],
}

/// Several products at once: their columns lie side by side, so that threads wait for each other only as often as in one
/// product. The gradients of a block's weights have one depth, the tokens: on two threads a step of 10.8M parameters became
/// 1.15 times as fast, and one of 0.8M 1.04 times.
///
/// # Panics
/// If a buffer is too small for its shape.
pub fn products<'d, const K: usize>(
    precision: Precision,
    depth: impl Into<Depth<'d>>,
    products: [Product; K],
) {
    match precision {
        Precision::F32 | Precision::Tf32 => products_of::<F32, K>(depth.into(), products),
        Precision::Bf16 | Precision::Bf16Fast => products_of::<Bf16, K>(depth.into(), products),
    }
}

fn products_of<O: Operands, const K: usize>(depth: Depth, mut products: [Product; K]) {
    let k = depth.len();
    for Product { n, a, b, init, c } in &mut products {
        let m = c.len().checked_div(*n).unwrap_or(0);
        assert_eq!(c.len(), m * *n, "C has {} elements, no rows of {n}", c.len());
        check("A", *a, m, k);
        check("B", *b, k, *n);
        if k == 0 && m > 0 {
            c.chunks_exact_mut(*n).for_each(|row| initialise(*init, row));
        }
    }
    if k == 0 || products.iter().all(|product| product.c.is_empty()) {
        return;
    }
    let words = depth.words(O::DEEP);
    // Equal blocks: a thin last one would read and write C, or start the threads, for little work.
    let block_words = words.div_ceil(words.div_ceil(KC / O::STEPS));
    let mut panels = 0;
    let panels_of = products.each_ref().map(|product| {
        let first = panels;
        panels += product.n.div_ceil(NR);
        first..panels
    });
    let block_panels = panels.div_ceil(panels.div_ceil(NC / NR));
    scratch::with(Use::PackB, block_words * block_panels * NR, |packed_b| {
        for jc in (0..panels).step_by(block_panels) {
            let here = jc..panels.min(jc + block_panels);
            let parts: [Part; K] = core::array::from_fn(|i| Part::of(&panels_of[i], products[i].n, &here));
            for pc in (0..words).step_by(block_words) {
                let block = depth.block(O::DEEP, pc..words.min(pc + block_words));
                let panel = block.words() * NR;
                let packed_b = &mut packed_b[..here.len() * panel];
                // Split over panels: each is a copy of its own columns.
                par::for_each(par::rows(packed_b, panel), (32 * 1024 / panel).max(1), |first, packed| {
                    let piece = here.start + first..here.start + first + packed.data.len() / panel;
                    for (panels, Product { n, b, .. }) in panels_of.iter().zip(&products) {
                        let Part { columns, panels } = Part::of(panels, *n, &piece);
                        let packed = &mut packed.data[panels.start * panel..panels.end * panel];
                        pack_columns::<O>(*b, &block, columns, packed);
                    }
                });
                // Split over rows of C: each tile's chain is carried on by the one piece that owns it.
                let grains = parts
                    .each_ref()
                    .map(|part| MR * (256 * 1024 / (MR * part.columns.len().max(1) * block.words())).max(1));
                let operands = products.each_ref().map(|product| (product.n, product.a, product.init));
                let mut is_here = parts.iter().map(|part| !part.columns.is_empty());
                let outputs = products.each_mut().map(|Product { n, c, .. }| match is_here.next() {
                    Some(true) => par::rows(c, *n),
                    _ => par::rows(&mut [], 1),
                });
                par::for_each_of(outputs, grains, |i, first, rows| {
                    let ((n, a, init), Part { columns, panels }) = (operands[i], &parts[i]);
                    // Only the first block starts the chains; the others go on with what C holds.
                    let init = if pc == 0 { init } else { Init::Accumulate };
                    let packed_b = &packed_b[panels.start * panel..panels.end * panel];
                    block_of_rows::<O>(a, first, &block, packed_b, columns, n, init, rows.data);
                });
            }
        }
    });
}

/// What some panels of all products have of one of them.
struct Part {
    /// Its columns.
    columns: Range<usize>,
    /// Their panels, counted from the first of those panels.
    panels: Range<usize>,
}

impl Part {
    /// Of the product of n columns whose panels are `own`, what the panels `some` have.
    fn of(own: &Range<usize>, n: usize, some: &Range<usize>) -> Part {
        let [start, end] = [own.start, own.end].map(|panel| panel.clamp(some.start, some.end));
        let [first, beyond] = [start, end].map(|panel| panel.saturating_sub(own.start) * NR);
        Part { columns: first..beyond.min(n), panels: start - some.start..end - some.start }
    }
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
    columns: &Range<usize>,
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
            let mut panels = packed_b.chunks_exact(words * NR).peekable();
            for j in columns.clone().step_by(NR) {
                let b_panel = panels.next().expect("a panel for every NR columns");
                let next = panels.peek().copied().unwrap_or_default();
                // Each tile of this panel asks for its share of the next one.
                let mut shares = next.chunks(words.div_ceil(rows.div_ceil(MR)) * NR);
                let (columns, init) = (j..columns.end.min(j + NR), at_column(init, j));
                for (a_panel, ir) in packed_a.chunks_exact(words * O::STEPS * MR).zip((0..rows).step_by(MR)) {
                    prefetch_rows(c, ir + MR..rows.min(ir + 2 * MR), n, columns.clone());
                    let (corner, next) = (&mut c[ir * n + j..], shares.next().unwrap_or_default());
                    carry::<O>(a_panel, b_panel, next, MR.min(rows - ir), columns.len(), n, init, corner);
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
/// them over one block of depth. Meanwhile `next`, of the next panel of B, is brought nearer.
#[inline(always)]
fn carry<O: Operands>(
    a_panel: &[f32],
    b_panel: &[f32],
    next: &[f32],
    rows: usize,
    columns: usize,
    stride: usize,
    init: Init,
    c: &mut [f32],
) {
    if rows == MR && columns == NR {
        let start = match init {
            Init::Zero => Some(&[0.0; NR]),
            Init::Bias(bias) => Some(bias.first_chunk().expect("a bias for every column")),
            Init::Accumulate => None,
        };
        return tile::<O>(a_panel, b_panel, next, start, c, stride);
    }
    c.chunks_mut(stride).take(rows).for_each(|row| initialise(init, &mut row[..columns]));
    padded(c, stride, rows, columns, |edge| tile::<O>(a_panel, b_panel, next, None, edge, NR));
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
mod tests;
