//! The language-model head with log-probs, the end of every loss of the paper.
//!
//! `logits[t] = hidden[t] W^T / temperature` with W (V, C), and for the token y that follows
//! ```text
//! log_prob[t] = (logits[t][y] - m) - ln(sum over v of exp(logits[t][v] - m)),   m = max logits[t]
//! ```
//! Every stage differentiates some weighting of these numbers: SFT and pretraining use `-1/tokens` for each, PPO
//! the slope of its clipped objective. So a loss enters here as one slope for each target, `dL / dlog_prob`.
//!
//! In bf16 the operands of the three products are rounded, the logits' gradient among them; the logits are not.

use alloc::vec;
use alloc::vec::Vec;

use super::gemm::{chain, gemm};
use super::reduce;
use crate::engine::{Init, Matrix, Outputs, Precision, Relayed, Summary, Target, pieces};
use crate::num::math::{exp, fma, ln};

/// Working memory: none, as all logits are there at once.
pub struct Workspace;

impl Workspace {
    /// For any head.
    pub fn new(_: usize, _: usize, _: usize) -> Self {
        Workspace
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
    _: &mut Workspace,
) {
    distributions(precision, outputs, hidden, weight, width, targets, temperature);
}

/// The forward, and at once its derivative: `slopes[i]` says how the loss changes with the log-prob of target `i`
/// (0 for none). Then `dhidden += ...` (N, C) and `dweight += ...` (V, C), target by target. The rows of `hidden`
/// are those of sequences that begin at `sequences` (B + 1), and the targets follow them.
///
/// A logit moves the log-prob by the first term if it is that of the token y, and always by the logarithm, whose
/// slope is `exp(logit - m) / sum = p`. So with `p = softmax(logits)`:
/// ```text
/// dlogits[v] = slope * (1[v = y] - p[v]) / temperature,   dhidden = dlogits W,   dW = dlogits^T hidden
/// ```
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
    _: &mut Workspace,
) {
    assert_eq!(slopes.len(), targets.len(), "{} slopes, {} targets", slopes.len(), targets.len());
    let (n, c, vocab) = (targets.len(), width, weight.len() / width);
    let mut dlogits = distributions(precision, outputs, hidden, weight, width, targets, temperature);
    for t in 0..n {
        let slope = slopes[t] / temperature;
        let row = &mut dlogits[t * vocab..][..vocab];
        row.iter_mut().for_each(|p| *p *= -slope);
        row[targets[t].token as usize] += slope;
    }
    let hidden_row = |t: usize| targets[t].row as usize;
    for t in 0..n {
        for i in 0..c {
            let elements = |v: usize| (dlogits[t * vocab + v], weight[v * c + i]);
            dhidden[hidden_row(t) * c + i] += chain(precision, 0.0, &[0, vocab], elements);
        }
    }
    for at in pieces(&(0..vocab * c), c) {
        let before = relay.as_mut().and_then(|relay| relay.take_over(at.len()));
        before.iter().for_each(|before| dweight[at.clone()].copy_from_slice(before));
    }
    let runs = runs(targets, sequences);
    for v in 0..vocab {
        for i in 0..c {
            let elements = |t: usize| (dlogits[t * vocab + v], hidden[hidden_row(t) * c + i]);
            dweight[v * c + i] = chain(precision, dweight[v * c + i], &runs, elements);
        }
    }
    if let Some(relay) = relay {
        pieces(&(0..vocab * c), c).for_each(|at| relay.hand_on(dweight[at].to_vec()));
    }
}

/// Writes the outputs, and returns the whole distribution of each target, (targets, V).
fn distributions(
    precision: Precision,
    outputs: Outputs,
    hidden: &[f32],
    weight: &[f32],
    width: usize,
    targets: &[Target],
    temperature: f32,
) -> Vec<f32> {
    let vocab = weight.len() / width;
    let mut p = vec![0.0; targets.len() * vocab];
    for (t, (target, row)) in targets.iter().zip(p.chunks_exact_mut(vocab)).enumerate() {
        let hidden = Matrix::new(&hidden[target.row as usize * width..][..width], width);
        gemm(precision, 1, vocab, &[0, width], hidden, Matrix::transposed(weight, width), Init::Zero, row);
        let logit = row[target.token as usize];
        let summary = softmax(row, temperature);
        outputs.log_probs[t] = summary.log_prob(logit, temperature);
        outputs.entropies[t] = summary.entropy;
    }
    p
}

/// Where the targets of each sequence begin, and their number: the runs of the chains over targets.
fn runs(targets: &[Target], sequences: &[usize]) -> Vec<usize> {
    sequences.iter().map(|&start| targets.partition_point(|target| (target.row as usize) < start)).collect()
}

/// Turns a row of logits (V) into probabilities, in place, after dividing by the temperature.
pub fn softmax(logits: &mut [f32], temperature: f32) -> Summary {
    if temperature != 1.0 {
        logits.iter_mut().for_each(|x| *x /= temperature);
    }
    let max = reduce::max(logits);
    let shifted: Vec<f32> = logits.iter().map(|x| x - max).collect();
    let e: Vec<f32> = shifted.iter().map(|&x| exp(x)).collect();
    let sum = reduce::sum(&e);
    // A logit of -inf has no part in the entropy: not 0 * inf.
    let weighted =
        reduce::in_lanes(e.len(), |v, lane| fma(e[v], if e[v] > 0.0 { shifted[v] } else { 0.0 }, lane));
    let inverse = 1.0 / sum;
    logits.iter_mut().zip(&e).for_each(|(p, e)| *p = e * inverse);
    let log_sum = ln(sum);
    Summary { max, sum, log_sum, entropy: log_sum - weighted * inverse }
}
