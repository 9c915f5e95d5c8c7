//! What a model writes after a prompt, greedily: what tasks judge whose answers are texts.
//!
//! **Where a text ends.** At the end-of-text token, which is no part of it; before the first of the prompt's stops; or
//! after so many tokens. A stop may span tokens, so it is looked for in the bytes of all that was written.
//!
//! **What stands before it.** As for multiple choice: an empty prompt is `<|endoftext|>`, and a prompt that leaves no room
//! for the text in the model's context loses its first tokens. Room is for as many tokens as the text may have (as in
//! lm-evaluation-harness); of a context that is no longer than that, a half (there it is an error).

use super::loglikelihood::Unfit;
use crate::engine::Engine;
use crate::model::{Draw, ModelConfig, Network, Sampling, generate_until};
use crate::num::rng::Stage;
use crate::ranks::Ranks;
use crate::run::first::texts;
use crate::text::Tokenizer;

/// A prompt in tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// At least one, and with `most` no more than the model's context.
    pub tokens: Vec<u32>,
    /// How many were cut off before them.
    pub cut: usize,
    /// Most tokens of the text.
    pub most: usize,
    /// What ends it.
    pub stops: &'static [&'static str],
}

/// The tokens of a prompt.
///
/// # Errors
/// [`Unfit::Outside`].
pub fn start(
    tokenizer: &Tokenizer,
    config: &ModelConfig,
    prompt: &str,
    most: usize,
    stops: &'static [&'static str],
) -> Result<Start, Unfit> {
    let mut tokens = tokenizer.around_a_text().0.to_vec();
    tokens.extend(tokenizer.encode(prompt));
    if tokens.is_empty() {
        tokens.push(tokenizer.end_of_text());
    }
    let most = if most < config.context { most } else { config.context / 2 };
    let cut = tokens.len().saturating_sub(config.context - most);
    tokens.drain(..cut);
    match tokens.iter().find(|&&token| token as usize >= config.vocab_size) {
        Some(&token) => Err(Unfit::Outside(token)),
        None => Ok(Start { tokens, cut, most, stops }),
    }
}

/// The text after each prompt. Neither the company of other prompts nor threads change one. Where the network has several
/// ranks, each writes its share, and all are given all of them.
pub fn write<E: Engine>(network: &Network<E>, tokenizer: &Tokenizer, starts: &[Start]) -> Vec<String> {
    let ranks = network.ranks();
    join_texts(ranks, write_share(network, tokenizer, &starts[ranks.share(starts.len())]))
}

/// The texts of all ranks, those of the first rank first.
fn join_texts(ranks: &dyn Ranks, mine: Vec<String>) -> Vec<String> {
    if ranks.size() == 1 {
        return mine;
    }
    let all = texts(ranks, &serde_json::to_string(&mine).expect("texts are JSON"));
    let of_rank = |text: &String| serde_json::from_str::<Vec<String>>(text).expect("written as it is read");
    all.iter().flat_map(of_rank).collect()
}

fn write_share<E: Engine>(network: &Network<E>, tokenizer: &Tokenizer, starts: &[Start]) -> Vec<String> {
    let longest = starts.iter().map(|start| start.most).max().unwrap_or(0);
    let sampling = Sampling { temperature: 0.0, ..Sampling::full(1.0, longest, tokenizer.end_of_text()) };
    // At temperature 0 nothing is drawn: the address says nothing.
    let draws = Draw { seed: 0, stage: Stage::Eval, step: 0, episode: 0 }.consecutive(starts.len());
    let prompts: Vec<&[u32]> = starts.iter().map(|start| &start.tokens[..]).collect();
    let stop = |number: usize, tokens: &[u32]| {
        let Start { most, stops, .. } = starts[number];
        tokens.len() >= most || end(&bytes(tokenizer, tokens), stops).is_some()
    };
    let responses = generate_until(network, &network.packed_weights(), &prompts, &sampling, &draws, &stop);
    let text = |(response, start): (crate::model::Response, &Start)| {
        let ended = usize::from(response.ended);
        let mut bytes = bytes(tokenizer, &response.tokens[..response.tokens.len() - ended]);
        bytes.truncate(end(&bytes, start.stops).unwrap_or(bytes.len()));
        String::from_utf8_lossy(&bytes).into_owned()
    };
    responses.into_iter().zip(starts).map(text).collect()
}

/// The bytes of tokens; of one that the tokenizer does not have, none.
fn bytes(tokenizer: &Tokenizer, tokens: &[u32]) -> Vec<u8> {
    tokens.iter().flat_map(|&token| tokenizer.token(token).unwrap_or_default()).copied().collect()
}

/// Where the first of the stops begins.
fn end(bytes: &[u8], stops: &[&str]) -> Option<usize> {
    let find = |stop: &&str| bytes.windows(stop.len()).position(|window| window == stop.as_bytes());
    stops.iter().filter_map(find).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Cpu;
    use crate::model::{Head, Layout, generate_one};
    use crate::num::rng::{Purpose, Rng};

    const TEXT: &str = "the cat sat on the mat, and the cat saw the other cat; then the hat sat on the cat";

    fn tokenizer() -> Tokenizer {
        Tokenizer::train([TEXT, TEXT], 280).unwrap()
    }

    /// Random weights. Its texts are noise, which holds most bytes sooner or later.
    fn network(context: usize, seed: u64) -> Network {
        let config = ModelConfig::gpt2(tokenizer().vocab_size(), context, 24, 2, 3);
        let mut noise = Rng::at(seed, Stage::Test, Purpose::Noise, 0, 0, 0);
        let layout = Layout::new(&config, Head::LanguageModel);
        let parameters = (0..layout.len).map(|_| noise.normal() * 0.2).collect();
        Network::new(Cpu, config, Head::LanguageModel, parameters)
    }

    fn begin(network: &Network, prompt: &str, most: usize, stops: &'static [&'static str]) -> Start {
        start(&tokenizer(), &network.config, prompt, most, stops).unwrap()
    }

    #[test]
    fn long_prompts_are_cut_from_the_left() {
        let (tokenizer, network) = (tokenizer(), network(16, 1));
        let whole = tokenizer.encode(TEXT);
        let found = begin(&network, TEXT, 6, &[]);
        assert_eq!(found.tokens, whole[whole.len() - 10..]);
        assert_eq!((found.cut, found.most), (whole.len() - 10, 6));
        assert_eq!(begin(&network, TEXT, 15, &[]).tokens, whole[whole.len() - 1..]);
        // No room for so many: half the context.
        for most in [16, 256] {
            let found = begin(&network, TEXT, most, &[]);
            assert_eq!((found.tokens.len(), found.most), (8, 8));
        }
        let empty = begin(&network, "", 6, &[]);
        assert_eq!((empty.tokens, empty.cut), (vec![tokenizer.end_of_text()], 0));
        let small = ModelConfig { vocab_size: 10, ..network.config.clone() };
        assert!(matches!(start(&tokenizer, &small, "the", 6, &[]), Err(Unfit::Outside(_))));
    }

    /// The tokens of greedy decoding, one prompt alone.
    fn greedily(network: &Network, start: &Start) -> Vec<u32> {
        let end = tokenizer().end_of_text();
        let sampling = Sampling { temperature: 0.0, ..Sampling::full(1.0, start.most, end) };
        let draw = Draw { seed: 1, stage: Stage::Test, step: 0, episode: 0 };
        let mut tokens = generate_one(network, &start.tokens, &sampling, draw, |_| true).tokens;
        tokens.truncate(tokens.iter().position(|&token| token == end).unwrap_or(tokens.len()));
        tokens
    }

    /// Every two bytes of a text that are a text themselves are made its stop: it ends before them, whether they are in
    /// one token or in two, and whatever is written at the same time.
    #[test]
    fn texts_are_those_of_greedy_decoding_up_to_a_stop() {
        let tokenizer = tokenizer();
        let (mut within, mut across) = (0, 0);
        for seed in 0..4 {
            let network = network(48, seed);
            let (mut starts, mut expected) = (Vec::new(), Vec::new());
            for (prompt, most) in [("the cat", 12), ("", 9), ("the hat sat on the other mat, and", 3)] {
                let plain = begin(&network, prompt, most, &[]);
                let tokens = greedily(&network, &plain);
                let whole = tokenizer.decode(&tokens).unwrap();
                for pair in whole.windows(2) {
                    let Ok(stop) = core::str::from_utf8(pair) else { continue };
                    let stops: &[&str] =
                        Box::leak(vec![&*Box::leak(stop.to_string().into_boxed_str())].into());
                    starts.push(begin(&network, prompt, most, stops));
                    let end = whole.windows(2).position(|other| other == pair).unwrap();
                    expected.push(String::from_utf8_lossy(&whole[..end]).into_owned());
                    let one = tokens
                        .iter()
                        .any(|&token| tokenizer.token(token).unwrap().windows(2).any(|p| p == pair));
                    *(if one { &mut within } else { &mut across }) += 1;
                }
                starts.push(plain);
                expected.push(String::from_utf8_lossy(&whole).into_owned());
            }
            assert_eq!(write(&network, &tokenizer, &starts), expected);
            for (start, text) in starts.iter().zip(expected).take(3) {
                assert_eq!(write(&network, &tokenizer, core::slice::from_ref(start)), [text]);
            }
        }
        println!("{within} stops within a token, {across} across two");
        assert!(within > 5 && across > 5, "too few to mean anything: {within}, {across}");
    }

    #[test]
    fn the_first_stop_counts_wherever_tokens_end() {
        assert_eq!(end(b"one\ntwo.", &[".", "\n"]), Some(3));
        assert_eq!(end(b"one two", &["\n\n", "."]), None);
        assert_eq!(end(b"", &["\n"]), None);
        let tokenizer = tokenizer();
        // "the cat" in two tokens; the stop "e c" begins in the first and ends in the second.
        let tokens = tokenizer.encode("the cat");
        assert!(tokens.len() > 1);
        assert_eq!(end(&bytes(&tokenizer, &tokens), &["e c"]), Some(2));
    }
}
