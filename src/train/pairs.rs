//! The pairs of rankings, each as an element of its own: what the paper's reward model is *not* trained on.
//!
//! "If the comparisons are simply shuffled into one dataset, a single pass over the dataset caused the reward model to
//! overfit": each completion is then in up to K - 1 updates instead of one (section 3.5 and its footnote 5).

use super::dataset::Ranking;

/// One pair of a ranking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// The ranking's number.
    pub ranking: usize,
    /// The better response's number in it.
    pub winner: usize,
    /// The worse one's.
    pub loser: usize,
}

impl Pair {
    /// All pairs that are not ties, ranking after ranking; of each ranking its ranks.
    pub fn all<'a>(rankings: impl Iterator<Item = &'a [u32]>) -> Vec<Pair> {
        let mut pairs = Vec::new();
        for (ranking, ranks) in rankings.enumerate() {
            for winner in 0..ranks.len() {
                let losers = (0..ranks.len()).filter(|&loser| ranks[winner] < ranks[loser]);
                pairs.extend(losers.map(|loser| Pair { ranking, winner, loser }));
            }
        }
        pairs
    }

    /// The pair as a ranking of two.
    pub fn ranking(self, rankings: &[Ranking]) -> Ranking {
        let Ranking { responses, labeler, .. } = &rankings[self.ranking];
        let two = [self.winner, self.loser].map(|i| responses[i].clone());
        Ranking { responses: two.into(), ranks: vec![1, 2], labeler: labeler.clone() }
    }
}

/// Pairs in a batch that is as large as one of `batch` prompts is on average, so that a pass over the data has as many
/// updates either way: `batch` times the pairs of a prompt, rounded, and at least one.
pub fn batch_of_pairs(batch: usize, pairs: usize, rankings: usize) -> usize {
    let exact = batch as f64 * pairs as f64 / rankings.max(1) as f64;
    (exact.round() as usize).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::dataset::Example;

    #[test]
    fn each_pair_but_ties_is_a_ranking_of_two() {
        let ranking = |ranks: &[u32], first: u32| {
            let example = |i| Example { tokens: vec![7, first + i], prompt: 1 };
            Ranking::new((0..ranks.len() as u32).map(example).collect(), ranks.to_vec())
        };
        // In canonical order 21 (rank 1), 20 and 22 (rank 2).
        let rankings = [ranking(&[1, 1], 10), ranking(&[2, 1, 2], 20)];
        let pairs = Pair::all(rankings.iter().map(|ranking| &ranking.ranks[..]));
        let found: Vec<Vec<u32>> = pairs
            .iter()
            .map(|pair| pair.ranking(&rankings).responses.iter().map(|r| r.tokens[1]).collect())
            .collect();
        assert_eq!(found, [[21, 20], [21, 22]]);
        assert_eq!(pairs[0].ranking(&rankings).ranks, [1, 2]);
    }

    #[test]
    fn a_batch_has_the_pairs_of_as_many_prompts() {
        // 64 prompts of 10 pairs each; 2 prompts of 3.2 pairs on average.
        assert_eq!(batch_of_pairs(64, 1000, 100), 640);
        assert_eq!(batch_of_pairs(2, 16, 5), 6);
        assert_eq!((batch_of_pairs(1, 1, 9), batch_of_pairs(4, 0, 0)), (1, 1));
    }
}
