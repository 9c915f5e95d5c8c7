//! The gradient of a loss: forward, the loss's slopes in the outputs, and the way back.

use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use super::layout::{Head, Layout};
use super::network::{Memory, Network};
use super::relay::{Relay, TokensRead};
use super::sequence::{Loss, Sequence};
use crate::engine::{Dropout, Engine, Relayed, pieces};

/// The gradient of all parameters, in one flat buffer like theirs.
pub struct Gradients<E: Engine> {
    /// As the layout has them. While a step is being accumulated, the part of a tied embedding holds the head's
    /// share only, and on several ranks only what this rank knows of it.
    pub flat: E::Buffer,
    /// The lookup's share of a tied embedding's gradient, (V, C): the head's chain over the tokens of a batch and the
    /// lookup's would interleave differently for another micro-batch size, so the two are added at the end.
    lookup: Option<E::Buffer>,
    /// Who adds what, where the network has several ranks.
    pub(super) relay: Relay,
    /// In the micro-batches that are added so far, of all ranks.
    pub(super) tokens_read: TokensRead,
}

impl<E: Engine> Gradients<E> {
    /// Zero gradients for `network`.
    pub fn new(network: &Network<E>) -> Self {
        let Network { engine, config, head, layout, .. } = network;
        let tied = *head == Head::LanguageModel && config.tied_head;
        Gradients {
            flat: engine.buffer(vec![0.0; layout.len]),
            lookup: tied.then(|| engine.buffer(vec![0.0; layout.wte.len()])),
            relay: Relay { ranks: network.ranks(), before: 0 },
            tokens_read: TokensRead::default(),
        }
    }

    /// Back to zero, for the next step.
    pub fn clear(&mut self, engine: E) {
        engine.clear(&mut self.flat);
        self.lookup.iter_mut().for_each(|lookup| engine.clear(lookup));
        self.relay.before = 0;
        self.tokens_read.clear();
    }

    /// All chains, where no other rank goes on with them.
    pub(super) fn alone(&mut self) -> Option<&mut E::Buffer> {
        (self.relay.ranks.size() == 1).then_some(&mut self.flat)
    }

    /// Goes on with the chains of the parameters at `at`.
    pub(super) fn add(&mut self, e: &E, at: &Range<usize>, add: impl FnOnce(&mut E::Buffer)) {
        let at = core::slice::from_ref(at);
        self.relay.go_on(e, &mut self.flat, at, at, add);
    }

    /// [`Gradients::add`] of the table of tokens, wherever its chains are: `add(buffer, where in it)`; the micro-batch reads
    /// these tokens.
    pub(super) fn add_lookup(
        &mut self,
        e: &E,
        layout: &Layout,
        tokens: &[u32],
        add: impl FnOnce(&mut E::Buffer, &Range<usize>),
    ) {
        let (mut relay, mut rows) = (self.relay, [Vec::new(), Vec::new()]);
        if relay.ranks.size() > 1 {
            let start = self.lookup(layout).1.start;
            rows[0] = self.tokens_read.rows(start, layout.width());
            self.tokens_read.add(tokens);
            rows[1] = self.tokens_read.rows(start, layout.width());
        }
        let (table, at) = self.lookup(layout);
        relay.go_on(e, table, &rows[0], &rows[1], |table| add(table, &at));
    }

    /// Who else adds to the sums of a language model's head, and the sums.
    pub(super) fn of_head(&mut self) -> (Option<&mut dyn Relayed>, &mut E::Buffer) {
        let is_relayed = self.relay.ranks.size() > 1;
        (is_relayed.then_some(&mut self.relay as &mut dyn Relayed), &mut self.flat)
    }

    fn lookup(&mut self, layout: &Layout) -> (&mut E::Buffer, Range<usize>) {
        match &mut self.lookup {
            None => (&mut self.flat, layout.wte.clone()),
            Some(lookup) => (lookup, 0..layout.wte.len()),
        }
    }

    /// Ends the accumulation of a step: all ranks have all of it, and the two shares of a tied embedding become one.
    pub fn finish(&mut self, engine: E, layout: &Layout) {
        let relay = self.relay;
        if relay.ranks.size() > 1 {
            let mut end = |at: Range<usize>| relay.end(&engine, &mut self.flat, &[at]);
            pieces(&layout.head, layout.width()).chain(layout.backward_order()).for_each(&mut end);
            let start = self.lookup(layout).1.start;
            let read = self.tokens_read.rows(start, layout.width());
            relay.end(&engine, self.lookup(layout).0, &read);
            relay.end(&engine, &mut self.flat, core::slice::from_ref(&layout.wpe));
        }
        if let Some(lookup) = &self.lookup {
            engine.add(&mut self.flat, &layout.wte, lookup);
        }
    }
}

/// A batch whose loss is to be differentiated.
#[derive(Clone, Copy)]
pub(super) struct Differentiated<'a> {
    pub sequences: &'a [Sequence<'a>],
    /// Where each group begins, and the end of the last, (G + 1).
    pub groups: &'a [usize],
    pub temperature: f32,
    pub dropout: Option<Dropout>,
}

impl<'a> Differentiated<'a> {
    /// The sequences of some groups.
    pub fn of(&self, groups: &Range<usize>) -> &'a [Sequence<'a>] {
        &self.sequences[self.groups[groups.start]..self.groups[groups.end]]
    }

    /// Asks a loss for the slopes of some groups.
    pub fn ask(&self, loss: &mut impl Loss, groups: &Range<usize>, outputs: &[f32], slopes: &mut [f32]) {
        let mut at = 0;
        for group in groups.clone() {
            let members = self.of(&(group..group + 1));
            let range = at..at + members.iter().map(Sequence::outputs).sum::<usize>();
            loss.slopes(group, &outputs[range.clone()], &mut slopes[range.clone()]);
            at = range.end;
        }
        if let Some(known) = loss.known_slope() {
            let same = |slope: &f32| slope.to_bits() == known.to_bits();
            debug_assert!(slopes[..at].iter().all(same), "slopes other than the known one");
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
        let batch = Differentiated { sequences, groups, temperature, dropout };
        if gradients.relay.ranks.size() > 1 {
            return self.add_gradient_shared_out(gradients, &batch, loss);
        }
        let (count, known) = (groups.len() - 1, loss.known_slope());
        let mut first = 0;
        while first < count {
            let end = self.micro_batch(first, count, self.room(), |group| batch.of(&(group..group + 1)));
            self.forward(gradients, &batch, &(first..end), known);
            let Memory { outputs, slopes, .. } = self.take_memory();
            batch.ask(loss, &(first..end), outputs, slopes);
            self.backward(gradients, &batch, known);
            first = end;
        }
    }

    /// The outputs of a micro-batch. With slopes that are known, the head goes forward and back at once.
    pub(super) fn forward(
        &mut self,
        gradients: &mut Gradients<E>,
        batch: &Differentiated,
        groups: &Range<usize>,
        known: Option<f32>,
    ) {
        let head = self.head;
        self.take_memory().fill(batch.of(groups), batch.groups[groups.start], head);
        self.forward_trunk(batch.dropout);
        match known {
            Some(slope) => {
                self.take_memory().slopes.fill(slope);
                self.backward_head(gradients, batch.temperature);
            }
            None => self.forward_head(batch.temperature),
        }
    }

    /// From the slopes of the micro-batch in memory to the gradient.
    pub(super) fn backward(
        &mut self,
        gradients: &mut Gradients<E>,
        batch: &Differentiated,
        known: Option<f32>,
    ) {
        if known.is_none() {
            self.backward_head(gradients, batch.temperature);
        }
        self.backward_trunk(gradients, batch.dropout);
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
