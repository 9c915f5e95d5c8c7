//! Cutting text into words, which no token crosses: GPT-2's regular expression as a scanner.
//!
//! ```text
//! 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//! ```
//! A contraction; else letters, numbers or other characters, each with one space before them; else white
//! space, whose last character is left to the next word if one follows (and joins it only if it is a
//! space). `\s` is Unicode's White_Space, the no-break space and U+0085 included. Letters and numbers are
//! those of Unicode 16, as in Hugging Face's `tokenizers`: a character's class must not change with the
//! version of a dependency, so the later ones are listed here.
//!
//! Text here is any bytes: a byte that is not part of valid UTF-8 counts as one "other" character.

use alloc::vec::Vec;

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

/// The words of a text in order; one after the other they are the text.
pub fn words(text: &[u8]) -> Words<'_> {
    Words { rest: text }
}

/// The iterator that [`words`] returns.
#[derive(Debug, Clone)]
pub struct Words<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let (word, rest) = self.rest.split_at(word_length(self.rest));
        self.rest = rest;
        Some(word)
    }
}

/// Cuts a text into pieces of about `size` bytes, between words: the words of the pieces, one after the other, are those
/// of the text. Where there is no such place, as in a megabyte without a space, a piece is longer.
pub(super) fn pieces(text: &str, size: usize) -> Vec<&str> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(cut(rest, size));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// The first place from byte `from` on where a text may be cut: before the first of some white space, if that is a space.
/// The word on its left ends there whatever follows, and the white space stays together.
fn cut(text: &str, from: usize) -> usize {
    let begins = |at: &usize| {
        text.as_bytes()[*at] == b' ' && !text[..*at].chars().next_back().is_none_or(char::is_whitespace)
    };
    (from..text.len()).find(begins).unwrap_or(text.len())
}

/// What the expression tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Letter,
    Number,
    Space,
    Other,
}

/// The length in bytes of the word that a non-empty text begins with.
#[inline]
fn word_length(text: &[u8]) -> usize {
    if let Some(length) = contraction(text) {
        return length;
    }
    let start = usize::from(text[0] == b' ');
    if let Some((class, width)) = first_character(&text[start..])
        && class != Class::Space
    {
        let mut end = start + width;
        while let Some((next, width)) = first_character(&text[end..])
            && next == class
        {
            end += width;
        }
        return end;
    }
    let (mut last, mut end) = (0, 0);
    while let Some((Class::Space, width)) = first_character(&text[end..]) {
        (last, end) = (end, end + width);
    }
    if last == 0 || end == text.len() { end } else { last }
}

/// The length of a contraction at the beginning of the text.
#[inline]
fn contraction(text: &[u8]) -> Option<usize> {
    match text {
        [b'\'', b's' | b't' | b'm' | b'd', ..] => Some(2),
        [b'\'', b'r' | b'v', b'e', ..] | [b'\'', b'l', b'l', ..] => Some(3),
        _ => None,
    }
}

/// The class of the first character and its length in bytes; `None` at the end.
#[inline]
fn first_character(text: &[u8]) -> Option<(Class, usize)> {
    let &lead = text.first()?;
    if lead < 0x80 { Some((ASCII[lead as usize], 1)) } else { Some(first_beyond_ascii(text)) }
}

/// [`first_character`] of a text that begins with a byte from 0x80 on.
fn first_beyond_ascii(text: &[u8]) -> (Class, usize) {
    let width = match text[0] {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return (Class::Other, 1),
    };
    let valid = text.get(..width).and_then(|character| core::str::from_utf8(character).ok());
    match valid.and_then(|text| text.chars().next()) {
        Some(character) => (class_of(character), width),
        None => (Class::Other, 1),
    }
}

/// The classes of ASCII.
const ASCII: [Class; 128] = {
    let mut classes = [Class::Other; 128];
    let mut code = 0;
    while code < 128 {
        classes[code] = match code as u8 {
            b'A'..=b'Z' | b'a'..=b'z' => Class::Letter,
            b'0'..=b'9' => Class::Number,
            b'\t'..=b'\r' | b' ' => Class::Space,
            _ => Class::Other,
        };
        code += 1;
    }
    classes
};

/// The class of any character.
fn class_of(character: char) -> Class {
    if character.is_whitespace() {
        return Class::Space;
    }
    let class = match character.general_category_group() {
        GeneralCategoryGroup::Letter => Class::Letter,
        GeneralCategoryGroup::Number => Class::Number,
        _ => return Class::Other,
    };
    let code = u32::from(character);
    // The last range that does not begin after the character is the only one that can hold it.
    let ranges = AFTER_UNICODE_16.partition_point(|&(first, _)| first <= code);
    let later = ranges > 0 && code <= AFTER_UNICODE_16[ranges - 1].1;
    if later { Class::Other } else { class }
}

/// Ranges whose letters and numbers all came after Unicode 16 (17 and 18); in order.
#[rustfmt::skip]
const AFTER_UNICODE_16: [(u32, u32); 34] = [
    (0x558, 0x558), (0x58b, 0x58c), (0x88f, 0x88f), (0xc5c, 0xc5c), (0xcdc, 0xcdc), (0x208f, 0x208f),
    (0x209d, 0x209f), (0xa7ce, 0xa7cf), (0xa7d2, 0xa7d2), (0xa7d4, 0xa7d4), (0xa7dd, 0xa7f1),
    (0xab6c, 0xab6d), (0x107bb, 0x107bf), (0x10940, 0x10959), (0x10ec5, 0x10eee), (0x11b0a, 0x11b0a),
    (0x11db0, 0x11df1), (0x1246f, 0x1247f), (0x12550, 0x12686), (0x16ea0, 0x16ed3), (0x16ff2, 0x16ff6),
    (0x187f8, 0x187ff), (0x18cd6, 0x18cda), (0x18d09, 0x191d2), (0x1b123, 0x1b128), (0x1b168, 0x1b168),
    (0x1d6a6, 0x1d6a6), (0x1df1f, 0x1df24), (0x1df2b, 0x1dfff), (0x1e6c0, 0x1e6ff), (0x2b73a, 0x2b73f),
    (0x2b81e, 0x2b81e), (0x2cea2, 0x2cead), (0x323b0, 0x3fc3f),
];

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn is(class: Class) -> impl Fn(char) -> bool {
        move |character| class_of(character) == class
    }

    /// How many characters from `at` on satisfy `test`.
    fn count(text: &[char], at: usize, test: impl Fn(char) -> bool) -> usize {
        text[at..].iter().take_while(|&&c| test(c)).count()
    }

    /// ` ?X+` at `at`, trying with the space first: the length of the match in characters.
    fn optional_space_then(text: &[char], at: usize, class: Class) -> Option<usize> {
        let spaces = usize::from(text[at] == ' ');
        (0..=spaces).rev().find_map(|n| match count(text, at + n, is(class)) {
            0 => None,
            more => Some(n + more),
        })
    }

    /// The expression, alternative by alternative, with backtracking: an oracle that shares nothing with
    /// the scanner but the classes.
    fn oracle(text: &str) -> Vec<String> {
        let text: Vec<char> = text.chars().collect();
        let (mut at, mut words) = (0, Vec::new());
        while at < text.len() {
            let literal = |word: &str| {
                let word: Vec<char> = word.chars().collect();
                text[at..].starts_with(&word).then_some(word.len())
            };
            // \s+(?!\S): give back one character at a time until none but white space, or the end, follows.
            let spaces = count(&text, at, is(Class::Space));
            let before_space =
                (1..=spaces).rev().find(|n| text.get(at + n).is_none_or(|&c| is(Class::Space)(c)));
            let length = (["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"].into_iter().find_map(literal))
                .or_else(|| optional_space_then(&text, at, Class::Letter))
                .or_else(|| optional_space_then(&text, at, Class::Number))
                .or_else(|| optional_space_then(&text, at, Class::Other))
                .or(before_space)
                .or((spaces > 0).then_some(spaces))
                .expect("the alternatives cover every character");
            words.push(text[at..at + length].iter().collect());
            at += length;
        }
        words
    }

    fn scanned(text: &str) -> Vec<String> {
        words(text.as_bytes()).map(|word| String::from_utf8(word.to_vec()).unwrap()).collect()
    }

    /// Pieces that meet every rule and every border between rules.
    fn hostile() -> impl Strategy<Value = String> {
        let pieces = prop::sample::select(
            &[
                " ",
                " ",
                "  ",
                "\t",
                "\n",
                "\r\n",
                "\u{b}",
                "\u{1c}",
                "\u{85}",
                "\u{a0}",
                "\u{1680}",
                "\u{180e}",
                "\u{2009}",
                "\u{200b}",
                "\u{2028}",
                "\u{202f}",
                "\u{3000}",
                "\u{feff}",
                "'",
                "'s",
                "'t",
                "'re",
                "'ve",
                "'m",
                "'ll",
                "'d",
                "'S",
                "'l",
                "a",
                "Zed",
                "\u{e9}",
                "e\u{301}",
                "\u{df}",
                "\u{6c34}\u{706b}",
                "\u{ac00}",
                "\u{5d0}\u{5b0}",
                "\u{915}\u{93f}",
                "0",
                "42",
                "\u{bd}",
                "\u{2167}",
                "\u{663}",
                "\u{1d7d8}",
                "!",
                "...",
                "_",
                "\u{1f44b}",
                "\u{1f469}\u{200d}\u{1f52c}",
                "\u{fe0f}",
                "\0",
                "\u{7f}",
                "\u{e000}",
                "\u{378}",
                "\u{10ffff}",
            ][..],
        );
        let any = prop_oneof![6 => pieces.prop_map(String::from), 1 => any::<char>().prop_map(String::from)];
        prop::collection::vec(any, 0..24).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn pieces_have_the_words_of_the_whole(
            text in prop_oneof![hostile(), "[ab '\n\u{a0}\u{e9}]{0,60}"], size in 1usize..30,
        ) {
            let pieces = pieces(&text, size);
            prop_assert_eq!(pieces.concat(), text.as_str());
            let apart: Vec<&[u8]> = pieces.iter().flat_map(|piece| words(piece.as_bytes())).collect();
            prop_assert_eq!(apart, words(text.as_bytes()).collect::<Vec<_>>());
            // None but the last is shorter than it was to be.
            prop_assert!(pieces.iter().rev().skip(1).all(|piece| piece.len() >= size));
        }

        #[test]
        fn the_scanner_is_the_expression(text in hostile()) {
            prop_assert_eq!(scanned(&text), oracle(&text));
        }

        #[test]
        fn words_cover_any_bytes(text in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert!(words(&text).all(|word| !word.is_empty()));
            prop_assert_eq!(words(&text).collect::<Vec<_>>().concat(), text);
        }
    }

    #[test]
    fn worked_examples() {
        let cases: [(&str, &[&str]); 9] = [
            ("Hello world's end", &["Hello", " world", "'s", " end"]),
            ("we'll 'super' 'S", &["we", "'ll", " '", "super", "'", " '", "S"]),
            ("a   b", &["a", "  ", " b"]),
            ("a \n\n b \t", &["a", " \n\n", " b", " \t"]),
            ("a\nb \nc", &["a", "\n", "b", " ", "\n", "c"]),
            ("x\u{a0}y \u{85}z", &["x", "\u{a0}", "y", " ", "\u{85}", "z"]),
            ("3.14  1,000", &["3", ".", "14", " ", " 1", ",", "000"]),
            ("e\u{301}e", &["e", "\u{301}", "e"]),
            ("a\u{558}b\u{a7e2}", &["a", "\u{558}", "b", "\u{a7e2}"]),
        ];
        for (text, expected) in cases {
            assert_eq!(scanned(text), expected, "{text:?}");
        }
    }

    #[test]
    fn invalid_bytes_are_other_characters() {
        let text = b"ab\xff\xc3 \xe2\x82 !\xf0\x9f\xa0";
        let expected: [&[u8]; 4] = [b"ab", b"\xff\xc3", b" \xe2\x82", b" !\xf0\x9f\xa0"];
        assert_eq!(words(text).collect::<Vec<_>>(), expected);
    }

    /// The classes are those of Unicode 16. If this fails after an update of `unicode-properties`, the new
    /// letters and numbers belong into [`AFTER_UNICODE_16`].
    #[test]
    fn classes_do_not_change_with_the_dependency() {
        let number_of = |class| ('\0'..=char::MAX).filter(|&c| class_of(c) == class).count();
        assert_eq!([Class::Letter, Class::Number, Class::Space].map(number_of), [141_028, 1_911, 25]);
        assert!(AFTER_UNICODE_16.is_sorted());
        for (code, class) in ASCII.iter().enumerate() {
            assert_eq!(class_of(code as u8 as char), *class);
        }
    }
}
