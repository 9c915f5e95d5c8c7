//! Packing: the parts of a matrix that a product reads next, copied into the order in which it reads them. A panel
//! is (words, W): for each word of depth the W rows of A, or columns of B, that a tile is high or wide, zero-padded.
//! What the words are, the [`Operands`] say.

use core::ops::Range;

use super::depth::{Block, Segment};
use super::operands::Operands;
use super::tile::{MR, NR};
use crate::engine::Matrix;
use crate::num::simd::transpose_8x8;

/// Packs the rows `depth` of `columns` of B into as many panels (words, NR) as there are.
pub(crate) fn pack_columns<O: Operands>(b: Matrix, depth: &Block, columns: Range<usize>, panels: &mut [f32]) {
    let panel = depth.words() * NR;
    if b.column != 1 {
        for (panel, j) in panels.chunks_exact_mut(panel).zip(columns.clone().step_by(NR)) {
            let width = NR.min(columns.end - j);
            pack_words::<O, NR, false>(b.data, j * b.column, b.row, b.column, width, depth, panel);
        }
        return;
    }
    // Several panels side by side: a row is read on, not 64 bytes of it and then the next.
    const AT_ONCE: usize = 16;
    for (panels, j) in panels.chunks_mut(AT_ONCE * panel).zip(columns.clone().step_by(AT_ONCE * NR)) {
        let width = (columns.end - j).min(panels.len() / depth.words());
        for Segment { word, row, rows } in depth.segments() {
            for (word, p) in (word..).zip((0..rows).step_by(O::DEEP)) {
                let row_at = |p: usize| &b.data[(row + p) * b.row + j..][..width];
                let panels = panels.chunks_exact_mut(panel).map(|panel| &mut panel[word * NR..]);
                if O::DEEP == 1 {
                    panels.zip(row_at(p).chunks(NR)).for_each(|(to, from)| copy_padded::<NR>(to, from));
                } else {
                    // The last of an odd number of rows has +0 beside it.
                    let next = if p + 1 < rows { row_at(p + 1) } else { &[] };
                    let next = next.chunks(NR).chain(core::iter::repeat(&[][..]));
                    for (to, (row, next)) in panels.zip(row_at(p).chunks(NR).zip(next)) {
                        let (mut from, mut below) = ([0.0; NR], [0.0; NR]);
                        copy_padded::<NR>(&mut from, row);
                        copy_padded::<NR>(&mut below, next);
                        to[..NR].copy_from_slice(&core::array::from_fn::<_, NR, _>(|w| {
                            O::right(from[w], below[w])
                        }));
                    }
                }
            }
        }
    }
}

/// Packs `rows` (at most MR) rows of A from row `i` as (words * STEPS, MR).
pub(crate) fn pack_rows<O: Operands>(a: Matrix, i: usize, depth: &Block, rows: usize, panel: &mut [f32]) {
    pack_words::<O, MR, true>(a.data, i * a.row, a.column, a.row, rows, depth, panel);
}

/// The words of [`pack`]'s elements `depth`, A's or B's.
#[inline(always)]
fn pack_words<O: Operands, const W: usize, const LEFT: bool>(
    data: &[f32],
    start: usize,
    deep: usize,
    wide: usize,
    width: usize,
    depth: &Block,
    panel: &mut [f32],
) {
    for Segment { word, row, rows } in depth.segments() {
        let width_of_word = if LEFT { O::STEPS * W } else { W };
        let words = &mut panel[word * width_of_word..][..rows.div_ceil(O::DEEP) * width_of_word];
        let start = start + row * deep;
        if O::DEEP == 1 {
            pack::<W>(data, start, deep, wide, width, words);
            continue;
        }
        // Packed as they are first, a few at a time, which stay in the nearest cache.
        const FEW: usize = 64;
        let mut elements = [[0.0; W]; FEW];
        for (words, p) in words.chunks_mut(FEW / O::DEEP * width_of_word).zip((0..rows).step_by(FEW)) {
            let few = FEW.min(rows - p);
            pack::<W>(data, start + p * deep, deep, wide, width, elements[..few].as_flattened_mut());
            elements[few..].fill([0.0; W]);
            for (words, pair) in words.chunks_exact_mut(width_of_word).zip(elements.chunks_exact(O::DEEP)) {
                let (elements, next) = (&pair[0], &pair[1]);
                for (step, words) in words.chunks_exact_mut(W).enumerate() {
                    words.copy_from_slice(&core::array::from_fn::<_, W, _>(|w| match LEFT {
                        true => O::left(elements[w], next[w], step),
                        false => O::right(elements[w], next[w]),
                    }));
                }
            }
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::rng::{Purpose, Rng, Stage};
    use alloc::vec;
    use alloc::vec::Vec;

    #[test]
    fn packing_is_a_copy_for_every_width_and_stride() {
        fn check<const W: usize>() {
            let mut rng = Rng::at(1, Stage::Test, Purpose::Test, 0, 0, 0);
            let data: Vec<f32> = (0..60 * 60).map(|_| rng.normal()).collect();
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
}
