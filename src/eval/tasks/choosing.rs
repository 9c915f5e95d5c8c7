//! Multiple choice: the answer is the continuation with the largest log-likelihood, as it is, per token, or per
//! character. Of equal ones the first counts.

use super::measures::{Aggregate, Measure, Score};
use super::{Choice, Likelihood};

/// By the whole log-likelihood.
pub static ACC: Measure =
    Measure { name: "acc", unit: "share", higher_is_better: true, aggregate: Aggregate::Share };
/// By the log-likelihood per token: how the paper chooses (appendix D; it prints "lowest average per-token log
/// probability", which must mean the lowest loss).
pub static ACC_TOKEN: Measure =
    Measure { name: "acc_token", unit: "share", higher_is_better: true, aggregate: Aggregate::Share };
/// By the log-likelihood per character of the choice, as lm-evaluation-harness has it.
pub static ACC_NORM: Measure =
    Measure { name: "acc_norm", unit: "share", higher_is_better: true, aggregate: Aggregate::Share };

/// Whether the choice is right, by each of the three normalisations.
pub fn scores(choices: &[Choice], answers: &[Likelihood]) -> Vec<Score> {
    let right = choices.iter().filter(|choice| choice.right).count();
    let chance = Some(right as f64 / choices.len() as f64);
    let by = |measure, value: &dyn Fn(usize) -> f64| {
        let best = largest((0..answers.len()).map(value));
        Score { chance, ..Score::flag(measure, choices[best].right) }
    };
    vec![
        by(&ACC, &|i| answers[i].log_prob),
        by(&ACC_TOKEN, &|i| answers[i].log_prob / answers[i].tokens as f64),
        by(&ACC_NORM, &|i| answers[i].log_prob / choices[i].characters as f64),
    ]
}

/// The index of the largest number, the first of equals.
fn largest(values: impl Iterator<Item = f64>) -> usize {
    let mut best = (0, f64::NEG_INFINITY);
    for (index, value) in values.enumerate() {
        if value > best.1 {
            best = (index, value);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_normalisations_choose_three_answers() {
        let choice = |characters, right| Choice {
            prompt: String::new(),
            continuation: String::new(),
            characters,
            right,
        };
        let answer = |log_prob, tokens| Likelihood { log_prob, tokens, greedy: false };
        // Whole: -4 is largest; per token: -5/5 = -1; per character: -6/30 = -0.2.
        let answers = [answer(-4.0, 2), answer(-5.0, 5), answer(-6.0, 3)];
        for (right, expected) in [(0, [1.0, 0.0, 0.0]), (1, [0.0, 1.0, 0.0]), (2, [0.0, 0.0, 1.0])] {
            let choices = [choice(4, right == 0), choice(5, right == 1), choice(30, right == 2)];
            let found = scores(&choices, &answers);
            assert_eq!(found.iter().map(|score| score.value).collect::<Vec<_>>(), expected);
            assert!(found.iter().all(|score| score.chance == Some(1.0 / 3.0)));
        }
        assert_eq!(largest([-2.0, -1.0, -1.0].into_iter()), 1, "the first of equals");
        assert_eq!(largest([f64::NEG_INFINITY; 2].into_iter()), 0);
    }
}
