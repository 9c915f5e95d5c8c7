//! Addressed random numbers: a draw is a function of its address, never of what was drawn before.
//!
//! [`Rng::at`] names a place (seed, stage, purpose, step, sequence, position) and opens the ChaCha8
//! keystream that belongs to it. Neither threads nor the order of a batch nor resuming can move a draw,
//! and two places share nothing. The generator is a cipher: neighbouring addresses give unrelated streams.
//!
//! Every derived draw (uniform, normal, below, shuffle) is defined here down to the bit.

use alloc::vec::Vec;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng};

use super::math;

/// The part of a run that draws. The numbers are part of the address and must never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Stage {
    /// The generated miniature world.
    World = 0,
    /// Training the tokenizer.
    Tokenizer = 1,
    /// Initial weights.
    Init = 2,
    /// Pretraining.
    Pretrain = 3,
    /// Supervised fine-tuning.
    Sft = 4,
    /// Training the reward model.
    RewardModel = 5,
    /// The start of the policy (paper, appendix C.3).
    RlhfInit = 6,
    /// PPO.
    Ppo = 7,
    /// Evaluation.
    Eval = 8,
    /// Sampling at the user's request.
    Sample = 9,
    /// Tests.
    Test = 10,
    /// Labelling by people.
    Label = 11,
}

/// What the draw is for. The numbers are part of the address and must never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// Initial weights.
    Init = 0,
    /// Order of examples.
    Shuffle = 1,
    /// Assignment to training, validation and test.
    Split = 2,
    /// Dropout masks.
    Dropout = 3,
    /// Sampling tokens.
    Sample = 4,
    /// Choice of prompts.
    Prompt = 5,
    /// Choice of pretraining examples.
    Pretraining = 6,
    /// A simulated labeler.
    Labeler = 7,
    /// Noise.
    Noise = 8,
    /// Generated text.
    Text = 9,
    /// Mixing data sources.
    Mix = 10,
    /// Tests.
    Test = 11,
}

/// A ChaCha8 keystream at an address.
#[derive(Debug, Clone)]
pub struct Rng(ChaCha8Rng);

impl Rng {
    /// The stream at an address: the 32-byte key is `seed` (8), `stage` (4), `purpose` (4), `step` (8),
    /// `sequence` (8), little-endian; the 64-bit stream number is `position`; the counter starts at 0.
    pub fn at(seed: u64, stage: Stage, purpose: Purpose, step: u64, sequence: u64, position: u64) -> Rng {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..12].copy_from_slice(&(stage as u32).to_le_bytes());
        key[12..16].copy_from_slice(&(purpose as u32).to_le_bytes());
        key[16..24].copy_from_slice(&step.to_le_bytes());
        key[24..].copy_from_slice(&sequence.to_le_bytes());
        let mut stream = ChaCha8Rng::from_seed(key);
        stream.set_stream(position);
        Rng(stream)
    }

    /// The next 32 bits of the keystream.
    #[inline]
    pub fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// The next 64 bits: two words, the low one first.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        let low = self.next_u32() as u64;
        low | (self.next_u32() as u64) << 32
    }

    /// Fills a row with what as many calls of [`Rng::next_u32`] give.
    pub fn fill_u32(&mut self, row: &mut [u32]) {
        for word in row {
            *word = self.next_u32();
        }
    }

    /// Uniform in [0, 1): the top 24 bits of a word times 2^-24, so exact and never 1.
    #[inline]
    pub fn uniform(&mut self) -> f32 {
        (self.next_u32() >> 8) as f32 * (1.0 / 16_777_216.0)
    }

    /// Uniform among `0..n`, without bias (Lemire 2019: multiply, reject the uneven rest). `n` is at
    /// least 1.
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "below(0): nothing to choose from");
        let n = n as u64;
        let uneven = n.wrapping_neg() % n;
        loop {
            let product = self.next_u64() as u128 * n as u128;
            if product as u64 >= uneven {
                return (product >> 64) as usize;
            }
        }
    }

    /// Standard normal, by Marsaglia's polar method: a point in the unit disc, `x sqrt(-2 ln(s) / s)` with
    /// `s` its squared radius. The second coordinate's normal is not kept, so a draw leaves no state.
    pub fn normal(&mut self) -> f32 {
        loop {
            let x = 2.0 * self.uniform() - 1.0;
            let y = 2.0 * self.uniform() - 1.0;
            let s = x * x + y * y;
            if s > 0.0 && s < 1.0 {
                return x * math::sqrt(-2.0 * math::ln(s) / s);
            }
        }
    }

    /// Puts the items into a uniformly random order (Fisher and Yates, from the end).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// The numbers `0..n` in a uniformly random order.
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        self.shuffle(&mut order);
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test_rng(position: u64) -> Rng {
        Rng::at(7, Stage::Test, Purpose::Test, 1, 2, position)
    }

    /// The first draws, fixed for ever: a change here changes every run.
    #[test]
    fn golden_values() {
        let mut rng = test_rng(3);
        let words: [u32; 4] = core::array::from_fn(|_| rng.next_u32());
        let long = test_rng(3).next_u64();
        assert_eq!(long, words[0] as u64 | (words[1] as u64) << 32);
        let normals: [u32; 3] = core::array::from_fn(|_| rng.normal().to_bits());
        let found =
            (words, test_rng(3).uniform(), test_rng(3).below(1000), normals, test_rng(3).permutation(8));
        let expected = (
            [2805015496, 2023804673, 3701380395, 589514363],
            0.6530935,
            471,
            [1032772364, 3214098678, 1066662408],
            alloc::vec![7, 4, 6, 2, 1, 5, 0, 3],
        );
        assert_eq!(found, expected);
    }

    /// ChaCha8 with the all-zero key and stream, first words as published by Strombergson's test vectors
    /// (draft-strombergson-chacha-test-vectors-01, TC1, 256-bit key, 8 rounds).
    #[test]
    fn address_zero_is_the_published_keystream() {
        let mut rng = Rng::at(0, Stage::World, Purpose::Init, 0, 0, 0);
        let bytes: Vec<u8> = (0..4).flat_map(|_| rng.next_u32().to_le_bytes()).collect();
        let published =
            [0x3e, 0x00, 0xef, 0x2f, 0x89, 0x5f, 0x40, 0xd6, 0x7f, 0x5b, 0xb8, 0xe8, 0x1f, 0x09, 0xa5, 0xa1];
        assert_eq!(bytes, published);
    }

    #[test]
    fn every_part_of_the_address_matters() {
        let first = |mut rng: Rng| rng.next_u64();
        let draws = [
            first(Rng::at(1, Stage::Sft, Purpose::Noise, 1, 1, 1)),
            first(Rng::at(2, Stage::Sft, Purpose::Noise, 1, 1, 1)),
            first(Rng::at(1, Stage::Ppo, Purpose::Noise, 1, 1, 1)),
            first(Rng::at(1, Stage::Sft, Purpose::Text, 1, 1, 1)),
            first(Rng::at(1, Stage::Sft, Purpose::Noise, 2, 1, 1)),
            first(Rng::at(1, Stage::Sft, Purpose::Noise, 1, 2, 1)),
            first(Rng::at(1, Stage::Sft, Purpose::Noise, 1, 1, 2)),
        ];
        for i in 0..draws.len() {
            for j in 0..i {
                assert_ne!(draws[i], draws[j], "{i} and {j}");
            }
        }
    }

    #[test]
    fn filling_a_row_equals_single_draws() {
        let mut row = [0; 100];
        test_rng(0).fill_u32(&mut row);
        let mut rng = test_rng(0);
        assert!(row.iter().all(|&word| word == rng.next_u32()));
    }

    /// One draw from each of many neighbouring addresses: that is how sampling and initialising use it.
    #[test]
    fn uniform_and_normal_have_their_moments() {
        let n = 100_000;
        let (mut uniform, mut square, mut normal) = (0.0, 0.0, [0.0; 5]);
        for position in 0..n {
            let u = test_rng(position).uniform();
            assert!((0.0..1.0).contains(&u));
            uniform += u as f64;
            square += (u * u) as f64;
            let z = test_rng(position).normal() as f64;
            for (power, sum) in normal.iter_mut().enumerate() {
                *sum += z.powi(power as i32);
            }
        }
        let mean = |sum: f64| sum / n as f64;
        assert!((mean(uniform) - 0.5).abs() < 0.004 && (mean(square) - 1.0 / 3.0).abs() < 0.004);
        for (power, expected, tolerance) in [(1, 0.0, 0.013), (2, 1.0, 0.018), (3, 0.0, 0.05), (4, 3.0, 0.13)]
        {
            assert!(
                (mean(normal[power]) - expected).abs() < tolerance,
                "moment {power}: {}",
                mean(normal[power])
            );
        }
    }

    #[test]
    fn below_is_uniform() {
        let (mut rng, mut counts) = (test_rng(0), [0u32; 7]);
        for _ in 0..70_000 {
            counts[rng.below(7)] += 1;
        }
        assert!(counts.iter().all(|count| count.abs_diff(10_000) < 400), "{counts:?}");
        assert_eq!(rng.below(1), 0);
    }

    #[test]
    fn permutations_are_uniform_and_complete() {
        let (mut rng, mut counts) = (test_rng(0), [0u32; 27]);
        for _ in 0..60_000 {
            let order = rng.permutation(3);
            counts[order[0] * 9 + order[1] * 3 + order[2]] += 1;
        }
        let seen: Vec<u32> = counts.into_iter().filter(|&count| count > 0).collect();
        assert!(seen.len() == 6 && seen.iter().all(|count| count.abs_diff(10_000) < 400), "{seen:?}");
        assert!(rng.permutation(0).is_empty());
    }
}
