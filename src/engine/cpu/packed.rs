//! Products of few rows with a matrix that was packed once: decoding, where a product has a row per sequence and
//! reading B is most of the cost. The chains are [`super::gemm`]'s.

use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use super::depth::{Block, Depth};
use super::gemm::{at_column, check, initialise};
use super::operands::{Bf16, F32, Operands};
use super::pack::{copy_padded, pack_columns};
use super::tile::{MR, NR, NV, load_row};
use crate::engine::{Init, Matrix, Precision};
use crate::num::par;
use crate::num::scratch::{self, Use};
use crate::num::simd::{LANES, V16, prefetch};

/// A matrix B (k, n) packed once for many products: panels of NR columns, each (words of k, NR).
pub struct Packed {
    precision: Precision,
    panels: Vec<f32>,
    least_exponent: i32,
    k: usize,
    n: usize,
}

impl Packed {
    /// Packs B (k, n).
    pub fn new(precision: Precision, k: usize, n: usize, b: Matrix) -> Self {
        assert!(k > 0, "packing a matrix without rows");
        check("B", b, k, n);
        let (panels, least_exponent) = match precision {
            Precision::F32 | Precision::Tf32 => pack::<F32>(k, n, b),
            Precision::Bf16 | Precision::Bf16Fast => pack::<Bf16>(k, n, b),
        };
        Packed { precision, panels, least_exponent, k, n }
    }

    /// Columns of B.
    pub fn columns(&self) -> usize {
        self.n
    }

    /// Bytes of the packed matrix.
    pub fn bytes(&self) -> usize {
        size_of_val(&self.panels[..])
    }

    /// `C = init + A B`, bit for bit [`gemm`](super::gemm::gemm), for row-major A (m, k) and C (m, n).
    pub fn multiply(&self, a: &[f32], init: Init, c: &mut [f32]) {
        let (k, n) = (self.k, self.n);
        let m = a.len() / k;
        assert_eq!((m * k, m * n), (a.len(), c.len()), "A or C is no {m} rows of {k} or {n}");
        if m == 0 || n == 0 {
            return;
        }
        match self.precision {
            Precision::F32 | Precision::Tf32 => self.multiply_words::<F32>(m, a, init, c),
            Precision::Bf16 | Precision::Bf16Fast => {
                let words = k.div_ceil(Bf16::DEEP) * Bf16::STEPS;
                scratch::with(Use::PackA, m * words, |left| {
                    // Split over rows.
                    let grain = (16 * 1024 / words).max(1);
                    par::for_each(par::rows(left, words), grain, |first, left| {
                        for (left, a) in left.data.chunks_exact_mut(words).zip(a[first * k..].chunks_exact(k))
                        {
                            pack_row::<Bf16>(a, left);
                        }
                    });
                    self.multiply_words::<Bf16>(m, left, init, c);
                });
            }
        }
    }

    /// The words of A, (m, words * STEPS), times the panels.
    fn multiply_words<O: Operands>(&self, m: usize, a: &[f32], init: Init, c: &mut [f32]) {
        let (n, words, width) = (self.n, self.k.div_ceil(O::DEEP), a.len() / m);
        let least = O::least_exponent(a) + self.least_exponent;
        // Some twenty microseconds, of reading B for few rows and of multiplying for many.
        let grain = (512 * 1024 / (words * NR * m.max(4))).max(1);
        // Split over panels of columns: together the threads read B once for all rows.
        par::for_each(par::columns(c, n, NR), grain, |first, mut c| {
            let (panels, init) = (&self.panels[first * words * NR..], at_column(init, first * NR));
            // Some dozens of rows at a time: their part of A stays in the nearer caches, and a panel of B is
            // fetched once for all of them.
            for (a, c) in a.chunks(ROWS * width).zip(c.rows.chunks_mut(ROWS)) {
                rows_times_panels::<O>(a, panels, least, init, c);
            }
        });
    }
}

/// Rows that are multiplied with a panel of a [`Packed`] matrix before the next.
const ROWS: usize = 48;

/// The panels of B, and the least exponent in them.
fn pack<O: Operands>(k: usize, n: usize, b: Matrix) -> (Vec<f32>, i32) {
    let whole: Block = Depth::from(k).block(O::DEEP, 0..k.div_ceil(O::DEEP));
    let mut panels = vec![0.0; whole.words() * n.div_ceil(NR) * NR];
    // Split over panels: each is a copy of its own columns.
    par::for_each(par::rows(&mut panels, whole.words() * NR), 4, |first, panels| {
        pack_columns::<O>(b, &whole, first * NR..n, panels.data);
    });
    let least = O::least_exponent(&panels);
    (panels, least)
}

/// The words of one row of A.
fn pack_row<O: Operands>(a: &[f32], left: &mut [f32]) {
    for (words, elements) in left.chunks_exact_mut(O::STEPS).zip(a.chunks(O::DEEP)) {
        let next = elements.get(1).copied().unwrap_or(0.0);
        words.iter_mut().enumerate().for_each(|(step, word)| *word = O::left(elements[0], next, step));
    }
}

/// `C = init + A B` for some rows of A (m, words * STEPS), which are read where they are: for so few, packing them
/// in panels is not worth it.
fn rows_times_panels<O: Operands>(a: &[f32], panels: &[f32], least: i32, init: Init, c: &mut [&mut [f32]]) {
    let width = a.len() / c.len();
    let panel = width / O::STEPS * NR;
    if let [c] = c {
        initialise(init, c);
        return row_times_panels::<O>(a, panels, least, panel, c);
    }
    // Tiles of equal height, not whole ones and a rest: a low tile leaves multipliers waiting.
    let (m, n) = (c.len(), c[0].len());
    let tiles = m.div_ceil(MR);
    for (j, (index, panel)) in (0..n).step_by(NR).zip(panels.chunks_exact(panel).enumerate()) {
        let (columns, init) = (j..n.min(j + NR), at_column(init, j));
        // Several tiles read this panel, all but the first from a cache; each asks for its share of the next one.
        let next = (tiles > 1).then(|| panels.get((index + 1) * panel.len()..(index + 2) * panel.len()));
        let next = next.flatten().unwrap_or_default();
        for tile in 0..tiles {
            let share = |len: usize| tile * len / tiles..(tile + 1) * len / tiles;
            let (rows, next) = (share(m), &next[share(next.len())]);
            let (a, c, columns) = (&a[rows.start * width..rows.end * width], &mut c[rows], columns.clone());
            match c.len() {
                1 => low_tile::<O, 1>(a, panel, next, least, init, c, columns),
                2 => low_tile::<O, 2>(a, panel, next, least, init, c, columns),
                3 => low_tile::<O, 3>(a, panel, next, least, init, c, columns),
                4 => low_tile::<O, 4>(a, panel, next, least, init, c, columns),
                5 => low_tile::<O, 5>(a, panel, next, least, init, c, columns),
                6 => low_tile::<O, 6>(a, panel, next, least, init, c, columns),
                // With MR = 12 only.
                7 => low_tile::<O, 7>(a, panel, next, least, init, c, columns),
                8 => low_tile::<O, 8>(a, panel, next, least, init, c, columns),
                9 => low_tile::<O, 9>(a, panel, next, least, init, c, columns),
                10 => low_tile::<O, 10>(a, panel, next, least, init, c, columns),
                11 => low_tile::<O, 11>(a, panel, next, least, init, c, columns),
                _ => low_tile::<O, 12>(a, panel, next, least, init, c, columns),
            }
        }
    }
}

/// R rows of A (R, words * STEPS) times one panel: `columns` (at most NR) of R rows of C. `next` is prefetched.
fn low_tile<O: Operands, const R: usize>(
    a: &[f32],
    panel: &[f32],
    next: &[f32],
    least: i32,
    init: Init,
    c: &mut [&mut [f32]],
    columns: Range<usize>,
) {
    let width = a.len() / R;
    let rows = core::array::from_fn(|i| &a[i * width..][..width]);
    let mut acc: [[[V16; NV]; 1]; R] = core::array::from_fn(|i| {
        let mut start = [0.0; NR];
        match init {
            Init::Zero => {}
            Init::Bias(bias) => copy_padded::<NR>(&mut start, &bias[..columns.len()]),
            Init::Accumulate => copy_padded::<NR>(&mut start, &c[i][columns.clone()]),
        }
        [load_row(&start)]
    });
    chains::<O, R, 1>(rows, [panel], next, least, &mut acc);
    for ([acc], c) in acc.iter().zip(c) {
        store_row(acc, &mut c[columns.clone()]);
    }
}

/// `c[j] = c[j] + sum over p of a[p] * B[p][j]`, one chain per column, with B in panels of NR columns that
/// start `stride` words apart, each at least (a's words, NR), and `least` at most the sum of A's and B's least
/// exponents. Four panels go at a time: with fewer chains in flight the multipliers would wait for each other.
pub(crate) fn row_times_panels<O: Operands>(
    a: &[f32],
    panels: &[f32],
    least: i32,
    stride: usize,
    c: &mut [f32],
) {
    for (group, c) in c.chunks_mut(4 * NR).enumerate() {
        let panels = &panels[group * 4 * stride..];
        match c.len().div_ceil(NR) {
            1 => wide_tile::<O, 1>(a, panels, least, stride, c),
            2 => wide_tile::<O, 2>(a, panels, least, stride, c),
            3 => wide_tile::<O, 3>(a, panels, least, stride, c),
            _ => wide_tile::<O, 4>(a, panels, least, stride, c),
        }
    }
}

/// One row of A times P panels.
fn wide_tile<O: Operands, const P: usize>(
    a: &[f32],
    panels: &[f32],
    least: i32,
    stride: usize,
    c: &mut [f32],
) {
    let panels = core::array::from_fn(|q| &panels[q * stride..][..a.len() / O::STEPS * NR]);
    let mut acc: [[[V16; NV]; P]; 1] = [core::array::from_fn(|q| {
        let mut start = [0.0; NR];
        copy_padded::<NR>(&mut start, &c[q * NR..c.len().min((q + 1) * NR)]);
        load_row(&start)
    })];
    chains::<O, 1, P>([a], panels, &[], least, &mut acc);
    for (acc, c) in acc[0].iter().zip(c.chunks_mut(NR)) {
        store_row(acc, c);
    }
}

/// The inner loop of few rows: the steps of every chain of R rows and P panels over all words of depth. Meanwhile it
/// prefetches `next`: of 8 and 16 rows that come from memory, products became 1.1 to 1.3 times as fast.
#[inline(always)]
fn chains<O: Operands, const R: usize, const P: usize>(
    a: [&[f32]; R],
    panels: [&[f32]; P],
    next: &[f32],
    least: i32,
    acc: &mut [[[V16; NV]; P]; R],
) {
    if O::may_underflow(least, acc.as_flattened().as_flattened()) {
        chains_of::<O, true, R, P>(a, panels, next, acc);
    } else {
        chains_of::<O, false, R, P>(a, panels, next, acc);
    }
}

#[inline(always)]
fn chains_of<O: Operands, const UNDERFLOW: bool, const R: usize, const P: usize>(
    a: [&[f32]; R],
    panels: [&[f32]; P],
    next: &[f32],
    acc: &mut [[[V16; NV]; P]; R],
) {
    // Some words at a time, so that lengths are compared once for all of them.
    const AT_ONCE: usize = 4;
    let words = a[0].len() / O::STEPS;
    let whole = words / AT_ONCE * AT_ONCE;
    let mut sums = *acc;
    for sum in sums.as_flattened_mut().as_flattened_mut() {
        *sum = O::start(*sum);
    }
    // Evenly spread: a burst would wait for the memory. LANES floats are a cache line.
    let lines = next.len().div_ceil(LANES).div_ceil((whole / AT_ONCE).max(1));
    let mut ahead = next.chunks((lines * LANES).max(1));
    for word in (0..whole).step_by(AT_ONCE) {
        ahead.next().unwrap_or_default().chunks(LANES).for_each(prefetch);
        steps::<O, UNDERFLOW, R, P, AT_ONCE>(&a, &panels, word, &mut sums);
    }
    for word in whole..words {
        steps::<O, UNDERFLOW, R, P, 1>(&a, &panels, word, &mut sums);
    }
    *acc = sums;
}

/// The steps over W words from `word` on.
#[inline(always)]
fn steps<O: Operands, const UNDERFLOW: bool, const R: usize, const P: usize, const W: usize>(
    a: &[&[f32]; R],
    panels: &[&[f32]; P],
    word: usize,
    sums: &mut [[[V16; NV]; P]; R],
) {
    let a: [&[f32]; R] = core::array::from_fn(|i| &a[i][word * O::STEPS..][..W * O::STEPS]);
    let b: [&[f32]; P] = core::array::from_fn(|q| &panels[q][word * NR..][..W * NR]);
    for w in 0..W {
        for step in 0..O::STEPS {
            let mut parts = [[V16::ZERO; NV]; P];
            for q in 0..P {
                for v in 0..NV {
                    parts[q][v] = O::part(V16::load(&b[q][w * NR + v * LANES..]), step);
                }
            }
            for i in 0..R {
                let a = V16::splat(a[i][w * O::STEPS + step]);
                for q in 0..P {
                    for v in 0..NV {
                        sums[i][q][v] = O::step::<UNDERFLOW>(a, parts[q][v], sums[i][q][v]);
                    }
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
