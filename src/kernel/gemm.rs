//! Matrix products `C = init + A B`.
//!
//! Definition, one chain per element of C (shapes A (m, k), B (k, n), C (m, n)):
//! ```text
//! acc = init[i][j];  for p in 0..k { acc = fma(A[i][p], B[p][j], acc) };  C[i][j] = acc
//! ```
//! The fast form is Goto's: B is packed in panels of `NR` columns, A in panels of `MR` rows, and a tile of
//! `MR x NR` accumulators stays in registers for `KC` steps of `p`. Between two blocks of `p` the chain is
//! carried through C itself, so no blocking, packing or threading can show in a bit.
//!
//! ```text
//! for jc in columns by NC            C[:, jc..]
//!   for pc in 0..k by KC             pack B[pc.., jc..]   (all threads, split over panels)
//!     for ic in rows by MC           pack A[ic.., pc..]   (one thread, its own buffer; split over rows)
//!       for jr in panels of NR
//!         for ir in panels of MR     tile: C[ic+ir.., jc+jr..] += A panel * B panel
//! ```

use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use crate::num::par;
use crate::num::scratch::{self, Use};
use crate::num::simd::{LANES, V16, transpose_8x8};

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

/// A matrix anywhere in a buffer: element `(i, j)` is `data[i * row + j * column]`.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    /// The buffer.
    pub data: &'a [f32],
    /// Stride between rows.
    pub row: usize,
    /// Stride between columns.
    pub column: usize,
}

impl<'a> Matrix<'a> {
    /// A row-major matrix with rows of `width`.
    pub fn new(data: &'a [f32], width: usize) -> Self {
        Matrix { data, row: width, column: 1 }
    }

    /// The transpose of a row-major matrix with rows of `width`.
    pub fn transposed(data: &'a [f32], width: usize) -> Self {
        Matrix { data, row: 1, column: width }
    }
}

/// Where the chains start.
#[derive(Clone, Copy)]
pub enum Init<'a> {
    /// At +0.
    Zero,
    /// At `bias[j]`, shape (n).
    Bias(&'a [f32]),
    /// At what C holds.
    Accumulate,
}

impl Init<'_> {
    /// For the columns from `j` on.
    fn at_column(self, j: usize) -> Self {
        match self {
            Init::Bias(bias) => Init::Bias(&bias[j..]),
            other => other,
        }
    }
}

/// `C = init + A B` with A (m, k), B (k, n) and row-major C (m, n).
///
/// # Panics
/// If a buffer is too small for its shape.
pub fn gemm(m: usize, n: usize, k: usize, a: Matrix, b: Matrix, init: Init, c: &mut [f32]) {
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
    // Equal blocks: a thin last one would read and write C, or start the threads, for little work.
    let block_depth = k.div_ceil(k.div_ceil(KC));
    let block_columns = n.div_ceil(n.div_ceil(NC)).next_multiple_of(NR);
    scratch::with(Use::PackB, block_depth * block_columns, |packed_b| {
        for jc in (0..n).step_by(block_columns) {
            let columns = block_columns.min(n - jc);
            for pc in (0..k).step_by(block_depth) {
                let depth = block_depth.min(k - pc);
                // Only the first block starts the chains; the others go on with what C holds.
                let init = if pc == 0 { init } else { Init::Accumulate };
                let packed_b = &mut packed_b[..columns.next_multiple_of(NR) * depth];
                let grain = (32 * 1024 / (depth * NR)).max(1);
                // Split over panels: each is a copy of its own columns.
                par::for_each(par::rows(packed_b, depth * NR), grain, |first, panels| {
                    pack_columns(b, pc, depth, jc + first * NR..jc + columns, panels.data);
                });
                // Split over rows of C: each tile's chain is carried on by the one piece that owns it.
                let grain = MR * (256 * 1024 / (MR * columns * depth)).max(1);
                par::for_each(par::rows(c, n), grain, |first, rows| {
                    block_of_rows(a, first, pc, depth, packed_b, jc, columns, n, init, rows.data);
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
fn block_of_rows(
    a: Matrix,
    first: usize,
    pc: usize,
    depth: usize,
    packed_b: &[f32],
    jc: usize,
    columns: usize,
    n: usize,
    init: Init,
    c: &mut [f32],
) {
    scratch::with(Use::PackA, MC * KC, |packed_a| {
        for (block, c) in c.chunks_mut(MC * n).enumerate() {
            let rows = c.len() / n;
            for (panel, ir) in packed_a.chunks_exact_mut(depth * MR).zip((0..rows).step_by(MR)) {
                pack_rows(a, first + block * MC + ir, pc, MR.min(rows - ir), panel);
            }
            for (b_panel, jr) in packed_b.chunks_exact(depth * NR).zip((0..columns).step_by(NR)) {
                let (columns, init) = (NR.min(columns - jr), init.at_column(jc + jr));
                for (a_panel, ir) in packed_a.chunks_exact(depth * MR).zip((0..rows).step_by(MR)) {
                    let corner = &mut c[ir * n + jc + jr..];
                    carry(a_panel, b_panel, MR.min(rows - ir), columns, n, init, corner);
                }
            }
        }
    });
}

/// Starts the chains of one tile of C (at most MR x NR, rows `stride` apart), or takes them up, and carries
/// them over one block of depth.
#[inline(always)]
fn carry(
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
        tile(a_panel, b_panel, &mut acc);
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
    tile(a_panel, b_panel, &mut acc);
    for i in 0..rows {
        for v in 0..NV {
            acc[i][v].store(&mut edge[i][v * LANES..]);
        }
        c[i * stride..][..columns].copy_from_slice(&edge[i][..columns]);
    }
}

/// The first NR numbers.
#[inline(always)]
fn load_row(row: &[f32]) -> [V16; NV] {
    core::array::from_fn(|v| V16::load(&row[v * LANES..]))
}

/// The inner loop: one step of every chain of the tile per element of depth.
#[inline(always)]
pub(crate) fn tile(a_panel: &[f32], b_panel: &[f32], acc: &mut [[V16; NV]; MR]) {
    let mut sums = *acc;
    for (a, b) in a_panel.chunks_exact(MR).zip(b_panel.chunks_exact(NR)) {
        let b: [V16; NV] = core::array::from_fn(|v| V16::load(&b[v * LANES..]));
        for i in 0..MR {
            let a = V16::splat(a[i]);
            for v in 0..NV {
                sums[i][v] = a.fma(b[v], sums[i][v]);
            }
        }
    }
    *acc = sums;
}

/// Packs rows `pc..pc + depth` of the first of `columns` of B into as many panels (depth, NR) as there are,
/// zero-padded.
fn pack_columns(b: Matrix, pc: usize, depth: usize, columns: Range<usize>, panels: &mut [f32]) {
    if b.column == 1 {
        // Several panels side by side: a row is read on, not 64 bytes of it and then the next.
        const AT_ONCE: usize = 16;
        let groups = panels.chunks_mut(AT_ONCE * depth * NR);
        for (panels, j) in groups.zip(columns.clone().step_by(AT_ONCE * NR)) {
            let width = (columns.end - j).min(panels.len() / depth);
            for p in 0..depth {
                let row = &b.data[(pc + p) * b.row + j..][..width];
                for (panel, from) in panels.chunks_exact_mut(depth * NR).zip(row.chunks(NR)) {
                    copy_padded::<NR>(&mut panel[p * NR..], from);
                }
            }
        }
        return;
    }
    for (panel, j) in panels.chunks_exact_mut(depth * NR).zip(columns.clone().step_by(NR)) {
        let width = NR.min(columns.end - j);
        pack::<NR>(b.data, pc * b.row + j * b.column, b.row, b.column, width, panel);
    }
}

/// Packs `rows` (at most MR) rows of A from `(i, pc)` as (depth, MR), zero-padded.
fn pack_rows(a: Matrix, i: usize, pc: usize, rows: usize, panel: &mut [f32]) {
    pack::<MR>(a.data, i * a.row + pc * a.column, a.column, a.row, rows, panel);
}

/// `panel[p][w] = data[start + p * deep + w * wide]` for `w < width`, +0 beyond; panel is (depth, W).
#[inline(always)]
pub(crate) fn pack<const W: usize>(
    data: &[f32],
    start: usize,
    deep: usize,
    wide: usize,
    width: usize,
    panel: &mut [f32],
) {
    if width == 0 {
        panel.fill(0.0);
    } else if wide == 1 {
        for (p, row) in panel.chunks_exact_mut(W).enumerate() {
            copy_padded::<W>(row, &data[start + p * deep..][..width]);
        }
    } else if deep == 1 && width == W {
        // Transposing: W rows side by side, in blocks of 8 x 8.
        let depth = panel.len() / W;
        let from: [&[f32]; W] = core::array::from_fn(|w| &data[start + w * wide..][..depth]);
        let mut blocks = panel.chunks_exact_mut(8 * W);
        for (block, to) in (&mut blocks).enumerate() {
            for w in (0..W).step_by(8) {
                // Beyond W (a multiple of 8 or not) the last row stands in; it is not written.
                let rows = core::array::from_fn(|i| {
                    from[(w + i).min(W - 1)][block * 8..][..8].try_into().expect("8 of 8")
                });
                let transposed = transpose_8x8(rows);
                for (to, row) in to.chunks_exact_mut(W).zip(&transposed) {
                    // Both lengths are constants: a call of memcpy costs more than the copy.
                    if w + 8 <= W {
                        to[w..w + 8].copy_from_slice(row);
                    } else {
                        to[w..w + W % 8].copy_from_slice(&row[..W % 8]);
                    }
                }
            }
        }
        let done = depth / 8 * 8;
        for (p, row) in blocks.into_remainder().chunks_exact_mut(W).enumerate() {
            for w in 0..W {
                row[w] = from[w][done + p];
            }
        }
    } else {
        for (p, row) in panel.chunks_exact_mut(W).enumerate() {
            for w in 0..width {
                row[w] = data[start + p * deep + w * wide];
            }
            row[width..].fill(0.0);
        }
    }
}

/// `to[..W]` becomes `from` (at most W numbers) and then +0. Of a whole W, whose length the compiler knows, it
/// makes a few moves; a call of memcpy costs as much as the copy.
#[inline(always)]
pub(crate) fn copy_padded<const W: usize>(to: &mut [f32], from: &[f32]) {
    let to = &mut to[..W];
    match from.first_chunk::<W>() {
        Some(from) => to.copy_from_slice(from),
        None => {
            to[..from.len()].copy_from_slice(from);
            to[from.len()..].fill(0.0);
        }
    }
}

/// The start of the chains of one row of C.
fn initialise(init: Init, c: &mut [f32]) {
    match init {
        Init::Accumulate => {}
        Init::Zero => c.fill(0.0),
        Init::Bias(bias) => c.copy_from_slice(&bias[..c.len()]),
    }
}

fn check(name: &str, x: Matrix, rows: usize, columns: usize) {
    if rows > 0 && columns > 0 {
        let last = (rows - 1) * x.row + (columns - 1) * x.column;
        assert!(last < x.data.len(), "{name} ({rows}, {columns}) does not fit {} elements", x.data.len());
    }
}

/// A matrix B (k, n) packed once for many products: panels of NR columns, each (k, NR). For decoding,
/// where a product has one row per sequence and reading B is most of the cost.
pub struct Packed {
    panels: Vec<f32>,
    k: usize,
    n: usize,
}

impl Packed {
    /// Packs B (k, n).
    pub fn new(k: usize, n: usize, b: Matrix) -> Self {
        assert!(k > 0, "packing a matrix without rows");
        check("B", b, k, n);
        let mut panels = vec![0.0; k * n.div_ceil(NR) * NR];
        // Split over panels: each is a copy of its own columns.
        par::for_each(par::rows(&mut panels, (k * NR).max(1)), 4, |first, panels| {
            pack_columns(b, 0, k, first * NR..n, panels.data);
        });
        Packed { panels, k, n }
    }

    /// Columns of B.
    pub fn columns(&self) -> usize {
        self.n
    }

    /// Bytes of the packed matrix.
    pub fn bytes(&self) -> usize {
        size_of_val(&self.panels[..])
    }

    /// `C = init + A B`, bit for bit [`gemm`], for row-major A (m, k) and C (m, n).
    pub fn multiply(&self, a: &[f32], init: Init, c: &mut [f32]) {
        let (k, n) = (self.k, self.n);
        let m = a.len() / k;
        assert_eq!((m * k, m * n), (a.len(), c.len()), "A or C is no {m} rows of {k} or {n}");
        if n == 0 {
            return;
        }
        // Some ten microseconds, of reading B for few rows and of multiplying for many.
        let grain = (256 * 1024 / (k * NR * m.max(4))).max(1);
        // Split over panels of columns: together the threads read B once for all rows.
        par::for_each(par::columns(c, n, NR), grain, |first, mut c| {
            let (panels, init) = (&self.panels[first * k * NR..], init.at_column(first * NR));
            // Some dozens of rows at a time: their part of A stays in the nearer caches, and a panel of B is
            // fetched once for all of them.
            for (a, c) in a.chunks(ROWS * k).zip(c.rows.chunks_mut(ROWS)) {
                rows_times_panels(a, panels, k, init, c);
            }
        });
    }
}

/// Rows that are multiplied with a panel of a [`Packed`] matrix before the next.
const ROWS: usize = 48;

/// `C = init + A B` for some rows of A (m, k), read where they are: for so few, packing them is not worth it.
fn rows_times_panels(a: &[f32], panels: &[f32], k: usize, init: Init, c: &mut [&mut [f32]]) {
    if let [c] = c {
        initialise(init, c);
        return row_times_panels(a, panels, k * NR, c);
    }
    // Tiles of equal height, not whole ones and a rest: a low tile leaves multipliers waiting.
    let (m, n) = (c.len(), c[0].len());
    let tiles = m.div_ceil(MR);
    for (j, panel) in (0..n).step_by(NR).zip(panels.chunks_exact(k * NR)) {
        let (columns, init) = (j..n.min(j + NR), init.at_column(j));
        for tile in 0..tiles {
            let rows = tile * m / tiles..(tile + 1) * m / tiles;
            let (a, c, columns) = (&a[rows.start * k..rows.end * k], &mut c[rows], columns.clone());
            match c.len() {
                1 => low_tile::<1>(a, panel, init, c, columns),
                2 => low_tile::<2>(a, panel, init, c, columns),
                3 => low_tile::<3>(a, panel, init, c, columns),
                4 => low_tile::<4>(a, panel, init, c, columns),
                5 => low_tile::<5>(a, panel, init, c, columns),
                6 => low_tile::<6>(a, panel, init, c, columns),
                // With MR = 12 only.
                7 => low_tile::<7>(a, panel, init, c, columns),
                8 => low_tile::<8>(a, panel, init, c, columns),
                9 => low_tile::<9>(a, panel, init, c, columns),
                10 => low_tile::<10>(a, panel, init, c, columns),
                11 => low_tile::<11>(a, panel, init, c, columns),
                _ => low_tile::<12>(a, panel, init, c, columns),
            }
        }
    }
}

/// R rows of A (R, k) times one panel: `columns` (at most NR) of R rows of C.
fn low_tile<const R: usize>(
    a: &[f32],
    panel: &[f32],
    init: Init,
    c: &mut [&mut [f32]],
    columns: Range<usize>,
) {
    let k = a.len() / R;
    let rows = core::array::from_fn(|i| &a[i * k..][..k]);
    let mut acc: [[[V16; NV]; 1]; R] = core::array::from_fn(|i| {
        let mut start = [0.0; NR];
        match init {
            Init::Zero => {}
            Init::Bias(bias) => copy_padded::<NR>(&mut start, &bias[..columns.len()]),
            Init::Accumulate => copy_padded::<NR>(&mut start, &c[i][columns.clone()]),
        }
        [load_row(&start)]
    });
    chains(rows, [panel], &mut acc);
    for ([acc], c) in acc.iter().zip(c) {
        store_row(acc, &mut c[columns.clone()]);
    }
}

/// `c[j] = c[j] + sum over p of a[p] * B[p][j]`, one chain per column, with B in panels of NR columns that
/// start `stride` floats apart, each at least (a.len(), NR). Four panels go at a time: with fewer chains
/// in flight the multipliers would wait for each other.
pub(crate) fn row_times_panels(a: &[f32], panels: &[f32], stride: usize, c: &mut [f32]) {
    for (group, c) in c.chunks_mut(4 * NR).enumerate() {
        let panels = &panels[group * 4 * stride..];
        match c.len().div_ceil(NR) {
            1 => wide_tile::<1>(a, panels, stride, c),
            2 => wide_tile::<2>(a, panels, stride, c),
            3 => wide_tile::<3>(a, panels, stride, c),
            _ => wide_tile::<4>(a, panels, stride, c),
        }
    }
}

/// One row of A times P panels.
fn wide_tile<const P: usize>(a: &[f32], panels: &[f32], stride: usize, c: &mut [f32]) {
    let panels = core::array::from_fn(|q| &panels[q * stride..][..a.len() * NR]);
    let mut acc: [[[V16; NV]; P]; 1] = [core::array::from_fn(|q| {
        let mut start = [0.0; NR];
        copy_padded::<NR>(&mut start, &c[q * NR..c.len().min((q + 1) * NR)]);
        load_row(&start)
    })];
    chains([a], panels, &mut acc);
    for (acc, c) in acc[0].iter().zip(c.chunks_mut(NR)) {
        store_row(acc, c);
    }
}

/// The inner loop of few rows: one step of every chain of R rows and P panels per element of depth.
#[inline(always)]
fn chains<const R: usize, const P: usize>(
    a: [&[f32]; R],
    panels: [&[f32]; P],
    acc: &mut [[[V16; NV]; P]; R],
) {
    // Some steps at a time, so that lengths are compared once for all of them.
    const AT_ONCE: usize = 4;
    let depth = a[0].len();
    let whole = depth / AT_ONCE * AT_ONCE;
    let mut sums = *acc;
    for p in (0..whole).step_by(AT_ONCE) {
        steps::<R, P, AT_ONCE>(&a, &panels, p, &mut sums);
    }
    for p in whole..depth {
        steps::<R, P, 1>(&a, &panels, p, &mut sums);
    }
    *acc = sums;
}

/// S steps from depth p on.
#[inline(always)]
fn steps<const R: usize, const P: usize, const S: usize>(
    a: &[&[f32]; R],
    panels: &[&[f32]; P],
    p: usize,
    sums: &mut [[[V16; NV]; P]; R],
) {
    let a: [&[f32; S]; R] = core::array::from_fn(|i| a[i][p..].first_chunk().expect("S steps"));
    let b: [&[f32]; P] = core::array::from_fn(|q| &panels[q][p * NR..][..S * NR]);
    for s in 0..S {
        let b: [[V16; NV]; P] = core::array::from_fn(|q| load_row(&b[q][s * NR..]));
        for i in 0..R {
            let a = V16::splat(a[i][s]);
            for q in 0..P {
                for v in 0..NV {
                    sums[i][q][v] = a.fma(b[q][v], sums[i][q][v]);
                }
            }
        }
    }
}

/// The first numbers of a row of a tile become `c`.
#[inline(always)]
fn store_row(row: &[V16; NV], c: &mut [f32]) {
    if c.len() == NR {
        (0..NV).for_each(|v| row[v].store(&mut c[v * LANES..]));
        return;
    }
    let mut wide = [0.0; NR];
    (0..NV).for_each(|v| row[v].store(&mut wide[v * LANES..]));
    c.copy_from_slice(&wide[..c.len()]);
}

/// The scalar definition: the oracle of the tests.
pub fn gemm_definition(m: usize, n: usize, k: usize, a: Matrix, b: Matrix, init: Init, c: &mut [f32]) {
    for i in 0..m {
        for j in 0..n {
            let mut acc = match init {
                Init::Zero => 0.0,
                Init::Bias(bias) => bias[j],
                Init::Accumulate => c[i * n + j],
            };
            for p in 0..k {
                let (a, b) = (a.data[i * a.row + p * a.column], b.data[p * b.row + j * b.column]);
                acc = crate::num::math::fma(a, b, acc);
            }
            c[i * n + j] = acc;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::rng::{Purpose, Rng, Stage};
    use proptest::prelude::*;

    fn noise(seed: u64, n: usize) -> Vec<f32> {
        let mut rng = Rng::at(seed, Stage::Test, Purpose::Test, 0, 0, 0);
        (0..n).map(|_| rng.normal()).collect()
    }

    fn bits(xs: &[f32]) -> Vec<u32> {
        xs.iter().map(|x| x.to_bits()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn fast_equals_definition(
            m in 0usize..70, n in 0usize..100, k in 0usize..40, deep in 0usize..4,
            transpose_a: bool, transpose_b: bool, start in 0usize..3, threads in 1usize..4, seed: u64,
        ) {
            let k = k + deep * 130; // to cross a block of depth now and then
            let (a, b) = (noise(seed, m * k), noise(seed + 1, k * n));
            let (bias, start_c) = (noise(seed + 2, n), noise(seed + 3, m * n));
            let a_view = if transpose_a { Matrix::transposed(&a, m) } else { Matrix::new(&a, k) };
            let b_view = if transpose_b { Matrix::transposed(&b, k) } else { Matrix::new(&b, n) };
            let init = [Init::Zero, Init::Bias(&bias), Init::Accumulate][start];
            let (mut fast, mut defined) = (start_c.clone(), start_c.clone());
            par::with_threads(threads, || gemm(m, n, k, a_view, b_view, init, &mut fast));
            gemm_definition(m, n, k, a_view, b_view, init, &mut defined);
            prop_assert_eq!(bits(&fast), bits(&defined));
            if !transpose_a && m > 0 && k > 0 {
                let mut packed = start_c.clone();
                par::with_threads(threads, || Packed::new(k, n, b_view).multiply(&a, init, &mut packed));
                prop_assert_eq!(bits(&packed), bits(&defined));
            }
        }
    }

    #[test]
    fn packing_is_a_copy_for_every_width_and_stride() {
        fn check<const W: usize>() {
            let data = noise(1, 60 * 60);
            for (deep, wide) in [(1, 60), (60, 1), (2, 60)] {
                for (depth, width) in [(1, W), (8, W), (29, W), (24, W - 1), (5, 1), (3, 0)] {
                    let mut panel = vec![f32::NAN; depth * W];
                    pack::<W>(&data, 3, deep, wide, width, &mut panel);
                    for (i, x) in panel.iter().enumerate() {
                        let (p, w) = (i / W, i % W);
                        let expected = if w < width { data[3 + p * deep + w * wide] } else { 0.0 };
                        assert_eq!(x.to_bits(), expected.to_bits(), "{W} wide, {depth} deep, at ({p}, {w})");
                    }
                }
            }
        }
        // The tiles' widths of every target.
        check::<6>();
        check::<12>();
        check::<16>();
        check::<32>();
    }

    #[test]
    fn blocks_of_every_kind_equal_the_definition() {
        // Larger than every block size at once, with tails.
        let (m, n, k) = (2 * MC + 5, NC + NR + 3, KC + 7);
        let (a, b) = (noise(1, m * k), noise(2, k * n));
        let (mut fast, mut defined) = (vec![0.0; m * n], vec![0.0; m * n]);
        par::with_threads(3, || gemm(m, n, k, Matrix::new(&a, k), Matrix::new(&b, n), Init::Zero, &mut fast));
        gemm_definition(m, n, k, Matrix::new(&a, k), Matrix::new(&b, n), Init::Zero, &mut defined);
        assert_eq!(bits(&fast), bits(&defined));
    }

    #[test]
    fn a_single_row_equals_the_same_row_among_others() {
        let (m, n, k) = (19, 8 * NR + 5, 77);
        let (a, b) = (noise(1, m * k), noise(2, k * n));
        let packed = Packed::new(k, n, Matrix::new(&b, n));
        let mut together = vec![0.0; m * n];
        packed.multiply(&a, Init::Zero, &mut together);
        for (a, row) in a.chunks(k).zip(together.chunks(n)) {
            let mut alone = vec![0.0; n];
            packed.multiply(a, Init::Zero, &mut alone);
            assert_eq!(bits(&alone), bits(row));
        }
    }
}
