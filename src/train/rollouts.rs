//! Rollouts: prompts and the responses that were sampled to them, packed one after another.

use core::ops::Range;

use crate::model::{Response, Sequence};

/// Prompts and responses. `N` tokens of `B` rollouts.
#[derive(Debug, Clone, PartialEq)]
pub struct Rollouts {
    /// Each prompt and its response, (N).
    pub tokens: Vec<u32>,
    /// Where each rollout begins in `tokens`, (B + 1).
    pub offsets: Vec<usize>,
    /// Tokens of each prompt, (B).
    pub prompts: Vec<usize>,
}

impl Default for Rollouts {
    fn default() -> Self {
        Rollouts { tokens: Vec::new(), offsets: vec![0], prompts: Vec::new() }
    }
}

impl Rollouts {
    /// The responses to these prompts.
    pub fn new(prompts: &[&[u32]], responses: &[Response]) -> Self {
        assert_eq!(prompts.len(), responses.len(), "one response per prompt");
        let mut rollouts = Rollouts::default();
        for (prompt, response) in prompts.iter().zip(responses) {
            rollouts.push(prompt, &response.tokens);
        }
        rollouts
    }

    /// Adds one.
    pub fn push(&mut self, prompt: &[u32], response: &[u32]) {
        self.tokens.extend_from_slice(prompt);
        self.tokens.extend_from_slice(response);
        self.offsets.push(self.tokens.len());
        self.prompts.push(prompt.len());
    }

    /// Forgets all of them and keeps the memory.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.offsets.truncate(1);
        self.prompts.clear();
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.prompts.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.prompts.is_empty()
    }

    fn range(&self, i: usize) -> Range<usize> {
        self.offsets[i]..self.offsets[i + 1]
    }

    /// Prompt and response of rollout `i`.
    pub fn whole(&self, i: usize) -> &[u32] {
        &self.tokens[self.range(i)]
    }

    /// The prompt of rollout `i`.
    pub fn prompt(&self, i: usize) -> &[u32] {
        &self.whole(i)[..self.prompts[i]]
    }

    /// The response of rollout `i`.
    pub fn response(&self, i: usize) -> &[u32] {
        &self.whole(i)[self.prompts[i]..]
    }

    /// All of them, prompt and response.
    pub fn iter(&self) -> impl Iterator<Item = &[u32]> {
        (0..self.len()).map(|i| self.whole(i))
    }

    /// All responses.
    pub fn responses(&self) -> impl Iterator<Item = &[u32]> {
        (0..self.len()).map(|i| self.response(i))
    }

    /// Each as a language model is asked for its response's log-probs.
    pub fn sequences(&self) -> Vec<Sequence<'_>> {
        (0..self.len()).map(|i| Sequence::continuation(self.whole(i), self.prompts[i])).collect()
    }
}

/// A response without its end-of-text token.
pub fn strip(response: &[u32], end_of_text: u32) -> &[u32] {
    response.strip_suffix(&[end_of_text]).unwrap_or(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_and_found_again() {
        let mut rollouts = Rollouts::default();
        rollouts.push(&[9], &[9]);
        rollouts.clear();
        rollouts.push(&[1, 2], &[3]);
        rollouts.push(&[4], &[5, 6, 7]);
        assert_eq!((rollouts.len(), rollouts.offsets.as_slice()), (2, &[0, 3, 7][..]));
        assert_eq!(
            (rollouts.whole(0), rollouts.prompt(1), rollouts.response(1)),
            (&[1, 2, 3][..], &[4][..], &[5, 6, 7][..])
        );
        let outputs: Vec<(usize, usize)> = rollouts.sequences().iter().map(|s| (s.from, s.to)).collect();
        assert_eq!(outputs, [(1, 2), (0, 3)]);
    }
}
