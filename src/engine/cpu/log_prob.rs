//! The language-model head fused with log-probs and their gradient.
//!
//! A language model's logits are by far its largest activation, so they live only for a chunk of rows at a
//! time: computed, turned in place into their own gradient, and used up. The chunk size cannot show.

use core::ops::Range;

use crate::engine::cpu::depth::Depth;
use crate::engine::cpu::gemm::gemm;
use crate::engine::cpu::reduce;
use crate::engine::{Init, Matrix, Outputs, Precision, Relayed, Summary, Target, pieces};
use crate::num::math::{exp, fma, ln};
use crate::num::par;
use crate::num::simd::{LANES, halving_sum};

/// Working memory: a chunk of hidden rows, of their gradients and of logits, and where the targets' sequences
/// begin; of each target's softmax the largest logit and the sum. With several ranks also the hidden rows of all targets,
/// and the logits of a piece of the tokens.
pub struct Workspace {
    chunk: usize,
    hidden: alloc::vec::Vec<f32>,
    dhidden: alloc::vec::Vec<f32>,
    logits: alloc::vec::Vec<f32>,
    offsets: alloc::vec::Vec<usize>,
    softmaxes: alloc::vec::Vec<f32>,
    all_hidden: alloc::vec::Vec<f32>,
    piece: alloc::vec::Vec<f32>,
}

/// Least and most rows of a chunk.
const LEAST: usize = 16;
const MOST: usize = 1024;

/// Rows of logits that are held at a time. Chunks are equal: a last one of a few rows would pack all of W for them. Each may
/// end a row early so as not to cut a pair of bf16, hence the row more.
pub fn chunk(vocab_size: usize, targets: usize) -> usize {
    let most = ((20 << 20) / vocab_size.max(1)).clamp(LEAST, MOST);
    let chunks = targets.div_ceil(most).max(1);
    (targets.div_ceil(chunks) + usize::from(chunks > 1)).clamp(LEAST, MOST)
}

impl Workspace {
    /// For a head of `vocab_size` and `width` that is given up to `targets` targets; holds at most about 20 M
    /// logits (80 MiB). Each chunk reads all of W and its gradient, so few large ones are faster.
    pub fn new(vocab_size: usize, width: usize, targets: usize) -> Self {
        // One more than a sequence for each target can need.
        let offsets = alloc::vec::Vec::with_capacity(targets + 2);
        let softmaxes = alloc::vec::Vec::with_capacity(2 * targets);
        Workspace { offsets, softmaxes, ..Self::with_chunk(chunk(vocab_size, targets), vocab_size, width) }
    }

    /// With a given number of rows per chunk (at least 16, at most 1024).
    pub fn with_chunk(chunk: usize, vocab_size: usize, width: usize) -> Self {
        let chunk = chunk.clamp(LEAST, MOST);
        Workspace {
            chunk,
            hidden: alloc::vec![0.0; chunk * width],
            dhidden: alloc::vec![0.0; chunk * width],
            logits: alloc::vec![0.0; chunk * vocab_size],
            offsets: alloc::vec::Vec::new(),
            softmaxes: alloc::vec::Vec::new(),
            all_hidden: alloc::vec::Vec::new(),
            piece: alloc::vec::Vec::new(),
        }
    }
}

/// Log-probs and entropies of `targets`; hidden (N, C), weight (V, C).
pub fn forward(
    precision: Precision,
    outputs: Outputs,
    hidden: &[f32],
    weight: &[f32],
    width: usize,
    targets: &[Target],
    temperature: f32,
    work: &mut Workspace,
) {
    let head = Head { precision, hidden, weight, width, temperature };
    head.by_chunks(outputs, targets, &[], work, |_, _, _| (), |_, _, _| ());
}

/// The forward, and at once its derivative: `slopes[i]` says how the loss changes with the log-prob of target `i`
/// (0 for none). Then `dhidden += ...` (N, C) and `dweight += ...` (V, C), target by target. The rows of `hidden`
/// are those of sequences that begin at `sequences` (B + 1), and the targets follow them.
///
/// With `relay`, `dweight` is added up piece by piece, so that the next rank need not wait for all of it. If the logits of
/// all targets are not held together, those of each piece are made anew for that: one product more.
pub fn forward_backward(
    precision: Precision,
    outputs: Outputs,
    dhidden: &mut [f32],
    dweight: &mut [f32],
    hidden: &[f32],
    weight: &[f32],
    width: usize,
    targets: &[Target],
    sequences: &[usize],
    temperature: f32,
    slopes: &[f32],
    mut relay: Option<&mut dyn Relayed>,
    work: &mut Workspace,
) {
    assert_eq!(slopes.len(), targets.len(), "{} slopes, {} targets", slopes.len(), targets.len());
    let head = Head { precision, hidden, weight, width, temperature };
    let (c, vocab) = (width, weight.len() / width);
    let to_gradient = |i: usize, p: &mut [f32], token: Option<usize>| {
        let slope = slopes[i] / temperature;
        p.iter_mut().for_each(|p| *p *= -slope);
        token.iter().for_each(|&token| p[token] += slope);
    };
    let anew = relay.is_some() && targets.len() > work.chunk;
    let with_row = |i: usize, token: usize, p: &mut [f32]| to_gradient(i, p, Some(token));
    head.by_chunks(outputs, targets, sequences, work, with_row, |targets, chunk, work| {
        let n = targets.len();
        let (dlogits, dchunk) = (&work.logits[..n * vocab], &mut work.dhidden[..n * c]);
        let w = Matrix::new(weight, c);
        gemm(precision, n, c, vocab, Matrix::new(dlogits, vocab), w, Init::Zero, dchunk);
        for (target, d) in targets.iter().zip(dchunk.chunks_exact(c)) {
            let sum = &mut dhidden[target.row as usize * c..][..c];
            sum.iter_mut().zip(d).for_each(|(sum, d)| *sum += d);
        }
        let (hidden, rows) = (Matrix::new(&work.hidden[..n * c], c), Depth::runs(&work.offsets).part(chunk));
        let add = |at: Range<usize>, sums: &mut [f32]| {
            let of_piece = Matrix::transposed(&dlogits[at.start / c..], vocab);
            gemm(precision, at.len() / c, c, rows, of_piece, hidden, Init::Accumulate, sums);
        };
        match &mut relay {
            _ if anew => {}
            None => add(0..vocab * c, dweight),
            Some(relay) => relayed(&mut **relay, dweight, c, add),
        }
    });
    let Some(relay) = relay.filter(|_| anew || targets.is_empty()) else { return };
    // All targets at once, but only the tokens of a piece.
    let Workspace { all_hidden, piece, softmaxes, offsets, .. } = work;
    let n = targets.len();
    all_hidden.clear();
    all_hidden.extend(targets.iter().flat_map(|target| &hidden[target.row as usize * c..][..c]));
    relayed(relay, dweight, c, |at, sums| {
        let (first, tokens) = (at.start / c, at.len() / c);
        piece.resize(n * tokens, 0.0);
        let (h, w) = (Matrix::new(all_hidden, c), Matrix::transposed(&weight[at], c));
        gemm(precision, n, tokens, c, h, w, Init::Zero, piece);
        par::for_each(par::rows(piece, tokens), 1, |start, rows| {
            for (t, p) in (start..).zip(rows.data.chunks_exact_mut(tokens)) {
                let (max, inverse) = (softmaxes[2 * t], 1.0 / softmaxes[2 * t + 1]);
                p.iter_mut().for_each(|x| *x = exp(*x / temperature - max) * inverse);
                let token = (targets[t].token as usize).checked_sub(first).filter(|&token| token < tokens);
                to_gradient(t, p, token);
            }
        });
        let (dlogits, rows) = (Matrix::transposed(piece, tokens), Depth::runs(offsets).part(0..n));
        gemm(precision, tokens, c, rows, dlogits, h, Init::Accumulate, sums);
    });
}

/// Adds to the sums of a matrix with rows of `width`, piece by piece, between those who add to them before and after.
fn relayed(
    relay: &mut dyn Relayed,
    sums: &mut [f32],
    width: usize,
    mut add: impl FnMut(Range<usize>, &mut [f32]),
) {
    for at in pieces(&(0..sums.len()), width) {
        let sums = &mut sums[at.clone()];
        relay.take_over(sums.len()).iter().for_each(|before| sums.copy_from_slice(before));
        add(at, sums);
        relay.hand_on(sums.to_vec());
    }
}

/// What the logits are made of: hidden (N, C), weight (V, C).
struct Head<'a> {
    precision: Precision,
    hidden: &'a [f32],
    weight: &'a [f32],
    width: usize,
    temperature: f32,
}

impl Head<'_> {
    /// Chunk by chunk of the targets: the logits, of each row the outputs and then
    /// `with_row(target, token, p)`, and at the end of the chunk `with_chunk` with its place.
    fn by_chunks(
        &self,
        outputs: Outputs,
        targets: &[Target],
        sequences: &[usize],
        work: &mut Workspace,
        with_row: impl Fn(usize, usize, &mut [f32]) + Sync,
        mut with_chunk: impl FnMut(&[Target], Range<usize>, &mut Workspace),
    ) {
        let vocab = self.weight.len() / self.width;
        offsets(&mut work.offsets, targets, sequences);
        let mut softmaxes = core::mem::take(&mut work.softmaxes);
        softmaxes.resize(2 * targets.len(), 0.0);
        let (all, mut start) = (targets, 0);
        while start < all.len() {
            let end = match start + work.chunk {
                end if end < all.len() => Depth::runs(&work.offsets).cut(end),
                _ => all.len(),
            };
            let targets = &all[start..end];
            let logits = self.logits(targets, work);
            let log_probs = &mut outputs.log_probs[start..][..targets.len()];
            let entropies = &mut outputs.entropies[start..][..targets.len()];
            // Split over rows.
            let of_chunk = &mut softmaxes[2 * start..2 * end];
            let parts = (par::rows(log_probs, 1), par::rows(entropies, 1), par::rows(of_chunk, 2));
            let parts = (par::rows(logits, vocab), parts);
            par::for_each(parts, 1, |first, (logits, (log_probs, entropies, softmaxes))| {
                for (t, row) in logits.data.chunks_exact_mut(vocab).enumerate() {
                    let token = targets[first + t].token as usize;
                    let logit = row[token];
                    let summary = softmax(row, self.temperature);
                    log_probs.data[t] = summary.log_prob(logit, self.temperature);
                    entropies.data[t] = summary.entropy;
                    softmaxes.data[2 * t..][..2].copy_from_slice(&[summary.max, summary.sum]);
                    with_row(start + first + t, token, row);
                }
            });
            with_chunk(targets, start..end, work);
            start = end;
        }
        work.softmaxes = softmaxes;
    }

    /// `logits = hidden[targets' rows] W^T`, (targets, V), in the workspace.
    fn logits<'w>(&self, targets: &[Target], work: &'w mut Workspace) -> &'w mut [f32] {
        let (n, c, vocab) = (targets.len(), self.width, self.weight.len() / self.width);
        for (target, chunk) in targets.iter().zip(work.hidden.chunks_exact_mut(c)) {
            chunk.copy_from_slice(&self.hidden[target.row as usize * c..][..c]);
        }
        let (chunk, logits) = (Matrix::new(&work.hidden[..n * c], c), &mut work.logits[..n * vocab]);
        let w = Matrix::transposed(self.weight, c);
        gemm(self.precision, n, vocab, c, chunk, w, Init::Zero, logits);
        logits
    }
}

/// Where the targets of each sequence begin, and their number: the runs of the chains over targets.
fn offsets(offsets: &mut alloc::vec::Vec<usize>, targets: &[Target], sequences: &[usize]) {
    offsets.clear();
    offsets.push(0);
    let mut next = sequences.iter();
    let mut end = 0;
    for (i, target) in targets.iter().enumerate() {
        let row = target.row as usize;
        if row >= end {
            end = next.find(|&&end| row < end).copied().unwrap_or(usize::MAX);
            offsets.push(i);
        }
    }
    offsets.push(targets.len());
}

/// Turns a row of logits into probabilities, in place, after dividing by the temperature. The one
/// definition, for training and sampling alike.
pub fn softmax(logits: &mut [f32], temperature: f32) -> Summary {
    if temperature != 1.0 {
        logits.iter_mut().for_each(|x| *x /= temperature);
    }
    let max = reduce::max(logits);
    // Lanewise sums of e and of e * (x - m), then the halving tree.
    let (mut sums, mut weighted) = ([0.0f32; LANES], [0.0f32; LANES]);
    let mut chunks = logits.chunks_exact_mut(LANES);
    let mut add = |l: usize, x: &mut f32| {
        let shifted = *x - max;
        let e = exp(shifted);
        sums[l] += e;
        // A logit of -inf has no part in the entropy: not 0 * inf.
        weighted[l] = fma(e, if e > 0.0 { shifted } else { 0.0 }, weighted[l]);
        *x = e;
    };
    for chunk in &mut chunks {
        for l in 0..LANES {
            add(l, &mut chunk[l]);
        }
    }
    chunks.into_remainder().iter_mut().enumerate().for_each(|(l, x)| add(l, x));
    let (sum, weighted) = (halving_sum(sums), halving_sum(weighted));
    let inverse = 1.0 / sum;
    logits.iter_mut().for_each(|e| *e *= inverse);
    let log_sum = ln(sum);
    Summary { max, sum, log_sum, entropy: log_sum - weighted * inverse }
}
