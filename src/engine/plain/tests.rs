//! The definitions against numbers worked out by hand, and every gradient against differences of its forward.

use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::engine::{Activation, Address, Dropout, Heads, Linear, Outputs, Precision, Shape, Target};
use crate::num::rng::{Purpose, Rng, Stage};

fn noise(seed: u64, n: usize) -> Vec<f32> {
    let mut rng = Rng::at(seed, Stage::Test, Purpose::Test, 0, 0, 0);
    (0..n).map(|_| rng.normal()).collect()
}

/// The loss that the gradients below are of: `L = sum of dy * y`, whose gradient of y is dy.
fn loss(dy: &[f32], y: &[f32]) -> f64 {
    dy.iter().zip(y).map(|(&dy, &y)| f64::from(dy) * f64::from(y)).sum()
}

/// `dx[i]` is about `(L(x + h e_i) - L(x - h e_i)) / 2h`.
fn assert_gradient(what: &str, dx: &[f32], x: &[f32], loss: impl Fn(&[f32]) -> f64) {
    assert_eq!(dx.len(), x.len(), "{what}");
    const H: f32 = 1.0 / 128.0;
    for i in 0..x.len() {
        let moved = |by: f32| {
            let mut x = x.to_vec();
            x[i] += by;
            (loss(&x), f64::from(x[i]))
        };
        let ((above, right), (below, left)) = (moved(H), moved(-H));
        let (found, expected) = (f64::from(dx[i]), (above - below) / (right - left));
        assert!((found - expected).abs() < 2e-3 * (1.0 + expected.abs()), "{what}[{i}]: {found}, {expected}");
    }
}

#[test]
fn sums_go_by_lanes_and_halves() {
    // 1 is lost beside 2^24 if it is added by itself, and two of them are not. Elements 0 and 16 share a lane.
    let mut xs = vec![0.0; 17];
    (xs[0], xs[16], xs[1]) = (16_777_216.0, 1.0, 1.0);
    assert_eq!(reduce::sum(&xs), 16_777_216.0);
    (xs[16], xs[3]) = (0.0, 1.0);
    assert_eq!(reduce::sum(&xs), 16_777_218.0);
    assert_eq!(reduce::dot(&[1.0, 2.0, 3.0], &[4.0, -5.0, 6.0]), 12.0);
    assert_eq!(reduce::sum_map(&[1.0, 2.0], |x| x * x), 5.0);
    assert_eq!(reduce::max(&[1.0, f32::NAN, 3.0, 2.0]), 3.0);
    assert_eq!((reduce::sum(&[]), reduce::max(&[])), (0.0, f32::NEG_INFINITY));
}

#[test]
fn a_chain_goes_run_by_run() {
    let elements = |p: usize| ([4096.0, 1.0, 1.0][p], [4096.0, 1.0, 1.0][p]);
    // 2^24, and then 1 twice, each lost.
    assert_eq!(gemm::chain(Precision::F32, 0.0, &[0, 3], elements), 16_777_216.0);
    // In pairs the odd one goes first: 1 + 1 + 2^24, and the third takes that to the next even number.
    assert_eq!(gemm::chain(Precision::Bf16, 1.0, &[0, 3], elements), 16_777_220.0);
    // Other pairs: the first alone, and then the two others, each lost.
    assert_eq!(gemm::chain(Precision::Bf16, 1.0, &[7, 8, 10], elements), 16_777_216.0);
    assert_eq!(
        gemm::chain(Precision::Bf16, 1e-40, &[0, 0], elements),
        1e-40,
        "nothing is done to an empty one"
    );
}

/// `y = x W + b` with parameters of its own.
fn affine(y: &mut [f32], x: &[f32], weight: &[f32], bias: &[f32]) {
    let parameters = [weight, bias].concat();
    let bias = Some(weight.len()..parameters.len());
    let at = Linear { weight: 0..weight.len(), outputs: parameters.len() - weight.len(), bias };
    linear::forward(y, x, &linear::Weights::new(&parameters, Precision::F32), &at);
}

#[test]
fn linear_is_affine() {
    let (x, weight, bias) = ([1.0, 2.0, 3.0, 4.0], [1.0, 0.0, -1.0, 0.0, 1.0, 10.0], [0.5, 0.0, 0.0]);
    let mut y = [0.0; 6];
    affine(&mut y, &x, &weight, &bias);
    assert_eq!(y, [1.5, 2.0, 19.0, 3.5, 4.0, 37.0]);
    let without = Linear { weight: 0..6, outputs: 3, bias: None };
    linear::forward(&mut y, &x, &linear::Weights::new(&weight, Precision::F32), &without);
    assert_eq!(y, [1.0, 2.0, 19.0, 3.0, 4.0, 37.0]);

    let (n, inputs, outputs) = (5, 4, 3);
    let (x, weight, bias) = (noise(1, n * inputs), noise(2, inputs * outputs), noise(3, outputs));
    let dy = noise(4, n * outputs);
    let (mut dx, mut dweight, mut dbias) =
        (vec![f32::NAN; x.len()], vec![0.0; weight.len()], vec![0.0; outputs]);
    linear::backward_input(Precision::F32, &mut dx, &dy, &weight, outputs);
    linear::backward_weight(Precision::F32, &mut dweight, &dy, &x, outputs, &[0, 2, n]);
    linear::backward_bias(&mut dbias, &dy);
    let of = |x: &[f32], weight: &[f32], bias: &[f32]| {
        let mut y = vec![0.0; n * outputs];
        affine(&mut y, x, weight, bias);
        loss(&dy, &y)
    };
    assert_gradient("dx", &dx, &x, |x| of(x, &weight, &bias));
    assert_gradient("dW", &dweight, &weight, |weight| of(&x, weight, &bias));
    assert_gradient("db", &dbias, &bias, |bias| of(&x, &weight, bias));
}

#[test]
fn embedding_looks_up_and_scatters() {
    let (wte, wpe) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [10.0, 20.0, 30.0, 40.0]);
    let (tokens, positions) = ([2, 0, 2], [0, 1, 0]);
    let mut x = [0.0; 6];
    embedding::forward(&mut x, &tokens, &positions, &wte, &wpe);
    assert_eq!(x, [15.0, 26.0, 31.0, 42.0, 15.0, 26.0]);
    let mut dwte = [0.0, 0.0, 0.0, 7.0, 0.0, 0.0];
    embedding::backward(&mut dwte, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &tokens);
    assert_eq!(dwte, [3.0, 4.0, 0.0, 7.0, 6.0, 8.0]);
}

#[test]
fn layer_norm_of_a_row_of_three() {
    let (mut y, mut stats) = ([0.0; 3], [0.0; 2]);
    layer_norm::forward(&mut y, &mut stats, &[1.0, 2.0, 3.0], &[1.0, 1.0, 2.0], &[0.0, 0.5, 0.0], 0.0);
    assert_eq!(stats[0], 2.0);
    let r = 1.0 / (2.0f32 / 3.0).sqrt();
    assert_eq!(y, [-r, 0.5, 2.0 * r]);
}

#[test]
fn layer_norm_gradients() {
    let (n, c) = (2, 19);
    let (x, gamma, beta, dy) = (noise(1, n * c), noise(2, c), noise(3, c), noise(4, n * c));
    let of = |x: &[f32], gamma: &[f32], beta: &[f32]| {
        let (mut y, mut stats) = (vec![0.0; n * c], vec![0.0; n * 2]);
        layer_norm::forward(&mut y, &mut stats, x, gamma, beta, 1e-5);
        (loss(&dy, &y), stats)
    };
    let (_, stats) = of(&x, &gamma, &beta);
    let (mut dx, mut dgamma, mut dbeta) = (vec![0.0; n * c], vec![0.0; c], vec![0.0; c]);
    layer_norm::backward_input(&mut dx, &dy, &x, &stats, &gamma);
    layer_norm::backward_parameters(&mut dgamma, &mut dbeta, &dy, &x, &stats);
    assert_gradient("dx", &dx, &x, |x| of(x, &gamma, &beta).0);
    assert_gradient("dgamma", &dgamma, &gamma, |gamma| of(&x, gamma, &beta).0);
    assert_gradient("dbeta", &dbeta, &beta, |beta| of(&x, &gamma, beta).0);
    // It adds.
    let mut twice = dx.clone();
    layer_norm::backward_input(&mut twice, &dy, &x, &stats, &gamma);
    assert!(twice.iter().zip(&dx).all(|(twice, dx)| (twice - 2.0 * dx).abs() < 1e-5));
}

#[test]
fn attention_of_two_tokens_by_hand() {
    // scores of the second query: 0 and ln 3 (times scale 1), so its weights are 1/4 and 3/4.
    let shape = Shape { offsets: &[0, 2], heads: 1, head_size: 1, window: 2, scaled: true };
    let (q, k, v) = ([5.0, 1.0], [0.0, 3.0f32.ln()], [4.0, 8.0]);
    let (mut out, mut stats) = ([0.0; 2], [0.0; 4]);
    attention::forward(&mut out, &mut stats, &q, &k, &v, shape);
    assert_eq!(out[0], 4.0);
    assert!((out[1] - 7.0).abs() < 1e-6, "{out:?}");
    // With a window of one it sees itself alone.
    attention::forward(&mut out, &mut stats, &q, &k, &v, Shape { window: 1, ..shape });
    assert_eq!(out, v);
    // Heads of four numbers, whose scores are halved, or not.
    let wide = |x: [f32; 2]| [x[0], 0.0, 0.0, 0.0, x[1], 0.0, 0.0, 0.0];
    for (scaled, k) in [(true, [0.0, 9.0f32.ln()]), (false, [0.0, 3.0f32.ln()])] {
        let (mut out, shape) = ([0.0; 8], Shape { head_size: 4, scaled, ..shape });
        attention::forward(&mut out, &mut stats, &wide(q), &wide(k), &wide(v), shape);
        assert!((out[4] - 7.0).abs() < 1e-6, "{out:?}");
    }
}

#[test]
fn attention_gradients() {
    let offsets = [0, 1, 6];
    for (window, scaled) in [(2, true), (9, true), (9, false)] {
        let shape = Shape { offsets: &offsets, heads: 2, head_size: 3, window, scaled };
        let [q, k, v, dout] = [1, 2, 3, 4].map(|seed| noise(seed, 6 * 2 * 3));
        let of = |q: &[f32], k: &[f32], v: &[f32]| {
            let (mut out, mut stats) = (vec![0.0; q.len()], vec![0.0; 6 * 2 * 2]);
            attention::forward(&mut out, &mut stats, q, k, v, shape);
            (loss(&dout, &out), out, stats)
        };
        let (_, out, stats) = of(&q, &k, &v);
        let [mut dq, mut dk, mut dv] = [(); 3].map(|()| vec![f32::NAN; q.len()]);
        attention::backward(&mut dq, &mut dk, &mut dv, &dout, &out, &stats, &q, &k, &v, shape);
        assert_gradient("dq", &dq, &q, |q| of(q, &k, &v).0);
        assert_gradient("dk", &dk, &k, |k| of(&q, k, &v).0);
        assert_gradient("dv", &dv, &v, |v| of(&q, &k, v).0);
    }
}

#[test]
fn a_cache_goes_on_from_any_position() {
    let (hs, tokens) = (3, 5);
    let shape = Shape { offsets: &[0, tokens], heads: 1, head_size: hs, window: 4, scaled: true };
    let [q, k, v] = [1, 2, 3].map(|seed| noise(seed, tokens * hs));
    let (mut out, mut stats) = (vec![0.0; tokens * hs], vec![0.0; tokens * 2]);
    attention::forward(&mut out, &mut stats, &q, &k, &v, shape);
    let mut cache =
        attention::Cache::new(2, 3, Heads { count: 1, size: hs, window: 4, scaled: true }, tokens);
    let mut row = [0.0; 3];
    for t in [0, 1, 2, 1, 2, 3, 4] {
        let at = t * hs..(t + 1) * hs;
        let qkv = [&q, &k, &v].map(|x| &x[at.clone()]).concat();
        let one = Shape { offsets: &[0, 1], ..shape };
        attention::decode(&mut row, &mut cache, 1, &[2], &qkv, &[t as u32], one);
        assert_eq!(row, out[at], "position {t}");
    }
}

#[test]
fn gelu_slopes() {
    let x: Vec<f32> = (-40..=40).map(|i| i as f32 / 8.0).collect();
    for activation in [Activation::Gelu, Activation::GeluTanh] {
        let dy = noise(1, x.len());
        let mut dx = dy.clone();
        gelu::backward(&mut dx, &x, activation);
        let mut y = vec![0.0; x.len()];
        gelu::forward(&mut y, &x, activation);
        assert_eq!(y[40], 0.0);
        // Phi(1) = 0.8413.
        assert!((y[48] - 0.8413).abs() < 2e-4, "{}", y[48]);
        assert_gradient("dx", &dx, &x, |x| {
            let mut y = vec![0.0; x.len()];
            gelu::forward(&mut y, x, activation);
            loss(&dy, &y)
        });
    }
}

#[test]
fn dropout_keeps_the_mean_and_its_mask() {
    let rows: Vec<Address> = (0..9).map(|t| Address { sequence: t / 4, position: (t % 4) as u32 }).collect();
    let dropout = Some(Dropout { rate: 0.2, seed: 3, stage: Stage::Test, step: 5 });
    let (x, ones) = (vec![0.0; 9 * 100], vec![1.0; 9 * 100]);
    let [mut y, mut dbranch] = [(); 2].map(|()| vec![f32::NAN; 9 * 100]);
    dropout::add(&mut y, &x, &ones, &rows, 1, dropout);
    dropout::backward(&mut dbranch, &ones, &rows, 1, dropout);
    assert_eq!(y, dbranch);
    assert!(y.iter().all(|&y| y == 0.0 || y == 1.25));
    let dropped = y.iter().filter(|&&y| y == 0.0).count() as f64 / y.len() as f64;
    assert!((dropped - 0.2).abs() < 0.05, "{dropped}");
    dropout::add(&mut y, &ones, &ones, &rows, 1, None);
    assert!(y.iter().all(|&y| y == 2.0));
}

#[test]
fn softmax_of_three() {
    // e^x is 1, 2 and 1: the entropy of (1/4, 1/2, 1/4) is 1.5 ln 2.
    let ln_2 = core::f32::consts::LN_2;
    let mut p = [0.0, 2.0 * ln_2, 0.0];
    let summary = log_prob::softmax(&mut p, 2.0);
    for (p, expected) in p.iter().zip([0.25, 0.5, 0.25]) {
        assert!((p - expected).abs() < 1e-6, "{p}");
    }
    assert!((summary.entropy - 1.5 * ln_2).abs() < 1e-6);
    assert!((summary.log_prob(2.0 * ln_2, 2.0) + ln_2).abs() < 1e-6);
    // What cannot be drawn takes no part.
    let mut p = [0.0, f32::NEG_INFINITY];
    assert_eq!(log_prob::softmax(&mut p, 1.0).entropy, 0.0);
    assert_eq!(p, [1.0, 0.0]);
}

#[test]
fn log_prob_gradients() {
    let (n, c, vocab, temperature) = (4, 3, 7, 0.7);
    let (hidden, weight) = (noise(1, n * c), noise(2, vocab * c));
    // Row 1 is no target, and row 2 is one twice.
    let targets = [(0, 3), (2, 6), (2, 0), (3, 3)].map(|(row, token)| Target { row, token });
    let slopes = noise(3, targets.len());
    let (mut log_probs, mut entropies) = ([0.0; 4], [0.0; 4]);
    let (mut dhidden, mut dweight) = (vec![0.0; hidden.len()], vec![0.0; weight.len()]);
    log_prob::forward_backward(
        Precision::F32,
        Outputs { log_probs: &mut log_probs, entropies: &mut entropies },
        &mut dhidden,
        &mut dweight,
        &hidden,
        &weight,
        c,
        &targets,
        &[0, 2, 4],
        temperature,
        &slopes,
        None,
        &mut log_prob::Workspace,
    );
    let of = |hidden: &[f32], weight: &[f32]| {
        let (mut log_probs, mut entropies) = ([0.0; 4], [0.0; 4]);
        let outputs = Outputs { log_probs: &mut log_probs, entropies: &mut entropies };
        log_prob::forward(
            Precision::F32,
            outputs,
            hidden,
            weight,
            c,
            &targets,
            temperature,
            &mut log_prob::Workspace,
        );
        loss(&slopes, &log_probs)
    };
    assert_eq!(loss(&slopes, &log_probs), of(&hidden, &weight));
    assert_gradient("dhidden", &dhidden, &hidden, |hidden| of(hidden, &weight));
    assert_gradient("dW", &dweight, &weight, |weight| of(&hidden, weight));
}

#[test]
fn scalar_head_gradients() {
    let (hidden, weight) = ([1.0, 2.0, 3.0], [0.5, -1.0, 4.0]);
    assert_eq!(scalar_head::forward(&hidden, &weight), 10.5);
    let (mut dhidden, mut dweight) = ([1.0; 3], [0.0; 3]);
    scalar_head::backward(&mut dhidden, &mut dweight, 2.0, &hidden, &weight);
    assert_eq!((dhidden, dweight), ([2.0, -1.0, 9.0], [2.0, 4.0, 6.0]));
}

#[test]
fn three_four_five() {
    assert_eq!(gradient_norm::gradient_norm(&[3.0, 0.0, -4.0]), 5.0);
    assert_eq!(gradient_norm::gradient_norm(&[]), 0.0);
    // A chunk ends in f32: beside 2^24 a 1 is lost in its own chunk and not in the next.
    let mut long = vec![0.0; gradient_norm::CHUNK + 1];
    (long[0], long[16]) = (4096.0, 1.0);
    assert_eq!(gradient_norm::gradient_norm(&long), 4096.0);
    assert_eq!(gradient_norm::first_non_finite(&[1.0, f32::NAN, f32::INFINITY]), Some(1));
}
