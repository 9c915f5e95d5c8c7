//! Causal self-attention inside each sequence of a packed batch, dense or banded. The definition's chains are the
//! matrix products' chains, so the code below runs them on the same register tile, a group of `MR` queries at a
//! time; at the ragged ends of the triangle, where the group's rows see different positions, it steps row by row.
//!
//! Buffers are head-major within each sequence: for a sequence of T tokens `(NH, T, HS)`, and the sequences one
//! after the other, written (N; NH, HS) below. A head of a sequence is contiguous, and so is a sequence.
//! [`split_heads`] and [`merge_heads`] go between that and the token rows of the linear layers.

use core::ops::Range;

use crate::engine::Shape;
use crate::engine::cpu::operands::F32;
use crate::engine::cpu::pack::{copy_padded, pack};
use crate::engine::cpu::reduce;
use crate::engine::cpu::row_grain;
use crate::engine::cpu::tile::{MR, NR, NV, padded, tile};
use crate::num::math::exp;
use crate::num::par::{self, Rowwise};
use crate::num::scratch::{self, Use};
use crate::num::simd::{LANES, V16};

mod cache;

pub use cache::{Cache, decode};

/// Query rows whose probabilities the backward holds at a time.
const BLOCK: usize = 4 * MR;

/// Cuts token rows (N, NH * HS), taken from column `from` of rows `width` wide, into heads (N; NH, HS).
pub fn split_heads(heads: &mut [f32], rows: &[f32], width: usize, from: usize, shape: Shape) {
    let hs = shape.head_size;
    // Split over pairs of sequence and head: each copies its own columns of its own rows.
    par::for_each(Pairs::new(heads, shape, hs), 1, |_, mut heads| {
        for pair in heads.pairs.clone() {
            let (sequence, h) = (pair / shape.heads, pair % shape.heads);
            let rows = &rows[(shape.offsets[sequence] - shape.offsets[0]) * width..];
            for (to, row) in heads.of(pair).chunks_exact_mut(hs).zip(rows.chunks_exact(width)) {
                copy(to, &row[from + h * hs..][..hs]);
            }
        }
    });
}

/// The inverse of [`split_heads`]: writes heads (N; NH, HS) into columns `from..` of the token rows.
pub fn merge_heads(rows: &mut [f32], heads: &[f32], width: usize, from: usize, shape: Shape) {
    let hs = shape.head_size;
    let start = |sequence: usize| shape.offsets[sequence] - shape.offsets[0];
    // Split over rows.
    par::for_each(par::rows(rows, width), row_grain(width), |first, rows| {
        let mut sequence = shape.offsets.partition_point(|&o| o - shape.offsets[0] <= first) - 1;
        for (t, row) in (first..).zip(rows.data.chunks_exact_mut(width)) {
            while t >= start(sequence + 1) {
                sequence += 1;
            }
            let tokens = start(sequence + 1) - start(sequence);
            let own = &heads[start(sequence) * shape.heads * hs..];
            for (h, to) in row[from..][..shape.heads * hs].chunks_exact_mut(hs).enumerate() {
                copy(to, &own[(h * tokens + t - start(sequence)) * hs..][..hs]);
            }
        }
    });
}

/// `to = from`, eight at a time: of a row this short, a call of memcpy costs more than the copy.
#[inline(always)]
fn copy(to: &mut [f32], from: &[f32]) {
    let ((to, to_rest), (from, from_rest)) = (to.as_chunks_mut::<8>(), from.as_chunks::<8>());
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
    to_rest.iter_mut().zip(from_rest).for_each(|(to, from)| *to = *from);
}

/// One output of the loop over (sequence, head) pairs, `width` floats per token of each.
struct Pairs<'a> {
    data: &'a mut [f32],
    shape: Shape<'a>,
    width: usize,
    pairs: Range<usize>,
}

impl<'a> Pairs<'a> {
    fn new(data: &'a mut [f32], shape: Shape<'a>, width: usize) -> Self {
        let expected = shape.heads * shape.tokens() * width;
        assert_eq!(data.len(), expected, "not ({}, {}, {width})", shape.heads, shape.tokens());
        Pairs { data, shape, width, pairs: 0..shape.heads * shape.sequences() }
    }

    /// First of the rows, one for each token and head, of a pair.
    fn start(&self, pair: usize) -> usize {
        let Shape { offsets, heads, .. } = self.shape;
        let (sequence, h) = (pair / heads, pair % heads);
        let before = (offsets[sequence] - offsets[0]) * heads;
        if h == 0 { before } else { before + h * (offsets[sequence + 1] - offsets[sequence]) }
    }

    fn of(&mut self, pair: usize) -> &mut [f32] {
        let base = self.start(self.pairs.start);
        let range = (self.start(pair) - base) * self.width..(self.start(pair + 1) - base) * self.width;
        &mut self.data[range]
    }
}

impl Rowwise for Pairs<'_> {
    fn rows(&self) -> usize {
        self.pairs.len()
    }

    fn split_at(self, row: usize) -> (Self, Self) {
        let middle = self.pairs.start + row;
        let cut = (self.start(middle) - self.start(self.pairs.start)) * self.width;
        let (head, tail) = self.data.split_at_mut(cut);
        let part = |data, pairs| Pairs { data, pairs, shape: self.shape, width: self.width };
        (part(head, self.pairs.start..middle), part(tail, middle..self.pairs.end))
    }
}

/// `out = attention(q, k, v)`; q, k, v, out (N; NH, HS); stats (N; NH, 2) receives `m` and `1 / sum` of
/// every query, from which the backward makes the same probabilities again.
pub fn forward(out: &mut [f32], stats: &mut [f32], q: &[f32], k: &[f32], v: &[f32], shape: Shape) {
    let hs = shape.head_size;
    let outputs = (Pairs::new(out, shape, hs), Pairs::new(stats, shape, 2));
    // Split over pairs of sequence and head: each is an attention of its own.
    par::for_each(outputs, 1, |_, (mut out, mut stats)| {
        for pair in out.pairs.clone() {
            let rows = out.start(pair)..out.start(pair + 1);
            let t = rows.len();
            if t == 0 {
                continue;
            }
            let at = rows.start * hs..rows.end * hs;
            let (q, k, v) = (&q[at.clone()], &k[at.clone()], &v[at]);
            let work = Work::sizes(t, hs);
            scratch::with(Use::Attention, work.forward(), |buffer| {
                let [k_columns, v_rows, q_group, scores, weights] =
                    carve(buffer, [work.columns, work.rows, hs * MR, MR * work.span, work.span * MR]);
                pack_columns(k_columns, k, hs);
                pack_rows(v_rows, v, hs);
                for t0 in (0..t).step_by(MR) {
                    let group = t0..(t0 + MR).min(t);
                    pack::<MR>(q, t0 * hs, 1, hs, group.len(), q_group);
                    scores_of(scores, q_group, k_columns, hs, hs * NR, work.span, visible_to(shape, &group));
                    for (i, t) in group.clone().enumerate() {
                        let (m, inverse) = probabilities(&mut scores[i * work.span..], shape, t, None);
                        stats.of(pair)[2 * t..][..2].copy_from_slice(&[m, inverse]);
                    }
                    weigh(out.of(pair), t0, scores, weights, v_rows, shape, group, work);
                }
            });
        }
    });
}

/// Differentiates the three lines of the module's head. With `delta[t] = sum over d of dout[t][d] out[t][d]`:
/// ```text
/// dv[s]     = chain over t ascending of p[t][s] dout[t]
/// dscore    = p[t][s] * (dp[t][s] - delta[t]) * scale,     dp[t][s] = chain over d of dout[t][d] v[s][d]
/// dq[t]     = chain over s ascending of dscore[t][s] k[s]
/// dk[s]     = chain over t ascending of dscore[t][s] q[t]
/// ```
/// All (N; NH, HS); dq, dk, dv are overwritten.
pub fn backward(
    dq: &mut [f32],
    dk: &mut [f32],
    dv: &mut [f32],
    dout: &[f32],
    out: &[f32],
    stats: &[f32],
    q: &[f32],
    k: &[f32],
    v: &[f32],
    shape: Shape,
) {
    let hs = shape.head_size;
    let outputs = (Pairs::new(dq, shape, hs), Pairs::new(dk, shape, hs), Pairs::new(dv, shape, hs));
    // Split over pairs of sequence and head.
    par::for_each(outputs, 1, |_, (mut dq, mut dk, mut dv)| {
        for pair in dq.pairs.clone() {
            let rows = dq.start(pair)..dq.start(pair + 1);
            if rows.is_empty() {
                continue;
            }
            let at = rows.start * hs..rows.end * hs;
            let one = OneHead {
                q: &q[at.clone()],
                k: &k[at.clone()],
                v: &v[at.clone()],
                out: &out[at.clone()],
                dout: &dout[at],
                stats: &stats[rows.start * 2..rows.end * 2],
                shape,
            };
            let (dk, dv) = (dk.of(pair), dv.of(pair));
            dk.fill(0.0);
            dv.fill(0.0);
            one.backward(dq.of(pair), dk, dv);
        }
    });
}

/// The backward of one head of one sequence; all (T, HS) but stats (T, 2).
struct OneHead<'a> {
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    out: &'a [f32],
    dout: &'a [f32],
    stats: &'a [f32],
    shape: Shape<'a>,
}

impl OneHead<'_> {
    fn backward(&self, dq: &mut [f32], dk: &mut [f32], dv: &mut [f32]) {
        let (shape, hs) = (self.shape, self.shape.head_size);
        let tokens = self.q.len() / hs;
        let work = Work::sizes(tokens, hs);
        let span = work.span;
        scratch::with(Use::Attention, work.backward(), |buffer| {
            let [k_columns, v_columns, k_rows, q_rows, dout_rows, group_rows, p, dscore, weights] = carve(
                buffer,
                [
                    work.columns,
                    work.columns,
                    work.rows,
                    work.rows,
                    work.rows,
                    hs * MR,
                    BLOCK * span,
                    BLOCK * span,
                    span.max(BLOCK) * MR,
                ],
            );
            pack_columns(k_columns, self.k, hs);
            pack_columns(v_columns, self.v, hs);
            pack_rows(k_rows, self.k, hs);
            pack_rows(q_rows, self.q, hs);
            pack_rows(dout_rows, self.dout, hs);
            // Blocks of queries in ascending order: the chains of dk and dv go on from block to block.
            for block_start in (0..tokens).step_by(BLOCK) {
                let block = block_start..(block_start + BLOCK).min(tokens);
                for t0 in block.clone().step_by(MR) {
                    let group = t0..(t0 + MR).min(tokens);
                    let seen = visible_to(shape, &group);
                    let p = &mut p[(t0 - block.start) * span..][..MR * span];
                    let dscore = &mut dscore[(t0 - block.start) * span..][..MR * span];
                    pack::<MR>(self.q, t0 * hs, 1, hs, group.len(), group_rows);
                    scores_of(p, group_rows, k_columns, hs, hs * NR, span, seen.clone());
                    pack::<MR>(self.dout, t0 * hs, 1, hs, group.len(), group_rows);
                    scores_of(dscore, group_rows, v_columns, hs, hs * NR, span, seen);
                    for (i, t) in group.clone().enumerate() {
                        let stats = (self.stats[2 * t], self.stats[2 * t + 1]);
                        probabilities(&mut p[i * span..], shape, t, Some(stats));
                        let delta = reduce::dot(&self.dout[t * hs..][..hs], &self.out[t * hs..][..hs]);
                        let scale = shape.scale();
                        let range = shape.visible(t);
                        let (p, d) = (&p[i * span..][range.clone()], &mut dscore[i * span..][range]);
                        for (d, p) in d.iter_mut().zip(p) {
                            *d = p * (*d - delta) * scale;
                        }
                    }
                    weigh(dq, t0, dscore, weights, k_rows, shape, group, work);
                }
                let seen = visible_to(shape, &block);
                for s0 in seen.clone().step_by(MR) {
                    let group = s0..(s0 + MR).min(seen.end);
                    self.spread(dk, dscore, weights, q_rows, &block, group.clone(), work);
                    self.spread(dv, p, weights, dout_rows, &block, group, work);
                }
            }
        });
    }

    /// `sums[s] += chain over t in block of weight[t][s] rows[t]` for the positions s of `group`, each over
    /// the queries t that see it.
    fn spread(
        &self,
        sums: &mut [f32],
        weight: &[f32],
        packed: &mut [f32],
        rows: &[f32],
        block: &Range<usize>,
        group: Range<usize>,
        work: Work,
    ) {
        let hs = self.shape.head_size;
        let window = self.shape.window;
        // Queries that see s: from s itself to the last whose window reaches back to it.
        let seen_by =
            |s: usize| s.max(block.start)..s.saturating_add(window).min(block.end).max(s.max(block.start));
        let depth = block.len();
        for (t, to) in packed.chunks_exact_mut(MR).take(depth).enumerate() {
            copy_padded::<MR>(to, &weight[t * work.span + group.start..][..group.len()]);
        }
        let ranges: [Range<usize>; MR] = core::array::from_fn(|i| {
            let range = seen_by((group.start + i).min(group.end - 1));
            range.start - block.start..range.end - block.start
        });
        for (panel, d) in rows.chunks_exact(work.tokens * NR).zip((0..hs).step_by(NR)) {
            let panel = &panel[block.start * NR..block.end * NR];
            let columns = NR.min(hs - d);
            let sums = &mut sums[group.start * hs + d..];
            ragged(&packed[..depth * MR], panel, sums, hs, group.len(), columns, &ranges);
        }
    }
}

/// `out[t] = chain over the visible s of weight[t][s] rows[s]` for the queries t of `group`, whose rows of `out` begin at
/// `first`; weight is (MR, span) and `packed` (span, MR) takes its transpose.
fn weigh(
    out: &mut [f32],
    first: usize,
    weight: &[f32],
    packed: &mut [f32],
    rows: &[f32],
    shape: Shape,
    group: Range<usize>,
    work: Work,
) {
    let hs = shape.head_size;
    let seen = visible_to(shape, &group);
    let depth = seen.len();
    pack::<MR>(weight, seen.start, 1, work.span, group.len(), &mut packed[..depth * MR]);
    let ranges: [Range<usize>; MR] = core::array::from_fn(|i| {
        let range = shape.visible((group.start + i).min(group.end - 1));
        range.start - seen.start..range.end - seen.start
    });
    for (panel, d) in rows.chunks_exact(work.tokens * NR).zip((0..hs).step_by(NR)) {
        let panel = &panel[seen.start * NR..seen.end * NR];
        let (out, columns) = (&mut out[first * hs + d..], NR.min(hs - d));
        out.chunks_mut(hs).take(group.len()).for_each(|row| row[..columns].fill(0.0));
        ragged(&packed[..depth * MR], panel, out, hs, group.len(), columns, &ranges);
    }
}

/// Carries on the chains of a tile, of which C has the first `rows` rows, `stride` apart, and `columns` columns; row i over
/// the depths `ranges[i]` only: together where all rows take part, else row by row. Starts and ends of the ranges ascend
/// with i.
fn ragged(
    a: &[f32],
    b: &[f32],
    c: &mut [f32],
    stride: usize,
    rows: usize,
    columns: usize,
    ranges: &[Range<usize>; MR],
) {
    if rows < MR || columns < NR {
        return padded(c, stride, rows, columns, |edge| ragged(a, b, edge, NR, MR, NR, ranges));
    }
    let (first, last) = (ranges[0].end, ranges[MR - 1].start);
    if first <= last {
        return step(a, b, c, stride, ranges, 0..usize::MAX);
    }
    step(a, b, c, stride, ranges, 0..last);
    tile::<F32>(&a[last * MR..first * MR], &b[last * NR..first * NR], &[], None, c, stride);
    step(a, b, c, stride, ranges, first..usize::MAX);
}

/// The steps of each row over those of its depths that lie in `among`.
fn step(
    a: &[f32],
    b: &[f32],
    c: &mut [f32],
    stride: usize,
    ranges: &[Range<usize>; MR],
    among: Range<usize>,
) {
    for (i, range) in ranges.iter().enumerate() {
        let c = &mut c[i * stride..][..NR];
        let mut sums: [V16; NV] = core::array::from_fn(|v| V16::load(&c[v * LANES..]));
        for p in range.start.max(among.start)..range.end.min(among.end) {
            let weight = V16::splat(a[p * MR + i]);
            for v in 0..NV {
                sums[v] = weight.fma(V16::load(&b[p * NR + v * LANES..]), sums[v]);
            }
        }
        (0..NV).for_each(|v| sums[v].store(&mut c[v * LANES..]));
    }
}

/// `scores[i][s] = chain over d of group[i][d] column[s][d]`, for the positions of `seen` and perhaps some
/// beside them (whole panels); scores (MR, span), group (HS, MR), columns in panels of (HS, NR) that begin `stride` apart.
fn scores_of(
    scores: &mut [f32],
    group: &[f32],
    columns: &[f32],
    hs: usize,
    stride: usize,
    span: usize,
    seen: Range<usize>,
) {
    for panel in seen.start / NR..seen.end.div_ceil(NR) {
        let column = &columns[panel * stride..][..hs * NR];
        tile::<F32>(group, column, &[], Some(&[0.0; NR]), &mut scores[panel * NR..], span);
    }
}

/// Turns the visible part of a row of raw scores into probabilities; returns `m` and `1 / sum`, or takes
/// them from `known`.
fn probabilities(scores: &mut [f32], shape: Shape, t: usize, known: Option<(f32, f32)>) -> (f32, f32) {
    softmax(&mut scores[shape.visible(t)], shape.scale(), known)
}

fn softmax(scores: &mut [f32], scale: f32, known: Option<(f32, f32)>) -> (f32, f32) {
    scores.iter_mut().for_each(|x| *x *= scale);
    let m = known.map_or_else(|| reduce::max(scores), |known| known.0);
    scores.iter_mut().for_each(|x| *x = exp(*x - m));
    let inverse = known.map_or_else(|| 1.0 / reduce::sum(scores), |known| known.1);
    scores.iter_mut().for_each(|x| *x *= inverse);
    (m, inverse)
}

/// All positions that some query of `group` sees.
fn visible_to(shape: Shape, group: &Range<usize>) -> Range<usize> {
    shape.visible(group.start).start..group.end
}

/// Packs x (T, HS) for products over d: panels of NR positions, each (HS, NR).
fn pack_columns(panels: &mut [f32], x: &[f32], hs: usize) {
    let t = x.len() / hs;
    for (panel, s) in panels.chunks_exact_mut(hs * NR).zip((0..t).step_by(NR)) {
        pack::<NR>(x, s * hs, 1, hs, NR.min(t - s), panel);
    }
}

/// Packs x (T, HS) for products over positions: panels of NR columns, each (T, NR).
fn pack_rows(panels: &mut [f32], x: &[f32], hs: usize) {
    let t = x.len() / hs;
    for (panel, d) in panels.chunks_exact_mut(t * NR).zip((0..hs).step_by(NR)) {
        pack::<NR>(x, d, hs, 1, NR.min(hs - d), panel);
    }
}

/// Sizes of the working memory for one head of a sequence.
#[derive(Clone, Copy)]
struct Work {
    tokens: usize,
    /// Positions rounded up to whole panels.
    span: usize,
    /// Floats of a packing by positions.
    columns: usize,
    /// Floats of a packing by columns.
    rows: usize,
    head_size: usize,
}

impl Work {
    fn sizes(tokens: usize, head_size: usize) -> Self {
        let span = tokens.next_multiple_of(NR);
        Work {
            tokens,
            span,
            columns: span * head_size,
            rows: tokens * head_size.next_multiple_of(NR),
            head_size,
        }
    }

    fn forward(&self) -> usize {
        self.columns + self.rows + self.head_size * MR + 2 * MR * self.span
    }

    fn cached(&self) -> usize {
        self.rows + self.head_size * MR + 2 * MR * self.span
    }

    fn backward(&self) -> usize {
        2 * self.columns
            + 3 * self.rows
            + self.head_size * MR
            + 2 * BLOCK * self.span
            + self.span.max(BLOCK) * MR
    }
}

/// Floats of working memory a thread needs for sequences of up to `tokens`.
pub fn workspace(tokens: usize, head_size: usize) -> usize {
    Work::sizes(tokens, head_size).backward()
}

fn carve<const K: usize>(buffer: &mut [f32], sizes: [usize; K]) -> [&mut [f32]; K] {
    let mut rest = buffer;
    sizes.map(|size| {
        let (part, tail) = core::mem::take(&mut rest).split_at_mut(size);
        rest = tail;
        part
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Heads, plain};
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
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn fast_equals_definition(
            lengths in prop::collection::vec(0usize..75, 1..4), heads in 1usize..4, hs in 1usize..40,
            window in prop_oneof![1usize..9, 20usize..50, Just(1000)], scaled: bool, threads in 1usize..4, seed: u64,
        ) {
            let mut offsets = vec![0];
            lengths.iter().for_each(|t| offsets.push(offsets[offsets.len() - 1] + t));
            let n = offsets[lengths.len()];
            let shape = Shape { offsets: &offsets, heads, head_size: hs, window, scaled };
            let [q, k, v, dout] = core::array::from_fn(|i| noise(seed ^ i as u64, heads * n * hs));
            let [mut out, mut dq, mut dk, mut dv] = core::array::from_fn(|_| vec![f32::NAN; q.len()]);
            let mut stats = vec![0.0; heads * n * 2];
            par::with_threads(threads, || {
                forward(&mut out, &mut stats, &q, &k, &v, shape);
                backward(&mut dq, &mut dk, &mut dv, &dout, &out, &stats, &q, &k, &v, shape);
            });
            let fast = [out, stats, dq, dk, dv];
            let [mut out, mut dq, mut dk, mut dv] = core::array::from_fn(|_| vec![f32::NAN; q.len()]);
            let mut stats = vec![f32::NAN; heads * n * 2];
            plain::attention::forward(&mut out, &mut stats, &q, &k, &v, shape);
            plain::attention::backward(&mut dq, &mut dk, &mut dv, &dout, &out, &stats, &q, &k, &v, shape);
            for (fast, defined) in fast.iter().zip(&[out, stats, dq, dk, dv]) {
                prop_assert_eq!(bits(fast), bits(defined));
            }
        }

        #[test]
        fn decoding_from_the_cache_equals_the_forward(
            lengths in prop::collection::vec(1usize..40, 1..4), heads in 1usize..4, hs in 1usize..70,
            window in prop_oneof![1usize..40, Just(1000)], scaled: bool, threads in 1usize..4, seed: u64,
        ) {
            // Every sequence in two calls.
            let mut offsets = vec![0];
            lengths.iter().for_each(|t| offsets.push(offsets[offsets.len() - 1] + t));
            let (n, c) = (offsets[lengths.len()], heads * hs);
            let qkv = noise(seed, n * 3 * c);
            let shape = Shape { offsets: &offsets, heads, head_size: hs, window, scaled };
            let [mut q, mut k, mut v, mut out] = core::array::from_fn(|_| vec![f32::NAN; n * c]);
            for (part, from) in [&mut q, &mut k, &mut v].into_iter().zip([0, c, 2 * c]) {
                split_heads(part, &qkv, 3 * c, from, shape);
            }
            forward(&mut out, &mut vec![0.0; n * heads * 2], &q, &k, &v, shape);
            let mut expected = vec![f32::NAN; n * c];
            merge_heads(&mut expected, &out, c, 0, shape);

            let capacity = lengths.iter().max().unwrap() + 3;
            let all = Heads { count: heads, size: hs, window, scaled };
            let slots: Vec<usize> = (0..lengths.len()).map(|sequence| 2 * sequence + 1).collect();
            // Another layer's and other slots' caches lie between.
            let mut cache = Cache::new(2, 2 * lengths.len(), all, capacity);
            let mut plain_cache = plain::attention::Cache::new(2, 2 * lengths.len(), all, capacity);
            for half in 0..2 {
                let parts: Vec<Range<usize>> = lengths
                    .iter()
                    .map(|&t| if half == 0 { 0..t.div_ceil(2) } else { t.div_ceil(2)..t })
                    .collect();
                let mut some_offsets = vec![0];
                parts.iter().for_each(|part| some_offsets.push(some_offsets[some_offsets.len() - 1] + part.len()));
                let some = Shape { offsets: &some_offsets, ..shape };
                let rows: Vec<usize> =
                    parts.iter().zip(&offsets).flat_map(|(part, start)| part.clone().map(move |t| start + t)).collect();
                let positions: Vec<u32> = parts.iter().cloned().flatten().map(|t| t as u32).collect();
                let qkv: Vec<f32> = rows.iter().flat_map(|row| &qkv[row * 3 * c..][..3 * c]).copied().collect();
                let [mut out, mut plain_out, mut found] = core::array::from_fn(|_| vec![f32::NAN; rows.len() * c]);
                par::with_threads(threads, || decode(&mut out, &mut cache, 1, &slots, &qkv, &positions, some));
                plain::attention::decode(&mut plain_out, &mut plain_cache, 1, &slots, &qkv, &positions, some);
                prop_assert_eq!(bits(&out), bits(&plain_out));
                merge_heads(&mut found, &out, c, 0, some);
                for (row, found) in rows.iter().zip(found.chunks(c)) {
                    prop_assert_eq!(bits(found), bits(&expected[row * c..][..c]));
                }
            }
        }
    }

    #[test]
    fn heads_split_and_merge() {
        // Rows 12 wide, of which columns 4..10 are two heads of 3; sequences of 2, 0 and 3 tokens.
        let rows: Vec<f32> = (0..5 * 12).map(|x| x as f32).collect();
        let shape = Shape { offsets: &[7, 9, 9, 12], heads: 2, head_size: 3, window: 9, scaled: true };
        type Move = fn(&mut [f32], &[f32], usize, usize, Shape);
        let engines: [[Move; 2]; 2] =
            [[split_heads, merge_heads], [plain::attention::split_heads, plain::attention::merge_heads]];
        for [split_heads, merge_heads] in engines {
            let (mut heads, mut back) = (vec![0.0; 5 * 6], rows.clone());
            split_heads(&mut heads, &rows, 12, 4, shape);
            assert_eq!(heads[..3], [4.0, 5.0, 6.0]);
            assert_eq!(heads[2 * 3..][..3], [7.0, 8.0, 9.0]);
            assert_eq!(heads[2 * 6 + 4 * 3..][..3], [43.0, 44.0, 45.0]);
            back.iter_mut().for_each(|x| *x = if (4..10).contains(&(*x as usize % 12)) { -1.0 } else { *x });
            merge_heads(&mut back, &heads, 12, 4, shape);
            assert_eq!(back, rows);
        }
    }
}
