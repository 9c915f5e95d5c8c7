//! From tokens back to bytes and text.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::Tokenizer;
use crate::error::{Error, Result};

impl Tokenizer {
    /// The bytes of tokens, one after the other. `<|endoftext|>` gives those thirteen characters.
    ///
    /// # Errors
    /// An id that is not in the vocabulary.
    pub fn decode(&self, ids: &[u32]) -> Result<Vec<u8>> {
        let mut text = Vec::with_capacity(4 * ids.len());
        for (position, &id) in ids.iter().enumerate() {
            let token = self.token(id).ok_or_else(|| {
                let expected = format!("a token of the vocabulary of {}", self.vocab_size());
                Error::format("tokens", format!("position {position}"), expected, id, "")
            })?;
            text.extend_from_slice(token);
        }
        Ok(text)
    }

    /// The text of tokens for people to read: what is not valid UTF-8, and every id that is not in the
    /// vocabulary, becomes U+FFFD.
    pub fn decode_lossy(&self, ids: &[u32]) -> String {
        let mut text = Vec::with_capacity(4 * ids.len());
        for &id in ids {
            text.extend_from_slice(self.token(id).unwrap_or("\u{fffd}".as_bytes()));
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// Text from bytes that arrive in pieces, such as tokens while a model samples them: a character that
/// spans two tokens is held back until it is complete. All that comes out, joined, is
/// `String::from_utf8_lossy` of all that went in.
#[derive(Debug, Clone, Default)]
pub struct TextStream {
    /// The beginning of a character, at most three bytes.
    pending: Vec<u8>,
}

impl TextStream {
    /// Takes the next bytes and returns the text that is complete with them.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut text = String::with_capacity(self.pending.len());
        let mut used = 0;
        for chunk in self.pending.utf8_chunks() {
            text.push_str(chunk.valid());
            used += chunk.valid().len();
            let at_end = used + chunk.invalid().len() == self.pending.len();
            if at_end && is_unfinished(chunk.invalid()) {
                break;
            }
            if !chunk.invalid().is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
                used += chunk.invalid().len();
            }
        }
        self.pending.drain(..used);
        text
    }

    /// Ends the stream; an unfinished character comes out as U+FFFD.
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.pending).into_owned()
    }
}

/// Whether more bytes could make a character of these.
fn is_unfinished(bytes: &[u8]) -> bool {
    core::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bytes among which characters, cut characters and impossible bytes are all frequent.
    fn broken() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            any::<char>().prop_map(|c| String::from(c).into_bytes()),
            any::<char>().prop_map(|c| {
                let mut bytes = String::from(c).into_bytes();
                bytes.pop();
                bytes
            }),
            any::<u8>().prop_map(|b| alloc::vec![b]),
            prop::sample::select(&[0xe2u8, 0x82, 0xac, 0xf0, 0x9f, 0xed, 0xa0, 0xc0][..])
                .prop_map(|b| alloc::vec![b]),
        ];
        prop::collection::vec(part, 0..20).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn a_stream_gives_the_text_of_the_whole(bytes in broken(), size in 1usize..6) {
            let mut stream = TextStream::default();
            let mut text = String::new();
            for piece in bytes.chunks(size) {
                text.push_str(&stream.push(piece));
            }
            prop_assert!(stream.pending.len() < 4);
            text.push_str(&stream.finish());
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn a_character_waits_for_its_last_byte() {
        let mut stream = TextStream::default();
        let pieces = [&b"a\xf0\x9f"[..], b"\x91", b"\x8bb\xe2", b"c\xe2"];
        assert_eq!(pieces.map(|piece| stream.push(piece)), ["a", "", "\u{1f44b}b", "\u{fffd}c"]);
        assert_eq!(stream.finish(), "\u{fffd}");
    }
}
