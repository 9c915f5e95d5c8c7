//! How fast this machine does a plan's work: a training pass and some sampling through one block of the plan's own
//! width, in a fraction of a second.

use std::time::Instant;

use crate::engine::device::on_device;
use crate::engine::{Device, Engine};
use crate::error::Result;
use crate::loss::cross_entropy::CrossEntropy;
use crate::model::{Draw, Gradients, Head, Layout, ModelConfig, Network, Sampling, Sequence, singly};
use crate::num::rng::Stage;
use crate::run::Speed;

/// Wider models are measured at this width: their products are no faster.
const WIDEST: usize = 768;
/// Tokens of the head: a larger one is measured by this part of it.
const VOCABULARY: usize = 2048;
/// Floating-point operations of a sample: some ten milliseconds.
const SAMPLE: f64 = 1e9;

/// Seconds after which no further sample is taken.
const ENOUGH: f64 = 0.5;

/// Measures it on a device; on the processor with the threads of the current pool. The clock of a shared machine drifts:
/// this is a guess, for plans.
///
/// # Errors
/// Those of opening the device.
pub fn speed(device: Device, model: &ModelConfig) -> Result<Speed> {
    let config = part(model);
    // The values do not matter, but for numbers so small that they slow a machine down.
    let parameters = vec![0.01; Layout::new(&config, Head::LanguageModel).len];
    on_device!(device, |engine| {
        let mut network = Network::new(engine, config, Head::LanguageModel, parameters);
        let passes = training(&mut network);
        Ok(Speed { passes, sampling: sampling(&network, device.decoded_together()).unwrap_or(passes) })
    })
}

/// One block of a model, and some of its head.
fn part(model: &ModelConfig) -> ModelConfig {
    let size = model.head_size().clamp(1, WIDEST);
    let heads = model.heads.min(WIDEST / size).max(1);
    let width = heads * size;
    ModelConfig {
        vocab_size: model.vocab_size.min(VOCABULARY),
        context: model.context.min(128),
        width,
        heads,
        layers: 1,
        inner: (model.inner / model.width.max(1)).clamp(1, 8) * width,
        tied_head: true,
        ..model.clone()
    }
}

/// The fastest of some samples, in operations per second: what disturbs only slows down.
fn fastest(flops: f64, mut sample: impl FnMut()) -> f64 {
    let begin = Instant::now();
    let mut second = || {
        let start = Instant::now();
        sample();
        flops / start.elapsed().as_secs_f64().max(1e-9)
    };
    // The first touches the memory. It has to do where a sample takes long.
    let first = second();
    if begin.elapsed().as_secs_f64() > ENOUGH {
        return first;
    }
    (0..3).map(|_| second()).fold(0.0, f64::max)
}

/// Forward and backward. Like a step, it asks for the gradient's norm: a device has worked when it is known.
fn training<E: Engine>(network: &mut Network<E>) -> f64 {
    let config = network.config.clone();
    let tokens = vec![0; config.context + 1];
    let of_one = 3.0 * config.forward_flops(Head::LanguageModel, config.context, config.context);
    let count = (SAMPLE / of_one).ceil().clamp(1.0, 16.0) as usize;
    let batch = vec![Sequence::text(&tokens); count];
    network.reserve(count * config.context, true);
    let mut gradients = Gradients::new(network);
    fastest(count as f64 * of_one, || {
        let mut loss = CrossEntropy::of(&batch, 1.0);
        network.add_gradient(&mut gradients, &batch, &singly(count), 1.0, None, &mut loss);
        network.engine().gradient_norm(&gradients.flat);
    })
}

/// Some tokens of as many sequences as are decoded together; `None` if the context has no room for them.
fn sampling<E: Engine>(network: &Network<E>, together: usize) -> Option<f64> {
    let config = &network.config;
    let new = 16.min(config.context - 1);
    let sampling =
        Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, max_new_tokens: new, end_of_text: None };
    let prompts = vec![&[0][..]; together];
    let draws = Draw { seed: 1, stage: Stage::Sample, step: 0, episode: 0 }.consecutive(prompts.len());
    let flops = prompts.len() as f64 * config.forward_flops(Head::LanguageModel, new, new);
    (new > 0).then(|| fastest(flops, || drop(network.generate(&prompts, &sampling, &draws, &|_| true))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_shape_has_a_speed() {
        let wide = ModelConfig { inner: 1, ..ModelConfig::gpt2(50_257, 2, 1600, 48, 25) };
        for config in [ModelConfig::gpt2(300, 1, 8, 1, 1), ModelConfig::gpt2(300, 40, 24, 2, 3), wide] {
            let Speed { passes, sampling } = speed(Device::Cpu, &config).unwrap();
            assert!(passes > 1e3 && sampling > 1e3 && passes.is_finite() && sampling.is_finite());
        }
    }

    #[test]
    fn a_part_keeps_the_heads_and_what_is_small() {
        let small = ModelConfig::gpt2(300, 40, 24, 2, 3);
        assert_eq!(part(&small), ModelConfig { layers: 1, ..small });
        let part = part(&ModelConfig::gpt2(50_257, 2048, 2048, 24, 16));
        assert_eq!((part.width, part.heads, part.inner, part.vocab_size), (768, 6, 3072, 2048));
    }
}
