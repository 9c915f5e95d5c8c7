//! What the ranks of a run have found, each of its share.

use crate::eval::loglikelihood::Likelihood;
use crate::ranks::Ranks;

/// The likelihoods of all ranks, those of the first rank first. All must call it.
pub fn join(ranks: &dyn Ranks, mine: Vec<Vec<Likelihood>>) -> Vec<Likelihood> {
    let words = |found: &Likelihood| {
        let bits = found.log_prob.to_bits();
        [bits as u32, (bits >> 32) as u32, found.tokens as u32, found.greedy.into()]
    };
    let all = ranks.gather(mine.iter().flatten().flat_map(words).collect()).concat();
    let found = |words: &[u32]| Likelihood {
        log_prob: f64::from_bits(u64::from(words[1]) << 32 | u64::from(words[0])),
        tokens: words[2] as usize,
        greedy: words[3] != 0,
    };
    all.chunks_exact(4).map(found).collect()
}
