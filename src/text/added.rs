//! Strings that stand for a token wherever they occur in a text: what Hugging Face calls added tokens.
//!
//! At each place the longest of them wins, from left to right. Those that are not "normalized" come first and the
//! others are looked for in what is left, as `tokenizers` does it. `<|endoftext|>` is never among them: in a text its
//! characters are plain characters, and only the program places its id, so that no document can end another.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::END_OF_TEXT;

/// A string that stands for a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddedToken {
    /// The string, which is not empty.
    pub content: String,
    /// Its token.
    pub id: u32,
    /// Whether a decoder may leave it out, and `split_special_tokens` takes it as plain text.
    pub special: bool,
    /// Whether it is looked for after the others.
    pub normalized: bool,
}

/// A piece of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Text(&'a str),
    Token(u32),
}

/// All added tokens of a tokenizer, ready to be looked for.
#[derive(Clone, Default)]
pub(super) struct AddedTokens {
    /// As the files have them, in the order of the ids.
    pub(super) list: Vec<AddedToken>,
    /// Whether the special ones are plain text (`split_special_tokens`).
    pub(super) split_special: bool,
    first: Finder,
    second: Finder,
}

impl AddedTokens {
    pub(super) fn new(mut list: Vec<AddedToken>, split_special: bool) -> AddedTokens {
        list.sort_by_key(|token| token.id);
        let stands = |token: &AddedToken| token.content != END_OF_TEXT && !(split_special && token.special);
        let finder = |normalized: bool| {
            Finder::new(list.iter().filter(|token| token.normalized == normalized && stands(token)))
        };
        AddedTokens { first: finder(false), second: finder(true), list, split_special }
    }

    /// Cuts a text into added tokens and what stands between them; no piece is empty.
    pub(super) fn split<'a>(&self, text: &'a str) -> Vec<Piece<'a>> {
        let mut pieces = Vec::new();
        for piece in self.first.split(text) {
            match piece {
                Piece::Text(text) => pieces.extend(self.second.split(text)),
                token => pieces.push(token),
            }
        }
        pieces
    }
}

/// Looks for strings in a text.
#[derive(Clone, Default)]
struct Finder {
    ids: BTreeMap<Vec<u8>, u32>,
    /// The lengths that there are in bytes, longest first.
    lengths: Vec<usize>,
    /// The bytes with which a string may begin.
    begins: BTreeSet<u8>,
}

impl Finder {
    fn new<'a>(tokens: impl Iterator<Item = &'a AddedToken>) -> Finder {
        let ids: BTreeMap<Vec<u8>, u32> =
            tokens.map(|token| (token.content.as_bytes().to_vec(), token.id)).collect();
        let lengths: BTreeSet<usize> = ids.keys().map(Vec::len).collect();
        let begins = ids.keys().map(|content| content[0]).collect();
        Finder { ids, lengths: lengths.into_iter().rev().collect(), begins }
    }

    fn split<'a>(&self, text: &'a str) -> Vec<Piece<'a>> {
        if self.ids.is_empty() {
            return if text.is_empty() { vec![] } else { vec![Piece::Text(text)] };
        }
        let (mut pieces, mut from, mut at) = (Vec::new(), 0, 0);
        while at < text.len() {
            let Some((length, id)) = self.find(&text.as_bytes()[at..]) else {
                at += 1;
                continue;
            };
            // A string begins and ends between characters, so the pieces do too.
            if from < at {
                pieces.push(Piece::Text(&text[from..at]));
            }
            pieces.push(Piece::Token(id));
            at += length;
            from = at;
        }
        if from < text.len() {
            pieces.push(Piece::Text(&text[from..]));
        }
        pieces
    }

    /// The longest string with which a text begins: its length and its token.
    fn find(&self, text: &[u8]) -> Option<(usize, u32)> {
        if !self.begins.contains(&text[0]) {
            return None;
        }
        let length_of = |&length: &usize| Some((length, *self.ids.get(text.get(..length)?)?));
        self.lengths.iter().find_map(length_of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    fn tokens(contents: &[(&str, bool)]) -> AddedTokens {
        let token = |(&(content, normalized), id): (&(&str, bool), u32)| AddedToken {
            content: content.to_string(),
            id,
            special: false,
            normalized,
        };
        AddedTokens::new(contents.iter().zip(0..).map(token).collect(), false)
    }

    #[test]
    fn the_longest_at_the_leftmost_place_wins() {
        let added = tokens(&[("<a>", false), ("<a><b>", false), ("é<", false), ("b", true)]);
        let split = |text| added.split(text);
        use Piece::{Text, Token};
        assert_eq!(split(""), []);
        assert_eq!(split("x<a><b>y<a>"), [Text("x"), Token(1), Text("y"), Token(0)]);
        assert_eq!(split("é<a>"), [Token(2), Text("a>")]);
        // The normalized one is looked for in what the others leave.
        assert_eq!(split("abc<a><b>b"), [Text("a"), Token(3), Text("c"), Token(1), Token(3)]);
    }

    proptest! {
        #[test]
        fn the_pieces_make_the_text(text in "[ab<>é]{0,40}") {
            let contents = [("<a>", false), ("a", true), ("<", true), ("é<", false)];
            let joined: String = tokens(&contents).split(&text).iter().map(|piece| match piece {
                Piece::Text(text) => text,
                Piece::Token(id) => contents[*id as usize].0,
            }).collect();
            prop_assert_eq!(joined, text);
        }
    }
}
