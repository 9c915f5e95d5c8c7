//! The gradient of a loss: forward, the loss's slopes in the outputs, and the way back.

use alloc::vec;

use super::layout::{Head, Layout};
use super::network::{Memory, Network};
use super::sequence::{Loss, Sequence};
use crate::engine::{Dropout, Engine};

/// The gradient of all parameters, in one flat buffer like theirs.
pub struct Gradients<E: Engine> {
    /// As the layout has them. While a step is being accumulated, the part of a tied embedding holds the head's
    /// share only.
    pub flat: E::Buffer,
    /// The lookup's share of a tied embedding's gradient, (V, C): the head's chain over the tokens of a batch and the
    /// lookup's would interleave differently for another micro-batch size, so the two are added at the end.
    pub(super) lookup: Option<E::Buffer>,
}

impl<E: Engine> Gradients<E> {
    /// Zero gradients for `network`.
    pub fn new(network: &Network<E>) -> Self {
        let Network { engine, config, head, layout, .. } = network;
        let tied = *head == Head::LanguageModel && config.tied_head;
        Gradients {
            flat: engine.buffer(vec![0.0; layout.len]),
            lookup: tied.then(|| engine.buffer(vec![0.0; layout.wte.len()])),
        }
    }

    /// Back to zero, for the next step.
    pub fn clear(&mut self, engine: E) {
        engine.clear(&mut self.flat);
        self.lookup.iter_mut().for_each(|lookup| engine.clear(lookup));
    }

    /// Ends the accumulation of a step: the two shares of a tied embedding become one.
    pub fn finish(&mut self, engine: E, layout: &Layout) {
        if let Some(lookup) = &self.lookup {
            engine.add(&mut self.flat, &layout.wte, lookup);
        }
    }
}

impl<E: Engine> Network<E> {
    /// Adds to `gradients` the gradient of a loss: of the groups of sequences that begin at `groups` (G + 1), in
    /// micro-batches of whole groups. Every gradient is a chain over the sequences in order that the next
    /// micro-batch goes on with, so the cut changes no bit.
    ///
    /// # Panics
    /// If the memory was not planned for training, or a group does not fit in it.
    pub fn add_gradient(
        &mut self,
        gradients: &mut Gradients<E>,
        sequences: &[Sequence],
        groups: &[usize],
        temperature: f32,
        dropout: Option<Dropout>,
        loss: &mut impl Loss,
    ) {
        let (head, count) = (self.head, groups.len() - 1);
        let mut first = 0;
        while first < count {
            let end = self.micro_batch(first, count, |group| &sequences[groups[group]..groups[group + 1]]);
            let of_piece = groups[first]..groups[end];
            self.take_memory().fill(&sequences[of_piece.clone()], of_piece.start, head);
            self.forward_trunk(dropout);
            // With slopes that are known, the head goes forward and back at once.
            let known = loss.known_slope();
            match known {
                Some(slope) => {
                    self.take_memory().slopes.fill(slope);
                    self.backward_head(gradients, temperature);
                }
                None => self.forward_head(temperature),
            }
            let Memory { outputs, slopes, .. } = self.take_memory();
            let mut at = 0;
            for group in first..end {
                let members = &sequences[groups[group]..groups[group + 1]];
                let range = at..at + members.iter().map(Sequence::outputs).sum::<usize>();
                loss.slopes(group, &outputs[range.clone()], &mut slopes[range.clone()]);
                at = range.end;
            }
            match known {
                None => self.backward_head(gradients, temperature),
                Some(known) => {
                    let same = |slope: &f32| slope.to_bits() == known.to_bits();
                    debug_assert!(slopes[..at].iter().all(same), "slopes other than the known one");
                }
            }
            self.backward_trunk(gradients, dropout);
            first = end;
        }
    }

    /// From the slopes to the gradients of the head and of what it read; a language model's outputs too.
    fn backward_head(&mut self, gradients: &mut Gradients<E>, temperature: f32) {
        self.pass_head(temperature, Some(gradients));
    }
}

#[cfg(test)]
mod tests {
    use super::super::sequence::singly;
    use super::*;
    use crate::engine::Plain;
    use crate::model::ModelConfig;

    struct Liar;

    impl Loss for Liar {
        fn known_slope(&self) -> Option<f32> {
            Some(-0.5)
        }
        fn slopes(&mut self, _: usize, log_probs: &[f32], slopes: &mut [f32]) {
            slopes.copy_from_slice(log_probs);
        }
    }

    #[test]
    #[should_panic(expected = "slopes other than the known one")]
    fn a_loss_that_knows_its_slope_must_keep_to_it() {
        let config = ModelConfig::gpt2(7, 4, 4, 1, 1);
        let mut network = Network::random(Plain, config, Head::LanguageModel, 1);
        network.plan(4, true);
        let mut gradients = Gradients::new(&network);
        network.add_gradient(&mut gradients, &[Sequence::text(&[1, 2, 3])], &singly(1), 1.0, None, &mut Liar);
    }
}
