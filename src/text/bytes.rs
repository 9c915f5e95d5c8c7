//! The printable character that stands for each byte in a vocabulary file: GPT-2's `bytes_to_unicode`.
//!
//! Bytes that are printable in Latin-1 stand for themselves; the other 68 take the characters from
//! U+0100 on, in order, so that no token in a file holds a space or a control character.

use alloc::string::String;
use alloc::vec::Vec;

/// The character that stands for a byte: a space is `Ġ`, a line feed `Ċ`.
pub fn symbol(byte: u8) -> char {
    let code = match byte {
        0x00..=0x20 => 0x100 + u32::from(byte),
        0x7f..=0xa0 => 0x121 + u32::from(byte - 0x7f),
        0xad => 0x143,
        printable => u32::from(printable),
    };
    char::from_u32(code).expect("codes up to U+0143 are characters")
}

/// The byte that a character stands for, if it stands for one: the inverse of [`symbol`].
pub fn byte(symbol: char) -> Option<u8> {
    match u32::from(symbol) {
        code @ (0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) => Some(code as u8),
        code @ 0x100..=0x120 => Some((code - 0x100) as u8),
        code @ 0x121..=0x142 => Some((code - 0x121) as u8 + 0x7f),
        0x143 => Some(0xad),
        _ => None,
    }
}

/// All bytes in the order of GPT-2's vocabulary, which is that of their symbols.
pub fn in_vocabulary_order() -> impl Iterator<Item = u8> {
    ('!'..='\u{143}').filter_map(byte)
}

/// A token's text in a vocabulary file.
pub fn text_of(token: &[u8]) -> String {
    token.iter().map(|&b| symbol(b)).collect()
}

/// The bytes of a token's text. A text with a character that stands for no byte is an added token, and is
/// its own UTF-8 (as in Hugging Face's byte-level decoder).
pub fn bytes_of(text: &str) -> Vec<u8> {
    text.chars().map(byte).collect::<Option<_>>().unwrap_or_else(|| text.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mapping_is_gpt2s() {
        // As encoder.json begins and goes on: "!" is 0, "¡" 94, "Ā" (byte 0) 188, "Ġ" (space) 220.
        let order: Vec<u8> = in_vocabulary_order().collect();
        assert_eq!(order.len(), 256);
        for (id, expected) in [(0, '!'), (93, '~'), (94, '¡'), (187, 'ÿ'), (188, 'Ā'), (220, 'Ġ'), (255, 'Ń')]
        {
            assert_eq!(symbol(order[id]), expected);
        }
        assert_eq!((order[188], order[220], order[255]), (0, b' ', 0xad));
    }

    #[test]
    fn symbols_and_bytes_are_inverse() {
        assert!((0..=255).all(|b| byte(symbol(b)) == Some(b)));
        assert_eq!((0..=u32::from(char::MAX)).filter_map(char::from_u32).filter_map(byte).count(), 256);
        assert_eq!(bytes_of(&text_of(b" caf\xc3\xa9\xff\0")), b" caf\xc3\xa9\xff\0");
        assert_eq!(bytes_of("a b\u{2581}"), "a b\u{2581}".as_bytes());
    }
}
