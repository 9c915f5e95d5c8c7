//! What a file is, told by its content, so that a wrong file is refused by its right name and no file is read as
//! something that it is not.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read};

use crate::text::encoding::{FROM_UTF16, MARK};

/// How gzip data begins.
pub(super) const GZIP: &[u8] = &[0x1f, 0x8b];

/// A file that is no text: what it is, and how to make text of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wrong {
    pub name: &'static str,
    pub hint: &'static str,
}

const UNPACK: &str = "unpack it, or compress with gzip instead";
const FROM_TABLE: &str = "make JSON Lines of it: python -c \"import pandas; pandas.read_parquet('FILE')\
                          .to_json('FILE.jsonl', orient='records', lines=True)\"";

/// The first bytes of files that are no text.
const KINDS: [(&[u8], Wrong); 16] = [
    (b"%PDF-", Wrong { name: "a PDF document", hint: "take its text out first, as pdftotext does" }),
    (b"PK\x03\x04", Wrong { name: "a zip archive (Excel's and Word's files are such)", hint: UNPACK }),
    (b"PAR1", Wrong { name: "a Parquet table", hint: FROM_TABLE }),
    (b"ARROW1", Wrong { name: "an Arrow table", hint: "make JSON Lines of it" }),
    (b"\x28\xb5\x2f\xfd", Wrong { name: "zstd-compressed data", hint: UNPACK }),
    (b"\xfd7zXZ\0", Wrong { name: "xz-compressed data", hint: UNPACK }),
    (b"BZh", Wrong { name: "bzip2-compressed data", hint: UNPACK }),
    (b"\x04\x22\x4d\x18", Wrong { name: "lz4-compressed data", hint: UNPACK }),
    (b"7z\xbc\xaf\x27\x1c", Wrong { name: "a 7z archive", hint: UNPACK }),
    (b"\x89HDF", Wrong { name: "an HDF5 file", hint: "make JSON Lines of it" }),
    (b"SQLite format 3", Wrong { name: "an SQLite database", hint: "make JSON Lines of it" }),
    (b"\x93NUMPY", Wrong { name: "a NumPy array", hint: "texts are read, no tokens: make JSON Lines of it" }),
    (b"\x89PNG", Wrong { name: "a picture", hint: "" }),
    (b"\xff\xd8\xff", Wrong { name: "a picture", hint: "" }),
    (b"\xff\xfe", Wrong { name: "UTF-16 text", hint: FROM_UTF16 }),
    (b"\xfe\xff", Wrong { name: "UTF-16 text", hint: FROM_UTF16 }),
];

/// The first bytes of `reader`, as many as it takes to know what they are and not one more: of a pipe, the next
/// may never come.
pub(super) fn beginning(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let known = || KINDS.iter().map(|(first, _)| *first).chain([GZIP, MARK.as_bytes()]);
    let mut start = Vec::new();
    while known().any(|first| first.len() > start.len() && first.starts_with(&start)) {
        let Some(byte) = reader.by_ref().bytes().next().transpose()? else { break };
        start.push(byte);
    }
    Ok(start)
}

/// What a file is that begins like this, if that is no text. `start` is from [`beginning`].
pub(super) fn binary(start: &[u8]) -> Option<Wrong> {
    KINDS.iter().find(|(first, _)| start.starts_with(first)).map(|(_, wrong)| *wrong)
}

/// The first character that no text has, a control character other than blanks, line ends, page ends and terminal
/// codes: where it stands, and what the file may be.
pub(super) fn control_character(text: &[u8]) -> Option<(usize, Wrong)> {
    let is_text = |byte: u8| byte >= 0x20 || matches!(byte, b'\t'..=b'\r' | 0x1b);
    let at = text.iter().position(|&byte| !is_text(byte))?;
    let wide = text.len() >= 4 && (0..4).all(|i| (text[i] == 0) == (i % 2 == at % 2));
    let wrong = match text[at] {
        0 if wide => Wrong { name: "UTF-16 text", hint: FROM_UTF16 },
        0 if text.get(257..262) == Some(b"ustar") => Wrong { name: "a tar archive", hint: UNPACK },
        0 => Wrong { name: "binary data (a zero byte)", hint: "" },
        _ => Wrong {
            name: "a control character",
            hint: "take them out: tr -d '\\000-\\010\\016-\\032\\034-\\037'",
        },
    };
    Some((at, wrong))
}

/// Whether a text begins as JSON records do: an object with a key, or an array of such or of strings.
pub(super) fn looks_like_records(start: &[u8]) -> bool {
    let mut visible = start.iter().filter(|byte| !byte.is_ascii_whitespace());
    let first: [u8; 3] = core::array::from_fn(|_| visible.next().copied().unwrap_or_default());
    matches!(first, [b'{', b'"' | b'}', _] | [b'[', b'"' | b']', _] | [b'[', b'{', b'"' | b'}'])
}

/// The names of columns that tell a table's head from a text's first line.
const COLUMNS: [&str; 27] = [
    "",
    "id",
    "index",
    "text",
    "content",
    "prompt",
    "response",
    "responses",
    "completion",
    "instruction",
    "input",
    "output",
    "chosen",
    "rejected",
    "question",
    "answer",
    "context",
    "label",
    "rank",
    "ranks",
    "user",
    "labeler",
    "use_case",
    "marks",
    "category",
    "title",
    "source",
];

/// Whether a file is a table in CSV or TSV: by its name, or as its first line has at least two columns of which all
/// have names that we know, or one has a name that `columns` gives to ours.
pub(super) fn table(name: &str, start: &[u8], columns: &BTreeMap<String, String>) -> Option<Wrong> {
    let hint = "make JSON Lines of it: python -c \"import pandas; pandas.read_csv('FILE')\
                .to_json('FILE.jsonl', orient='records', lines=True)\"";
    let csv = Wrong { name: "a CSV table", hint };
    let tsv = Wrong { name: "a TSV table", hint };
    match extension(name).as_str() {
        "csv" => return Some(csv),
        "tsv" | "tab" => return Some(tsv),
        _ => {}
    }
    let line = start.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line).to_ascii_lowercase();
    let is_head = |separator: char| {
        let names = || line.split(separator).map(|column| column.trim().trim_matches('"'));
        let mapped = |theirs: &String| names().any(|name| name == theirs.trim().to_ascii_lowercase());
        line.contains(separator)
            && (columns.values().any(mapped) || names().all(|name| COLUMNS.contains(&name)))
    };
    [('\t', tsv), (',', csv), (';', csv)]
        .into_iter()
        .find(|(separator, _)| is_head(*separator))
        .map(|found| found.1)
}

/// The ending of a file's name before `.gz`, in small letters.
pub(super) fn extension(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    name.rsplit_once('.').map_or("", |(_, ending)| ending).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_read_than_it_takes() {
        for (bytes, length) in [
            (&b"{\"a\":1}"[..], 1),
            (b"Plain", 2),
            (b"PK\x03\x04rest", 4),
            (b"\xef\xbb\xbftext", 3),
            (b"\x1f\x8b\x08", 2),
            (b"", 0),
            (b"P", 1),
        ] {
            let mut rest = bytes;
            assert_eq!(beginning(&mut rest).unwrap(), &bytes[..length]);
            assert_eq!(rest, &bytes[length..]);
        }
        assert_eq!(binary(b"%PDF-").unwrap().name, "a PDF document");
        assert_eq!(binary(b"P"), None);
    }

    #[test]
    fn control_characters_are_named() {
        let name = |text: &[u8]| control_character(text).map(|(at, wrong)| (at, wrong.name));
        assert_eq!(name("tab\t\r\n\x0c\x1b[0m é \u{7f}".as_bytes()), None);
        assert_eq!(name(b"ab\0"), Some((2, "binary data (a zero byte)")));
        assert_eq!(name(b"a\0b\0"), Some((1, "UTF-16 text")));
        assert_eq!(name(b"\0a\0b"), Some((0, "UTF-16 text")));
        assert_eq!(name(b"a\x01"), Some((1, "a control character")));
        let mut tar = [&b"name"[..], &[0; 300]].concat();
        tar[257..262].copy_from_slice(b"ustar");
        assert_eq!(name(&tar), Some((4, "a tar archive")));
    }

    #[test]
    fn records_are_told_from_text() {
        for records in ["{\"a\":1}", " \n{\n\"a\"", "{}", "[{\"a\"", "[ ]", "[\"a\"]", "[\n {}]"] {
            assert!(looks_like_records(records.as_bytes()), "{records}");
        }
        for text in
            ["", "{", "{a}", "{ \\tt x }", "[1] A note", "[[link]]", "[ ] to do, [x] done", "\"{\"", "[{x}"]
        {
            assert_eq!(looks_like_records(text.as_bytes()), text == "[ ] to do, [x] done", "{text}");
        }
    }

    #[test]
    fn tables_are_told_by_name_or_head() {
        let name =
            |file: &str, text: &str| table(file, text.as_bytes(), &BTreeMap::new()).map(|wrong| wrong.name);
        assert_eq!(name("a/b.CSV.gz", "anything"), Some("a CSV table"));
        assert_eq!(name("b.tsv", ""), Some("a TSV table"));
        assert_eq!(name("b.txt", "prompt,\"Response\"\r\nx"), Some("a CSV table"));
        assert_eq!(name("b", "id\ttext\n1\tx"), Some("a TSV table"));
        for text in ["text\nx", "Prompt, response and other words", "Once, upon", "text, and input", ""] {
            assert_eq!(name("b.txt", text), None, "{text}");
        }
    }
}
