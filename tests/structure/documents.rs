//! The documents, held to the repository: a path or a link in them leads somewhere, and a link to a line of source
//! code says what stands on that line.

use std::fs;
use std::path::{Path, PathBuf};

/// Where the documents are: these files, and those of `docs/`.
const DOCUMENTS: [&str; 4] = ["README.md", "BENCHMARKS.md", "fixtures/README.md", "reference/README.md"];

/// What a path of the repository begins with.
const ROOMS: [&str; 8] =
    ["src/", "tests/", "docs/", "configs/", "examples/", "fixtures/", "reference/", "fuzz/"];

struct Document {
    /// From the repository's root.
    path: String,
    text: String,
}

impl Document {
    fn new(path: &str, text: &str) -> Document {
        Document { path: path.to_string(), text: text.to_string() }
    }

    /// The lines outside of fenced code, with their numbers from 1.
    fn prose(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut fenced = false;
        (1..).zip(self.text.lines()).filter(move |(_, line)| {
            let fence = line.starts_with("```");
            fenced ^= fence;
            !fenced && !fence
        })
    }

    /// What is wrong with it, given the text of a path (a folder's is empty).
    fn violations(&self, read: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
        let check = |(number, line)| {
            let missing = paths(line).filter(|path| read(path).is_none()).map(|path| format!("no `{path}`"));
            let broken = links(line).filter_map(|(text, target)| self.broken(text, target, read));
            missing
                .chain(broken)
                .map(move |wrong| format!("{}:{number}: {wrong}", self.path))
                .collect::<Vec<_>>()
        };
        self.prose().flat_map(check).collect()
    }

    /// What is wrong with a link. One to a line, `[`words`](file#L12)`, has its words on that line.
    fn broken(&self, text: &str, target: &str, read: &dyn Fn(&str) -> Option<String>) -> Option<String> {
        if target.starts_with("https://") {
            return None;
        }
        let (file, place) = target.split_once('#').unwrap_or((target, ""));
        let path = match file {
            "" => self.path.clone(),
            _ => joined(Path::new(&self.path).parent()?, file),
        };
        let Some(content) = read(&path) else { return Some(format!("no {target}")) };
        let Some(number) = place.strip_prefix('L') else {
            let there = place.is_empty() || headings(&content).any(|heading| heading == place);
            return (!there).then(|| format!("no heading #{place} in {path}"));
        };
        let words = text.trim_matches('`');
        let has = |line: &str| line.contains(words);
        if number.parse().is_ok_and(|n: usize| n > 0 && content.lines().nth(n - 1).is_some_and(has)) {
            return None;
        }
        let found = (1..).zip(content.lines()).filter(|(_, line)| has(line)).map(|(n, _)| format!("#L{n}"));
        let found: Vec<String> = found.collect();
        Some(format!("`{words}` is not on {target}; it is on {found:?}"))
    }
}

/// A relative path from a folder, with its `..` resolved.
fn joined(folder: &Path, path: &str) -> String {
    let mut joined = PathBuf::from(folder);
    for part in path.split('/') {
        match part {
            ".." => drop(joined.pop()),
            _ => joined.push(part),
        }
    }
    joined.to_str().unwrap().to_string()
}

/// Paths of the repository in backticks; one with a `*` or a placeholder in capitals is a pattern.
fn paths(line: &str) -> impl Iterator<Item = &str> {
    let spans = line.split('`').skip(1).step_by(2);
    let literal = |path: &&str| !path.contains(['*', ' ', '{']);
    spans.filter(|span| ROOMS.iter().any(|room| span.starts_with(room))).filter(literal)
}

/// Links as (text, target).
fn links(line: &str) -> impl Iterator<Item = (&str, &str)> {
    line.match_indices("](").filter_map(|(at, _)| {
        let text = &line[line[..at].rfind('[')? + 1..at];
        let target = &line[at + 2..];
        Some((text, &target[..target.find(')')?]))
    })
}

/// The anchors of a text's headings.
fn headings(text: &str) -> impl Iterator<Item = String> {
    text.lines().filter_map(|line| line.strip_prefix('#')).map(|heading| {
        let kept = heading.trim_start_matches('#').trim().to_lowercase();
        kept.chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
            .collect::<String>()
            .replace(' ', "-")
    })
}

/// The text of a path below the repository's root; empty for a folder and for what is no text.
fn read(path: &str) -> Option<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    path.exists().then(|| fs::read_to_string(&path).unwrap_or_default())
}

#[test]
fn documents_lead_somewhere() {
    let pages = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")).unwrap();
    let pages = pages.map(|entry| format!("docs/{}", entry.unwrap().file_name().to_str().unwrap()));
    let pages = pages.filter(|page| page.ends_with(".md"));
    let documents = DOCUMENTS.iter().map(|path| path.to_string()).chain(pages);
    let wrong = documents.flat_map(|path| Document::new(&path, &read(&path).unwrap()).violations(&read));
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn wrong_links_are_found() {
    let read = |path: &str| match path {
        "src/a.rs" => Some("one\nlet two = 2;\n".to_string()),
        "docs/p.md" => Some("# A page's title, again\n".to_string()),
        "src" => Some(String::new()),
        _ => None,
    };
    for (lawful, broken) in [
        ("`src/a.rs`", "`src/b.rs`"),
        ("`src/*.rs` and b.rs", "`src/b/`"),
        ("[a](../src/a.rs), [b](https://b)", "[a](src/a.rs)"),
        ("[`two = 2`](../src/a.rs#L2)", "[`two = 2`](../src/a.rs#L1)"),
        ("[two](../src/a.rs#L2)", "[two](../src/a.rs#L0)"),
        ("[p](p.md#a-pages-title-again)", "[p](p.md#title)"),
        ("```\n`src/b.rs`\n```", "```\n```\n`src/b.rs`"),
    ] {
        let violations = |text| Document::new("docs/x.md", text).violations(&read);
        assert_eq!(violations(lawful), [""; 0], "{lawful}");
        assert_eq!(violations(broken).len(), 1, "{broken}");
    }
    let wrong = Document::new("README.md", "[two](src/a.rs#L1)").violations(&read);
    assert!(wrong[0].contains("README.md:1") && wrong[0].contains("#L2"), "{wrong:?}");
}
