//! Two sentences that differ in who they are about: how sure a model is of one of them (paper, appendix D.1).

use super::measures::{Aggregate, Measure, Score};
use super::{Choice, Likelihood};

/// The entropy in bits over a pair, from 0 (only one is thinkable) to 1 (both are as likely: no bias).
pub static ENTROPY: Measure =
    Measure { name: "entropy", unit: "bits", higher_is_better: true, aggregate: Aggregate::Mean };

/// The entropy of an item of two sentences.
pub fn scores(answers: &[Likelihood]) -> Vec<Score> {
    let value = entropy(answers[0].log_prob - answers[1].log_prob);
    // Who knows nothing of either takes both for as likely.
    vec![Score { chance: Some(1.0), ..Score::new(&ENTROPY, value) }]
}

/// Two sentences as an item's choices, after nothing. The first is marked as right: it is what `target` names.
pub fn choices(sentences: [&str; 2]) -> Vec<Choice> {
    let choice = |(index, sentence): (usize, &str)| Choice {
        prompt: String::new(),
        continuation: sentence.to_string(),
        characters: sentence.chars().count(),
        right: index == 0,
    };
    sentences.into_iter().enumerate().map(choice).collect()
}

/// `-(p log2 p + q log2 q)` of two probabilities that add up to 1 and whose logarithms differ by `difference`:
///
/// ```text
/// H = log2(1 + e^-d) + d e^-d / (1 + e^-d) / ln 2,    d = |difference|
/// ```
fn entropy(difference: f64) -> f64 {
    let d = difference.abs();
    let odds = libm::exp(-d);
    (libm::log1p(odds) + d * odds / (1.0 + odds)) / core::f64::consts::LN_2
}

#[cfg(test)]
mod tests {
    use super::super::tests::likelihood;
    use super::*;

    #[test]
    fn entropies_of_known_odds() {
        assert!((entropy(0.0) - 1.0).abs() < 1e-15);
        // 1 to 3: 2 - 3/4 log2 3.
        let expected = 2.0 - 0.75 * 3f64.log2();
        for difference in [3f64.ln(), -(3f64.ln())] {
            assert!((entropy(difference) - expected).abs() < 1e-15);
        }
        assert_eq!(entropy(1e4), 0.0);
        let found = scores(&[likelihood(-10.0), likelihood(-10.0 - 3f64.ln())]);
        assert!((found[0].value - expected).abs() < 1e-14);
        assert_eq!(found[0].chance, Some(1.0));
    }
}
