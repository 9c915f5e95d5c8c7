//! QuAC's metrics (Choi et al., 2018), as its official scorer.py: F1 of words against several references, each left
//! out in turn so that a model meets as many as a person does, and human equivalence: how often a model is at least as
//! good as people are among each other.
//!
//! A question without an answer has the reference [`CANNOT_ANSWER`].
//! Not here: the labels for yes-no questions and for follow-ups, which only a classifier predicts, and the scorer's
//! statistics of overlapping positions in the text.

use super::answers::normal_form;
use super::squad::word_f1;

/// What the data has in place of an answer that the text does not give.
pub const CANNOT_ANSWER: &str = "CANNOTANSWER";

/// People must agree at least so well (F1) for a question to count: the scorer's default.
pub const LEAST_AGREEMENT: f64 = 0.4;

/// The references that count: those of the majority on whether there is an answer, "cannot" where it is a tie.
pub fn references<S: AsRef<str>>(answers: &[S]) -> Vec<&str> {
    let answers = answers.iter().map(AsRef::as_ref);
    let (cannot, spans): (Vec<&str>, Vec<&str>) = answers.partition(|answer| *answer == CANNOT_ANSWER);
    if cannot.len() >= spans.len() { vec![CANNOT_ANSWER] } else { spans }
}

/// F1 of `prediction`: the mean, over each reference left out, of the best F1 against the others. A single reference
/// is not left out.
///
/// # Panics
/// Without references.
pub fn f1(prediction: &str, references: &[&str]) -> f64 {
    let against = |reference: &str| match (prediction, reference) {
        (CANNOT_ANSWER, CANNOT_ANSWER) => 1.0,
        (_, CANNOT_ANSWER) => 0.0,
        _ => word_f1(&normal_form(prediction), &normal_form(reference)),
    };
    let scores: Vec<f64> = references.iter().map(|reference| against(reference)).collect();
    match scores[..] {
        [] => panic!("a question without references"),
        [score] => score,
        _ => {
            (0..scores.len()).map(|left_out| best_without(&scores, left_out)).sum::<f64>()
                / scores.len() as f64
        }
    }
}

/// How well people agree: each reference's best F1 against the others, in the mean; 1 for a single one.
pub fn human_f1(references: &[&str]) -> f64 {
    if references.len() == 1 {
        return 1.0;
    }
    let forms: Vec<String> = references.iter().map(|reference| normal_form(reference)).collect();
    let best = |i: usize| {
        let scores: Vec<f64> = forms.iter().map(|other| word_f1(&forms[i], other)).collect();
        best_without(&scores, i)
    };
    (0..forms.len()).map(best).sum::<f64>() / forms.len() as f64
}

fn best_without(scores: &[f64], left_out: usize) -> f64 {
    let others = scores.iter().enumerate().filter(|(i, _)| *i != left_out);
    others.map(|(_, &score)| score).fold(0.0, f64::max)
}

/// The sums over dialogues from which [`Totals::summary`] makes the scorer's figures.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Totals {
    all: usize,
    all_f1: f64,
    agreed: usize,
    agreed_f1: f64,
    human_f1: f64,
    as_good: usize,
    dialogues: usize,
    dialogues_as_good: usize,
}

/// The scorer's figures, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Mean F1 over the questions on which people agree ([`LEAST_AGREEMENT`]): the number that papers give.
    pub f1: f64,
    /// Mean F1 over all questions.
    pub unfiltered_f1: f64,
    /// Mean [`human_f1`] over the questions on which people agree.
    pub human_f1: f64,
    /// Share of those questions on which the model is at least as good as people: HEQ-Q.
    pub questions_as_good: f64,
    /// Share of dialogues in which it is so on each of them: HEQ-D.
    pub dialogues_as_good: f64,
}

impl Totals {
    /// Adds one dialogue: the prediction and the answers of each of its questions.
    ///
    /// # Panics
    /// If a question has no answers; the data gives [`CANNOT_ANSWER`].
    pub fn add<S: AsRef<str>>(&mut self, dialogue: &[(&str, &[S])]) {
        let mut good = true;
        for (prediction, answers) in dialogue {
            assert!(!answers.is_empty(), "a question without answers");
            let references = references(answers);
            let (model, human) = (f1(prediction, &references), human_f1(&references));
            self.all += 1;
            self.all_f1 += model;
            if human < LEAST_AGREEMENT {
                continue;
            }
            self.agreed += 1;
            self.agreed_f1 += model;
            self.human_f1 += human;
            self.as_good += usize::from(model >= human);
            good &= model >= human;
        }
        self.dialogues += 1;
        self.dialogues_as_good += usize::from(good);
    }

    /// The figures; `None` if there is no question on which people agree.
    pub fn summary(&self) -> Option<Summary> {
        let agreed = self.agreed as f64;
        (self.agreed > 0).then(|| Summary {
            f1: self.agreed_f1 / agreed,
            unfiltered_f1: self.all_f1 / self.all as f64,
            human_f1: self.human_f1 / agreed,
            questions_as_good: self.as_good as f64 / agreed,
            dialogues_as_good: self.dialogues_as_good as f64 / self.dialogues as f64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_majority_says_whether_there_is_an_answer() {
        assert_eq!(references(&["x", CANNOT_ANSWER, "y"]), ["x", "y"]);
        assert_eq!(references(&["x", CANNOT_ANSWER]), [CANNOT_ANSWER]);
    }

    #[test]
    fn each_reference_is_left_out_in_turn() {
        // Against "red" 1, "red cat" 2/3, "dog" 0. Left out in turn: 2/3, 1, 1.
        let f = f1("red", &["red", "red cat", "dog"]);
        assert!((f - (2.0 / 3.0 + 2.0) / 3.0).abs() < 1e-15, "{f}");
        assert_eq!(f1("red", &["the red!"]), 1.0);
        assert_eq!(f1(CANNOT_ANSWER, &[CANNOT_ANSWER]), 1.0);
        assert_eq!(f1("cannotanswer", &[CANNOT_ANSWER]), 0.0);
        assert_eq!(f1("", &["the"]), 0.0);
        // People: 2/3, 2/3, 0.
        let human = human_f1(&["red", "red cat", "dog"]);
        assert!((human - 4.0 / 9.0).abs() < 1e-15, "{human}");
    }

    #[test]
    fn human_equivalence_leaves_out_what_people_disagree_on() {
        let mut totals = Totals::default();
        // On the second question people agree on nothing: it counts in `unfiltered_f1` alone.
        totals.add(&[("red", &["red", "red"][..]), ("dog", &["dog", "cat"][..])]);
        totals.add(&[("blue", &["red"][..]), (CANNOT_ANSWER, &[CANNOT_ANSWER][..])]);
        let summary = totals.summary().unwrap();
        assert_eq!((totals.all, totals.agreed, totals.dialogues), (4, 3, 2));
        assert_eq!(summary.f1, 2.0 / 3.0);
        // "dog" against "dog" or "cat", one left out: 1/2.
        assert_eq!(summary.unfiltered_f1, 2.5 / 4.0);
        assert_eq!((summary.human_f1, summary.dialogues_as_good), (1.0, 0.5));
        assert_eq!(summary.questions_as_good, 2.0 / 3.0);
        assert_eq!(Totals::default().summary(), None);
    }
}
