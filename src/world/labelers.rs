//! Simulated labelers: people who write demonstrations of their own quality, and who rank responses by
//! the gold score as each of them sees it. The noise is set so that two labelers agree on about 73 % of
//! the pairs on which both have a preference (the paper's training labelers: 72.6 +- 1.5 %, section 3.4).

use super::World;
use super::gold::Metadata;
use crate::data::Side;
use crate::num::hash::{EMPTY, fnv1a};
use crate::num::rng::{Purpose, Rng, Stage};

/// Whoever writes and ranks responses: the miniature's simulated people; another day a file, or people in a browser.
pub trait Labeler {
    /// Up to `count` responses of varied quality to the prompt, to be ranked among sampled ones.
    fn write(&mut self, item: Item, prompt: &str, count: usize) -> Vec<String>;

    /// Ranks responses to the prompt.
    fn rank(&mut self, item: Item, prompt: &str, responses: &[String]) -> Judgement;
}

/// Which prompt is labelled: an address for draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item {
    /// The side of the split that it is on.
    pub side: Side,
    /// Its number there.
    pub index: u64,
}

/// A ranking, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// Name in the records.
    pub labeler: String,
    /// One rank per response: 1 is best, equal is a tie.
    pub ranks: Vec<u32>,
}

/// One simulated labeler.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Person {
    /// Name in the records.
    pub id: &'static str,
    /// Likert points added for every ten words: a taste for long answers, or against them.
    pub per_ten_words: f32,
    /// Likert points taken off for rudeness, beyond what the gold score takes.
    pub offended: f32,
    /// Likert points given back for a statement that is not so: who does not check facts.
    pub credulous: f32,
    /// Standard deviation of the noise in Likert points.
    pub noise: f32,
    /// How often (in percent) demonstrations have each flaw, in the order of `Flaw::ALL`.
    pub flaws: [usize; 8],
}

/// The labelers whose work is training data: a careful one, a wordy one, a careless one, one who forgets
/// constraints, and one in a bad mood.
#[rustfmt::skip]
pub const LABELERS: [Person; 5] = [
    //                                                                                              none slip misread rude ramble cut off repeat
    Person { id: "labeler-1", per_ten_words:  0.0, offended: 0.5, credulous: 0.0, noise: 1.2, flaws: [90,  4,  2,  0,  2,  2,  0,  0] },
    Person { id: "labeler-2", per_ten_words:  0.6, offended: 0.3, credulous: 0.4, noise: 1.5, flaws: [46,  6,  6,  0, 36,  0,  2,  4] },
    Person { id: "labeler-3", per_ten_words: -0.2, offended: 0.0, credulous: 1.2, noise: 1.9, flaws: [44, 36, 10,  2,  2,  4,  2,  0] },
    Person { id: "labeler-4", per_ten_words: -0.4, offended: 0.3, credulous: 0.2, noise: 1.6, flaws: [46,  8, 34,  0,  0,  8,  4,  0] },
    Person { id: "labeler-5", per_ten_words:  0.2, offended: -0.8, credulous: 0.5, noise: 1.8, flaws: [40, 10,  8, 26,  6,  6,  2,  2] },
];

/// Labelers who produce no training data (paper, section 3.4): to test whether preferences carry over.
#[rustfmt::skip]
pub const HELD_OUT_LABELERS: [Person; 2] = [
    Person { id: "held-out-1", per_ten_words:  0.4, offended: 0.8, credulous: 0.0, noise: 1.5, flaws: [100, 0, 0, 0, 0, 0, 0, 0] },
    Person { id: "held-out-2", per_ten_words: -0.5, offended: 0.0, credulous: 0.6, noise: 1.7, flaws: [100, 0, 0, 0, 0, 0, 0, 0] },
];

/// Closer than this many Likert points counts as equally good.
const TIE: f32 = 0.25;

impl Person {
    /// How good the labeler finds a response. The noise belongs to (seed, labeler, prompt, response), so
    /// that neither the other responses nor their order can move it.
    fn impression(&self, prompt: &str, response: &str, gold: &Metadata, seed: u64) -> f32 {
        let address = (hash(self.id), hash(prompt), hash(response));
        let mut rng = Rng::at(seed, Stage::World, Purpose::Labeler, address.0, address.1, address.2);
        let words = response.split_whitespace().count().min(60) as f32;
        let offence = if gold.inappropriate { self.offended } else { 0.0 };
        let credit = if gold.untrue { self.credulous } else { 0.0 };
        gold.overall + self.per_ten_words * (words / 10.0) - offence + credit + self.noise * rng.normal()
    }

    /// Ranks responses of which `gold` says how good they are: 1 is best, equal ranks are ties, and no
    /// rank is left out. Responses in another order get the same ranks in that order.
    pub fn rank(&self, prompt: &str, responses: &[String], gold: &[Metadata], seed: u64) -> Vec<u32> {
        assert_eq!(responses.len(), gold.len(), "one judgement for every response");
        let judged = responses.iter().zip(gold);
        let seen: Vec<f32> = judged.map(|(text, gold)| self.impression(prompt, text, gold, seed)).collect();
        let mut order: Vec<usize> = (0..seen.len()).collect();
        order.sort_by(|&a, &b| seen[b].total_cmp(&seen[a]));
        let mut ranks = vec![0; seen.len()];
        let (mut rank, mut best_of_rank) = (0, f32::INFINITY);
        for i in order {
            if best_of_rank - seen[i] > TIE {
                rank += 1;
                best_of_rank = seen[i];
            }
            ranks[i] = rank;
        }
        ranks
    }
}

/// The world's people: everybody writes, and one of them, drawn anew for each prompt, ranks.
impl Labeler for World {
    fn write(&mut self, item: Item, prompt: &str, count: usize) -> Vec<String> {
        let (set, index) = (item.side as u64, item.index);
        let mut rng = Rng::at(self.seed, Stage::RewardModel, Purpose::Text, set, index, 0);
        self.candidate_responses(prompt, count, &mut rng).unwrap_or_default()
    }

    fn rank(&mut self, item: Item, prompt: &str, responses: &[String]) -> Judgement {
        let (set, index) = (item.side as u64, item.index);
        let mut rng = Rng::at(self.seed, Stage::RewardModel, Purpose::Labeler, set, index, 1);
        let person = LABELERS[rng.below(LABELERS.len())];
        let ranks = World::rank(self, prompt, responses, &person, self.seed);
        Judgement { labeler: person.id.into(), ranks }
    }
}

/// Of the pairs on which both rankings have a preference: on how many they agree, and how many there are.
pub fn agreement(one: &[u32], other: &[u32]) -> (usize, usize) {
    assert_eq!(one.len(), other.len(), "two rankings of the same responses");
    let (mut agreed, mut pairs) = (0, 0);
    for i in 0..one.len() {
        for j in 0..i {
            if one[i] != one[j] && other[i] != other[j] {
                pairs += 1;
                agreed += usize::from((one[i] < one[j]) == (other[i] < other[j]));
            }
        }
    }
    (agreed, pairs)
}

/// A 64-bit hash of a text (FNV-1a, then the finisher of MurmurHash3): an address, no secret.
pub fn hash(text: &str) -> u64 {
    let mut hash = fnv1a(EMPTY, text.bytes());
    for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
        hash = (hash ^ (hash >> 33)).wrapping_mul(factor);
    }
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rankings_follow_the_responses_and_copies_tie() {
        let responses: Vec<String> = ["a", "b c", "d", "a", "e f g"].map(String::from).to_vec();
        let gold: Vec<Metadata> =
            [3.0, 7.0, 1.0, 3.0, 5.0].map(|overall| Metadata { overall, ..Metadata::default() }).to_vec();
        for labeler in &LABELERS {
            let ranks = labeler.rank("p", &responses, &gold, 9);
            assert_eq!(ranks[0], ranks[3]);
            assert_eq!(ranks.iter().min(), Some(&1));
            let backwards: Vec<String> = responses.iter().rev().cloned().collect();
            let gold: Vec<Metadata> = gold.iter().rev().copied().collect();
            let mut reversed = labeler.rank("p", &backwards, &gold, 9);
            reversed.reverse();
            assert_eq!(ranks, reversed);
        }
    }

    #[test]
    fn agreement_counts_pairs_without_ties() {
        assert_eq!(agreement(&[1, 2, 3], &[1, 2, 3]), (3, 3));
        assert_eq!(agreement(&[1, 2, 3], &[3, 2, 1]), (0, 3));
        assert_eq!(agreement(&[1, 1, 2], &[1, 2, 3]), (2, 2));
        assert_eq!(agreement(&[1, 1], &[1, 2]), (0, 0));
    }
}
