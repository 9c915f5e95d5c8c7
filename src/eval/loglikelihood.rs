//! The log-likelihood of a continuation after a context: what multiple choice compares.
//!
//! **Where the continuation begins.** Context and continuation are encoded as one text, as a model has read such text.
//! The context is the longest common prefix of these tokens and of those of the context alone, without the blanks at its
//! end; all that follows is the continuation, at least one token. So a token that spans both belongs to the continuation,
//! and so do the blanks between them. (lm-evaluation-harness, which moves the blanks too, cuts after as many tokens as the
//! context alone has: that differs where the context's own last tokens change.)
//!
//! **What stands before it.** A context without a token is `<|endoftext|>`, the beginning of a document. A context that is
//! too long for the model loses its first tokens: with the continuation it may be one token longer than the model's
//! context, as the last token is only predicted.
//!
//! **Greedy** is a continuation of which every token is the most likely one. That of most shows in numbers that are there
//! already: the largest probability is at least `exp(-H)`, H being the entropy, and a probability above one half is the
//! largest. Only where these bounds decide nothing, the most likely tokens are looked for.

use crate::engine::{Engine, Target};
use crate::model::{Decoder, ModelConfig, Network};
use crate::text::Tokenizer;

/// A context and a continuation in tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// Of both, at most one more than the model's context.
    pub tokens: Vec<u32>,
    /// How many of them are the context's, at least one.
    pub context: usize,
    /// How many were cut off before them.
    pub cut: usize,
}

/// Why a model cannot be asked about a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// The continuation is no text.
    Empty,
    /// The continuation alone has so many tokens, more than the model's context.
    TooLong(usize),
    /// A token that the model does not have.
    Outside(u32),
}

/// What a model thinks of a continuation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Likelihood {
    /// The sum of its tokens' log-probs in nats, added in order in f64.
    pub log_prob: f64,
    /// How many tokens it has.
    pub tokens: usize,
    /// Whether each of them is the most likely one.
    pub greedy: bool,
}

/// The tokens of a context and a continuation.
///
/// # Errors
/// [`Unfit`].
pub fn pair(
    tokenizer: &Tokenizer,
    config: &ModelConfig,
    context: &str,
    continuation: &str,
) -> Result<Pair, Unfit> {
    if continuation.is_empty() {
        return Err(Unfit::Empty);
    }
    let alone = tokenizer.encode(context.trim_end());
    let whole = tokenizer.encode(&[context, continuation].concat());
    let shared = whole.iter().zip(&alone).take_while(|(ours, theirs)| ours == theirs).count();
    let shared = shared.min(whole.len().saturating_sub(1));
    let mut tokens = tokenizer.around_a_text().0.to_vec();
    tokens.extend(whole);
    let mut first = tokenizer.around_a_text().0.len() + shared;
    if first == 0 {
        tokens.insert(0, tokenizer.end_of_text());
        first = 1;
    }
    let length = tokens.len() - first;
    if length > config.context {
        return Err(Unfit::TooLong(length));
    }
    let cut = tokens.len().saturating_sub(config.context + 1);
    tokens.drain(..cut);
    match tokens.iter().find(|&&token| token as usize >= config.vocab_size) {
        Some(&token) => Err(Unfit::Outside(token)),
        None => Ok(Pair { tokens, context: first - cut, cut }),
    }
}

/// Positions that all slots hold together, or a whole context of more: 300 MB of keys and values for GPT-2 124M.
pub const HELD: usize = 1 << 12;
/// Sequences that are read side by side at most.
const SLOTS: usize = 64;

/// Asks a network for likelihoods. It remembers what it has read: of a sequence that begins as one before it, only the
/// rest is read (prefix caching). So the choices of a document share the reading of their prompt, and documents that of
/// a primer.
pub struct Reader<'a, 'w, E: Engine> {
    network: &'a Network<E>,
    weights: &'a E::Weights<'w>,
    decoder: Decoder<'a, 'w, E>,
    /// The tokens that each of the decoder's slots holds, and how many it has room for.
    held: Vec<Vec<u32>>,
    capacity: usize,
    /// Token rows of a pass.
    rows: usize,
    work: E::Head,
}

impl<'a, 'w, E: Engine> Reader<'a, 'w, E> {
    /// A reader of up to `rows` tokens at once, but never less than a whole sequence.
    pub fn new(network: &'a Network<E>, weights: &'a E::Weights<'w>, rows: usize) -> Self {
        let ModelConfig { vocab_size, width, context, .. } = network.config;
        let capacity = context.min(HELD / SLOTS);
        Reader {
            network,
            weights,
            decoder: Decoder::new(network, weights, SLOTS, capacity),
            held: vec![Vec::new(); SLOTS],
            capacity,
            rows,
            work: network.engine().head(vocab_size, width, rows.max(context)),
        }
    }

    /// The likelihood of each pair's continuation, group by group; a group's pairs have much of their beginnings in
    /// common. Neither the company of other pairs nor threads change one.
    pub fn likelihoods(&mut self, groups: &[Vec<Pair>]) -> Vec<Vec<Likelihood>> {
        let longest = groups.iter().flatten().map(|pair| pair.tokens.len() - 1).max().unwrap_or(0);
        self.make_room(longest);
        // Neighbours go through the same slot, one after the other: they are the likeliest to begin alike.
        let together = groups.len().div_ceil(self.held.len()).max(1);
        let mut queues: Vec<_> = groups.chunks(together).map(|groups| groups.iter().flatten()).collect();
        let mut found: Vec<Vec<Likelihood>> = queues.iter().map(|_| Vec::new()).collect();
        loop {
            let next = queues.iter_mut().map(Iterator::next).enumerate();
            let waiting: Vec<(usize, &Pair)> = next.filter_map(|(slot, pair)| Some((slot, pair?))).collect();
            if waiting.is_empty() {
                break;
            }
            let mut rest = &waiting[..];
            while !rest.is_empty() {
                let mut rows = 0;
                let fits = rest.iter().take_while(|(slot, pair)| {
                    rows += pair.tokens.len() - 1 - self.shared(*slot, pair);
                    rows <= self.rows
                });
                let (now, later) = rest.split_at(fits.count().max(1));
                for ((slot, _), likelihood) in now.iter().zip(self.read(now)) {
                    found[*slot].push(likelihood);
                }
                rest = later;
            }
        }
        let mut found = found.into_iter().flatten();
        groups.iter().map(|group| found.by_ref().take(group.len()).collect()).collect()
    }

    /// Slots for sequences of `longest` tokens: fewer and longer ones, if they have to be longer. What was held goes.
    fn make_room(&mut self, longest: usize) {
        if longest > self.capacity {
            self.capacity = longest.next_power_of_two().min(self.network.config.context);
            let slots = (HELD / self.capacity).clamp(1, SLOTS);
            self.held = vec![Vec::new(); slots];
            self.decoder = Decoder::new(self.network, self.weights, slots, self.capacity);
        }
    }

    /// How many of a pair's first tokens are in its slot already. The last of the context counts as new: what follows
    /// it is asked for.
    fn shared(&self, slot: usize, pair: &Pair) -> usize {
        let same = pair.tokens.iter().zip(&self.held[slot]).take_while(|(ours, held)| ours == held).count();
        same.min(pair.context - 1)
    }

    /// Reads pairs, each in its slot.
    fn read(&mut self, pairs: &[(usize, &Pair)]) -> Vec<Likelihood> {
        let (mut sequences, mut targets, mut rows) = (Vec::new(), Vec::new(), 0);
        for &(slot, pair) in pairs {
            let (shared, end) = (self.shared(slot, pair), pair.tokens.len() - 1);
            self.decoder.truncate(slot, shared);
            self.held[slot].clone_from(&pair.tokens);
            self.held[slot].truncate(end);
            sequences.push((slot, &pair.tokens[shared..end]));
            let target = |at: usize| Target { row: (rows + at - 1 - shared) as u32, token: pair.tokens[at] };
            targets.extend((pair.context..=end).map(target));
            rows += end - shared;
        }
        let (log_probs, entropies) = self.decoder.log_probs(&sequences, &targets, &mut self.work);
        let mut first = 0;
        let likelihood = |(_, pair): &(usize, &Pair)| {
            let tokens = pair.tokens.len() - pair.context;
            let of = first..first + tokens;
            first = of.end;
            let log_prob = log_probs[of.clone()].iter().fold(0.0, |sum, &x| sum + f64::from(x));
            let greedy = by_bounds(&log_probs[of.clone()], &entropies[of.clone()]).unwrap_or_else(|| {
                let targets = &targets[of];
                let likeliest = self.decoder.most_likely(targets);
                targets.iter().zip(likeliest).all(|(target, token)| target.token == token)
            });
            Likelihood { log_prob, tokens, greedy }
        };
        pairs.iter().map(likelihood).collect()
    }
}

/// Far more than the rounding of a log-prob or an entropy.
const MARGIN: f32 = 1e-3;

/// Whether every token is the most likely one, if log-probs and entropies alone say so.
fn by_bounds(log_probs: &[f32], entropies: &[f32]) -> Option<bool> {
    let half = -core::f32::consts::LN_2;
    if log_probs.iter().zip(entropies).any(|(log_prob, entropy)| *log_prob < -entropy - MARGIN) {
        return Some(false);
    }
    log_probs.iter().all(|log_prob| *log_prob > half + MARGIN).then_some(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Choosing, Cpu};
    use crate::model::{Head, Layout, Sequence};
    use crate::num::par;
    use crate::num::rng::{Purpose, Rng, Stage};

    const TEXT: &str = "the cat sat on the mat, and the cat saw the other cat; then the hat sat on the cat";

    fn tokenizer() -> Tokenizer {
        Tokenizer::train([TEXT, TEXT], 280).unwrap()
    }

    fn network(context: usize) -> Network {
        let config = ModelConfig::gpt2(tokenizer().vocab_size(), context, 24, 2, 3);
        let mut noise = Rng::at(5, Stage::Test, Purpose::Noise, 0, 0, 0);
        let parameters =
            (0..Layout::new(&config, Head::LanguageModel).len).map(|_| 0.3 * noise.normal()).collect();
        Network::new(Cpu, config, Head::LanguageModel, parameters)
    }

    #[test]
    fn a_token_that_spans_both_belongs_to_the_continuation() {
        let (tokenizer, config) = (tokenizer(), network(32).config);
        let of =
            |context: &str, continuation: &str| pair(&tokenizer, &config, context, continuation).unwrap();
        // " the" and " cat" are one token each; " the c" ends inside the second.
        let whole = tokenizer.encode(" the cat");
        assert_eq!(whole.len(), 2, "{whole:?}");
        for (context, continuation) in [(" the", " cat"), (" the ", "cat"), (" the c", "at")] {
            assert_eq!(of(context, continuation), Pair { tokens: whole.clone(), context: 1, cut: 0 });
        }
        // Blanks at the end of the context are the continuation's, though they are tokens of their own.
        let apart = tokenizer.encode(" the\n  cat");
        assert!(apart.len() > 2 && apart[0] == whole[0] && apart[apart.len() - 1] == whole[1], "{apart:?}");
        for (context, continuation) in [(" the\n ", " cat"), (" the", "\n  cat"), (" the\n", "  cat")] {
            assert_eq!(of(context, continuation), Pair { tokens: apart.clone(), context: 1, cut: 0 });
        }
        // " th" shares no token with the whole: the beginning of a document stands before.
        let begun = [&[tokenizer.end_of_text()], &whole[..]].concat();
        for (context, continuation) in [(" th", "e cat"), ("", " the cat")] {
            assert_eq!(of(context, continuation), Pair { tokens: begun.clone(), context: 1, cut: 0 });
        }
    }

    #[test]
    fn long_contexts_are_cut_from_the_left_and_long_continuations_are_unfit() {
        let (tokenizer, config) = (tokenizer(), network(4).config);
        let of = |context: &str, continuation: &str| pair(&tokenizer, &config, context, continuation);
        let whole = tokenizer.encode(" the cat the cat the cat the cat");
        assert_eq!(whole.len(), 8);
        let found = of(" the cat the cat the cat the", " cat").unwrap();
        assert_eq!(found, Pair { tokens: whole[3..].to_vec(), context: 4, cut: 3 });
        let found = of(" the cat the cat", " the cat the cat").unwrap();
        assert_eq!((found.context, found.cut), (1, 3));
        assert_eq!(of(" the cat the", " cat the cat the cat"), Err(Unfit::TooLong(5)));
        assert_eq!(of(" the", ""), Err(Unfit::Empty));
        let small = ModelConfig { vocab_size: 10, ..config.clone() };
        assert!(matches!(pair(&tokenizer, &small, "", " the"), Err(Unfit::Outside(_))));
    }

    /// The same by the definition: each sequence alone, from its first token, and every token drawn greedily.
    fn defined(network: &mut Network, pair: &Pair) -> Likelihood {
        let all = network.log_probs(&[Sequence::text(&pair.tokens)], 1.0);
        let of = &all[pair.context - 1..];
        let weights = network.weights();
        let mut decoder = Decoder::new(network, &weights, 1, pair.tokens.len() - 1);
        let greedily = Choosing { temperature: 0.0, top_k: 0, top_p: 1.0 };
        let likeliest = |at: usize| {
            decoder.truncate(0, 0);
            decoder.draw(&[(0, &pair.tokens[..at])], greedily, &[0.0])[0].token
        };
        let followed: Vec<u32> = (pair.context..pair.tokens.len()).map(likeliest).collect();
        Likelihood {
            log_prob: of.iter().fold(0.0, |sum, &x| sum + f64::from(x)),
            tokens: of.len(),
            greedy: followed == pair.tokens[pair.context..],
        }
    }

    /// Groups of sequences that begin as another one or a bit of it, or not; some longer than what came before.
    fn groups(network: &Network, seed: u64, longest: usize) -> Vec<Vec<Pair>> {
        let mut rng = Rng::at(seed, Stage::Test, Purpose::Test, 0, 0, 0);
        let mut before: Vec<u32> = vec![1; 4];
        let mut pair = |_| {
            let mut tokens = before.clone();
            tokens.truncate(1 + rng.below(before.len()));
            let more = 1 + rng.below(longest - tokens.len().min(longest - 1));
            tokens.extend((0..more).map(|_| rng.below(network.config.vocab_size) as u32));
            before.clone_from(&tokens);
            Pair { context: 1 + rng.below(tokens.len() - 1), tokens, cut: 0 }
        };
        (0..9).map(|group| (0..1 + group % 4).map(&mut pair).collect()).collect()
    }

    #[test]
    fn likelihoods_have_the_bits_of_their_definition_in_any_company() {
        let mut network = network(32);
        // Short ones first: then there have to be longer slots.
        let groups = [groups(&network, 1, 6), groups(&network, 2, 33), groups(&network, 3, 33)];
        let expected: Vec<Vec<Vec<Likelihood>>> = groups
            .iter()
            .map(|groups| {
                let of = |group: &Vec<Pair>| group.iter().map(|pair| defined(&mut network, pair)).collect();
                groups.iter().map(of).collect()
            })
            .collect();
        let weights = network.weights();
        for (rows, threads) in [(1, 1), (20, 2), (1000, 3)] {
            let mut reader = Reader::new(&network, &weights, rows);
            for (groups, expected) in groups.iter().zip(&expected) {
                let found = par::with_threads(threads, || reader.likelihoods(groups));
                assert_eq!(found.len(), groups.len());
                for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
                    assert_eq!(found.log_prob.to_bits(), expected.log_prob.to_bits());
                    assert_eq!((found.tokens, found.greedy), (expected.tokens, expected.greedy));
                }
            }
        }
    }

    /// Of a sequence that begins as the one before it only the rest is read, so what stands in the slot is not asked
    /// for again.
    #[test]
    fn beginnings_are_read_once() {
        let network = network(32);
        let weights = network.weights();
        let mut reader = Reader::new(&network, &weights, 100);
        let pair = |tokens: &[u32], context| Pair { tokens: tokens.to_vec(), context, cut: 0 };
        let first = pair(&[1, 2, 3, 4, 5], 3);
        reader.likelihoods(&[vec![first.clone()]]);
        for (next, shared) in [
            (pair(&[1, 2, 3, 4, 6, 7], 4), 3),
            (pair(&[1, 2, 3, 4, 6, 7], 2), 1),
            (pair(&[1, 2, 9], 2), 1),
            (pair(&[9, 2, 3], 2), 0),
        ] {
            reader.likelihoods(&[vec![first.clone()]]);
            assert_eq!(reader.shared(0, &next), shared, "{next:?}");
        }
    }

    /// What the model itself would write is greedy, and nothing else; up to the context's end.
    #[test]
    fn greedy_is_what_the_model_writes() {
        let network = network(8);
        let weights = network.weights();
        let mut tokens = vec![3];
        let mut decoder = Decoder::new(&network, &weights, 1, 8);
        let greedily = Choosing { temperature: 0.0, top_k: 0, top_p: 1.0 };
        while tokens.len() < 9 {
            let last = [tokens[tokens.len() - 1]];
            tokens.push(decoder.draw(&[(0, &last)], greedily, &[0.0])[0].token);
        }
        let mut pairs: Vec<Pair> =
            (1..9).map(|context| Pair { tokens: tokens.clone(), context, cut: 0 }).collect();
        let mut reader = Reader::new(&network, &weights, 8);
        assert!(reader.likelihoods(&[pairs.clone()])[0].iter().all(|found| found.greedy));
        for pair in &mut pairs {
            pair.tokens[8] = (pair.tokens[8] + 1) % 200;
        }
        assert!(reader.likelihoods(&[pairs])[0].iter().all(|found| !found.greedy));
    }

    #[test]
    fn bounds_decide_what_they_can() {
        // Probabilities 0.6 and 0.4 have the entropy 0.673.
        assert_eq!(by_bounds(&[0.6f32.ln()], &[0.673]), Some(true));
        assert_eq!(by_bounds(&[0.4f32.ln()], &[0.673]), Some(false));
        // 0.45 of three may be the largest or not.
        assert_eq!(by_bounds(&[0.45f32.ln()], &[1.0]), None);
        assert_eq!(by_bounds(&[0.6f32.ln(), 0.45f32.ln()], &[0.673, 1.0]), None);
    }
}
