//! Who asks (paper, section 3.2): users of the API, of whom some ask hundreds of times and most once or twice; and, to
//! begin with, labelers, who make up prompts of three kinds: plain ones, few-shot ones, and ones of a user's kind.

use super::draws::{chance, pick, pick_weighted};
use super::facts::Facts;
use super::requests::{GREETINGS, Kind, Request};
use crate::data::Side;
use crate::num::rng::Rng;

/// Users there are.
pub const USERS: usize = 200;

/// For what prompts are used; part of their address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Series {
    /// To be answered by labelers.
    Demonstrations = 0,
    /// To be answered by models, which labelers rank.
    Comparisons = 1,
    /// To be answered in PPO, and in evaluations.
    Prompts = 2,
}

impl Series {
    /// How many of the prompts labelers make up (Table 6): nearly all that are demonstrated, a fifth of those that are
    /// ranked, none of PPO's.
    fn by_labelers(self) -> f32 {
        match self {
            Series::Demonstrations => 0.89,
            Series::Comparisons => 0.2,
            Series::Prompts => 0.0,
        }
    }
}

/// The side of a number drawn or hashed evenly: of 10 users, and of 10 prompts, 8 train, 1 is for validation and 1 for
/// the test.
pub fn side_of(number: u64) -> Side {
    match number % 10 {
        0..=7 => Side::Train,
        8 => Side::Validation,
        _ => Side::Test,
    }
}

/// Of which use case a prompt of a series is, and who asks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The use case.
    pub kind: Kind,
    /// How a labeler came to make it up; `None`: a user sent it.
    labeler: Option<Made>,
}

/// The three kinds of labelers' prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Made {
    /// Any task, "while ensuring the tasks had sufficient diversity": all use cases are as frequent.
    Plain,
    /// The same after an example.
    FewShot,
    /// Something that a user would ask.
    UserBased,
}

impl Origin {
    /// Draws one: users ask in the proportions of Table 1.
    pub fn draw(series: Series, rng: &mut Rng) -> Origin {
        let made = [Made::Plain, Made::FewShot, Made::UserBased];
        let labeler = chance(rng, series.by_labelers()).then(|| pick(rng, &made));
        let kind = match labeler {
            Some(Made::Plain | Made::FewShot) => pick(rng, &Kind::ALL),
            Some(Made::UserBased) | None => Kind::draw(rng),
        };
        Origin { kind, labeler }
    }

    /// A prompt for a side: who asks (nobody by name if a labeler made it up), and what.
    pub fn request(self, side: Side, facts: &Facts, rng: &mut Rng) -> (Option<String>, Request) {
        if let Some(made) = self.labeler {
            let request = Request::draw(self.kind, "", facts, rng);
            return (None, if made == Made::FewShot { request.with_example(facts, rng) } else { request });
        }
        let user = user(side, rng);
        let greeting = GREETINGS[(user / 10) % GREETINGS.len()];
        let request = Request::draw(self.kind, greeting, facts, rng);
        // Users, too, give an example now and then.
        let request = if chance(rng, 0.1) { request.with_example(facts, rng) } else { request };
        (Some(format!("user-{user}")), request)
    }
}

/// One of a side's users; the n-th of them asks 1/n times as often as the first (Table 8: a few ask most).
fn user(side: Side, rng: &mut Rng) -> usize {
    let users: Vec<usize> = (0..USERS).filter(|&user| side_of(user as u64) == side).collect();
    let weights: Vec<usize> = (1..=users.len()).map(|rank| 10_000 / rank).collect();
    users[pick_weighted(rng, &weights)]
}
