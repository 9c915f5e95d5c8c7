//! The split of pretraining text. Documents have no users, so a document's side follows from its text and the seed,
//! except that some documents are cut, to have something of them on every side:
//! - one of [`LONG`] bytes or more (a book): else a few books would decide what validation and test look like;
//! - the longest, if otherwise a side that should have text had none (a text that is one document).
//!
//! A cut document's beginning trains; its end is held out, first validation's share, then the test's. It is cut where a
//! paragraph ends, else at the end of a line or a word. A cut is no end of the document: only its true last part is followed
//! by the end-of-text token, and no sequence goes over a cut.

use std::collections::BTreeSet;

use super::split::{Side, Split, SplitRule};

/// From this length on a document is cut, in bytes.
pub const LONG: usize = 32 << 10;

/// A document, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passage {
    /// Its text.
    pub text: String,
    /// Whether the document begins with it.
    pub begins: bool,
    /// Whether the document ends with it.
    pub ends: bool,
}

impl Passage {
    /// A whole document.
    pub fn document(text: String) -> Self {
        Passage { text, begins: true, ends: true }
    }
}

/// Splits documents. Also returns how many were cut.
pub fn split_text(documents: Vec<String>, rule: &SplitRule) -> (Split<Vec<Passage>>, usize) {
    let mut cut: Vec<bool> = documents.iter().map(|document| document.len() >= LONG).collect();
    let side = |document: &String| rule.side_of_text(document.trim());
    let whole: BTreeSet<Side> =
        documents.iter().zip(&cut).filter(|(_, cut)| !**cut).map(|(document, _)| side(document)).collect();
    let wanted = |side: &Side| rule.share(*side) > 0.0;
    if !cut.contains(&true) && Side::ALL.iter().filter(|side| wanted(side)).any(|side| !whole.contains(side))
    {
        // With all that repeat it: of none may a copy be on another side.
        let longest = documents.iter().map(|document| document.trim()).max_by_key(|text| text.len());
        cut = documents.iter().map(|document| Some(document.trim()) == longest).collect();
    }
    let (mut split, mut count) = (Split::<Vec<Passage>>::default(), 0);
    for (document, cut) in documents.into_iter().zip(cut) {
        match cut.then(|| parts(&document, rule)).flatten() {
            Some(parts) => {
                count += 1;
                let last = parts.len() - 1;
                for (i, (side, text)) in parts.into_iter().enumerate() {
                    split.of_mut(side).push(Passage { text, begins: i == 0, ends: i == last });
                }
            }
            // What is too short to be cut is trained on.
            None if cut => split.train.push(Passage::document(document)),
            None => split.of_mut(side(&document)).push(Passage::document(document)),
        }
    }
    (split, count)
}

/// Leaves out the held-out documents that also stand on an earlier side; returns how many, by side. (Only where sides
/// were not given by [`split_text`].)
pub fn leave_out_repeated(split: &mut Split<Vec<Passage>>) -> Split<usize> {
    let mut seen = BTreeSet::new();
    Split::from_fn(|side| {
        let passages = split.of_mut(side);
        let before = passages.len();
        if side != Side::Train {
            passages.retain(|passage| !seen.contains(passage.text.trim()));
        }
        seen.extend(passages.iter().map(|passage| passage.text.trim().to_string()));
        before - passages.len()
    })
}

/// The parts of a document, two or three, in order; `None` if nothing is to be held out, or a part would be blank.
fn parts(document: &str, rule: &SplitRule) -> Option<Vec<(Side, String)>> {
    let wanted: Vec<Side> = Side::ALL.into_iter().filter(|&side| rule.share(side) > 0.0).collect();
    let length = document.len() as f64;
    let least = wanted.iter().map(|&side| rule.share(side)).fold(1.0, f64::min);
    // Every part has at least three quarters of its due.
    let slack = (least * length / 4.0) as usize;
    let (mut parts, mut begin, mut share) = (Vec::new(), 0, 0.0);
    for &side in &wanted {
        share += rule.share(side);
        let last = wanted.last() == Some(&side);
        let end = if last { document.len() } else { boundary(document, (share * length) as usize, slack) };
        parts.push((side, document.get(begin..end)?.to_string()));
        begin = end;
    }
    (parts.len() > 1 && parts.iter().all(|(_, part)| !part.trim().is_empty())).then_some(parts)
}

/// The best place to cut a text at byte `at`, or at most `slack` bytes before.
fn boundary(text: &str, at: usize, slack: usize) -> usize {
    let of_character =
        |at: usize| (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    let (from, at) = (of_character(at.saturating_sub(slack)), of_character(at));
    let behind =
        |separator: &str| text[from..at].rfind(separator).map(|found| from + found + separator.len());
    ["\n\n", "\n", " "].into_iter().find_map(behind).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::super::NormalForm;
    use super::*;
    use proptest::prelude::*;

    fn rule(validation: f64, test: f64, seed: u64) -> SplitRule {
        SplitRule { seed, validation, test, form: NormalForm::default() }
    }

    fn bytes(passages: &[Passage]) -> usize {
        passages.iter().map(|passage| passage.text.len()).sum()
    }

    #[test]
    fn a_single_document_has_something_for_every_side_at_every_seed() {
        let text = "Once upon a time there was a text. ".repeat(20);
        for seed in 1..40 {
            let (split, cut) = split_text(vec![text.clone()], &rule(0.1, 0.2, seed));
            assert_eq!(cut, 1);
            let [train, validation, test] = [&split.train, &split.validation, &split.test].map(|p| &p[..]);
            let [[train], [validation], [test]] = [train, validation, test] else { panic!("{split:?}") };
            assert_eq!([&*train.text, &validation.text, &test.text].concat(), text);
            assert_eq!([train.begins, validation.begins, test.begins], [true, false, false]);
            assert_eq!([train.ends, validation.ends, test.ends], [false, false, true]);
            assert!(
                train.text.ends_with(' ') && (470..=490).contains(&train.text.len()),
                "{}",
                train.text.len()
            );
            assert!((60..=90).contains(&validation.text.len()), "{}", validation.text.len());
        }
        // Nothing is to be held out, or there is nothing to cut.
        for (text, validation) in [(text.as_str(), 0.0), ("a", 0.1)] {
            let (split, cut) = split_text(vec![text.to_string()], &rule(validation, 0.0, 1));
            assert_eq!((split.train, cut), (vec![Passage::document(text.to_string())], 0));
        }
    }

    #[test]
    fn a_book_is_cut_at_paragraphs_and_others_stay_whole() {
        let book = "It was a dark night.\n\n".repeat(3000);
        let mut documents: Vec<String> = (0..300).map(|i| format!("Document {i}.")).collect();
        documents.push(book.clone());
        let (split, cut) = split_text(documents, &rule(0.1, 0.1, 3));
        assert_eq!(cut, 1);
        for (side, share) in [(Side::Train, 0.8), (Side::Validation, 0.1), (Side::Test, 0.1)] {
            let passages = split.of(side);
            let (whole, parts): (Vec<_>, Vec<_>) = passages.iter().partition(|p| p.begins && p.ends);
            let due = share * book.len() as f64;
            assert!((parts[0].text.len() as f64 - due).abs() < 50.0 && parts[0].text.ends_with("night.\n\n"));
            assert!((whole.len() as f64 - 300.0 * share).abs() < 20.0, "{side:?}: {}", whole.len());
        }
        // Without a book, documents that fall on all sides are all whole.
        let documents: Vec<String> = (0..300).map(|i| format!("Document {i}.")).collect();
        assert_eq!(split_text(documents, &rule(0.1, 0.1, 3)).1, 0);
    }

    #[test]
    fn a_document_that_stands_twice_is_cut_twice() {
        let text = "One two three four five six seven eight nine ten.";
        let (split, cut) = split_text(vec![text.into(), text.into()], &rule(0.2, 0.2, 1));
        assert_eq!((cut, split.train.len(), split.test.len()), (2, 2, 2));
        assert!(split.train.iter().all(|passage| !split.test.contains(passage)));
    }

    #[test]
    fn repeated_documents_are_left_out_of_later_sides() {
        let documents = |texts: &[&str]| texts.iter().map(|&text| Passage::document(text.into())).collect();
        let mut split = Split {
            train: documents(&["a", "a"]),
            validation: documents(&["a ", "b", "b"]),
            test: documents(&["a", "b", "c"]),
        };
        assert_eq!(leave_out_repeated(&mut split), Split { train: 0, validation: 1, test: 2 });
        assert_eq!(split.map(Vec::len), Split { train: 2, validation: 2, test: 1 });
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_doubled(
            documents in proptest::collection::vec("[aé \n]{0,60}", 0..6),
            validation in 0.0f64..0.5, test in 0.0f64..0.49, seed in any::<u64>()
        ) {
            let (split, _) = split_text(documents.clone(), &rule(validation, test, seed));
            let total: usize = Side::ALL.iter().map(|&side| bytes(split.of(side))).sum();
            prop_assert_eq!(total, documents.iter().map(String::len).sum::<usize>());
            let ends = Side::ALL.iter().flat_map(|&side| split.of(side)).filter(|passage| passage.ends).count();
            prop_assert_eq!(ends, documents.len(), "one document, one end");
        }
    }
}
