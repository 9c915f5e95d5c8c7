//! The register tile: `MR x NR` chains of a product, whose sums stay in registers over the whole depth. All products of
//! many rows end here, and the inner loops of attention.

use super::operands::Operands;
#[cfg(all(target_arch = "x86_64", target_feature = "avx512f"))]
use crate::num::simd::avx512;
use crate::num::simd::{LANES, V16, prefetch_second};

/// Rows of the register tile. 12 x 32 with AVX-512's 32 registers (24 accumulators), 6 x 16 with 16
/// registers of half the width (12 accumulators); larger tiles spill and are three times slower.
pub(crate) const MR: usize = if cfg!(target_feature = "avx512f") { 12 } else { 6 };
/// Vectors a tile is wide.
pub(crate) const NV: usize = if cfg!(target_feature = "avx512f") { 2 } else { 1 };
/// Columns of the register tile.
pub(crate) const NR: usize = NV * LANES;
#[cfg(all(target_arch = "x86_64", target_feature = "avx512f"))]
const _: () = assert!(MR == avx512::MR && NR == avx512::NR);
/// Words of depth after which a tile asks for another part of the next panel of B.
const STRIDE: usize = 8;

/// One step of every chain of the tile per word of depth, for panels of A (words * STEPS, MR) and B (words, NR). C has MR
/// rows of NR columns, `stride` apart; each starts as the row `start`, or goes on with what it holds.
///
/// `next` is what will be read after the panels; it is brought to the second-level cache meanwhile, as a panel of B that
/// many tiles read has to come from further away the first time: products became 1.03 to 1.08 times as fast (AVX-512).
#[inline(always)]
pub(crate) fn tile<O: Operands>(
    a_panel: &[f32],
    b_panel: &[f32],
    next: &[f32],
    start: Option<&[f32; NR]>,
    c: &mut [f32],
    stride: usize,
) {
    #[cfg(all(target_arch = "x86_64", target_feature = "avx512f"))]
    let (a_panel, b_panel, next, start) = if O::PLAIN {
        match avx512::multiply_add(a_panel, b_panel, next, start, c, stride) {
            0 => (a_panel, b_panel, next, start),
            words if words * NR == b_panel.len() => return,
            words => (&a_panel[words * MR..], &b_panel[words * NR..], &next[..0], None),
        }
    } else {
        (a_panel, b_panel, next, start)
    };
    let mut acc = [[V16::ZERO; NV]; MR];
    match start {
        Some(row) => acc = [load_row(row); MR],
        None => (0..MR).for_each(|i| acc[i] = load_row(&c[i * stride..])),
    }
    let least = O::least_exponent(a_panel) + O::least_exponent(b_panel);
    if O::may_underflow(least, acc.as_flattened()) {
        chains::<O, true>(a_panel, b_panel, next, &mut acc);
    } else {
        chains::<O, false>(a_panel, b_panel, next, &mut acc);
    }
    for i in 0..MR {
        for v in 0..NV {
            acc[i][v].store(&mut c[i * stride + v * LANES..]);
        }
    }
}

#[inline(always)]
fn chains<O: Operands, const UNDERFLOW: bool>(
    a_panel: &[f32],
    b_panel: &[f32],
    next: &[f32],
    acc: &mut [[V16; NV]; MR],
) {
    // No `map`: calls of it stay calls, and the accumulators go through memory (measured: 5 to 10 % of a product).
    let mut sums = *acc;
    for sum in sums.as_flattened_mut() {
        *sum = O::start(*sum);
    }
    // Evenly spread: a burst would wait for the memory. LANES floats are a cache line.
    let lines = next.len().div_ceil(LANES).div_ceil(b_panel.len().div_ceil(STRIDE * NR).max(1));
    let mut ahead = next.chunks((lines * LANES).max(1));
    for (a, b) in a_panel.chunks(STRIDE * O::STEPS * MR).zip(b_panel.chunks(STRIDE * NR)) {
        ahead.next().unwrap_or_default().chunks(LANES).for_each(prefetch_second);
        for (a, b) in a.chunks_exact(O::STEPS * MR).zip(b.chunks_exact(NR)) {
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
    }
    *acc = sums;
}

/// Runs `body` on MR rows of NR columns of which C has only `rows` and `columns`: on a padded copy, whose padding is not
/// written back.
pub(crate) fn padded(
    c: &mut [f32],
    stride: usize,
    rows: usize,
    columns: usize,
    body: impl FnOnce(&mut [f32]),
) {
    let mut edge = [[0.0; NR]; MR];
    for (edge, c) in edge.iter_mut().zip(c.chunks(stride)).take(rows) {
        edge[..columns].copy_from_slice(&c[..columns]);
    }
    body(edge.as_flattened_mut());
    for (edge, c) in edge.iter().zip(c.chunks_mut(stride)).take(rows) {
        c[..columns].copy_from_slice(&edge[..columns]);
    }
}

/// The first NR numbers.
#[inline(always)]
pub(super) fn load_row(row: &[f32]) -> [V16; NV] {
    core::array::from_fn(|v| V16::load(&row[v * LANES..]))
}
