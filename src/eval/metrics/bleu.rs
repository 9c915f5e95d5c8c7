//! BLEU (Papineni et al., 2002) of a corpus, as sacrebleu 2.6 computes it when told nothing (WMT's standard): the
//! `13a` tokens of mteval-v13a.pl, case kept, n-grams of up to four words, `exp` smoothing, and the brevity penalty
//! against the reference whose length is nearest.
//!
//! sacrebleu's `intl` tokens are here too: TruthfulQA's authors use them.
//!
//! BLEU is no mean over sentences. [`Counts`] of sentences are added, and the score is made once from the sum.

use std::collections::BTreeMap;

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

use super::answers::{is_space, words};
use super::ngrams;

/// The longest n-gram.
pub const ORDER: usize = 4;

/// What BLEU needs to know of a sentence or of many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// n-grams (n = 1, .., 4) of the hypotheses that their references have too, each as often as the reference that
    /// has it most often.
    pub correct: [usize; ORDER],
    /// All n-grams of the hypotheses.
    pub total: [usize; ORDER],
    /// Tokens of the hypotheses.
    pub hypothesis_length: usize,
    /// Tokens of the references, for each hypothesis of that whose length is nearest (of two, the shorter).
    pub reference_length: usize,
}

/// BLEU and what it is made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bleu {
    /// 0 to 100.
    pub score: f64,
    /// For each n the percentage of n-grams that are correct, after smoothing.
    pub precisions: [f64; ORDER],
    /// 1, or below for hypotheses that are too short.
    pub brevity_penalty: f64,
}

impl Counts {
    /// Counts one hypothesis against its references.
    ///
    /// # Panics
    /// Without references.
    pub fn new<S: AsRef<str>>(hypothesis: &str, references: &[S]) -> Counts {
        Counts::of(tokenized, hypothesis, references)
    }

    /// [`Counts::new`] with other tokens: [`tokenized`] or [`international`].
    ///
    /// # Panics
    /// Without references.
    pub fn of<S: AsRef<str>>(tokens: fn(&str) -> String, hypothesis: &str, references: &[S]) -> Counts {
        assert!(!references.is_empty(), "a hypothesis without references");
        let hypothesis = tokens(hypothesis);
        let hypothesis: Vec<&str> = words(&hypothesis).collect();
        let references: Vec<String> = references.iter().map(|text| tokens(text.as_ref())).collect();
        let references: Vec<Vec<&str>> = references.iter().map(|text| words(text).collect()).collect();
        let length = hypothesis.len();
        let lengths = references.iter().map(Vec::len);
        let nearest = lengths.min_by_key(|&reference| (reference.abs_diff(length), reference));
        let mut counts = Counts {
            hypothesis_length: length,
            reference_length: nearest.expect("there is a reference"),
            ..Counts::default()
        };
        for n in 1..=ORDER {
            let mut most: ngrams::Counts<&str> = BTreeMap::new();
            for reference in &references {
                for (ngram, count) in ngrams::counts(reference, n) {
                    let seen = most.entry(ngram).or_default();
                    *seen = count.max(*seen);
                }
            }
            counts.correct[n - 1] = ngrams::common(&ngrams::counts(&hypothesis, n), &most);
            counts.total[n - 1] = (length + 1).saturating_sub(n);
        }
        counts
    }

    /// Adds another sentence or corpus.
    pub fn add(&mut self, other: &Counts) {
        for n in 0..ORDER {
            self.correct[n] += other.correct[n];
            self.total[n] += other.total[n];
        }
        self.hypothesis_length += other.hypothesis_length;
        self.reference_length += other.reference_length;
    }

    /// BLEU of all that was added: the geometric mean of the precisions times the brevity penalty. Where no n-gram
    /// is correct, the first such n gets 1/2 of an n-gram, the next 1/4, and so on. 0 if no word is correct, or if all
    /// hypotheses together have no n-gram of some length.
    pub fn bleu(&self) -> Bleu {
        let brevity_penalty = match (self.hypothesis_length, self.reference_length) {
            (hypothesis, reference) if hypothesis >= reference => 1.0,
            (0, _) => 0.0,
            (hypothesis, reference) => libm::exp(1.0 - reference as f64 / hypothesis as f64),
        };
        let mut precisions = [0.0; ORDER];
        if self.correct.iter().all(|&correct| correct == 0) {
            return Bleu { score: 0.0, precisions, brevity_penalty };
        }
        let mut divisor = 1.0;
        for n in (0..ORDER).filter(|&n| self.total[n] > 0) {
            let total = self.total[n] as f64;
            precisions[n] = if self.correct[n] > 0 {
                100.0 * self.correct[n] as f64 / total
            } else {
                divisor *= 2.0;
                100.0 / (divisor * total)
            };
        }
        let score = if precisions.contains(&0.0) {
            0.0
        } else {
            let logs: f64 = precisions.iter().map(|&precision| libm::log(precision)).sum();
            brevity_penalty * libm::exp(logs / ORDER as f64)
        };
        Bleu { score, precisions, brevity_penalty }
    }
}

/// The tokens of `13a` with single spaces between them: punctuation stands by itself, but points and commas between
/// digits, and hyphens that do not follow a digit, stay in their word.
pub fn tokenized(text: &str) -> String {
    let mut text =
        text.trim_end_matches(is_space).replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
    for (entity, character) in [("&quot;", "\""), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")] {
        text = text.replace(entity, character);
    }
    let mut spaced = String::from(" ");
    for c in text.chars() {
        match c {
            '{'..='~' | '['..='`' | ' '..='&' | '('..='+' | ':'..='@' | '/' => spaced.extend([' ', c, ' ']),
            _ => spaced.push(c),
        }
    }
    spaced.push(' ');
    let digit = |c: char| c.is_ascii_digit();
    let point = |c: char| matches!(c, '.' | ',');
    let spaced = space_pairs(&spaced, |a, b| !digit(a) && point(b), ["", " ", " "]);
    let spaced = space_pairs(&spaced, |a, b| point(a) && !digit(b), [" ", " ", ""]);
    let spaced = space_pairs(&spaced, |a, b| digit(a) && b == '-', ["", " ", " "]);
    words(&spaced).collect::<Vec<_>>().join(" ")
}

/// The tokens of `intl` (mteval-v14.pl) with single spaces between them: punctuation of any script stands by itself unless
/// numbers are on both sides (or a number before it ends the text), and so does every symbol.
pub fn international(text: &str) -> String {
    let is = |c: char, group| c.general_category_group() == group;
    let number = |c: char| is(c, GeneralCategoryGroup::Number);
    let punctuation = |c: char| is(c, GeneralCategoryGroup::Punctuation);
    let text = text.trim_end_matches(is_space);
    let text = space_pairs(text, |a, b| !number(a) && punctuation(b), ["", " ", " "]);
    let text = space_pairs(&text, |a, b| punctuation(a) && !number(b), [" ", " ", ""]);
    let mut spaced = String::with_capacity(text.len() * 2);
    for c in text.chars() {
        match is(c, GeneralCategoryGroup::Symbol) {
            true => spaced.extend([' ', c, ' ']),
            false => spaced.push(c),
        }
    }
    words(&spaced).collect::<Vec<_>>().join(" ")
}

/// Writes `spaces` before, between and after the characters of each pair that fits. As a regular expression does, it
/// reads from left to right, and a character belongs to one pair only.
fn space_pairs(text: &str, fits: impl Fn(char, char) -> bool, spaces: [&str; 3]) -> String {
    let mut spaced = String::with_capacity(text.len() * 2);
    let mut rest = text.chars();
    while let Some(a) = rest.next() {
        match rest.clone().next() {
            Some(b) if fits(a, b) => {
                rest.next();
                let [before, between, after] = spaces;
                spaced.extend([
                    before,
                    a.encode_utf8(&mut [0; 4]),
                    between,
                    b.encode_utf8(&mut [0; 4]),
                    after,
                ]);
            }
            _ => spaced.push(a),
        }
    }
    spaced
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_those_of_13a() {
        let cases = [
            ("Hello, world!", "Hello , world !"),
            ("It costs $3,500.50 (net).", "It costs $ 3,500.50 ( net ) ."),
            ("a state-of-the-art 20-year-old's", "a state-of-the-art 20 - year-old's"),
            ("&quot;R&amp;D&quot; &lt;b&gt;", "\" R & D \" < b >"),
            ("over-\nlap\nnext<skipped>", "overlap next"),
            ("Wait...", "Wait . . ."),
            ("No. 5,a", "No . 5 , a"),
            ("«été»、3。", "«été»、3。"),
            (" \t ", ""),
        ];
        for (text, tokens) in cases {
            assert_eq!(tokenized(text), tokens, "{text:?}");
        }
    }

    #[test]
    fn international_tokens_of_typical_text() {
        let cases = [
            ("Hello, world!", "Hello , world !"),
            ("It costs $3,500.50 (net).", "It costs $ 3,500.50 ( net ) ."),
            ("20-year-old's in 2020.", "20 - year - old ' s in 2020."),
            ("«été»、3。", "« été » 、3。"),
            ("a+b", "a + b"),
        ];
        for (text, tokens) in cases {
            assert_eq!(international(text), tokens, "{text:?}");
        }
    }

    /// Papineni's example of seven times "the": two are correct, since a reference has no more.
    #[test]
    fn an_ngram_is_correct_as_often_as_in_one_reference() {
        let references = ["The cat is on the mat", "There is a cat on the mat, the cat"];
        let counts = Counts::new("the the the the the the the", &references);
        assert_eq!((counts.correct, counts.total), ([2, 0, 0, 0], [7, 6, 5, 4]));
        // Lengths 6 and 10 against 7.
        assert_eq!((counts.hypothesis_length, counts.reference_length), (7, 6));
    }

    #[test]
    fn the_score_is_worked_by_hand() {
        let mut counts = Counts::new("a b c d e", &["a b c d f g"]);
        assert_eq!((counts.correct, counts.total), ([4, 3, 2, 1], [5, 4, 3, 2]));
        let bleu = counts.bleu();
        assert_eq!(bleu.precisions, [80.0, 75.0, 200.0 / 3.0, 50.0]);
        // exp(1 - 6/5) times the fourth root of .8 .75 2/3 .5 = .2.
        let expected = 100.0 * (-0.2_f64).exp() * 0.2_f64.powf(0.25);
        assert!((bleu.score - expected).abs() < 1e-12, "{bleu:?} {expected}");
        counts.add(&Counts::new("x y z u v", &["p"]));
        let bleu = counts.bleu();
        assert_eq!((bleu.precisions[0], bleu.brevity_penalty), (40.0, 1.0));
    }

    #[test]
    fn smoothing_halves_and_halves_again() {
        let bleu = Counts::new("a x b y", &["a b c d"]).bleu();
        // 2 of 4, then 1/2 of 3, 1/4 of 2, 1/8 of 1.
        assert_eq!(bleu.precisions, [50.0, 100.0 / 6.0, 12.5, 12.5]);
    }

    #[test]
    fn nothing_correct_or_too_short_is_zero() {
        assert_eq!(Counts::new("x y z u", &["a b c d"]).bleu().score, 0.0);
        // Three words have no 4-gram.
        assert_eq!(Counts::new("a b c", &["a b c"]).bleu().score, 0.0);
        let empty = Counts::new("", &["a"]).bleu();
        assert_eq!((empty.score, empty.brevity_penalty), (0.0, 0.0));
        assert_eq!(Counts::default().bleu().score, 0.0);
    }
}
