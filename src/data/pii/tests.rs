use super::*;
use crate::num::rng::{Purpose, Rng, Stage};
use proptest::prelude::*;

/// Kinds and texts of what is found.
fn kinds(text: &str) -> Vec<(Kind, &str)> {
    find(text).into_iter().map(|found| (found.kind, &text[found.range])).collect()
}

#[test]
fn every_kind_is_found_and_replaced() {
    let text = "My name is Ada Brook. Write to ada.brook+x@mail.example.org, call +44 20 7946 0958 or (415) 555-0132, \
                from 192.168.1.20:8080 or 2001:db8::ff00:42:8329. Pay DE89 3704 0044 0532 0130 00 AND NOW, \
                or 4111 1111 1111 1111. Dear Mr. Lovelace, I live at 12 Mill Lane, Leeds.";
    let expected = [
        (Kind::Name, "Ada Brook"),
        (Kind::Email, "ada.brook+x@mail.example.org"),
        (Kind::Phone, "+44 20 7946 0958"),
        (Kind::Phone, "(415) 555-0132"),
        (Kind::Ip, "192.168.1.20"),
        (Kind::Ip, "2001:db8::ff00:42:8329"),
        (Kind::Iban, "DE89 3704 0044 0532 0130 00"),
        (Kind::Card, "4111 1111 1111 1111"),
        (Kind::Name, "Lovelace"),
        (Kind::Address, "12 Mill Lane, Leeds"),
    ];
    assert_eq!(kinds(text), expected);
    let replaced = replaced(text, &find(text));
    let start = "My name is [name]. Write to [email], call [phone number] or [phone number], from [IP address]:8080 or \
                 [IP address]. Pay [bank account] AND NOW, or [card number]. Dear Mr. [name], I live at [address].";
    assert_eq!(replaced, start);
    assert_eq!(kinds(&replaced), []);
}

#[test]
fn check_digits_and_what_stands_around_decide() {
    for text in [
        "4111 1111 1111 1112",
        "14111111111111111111",
        "DE88 3704 0044 0532 0130 00",
        "DE89 3704 0044 0532 0130 0",
        "version 1.2.3.4, 1.2.3.4.5, 256.1.1.1 and 127.0.0.1",
        "12:30:45, std::io::Write, a::b::c",
        "2026-11-29, 1,234,567.00, 100 200 3000",
        "Dear Sir or Madam, dear Ada, Hi There",
        "10 streets on 5 Avenues",
        "a@b, @name, x@y.1",
    ] {
        assert_eq!(kinds(text), [], "{text}");
    }
    for (text, found) in [
        ("GB82WEST12345698765432", (Kind::Iban, "GB82WEST12345698765432")),
        ("378282246310005.", (Kind::Card, "378282246310005")),
        ("(10.0.0.7)", (Kind::Ip, "10.0.0.7")),
        ("Hi Zoë,", (Kind::Name, "Zoë")),
        ("Lindenstraße 5a, 10115 Berlin", (Kind::Address, "Lindenstraße 5a, 10115 Berlin")),
        ("P.O. Box 12", (Kind::Address, "P.O. Box 12")),
        ("my phone number is 5550132", (Kind::Phone, "5550132")),
    ] {
        assert_eq!(kinds(text), [found], "{text}");
    }
}

proptest! {
    #[test]
    fn what_is_found_lies_in_order_within_any_text(text in "[aA@.0-9+: é\\-,(]{0,60}") {
        let found = find(&text);
        prop_assert!(found.windows(2).all(|two| two[0].range.end <= two[1].range.start));
        let replaced = replaced(&text, &found);
        prop_assert!(found.iter().all(|one| replaced.contains(one.kind.placeholder())));
    }
}

/// The made-up set: sentences with personal data of a kind, some in ways that no pattern here knows, and sentences that
/// only look like it.
mod made_up {
    use super::*;

    /// A sentence, and what of it is personal.
    pub struct Sentence {
        pub text: String,
        pub personal: Vec<Found>,
    }

    pub struct Maker(Rng);

    impl Maker {
        pub fn new() -> Maker {
            Maker(Rng::at(1, Stage::Test, Purpose::Test, 0, 0, 0))
        }

        fn below(&mut self, n: usize) -> usize {
            self.0.below(n)
        }

        fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
            of[self.below(of.len())]
        }

        fn digits(&mut self, n: usize) -> String {
            (0..n).map(|_| char::from(b'0' + self.below(10) as u8)).collect()
        }

        fn first(&mut self) -> &'static str {
            self.one(&["Ada", "Tom", "Zoë", "Priya", "Chen", "Olu", "Marie", "José", "Ivan", "Fatima"])
        }

        fn last(&mut self) -> &'static str {
            self.one(&[
                "Brook",
                "O'Neill",
                "Müller",
                "Garcia",
                "Okafor",
                "Smith-Jones",
                "Tanaka",
                "Novak",
                "Rossi",
            ])
        }

        fn grouped(text: &str, sizes: &[usize], by: &str) -> String {
            let (mut groups, mut at) = (Vec::new(), 0);
            for size in sizes.iter().cycle() {
                if at >= text.len() {
                    break;
                }
                groups.push(&text[at..(at + size).min(text.len())]);
                at += size;
            }
            groups.join(by)
        }

        fn card(&mut self) -> String {
            let (first, length) = [("4", 16), ("51", 16), ("37", 15), ("6011", 16)][self.below(4)];
            let head = format!("{first}{}", self.digits(length - 1 - first.len()));
            let sum: u32 = (1..)
                .zip(head.bytes().rev())
                .map(|(i, b)| {
                    let digit = u32::from(b - b'0');
                    if i % 2 == 0 {
                        digit
                    } else if digit > 4 {
                        2 * digit - 9
                    } else {
                        2 * digit
                    }
                })
                .sum();
            let number = format!("{head}{}", (10 - sum % 10) % 10);
            match self.below(10) {
                0..=4 => Self::grouped(&number, if length == 15 { &[4, 6, 5] } else { &[4] }, " "),
                5..=6 => Self::grouped(&number, if length == 15 { &[4, 6, 5] } else { &[4] }, "-"),
                7..=8 => number,
                _ => Self::grouped(&number, &[4], "."),
            }
        }

        fn iban(&mut self) -> String {
            let (country, length) =
                [("DE", 18), ("FR", 23), ("NL", 14), ("GB", 18), ("NO", 11)][self.below(5)];
            let account = match country {
                "GB" => format!("WEST{}", self.digits(14)),
                "NL" => format!("ABNA{}", self.digits(10)),
                _ => self.digits(length),
            };
            let rest = format!("{account}{country}00").chars().fold(0u32, |rest, c| {
                let value = c.to_digit(36).unwrap();
                (if value > 9 { rest * 100 } else { rest * 10 } + value) % 97
            });
            let number = format!("{country}{:02}{account}", 98 - rest);
            match self.below(10) {
                0..=5 => Self::grouped(&number, &[4], " "),
                6..=8 => number,
                _ => number.to_lowercase(),
            }
        }

        fn email(&mut self) -> String {
            let (first, last) =
                (self.one(&["ada", "tom", "zoe", "priya", "j"]), self.one(&["brook", "oneill", "rossi"]));
            let host = self.one(&["example.org", "mail.example.co.uk", "uni-x.de", "shop.example"]);
            match self.below(10) {
                0..=3 => format!("{first}.{last}@{host}"),
                4..=5 => format!("{first}_{}@{host}", self.digits(2)),
                6..=7 => format!("{}+{last}@{host}", first.to_uppercase()),
                8 => format!("{first}(at){host}"),
                _ => format!("{first} at {} dot org", self.one(&["example", "mail"])),
            }
        }

        fn phone(&mut self) -> String {
            let (a, b) = (2 + self.below(8), 2 + self.below(8));
            let (area, exchange) = (format!("{a}{}", self.digits(2)), format!("{b}{}", self.digits(2)));
            match self.below(12) {
                0..=1 => format!("({area}) {exchange}-{}", self.digits(4)),
                2..=3 => format!("{area}-{exchange}-{}", self.digits(4)),
                4 => format!("{area}.{exchange}.{}", self.digits(4)),
                5..=6 => format!("+44 20 {} {}", self.digits(4), self.digits(4)),
                7 => format!("+49 {} {}", 30 + self.below(60), self.digits(7)),
                8 => format!("0{} {}", 30 + self.below(60), self.digits(7)),
                9 => format!("07{} {}", self.digits(3), self.digits(6)),
                // Local numbers without an area.
                10 => format!("{exchange}-{}", self.digits(4)),
                _ => self.one(&["five five five oh one three two", "0 seven 9 4 6"]).to_string(),
            }
        }

        fn ip(&mut self) -> String {
            match self.below(10) {
                0..=6 => (0..4).map(|_| (1 + self.below(254)).to_string()).collect::<Vec<_>>().join("."),
                7..=8 => format!("2001:db8::{:x}:{:x}", 1 + self.below(65_535), 1 + self.below(65_535)),
                _ => (0..4).map(|_| (1 + self.below(254)).to_string()).collect::<Vec<_>>().join(" "),
            }
        }

        fn address(&mut self) -> String {
            let (number, name) =
                (1 + self.below(300), self.one(&["Mill", "Oak Tree", "Queen's", "St James", "North Park"]));
            match self.below(10) {
                0..=2 => format!("{number} {name} {}", self.one(&["Lane", "Road", "Street", "St.", "Ave"])),
                3..=4 => format!(
                    "{number} {name} Road, {} {} {}",
                    self.one(&["Springfield", "New Haven"]),
                    self.one(&["IL", "CT"]),
                    self.digits(5)
                ),
                5 => format!("{number} {name} Close, Leeds LS1 4AB"),
                6 => format!("{}straße {number}", self.one(&["Linden", "Garten", "Haupt"])),
                7 => format!("P.O. Box {number}"),
                8 => format!("{} Cottage, Upper Slaughter", self.one(&["Rose", "Ivy"])),
                _ => format!("number {} in {name} Lane", self.one(&["twelve", "seven"])),
            }
        }

        /// A sentence with personal data of that kind.
        pub fn personal(&mut self, kind: Kind) -> Sentence {
            let value = match kind {
                Kind::Email => self.email(),
                Kind::Iban => self.iban(),
                Kind::Card => self.card(),
                Kind::Ip => self.ip(),
                Kind::Phone => self.phone(),
                Kind::Address => self.address(),
                Kind::Name => {
                    let (first, last) = (self.first(), self.last());
                    if self.below(2) == 0 { format!("{first} {last}") } else { first.to_string() }
                }
            };
            let (before, after) = match kind {
                Kind::Name => match self.below(10) {
                    0..=2 => (
                        self.one(&["Hello, my name is ", "My name's ", "my full name is "]),
                        " and I need a letter.",
                    ),
                    3..=4 => (self.one(&["Dear ", "Dear Mrs. ", "Hi "]), ",\nthank you for the flowers."),
                    5 => ("See you soon.\nKind regards,\n", ""),
                    6 => ("Please ask Dr. ", " for the results."),
                    // Nothing here gives these away.
                    7 => ("I am ", " from the second floor."),
                    8 => ("Write a poem for my friend ", " who moved."),
                    _ => ("", " has not paid the bill."),
                },
                _ => (
                    self.one(&["Write to me: ", "It is ", "Use (", "My details are ", "Please note "]),
                    self.one(&[".", ", thanks!", " and tell nobody", ") please", "\nBye"]),
                ),
            };
            let range = before.len()..before.len() + value.len();
            Sentence { text: format!("{before}{value}{after}"), personal: vec![Found { kind, range }] }
        }

        /// A sentence without any that looks as if it had.
        pub fn harmless(&mut self) -> Sentence {
            let (two, four) = (1 + self.below(28), 1000 + self.below(9000));
            let text = match self.below(21) {
                0 => format!("The meeting is on 2026-11-{two:02} at 12:30:45."),
                1 => format!("On {two}/11/2026 we sold {four},000 pieces for 1.234.567,00 euros."),
                2 => {
                    format!("Update to {} 10.4.{two}.1 today.", self.one(&["version", "release", "firmware"]))
                }
                3 => format!("ISBN 978-3-16-{}-0 is out of print.", self.digits(6)),
                4 => format!("Order number {} was shipped.", self.digits(16)),
                5 => format!(
                    "Dear {}, write me a story.",
                    self.one(&["Sir or Madam", "Customer", "Editor", "Santa", "Friends", "all"])
                ),
                6 => format!("{} there, what is {two} times {four}?", self.one(&["Hi", "Hello", "Hey"])),
                7 => format!("In C++, std::vector<int>::size() of {four} is fine."),
                8 => format!("My name is mud, and {two} streets away they know it."),
                9 => format!("The mass is {four}.{two}e-{two} kg, or 0.{} of it.", self.digits(9)),
                10 => format!("Follow @user{two} and use #tag{four}."),
                11 => {
                    let numbers = [self.digits(3), self.digits(3), self.digits(4)];
                    format!(
                        "{} {} is out of stock.",
                        self.one(&["Part", "Sort these:"]),
                        numbers.join(self.one(&["-", ", "]))
                    )
                }
                12 => {
                    let name = self.one(&[
                        "Dr. Pepper",
                        "Dr. Strange",
                        "Mr. Right",
                        "Mr. Nobody",
                        "Hey Jude",
                        "Rain Man",
                    ]);
                    format!("Name {two} films or songs like {name}.")
                }
                13 => format!("Is {two} km from the river to the village far?"),
                14 => format!(
                    "List the {two} {}.",
                    self.one(&["best ways to cross Wall Street", "Wall Street banks", "streets of Leeds"])
                ),
                15 => format!("The coordinates are 51.{}, -0.{}.", self.digits(4), self.digits(4)),
                16 => format!("Section {two}.1.2.3 of the law says so."),
                17 => format!("The hash is {}{}.", self.digits(20), "ab"),
                18 => format!("Print \"Hello World\" {two} times."),
                19 => format!("A score of {two}-{two} after {four} minutes; ratio {two}:{two}:{two}."),
                20 => format!("Summarize in {two} words: the Avenue of the Giants is a road."),
                _ => {
                    format!("The serial number is {}-{}-{}.", self.digits(4), self.digits(4), self.digits(4))
                }
            };
            Sentence { text, personal: vec![] }
        }
    }
}

/// What the patterns find in the made-up set, as docs/data.md has it: of what is found, how much is personal data of that
/// kind; of that, how much is found.
#[test]
fn precision_and_recall_are_those_of_the_document() {
    let mut maker = made_up::Maker::new();
    let mut sentences: Vec<made_up::Sentence> = Vec::new();
    for _ in 0..200 {
        sentences.extend(Kind::ALL.map(|kind| maker.personal(kind)));
        sentences.extend((0..7).map(|_| maker.harmless()));
    }
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/data.md");
    let document = std::fs::read_to_string(document).unwrap();
    // Of each kind: what was found rightly, what was found, and what was there.
    let mut counts = Kind::ALL.map(|kind| (kind, [0usize; 3]));
    for sentence in &sentences {
        let found = find(&sentence.text);
        for (kind, [right, all, there]) in &mut counts {
            let wanted: Vec<&Found> = sentence.personal.iter().filter(|one| one.kind == *kind).collect();
            let got: Vec<&Found> = found.iter().filter(|one| one.kind == *kind).collect();
            // All of it has to be covered: half a number that stays is no success.
            let covers = |got: &&&Found| {
                wanted.iter().any(|w| got.range.start <= w.range.start && w.range.end <= got.range.end)
            };
            *right += got.iter().filter(covers).count();
            *all += got.len();
            *there += wanted.len();
        }
    }
    let percent = |of: usize, all: usize| format!("{:.1} %", 100.0 * of as f64 / all as f64);
    let rows = counts.map(|(kind, [right, all, there])| {
        format!("| {} | {} | {} |", kind.name(), percent(right, all), percent(right, there))
    });
    let missing: Vec<&str> = rows.iter().map(String::as_str).filter(|row| !document.contains(row)).collect();
    assert!(missing.is_empty(), "docs/data.md does not have these rows:\n{}", missing.join("\n"));
}
