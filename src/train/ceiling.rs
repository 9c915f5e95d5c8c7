//! How right a reward model could be: labelers disagree with one another, and with how good an answer really is, so no
//! model agrees with their rankings on all pairs (paper, section 3.4: labelers agree on 72.6 +- 1.5 % of the pairs).
//! Only the miniature can say it, as its labelers can be asked again.

use super::dataset::Ranking;
use super::rollouts::strip;
use crate::loss::reward_loss::pair_accuracy;
use crate::num::statistics::Clustered;
use crate::text::Tokenizer;
use crate::world::World;
use crate::world::labelers::{LABELERS, Person, agreement};

/// Agreement with the recorded rankings, pair by pair; the pairs of a prompt are one cluster.
#[derive(Debug, Default)]
pub struct Ceiling<'r> {
    /// Of the gold judgement, on all pairs that are not recorded as ties; where it finds both equally good, half.
    pub gold: Clustered<&'r [u32]>,
    /// Of every other labeler, on the pairs on which both have a preference.
    pub labelers: Clustered<&'r [u32]>,
}

impl<'r> Ceiling<'r> {
    /// Asks for these rankings again. `seed` is the run's, to which the labelers' noise belongs.
    pub fn of(world: &World, seed: u64, tokenizer: &Tokenizer, rankings: &'r [Ranking]) -> Self {
        let text = |tokens: &[u32]| tokenizer.decode_lossy(strip(tokens, tokenizer.end_of_text()));
        let mut ceiling = Ceiling::default();
        for ranking in rankings {
            let (key, prompt) = (ranking.prompt(), text(ranking.prompt()));
            let responses: Vec<String> = ranking.responses.iter().map(|r| text(r.response())).collect();
            let gold = responses.iter().map(|response| world.gold(&prompt, response).overall);
            let accuracy = pair_accuracy(&gold.collect::<Vec<f32>>(), &ranking.ranks);
            ceiling.gold.add(key, accuracy.correct, accuracy.pairs as usize);
            let another = |person: &&Person| ranking.labeler.as_deref() != Some(person.id);
            for person in LABELERS.iter().filter(another) {
                let ranks = world.rank(&prompt, &responses, person, seed);
                let (agreed, pairs) = agreement(&ranks, &ranking.ranks);
                ceiling.labelers.add(key, agreed as f64, pairs);
            }
        }
        ceiling
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Side;
    use crate::train::dataset::Example;

    /// Comparisons of the miniature, in tokens; the scripted responses are never cut off.
    fn rankings(world: &World, tokenizer: &Tokenizer, count: usize) -> Vec<Ranking> {
        let ranking = |comparison: crate::data::Comparison| {
            let prompt = tokenizer.encode(&comparison.prompt);
            let example = |response: &String| {
                let mut tokens = [prompt.clone(), tokenizer.encode(response)].concat();
                tokens.push(tokenizer.end_of_text());
                Example { tokens, prompt: prompt.len() }
            };
            let responses = comparison.responses.iter().map(example).collect();
            Ranking { labeler: comparison.labeler.clone(), ..Ranking::new(responses, comparison.ranks) }
        };
        world.comparisons(count, Side::Test, 4..=9).into_iter().map(ranking).collect()
    }

    #[test]
    fn the_gold_judgement_agrees_with_itself_and_labelers_with_none_but_themselves() {
        let (world, seed) = (World::new(3), 3);
        let tokenizer = Tokenizer::train(["a few words"].into_iter(), 257).unwrap();
        let recorded = rankings(&world, &tokenizer, 60);
        let mut rankings = recorded.clone();
        let recorded = Ceiling::of(&world, seed, &tokenizer, &recorded);
        let [gold, labelers] = [&recorded.gold, &recorded.labelers].map(|c| c.share().unwrap().value);
        // Their noise is set so that two of them agree on about 73 % (and each more often with the truth).
        assert!(gold > labelers && (0.6..0.85).contains(&labelers), "{gold} {labelers}");

        // Whoever is not known is one more that can be asked: the one who ranked, who agrees with every pair.
        rankings.iter_mut().for_each(|ranking| ranking.labeler = None);
        let nameless = rankings.clone();
        let nameless = Ceiling::of(&world, seed, &tokenizer, &nameless);
        let more = nameless.labelers.count() - recorded.labelers.count();
        let pairs = recorded.gold.count();
        assert_eq!(more, pairs, "the fifth has a preference where the record has one");
        let right = |c: &Ceiling| c.labelers.share().unwrap().value * c.labelers.count() as f64;
        assert!((right(&nameless) - right(&recorded) - pairs as f64).abs() < 1e-6);

        // Rankings by the gold score: it agrees with all of them.
        for ranking in &mut rankings {
            let text = |tokens: &[u32]| tokenizer.decode_lossy(strip(tokens, tokenizer.end_of_text()));
            let prompt = text(ranking.prompt());
            let worse = |r: &Example| 100 - (10.0 * world.gold(&prompt, &text(r.response())).overall) as u32;
            ranking.ranks = ranking.responses.iter().map(worse).collect();
        }
        let of_gold = Ceiling::of(&world, seed, &tokenizer, &rankings);
        assert_eq!(of_gold.gold.share().unwrap().value, 1.0);
    }
}
