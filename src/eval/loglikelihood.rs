//! The log-likelihood of a continuation after a context: what multiple choice compares.
//!
//! **Where the continuation begins.** Context and continuation are encoded as one text, as a model has read such text.
//! The context is the longest common prefix of these tokens and of those of the context alone; all that follows is the
//! continuation, at least one token. So a token that spans both belongs to the continuation. (lm-evaluation-harness cuts
//! after as many tokens as the context alone has, which differs where the context's own last tokens change.)
//!
//! **What stands before it.** A context without a token is `<|endoftext|>`, the beginning of a document. A context that is
//! too long for the model loses its first tokens: with the continuation it may be one token longer than the model's
//! context, as the last token is only predicted.
//!
//! **Greedy** is a continuation of which every token is the most likely one. That of most shows in numbers that are there
//! already: the largest probability is at least `exp(-H)`, H being the entropy, and a probability above one half is the
//! largest. Only where these bounds decide nothing, the tokens are decoded one by one.

use crate::engine::{Choosing, Engine};
use crate::model::{Decoder, ModelConfig, Network, Sequence};
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

/// Why a pair cannot be judged.
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
    let alone = tokenizer.encode(context);
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

/// The likelihood of each pair's continuation. Neither the company of other pairs nor threads change one.
pub fn likelihoods<E: Engine>(network: &mut Network<E>, pairs: &[Pair]) -> Vec<Likelihood> {
    let sequences: Vec<Sequence> =
        pairs.iter().map(|pair| Sequence::continuation(&pair.tokens, pair.context)).collect();
    let (log_probs, entropies) = network.log_probs_and_entropies(&sequences, 1.0);
    let mut first = 0;
    let judge = |pair: &Pair| {
        let tokens = pair.tokens.len() - pair.context;
        let of = first..first + tokens;
        first = of.end;
        let (log_probs, entropies) = (&log_probs[of.clone()], &entropies[of]);
        let log_prob = log_probs.iter().fold(0.0, |sum, &log_prob| sum + f64::from(log_prob));
        let greedy = by_bounds(log_probs, entropies).unwrap_or_else(|| by_decoding(network, pair));
        Likelihood { log_prob, tokens, greedy }
    };
    pairs.iter().map(judge).collect()
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

fn by_decoding<E: Engine>(network: &Network<E>, pair: &Pair) -> bool {
    let weights = network.weights();
    let mut decoder = Decoder::new(network, &weights, 1, pair.tokens.len() - 1);
    let greedily = Choosing { temperature: 0.0, top_k: 0, top_p: 1.0 };
    let mut read = 0..pair.context;
    while read.end < pair.tokens.len() {
        let choices = decoder.draw(&[(0, &pair.tokens[read.clone()])], greedily, &[0.0]);
        if choices[0].token != pair.tokens[read.end] {
            return false;
        }
        read = read.end..read.end + 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Cpu;
    use crate::model::{Head, Layout};
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

    #[test]
    fn likelihoods_are_sums_of_log_probs_in_any_company() {
        let (tokenizer, mut network) = (tokenizer(), network(32));
        let config = network.config.clone();
        let of =
            |context: &str, continuation: &str| pair(&tokenizer, &config, context, continuation).unwrap();
        let pairs = [of("the cat", " sat on the mat"), of("", "the"), of("the hat", " saw the other cat")];
        let together = likelihoods(&mut network, &pairs);
        for (pair, found) in pairs.iter().zip(&together) {
            let all = network.log_probs(&[Sequence::text(&pair.tokens)], 1.0);
            let sum = all[pair.context - 1..].iter().fold(0.0, |sum, &x| sum + f64::from(x));
            assert_eq!(found.log_prob.to_bits(), sum.to_bits());
            assert_eq!(found.tokens, pair.tokens.len() - pair.context);
            assert_eq!(likelihoods(&mut network, core::slice::from_ref(pair)), [*found]);
        }
    }

    /// What the model itself would write is greedy, and nothing else; up to the context's end.
    #[test]
    fn greedy_is_what_the_model_writes() {
        let mut network = network(8);
        let mut tokens = vec![3];
        {
            let weights = network.weights();
            let mut decoder = Decoder::new(&network, &weights, 1, 8);
            let greedily = Choosing { temperature: 0.0, top_k: 0, top_p: 1.0 };
            while tokens.len() < 9 {
                let last = [tokens[tokens.len() - 1]];
                tokens.push(decoder.draw(&[(0, &last)], greedily, &[0.0])[0].token);
            }
        }
        let mut pairs: Vec<Pair> =
            (1..9).map(|context| Pair { tokens: tokens.clone(), context, cut: 0 }).collect();
        assert!(pairs.iter().all(|pair| by_decoding(&network, pair)));
        assert!(likelihoods(&mut network, &pairs).iter().all(|found| found.greedy));
        for pair in &mut pairs {
            pair.tokens[8] = (pair.tokens[8] + 1) % 200;
            assert!(!by_decoding(&network, pair));
        }
        assert!(likelihoods(&mut network, &pairs).iter().all(|found| !found.greedy));
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
