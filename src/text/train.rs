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

use super::encode::Merge;
use super::{END_OF_TEXT, MAX_VOCAB_SIZE, Tokenizer, bytes, split};
use crate::error::{Error, Result};

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

/// How often each word occurs.
fn count_words<'a>(documents: impl IntoIterator<Item = &'a str>) -> Vec<(&'a [u8], u64)> {
    let mut counts: HashMap<&[u8], u64> = HashMap::new();
    for document in documents {
        for word in split::words(document.as_bytes()) {
            *counts.entry(word).or_insert(0) += 1;
        }
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
    let mut pairs: HashMap<Pair, Occurrences> = HashMap::new();
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
            let word = &mut words[number as usize];
            for old in neighbours(&word.symbols) {
                pairs.get_mut(&old).expect("every pair of a word is counted").count -= word.count;
            }
            merge_all(&mut word.symbols, pair, result);
            for new in neighbours(&word.symbols) {
                let occurrences = pairs.entry(new).or_default();
                occurrences.count += word.count;
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
