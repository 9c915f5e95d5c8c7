//! A gradient that is being accumulated over losses, and what the losses saw.

use instructgpt::engine::{Dropout, Engine};
use instructgpt::model::{Gradients, Loss, Network, Sequence};

/// The gradient of one or several losses of a network.
pub struct Accumulation<'a, E: Engine> {
    network: &'a mut Network<E>,
    gradients: Gradients<E>,
    outputs: Vec<f32>,
}

impl<'a, E: Engine> Accumulation<'a, E> {
    /// A zero gradient.
    pub fn new(network: &'a mut Network<E>) -> Self {
        Accumulation { gradients: Gradients::new(network), network, outputs: vec![] }
    }

    /// Adds the gradient of a loss: see [`Network::add_gradient`].
    pub fn add(
        &mut self,
        sequences: &[Sequence],
        groups: &[usize],
        temperature: f32,
        dropout: Option<Dropout>,
        loss: &mut impl Loss,
    ) {
        let Accumulation { network, gradients, outputs } = self;
        network.add_gradient(gradients, sequences, groups, temperature, dropout, &mut Seen { loss, outputs });
    }

    /// The outputs that the losses saw, in their order, and the gradient as the layout has it.
    pub fn finish(mut self) -> (Vec<f32>, Vec<f32>) {
        let engine = self.network.engine();
        self.gradients.finish(engine, &self.network.layout);
        (self.outputs, engine.values(&self.gradients.flat).into_owned())
    }
}

/// A loss whose outputs are written down.
struct Seen<'a, L> {
    loss: &'a mut L,
    outputs: &'a mut Vec<f32>,
}

impl<L: Loss> Loss for Seen<'_, L> {
    fn known_slope(&self) -> Option<f32> {
        self.loss.known_slope()
    }

    fn slopes(&mut self, group: usize, outputs: &[f32], slopes: &mut [f32]) {
        self.outputs.extend_from_slice(outputs);
        self.loss.slopes(group, outputs, slopes);
    }
}
