//! What the scorers of short answers share: a score, the normal form of an answer, and F1 from counts.

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

/// How good one answer is, 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Score {
    /// 1 if the normal forms are equal, else 0.
    pub exact: f64,
    /// Harmonic mean of precision and recall of the words.
    pub f1: f64,
}

impl Score {
    /// The larger of each: an answer is as good as its best reference, which may be another one for each number.
    pub(super) fn max(self, other: Score) -> Score {
        Score { exact: self.exact.max(other.exact), f1: self.f1.max(other.f1) }
    }
}

/// SQuAD's normal form: lower case, no ASCII punctuation, no articles, single spaces.
pub(super) fn normal_form(text: &str) -> String {
    single_spaces(&without_articles(&without_punctuation(&text.to_lowercase())))
}

/// `text` without ASCII punctuation. What stood around it grows together: "it's" becomes "its".
pub(super) fn without_punctuation(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_punctuation()).collect()
}

/// `text` with a space for each word that is "a", "an" or "the" (in lower case), as Python's `\b(a|an|the)\b` finds
/// them: a word is a run of letters, numbers and "_" in any script.
pub(super) fn without_articles(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let inside = is_word(first);
        let end = rest.find(|c| is_word(c) != inside).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        kept.push_str(if matches!(run, "a" | "an" | "the") { " " } else { run });
        rest = after;
    }
    kept
}

/// The words of `text` with one space between them.
pub(super) fn single_spaces(text: &str) -> String {
    words(text).collect::<Vec<_>>().join(" ")
}

/// What stands between white space, as Python's `str.split()`.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

/// Python's `str.isspace`: Unicode's White_Space, and the separators U+001C to U+001F as well.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// Python's `\w`, which other than Rust's `is_alphanumeric` leaves out combining vowels.
fn is_word(c: char) -> bool {
    let group = c.general_category_group();
    c == '_' || matches!(group, GeneralCategoryGroup::Letter | GeneralCategoryGroup::Number)
}

/// The harmonic mean of `common / predicted` and `common / gold`; 0 if nothing is common.
pub(super) fn f1(common: usize, predicted: usize, gold: usize) -> f64 {
    if common == 0 {
        return 0.0;
    }
    harmonic_mean(common as f64 / predicted as f64, common as f64 / gold as f64)
}

/// `2 p r / (p + r)`, in the order in which the scorers round; 0 if both are.
pub(super) fn harmonic_mean(precision: f64, recall: f64) -> f64 {
    if precision + recall > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_normal_form_has_no_case_punctuation_or_article() {
        assert_eq!(normal_form(" The  Answer's: \"A cat_\", an\tOwl!"), "answers cat owl");
        assert_eq!(normal_form("the theme of an anthem, A-B"), "theme of anthem ab");
        assert_eq!(normal_form("The."), "");
    }

    #[test]
    fn words_are_those_of_any_script() {
        // Greek letters continue a word; a dash that is not ASCII ends it and stays.
        assert_eq!(normal_form("aλ the–a"), "aλ –");
        // U+0903, a combining vowel sign, is not part of a word for Python.
        assert_eq!(normal_form("a\u{903}"), "\u{903}");
        assert_eq!(normal_form("x\u{a0}y\u{1f}z\u{3000}"), "x y z");
    }

    #[test]
    fn f1_of_three_words_in_four_and_six() {
        // Precision 3/4, recall 1/2: 0.75 / 1.25.
        assert_eq!(f1(3, 4, 6), 0.6);
        assert_eq!(f1(0, 0, 0), 0.0);
    }
}
