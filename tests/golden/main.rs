//! Our library against the PyTorch reference, tensor by tensor. `fixtures/README.md` says what each
//! tensor is; `tests/common/fixture.rs` how close we must be and why. Every test ends by asserting that no
//! tensor of its file (or of its part of it) was left out.

#[path = "../common/accumulation.rs"]
mod accumulation;
#[path = "../common/mod.rs"]
mod common;

mod adamw;
mod bits;
mod bpe;
mod ops;
mod ppo_functions;
mod ppo_iteration;
mod reward;
mod sft;
mod transformer;

use common::fixture::Fixture;
use instructgpt::checkpoint::config_json::parse_config;
use instructgpt::checkpoint::tensors::{from_stored, stored_tensors};
use instructgpt::engine::Cpu;
use instructgpt::model::{Head, Layout, Network};
use instructgpt::optim::{AdamStyle, AdamW, Optimizer};
use serde_json::Value;

/// The network whose configuration is `config` and whose parameters begin with `prefix`. The names of a directory's
/// tensors must be the fixture's, all of them, and their shapes.
fn model(fixture: &Fixture, config: &Value, head: Head, prefix: &str) -> Network {
    let (config, _) = parse_config(&serde_json::to_vec(config).unwrap(), "fixture").unwrap();
    let layout = Layout::new(&config, head);
    let is_parameter =
        |name: &&str| ["transformer.", "lm_head.", "score."].iter().any(|p| name.starts_with(p));
    let stored = stored_tensors(&layout, config.family);
    let mut ours: Vec<&str> = stored.iter().map(|tensor| tensor.name.as_str()).collect();
    ours.sort();
    assert_eq!(fixture.names_after(prefix).filter(is_parameter).collect::<Vec<_>>(), ours);
    let mut parameters = vec![0.0; layout.len];
    for tensor in stored {
        let (shape, values) = fixture.f32(&format!("{prefix}{}", tensor.name));
        assert_eq!(shape, tensor.shape, "shape of {}", tensor.name);
        parameters[tensor.range].copy_from_slice(&values);
    }
    from_stored(&mut parameters, &layout, config.family);
    Network::new(Cpu, config, head, parameters)
}

/// Checks a flat buffer against `PREFIX.NAME` for every parameter of the layout.
fn check_each(fixture: &Fixture, prefix: &str, layout: &Layout, flat: &[f32]) {
    for row in &layout.parameters {
        fixture.check(&format!("{prefix}{}", row.name), &flat[row.range()]);
    }
}

/// [`check_each`] for weights after optimizer steps of at most `rate`: see [`Fixture::check_updated`].
fn check_each_updated(fixture: &Fixture, prefix: &str, layout: &Layout, flat: &[f32], rate: f32) {
    for row in &layout.parameters {
        fixture.check_updated(&format!("{prefix}{}", row.name), &flat[row.range()], rate);
    }
}

/// Cuts `rows` at the offsets.
fn cut<'a, T>(rows: &'a [T], offsets: &[usize]) -> Vec<&'a [T]> {
    offsets.windows(2).map(|pair| &rows[pair[0]..pair[1]]).collect()
}

/// An optimizer from its stored settings: beta1, beta2, epsilon, weight decay. They are used as stored,
/// in float32, whatever they were meant to be.
fn optimizer(settings: [f32; 4], style: AdamStyle) -> Optimizer {
    let [beta1, beta2, epsilon, weight_decay] = settings.map(f64::from);
    Optimizer { adam: AdamW { beta1, beta2, epsilon, weight_decay, style }, gradient_clip: 0.0 }
}
