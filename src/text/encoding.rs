//! Bytes that should be UTF-8 text. Some editors write a byte order mark before it, or UTF-16 instead.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::error::{Error, Result};

/// UTF-8's byte order mark, which is no part of the text.
pub const MARK: &str = "\u{feff}";

/// The bytes without a byte order mark, where they begin with one.
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(MARK.as_bytes()).unwrap_or(bytes)
}

/// The text of these bytes, which begin in line `first` (from 1) of the file `origin`.
///
/// # Errors
/// [`Error::Format`] with the line of the first byte that is not UTF-8.
pub fn utf8(bytes: Vec<u8>, origin: impl ToString, first: usize) -> Result<String> {
    String::from_utf8(bytes).map_err(|error| {
        let bytes = error.as_bytes();
        let valid = &bytes[..error.utf8_error().valid_up_to()];
        let line = first + valid.iter().filter(|&&byte| byte == b'\n').count();
        let (found, hint) = match bytes {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] if first == 1 => ("UTF-16", FROM_UTF16),
            _ => ("a byte that is not", "if it is another encoding: iconv -f WINDOWS-1252 -t UTF-8 FILE"),
        };
        Error::format(origin, alloc::format!("line {line}"), "UTF-8 text", found, hint)
    })
}

/// How to convert UTF-16.
pub const FROM_UTF16: &str = "convert it: iconv -f UTF-16 -t UTF-8 FILE";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_byte_is_named_with_its_line_and_utf16_by_name() {
        assert_eq!(utf8("é\n".into(), "x", 1).unwrap(), "é\n");
        let message = |bytes: &[u8], first| utf8(bytes.to_vec(), "x", first).unwrap_err().to_string();
        assert!(message(b"a\n\xe9", 4).starts_with("x: line 5: expected UTF-8 text, found a byte"));
        assert!(message(b"\xff\xfea\0", 1).contains("found UTF-16\n  hint: convert it"));
    }

    #[test]
    fn only_the_first_mark_goes() {
        assert_eq!(without_mark("\u{feff}\u{feff}a".as_bytes()), "\u{feff}a".as_bytes());
        assert_eq!(without_mark(b"a"), b"a");
    }
}
