//! What a network is asked: sequences with the positions that count, and the one contract of all losses.

/// A sequence, and the positions at which the head's output counts: for a language model the log-prob of the token
/// that follows, for a scalar head its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sequence<'a> {
    /// The tokens.
    pub tokens: &'a [u32],
    /// The first position that counts.
    pub from: usize,
    /// One past the last.
    pub to: usize,
}

impl<'a> Sequence<'a> {
    /// The positions before each token that follows a prompt of `prompt` tokens: a response's log-probs, and what a
    /// value function expects before each of its tokens. (Nothing comes before the first token of a sequence.)
    pub fn continuation(tokens: &'a [u32], prompt: usize) -> Self {
        let to = tokens.len().saturating_sub(1);
        Sequence { tokens, from: prompt.saturating_sub(1).min(to), to }
    }

    /// All next-token predictions of a text.
    pub fn text(tokens: &'a [u32]) -> Self {
        Sequence::continuation(tokens, 1)
    }

    /// The last position alone: where a reward model's score is read.
    pub fn last(tokens: &'a [u32]) -> Self {
        Sequence { tokens, from: tokens.len() - 1, to: tokens.len() }
    }

    /// How many outputs count.
    pub fn outputs(&self) -> usize {
        self.to - self.from
    }
}

/// A loss: it sees the outputs of a whole group of sequences (a text, a prompt's K responses, a pair, an episode) and
/// says how it changes with each. This is the one contract, for both heads and every engine.
///
/// Groups come in order, each once, whatever the micro-batches; so a loss may keep sums.
pub trait Loss {
    /// The slope in every output, where it is the same for all and known before them: then the head goes forward and
    /// back at once, and [`Loss::slopes`] only reports. Cross-entropy is such a loss.
    fn known_slope(&self) -> Option<f32> {
        None
    }

    /// Writes into `slopes` the derivative of the loss with respect to each of the outputs of `group`, which are
    /// log-probs in nats or a scalar head's numbers, sequence after sequence.
    fn slopes(&mut self, group: usize, outputs: &[f32], slopes: &mut [f32]);
}

impl<F: FnMut(usize, &[f32], &mut [f32])> Loss for F {
    fn slopes(&mut self, group: usize, outputs: &[f32], slopes: &mut [f32]) {
        self(group, outputs, slopes);
    }
}

/// The groups of `n` sequences that belong to none but themselves: the offsets of each, (n + 1).
pub fn singly(n: usize) -> alloc::vec::Vec<usize> {
    (0..=n).collect()
}
