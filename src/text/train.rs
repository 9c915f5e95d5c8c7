//! Learning merges from text: byte pair encoding (Sennrich et al., 2016) over the words of `split`.
//!
//! Of all pairs of neighbouring tokens the most frequent becomes a token, again and again, until the
//! vocabulary is full or no pair is left that occurs twice. Among equally frequent pairs the one with the
//! smallest left id wins, then the smallest right id. Pairs are counted inside words, overlapping ones
//! (`a a a` has two) included, and merged from the left.
//!
//! No two merges make the same bytes. A span of text that may still become one token has had no merge
//! across its ends, so its inside was merged as if it stood alone (a run of one token pairs up from the
//! span's beginning, or a pair would lie across it): all such spans with the same bytes hold the same
//! tokens at any time and become one together. So, too, a pair's count only falls once it is made.
//!
//! Nothing but exact counts decides, so neither the order of documents nor any hash shows in the result.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BinaryHeap};
use alloc::format;
use alloc::vec::Vec;
use core::cmp::Reverse;
use std::collections::HashMap;

use super::encode::{Merge, PIECE};
use super::table::Spread;
use super::{END_OF_TEXT, MAX_VOCAB_SIZE, Tokenizer, bytes, split};
use crate::error::{Error, Result};
use crate::num::par;

/// The smallest vocabulary: every byte, and `<|endoftext|>`.
const SMALLEST: usize = 257;

impl Tokenizer {
    /// Learns a vocabulary of at most `vocab_size` tokens in GPT-2's order: the 256 bytes, the merges as
    /// they were learned, `<|endoftext|>` last. Documents are plain text: the caller has split a corpus at
    /// `<|endoftext|>`. It is smaller than asked for if the text has too few repeated pairs; see
    /// [`Tokenizer::shortfall`].
    ///
    /// # Errors
    /// A vocabulary size below 257 or above [`MAX_VOCAB_SIZE`].
    pub fn train<'a>(documents: impl IntoIterator<Item = &'a str>, vocab_size: usize) -> Result<Tokenizer> {
        if !(SMALLEST..=MAX_VOCAB_SIZE).contains(&vocab_size) {
            let expected = format!("{SMALLEST} (every byte and {END_OF_TEXT}) to {MAX_VOCAB_SIZE}");
            return Err(Error::usage("vocab_size", expected, vocab_size, ""));
        }
        let mut byte_ids = [0; 256];
        let mut tokens: Vec<Box<[u8]>> = Vec::new();
        for byte in bytes::in_vocabulary_order() {
            byte_ids[byte as usize] = tokens.len() as u32;
            tokens.push([byte].into());
        }
        let merges = learn_merges(count_words(documents), &byte_ids, &mut tokens, vocab_size - 1);
        let end_of_text = tokens.len() as u32;
        tokens.push(END_OF_TEXT.as_bytes().into());
        let added = BTreeMap::from([(end_of_text, END_OF_TEXT.into())]);
        Ok(Tokenizer::assemble(tokens.into_iter().map(Some).collect(), added, byte_ids, merges, end_of_text))
    }

    /// A note for the user if training stopped before the vocabulary had the size that was asked for.
    pub fn shortfall(&self, asked_for: usize) -> Option<std::string::String> {
        let size = self.vocab_size();
        (size < asked_for).then(|| {
            format!(
                "the vocabulary has {size} tokens, not {asked_for}: no further pair occurs twice in the text"
            )
        })
    }
}

/// How often each word occurs. Every thread counts its share of the text; the counts are added, exactly.
fn count_words<'a>(documents: impl IntoIterator<Item = &'a str>) -> Vec<(&'a [u8], u64)> {
    let pieces: Vec<&str> = documents.into_iter().flat_map(|text| split::pieces(text, PIECE)).collect();
    let shares: Vec<&[&str]> = pieces.chunks(pieces.len().div_ceil(par::threads()).max(1)).collect();
    // Split over shares of the pieces.
    let shares = par::map(&shares, 1, |pieces| {
        let mut counts: HashMap<&[u8], u64, Spread> = HashMap::default();
        for word in pieces.iter().flat_map(|text| split::words(text.as_bytes())) {
            *counts.entry(word).or_insert(0) += 1;
        }
        counts
    });
    let mut shares = shares.into_iter();
    let mut counts = shares.next().unwrap_or_default();
    for (word, count) in shares.flatten() {
        *counts.entry(word).or_insert(0) += count;
    }
    counts.into_iter().collect()
}

/// A word as its tokens, and how often it occurs.
struct Word {
    symbols: Vec<u32>,
    count: u64,
}

/// Two neighbouring tokens.
type Pair = (u32, u32);

/// What is known of a pair: how often it occurs, and the words that hold it (or did once).
#[derive(Default)]
struct Occurrences {
    count: u64,
    words: Vec<u32>,
}

/// Appends to `tokens` until there are `size` and returns the merges that made them.
fn learn_merges(
    counted: Vec<(&[u8], u64)>,
    byte_ids: &[u32; 256],
    tokens: &mut Vec<Box<[u8]>>,
    size: usize,
) -> Vec<Merge> {
    let symbols = |word: &[u8]| word.iter().map(|&byte| byte_ids[byte as usize]).collect();
    let mut words: Vec<Word> =
        counted.iter().map(|&(w, count)| Word { symbols: symbols(w), count }).collect();
    let mut pairs: HashMap<Pair, Occurrences, Spread> = HashMap::default();
    for (number, word) in words.iter().enumerate() {
        for pair in neighbours(&word.symbols) {
            let occurrences = pairs.entry(pair).or_default();
            occurrences.count += word.count;
            occurrences.words.push(number as u32);
        }
    }
    // The most frequent pair on top, then the smallest; an entry may be out of date.
    let mut heap: BinaryHeap<(u64, Reverse<Pair>)> =
        pairs.iter().map(|(&p, o)| (o.count, Reverse(p))).collect();
    let mut merges = Vec::new();
    let mut touched = Vec::new();
    while tokens.len() < size
        && let Some((count, Reverse(pair))) = heap.pop()
    {
        let now = pairs[&pair].count;
        if now < count {
            heap.push((now, Reverse(pair)));
            continue;
        }
        if count < 2 {
            break;
        }
        let result = tokens.len() as u32;
        tokens.push([&*tokens[pair.0 as usize], &*tokens[pair.1 as usize]].concat().into());
        merges.push(Merge { left: pair.0, right: pair.1, result });
        for number in core::mem::take(&mut pairs.get_mut(&pair).expect("just looked up").words) {
            let Word { symbols, count } = &mut words[number as usize];
            // What lies before the first place and after the last keeps its pairs.
            let Some((first, last)) = places(symbols, pair) else { continue };
            let (before, after) = (first.saturating_sub(1), symbols.len().saturating_sub(last + 3));
            for old in neighbours(&symbols[before..symbols.len() - after]) {
                pairs.get_mut(&old).expect("every pair of a word is counted").count -= *count;
            }
            merge_all(symbols, pair, result);
            for new in neighbours(&symbols[before..symbols.len() - after]) {
                let occurrences = pairs.entry(new).or_default();
                occurrences.count += *count;
                if new.0 == result || new.1 == result {
                    occurrences.words.push(number);
                    touched.push(new);
                }
            }
        }
        touched.sort_unstable();
        touched.dedup();
        heap.extend(touched.drain(..).map(|pair| (pairs[&pair].count, Reverse(pair))));
    }
    merges
}

/// The pairs of neighbours in a word.
fn neighbours(symbols: &[u32]) -> impl Iterator<Item = Pair> {
    symbols.windows(2).map(|pair| (pair[0], pair[1]))
}

/// Where a pair first and last occurs.
fn places(symbols: &[u32], pair: Pair) -> Option<(usize, usize)> {
    let is_pair = |two: &[u32]| (two[0], two[1]) == pair;
    let first = symbols.windows(2).position(is_pair)?;
    Some((first, symbols.windows(2).rposition(is_pair)?))
}

/// Replaces each occurrence of a pair, from the left.
fn merge_all(symbols: &mut Vec<u32>, pair: Pair, result: u32) {
    let (mut read, mut write) = (0, 0);
    while read < symbols.len() {
        let found = read + 1 < symbols.len() && (symbols[read], symbols[read + 1]) == pair;
        symbols[write] = if found { result } else { symbols[read] };
        read += 1 + usize::from(found);
        write += 1;
    }
    symbols.truncate(write);
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use proptest::prelude::*;

    /// The textbook: count every pair anew, take the most frequent, the smallest of equals, merge it.
    fn textbook(documents: &[String], vocab_size: usize) -> Vec<Pair> {
        let order: Vec<u8> = bytes::in_vocabulary_order().collect();
        let id = |byte: &u8| order.iter().position(|b| b == byte).unwrap() as u32;
        let split = documents.iter().flat_map(|document| split::words(document.as_bytes()));
        let mut words: Vec<Vec<u32>> = split.map(|word| word.iter().map(id).collect()).collect();
        let mut merges = Vec::new();
        while 256 + merges.len() < vocab_size - 1 {
            let mut counts = BTreeMap::new();
            for pair in words.iter().flat_map(|word| word.windows(2)) {
                *counts.entry((pair[0], pair[1])).or_insert(0) += 1;
            }
            let most = counts.values().copied().max().unwrap_or(0);
            if most < 2 {
                break;
            }
            let (&pair, _) = counts.iter().find(|&(_, &count)| count == most).unwrap();
            let result = 256 + merges.len() as u32;
            merges.push(pair);
            for word in &mut words {
                let mut i = 0;
                while i + 1 < word.len() {
                    if (word[i], word[i + 1]) == pair {
                        word.splice(i..i + 2, [result]);
                    }
                    i += 1;
                }
            }
        }
        merges
    }

    fn learned(tokenizer: &Tokenizer) -> Vec<Pair> {
        let merges = tokenizer.merges.by_rank().iter().zip(256..);
        merges.map(|(m, result)| (assert_eq!(m.result, result), (m.left, m.right)).1).collect()
    }

    fn train(documents: &[String], vocab_size: usize) -> Tokenizer {
        Tokenizer::train(documents.iter().map(String::as_str), vocab_size).unwrap()
    }

    proptest! {
        #[test]
        fn training_is_the_textbooks(documents in prop::collection::vec("[abA ]{0,80}", 1..4), more in 0usize..60) {
            let tokenizer = train(&documents, SMALLEST + more);
            prop_assert_eq!(learned(&tokenizer), textbook(&documents, SMALLEST + more));
            let mut reversed = documents.clone();
            reversed.reverse();
            prop_assert_eq!(train(&reversed, SMALLEST + more).tokenizer_json(), tokenizer.tokenizer_json());
            // The files say all there is.
            let (vocab, merges) = (tokenizer.vocab_json(), tokenizer.merges_txt());
            let read = Tokenizer::from_vocab_and_merges(&vocab, &merges, ["vocab.json", "merges.txt"]).unwrap();
            prop_assert_eq!(read.tokenizer_json(), tokenizer.tokenizer_json());
            for document in &documents {
                prop_assert_eq!(read.encode(document), tokenizer.encode(document));
            }
        }
    }

    #[test]
    fn threads_count_what_one_counts() {
        let words = ["the ", "cat ", "sat", " on", "\n", "mats "];
        let text = |from: usize| {
            (from..from + 60_000).map(|i| words[i * i % 1013 % words.len()]).collect::<String>()
        };
        let documents = [text(1), text(77), "the mat".into()];
        let one = par::with_threads(1, || train(&documents, 400).tokenizer_json());
        for threads in [2, 3] {
            assert_eq!(par::with_threads(threads, || train(&documents, 400).tokenizer_json()), one);
        }
        let counted = par::with_threads(3, || count_words(documents.iter().map(String::as_str)));
        let bytes: u64 = counted.iter().map(|(word, count)| word.len() as u64 * count).sum();
        assert_eq!(bytes, documents.iter().map(|text| text.len() as u64).sum::<u64>());
    }

    #[test]
    fn ties_go_to_the_smallest_ids() {
        // "ab" and "cd" and " c" ... occur three times each; a < c, and a space comes after the letters.
        let tokenizer = train(&["ab cd ab cd ab cd".into()], 259);
        assert_eq!(tokenizer.token(256), Some(&b"ab"[..]));
        assert_eq!(tokenizer.token(257), Some(&b"cd"[..]));
        assert_eq!(tokenizer.token(258), Some(END_OF_TEXT.as_bytes()));
    }

    #[test]
    fn order_is_gpt2s_and_the_special_token_is_last() {
        let tokenizer = train(&["hello hello".into()], 400);
        assert_eq!(tokenizer.token(0), Some(&b"!"[..]));
        assert_eq!(tokenizer.token(220), Some(&b" "[..]));
        assert_eq!(tokenizer.end_of_text() as usize, tokenizer.vocab_size() - 1);
        assert_eq!(tokenizer.encode("hello hello").len(), 3);
    }

    #[test]
    fn training_stops_where_nothing_repeats_and_says_so() {
        let tokenizer = train(&["abcdefg".into()], 300);
        assert_eq!(tokenizer.vocab_size(), 257);
        assert!(tokenizer.shortfall(300).unwrap().contains("257 tokens, not 300"));
        assert_eq!(tokenizer.shortfall(257), None);
        assert_eq!(train(&[], 300).vocab_size(), 257);
    }

    #[test]
    fn vocabulary_sizes_that_cannot_be_are_refused() {
        for size in [0, 256, MAX_VOCAB_SIZE + 1] {
            let error = Tokenizer::train(["text"], size).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains("257 (every byte"), "{error}");
        }
    }
}
