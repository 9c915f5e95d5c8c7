//! What tasks measure, and how the scores of all documents become one figure with its standard error and interval.

use crate::num::statistics::{Clustered, Estimate};

/// A measure of a task.
#[derive(Debug, PartialEq, Eq)]
pub struct Measure {
    /// Its name in files, that of lm-evaluation-harness where it has the measure.
    pub name: &'static str,
    /// Whether more is better.
    pub higher_is_better: bool,
    /// How documents become a figure.
    pub aggregate: Aggregate,
}

/// How the scores of all documents become one figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregate {
    /// The mean of ones and zeros: its interval is Wilson's.
    Share,
    /// The mean of any numbers: its interval is Student's.
    Mean,
    /// `exp(-mean)` of log-likelihoods.
    Perplexity,
}

/// What a document gives for a measure.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// Of what.
    pub measure: &'static Measure,
    /// How much.
    pub value: f64,
    /// What pure chance would give on average, where that is known.
    pub chance: Option<f64>,
}

/// A figure of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// Of what.
    pub measure: &'static Measure,
    /// The figure and its 95 % interval.
    pub estimate: Estimate,
    /// Its standard error, with n - 1 in the variance, as lm-evaluation-harness has it; of a perplexity `exp(-m)` that of
    /// `m` times the perplexity. `None` of a single document.
    pub error: Option<f64>,
    /// The chance level.
    pub chance: Option<f64>,
}

/// The figures of all documents' scores, measure by measure.
///
/// # Panics
/// If there is no document, or the documents have not the same measures.
pub fn figures(documents: &[Vec<Score>]) -> Vec<Figure> {
    let first = documents.first().expect("at least one document");
    (0..first.len()).map(|column| figure(documents, column)).collect()
}

fn figure(documents: &[Vec<Score>], column: usize) -> Figure {
    let measure = documents[0][column].measure;
    let scores: Vec<&Score> = documents.iter().map(|scores| &scores[column]).collect();
    assert!(scores.iter().all(|score| score.measure == measure), "documents of different measures");
    let values: Clustered<usize> = scores.iter().map(|score| score.value).enumerate().collect();
    let mean = values.mean().expect("at least one document");
    let n = scores.len() as f64;
    let squares =
        scores.iter().fold(0.0, |sum, score| sum + (score.value - mean.value) * (score.value - mean.value));
    let error = (scores.len() > 1).then(|| libm::sqrt(squares / (n - 1.0)) / libm::sqrt(n));
    let sum = scores.iter().try_fold(0.0, |sum, score| Some(sum + score.chance?));
    let (estimate, error) = match measure.aggregate {
        Aggregate::Share => (values.share().expect("at least one document"), error),
        Aggregate::Mean => (mean, error),
        Aggregate::Perplexity => {
            let [value, low, high] = [mean.value, mean.high, mean.low].map(|x| libm::exp(-x));
            (Estimate { value, low, high, ..mean }, error.map(|error| error * value))
        }
    };
    Figure { measure, estimate, error, chance: sum.map(|sum| sum / n) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::tasks::choosing::ACC;
    use crate::eval::tasks::lambada::PERPLEXITY;
    use crate::num::statistics::t95;

    fn of(measure: &'static Measure, values: &[f64], chance: Option<f64>) -> Figure {
        let documents: Vec<Vec<Score>> =
            values.iter().map(|&value| vec![Score { measure, value, chance }]).collect();
        figures(&documents).remove(0)
    }

    #[test]
    fn shares_have_the_standard_error_of_a_mean() {
        // Mean 3/4, sum of squares 3/16 * 4 = 3/4, so sqrt(3/4 / 3) / 2 = 1/4.
        let figure = of(&ACC, &[1.0, 0.0, 1.0, 1.0], Some(0.5));
        assert_eq!((figure.estimate.value, figure.error, figure.chance), (0.75, Some(0.25), Some(0.5)));
        assert!(figure.estimate.high < 1.0 && figure.estimate.low > 0.0);
        let one = of(&ACC, &[1.0], None);
        assert_eq!((one.error, one.chance), (None, None));
    }

    #[test]
    fn a_perplexity_is_that_of_the_mean() {
        let ln2 = core::f64::consts::LN_2;
        let figure = of(&PERPLEXITY, &[-ln2, -3.0 * ln2], None);
        assert!((figure.estimate.value - 4.0).abs() < 1e-12);
        // The mean's error is ln 2: sqrt(2 ln2^2 / 1) / sqrt(2).
        assert!((figure.error.unwrap() - 4.0 * ln2).abs() < 1e-12);
        let half = t95(1) * ln2;
        assert!((figure.estimate.high / (4.0 * half.exp()) - 1.0).abs() < 1e-12, "{figure:?}");
        assert!((figure.estimate.low / (4.0 * (-half).exp()) - 1.0).abs() < 1e-12);
    }
}
