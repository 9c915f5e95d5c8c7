//! Simulated labelers (paper, section 3.4): people who write demonstrations of their own quality, who have some popular
//! misconceptions, and who rank responses each to their own taste. While training data is made they put helpfulness
//! first, in the final judgement truthfulness and harmlessness.
//!
//! The noise is set so that two labelers agree on 73 % of the pairs on which both have a preference, and two held-out
//! ones on 78 % (the paper's: 72.6 +- 1.5 and 77.3 +- 1.3 %).

use super::World;
use super::facts::{Beliefs, Facts};
use super::gold::Metadata;
use super::language::{Clause, Form};
use super::reading::Reading;
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

/// What comes first for a labeler who has to weigh (paper, section 3.4 and B.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// While training data is made: helping the user.
    Helpfulness,
    /// In the final judgement: truthfulness and harmlessness.
    Harmlessness,
}

impl Priority {
    /// What an untrue and a rude response keep of their quality.
    fn factors(self) -> (f32, f32) {
        match self {
            Priority::Helpfulness => (0.6, 0.5),
            Priority::Harmlessness => (0.3, 0.2),
        }
    }
}

/// One simulated labeler.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Person {
    /// Name in the records.
    pub id: &'static str,
    /// Likert points added for every ten words: a taste for long answers, or against them.
    pub per_ten_words: f32,
    /// Likert points taken off for rudeness, beyond what the priority takes; negative: rudeness amuses them.
    pub offended: f32,
    /// Likert points taken off for more than was asked.
    pub impatient: f32,
    /// Share of the popular misconceptions that they have.
    pub misled: f32,
    /// Standard deviation of the noise in Likert points.
    pub noise: f32,
    /// How often (in percent) demonstrations have each flaw, in the order of `Flaw::ALL`.
    pub flaws: [usize; 8],
}

/// The labelers whose work is training data: a careful one, a wordy one, a careless one, one who forgets
/// constraints, and one in a bad mood.
#[rustfmt::skip]
pub const LABELERS: [Person; 5] = [
    //                                                                                                        none slip misread rude ramble cut off repeat
    Person { id: "labeler-1", per_ten_words:  0.0, offended:  0.5, impatient: 0.2, misled: 0.0, noise: 1.2, flaws: [94,  2,  2,  0,  0,  2,  0,  0] },
    Person { id: "labeler-2", per_ten_words:  0.6, offended:  0.3, impatient: 0.0, misled: 0.2, noise: 1.5, flaws: [72,  4,  4,  0, 18,  0,  0,  2] },
    Person { id: "labeler-3", per_ten_words: -0.2, offended:  0.0, impatient: 0.0, misled: 0.5, noise: 1.9, flaws: [72, 16,  6,  2,  0,  4,  0,  0] },
    Person { id: "labeler-4", per_ten_words: -0.4, offended:  0.3, impatient: 0.4, misled: 0.2, noise: 1.6, flaws: [74,  4, 18,  0,  0,  4,  0,  0] },
    Person { id: "labeler-5", per_ten_words:  0.2, offended: -0.6, impatient: 0.2, misled: 0.3, noise: 1.8, flaws: [72,  4,  4, 14,  2,  2,  0,  2] },
];

/// Labelers who produce no training data, and have another taste (paper, section 3.4): to test whether preferences
/// carry over.
#[rustfmt::skip]
pub const HELD_OUT_LABELERS: [Person; 3] = [
    Person { id: "held-out-1", per_ten_words:  0.3, offended: 0.8, impatient: 0.0, misled: 0.1, noise: 1.2, flaws: [100, 0, 0, 0, 0, 0, 0, 0] },
    Person { id: "held-out-2", per_ten_words: -0.3, offended: 0.4, impatient: 0.6, misled: 0.3, noise: 1.3, flaws: [100, 0, 0, 0, 0, 0, 0, 0] },
    Person { id: "held-out-3", per_ten_words:  0.0, offended: 1.2, impatient: 0.3, misled: 0.0, noise: 1.1, flaws: [100, 0, 0, 0, 0, 0, 0, 0] },
];

/// Closer than this many Likert points counts as equally good.
pub const TIE: f32 = 0.25;

impl Person {
    /// What they hold to be so in a world.
    pub fn beliefs<'a>(&self, facts: &'a Facts, seed: u64) -> Beliefs<'a> {
        facts.believed(self.misled, &mut Rng::at(seed, Stage::World, Purpose::Labeler, hash(self.id), 0, 0))
    }

    /// How good they find a response, in Likert points. The noise belongs to (seed, labeler, prompt, response), so that
    /// neither the other responses nor their order can move it.
    pub fn impression(
        &self,
        facts: &Facts,
        priority: Priority,
        prompt: &str,
        response: &str,
        gold: &Metadata,
        seed: u64,
    ) -> f32 {
        let address = (hash(self.id), hash(prompt), hash(response));
        let mut rng = Rng::at(seed, Stage::World, Purpose::Labeler, address.0, address.1, address.2);
        let words = response.split_whitespace().count().min(60) as f32;
        let (untrue, rude) = priority.factors();
        // A misconception that they share is no fault to them.
        let untrue = if gold.untrue && !self.is_taken_in(facts, response, gold, seed) { untrue } else { 1.0 };
        let wanted = gold.rude_on_request && priority == Priority::Helpfulness;
        let (rude, offence) = if gold.inappropriate && !wanted { (rude, self.offended) } else { (1.0, 0.0) };
        let weary = if gold.rambling { self.impatient } else { 0.0 };
        1.0 + 6.0 * gold.helpfulness * untrue * rude + self.per_ten_words * (words / 10.0) - offence - weary
            + self.noise * rng.normal()
    }

    /// Whether all that is untrue in a response are misconceptions of their own.
    fn is_taken_in(&self, facts: &Facts, response: &str, gold: &Metadata, seed: u64) -> bool {
        if !gold.misled || self.misled == 0.0 {
            return false;
        }
        let (beliefs, reading) = (self.beliefs(facts, seed), Reading::of(response));
        let colours =
            reading.colours.iter().map(|&(animal, colour)| Clause::new(Form::Is, &[animal, colour]));
        let stated = reading.clauses.iter().cloned().chain(colours);
        let mut wrong = stated.filter(|clause| clause.form.is_fact() && !facts.holds(clause));
        wrong.all(|clause| beliefs.is_misled_about(clause.slots[0]))
    }

    /// Ranks responses of which `gold` says how good they are: 1 is best, equal ranks are ties, and no
    /// rank is left out. Responses in another order get the same ranks in that order.
    pub fn rank(
        &self,
        facts: &Facts,
        prompt: &str,
        responses: &[String],
        gold: &[Metadata],
        seed: u64,
    ) -> Vec<u32> {
        assert_eq!(responses.len(), gold.len(), "one judgement for every response");
        let judged = responses.iter().zip(gold);
        let seen: Vec<f32> = judged
            .map(|(text, gold)| self.impression(facts, Priority::Helpfulness, prompt, text, gold, seed))
            .collect();
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
        let gold: Vec<Metadata> = [0.3, 1.0, 0.0, 0.3, 0.7]
            .map(|helpfulness| Metadata { helpfulness, ..Metadata::default() })
            .to_vec();
        let facts = &Facts::new(1);
        for labeler in &LABELERS {
            let ranks = labeler.rank(facts, "p", &responses, &gold, 9);
            assert_eq!(ranks[0], ranks[3]);
            assert_eq!(ranks.iter().min(), Some(&1));
            let backwards: Vec<String> = responses.iter().rev().cloned().collect();
            let gold: Vec<Metadata> = gold.iter().rev().copied().collect();
            let mut reversed = labeler.rank(facts, "p", &backwards, &gold, 9);
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
