//! What a network is asked, shared out to its ranks.

use alloc::vec::Vec;
use core::ops::Range;

use super::gradients::{Differentiated, Gradients};
use super::micro_batch::input_len;
use super::network::{Memory, Network};
use super::sampling::Response;
use super::sequence::{Loss, Sequence};
use crate::engine::Engine;
use crate::ranks::{Ranks, to_words};

impl<E: Engine> Network<E> {
    /// [`Network::add_gradient`], of which each rank adds every R-th micro-batch.
    ///
    /// A loss is told of all outputs in their order on every rank. If its slopes are known before, it is told when all
    /// is added; if not, the ranks go forward side by side, tell each other the outputs, and go back.
    pub(super) fn add_gradient_shared_out(
        &mut self,
        gradients: &mut Gradients<E>,
        batch: &Differentiated,
        loss: &mut impl Loss,
    ) {
        let (ranks, before) = (gradients.relay.ranks, gradients.relay.before);
        let (known, micro_batches) = (loss.known_slope(), self.micro_batches(batch, ranks.size()));
        let at_once = if known.is_some() { micro_batches.len().max(1) } else { ranks.size() };
        let (mut number, mut slopes, mut unread) = (before, Vec::new(), 0);
        for groups in micro_batches.chunks(at_once) {
            let own = |(number, _): &(usize, &Range<usize>)| gradients.relay.owner(*number) == ranks.rank();
            let own: Vec<(usize, &Range<usize>)> = (number..).zip(groups).filter(own).collect();
            let mut found = Vec::new();
            for &(number, groups) in &own {
                gradients.relay.before = number;
                for groups in &micro_batches[unread..number - before] {
                    self.take_note(gradients, batch, groups);
                }
                unread = number - before;
                self.forward(gradients, batch, groups, known);
                let Memory { targets, outputs, .. } = self.take_memory();
                found.extend_from_slice(&outputs[..targets.len()]);
                if known.is_some() {
                    self.backward(gradients, batch, known);
                }
            }
            let mut found = ranks.gather(to_words(found)).into_iter().map(Vec::into_iter).collect::<Vec<_>>();
            for groups in groups {
                let count = batch.of(groups).iter().map(Sequence::outputs).sum();
                let owner = gradients.relay.owner(number);
                let outputs: Vec<f32> = found[owner].by_ref().take(count).map(f32::from_bits).collect();
                slopes.clear();
                slopes.resize(count, known.unwrap_or(0.0));
                batch.ask(loss, groups, &outputs, &mut slopes);
                if owner == ranks.rank() && known.is_none() {
                    self.take_memory().slopes[..count].copy_from_slice(&slopes);
                }
                number += 1;
            }
            if known.is_none() && !own.is_empty() {
                self.backward(gradients, batch, known);
            }
        }
        gradients.relay.before = number;
        micro_batches[unread..].iter().for_each(|groups| self.take_note(gradients, batch, groups));
    }

    /// Takes note of the tokens that a micro-batch reads, whoever adds it.
    fn take_note(&self, gradients: &mut Gradients<E>, batch: &Differentiated, groups: &Range<usize>) {
        let inputs = |sequence: &Sequence| input_len(sequence, self.head);
        batch.of(groups).iter().for_each(|s| gradients.tokens_read.add(&s.tokens[..inputs(s)]));
    }
}

/// The responses of all ranks, those of the first rank first.
pub(super) fn join_responses(ranks: &dyn Ranks, mine: Vec<Response>) -> Vec<Response> {
    if ranks.size() == 1 {
        return mine;
    }
    let mut words = Vec::new();
    for response in &mine {
        words.extend([response.tokens.len() as u32, u32::from(response.ended)]);
        words.extend_from_slice(&response.tokens);
        words.extend(response.log_probs.iter().chain(&response.entropies).map(|x| x.to_bits()));
    }
    let all = ranks.gather(words).concat();
    let (mut rest, mut responses) = (&all[..], Vec::new());
    while let [length, ended, after @ ..] = rest {
        let (own, others) = after.split_at(3 * *length as usize);
        let mut parts = own.chunks_exact((*length as usize).max(1));
        let mut part = || parts.next().unwrap_or_default();
        let tokens = part().to_vec();
        let mut numbers = || part().iter().map(|&x| f32::from_bits(x)).collect();
        let (log_probs, entropies) = (numbers(), numbers());
        responses.push(Response { tokens, log_probs, entropies, ended: *ended != 0 });
        rest = others;
    }
    responses
}
