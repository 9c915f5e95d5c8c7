//! SQuAD 2.0's metrics (Rajpurkar et al., 2018), as its official evaluate-v2.0.py: exact match and F1 of the words
//! of an answer against the best of several references, and questions that have no answer.
//!
//! A question without an answer has no reference, and the right prediction is the empty text.
//! Not here: the curves of precision and recall that the script draws.

use super::answers::{Score, f1, normal_form, words};
use super::ngrams;

/// The score of `prediction` against its best reference. References of nothing but articles and punctuation do not
/// count; if none is left, only a prediction whose normal form is empty is right.
pub fn score<S: AsRef<str>>(prediction: &str, references: &[S]) -> Score {
    let prediction = normal_form(prediction);
    let mut references: Vec<String> = references.iter().map(|text| normal_form(text.as_ref())).collect();
    references.retain(|reference| !reference.is_empty());
    if references.is_empty() {
        references.push(String::new());
    }
    let scores = references.iter().map(|reference| Score {
        exact: f64::from(u8::from(prediction == *reference)),
        f1: f1_of_normal_forms(&prediction, reference),
    });
    scores.fold(Score::default(), Score::max)
}

/// F1 of the bags of words; without words on one side, whether there are none on the other either.
fn f1_of_normal_forms(prediction: &str, reference: &str) -> f64 {
    if prediction.is_empty() || reference.is_empty() {
        return f64::from(u8::from(prediction == reference));
    }
    word_f1(prediction, reference)
}

/// F1 of the bags of words of two normal forms; 0 if either has none.
pub(super) fn word_f1(prediction: &str, reference: &str) -> f64 {
    let (prediction, reference): (Vec<_>, Vec<_>) = (words(prediction).collect(), words(reference).collect());
    let common = ngrams::common(&ngrams::counts(&prediction, 1), &ngrams::counts(&reference, 1));
    f1(common, prediction.len(), reference.len())
}

/// One question as [`best_threshold`] sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judged {
    /// The probability that the question has no answer, 0 to 1, as the model gives it.
    pub no_answer: f64,
    /// The exact match or the F1 of the prediction, 0 to 1.
    pub score: f64,
    /// Whether the question has an answer.
    pub answerable: bool,
    /// Whether the prediction is the empty text.
    pub empty: bool,
}

/// The best mean score (0 to 1) that a threshold on `no_answer` can give, and that threshold: where `no_answer` is
/// larger, the prediction becomes "no answer". `best_exact` and `best_f1` of the official script are this in percent.
/// `None` without questions. Questions of equal probability keep their order and may be cut between, as there.
pub fn best_threshold(questions: &[Judged]) -> Option<(f64, f64)> {
    let mut sorted: Vec<&Judged> = questions.iter().collect();
    sorted.sort_by(|a, b| a.no_answer.total_cmp(&b.no_answer));
    // At first all are given no answer.
    let mut total = questions.iter().filter(|question| !question.answerable).count() as f64;
    let (mut best, mut threshold) = (total, 0.0);
    for question in sorted {
        total += match (question.answerable, question.empty) {
            (true, _) => question.score,
            (false, true) => 0.0,
            (false, false) => -1.0,
        };
        if total > best {
            (best, threshold) = (total, question.no_answer);
        }
    }
    (!questions.is_empty()).then(|| (best / questions.len() as f64, threshold))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [&str; 0] = [];

    #[test]
    fn the_best_reference_counts() {
        let best = score("the Battle of Hastings", &["Hastings", "battle of Hastings (1066)"]);
        // 3 words of 3 in 4: precision 1, recall 3/4.
        assert_eq!(best, Score { exact: 0.0, f1: 1.5 / 1.75 });
        assert_eq!(score("Hastings!", &["Hastings", "battle"]), Score { exact: 1.0, f1: 1.0 });
    }

    #[test]
    fn words_count_as_often_as_they_occur() {
        // "no" twice in common: precision 2/3, recall 2/2.
        assert_eq!(score("no no no", &["no no"]).f1, 2.0 * (2.0 / 3.0) / (2.0 / 3.0 + 1.0));
        assert_eq!(score("yes", &["no"]), Score::default());
    }

    #[test]
    fn no_answer_is_the_empty_text() {
        let right = Score { exact: 1.0, f1: 1.0 };
        assert_eq!(score("", &NONE), right);
        assert_eq!(score("The ...", &NONE), right);
        assert_eq!(score("Paris", &NONE), Score::default());
        assert_eq!(score("", &["Paris"]), Score::default());
        // A reference without words is none; beside another one it does not count.
        assert_eq!(score("", &["the"]), right);
        assert_eq!(score("", &["the", "Paris"]), Score::default());
    }

    #[test]
    fn the_best_threshold_is_worked_by_hand() {
        let question = |no_answer, score, answerable, empty| Judged { no_answer, score, answerable, empty };
        let mut questions = [
            question(0.9, 0.0, false, false),
            question(0.1, 1.0, true, false),
            question(0.3, 0.5, true, false),
            question(0.5, 1.0, false, true),
            question(0.7, 0.25, true, false),
        ];
        // From 2: +1, +0.5, +0, +0.25, -1. The best is 3.75 of 5, with all up to 0.7 as they are.
        assert_eq!(best_threshold(&questions), Some((0.75, 0.7)));
        // The wrong answer comes second: 3, 2, 2.5, 2.5, 2.75.
        questions[0].no_answer = 0.2;
        assert_eq!(best_threshold(&questions), Some((0.6, 0.1)));
        assert_eq!(best_threshold(&questions[..1]), Some((1.0, 0.0)));
        assert_eq!(best_threshold(&[]), None);
    }
}
