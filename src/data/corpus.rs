//! Text for pretraining: a plain file whose documents are separated by `<|endoftext|>`, or records
//! `{"text"}` in JSON Lines or a JSON array.
//!
//! Which of the two a file is shows in its content: what begins as such records do is records, whatever its name. A
//! name that ends in `.json`, `.jsonl` or `.ndjson` promises records too. A table (CSV, TSV) is refused.
//!
//! Plain files: `\r\n` becomes `\n`; line breaks around a document are dropped; documents without any
//! other character are none (nothing is reported: a separator at the end of a file makes one). A Project
//! Gutenberg book, told by both of its markers, lines that begin `*** START OF` and `*** END OF`, is
//! reduced to what stands between them. JSON Lines text is taken as it is, except for a separator at its end.
//! The separator is only ever a boundary in plain files; inside JSON it is ordinary text.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Loaded, Outcome, Source, collect, content};
use crate::error::{Error, Result};

/// Separates documents in plain text.
pub const SEPARATOR: &str = crate::text::END_OF_TEXT;

/// Loads documents from plain text or records.
///
/// # Errors
/// Of [`Source::open`]; [`crate::Error::Format`] with the line for text that is not UTF-8, a record
/// without `text`, a table, or a file without any document.
pub fn load_text(path: &Path) -> Result<Loaded<String>> {
    let start = Source::open(path)?.start()?;
    let name = path.to_string_lossy();
    let named_records = matches!(content::extension(&name).as_str(), "json" | "jsonl" | "ndjson");
    if named_records || content::looks_like_records(&start) {
        return read_text_records(Source::open(path)?).map_err(|error| match error {
            Error::Format { path, at, expected, found, hint } if hint.is_empty() && !named_records => {
                let hint =
                    format!("a file that begins like JSON holds records; before plain text, put {SEPARATOR}");
                Error::Format { path, at, expected, found, hint }
            }
            other => other,
        });
    }
    if let Some(wrong) = content::table(&name, &start, &BTreeMap::new()) {
        return Err(Error::format(path.display(), "", "plain text or JSON Lines", wrong.name, wrong.hint));
    }
    read_documents(Source::open(path)?)
}

/// Reads plain text.
///
/// # Errors
/// As [`load_text`].
pub fn read_documents(source: Source) -> Result<Loaded<String>> {
    let origin = source.origin().to_string();
    let records = split_documents(&source.read_all()?);
    Loaded { records, ..Loaded::new() }.not_empty(&origin)
}

/// Reads `{"text"}` records.
///
/// # Errors
/// As [`load_text`].
pub fn read_text_records(source: Source) -> Result<Loaded<String>> {
    collect(source, &BTreeMap::new(), |record, markers| {
        let text = markers.ended(record.required_text("text")?);
        Ok(vec![match text.trim().is_empty() {
            true => Outcome::Skip("empty text"),
            false => Outcome::Keep(text.to_string(), None),
        }])
    })
}

/// The documents of a plain text.
pub fn split_documents(text: &str) -> Vec<String> {
    text.replace("\r\n", "\n")
        .split(SEPARATOR)
        .map(|document| strip_gutenberg(document).trim_matches('\n'))
        .filter(|document| !document.trim().is_empty())
        .map(str::to_string)
        .collect()
}

/// The book between the markers, where there are both.
fn strip_gutenberg(text: &str) -> &str {
    let marker = |text: &str, marker: &str| {
        let mut start = 0;
        text.split_inclusive('\n').find_map(|line| {
            let range = start..start + line.len();
            start = range.end;
            line.starts_with(marker).then_some(range)
        })
    };
    let book = marker(text, "*** START OF").and_then(|start| {
        let rest = &text[start.end..];
        marker(rest, "*** END OF").map(|end| &rest[..end.start])
    });
    book.unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_end_at_separators() {
        let text = "\nOne.\r\n two\n<|endoftext|>\nThree\r\n\n<|endoftext|>\n \n<|endoftext|>";
        assert_eq!(split_documents(text), ["One.\n two", "Three"]);
        assert!(split_documents(" \n").is_empty());
    }

    #[test]
    fn a_gutenberg_book_is_stripped_only_with_both_markers() {
        let book = "License\r\n*** START OF THE BOOK ***\r\n\r\nTale\r\n*** END OF THE BOOK ***\r\nmore\n*** START OF X";
        assert_eq!(split_documents(book), ["Tale"]);
        for kept in [
            "a\n*** START OF b\nc",
            "a\n*** END OF b\nc",
            "a\n*** END OF b\n*** START OF c",
            "x *** START OF\n*** END OF",
        ] {
            assert_eq!(split_documents(kept), [kept]);
        }
    }

    /// Loads a file of that name and content.
    fn load(name: &str, bytes: &[u8]) -> Result<Loaded<String>> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        load_text(&path)
    }

    #[test]
    fn the_content_decides_and_empty_files_are_errors() {
        let json = b"{\"text\":\"a<|endoftext|>b\"}\n{\"text\":\" \"}\n{\"text\":\"c <|endoftext|>\\n\"}";
        let expected = load("a.jsonl", json).unwrap();
        assert_eq!(expected.records, ["a<|endoftext|>b", "c "]);
        let remarks = "1 had <|endoftext|> at the end, which was taken off, as training adds its token; \
                       1 have <|endoftext|> elsewhere, where it is plain characters and no token";
        assert_eq!(expected.summary(), format!("2 records; {remarks}; 1 skipped: 1 x empty text"));
        for name in ["a.ndjson", "a.txt", "a", "a.csv"] {
            assert_eq!(load(name, json).unwrap(), expected, "{name}");
            assert_eq!(
                load(name, &["\u{feff} \n".as_bytes(), json].concat()).unwrap().records,
                expected.records
            );
        }
        assert_eq!(load("a.JSONL.gz", &super::super::source::tests::gzip(json)).unwrap(), expected);
        assert_eq!(load("a.txt", b"[ {\"text\":\"a\"}\n]").unwrap().records, ["a"]);
        for (name, bytes) in
            [("e.txt", &b"\n<|endoftext|>"[..]), ("e.jsonl", b""), ("f.jsonl", b"{\"text\":\"\"}")]
        {
            let error = load(name, bytes).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("at least one"), "{error}");
        }
        assert!(load("u.txt", b"ok\n\xff").unwrap_err().to_string().contains("line 2"));
    }

    #[test]
    fn text_that_begins_like_json_is_text_or_refused() {
        for text in ["{\\rtf1 x}", "[1] A note.", "[[link]] and text", "{ x }", "\"{\" is a brace"] {
            assert_eq!(load("a.txt", text.as_bytes()).unwrap().records, [text]);
        }
        assert_eq!(load("a.txt", b"<|endoftext|>{\"text\": \"a\"}").unwrap().records, ["{\"text\": \"a\"}"]);
        for (text, words) in [
            ("{\"quoted\" text}", "line 1, column 11: expected \":\""),
            ("{\n \"text\": \"a\"\n}", "one JSON object per line"),
            ("[\"one\", \"two\"]", "record 1: expected a JSON object, found a string"),
            ("{\"other\": 1}", "a field \"text\""),
        ] {
            let error = load("a.txt", text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("hint: "), "{error}");
        }
        let error = load("a.txt", b"{\"quoted\" text}").unwrap_err().to_string();
        assert!(error.ends_with("before plain text, put <|endoftext|>"), "{error}");
    }

    #[test]
    fn tables_and_binary_files_are_refused_by_name() {
        for (name, bytes, words) in [
            ("a.csv", &b"anything\n"[..], "expected plain text or JSON Lines, found a CSV table"),
            ("a.TSV.gz", &super::super::source::tests::gzip(b"any\n")[..], "a TSV table"),
            ("a.txt", b"prompt,response\n1,2\n", "found a CSV table"),
            ("a.txt", b"PAR1\x15", "a Parquet table"),
            ("a.txt", b"text\0", "a zero byte"),
            ("a.txt", b"\xff\xfea\0", "UTF-16"),
        ] {
            let error = load(name, bytes).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        assert_eq!(load("a.txt", b"text\nand more").unwrap().records, ["text\nand more"]);
    }
}
