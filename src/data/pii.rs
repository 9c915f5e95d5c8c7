//! Personal data in texts (the paper, section 3.2: "we filter all prompts in the training split for personally identifiable
//! information (PII)"; how is not printed): e-mail addresses, telephone numbers, payment cards, bank accounts, IP
//! addresses, postal addresses, and names that the words around them give away.
//!
//! Each kind is a pattern and a check of what it finds: cards have Luhn's check digit, accounts ISO 7064's (mod 97). Such
//! patterns miss much, above all names without such words, and addresses and numbers of other countries. How much they
//! find and how much they find wrongly is measured on a made-up set; docs/data.md has the figures.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};

/// What is done with personal data in what is trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PiiRule {
    /// `"keep"`: nothing.
    Keep,
    /// `"replace"`: a word such as `[email]` takes its place.
    Replace,
    /// `"drop"`: the record is left out.
    Drop,
}

/// A kind of personal data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// An e-mail address.
    Email,
    /// A bank account (IBAN, ISO 13616).
    Iban,
    /// The number of a payment card.
    Card,
    /// An address of version 4 or 6 of the Internet protocol.
    Ip,
    /// A telephone number.
    Phone,
    /// A street with a house's number, or a post-office box.
    Address,
    /// A name after words that announce one.
    Name,
}

impl Kind {
    /// All of them. Where two overlap, the earlier is meant.
    pub const ALL: [Kind; 7] =
        [Kind::Email, Kind::Iban, Kind::Card, Kind::Ip, Kind::Phone, Kind::Address, Kind::Name];

    /// As reports call it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Email => "e-mail address",
            Kind::Iban => "bank account",
            Kind::Card => "payment card",
            Kind::Ip => "IP address",
            Kind::Phone => "telephone number",
            Kind::Address => "postal address",
            Kind::Name => "name",
        }
    }

    /// What takes its place.
    pub fn placeholder(self) -> &'static str {
        match self {
            Kind::Email => "[email]",
            Kind::Iban => "[bank account]",
            Kind::Card => "[card number]",
            Kind::Ip => "[IP address]",
            Kind::Phone => "[phone number]",
            Kind::Address => "[address]",
            Kind::Name => "[name]",
        }
    }
}

/// Personal data in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What it is.
    pub kind: Kind,
    /// Where, in bytes of the text.
    pub range: Range<usize>,
}

/// What of a candidate in a text is meant, if anything.
type Check = fn(&str, Range<usize>) -> Option<Range<usize>>;

/// A pattern, of which the group `it` (or the whole) is what is meant, and what shortens or refuses a candidate.
struct Pattern {
    kind: Kind,
    regex: Regex,
    check: Check,
}

static PATTERNS: LazyLock<Vec<Pattern>> = LazyLock::new(|| {
    const STREET: &str = r"(?:Street|St\b\.?|Avenue|Ave\b\.?|Road|Rd\b\.?|Boulevard|Blvd\b\.?|Lane|Ln\b\.?|Drive|Dr\b\.?|Court|Ct\b\.?|Square|Sq\b\.?|Terrace|Close|Crescent|Place|Way|Highway|Parkway)";
    const TOWN: &str = r"(?:,\s*\p{Lu}\p{Ll}+(?:[ -]\p{Lu}\p{Ll}+)*(?:,?\s+[A-Z]{2}\s+\d{5}(?:-\d{4})?|,?\s+[A-Z]{1,2}\d[A-Z\d]?\s+\d[A-Z]{2})?)?";
    const NAME: &str = r"(?P<it>\p{Lu}[\p{L}'’-]*\p{Ll}(?:[ ]\p{Lu}\.)?(?:[ ]\p{Lu}[\p{L}'’-]*\p{Ll}){0,2})";
    let announced = r"(?:[Mm]y (?:full )?name is|[Mm]y name['’]s|[Cc]all me|[Ss]igned,?|(?:[Bb]est|[Kk]ind|[Ww]arm) [Rr]egards,|[Rr]egards,|[Ss]incerely,|[Yy]ours(?: truly| faithfully)?,|[Cc]heers,)\s+";
    let titled = r"\b(?:Mr|Mrs|Ms|Miss|Dr|Prof|Professor|Doctor|Sir|Madam)\b\.?[ ]";
    let dear = r"\b(?:Dear|Hi|Hello|Hey)[ ](?:(?:Mr|Mrs|Ms|Miss|Dr|Prof)\b\.?[ ])?";
    let patterns: [(Kind, String, Check); 14] = [
        (Kind::Email, r"[\p{L}\d](?:[\p{L}\d._%+-]*[\p{L}\d_%+-])?@(?:[\p{L}\d](?:[\p{L}\d-]*[\p{L}\d])?\.)+\p{L}{2,}".into(), any),
        (Kind::Iban, r"\b[A-Z]{2}\d{2}(?:[ ]?[A-Z\d]{4}){2,7}(?:[ ]?[A-Z\d]{1,3})?\b".into(), iban),
        (Kind::Card, r"\b[2-6]\d(?:[ -]?\d){11,17}\b".into(), card),
        (Kind::Ip, r"\b\d{1,3}(?:\.\d{1,3}){3}\b".into(), ip),
        (Kind::Ip, r"[\da-fA-F]{0,4}(?::[\da-fA-F]{0,4}){3,7}".into(), ip),
        (Kind::Phone, r"\+\d{1,3}(?:[ .-]?\(\d{1,4}\))?(?:[ ./-]?\d){6,12}\b".into(), phone),
        (Kind::Phone, r"(?:\([2-9]\d{2}\)[ ]?|\b(?:1[ .-])?[2-9]\d{2}[ .-])[2-9]\d{2}[ .-]\d{4}\b".into(), phone),
        (Kind::Phone, r"(?:\b|\()0\d{1,4}\)?[ /-]\d{3,8}(?:[ -]\d{2,6}){0,3}\b".into(), phone),
        (Kind::Phone, r"(?i:\b(?:phone|tel|telephone|mobile|cell|fax|call me|call us|text me)\b(?: number)?(?: is| at| on|:|\.)*)[ ]+(?P<it>\d(?:[ .-]?\d){6,11})\b".into(), phone),
        (Kind::Address, format!(r"\b\d{{1,5}}[A-Za-z]?[ ](?:[NSEW]\.?[ ])?(?:\p{{Lu}}[\p{{L}}'’]+[ ]|\d{{1,3}}(?:st|nd|rd|th)[ ]){{1,3}}{STREET}(?:,?[ ](?:Apt|Apartment|Suite|Unit|Flat)\b\.?[ ]#?\w+)?{TOWN}"), any),
        (Kind::Address, r"\b(?:\p{Lu}\p{L}+(?:straße|strasse|str\.|weg|allee|platz|gasse)|(?:[Rr]ue|[Aa]venue|[Vv]ia|[Cc]alle)[ ](?:\p{L}+[ ]){0,2}\p{Lu}\p{L}+,?)[ ]\d{1,4}[a-z]?\b(?:,[ ]\d{5}[ ]\p{Lu}\p{L}+)?".into(), any),
        (Kind::Address, r"\b(?:P\.?[ ]?O\.?[ ]Box|Postfach)[ ]\d+\b".into(), any),
        (Kind::Name, format!(r"\b{announced}{NAME}"), name),
        (Kind::Name, format!(r"(?:{titled}|{dear}){NAME}"), name),
    ];
    let compiled = |(kind, text, check): (Kind, String, Check)| Pattern {
        kind,
        regex: Regex::new(&text).expect("a constant"),
        check,
    };
    patterns.into_iter().map(compiled).collect()
});

/// All personal data in a text, in order, none overlapping another.
pub fn find(text: &str) -> Vec<Found> {
    // From where each begins to where it ends.
    let mut found: BTreeMap<usize, (usize, Kind)> = BTreeMap::new();
    for Pattern { kind, regex, check } in PATTERNS.iter() {
        for captures in regex.captures_iter(text) {
            let Some(all) = captures.name("it").or(captures.get(0)) else { continue };
            let Some(range) = check(text, all.range()) else { continue };
            let before = found.range(..range.end).next_back();
            if before.is_none_or(|(_, (end, _))| *end <= range.start) {
                found.insert(range.start, (range.end, *kind));
            }
        }
    }
    found.into_iter().map(|(start, (end, kind))| Found { kind, range: start..end }).collect()
}

/// The text with a placeholder for everything that was found in it.
pub fn replaced(text: &str, found: &[Found]) -> String {
    let (mut out, mut end) = (String::with_capacity(text.len()), 0);
    for Found { kind, range } in found {
        out += &text[end..range.start];
        out += kind.placeholder();
        end = range.end;
    }
    out + &text[end..]
}

fn any(_: &str, range: Range<usize>) -> Option<Range<usize>> {
    Some(range)
}

fn digits(text: &str) -> impl DoubleEndedIterator<Item = u32> {
    text.chars().filter_map(|c| c.to_digit(10))
}

/// Whether a longer number, or a word with digits, goes on at either end, perhaps behind one of `joints`.
fn is_part(text: &str, range: &Range<usize>, joints: &[char]) -> bool {
    let goes_on = |c: char| c.is_ascii_digit();
    let mut before = text[..range.start].chars().rev();
    let mut after = text[range.end..].chars();
    let joined = |first: Option<char>, second: Option<char>| match first {
        Some(c) if joints.contains(&c) => second.is_some_and(goes_on),
        Some(c) => c.is_alphanumeric() || c == '_',
        None => false,
    };
    joined(before.next(), before.next()) || joined(after.next(), after.next())
}

/// What may join the parts of a number.
const JOINTS: &[char] = &['.', '-', ':', '/', ','];

/// Luhn's check digit, as on every payment card.
fn card(text: &str, range: Range<usize>) -> Option<Range<usize>> {
    let doubled = |digit: u32| if digit > 4 { 2 * digit - 9 } else { 2 * digit };
    let sum: u32 = (0..)
        .zip(digits(&text[range.clone()]).rev())
        .map(|(i, d)| if i % 2 == 1 { doubled(d) } else { d })
        .sum();
    (sum.is_multiple_of(10) && !is_part(text, &range, JOINTS)).then_some(range)
}

/// The check digits of ISO 7064 (mod 97-10), once the first four characters stand last. Words in capitals may follow the
/// number: the longest beginning that is right is meant.
fn iban(text: &str, range: Range<usize>) -> Option<Range<usize>> {
    let candidate = &text[range.clone()];
    let ends = candidate.char_indices().rev().map(|(at, c)| at + c.len_utf8());
    let right = |&end: &usize| {
        let characters: Vec<u32> =
            candidate[..end].chars().filter(|c| *c != ' ').filter_map(|c| c.to_digit(36)).collect();
        let at_boundary = candidate[end..].chars().next().is_none_or(|c| c == ' ');
        if !(15..=34).contains(&characters.len()) || !at_boundary || candidate[..end].ends_with(' ') {
            return false;
        }
        let (first, rest) = characters.split_at(4);
        let value = |rest: u32, &c: &u32| (if c > 9 { rest * 100 } else { rest * 10 } + c) % 97;
        rest.iter().chain(first).fold(0, value) == 1
    };
    let end = ends.into_iter().find(right)?;
    Some(range.start..range.start + end)
}

/// What the standard library reads as such an address. Numbers of versions and times look alike: they go on at an end, or
/// a word announces them.
fn ip(text: &str, range: Range<usize>) -> Option<Range<usize>> {
    let address: std::net::IpAddr = text[range.clone()].parse().ok()?;
    let before = text[..range.start].trim_end().to_lowercase();
    let version =
        ["version", "release", "v", "section", "§", "chapter"].iter().any(|word| before.ends_with(word));
    let local = address.is_unspecified() || address.is_loopback();
    // A port follows a colon, and a network's size a slash.
    (!local && !version && !is_part(text, &range, &['.', '-', ','])).then_some(range)
}

/// Seven to fifteen digits (ITU-T E.164), and no more around them.
fn phone(text: &str, range: Range<usize>) -> Option<Range<usize>> {
    let count = digits(&text[range.clone()]).count();
    let before = &text[..range.start];
    let goes_on = before.strip_suffix(' ').unwrap_or(before).ends_with(|c: char| c.is_ascii_digit());
    ((7..=15).contains(&count) && !goes_on && !is_part(text, &range, JOINTS)).then_some(range)
}

/// Words that stand where a name would.
const NO_NAMES: [&str; 40] = [
    "All",
    "Applicant",
    "Bot",
    "Chatbot",
    "Colleague",
    "Colleagues",
    "Committee",
    "Customer",
    "Customers",
    "Dad",
    "Diary",
    "Dr",
    "Editor",
    "Everybody",
    "Everyone",
    "Family",
    "Folks",
    "Friend",
    "Friends",
    "God",
    "Guest",
    "Hiring",
    "Lord",
    "Madam",
    "Miss",
    "Mom",
    "Mr",
    "Mrs",
    "Ms",
    "Mum",
    "Parents",
    "Prof",
    "Reader",
    "Readers",
    "Santa",
    "Sir",
    "Sirs",
    "Team",
    "There",
    "World",
];

fn name(text: &str, range: Range<usize>) -> Option<Range<usize>> {
    let first = text[range.clone()].split(' ').next().unwrap_or_default();
    (!NO_NAMES.contains(&first)).then_some(range)
}

#[cfg(test)]
mod tests;
