//! How demonstrations and pretraining text are mixed (paper, C.3: "we also mix in 10% pretraining data").
//!
//! Before step `i`, `floor(i B f)` windows of text were read, with `B` sequences a batch and `f` the share of text. What a
//! batch has no whole window for is carried to the next ones, so no share is too small to be heard: with 4 sequences a
//! batch at 0.1, two batches in five have a window. The rest of a batch is demonstrations, and a pass over them ends
//! with what is left of them.

use core::ops::Range;

use serde::{Deserialize, Serialize};

/// The plan of a stage: a function of its numbers alone, so nothing of it needs to be saved.
#[derive(Debug, Clone)]
pub struct Mixture {
    examples: usize,
    batch: usize,
    text_share: f64,
    /// The first step of each pass over the demonstrations, and the number of all steps.
    passes: Vec<u64>,
}

/// What a step reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Portion {
    /// The pass over the demonstrations, from 0.
    pub epoch: u64,
    /// Which of its demonstrations, in its own order.
    pub demonstrations: Range<usize>,
    /// Windows of text.
    pub texts: u64,
    /// Whether it is the last of its pass.
    pub ends_epoch: bool,
}

impl Mixture {
    /// Of `epochs` passes over so many demonstrations, in batches of `batch` sequences of which a share `text_share`
    /// (below 1) are text.
    pub fn new(examples: usize, epochs: usize, batch: usize, text_share: f64) -> Self {
        assert!(
            batch > 0 && (0.0..1.0).contains(&text_share),
            "{batch} sequences, {text_share} of them text"
        );
        let mut mixture = Mixture { examples, batch, text_share, passes: vec![0] };
        for epoch in 0..epochs {
            let begin = mixture.passes[epoch];
            let mut end = begin;
            while mixture.taken(begin, end) < examples {
                end += 1;
            }
            mixture.passes.push(end);
        }
        mixture
    }

    /// All steps.
    pub fn steps(&self) -> u64 {
        self.passes[self.passes.len() - 1]
    }

    /// Windows of text in all steps.
    pub fn texts(&self) -> u64 {
        self.texts_before(self.steps())
    }

    /// Whether text is to be mixed in.
    pub fn has_text(&self) -> bool {
        self.text_share > 0.0
    }

    /// What step `step` (from 0) reads.
    pub fn portion(&self, step: u64) -> Portion {
        let epoch = self.passes.partition_point(|&begin| begin <= step) - 1;
        let (begin, end) = (self.passes[epoch], self.passes[epoch + 1]);
        Portion {
            epoch: epoch as u64,
            demonstrations: self.taken(begin, step)..self.taken(begin, step + 1),
            texts: self.texts_before(step + 1) - self.texts_before(step),
            ends_epoch: step + 1 == end,
        }
    }

    fn texts_before(&self, step: u64) -> u64 {
        (step as f64 * self.batch as f64 * self.text_share) as u64
    }

    /// Demonstrations read before `step` of the pass that begins with step `begin`.
    fn taken(&self, begin: u64, step: u64) -> usize {
        let sequences = (step - begin) * self.batch as u64;
        let texts = self.texts_before(step) - self.texts_before(begin);
        usize::try_from(sequences - texts).unwrap_or(usize::MAX).min(self.examples)
    }
}

/// Sequences, tokens that are learnt, and their losses.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Amount {
    /// Sequences.
    pub sequences: u64,
    /// Tokens that are learnt.
    pub tokens: u64,
    /// The sum of their losses, in nats.
    pub nats: f64,
}

impl Amount {
    /// Adds another.
    pub fn add(&mut self, other: Amount) {
        self.sequences += other.sequences;
        self.tokens += other.tokens;
        self.nats += other.nats;
    }

    /// Its share of a `whole` that holds it: of the sequences, the tokens and the loss; `None` of nothing.
    pub fn shares(&self, whole: &Amount) -> [Option<f64>; 3] {
        let share = |part: f64, whole: f64| (whole > 0.0).then(|| part / whole);
        [
            share(self.sequences as f64, whole.sequences as f64),
            share(self.tokens as f64, whole.tokens as f64),
            share(self.nats, whole.nats),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(mixture: &Mixture) -> Vec<u64> {
        (0..mixture.steps()).map(|step| mixture.portion(step).texts).collect()
    }

    #[test]
    fn a_small_share_is_carried_on() {
        // A batch of 4 at 0.1 has 0.4 windows: 0.4, 0.8, 1.2, 1.6, 2.0, ...
        let mixture = Mixture::new(18, 1, 4, 0.1);
        assert_eq!(texts(&mixture), [0, 0, 1, 0, 1]);
        assert_eq!(mixture.portion(2).demonstrations, 8..11);
        assert_eq!(
            mixture.portion(4),
            Portion { epoch: 0, demonstrations: 15..18, texts: 1, ends_epoch: true }
        );
        // Also from one pass to the next, and in batches of a single sequence.
        assert_eq!(texts(&Mixture::new(2, 3, 2, 0.25)), [0, 1, 0, 1, 0]);
        assert_eq!(texts(&Mixture::new(2, 2, 1, 0.5)), [0, 1, 0, 1, 0, 1, 0]);
    }

    #[test]
    fn without_text_a_pass_is_cut_into_batches() {
        let mixture = Mixture::new(5, 2, 2, 0.0);
        let cut: Vec<_> = (0..mixture.steps()).map(|step| mixture.portion(step)).collect();
        let ranges: Vec<_> = cut.iter().map(|p| (p.epoch, p.demonstrations.clone(), p.ends_epoch)).collect();
        let pass = |epoch| [(epoch, 0..2, false), (epoch, 2..4, false), (epoch, 4..5, true)];
        assert_eq!(ranges, [pass(0), pass(1)].concat());
        assert!(cut.iter().all(|portion| portion.texts == 0));
        assert_eq!((Mixture::new(5, 0, 2, 0.0).steps(), Mixture::new(0, 3, 2, 0.5).steps()), (0, 0));
    }

    proptest! {
        #[test]
        fn every_pass_reads_every_demonstration_once_and_the_share_is_met(
            examples in 1usize..60, epochs in 1usize..5, batch in 1usize..9, text_share in 0.0f64..0.95
        ) {
            let mixture = Mixture::new(examples, epochs, batch, text_share);
            let (mut read, mut epoch, mut all) = (0, 0, 0);
            for step in 0..mixture.steps() {
                let portion = mixture.portion(step);
                prop_assert_eq!((portion.epoch, portion.demonstrations.start), (epoch, read));
                prop_assert!(portion.demonstrations.len() as u64 + portion.texts <= batch as u64);
                read = portion.demonstrations.end;
                all += portion.texts;
                prop_assert_eq!(portion.ends_epoch, read == examples);
                if portion.ends_epoch {
                    (read, epoch) = (0, epoch + 1);
                }
            }
            prop_assert_eq!(epoch, epochs as u64);
            let wanted = mixture.steps() as f64 * batch as f64 * text_share;
            prop_assert!((all as f64) <= wanted && wanted < all as f64 + 1.0);
        }
    }
}
