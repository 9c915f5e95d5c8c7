//! The paper's data in miniature: a seeded world of twelve animals, and what the whole pipeline needs
//! from it: pretraining text, demonstrations, K-way rankings, prompts, and a gold score. No files.
//!
//! Bottom up: [`language`] (words, patterns, reading a text back), [`stories`] (what is so, and texts about
//! it), [`requests`] (what users ask for), [`gold`] (how good a response is), [`answers`] (perfect and
//! flawed ones), [`labelers`] (who demonstrates and ranks).
//!
//! Every item is a function of (world seed, side, index): item 7 is the same whether or not item 6 was
//! made. Sides differ in users and in prompts (paper, section 3.2: split by user).

pub mod answers;
pub mod gold;
pub mod labelers;
pub mod language;
pub mod probes;
pub mod requests;
pub mod stories;

use core::ops::{Range, RangeInclusive};

use crate::data::{Comparison, Demonstration, Prompt, Side};
use crate::num::rng::{Purpose, Rng, Stage};
use answers::{Flaw, answer};
use gold::{Metadata, judge};
use labelers::{LABELERS, Person, hash};
use requests::{GREETINGS, Kind, Request};
use stories::{Facts, document, pick, pick_weighted};

/// The side of a number drawn or hashed evenly: of 10 users, and of 10 prompts, 8 train, 1 is for validation and 1 for the
/// test.
fn side_of(number: u64) -> Side {
    match number % 10 {
        0..=7 => Side::Train,
        8 => Side::Validation,
        _ => Side::Test,
    }
}

/// Users there are.
const USERS: u64 = 90;

/// How often (in percent) a scripted candidate has each flaw, in the order of [`Flaw::ALL`].
const CANDIDATE_FLAWS: [usize; 8] = [22, 20, 14, 10, 10, 12, 6, 6];

/// What an address is for; part of the address.
#[derive(Clone, Copy)]
enum Series {
    Demonstrations = 0,
    Comparisons = 1,
    Prompts = 2,
}

/// One world.
#[derive(Debug, Clone, PartialEq)]
pub struct World {
    seed: u64,
    facts: Facts,
}

impl World {
    /// The world of a seed.
    pub fn new(seed: u64) -> Self {
        World { seed, facts: Facts::new(seed) }
    }

    /// What is so in it.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Document `index` of the pretraining text.
    pub fn pretraining_document(&self, index: u64) -> String {
        document(&self.facts, &mut Rng::at(self.seed, Stage::World, Purpose::Text, 0, index, 0))
    }

    /// The first `n` documents of pretraining text. (Documents are not split: hold out a range of indices.)
    pub fn pretraining_documents(&self, n: usize) -> Vec<String> {
        (0..n as u64).map(|index| self.pretraining_document(index)).collect()
    }

    /// Demonstration `index` of a side: one labeler's answer to one user's request.
    pub fn demonstration(&self, index: u64, side: Side) -> Demonstration {
        let (user, request, mut rng) = self.request(Series::Demonstrations, side, index);
        let labeler = pick(&mut rng, &LABELERS);
        let flaw = Flaw::ALL[pick_weighted(&mut rng, &labeler.flaws)];
        let response = format!(" {}", answer(&self.facts, &request, flaw, &mut rng));
        Demonstration {
            prompt: request.prompt(),
            response,
            user: Some(user),
            labeler: Some(labeler.id.into()),
        }
    }

    /// The first `n` demonstrations of a side.
    pub fn demonstrations(&self, n: usize, side: Side) -> Vec<Demonstration> {
        (0..n as u64).map(|index| self.demonstration(index, side)).collect()
    }

    /// Comparison `index` of a side: K scripted responses ranked by one labeler, K uniform in `k`
    /// (the paper's is 4 to 9), not all of them tied.
    pub fn comparison(&self, index: u64, side: Side, k: RangeInclusive<usize>) -> Comparison {
        assert!(*k.start() >= 2 && k.start() <= k.end(), "a ranking needs 2 responses or more, got {k:?}");
        let (user, request, mut rng) = self.request(Series::Comparisons, side, index);
        let labeler = pick(&mut rng, &LABELERS);
        let prompt = request.prompt();
        let k = k.start() + rng.below(k.end() - k.start() + 1);
        loop {
            let responses = self.candidates(&request, k, &mut rng);
            let ranks = self.rank(&prompt, &responses, &labeler, self.seed);
            if ranks.iter().any(|rank| *rank != ranks[0]) {
                return Comparison {
                    prompt,
                    responses,
                    ranks,
                    user: Some(user),
                    labeler: Some(labeler.id.into()),
                    tokens: None,
                    side: None,
                };
            }
        }
    }

    /// The first `n` comparisons of a side.
    pub fn comparisons(&self, n: usize, side: Side, k: RangeInclusive<usize>) -> Vec<Comparison> {
        (0..n as u64).map(|index| self.comparison(index, side, k.clone())).collect()
    }

    /// Prompt `index` of a side, for PPO and evaluation.
    pub fn prompt(&self, index: u64, side: Side) -> Prompt {
        let (user, request, _) = self.request(Series::Prompts, side, index);
        Prompt { prompt: request.prompt(), user: Some(user) }
    }

    /// The first `n` prompts of a side.
    pub fn prompts(&self, n: usize, side: Side) -> Vec<Prompt> {
        (0..n as u64).map(|index| self.prompt(index, side)).collect()
    }

    /// How good a response is. A prompt that is no request of this world earns nothing.
    pub fn gold(&self, prompt: &str, response: &str) -> Metadata {
        match Request::read(prompt) {
            Some(request) => judge(&self.facts, &request, response),
            None => Metadata { overall: 1.0, ..Metadata::default() },
        }
    }

    /// Bytes of a response that earned (`true`) or lost (`false`) its judgement, in order; none lies within another.
    /// Of a prompt that is no request of this world there are none.
    pub fn marks(&self, prompt: &str, response: &str) -> Vec<(Range<usize>, bool)> {
        Request::read(prompt).map_or(vec![], |request| gold::marks(&self.facts, &request, response))
    }

    /// `k` scripted responses of varied quality to a prompt of this world, all different where that can be
    /// had; `None` if the prompt is no request.
    pub fn candidate_responses(&self, prompt: &str, k: usize, rng: &mut Rng) -> Option<Vec<String>> {
        Request::read(prompt).map(|request| self.candidates(&request, k, rng))
    }

    /// Ranks any responses (a policy's samples, say) as that person would: 1 is best, equal is a tie.
    /// `seed` addresses the labeler's noise.
    pub fn rank(&self, prompt: &str, responses: &[String], labeler: &Person, seed: u64) -> Vec<u32> {
        let request = Request::read(prompt);
        let judge = |response: &String| match &request {
            Some(request) => judge(&self.facts, request, response),
            None => Metadata { overall: 1.0, ..Metadata::default() },
        };
        let gold: Vec<Metadata> = responses.iter().map(judge).collect();
        labeler.rank(prompt, responses, &gold, seed)
    }

    fn candidates(&self, request: &Request, k: usize, rng: &mut Rng) -> Vec<String> {
        let mut responses: Vec<String> = Vec::new();
        let mut attempts = 0;
        while responses.len() < k {
            let flaw = Flaw::ALL[pick_weighted(rng, &CANDIDATE_FLAWS)];
            let response = format!(" {}", answer(&self.facts, request, flaw, rng));
            attempts += 1;
            if attempts > 10 * k || !responses.contains(&response) {
                responses.push(response);
            }
        }
        responses
    }

    /// User, request and further draws of an item. Users and requests are drawn until both belong to the
    /// side; the kind is kept, so that the shares of the kinds are the same on every side.
    fn request(&self, series: Series, side: Side, index: u64) -> (String, Request, Rng) {
        let step = series as u64 * Side::ALL.len() as u64 + side as u64;
        let mut rng = Rng::at(self.seed, Stage::World, Purpose::Prompt, step, index, 0);
        let kind = Kind::draw(&mut rng);
        loop {
            let user = rng.below(USERS as usize) as u64;
            if side_of(user) != side {
                continue;
            }
            let greeting = GREETINGS[(user / 10) as usize % GREETINGS.len()];
            let request = Request::draw(kind, greeting, &self.facts, &mut rng);
            if side_of(hash(&request.prompt())) == side {
                return (format!("user-{user}"), request, rng);
            }
        }
    }
}

#[cfg(test)]
mod tests;
