//! Numbers in text as Python's `float` reads and `repr` writes them, because DROP's scorer compares numbers so.

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

use super::answers::is_space;

/// What Python's `float(text)` gives; `None` where it fails. Beyond Rust's own grammar it takes white space around the
/// number, "_" between digits, and decimal digits of any script.
pub(super) fn parse(text: &str) -> Option<f64> {
    let mut plain = String::new();
    let mut last = ' ';
    for c in text.trim_matches(is_space).chars() {
        let c = decimal_digit(c).unwrap_or(c);
        let misplaced = (c == '_' && !last.is_ascii_digit()) || (last == '_' && !c.is_ascii_digit());
        if misplaced {
            return None;
        }
        if c != '_' {
            plain.push(c);
        }
        last = c;
    }
    if last == '_' { None } else { plain.parse().ok() }
}

/// The ASCII digit of the same value. Unicode's decimal digits stand in runs of ten, from 0 to 9, and where runs meet
/// (the mathematical digits) they are whole: the value is the distance to the run's beginning modulo ten.
fn decimal_digit(c: char) -> Option<char> {
    let is_digit = |c: char| c.general_category() == GeneralCategory::DecimalNumber;
    let before = (1..).map(|distance| char::from_u32(c as u32 - distance));
    let value = || before.take_while(|earlier| earlier.is_some_and(is_digit)).count() % 10;
    is_digit(c).then(|| char::from(b'0' + value() as u8))
}

/// What Python's `repr` writes: the shortest decimal that reads back, with ".0" after a whole number, and an exponent
/// of at least two digits below 1e-4 and from 1e16 on.
pub(super) fn write(number: f64) -> String {
    if number.is_nan() {
        return "nan".into();
    }
    let text = format!("{number:?}");
    match text.split_once('e') {
        None => text,
        Some((digits, exponent)) => {
            let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |rest| ('-', rest));
            format!("{digits}e{sign}{exponent:0>2}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_python_writes_them() {
        let cases = [
            ("5", "5.0"),
            ("007.50", "7.5"),
            (" 1_000\n", "1000.0"),
            (".5", "0.5"),
            ("5.", "5.0"),
            ("1e15", "1000000000000000.0"),
            ("1E16", "1e+16"),
            ("1.25e-5", "1.25e-05"),
            ("0.0001", "0.0001"),
            ("1e400", "inf"),
            ("-Infinity", "-inf"),
            ("+nan", "nan"),
            ("-0", "-0.0"),
            ("٤٢", "42.0"),
            ("\u{1d7d8}\u{1d7ff}", "9.0"),
        ];
        for (text, written) in cases {
            assert_eq!(parse(text).map(write).as_deref(), Some(written), "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_none() {
        for text in ["", " ", ".", "e5", "1__0", "_1", "1_", "1_.5", "1,000", "0x10", "²", "five", "1 2"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
