//! Causal self-attention (Vaswani et al., 2017) inside each sequence of a packed batch, dense or banded (GPT-3's
//! locally banded layers). For one head and query position t, over the visible positions s in `lo(t)..=t`,
//! `lo(t) = max(0, t + 1 - window)`:
//! ```text
//! score[t][s] = (chain over d of q[t][d] k[s][d]) * scale       scale = 1 / sqrt(HS), or 1
//! p[t][s]     = exp(score[t][s] - m[t]) * (1 / sum[t])          m = max, sum as in `reduce`, over lo..=t
//! out[t][d]   = chain over s ascending of p[t][s] v[s][d]
//! ```
//! GPT-2 and GPT-3 scale the scores, GPT-Neo does not. Hidden positions take no part: there is no mask arithmetic.
//!
//! Buffers are head-major within each sequence: for a sequence of T tokens `(NH, T, HS)`, and the sequences one
//! after the other, written (N; NH, HS) below. A head of a sequence is contiguous, (T, HS).
//! [`split_heads`] and [`merge_heads`] go between that and the token rows of the linear layers.

use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use super::reduce;
use crate::engine::{Heads, Shape};
use crate::num::math::{exp, fma};

/// `out = attention(q, k, v)`; q, k, v, out (N; NH, HS); stats (N; NH, 2) receives `m` and `1 / sum` of
/// every query, from which the backward makes the same probabilities again.
pub fn forward(out: &mut [f32], stats: &mut [f32], q: &[f32], k: &[f32], v: &[f32], shape: Shape) {
    let hs = shape.head_size;
    check(out, shape);
    for one in heads(shape) {
        let (k, v) = (&k[one.start * hs..one.end * hs], &v[one.start * hs..one.end * hs]);
        for (t, row) in one.enumerate() {
            let q = &q[row * hs..][..hs];
            let (m, inverse) = attend(&mut out[row * hs..][..hs], q, k, v, shape.visible(t), shape.scale());
            stats[2 * row] = m;
            stats[2 * row + 1] = inverse;
        }
    }
}

/// The three equations for one query q (HS) over the positions `seen` of k and v (T, HS). Returns `m`, `1 / sum`.
fn attend(out: &mut [f32], q: &[f32], k: &[f32], v: &[f32], seen: Range<usize>, scale: f32) -> (f32, f32) {
    let hs = q.len();
    let mut p: Vec<f32> = seen.clone().map(|s| chain(q, &k[s * hs..][..hs]) * scale).collect();
    let m = reduce::max(&p);
    p.iter_mut().for_each(|x| *x = exp(*x - m));
    let inverse = 1.0 / reduce::sum(&p);
    out.fill(0.0);
    for (p, s) in p.iter().zip(seen) {
        let p = p * inverse;
        for d in 0..hs {
            out[d] = fma(p, v[s * hs + d], out[d]);
        }
    }
    (m, inverse)
}

/// All (N; NH, HS) but stats (N; NH, 2); dq, dk, dv are overwritten.
///
/// From the last equation to the first. `out` is linear in p and in v; so is `score` in q and in k. Between them
/// stands the softmax, whose p sum to 1: what is pushed on all of them alike moves none. So of `dp` only what differs
/// from its mean under p counts, and that mean is `sum over s of p dp = dout . sum over s of p v = dout . out`:
/// ```text
/// dv[s]  += p[t][s] dout[t]                        dp[t][s] = dout[t] . v[s]
/// dscore  = p[t][s] * (dp - delta[t]) * scale      delta[t] = dout[t] . out[t]
/// dq[t]  += dscore k[s],   dk[s] += dscore q[t]
/// ```
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
    let (hs, scale) = (shape.head_size, shape.scale());
    for gradient in [&mut *dq, &mut *dk, &mut *dv] {
        check(gradient, shape);
        gradient.fill(0.0);
    }
    for one in heads(shape) {
        for (t, row) in one.clone().enumerate() {
            let [q_t, dout_t, out_t] = [q, dout, out].map(|x| &x[row * hs..][..hs]);
            let (m, inverse) = (stats[2 * row], stats[2 * row + 1]);
            let delta = reduce::dot(dout_t, out_t);
            for s in shape.visible(t) {
                let at = (one.start + s) * hs;
                let [k_s, v_s] = [k, v].map(|x| &x[at..][..hs]);
                let p = exp(chain(q_t, k_s) * scale - m) * inverse;
                let dp = chain(dout_t, v_s);
                let dscore = p * (dp - delta) * scale;
                for d in 0..hs {
                    dv[at + d] = fma(p, dout_t[d], dv[at + d]);
                    dk[at + d] = fma(dscore, q_t[d], dk[at + d]);
                    dq[row * hs + d] = fma(dscore, k_s[d], dq[row * hs + d]);
                }
            }
        }
    }
}

/// `acc = 0; for d ascending { acc = fma(x[d], y[d], acc) }`.
fn chain(x: &[f32], y: &[f32]) -> f32 {
    x.iter().zip(y).fold(0.0, |acc, (&x, &y)| fma(x, y, acc))
}

/// The rows of every head of every sequence in a buffer (N; NH, HS), in order. Row `t` of them is position t's.
fn heads(shape: Shape<'_>) -> impl Iterator<Item = Range<usize>> {
    (0..shape.sequences()).flat_map(move |sequence| {
        let rows = shape.rows(sequence);
        (0..shape.heads).map(move |h| {
            let start = rows.start * shape.heads + h * rows.len();
            start..start + rows.len()
        })
    })
}

fn check(x: &[f32], shape: Shape) {
    let (n, heads, hs) = (shape.tokens(), shape.heads, shape.head_size);
    assert_eq!(x.len(), n * heads * hs, "not ({n}; {heads}, {hs})");
}

/// Cuts token rows (N, NH * HS), taken from column `from` of rows `width` wide, into heads (N; NH, HS).
pub fn split_heads(heads: &mut [f32], rows: &[f32], width: usize, from: usize, shape: Shape) {
    each_element(shape, |in_heads, row, column| heads[in_heads] = rows[row * width + from + column]);
}

/// The inverse of [`split_heads`]: writes heads (N; NH, HS) into columns `from..` of the token rows.
pub fn merge_heads(rows: &mut [f32], heads: &[f32], width: usize, from: usize, shape: Shape) {
    each_element(shape, |in_heads, row, column| rows[row * width + from + column] = heads[in_heads]);
}

/// Every element of a buffer (N; NH, HS), and the row and column it has in (N, NH * HS).
fn each_element(shape: Shape, mut each: impl FnMut(usize, usize, usize)) {
    let hs = shape.head_size;
    let sequences = (0..shape.sequences()).flat_map(|sequence| (0..shape.heads).map(move |h| (sequence, h)));
    for ((sequence, h), one) in sequences.zip(heads(shape)) {
        for (row_in_heads, row) in one.zip(shape.rows(sequence)) {
            for d in 0..hs {
                each(row_in_heads * hs + d, row, h * hs + d);
            }
        }
    }
}

/// Decoding: appends tokens to the caches of `slots` (ascending, one for each sequence) in a layer and attends from
/// each. The rows of qkv (N, 3 NH HS) hold query, key and value of every head, and positions (N) says where in its
/// sequence a token stands; out is (N; NH, HS).
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
    check(out, shape);
    let mut parts = [(); 3].map(|()| vec![0.0; out.len()]);
    for (part, from) in parts.iter_mut().zip([0, c, 2 * c]) {
        split_heads(part, qkv, 3 * c, from, shape);
    }
    let [q, k, v] = &parts;
    for (pair, rows_in_heads) in heads(shape).enumerate() {
        let (sequence, h) = (pair / shape.heads, pair % shape.heads);
        let head = &mut cache.heads[(layer * cache.slots + slots[sequence]) * shape.heads + h];
        for (row, token) in rows_in_heads.zip(shape.rows(sequence)) {
            let (at, t) = (row * hs..(row + 1) * hs, positions[token] as usize);
            head.push(t, &k[at.clone()], &v[at.clone()]);
            head.attend(&mut out[at.clone()], &q[at], t, shape);
        }
    }
}

/// Keys and values of sequences that are being decoded.
pub struct Cache {
    /// (layers, slots, NH).
    heads: Vec<HeadCache>,
    slots: usize,
}

impl Cache {
    /// Room for `slots` sequences.
    pub fn new(layers: usize, slots: usize, heads: Heads, _capacity: usize) -> Self {
        Cache { heads: vec![HeadCache::default(); layers * slots * heads.count], slots }
    }
}

/// Keys and values of one head of one growing sequence: a row (HS) for every position so far.
#[derive(Debug, Clone, Default)]
struct HeadCache {
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl HeadCache {
    /// Stores key and value (HS) of position t, the next one or one to go on from again.
    fn push(&mut self, t: usize, key: &[f32], value: &[f32]) {
        assert!(t * key.len() <= self.keys.len(), "position {t} comes before its predecessors");
        for (rows, row) in [(&mut self.keys, key), (&mut self.values, value)] {
            rows.truncate(t * row.len());
            rows.extend_from_slice(row);
        }
    }

    /// `out = attention` of the query q (HS) at position t over the cached positions: what [`forward`] does for it.
    fn attend(&self, out: &mut [f32], q: &[f32], t: usize, shape: Shape) {
        attend(out, q, &self.keys, &self.values, shape.visible(t), shape.scale());
    }
}
