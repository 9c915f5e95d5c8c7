//! Reading Rust source just as far as the rules need it: without comments, literals and tests, in words and
//! in imports.

use std::fs;
use std::path::Path;

/// A source file of the repository.
pub struct File {
    /// From the repository's root.
    pub path: String,
    pub raw: String,
    /// Without comments and the content of literals.
    pub code: String,
    /// `code` without test modules.
    pub shipped: String,
}

impl File {
    pub fn new(path: &str, raw: String) -> File {
        let code = without_comments_and_literals(&raw);
        let shipped = if path.ends_with("/tests.rs") { String::new() } else { without_tests(&code) };
        File { path: path.into(), raw, code, shipped }
    }

    /// The folder below `src`, or the file's name without its ending if it lies in `src` itself.
    pub fn room(&self) -> Option<&str> {
        let path = self.path.strip_prefix("src/")?;
        path.split(['/', '.']).next()
    }

    /// One violation for every line of `text` that `wrong` finds something in.
    pub fn find<'a>(&'a self, text: &'a str, wrong: impl Fn(&str) -> Option<String> + 'a) -> Vec<String> {
        let found = |(i, line)| Some(format!("{}:{}: {}", self.path, i + 1, wrong(line)?));
        text.lines().enumerate().filter_map(found).collect()
    }
}

fn without_comments_and_literals(source: &str) -> String {
    let source: Vec<char> = source.chars().collect();
    let mut code = String::new();
    let mut i = 0;
    while i < source.len() {
        let after_word = i > 0 && is_word(source[i - 1]);
        let skipped = opaque(&source[i..], after_word);
        if skipped == 0 {
            code.push(source[i]);
            i += 1;
        } else {
            code.extend(source[i..i + skipped].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
            i += skipped;
        }
    }
    code
}

/// Length of the comment or literal that starts here, or 0.
fn opaque(rest: &[char], after_word: bool) -> usize {
    let starts = |what: &str| what.chars().enumerate().all(|(i, c)| rest.get(i) == Some(&c));
    let until = |from: usize, end: &str| {
        let end: Vec<char> = end.chars().collect();
        let at = (from..rest.len()).find(|&i| rest[i..].starts_with(&end));
        at.map_or(rest.len(), |at| at + end.len())
    };
    if starts("//") {
        return until(2, "\n") - 1;
    }
    if starts("/*") {
        let (mut depth, mut i) = (1, 2);
        while depth > 0 && i < rest.len() {
            let two = (rest[i], rest.get(i + 1).copied().unwrap_or(' '));
            match two {
                ('/', '*') => depth += 1,
                ('*', '/') => depth -= 1,
                _ => {}
            }
            i += if matches!(two, ('/', '*') | ('*', '/')) { 2 } else { 1 };
        }
        return i;
    }
    if starts("\"") {
        let mut i = 1;
        while i < rest.len() && rest[i] != '"' {
            i += if rest[i] == '\\' { 2 } else { 1 };
        }
        return (i + 1).min(rest.len());
    }
    let prefix = ["r", "br", "cr"].into_iter().find(|prefix| !after_word && starts(prefix));
    if let Some(prefix) = prefix {
        let hashes = rest[prefix.len()..].iter().take_while(|&&c| c == '#').count();
        let quote = prefix.len() + hashes;
        if rest.get(quote) == Some(&'"') {
            return until(quote + 1, &format!("\"{}", "#".repeat(hashes)));
        }
    }
    match rest {
        ['\'', '\\', ..] => until(3, "'"),
        ['\'', _, '\'', ..] => 3,
        _ => 0,
    }
}

/// Blanks every item under `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    let mut shipped = String::new();
    let mut rest = code;
    while let Some(at) = ["#[cfg(test", "#[cfg(all(test"].iter().filter_map(|cfg| rest.find(cfg)).min() {
        shipped.push_str(&rest[..at]);
        let (mut depth, mut end) = (0, rest.len());
        for (i, c) in rest[at..].char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 && matches!(c, '}' | ';') {
                end = at + i + 1;
                break;
            }
        }
        shipped.extend(rest[at..end].chars().filter(|&c| c == '\n'));
        rest = &rest[end..];
    }
    shipped + rest
}

pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The words of a line, each with what stands before and after it.
pub fn words(line: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    let starts = line.char_indices().filter(move |&(i, c)| is_word(c) && !line[..i].ends_with(is_word));
    starts.map(move |(i, _)| {
        let end = line[i..].find(|c| !is_word(c)).map_or(line.len(), |n| i + n);
        (&line[..i], &line[i..end], &line[end..])
    })
}

/// Calls and paths like `.name(` and `f64::name`.
pub fn function(line: &str, names: &[&str]) -> Option<String> {
    let called = |&(before, word, after): &(&str, &str, &str)| {
        let method = before.ends_with('.') && after.starts_with('(');
        let path = before.ends_with("f32::") || before.ends_with("f64::");
        names.contains(&word) && (method || path)
    };
    words(line).find(called).map(|(_, word, _)| format!("`{word}`"))
}

pub fn word(line: &str, names: &[&str]) -> Option<String> {
    words(line).find(|(_, word, _)| names.contains(word)).map(|(_, word, _)| format!("`{word}`"))
}

/// What a file imports from the crate's root: (byte offset, name), for every `crate::name`, every member of
/// `crate::{..}`, and every chain of `super::` that reaches the root.
pub fn imports(path: &str, code: &str) -> Vec<(usize, String)> {
    let below_src = path.trim_start_matches("src/");
    let depth = below_src.split('/').count() - usize::from(below_src.ends_with("/mod.rs"));
    let chain = "super::".repeat(depth);
    let mut found = vec![];
    for root in ["crate::", chain.as_str()] {
        for (at, _) in code.match_indices(root) {
            let (before, rest) = (&code[..at], &code[at + root.len()..]);
            if before.ends_with(is_word) || before.ends_with("::") {
                continue;
            }
            let first = |path: &str| path.trim().split(|c| !is_word(c)).next().unwrap_or("").to_string();
            match rest.strip_prefix('{') {
                Some(group) => found.extend(members(group).into_iter().map(|path| (at, first(path)))),
                None => found.push((at, first(rest))),
            }
        }
    }
    found.retain(|(_, name)| !name.is_empty());
    found
}

/// The comma-separated members of a group whose brace has just opened.
fn members(group: &str) -> Vec<&str> {
    let (mut level, mut start, mut members) = (0, 0, vec![]);
    for (i, c) in group.char_indices() {
        match c {
            '{' => level += 1,
            '}' if level > 0 => level -= 1,
            '}' | ',' if level == 0 => {
                members.push(&group[start..i]);
                start = i + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    members
}

/// All text files that are part of the repository.
pub fn repository() -> Vec<File> {
    fn walk(folder: &Path, files: &mut Vec<File>) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let hidden =
                name.starts_with('.') && !matches!(name, ".cargo" | ".ci" | ".github" | ".gitignore");
            if hidden || matches!(name, "target" | "runs" | "__pycache__") {
                continue;
            }
            if path.is_dir() {
                walk(&path, files);
            } else if let Ok(text) = fs::read_to_string(&path) {
                let relative = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
                files.push(File::new(&relative, text));
            }
        }
    }
    let mut files = vec![];
    walk(Path::new(env!("CARGO_MANIFEST_DIR")), &mut files);
    files
}

#[test]
fn comments_literals_and_tests_are_blanked() {
    let source = "a // \"x\n/* /* b */ c */ d \"e \\\" f\" 'g' '\\'' &'h i r#\"j \" k\"# l\n";
    let code = without_comments_and_literals(source);
    let left: Vec<&str> = code.split_whitespace().collect();
    assert_eq!(left, ["a", "d", "&'h", "i", "l"]);
    assert_eq!(code.matches('\n').count(), 2);
    let code = "a\n#[cfg(test)]\nuse b;\nc\n#[cfg(test)]\nmod d {\n fn e() { }\n}\nf\n";
    let shipped = without_tests(code);
    assert_eq!(shipped.split_whitespace().collect::<Vec<_>>(), ["a", "c", "f"]);
    assert_eq!(shipped.matches('\n').count(), code.matches('\n').count());
}
