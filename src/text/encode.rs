//! Merging a word's bytes into tokens.
//!
//! A word begins as its bytes; the pair of neighbours whose merge was learned first is merged, the
//! leftmost of equals first, until no neighbours can be merged. (GPT-2 merges all equal pairs at once,
//! which is the same whenever a merge's sides come from earlier merges, as training makes them.)
//!
//! Most words are one token and are found whole; short words search the smallest rank anew each time,
//! long ones keep a heap, so that a megabyte without a space stays `n log n`.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Reverse;

use super::Tokenizer;
use super::added::Piece;
use super::split::{self, words};
use super::table::{Index, hash_bytes, hash_pair};
use crate::num::par;

/// Two neighbouring tokens and the token they become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Merge {
    pub(super) left: u32,
    pub(super) right: u32,
    pub(super) result: u32,
}

/// All merges; a merge's rank is its place in the order in which they were learned.
#[derive(Debug, Clone)]
pub(super) struct Merges {
    by_rank: Vec<Merge>,
    index: Index,
}

impl Merges {
    pub(super) fn new(by_rank: Vec<Merge>) -> Merges {
        let mut index = Index::with_capacity(by_rank.len());
        for (rank, merge) in by_rank.iter().enumerate() {
            index.insert(hash_pair(merge.left, merge.right), rank as u32);
        }
        Merges { by_rank, index }
    }

    pub(super) fn by_rank(&self) -> &[Merge] {
        &self.by_rank
    }

    /// The rank of merging two tokens, or [`NEVER`].
    #[inline]
    fn rank(&self, left: u32, right: u32) -> u32 {
        let is_pair = |rank: u32| {
            let merge = &self.by_rank[rank as usize];
            merge.left == left && merge.right == right
        };
        self.index.find(hash_pair(left, right), is_pair).unwrap_or(NEVER)
    }
}

/// The rank of a pair that has no merge.
const NEVER: u32 = u32::MAX;

/// Bytes of a text that are worth a hand-over between threads: about a millisecond of work.
pub(super) const PIECE: usize = 1 << 16;

/// Words of more bytes than this take the heap.
const SHORT: usize = 64;

impl Tokenizer {
    /// The tokens of a text, or of a part of one such as a prompt. Never yields `<|endoftext|>`, whatever the text
    /// says.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::with_capacity(text.len() / 3);
        for piece in self.added.split(text) {
            match piece {
                Piece::Token(id) => ids.push(id),
                Piece::Text(text) if self.prefix_space && !text.starts_with(' ') => {
                    self.encode_text(&[" ", text].concat(), &mut ids)
                }
                Piece::Text(text) => self.encode_text(text, &mut ids),
            }
        }
        ids
    }

    /// A long text is shared out over the threads of the current pool.
    fn encode_text(&self, text: &str, ids: &mut Vec<u32>) {
        if text.len() < 2 * PIECE {
            return self.encode_words(text.as_bytes(), ids);
        }
        // Split over pieces: no word goes from one into the next.
        let encoded = par::map(&split::pieces(text, PIECE), 1, |piece| {
            let mut ids = Vec::with_capacity(piece.len() / 3);
            self.encode_words(piece.as_bytes(), &mut ids);
            ids
        });
        encoded.iter().for_each(|piece| ids.extend_from_slice(piece));
    }

    /// The tokens of a whole text, with the special tokens that belong around it.
    pub fn encode_whole(&self, text: &str) -> Vec<u32> {
        let (before, after) = self.around_a_text();
        [before, &self.encode(text), after].concat()
    }

    /// The tokens of any bytes, among them no added token. Where the bytes are not valid UTF-8, each counts as a
    /// character that is no letter, number or space (see [`super::split`]).
    pub fn encode_bytes(&self, text: &[u8]) -> Vec<u32> {
        let mut ids = Vec::with_capacity(text.len() / 3);
        self.encode_words(text, &mut ids);
        ids
    }

    fn encode_words(&self, text: &[u8], ids: &mut Vec<u32>) {
        let mut symbols = Vec::new();
        for word in words(text) {
            let is_word = |id: u32| self.token(id) == Some(word);
            match self.whole_words.find(hash_bytes(word), is_word) {
                Some(id) => ids.push(id),
                None => {
                    self.merge_word(word, &mut symbols);
                    ids.extend_from_slice(&symbols);
                }
            }
        }
    }

    /// Replaces `symbols` by the tokens of one word.
    pub(super) fn merge_word(&self, word: &[u8], symbols: &mut Vec<u32>) {
        symbols.clear();
        symbols.extend(word.iter().map(|&byte| self.byte_ids[byte as usize]));
        if word.len() <= SHORT {
            merge_short(&self.merges, symbols)
        } else {
            merge_long(&self.merges, symbols)
        }
    }
}

/// Merges at most [`SHORT`] symbols in place, looking through all ranks before each merge.
fn merge_short(merges: &Merges, symbols: &mut Vec<u32>) {
    // ranks[i] belongs to the pair (i, i + 1).
    let mut ranks = [NEVER; SHORT];
    for (rank, pair) in ranks.iter_mut().zip(symbols.windows(2)) {
        *rank = merges.rank(pair[0], pair[1]);
    }
    while symbols.len() > 1 {
        let pairs = symbols.len() - 1;
        let (mut best, mut lowest) = (0, NEVER);
        for (i, &rank) in ranks[..pairs].iter().enumerate() {
            if rank < lowest {
                (best, lowest) = (i, rank);
            }
        }
        if lowest == NEVER {
            return;
        }
        symbols[best] = merges.by_rank[lowest as usize].result;
        symbols.remove(best + 1);
        ranks.copy_within(best + 1..pairs, best);
        if best + 1 < symbols.len() {
            ranks[best] = merges.rank(symbols[best], symbols[best + 1]);
        }
        if best > 0 {
            ranks[best - 1] = merges.rank(symbols[best - 1], symbols[best]);
        }
    }
}

/// Merges any number of symbols: a doubly linked list of them and a heap of possible merges.
fn merge_long(merges: &Merges, symbols: &mut Vec<u32>) {
    let end = symbols.len();
    let mut next: Vec<usize> = (1..=end).collect();
    let mut previous: Vec<usize> = (0..end).map(|i| i.wrapping_sub(1)).collect();
    let mut alive = alloc::vec![true; end];
    let mut heap = BinaryHeap::new();
    let consider = |heap: &mut BinaryHeap<_>, symbols: &[u32], left: usize, right: usize| {
        let rank = merges.rank(symbols[left], symbols[right]);
        if rank != NEVER {
            heap.push(Reverse((rank, left)));
        }
    };
    for left in 0..end.saturating_sub(1) {
        consider(&mut heap, symbols, left, left + 1);
    }
    while let Some(Reverse((rank, left))) = heap.pop() {
        let Merge { left: first, right: second, result } = merges.by_rank[rank as usize];
        let right = next[left];
        // An entry whose symbols have since been merged otherwise is out of date.
        if !alive[left] || symbols[left] != first || right == end || symbols[right] != second {
            continue;
        }
        symbols[left] = result;
        alive[right] = false;
        next[left] = next[right];
        if next[left] < end {
            previous[next[left]] = left;
            consider(&mut heap, symbols, left, next[left]);
        }
        if left > 0 {
            consider(&mut heap, symbols, previous[left], left);
        }
    }
    let mut alive = alive.iter();
    symbols.retain(|_| *alive.next().expect("one mark per symbol"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{END_OF_TEXT, bytes};
    use alloc::boxed::Box;
    use alloc::collections::BTreeMap;
    use alloc::string::String;
    use proptest::prelude::*;

    /// A tokenizer of the bytes and random merges, each of two tokens that exist by then, as training makes
    /// them: `choices` picks the sides.
    fn with_merges(choices: &[(u16, u16)]) -> Tokenizer {
        let mut tokens: Vec<Box<[u8]>> = bytes::in_vocabulary_order().map(|byte| [byte].into()).collect();
        let letters: Vec<u32> = (b'a'..=b'c').map(|l| u32::from(l - b'!')).collect();
        let mut known: BTreeMap<Box<[u8]>, u32> = tokens.iter().cloned().zip(0..).collect();
        let mut merges: Vec<Merge> = Vec::new();
        for &(left, right) in choices {
            let made: Vec<u32> = letters.iter().copied().chain(256..tokens.len() as u32).collect();
            let (left, right) = (made[left as usize % made.len()], made[right as usize % made.len()]);
            let bytes: Box<[u8]> = [&*tokens[left as usize], &*tokens[right as usize]].concat().into();
            if bytes.len() <= 12 && !known.contains_key(&bytes) {
                let result = tokens.len() as u32;
                merges.push(Merge { left, right, result });
                known.insert(bytes.clone(), result);
                tokens.push(bytes);
            }
        }
        let byte_ids = core::array::from_fn(|byte| known[&[byte as u8][..]]);
        let end_of_text = tokens.len() as u32;
        tokens.push(END_OF_TEXT.as_bytes().into());
        let added = BTreeMap::from([(end_of_text, String::from(END_OF_TEXT))]);
        Tokenizer::assemble(tokens.into_iter().map(Some).collect(), added, byte_ids, merges, end_of_text)
    }

    /// The textbook: find the pair of neighbours with the lowest rank, merge all of it, again.
    fn textbook(tokenizer: &Tokenizer, word: &[u8]) -> Vec<u32> {
        let mut symbols: Vec<u32> = word.iter().map(|&byte| tokenizer.byte_ids[byte as usize]).collect();
        loop {
            let merges = tokenizer.merges.by_rank().iter();
            let applies = |m: &&Merge| symbols.windows(2).any(|pair| pair == [m.left, m.right]);
            let Some(merge) = merges.clone().find(applies) else { return symbols };
            let mut merged = Vec::new();
            let mut rest = &symbols[..];
            while let [first, after @ ..] = rest {
                let whole = *first == merge.left && after.first() == Some(&merge.right);
                merged.push(if whole { merge.result } else { *first });
                rest = if whole { &after[1..] } else { after };
            }
            symbols = merged;
        }
    }

    fn choices() -> impl Strategy<Value = Vec<(u16, u16)>> {
        prop::collection::vec(any::<(u16, u16)>(), 0..80)
    }

    proptest! {
        #[test]
        fn fast_encoding_is_the_textbooks(choices in choices(), words in prop::collection::vec("[a-d]{1,150}", 8)) {
            let tokenizer = with_merges(&choices);
            for word in words {
                let expected = textbook(&tokenizer, word.as_bytes());
                prop_assert_eq!(&tokenizer.encode(&word), &expected);
                for merge in [merge_short, merge_long] {
                    let word = &word.as_bytes()[..word.len().min(SHORT)];
                    let mut symbols = word.iter().map(|&b| tokenizer.byte_ids[b as usize]).collect();
                    merge(&tokenizer.merges, &mut symbols);
                    prop_assert_eq!(&symbols, &textbook(&tokenizer, word));
                }
            }
        }

        #[test]
        fn any_bytes_come_back(choices in choices(), text in prop::collection::vec(any::<u8>(), 0..200)) {
            let tokenizer = with_merges(&choices);
            prop_assert_eq!(tokenizer.decode(&tokenizer.encode_bytes(&text)).unwrap(), text);
        }

        #[test]
        fn any_text_comes_back(choices in choices(), text in "(?s)[abc '\n\u{85}\u{e9}\u{6c34}\u{1f44b}]{0,60}.{0,20}") {
            let tokenizer = with_merges(&choices);
            let ids = tokenizer.encode(&text);
            prop_assert_eq!(&ids, &tokenizer.encode_bytes(text.as_bytes()));
            prop_assert_eq!(tokenizer.decode_lossy(&ids), text);
        }
    }

    #[test]
    fn the_leftmost_of_equal_pairs_is_merged_first() {
        // a a -> 256, then 256 a -> 257.
        let a = 0;
        let tokenizer = with_merges(&[(a, a), (3, a)]);
        for (text, expected) in
            [("aa", &[256][..]), ("aaa", &[257]), ("aaaa", &[256, 256]), ("aaaaa", &[256, 257])]
        {
            assert_eq!(tokenizer.encode(text), expected, "{text}");
        }
        assert_eq!(tokenizer.encode(&"a".repeat(201)), [vec_of(256, 99), vec_of(257, 1)].concat());
    }

    fn vec_of(id: u32, times: usize) -> Vec<u32> {
        alloc::vec![id; times]
    }

    #[test]
    fn the_special_token_in_a_text_is_plain_text() {
        let tokenizer = with_merges(&[]);
        let ids = tokenizer.encode(END_OF_TEXT);
        assert_eq!(ids.len(), END_OF_TEXT.len());
        assert!(!ids.contains(&tokenizer.end_of_text()));
        assert_eq!(tokenizer.decode(&[tokenizer.end_of_text()]).unwrap(), tokenizer.decode(&ids).unwrap());
    }

    #[test]
    fn a_long_text_is_shared_out_and_keeps_its_order() {
        let tokenizer = with_merges(&[(0, 1), (3, 2), (4, 4)]);
        let words = ["abc", " cab", ",", " ", "\n", " bb"];
        let text: String = (0..200_000usize).map(|i| words[i * i % 1013 % words.len()]).collect();
        assert!(text.len() > 4 * PIECE);
        for threads in [1, 2, 3] {
            let ids = par::with_threads(threads, || tokenizer.encode(&text));
            assert_eq!(ids, tokenizer.encode_bytes(text.as_bytes()));
        }
    }

    #[test]
    fn a_long_word_takes_no_quadratic_time() {
        let tokenizer = with_merges(&[(0, 1), (3, 2), (4, 4)]);
        let ids = tokenizer.encode(&"abc".repeat(100_000));
        assert_eq!(ids, vec_of(258, 50_000));
    }
}
