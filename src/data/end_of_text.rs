//! `<|endoftext|>` as it stands in records. The program ends every response and document with the token of that
//! name; a text that spells it out as well would teach a model its letters, since encoding takes them for plain
//! characters.

use crate::text::END_OF_TEXT;

/// What one record's texts hold of it.
#[derive(Debug, Default)]
pub(super) struct Markers {
    /// It stood at the end of a response or document, and was taken off.
    pub taken_off: bool,
    /// It stands elsewhere.
    pub plain: bool,
}

impl Markers {
    /// A response or document, which the token follows anyway, without the marker at its end (and without blanks
    /// around that).
    pub fn ended<'a>(&mut self, text: &'a str) -> &'a str {
        let mut rest = text;
        while let Some(before) = rest.trim_end().strip_suffix(END_OF_TEXT) {
            rest = before;
            self.taken_off = true;
        }
        self.going_on(rest)
    }

    /// A prompt, which other text follows.
    pub fn going_on<'a>(&mut self, text: &'a str) -> &'a str {
        self.plain |= text.contains(END_OF_TEXT);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_at_the_end_and_only_there() {
        for (text, rest, taken_off, plain) in [
            ("a", "a", false, false),
            ("a \n", "a \n", false, false),
            ("a <|endoftext|>", "a ", true, false),
            ("a<|endoftext|>\n <|endoftext|> \n", "a", true, false),
            ("<|endoftext|>a", "<|endoftext|>a", false, true),
            ("a<|endoftext|>b<|endoftext|>", "a<|endoftext|>b", true, true),
            ("<|endoftext|>", "", true, false),
        ] {
            let mut markers = Markers::default();
            assert_eq!(markers.ended(text), rest);
            assert_eq!((markers.taken_off, markers.plain), (taken_off, plain), "{text}");
        }
        let mut markers = Markers::default();
        assert_eq!(markers.going_on("a<|endoftext|>"), "a<|endoftext|>");
        assert!(markers.plain && !markers.taken_off);
    }
}
