//! `ops.safetensors`: each operation, forward and backward.

use instructgpt::engine::cpu::log_prob::Workspace;
use instructgpt::engine::cpu::{attention, embedding, gelu, layer_norm, linear, log_prob};
use instructgpt::engine::{
    Activation, Batch, BiasGradient, Linear, NormGradient, Outputs, Precision, Shape, Target, WeightGradient,
};

use crate::common::fixture::Fixture;
use crate::cut;

/// One test below for each.
const OPERATIONS: [&str; 10] = [
    "linear.",
    "layer_norm.",
    "gelu_tanh.",
    "gelu_erf.",
    "embedding.",
    "attention_dense.",
    "attention_banded.",
    "attention_own.",
    "head.",
    "cross_entropy.",
];

/// All that check numbers.
pub const TESTS: [fn(); 10] = [
    linear,
    layer_norm,
    gelu_tanh,
    gelu_erf,
    embedding,
    attention_dense,
    attention_banded,
    attention_own,
    head_at_a_temperature,
    cross_entropy,
];

#[test]
fn every_operation_of_the_file_has_a_test() {
    for name in Fixture::load("ops").names() {
        assert!(OPERATIONS.iter().any(|operation| name.starts_with(operation)), "{name} is not tested");
    }
}

/// A buffer for the gradient of something with `len` elements. Gradients that an operation overwrites must
/// not see what was there.
fn overwritten(len: usize) -> Vec<f32> {
    vec![f32::NAN; len]
}

#[test]
fn linear() {
    let fixture = Fixture::load("ops");
    let f = |name: &str| fixture.values(&format!("linear.{name}"));
    let (x, weight, bias, dy) = (f("x"), f("weight"), f("bias"), f("dy"));
    let (mut y, parameters) = (overwritten(dy.len()), [weight.as_slice(), &bias].concat());
    let (start, end) = (weight.len(), parameters.len());
    let at = Linear { weight: 0..start, outputs: bias.len(), bias: Some(start..end) };
    linear::forward(&mut y, &x, &linear::Weights::new(&parameters, Precision::F32), &at);
    fixture.check("linear.y", &y);

    let (mut dx, mut dweight, mut dbias) =
        (overwritten(x.len()), vec![0.0; weight.len()], vec![0.0; bias.len()]);
    linear::backward_input(Precision::F32, &mut dx, &dy, &weight, dbias.len());
    let offsets = [0, dy.len() / dbias.len()];
    let weight = WeightGradient { dweight: &mut dweight, dy: &dy, x: &x, outputs: dbias.len() };
    linear::backward_weights(Precision::F32, [weight], &offsets);
    linear::backward_biases([BiasGradient { dbias: &mut dbias, dy: &dy }]);
    fixture.check("linear.dx", &dx);
    fixture.check("linear.dweight", &dweight);
    fixture.check("linear.dbias", &dbias);
    fixture.assert_all_read(|name| name.starts_with("linear."));
}

#[test]
fn layer_norm() {
    let fixture = Fixture::load("ops");
    let f = |name: &str| fixture.values(&format!("layer_norm.{name}"));
    let (x, gamma, beta, dy) = (f("x"), f("weight"), f("bias"), f("dy"));
    let rows = x.len() / gamma.len();
    let (mut y, mut stats) = (overwritten(dy.len()), overwritten(2 * rows));
    layer_norm::forward(&mut y, &mut stats, &x, &gamma, &beta, fixture.scalar("layer_norm.epsilon"));
    fixture.check("layer_norm.y", &y);

    let (mut dx, mut dgamma, mut dbeta) = (vec![0.0; x.len()], vec![0.0; gamma.len()], vec![0.0; beta.len()]);
    layer_norm::backward_input(&mut dx, &dy, &x, &stats, &gamma);
    let norm = NormGradient { dgamma: &mut dgamma, dbeta: &mut dbeta, dy: &dy, x: &x, stats: &stats };
    layer_norm::backward_parameters_of([norm]);
    fixture.check("layer_norm.dx", &dx);
    fixture.check("layer_norm.dweight", &dgamma);
    fixture.check("layer_norm.dbias", &dbeta);
    fixture.assert_all_read(|name| name.starts_with("layer_norm."));
}

fn gelu(prefix: &str, activation: Activation) {
    let fixture = Fixture::load("ops");
    let f = |name: &str| fixture.values(&format!("{prefix}{name}"));
    let (x, mut dy) = (f("x"), f("dy"));
    let mut y = overwritten(x.len());
    gelu::forward(&mut y, &x, activation);
    fixture.check(&format!("{prefix}y"), &y);
    gelu::backward(&mut dy, &x, activation);
    fixture.check(&format!("{prefix}dx"), &dy);
    fixture.assert_all_read(|name| name.starts_with(prefix));
}

#[test]
fn gelu_tanh() {
    gelu("gelu_tanh.", Activation::GeluTanh);
}

#[test]
fn gelu_erf() {
    gelu("gelu_erf.", Activation::Gelu);
}

#[test]
fn embedding() {
    let fixture = Fixture::load("ops");
    let f = |name: &str| fixture.values(&format!("embedding.{name}"));
    let (wte, wpe, dy) = (f("wte"), f("wpe"), f("dy"));
    let tokens = fixture.tokens("embedding.tokens");
    let batch = Batch::of(&cut(&tokens, &fixture.indices("embedding.offsets")));
    let mut y = overwritten(dy.len());
    embedding::forward(&mut y, &batch.tokens, &batch.positions, &wte, &wpe);
    fixture.check("embedding.y", &y);

    let (mut dwte, mut dwpe) = (vec![0.0; wte.len()], vec![0.0; wpe.len()]);
    embedding::backward(&mut dwte, &dy, &batch.tokens);
    embedding::backward(&mut dwpe, &dy, &batch.positions);
    fixture.check("embedding.dwte", &dwte);
    fixture.check("embedding.dwpe", &dwpe);
    fixture.assert_all_read(|name| name.starts_with("embedding."));
}

fn attention(prefix: &str) {
    let fixture = Fixture::load("ops");
    let name = |name: &str| format!("{prefix}{name}");
    let (shape, qkv) = fixture.f32(&name("qkv"));
    let (n, c) = (shape[0], shape[1] / 3);
    let (offsets, heads) = (fixture.indices(&name("offsets")), fixture.indices(&name("heads"))[0]);
    let banded = fixture.names().any(|other| other == name("window"));
    let window = if banded { fixture.indices(&name("window"))[0] } else { n };
    let hs = c / heads;
    let shape = Shape { offsets: &offsets, heads, head_size: hs, window, scaled: true };

    // Head-major, as the block has it.
    let split = |rows: &[f32], width: usize, from: usize| {
        let mut out = overwritten(n * c);
        attention::split_heads(&mut out, rows, width, from, shape);
        out
    };
    let [q, k, v] = [0, c, 2 * c].map(|from| split(&qkv, 3 * c, from));
    let (mut out, mut stats, mut y) = (overwritten(n * c), overwritten(2 * n * heads), overwritten(n * c));
    attention::forward(&mut out, &mut stats, &q, &k, &v, shape);
    attention::merge_heads(&mut y, &out, c, 0, shape);
    fixture.check(&name("y"), &y);

    let dout = split(&fixture.values(&name("dy")), c, 0);
    let [mut dq, mut dk, mut dv] = [(); 3].map(|()| overwritten(n * c));
    attention::backward(&mut dq, &mut dk, &mut dv, &dout, &out, &stats, &q, &k, &v, shape);
    let mut dqkv = overwritten(n * 3 * c);
    for (from, heads) in [(0, &dq), (c, &dk), (2 * c, &dv)] {
        attention::merge_heads(&mut dqkv, heads, 3 * c, from, shape);
    }
    fixture.check(&name("dqkv"), &dqkv);
    fixture.assert_all_read(|name| name.starts_with(prefix));
}

#[test]
fn attention_dense() {
    attention("attention_dense.");
}

#[test]
fn attention_banded() {
    attention("attention_banded.");
}

#[test]
fn attention_own() {
    attention("attention_own.");
}

/// The head's inputs, which `cross_entropy.` shares, and its results with a slope for each target.
struct HeadPass {
    log_probs: Vec<f32>,
    entropies: Vec<f32>,
    dhidden: Vec<f32>,
    dweight: Vec<f32>,
}

fn head(fixture: &Fixture, temperature: f32, slopes: &[f32]) -> HeadPass {
    let (hidden, (shape, weight)) = (fixture.values("head.hidden"), fixture.f32("head.weight"));
    let (v, c) = (shape[0], shape[1]);
    let tokens = fixture.tokens("head.targets");
    let targets: Vec<Target> = (0..).zip(&tokens).map(|(row, &token)| Target { row, token }).collect();
    let n = targets.len();
    let mut work = Workspace::new(v, c, 1024);
    let (mut log_probs, mut entropies) = (overwritten(n), overwritten(n));
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
        &[0, n],
        temperature,
        slopes,
        None,
        &mut work,
    );
    // The forward alone says the same.
    let (mut log_probs_alone, mut entropies_alone) = (overwritten(n), overwritten(n));
    let outputs = Outputs { log_probs: &mut log_probs_alone, entropies: &mut entropies_alone };
    log_prob::forward(Precision::F32, outputs, &hidden, &weight, c, &targets, temperature, &mut work);
    assert_eq!((&log_probs_alone, &entropies_alone), (&log_probs, &entropies));
    HeadPass { log_probs, entropies, dhidden, dweight }
}

#[test]
fn head_at_a_temperature() {
    let fixture = Fixture::load("ops");
    let slopes = fixture.values("head.dlog_probs");
    let pass = head(&fixture, fixture.scalar("head.temperature"), &slopes);
    fixture.check("head.log_probs", &pass.log_probs);
    fixture.check("head.entropy", &pass.entropies);
    fixture.check("head.dhidden", &pass.dhidden);
    fixture.check("head.dweight", &pass.dweight);
    fixture.assert_all_read(|name| name.starts_with("head."));
}

#[test]
fn cross_entropy() {
    let fixture = Fixture::load("ops");
    let n = fixture.tokens("head.targets").len();
    let pass = head(&fixture, 1.0, &vec![-1.0 / n as f32; n]);
    let sum = pass.log_probs.iter().fold(0.0, |sum, &log_prob| sum - f64::from(log_prob));
    fixture.check("cross_entropy.loss", &[(sum / n as f64) as f32]);
    fixture.check("cross_entropy.dhidden", &pass.dhidden);
    fixture.check("cross_entropy.dweight", &pass.dweight);
    fixture.assert_all_read(|name| name.starts_with("cross_entropy."));
}
