//! A network under training: parameters, gradients, moments, average, and the memory of its passes.

use core::ops::Range;

use super::passes::{Pass, Sequence};
use crate::checkpoint::{Model, State};
use crate::engine::cpu::dropout::Dropout;
use crate::error::{Error, Result};
use crate::model::{Gradients, Transformer};
use crate::optim::adamw::{AdamStyle, AdamW};
use crate::optim::gradient_norm::{clipping_scale, first_non_finite, gradient_norm};
use crate::optim::schedule::{Decay, Schedule};
use crate::settings::AdamSettings;

/// Everything that one network's training changes, and the memory it needs.
pub struct Learner {
    /// Shape and layout.
    pub model: Transformer,
    /// The weights.
    pub parameters: Vec<f32>,
    /// Gradient of the current update.
    pub gradients: Gradients,
    /// Memory of forward and backward.
    pub pass: Pass,
    /// Updates made so far.
    pub updates: u64,
    /// Average of the weights, if one is kept.
    pub average: Option<Vec<f32>>,
    first_moment: Vec<f32>,
    second_moment: Vec<f32>,
    optimizer: AdamW,
    gradient_clip: f32,
}

/// The optimizer settings of a stage.
#[derive(Debug, Clone, Copy)]
pub struct Optimizer {
    /// Constants of Adam.
    pub adam: AdamW,
    /// Largest norm of the gradient; 0: off.
    pub gradient_clip: f32,
}

impl Optimizer {
    /// From section `adam` and the stage's own keys.
    pub fn new(adam: &AdamSettings, style: Option<AdamStyle>, weight_decay: f64, gradient_clip: f32) -> Self {
        let adam = AdamSettings { style: style.unwrap_or(adam.style), ..adam.clone() };
        Optimizer { adam: adam.adamw(weight_decay), gradient_clip }
    }
}

impl Learner {
    /// A learner that starts from `model`'s weights, with fresh moments.
    pub fn new(model: Model, optimizer: Optimizer, micro_batch_tokens: usize, keep_average: bool) -> Self {
        let Model { config, head, parameters, .. } = model;
        let model = Transformer::new(config, head);
        Learner {
            gradients: Gradients::new(&model),
            pass: Pass::new(&model.config, micro_batch_tokens, true),
            updates: 0,
            average: keep_average.then(|| parameters.clone()),
            first_moment: vec![0.0; model.layout.len],
            second_moment: vec![0.0; model.layout.len],
            optimizer: optimizer.adam,
            gradient_clip: optimizer.gradient_clip,
            parameters,
            model,
        }
    }

    /// [`Pass::log_probs_gradient`] of this network.
    pub fn log_probs_gradient(
        &mut self,
        sequences: &[Sequence],
        temperature: f32,
        dropout: Option<Dropout>,
        slope: impl Fn(usize, f32) -> f32 + Sync,
        each: impl FnMut(usize, f32, f32),
    ) {
        let Learner { model, parameters, gradients, pass, .. } = self;
        pass.log_probs_gradient(model, parameters, gradients, sequences, temperature, dropout, slope, each);
    }

    /// Adds to `gradients` that of `coefficient` times the mean cross-entropy of the batch's targets, and to
    /// `sum` their cross-entropies in nats; returns how many targets there are.
    pub fn cross_entropy_gradient(
        &mut self,
        batch: &[Sequence],
        coefficient: f32,
        dropout: Option<Dropout>,
        sum: &mut f64,
    ) -> usize {
        let targets = batch.iter().map(Sequence::targets).sum();
        let slope = -coefficient / targets as f32;
        let count = |_: usize, log_prob: f32, _: f32| *sum -= f64::from(log_prob);
        self.log_probs_gradient(batch, 1.0, dropout, |_, _| slope, count);
        targets
    }

    /// [`Pass::values_gradient`] of this network.
    pub fn values_gradient(
        &mut self,
        groups: &[Range<usize>],
        sequences: &[Sequence],
        positions: impl Fn(&Sequence) -> Range<usize>,
        slopes: impl FnMut(Range<usize>, &[f32], &mut [f32]),
    ) {
        let Learner { model, parameters, gradients, pass, .. } = self;
        pass.values_gradient(model, parameters, gradients, groups, sequences, positions, slopes);
    }

    /// One optimizer step on the accumulated gradient, which is then cleared; returns its norm before
    /// clipping. `average_decay` moves the average along.
    ///
    /// # Errors
    /// [`Error::Numeric`] naming the tensor, if the gradient is not finite; nothing is changed then. Also if
    /// an updated weight is not; the learner is then of no use, and the last state stands.
    pub fn update(&mut self, stage: &str, learning_rate: f32, average_decay: f32) -> Result<f32> {
        self.gradients.finish(&self.model.layout);
        let norm = gradient_norm(&self.gradients.flat);
        if !norm.is_finite() {
            let (found, what) = match first_non_finite(&self.gradients.flat) {
                Some(index) => {
                    (self.gradients.flat[index], format!("the gradient of {}", self.name_of(index)))
                }
                None => (norm, format!("the norm of the gradient (largest in {})", self.largest_gradient())),
            };
            return Err(self.not_finite(stage, self.updates + 1, what, found));
        }
        let scale = if self.gradient_clip > 0.0 { clipping_scale(norm, self.gradient_clip) } else { 1.0 };
        self.updates += 1;
        self.optimizer.step(
            &mut self.parameters,
            &self.gradients.flat,
            &mut self.first_moment,
            &mut self.second_moment,
            self.average.as_mut().map(|average| (average.as_mut_slice(), average_decay)),
            &self.model.layout,
            learning_rate,
            self.updates,
            scale,
        );
        self.gradients.clear();
        // The moments are finite, as the sum of the gradient's squares is.
        if let Some(index) = first_non_finite(&self.parameters) {
            let what = format!("the updated {}", self.name_of(index));
            return Err(self.not_finite(stage, self.updates, what, self.parameters[index]));
        }
        Ok(norm)
    }

    fn largest_gradient(&self) -> &str {
        let gradients = self.gradients.flat.iter().enumerate();
        let largest = gradients.max_by(|(_, a), (_, b)| a.abs().total_cmp(&b.abs()));
        largest.map_or("", |(index, _)| self.name_of(index))
    }

    fn name_of(&self, index: usize) -> &str {
        self.model.layout.name_of(index)
    }

    fn not_finite(&self, stage: &str, step: u64, what: String, found: f32) -> Error {
        let hint = "nothing of this step was saved: start again with a lower learning rate or a gradient_clip \
            (finished stages can be given as init_from)";
        let what = self.pass.blame(&what).into();
        Error::Numeric { stage: stage.into(), step, what, found: found.to_string(), hint: hint.into() }
    }

    /// The weights as a model of their own.
    pub fn to_model(&self) -> Model {
        self.model_with(self.parameters.clone())
    }

    /// The averaged weights (the weights where no average is kept) as a model of their own.
    pub fn averaged_model(&self) -> Model {
        self.model_with(self.average.as_ref().unwrap_or(&self.parameters).clone())
    }

    fn model_with(&self, parameters: Vec<f32>) -> Model {
        let Transformer { config, head, layout } = self.model.clone();
        Model { config, head, layout, parameters }
    }

    /// What a resumed run needs, by name.
    pub fn buffers<'a>(&'a self, name: &str, into: &mut Vec<(String, &'a [f32])>) {
        into.push((format!("{name}.parameters"), &self.parameters));
        into.push((format!("{name}.first_moment"), &self.first_moment));
        into.push((format!("{name}.second_moment"), &self.second_moment));
        if let Some(average) = &self.average {
            into.push((format!("{name}.average"), average));
        }
    }

    /// Takes back what [`Learner::buffers`] gave, saved after `updates` updates.
    ///
    /// # Errors
    /// [`Error::Format`] if a buffer is missing or of another length: the configuration was changed.
    pub fn restore(&mut self, name: &str, state: &mut State, updates: u64, origin: &str) -> Result<()> {
        let mut take = |part: &str, length: usize| {
            let key = format!("{name}.{part}");
            let buffer = state.buffers.remove(&key);
            match buffer {
                Some(buffer) if buffer.len() == length => Ok(buffer),
                other => Err(Error::format(
                    origin,
                    format!("buffer {key:?}"),
                    format!("{length} numbers"),
                    other.map_or("nothing".into(), |buffer| format!("{} numbers", buffer.len())),
                    "the state belongs to another configuration: start in a new directory",
                )),
            }
        };
        let length = self.model.layout.len;
        self.parameters = take("parameters", length)?;
        self.first_moment = take("first_moment", length)?;
        self.second_moment = take("second_moment", length)?;
        if self.average.is_some() {
            self.average = Some(take("average", length)?);
        }
        self.updates = updates;
        Ok(())
    }
}

/// A stage's schedule, from its keys.
pub fn schedule(decay: Decay, final_fraction: f64, warmup_steps: u64, warmup_start: f64) -> Schedule {
    Schedule { decay, final_fraction, warmup_steps, warmup_start_fraction: warmup_start }
}
