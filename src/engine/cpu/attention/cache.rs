//! Attention while sequences grow token by token: their keys and values are kept, and a new token attends to all of them.
//!
//! What is kept of a head of a sequence lies in blocks of NR positions, one after the other, so that attending reads a
//! single run of memory however far the sequence has grown:
//!
//! ```text
//! block: keys (HS, NR), a panel of the product with a query;   values (NR, W), W being HS rounded up to NR
//! ```
//!
//! With all keys and all values of a head apart, each a run of its own, attending to 48 positions of 32 numbers took 1.5
//! times as long, because the last level of the cache lets a run's first lines wait. Sampling from a model of 0.8M is 1.17
//! times as fast with blocks (64 sequences), and one of 10.8M 1.03 times (32), measured in turns.

use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use super::{Pairs, Work, carve, probabilities, scores_of, softmax, visible_to, weigh};
use crate::engine::cpu::operands::F32;
use crate::engine::cpu::pack::pack;
use crate::engine::cpu::packed::row_times_panels;
use crate::engine::cpu::row_grain;
use crate::engine::cpu::tile::{MR, NR, NV};
use crate::engine::{Heads, Shape};
use crate::num::par;
use crate::num::scratch::{self, Use};
use crate::num::simd::{LANES, V16};

/// Keys and values of sequences that are being decoded, (layers; slots, NH) heads.
pub struct Cache {
    memory: Vec<f32>,
    layers: usize,
    heads: usize,
    /// Floats of a head.
    of_head: usize,
}

impl Cache {
    /// Room for `slots` sequences of up to `capacity` tokens.
    pub fn new(layers: usize, slots: usize, heads: Heads, capacity: usize) -> Self {
        let of_head = capacity.div_ceil(NR) * block_size(heads.size);
        Cache {
            memory: vec![0.0; layers * slots * heads.count * of_head],
            layers,
            heads: heads.count,
            of_head,
        }
    }

    /// The heads of some slots in a layer, (slots, NH).
    fn heads(&mut self, layer: usize, slots: &[usize]) -> Vec<HeadCache<'_>> {
        let of_layer = self.memory.len() / self.layers;
        let heads = self.memory[layer * of_layer..][..of_layer].chunks_exact_mut(self.of_head).enumerate();
        let of_slots = heads.filter(|(pair, _)| slots.binary_search(&(pair / self.heads)).is_ok());
        of_slots.map(|(_, blocks)| HeadCache { blocks }).collect()
    }
}

/// Decoding: appends tokens to the caches of `slots` (ascending, one for each sequence) and attends from each, bit
/// for bit as [`forward`](super::forward). The rows of qkv (N, 3 NH HS) hold query, key and value of every head, and
/// positions (N) says where in its sequence a token stands; out is (N; NH, HS).
pub fn decode(
    out: &mut [f32],
    cache: &mut Cache,
    layer: usize,
    slots: &[usize],
    qkv: &[f32],
    positions: &[u32],
    shape: Shape,
) {
    let (hs, c) = (shape.head_size, shape.heads * shape.head_size);
    let mut caches = cache.heads(layer, slots);
    let longest = positions.iter().max().map_or(0, |&t| t as usize + 1);
    let grain = row_grain(longest * hs);
    // Split over pairs of sequence and head: each has a cache of its own.
    par::for_each((Pairs::new(out, shape, hs), par::rows(&mut caches, 1)), grain, |_, (mut out, caches)| {
        let work = Work::sizes(longest, hs);
        scratch::with(Use::Attention, work.cached(), |buffer| {
            for (pair, cache) in out.pairs.clone().zip(caches.data) {
                let (sequence, h) = (pair / shape.heads, pair % shape.heads);
                let rows = shape.offsets[sequence] - shape.offsets[0]
                    ..shape.offsets[sequence + 1] - shape.offsets[0];
                for row in rows.clone() {
                    let [k, v] = core::array::from_fn(|i| &qkv[row * 3 * c + (i + 1) * c + h * hs..][..hs]);
                    cache.push(positions[row] as usize, k, v);
                }
                let Some(t) = rows.clone().next().map(|row| positions[row] as usize) else { continue };
                let (out, queries) = (out.of(pair), &qkv[rows.start * 3 * c + h * hs..]);
                if rows.len() == 1 {
                    cache.attend(out, buffer, &queries[..hs], t, shape);
                } else {
                    let queries = Rows { data: queries, stride: 3 * c };
                    cache.attend_together(out, buffer, queries, t..t + rows.len(), shape, work);
                }
            }
        });
    });
}

/// Rows of HS numbers that lie `stride` apart.
#[derive(Clone, Copy)]
struct Rows<'a> {
    data: &'a [f32],
    stride: usize,
}

/// Floats of a block.
fn block_size(hs: usize) -> usize {
    NR * (hs + hs.next_multiple_of(NR))
}

/// Keys and values of one head of one growing sequence.
struct HeadCache<'a> {
    blocks: &'a mut [f32],
}

impl HeadCache<'_> {
    /// Stores key and value (HS) of position t.
    fn push(&mut self, t: usize, key: &[f32], value: &[f32]) {
        let (hs, width) = (key.len(), value.len().next_multiple_of(NR));
        let block = &mut self.blocks[t / NR * block_size(hs)..][..block_size(hs)];
        let (keys, values) = block.split_at_mut(hs * NR);
        if t.is_multiple_of(NR) {
            // `attend` reads whole panels. Memory that is fresh from the system and read before it is written
            // costs a second fault, with an interrupt of every thread: a twentieth of the profile at 10.8M.
            keys.fill(0.0);
        }
        for (d, &key) in key.iter().enumerate() {
            keys[d * NR + t % NR] = key;
        }
        values[t % NR * width..][..hs].copy_from_slice(value);
    }

    /// `out = attention` of the query q (HS) at position t over the cached positions, bit for bit as
    /// [`forward`](super::forward); scores is working memory of at least the capacity rounded up to NR.
    fn attend(&self, out: &mut [f32], scores: &mut [f32], q: &[f32], t: usize, shape: Shape) {
        let size = block_size(q.len());
        let seen = shape.visible(t);
        let first = seen.start / NR * NR;
        let scores = &mut scores[first..(t + 1).next_multiple_of(NR)];
        scores.fill(0.0);
        row_times_panels::<F32>(q, &self.blocks[first / NR * size..], 0, size, scores);
        let weights = &mut scores[seen.start - first..=t - first];
        softmax(weights, shape.scale(), None);
        for (group, out) in out.chunks_mut(4 * NR).enumerate() {
            let column = group * 4 * NR;
            match out.len().div_ceil(NR) {
                1 => self.weigh::<1>(out, weights, seen.clone(), q.len(), column),
                2 => self.weigh::<2>(out, weights, seen.clone(), q.len(), column),
                3 => self.weigh::<3>(out, weights, seen.clone(), q.len(), column),
                _ => self.weigh::<4>(out, weights, seen.clone(), q.len(), column),
            }
        }
    }

    /// `out[d] = chain over s in seen of weights[s] v[s][column + d]`, for up to P panels of columns; `weights` begins with
    /// the first position seen.
    fn weigh<const P: usize>(
        &self,
        out: &mut [f32],
        weights: &[f32],
        seen: Range<usize>,
        hs: usize,
        column: usize,
    ) {
        let width = hs.next_multiple_of(NR);
        let mut sums = [[V16::ZERO; NV]; P];
        let mut weights = weights.iter();
        let blocks = self.blocks.chunks_exact(block_size(hs)).enumerate();
        for (number, block) in blocks.take(seen.end.div_ceil(NR)).skip(seen.start / NR) {
            let rows = seen.start.max(number * NR) % NR..(seen.end - number * NR).min(NR);
            let rows = block[hs * NR..].chunks_exact(width).take(rows.end).skip(rows.start);
            for (row, weight) in rows.zip(&mut weights) {
                let (row, weight) = (&row[column..][..P * NR], V16::splat(*weight));
                for p in 0..P {
                    for v in 0..NV {
                        sums[p][v] = weight.fma(V16::load(&row[p * NR + v * LANES..]), sums[p][v]);
                    }
                }
            }
        }
        for (sums, out) in sums.iter().zip(out.chunks_mut(NR)) {
            let mut row = [0.0; NR];
            (0..NV).for_each(|v| sums[v].store(&mut row[v * LANES..]));
            out.copy_from_slice(&row[..out.len()]);
        }
    }

    /// [`HeadCache::attend`] of the queries at `positions`, whose keys and values are stored; out is (positions, HS).
    /// Some queries at a time share the reading of the cache, on the forward's tile.
    fn attend_together(
        &self,
        out: &mut [f32],
        buffer: &mut [f32],
        queries: Rows,
        positions: Range<usize>,
        shape: Shape,
        work: Work,
    ) {
        let hs = shape.head_size;
        let [v_rows, q_group, scores, weights] =
            carve(buffer, [work.rows, hs * MR, MR * work.span, work.span * MR]);
        self.pack_values(v_rows, visible_to(shape, &positions), hs, work.tokens);
        for t0 in positions.clone().step_by(MR) {
            let (row, group) = (t0 - positions.start, t0..(t0 + MR).min(positions.end));
            pack::<MR>(queries.data, row * queries.stride, 1, queries.stride, group.len(), q_group);
            let seen = visible_to(shape, &group);
            scores_of(scores, q_group, &*self.blocks, hs, block_size(hs), work.span, seen);
            for (i, t) in group.clone().enumerate() {
                probabilities(&mut scores[i * work.span..], shape, t, None);
            }
            weigh(out, row, scores, weights, v_rows, shape, group, work);
        }
    }

    /// The values of the positions `seen` in panels of NR columns, each (tokens, NR).
    fn pack_values(&self, panels: &mut [f32], seen: Range<usize>, hs: usize, tokens: usize) {
        let width = hs.next_multiple_of(NR);
        for s in seen {
            let row = &self.blocks[s / NR * block_size(hs) + hs * NR + s % NR * width..][..width];
            for (panel, row) in panels.chunks_exact_mut(tokens * NR).zip(row.chunks_exact(NR)) {
                panel[s * NR..][..NR].copy_from_slice(row);
            }
        }
    }
}
