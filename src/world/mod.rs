//! The paper's data in miniature (its sections 3.2 to 3.4): a seeded world of twelve animals, and what the whole pipeline
//! needs from it: pretraining text, demonstrations, K-way rankings, prompts, and a gold score. No files.
//!
//! In the order of the story:
//! [`words`], [`language`] and [`reading`] (how one speaks there), [`facts`] (what is so, and what many believe),
//! [`stories`] (what is told and said), [`web`] (pretraining text);
//! [`tasks`], [`requests`] and [`users`] (section 3.2: who asks for what);
//! [`answers`] and [`labelers`] (section 3.4: who demonstrates and ranks), [`gold`] and [`marks`] (how good a
//! response is, and by which words);
//! [`probes`] (section 3.6: what stands for public benchmarks).
//!
//! Every item is a function of (world seed, side, index): item 7 is the same whether or not item 6 was made. Sides differ
//! in users and in prompts (paper, section 3.2: split by user).

pub mod answers;
pub mod draws;
pub mod facts;
pub mod gold;
pub mod labelers;
pub mod language;
pub mod marks;
pub mod probes;
pub mod reading;
pub mod requests;
pub mod stories;
pub mod tasks;
pub mod users;
pub mod web;
pub mod words;

use core::ops::{Range, RangeInclusive};

use crate::data::tags::{Marks, Tags};
use crate::data::{Comparison, Demonstration, Prompt, Side};
use crate::num::rng::{Purpose, Rng, Stage};
use answers::{Flaw, answer};
use draws::{pick, pick_weighted};
use facts::Facts;
use gold::{Metadata, judge};
use labelers::{LABELERS, Person, Priority, hash};
use requests::Request;
use users::{Origin, Series, side_of};

/// How often (in percent) a scripted candidate has each flaw, in the order of [`Flaw::ALL`].
const CANDIDATE_FLAWS: [usize; 8] = [22, 20, 14, 10, 10, 12, 6, 6];

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
        web::document(&self.facts, &mut Rng::at(self.seed, Stage::World, Purpose::Text, 0, index, 0))
    }

    /// The first `n` documents of pretraining text. (Documents are not split: hold out a range of indices.)
    pub fn pretraining_documents(&self, n: usize) -> Vec<String> {
        (0..n as u64).map(|index| self.pretraining_document(index)).collect()
    }

    /// Demonstration `index` of a side: one labeler's answer to one request.
    pub fn demonstration(&self, index: u64, side: Side) -> Demonstration {
        let (user, request, mut rng) = self.request(Series::Demonstrations, side, index);
        let labeler = pick(&mut rng, &LABELERS);
        let flaw = Flaw::ALL[pick_weighted(&mut rng, &labeler.flaws)];
        let beliefs = labeler.beliefs(&self.facts, self.seed);
        let response = format!(" {}", answer(&beliefs, &request, flaw, &mut rng));
        Demonstration {
            prompt: request.prompt(),
            response,
            user,
            labeler: Some(labeler.id.into()),
            tags: tags(&request),
            place: String::new(),
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
                let labeler = Some(labeler.id.into());
                return Comparison {
                    prompt,
                    responses,
                    ranks,
                    user,
                    labeler,
                    tokens: None,
                    side: None,
                    tags: tags(&request),
                    place: String::new(),
                };
            }
        }
    }

    /// The first `n` comparisons of a side.
    pub fn comparisons(&self, n: usize, side: Side, k: RangeInclusive<usize>) -> Vec<Comparison> {
        (0..n as u64).map(|index| self.comparison(index, side, k.clone())).collect()
    }

    /// Prompt `index` of those whose responses are ranked on a side.
    pub fn prompt_to_rank(&self, index: u64, side: Side) -> Prompt {
        let (user, request, _) = self.request(Series::Comparisons, side, index);
        Prompt { prompt: request.prompt(), user, tags: tags(&request), place: String::new() }
    }

    /// Prompt `index` of a side, for PPO and evaluation.
    pub fn prompt(&self, index: u64, side: Side) -> Prompt {
        let (user, request, _) = self.request(Series::Prompts, side, index);
        Prompt { prompt: request.prompt(), user, tags: tags(&request), place: String::new() }
    }

    /// The first `n` prompts of a side.
    pub fn prompts(&self, n: usize, side: Side) -> Vec<Prompt> {
        (0..n as u64).map(|index| self.prompt(index, side)).collect()
    }

    /// How good a response is in the final judgement. A prompt that is no request of this world earns nothing.
    pub fn gold(&self, prompt: &str, response: &str) -> Metadata {
        match Request::read(prompt) {
            Some(request) => judge(&self.facts, &request, response),
            None => Metadata::of_no_request(),
        }
    }

    /// Bytes of a response that earned (`true`) or lost (`false`) its judgement, in order; none lies within another.
    /// Of a prompt that is no request of this world there are none.
    pub fn marks(&self, prompt: &str, response: &str) -> Vec<(Range<usize>, bool)> {
        Request::read(prompt).map_or(vec![], |request| marks::marks(&self.facts, &request, response))
    }

    /// `k` scripted responses of varied quality to a prompt of this world, all different where that can be
    /// had; `None` if the prompt is no request.
    pub fn candidate_responses(&self, prompt: &str, k: usize, rng: &mut Rng) -> Option<Vec<String>> {
        Request::read(prompt).map(|request| self.candidates(&request, k, rng))
    }

    /// Ranks any responses (a policy's samples, say) as that person would while training data is made: 1 is best, equal
    /// is a tie. `seed` addresses the labeler's noise.
    pub fn rank(&self, prompt: &str, responses: &[String], labeler: &Person, seed: u64) -> Vec<u32> {
        let gold: Vec<Metadata> = responses.iter().map(|response| self.gold(prompt, response)).collect();
        labeler.rank(&self.facts, prompt, responses, &gold, seed)
    }

    /// Which of two responses that person prefers in the final judgement: 1 the first, 0 the second, 0.5 neither.
    pub fn prefers(&self, labeler: &Person, prompt: &str, first: &str, second: &str) -> f64 {
        let seen = [first, second].map(|response| {
            let gold = self.gold(prompt, response);
            labeler.impression(&self.facts, Priority::Harmlessness, prompt, response, &gold, self.seed)
        });
        match seen[0] - seen[1] {
            difference if difference > labelers::TIE => 1.0,
            difference if difference < -labelers::TIE => 0.0,
            _ => 0.5,
        }
    }

    fn candidates(&self, request: &Request, k: usize, rng: &mut Rng) -> Vec<String> {
        let mut responses: Vec<String> = Vec::new();
        let mut attempts = 0;
        while responses.len() < k {
            let flaw = Flaw::ALL[pick_weighted(rng, &CANDIDATE_FLAWS)];
            let beliefs = self.facts.believed(0.3, rng);
            let response = format!(" {}", answer(&beliefs, request, flaw, rng));
            attempts += 1;
            if attempts > 10 * k || !responses.contains(&response) {
                responses.push(response);
            }
        }
        responses
    }

    /// User, request and further draws of an item, drawn until the request belongs to the side. The use case is kept, so
    /// that use cases have the same shares on every side.
    fn request(&self, series: Series, side: Side, index: u64) -> (Option<String>, Request, Rng) {
        let step = series as u64 * Side::ALL.len() as u64 + side as u64;
        let mut rng = Rng::at(self.seed, Stage::World, Purpose::Prompt, step, index, 0);
        let origin = Origin::draw(series, &mut rng);
        loop {
            let (user, request) = origin.request(side, &self.facts, &mut rng);
            if side_of(hash(&request.prompt())) == side {
                return (user, request, rng);
            }
        }
    }
}

/// What labelers say of a request: what this world knows of Table 7 is whether there are explicit constraints.
fn tags(request: &Request) -> Tags {
    let marks = Marks::named((!request.constraints.is_empty()).then_some("other_constraints"));
    Tags { use_case: None, marks: marks.ok() }
}

#[cfg(test)]
mod tests;
