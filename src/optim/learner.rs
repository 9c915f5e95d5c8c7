//! A learner: a network under training, with its gradients, moments and average.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::mem;

use super::adamw::AdamW;
use super::clipping::clipping_scale;
use crate::engine::{AdamState, Cpu, Dropout, Engine};
use crate::model::{Gradients, Loss, Network, Sequence};

/// Everything that one network's training changes.
pub struct Learner<E: Engine = Cpu> {
    /// The network, with memory for passes that are differentiated.
    pub network: Network<E>,
    /// Updates made so far.
    pub updates: u64,
    /// Gradient of the update to come.
    pub gradients: Gradients<E>,
    first_moment: E::Buffer,
    second_moment: E::Buffer,
    average: Option<E::Buffer>,
    optimizer: Optimizer,
}

/// How gradients become updates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Optimizer {
    /// Constants of Adam.
    pub adam: AdamW,
    /// Largest norm of the gradient; 0: off.
    pub gradient_clip: f32,
}

/// A number that is infinite or NaN: what it is of, and what it is.
#[derive(Debug, Clone, PartialEq)]
pub struct NotFinite {
    /// "the gradient of transformer.wte.weight", with the layer that first left the numbers if one did.
    pub what: String,
    /// The number.
    pub found: f32,
}

impl<E: Engine> Learner<E> {
    /// A learner that starts from `network`'s weights, with fresh moments and, if asked for, an average.
    pub fn new(
        mut network: Network<E>,
        optimizer: Optimizer,
        micro_batch_tokens: usize,
        keep_average: bool,
    ) -> Self {
        network.reserve(micro_batch_tokens, true);
        let (engine, len) = (network.engine(), network.layout.len);
        let zeros = || engine.buffer(vec![0.0; len]);
        let average = keep_average.then(|| engine.buffer(network.parameters().into_owned()));
        Learner {
            updates: 0,
            gradients: Gradients::new(&network),
            first_moment: zeros(),
            second_moment: zeros(),
            average,
            optimizer,
            network,
        }
    }

    /// Adds the gradient of a loss: see [`Network::add_gradient`].
    pub fn accumulate(
        &mut self,
        sequences: &[Sequence],
        groups: &[usize],
        temperature: f32,
        dropout: Option<Dropout>,
        loss: &mut impl Loss,
    ) {
        self.network.add_gradient(&mut self.gradients, sequences, groups, temperature, dropout, loss);
    }

    /// One optimizer step on the accumulated gradient, which is then cleared; returns its norm before clipping.
    /// `average_decay` moves the average along.
    ///
    /// # Errors
    /// If the gradient is not finite; nothing is changed then. Also if an updated weight is not; the learner is then
    /// of no use, and the last state stands.
    pub fn update(&mut self, learning_rate: f32, average_decay: f32) -> Result<f32, NotFinite> {
        let engine = self.network.engine();
        self.gradients.finish(engine, &self.network.layout);
        let norm = engine.gradient_norm(&self.gradients.flat);
        if !norm.is_finite() {
            return Err(self.gradient_fault(norm));
        }
        let clip = self.optimizer.gradient_clip;
        let scale = if clip > 0.0 { clipping_scale(norm, clip) } else { 1.0 };
        self.updates += 1;
        let Learner { network, first_moment, second_moment, average, .. } = self;
        let (parameters, layout) = network.parameters_and_layout();
        let state = AdamState { parameters, first_moment, second_moment, average: average.as_mut() };
        let (adam, gradients) = (self.optimizer.adam, &self.gradients.flat);
        adam.step(engine, state, gradients, layout, learning_rate, self.updates, scale, average_decay);
        self.gradients.clear(engine);
        // The moments are finite, as the sum of the gradient's squares is.
        match engine.first_non_finite(self.network.parameters_and_layout().0) {
            None => Ok(norm),
            Some(index) => {
                let what = format!("the updated {}", self.network.layout.name_of(index));
                let found = self.network.parameters()[index];
                Err(self.fault(what, found))
            }
        }
    }

    fn gradient_fault(&self, norm: f32) -> NotFinite {
        let (engine, layout) = (self.network.engine(), &self.network.layout);
        let gradients = engine.values(&self.gradients.flat);
        match engine.first_non_finite(&self.gradients.flat) {
            Some(index) => self.fault(format!("the gradient of {}", layout.name_of(index)), gradients[index]),
            None => {
                let largest =
                    gradients.iter().enumerate().max_by(|(_, a), (_, b)| a.abs().total_cmp(&b.abs()));
                let name = largest.map_or("", |(index, _)| layout.name_of(index));
                self.fault(format!("the norm of the gradient (largest in {name})"), norm)
            }
        }
    }

    fn fault(&self, what: String, found: f32) -> NotFinite {
        NotFinite { what: self.network.blame(&what).to_string(), found }
    }

    /// The gradient that is being accumulated, as the layout has it; of a tied embedding the head's share.
    pub fn gradient(&self) -> Cow<'_, [f32]> {
        self.network.engine().values(&self.gradients.flat)
    }

    /// A network of the averaged weights, or of the weights where no average is kept.
    pub fn averaged(&self) -> Network<E> {
        let engine = self.network.engine();
        let parameters = match &self.average {
            Some(average) => engine.values(average),
            None => self.network.parameters(),
        };
        self.network.with_parameters(parameters.into_owned())
    }

    /// What `measure` says of the network with the averaged weights (those of [`Learner::averaged`], in its own
    /// memory), which then has its weights back.
    pub fn measure_average<T>(&mut self, measure: impl FnOnce(&mut Network<E>) -> T) -> T {
        self.swap_average();
        let measured = measure(&mut self.network);
        self.swap_average();
        measured
    }

    fn swap_average(&mut self) {
        if let Some(average) = &mut self.average {
            mem::swap(self.network.parameters_and_layout().0, average);
        }
    }

    /// What a resumed run needs, by name.
    pub fn state(&self, name: &str) -> Vec<(String, Cow<'_, [f32]>)> {
        let engine = self.network.engine();
        let mut state = vec![
            (format!("{name}.parameters"), self.network.parameters()),
            (format!("{name}.first_moment"), engine.values(&self.first_moment)),
            (format!("{name}.second_moment"), engine.values(&self.second_moment)),
        ];
        state.extend(self.average.iter().map(|average| (format!("{name}.average"), engine.values(average))));
        state
    }

    /// Takes back what [`Learner::state`] gave after `updates` updates: `take(key, length)` gives each buffer.
    ///
    /// # Errors
    /// Those of `take`; the learner is then of no use.
    pub fn restore<F>(
        &mut self,
        name: &str,
        updates: u64,
        mut take: impl FnMut(&str, usize) -> Result<Vec<f32>, F>,
    ) -> Result<(), F> {
        let (engine, length) = (self.network.engine(), self.network.layout.len);
        let mut buffer = |part: &str| take(&format!("{name}.{part}"), length);
        self.network.set_parameters(buffer("parameters")?);
        self.first_moment = engine.buffer(buffer("first_moment")?);
        self.second_moment = engine.buffer(buffer("second_moment")?);
        if self.average.is_some() {
            self.average = Some(engine.buffer(buffer("average")?));
        }
        self.updates = updates;
        Ok(())
    }
}
