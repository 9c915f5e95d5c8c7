//! Text for pretraining: a plain file whose documents are separated by `<|endoftext|>`, or JSON Lines
//! `{"text"}`.
//!
//! Plain files: `\r\n` becomes `\n`; line breaks around a document are dropped; documents without any
//! other character are none (nothing is reported: a separator at the end of a file makes one). A Project
//! Gutenberg book, told by both of its markers, lines that begin `*** START OF` and `*** END OF`, is
//! reduced to what stands between them. JSON Lines text is taken as it is.
//! The separator is only ever a boundary here; inside JSON it is ordinary text.

use std::path::Path;

use super::{Loaded, Outcome, Source, collect};
use crate::error::Result;

/// Separates documents in plain text.
pub const SEPARATOR: &str = "<|endoftext|>";

/// Loads documents. The name decides the format: `.jsonl` and `.json` (before `.gz`) are records, all else
/// plain text.
///
/// # Errors
/// Of [`Source::open`]; [`crate::Error::Format`] with the line for text that is not UTF-8, a record
/// without `text`, or a file without any document.
pub fn load_text(path: &Path) -> Result<Loaded<String>> {
    let source = Source::open(path)?;
    let name = path.to_string_lossy().to_ascii_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    if name.ends_with(".jsonl") || name.ends_with(".json") {
        return read_text_records(source);
    }
    read_documents(source)
}

/// Reads plain text.
///
/// # Errors
/// As [`load_text`].
pub fn read_documents(source: Source) -> Result<Loaded<String>> {
    let origin = source.origin().to_string();
    let records = split_documents(&source.read_all()?);
    Loaded { records, skipped: Vec::new() }.not_empty(&origin)
}

/// Reads `{"text"}` records.
///
/// # Errors
/// As [`load_text`].
pub fn read_text_records(source: Source) -> Result<Loaded<String>> {
    collect(source, |record| {
        let text = record.required_text("text")?;
        Ok(if text.trim().is_empty() { Outcome::Skip("empty text") } else { Outcome::Keep(text.to_string()) })
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

    #[test]
    fn the_name_decides_and_empty_files_are_errors() {
        let directory = tempfile::tempdir().unwrap();
        let load = |name: &str, bytes: &[u8]| {
            let path = directory.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            load_text(&path)
        };
        let json = b"{\"text\":\"a<|endoftext|>b\"}\n{\"text\":\" \"}";
        let loaded = load("a.jsonl", json).unwrap();
        assert_eq!(loaded.records, ["a<|endoftext|>b"]);
        assert_eq!(loaded.summary(), "1 records; 1 skipped: 1 x empty text");
        assert_eq!(load("a.JSONL.gz", &super::super::source::tests::gzip(json)).unwrap(), loaded);
        assert_eq!(load("a.txt", json).unwrap().records.len(), 2);
        for (name, bytes) in
            [("e.txt", &b"\n<|endoftext|>"[..]), ("e.jsonl", b""), ("f.jsonl", b"{\"text\":\"\"}")]
        {
            let error = load(name, bytes).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("at least one"), "{error}");
        }
        assert!(load("u.txt", b"ok\n\xff").unwrap_err().to_string().contains("line 2"));
    }
}
