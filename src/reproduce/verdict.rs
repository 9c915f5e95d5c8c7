//! Whether an effect of the paper appears: a claim with its rule, written down before anything is run, and what the rule
//! gives on observations.
//!
//! Observations are values of prompts. Where two models are compared, a value is the difference of the two on one prompt,
//! so that what makes a prompt hard for both does not count as noise. An answer to a prompt that occurs twice is no
//! independent observation: values come with the prompt that they belong to, see [`crate::num::statistics`].

use std::collections::BTreeMap;

use crate::num::statistics::{Clustered, Estimate, interval_text, mean, over_seeds};
use crate::report::figures::{Effect, Point, Verdict};

/// Values by the prompt (or other item) that they belong to, of one seed.
pub type Values = Vec<(String, f64)>;

/// On which side of what the interval must lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// Above a number.
    Above(f64),
    /// Below a number.
    Below(f64),
    /// Between two numbers: the effect is that there is hardly any.
    Within(f64, f64),
}

impl Rule {
    /// The rule in words.
    pub fn words(self) -> String {
        let (yes, no) = match self {
            Rule::Above(null) => (format!("above {null}"), "below it".to_string()),
            Rule::Below(null) => (format!("below {null}"), "above it".to_string()),
            Rule::Within(low, high) => (format!("within {low} and {high}"), "outside of these".to_string()),
        };
        format!(
            "yes: the whole 95 % interval over items (prompts, windows of text, pairs), and with several seeds also that over the seeds, lies {yes}; no: \
             both lie {no}; else undecided"
        )
    }

    fn holds(self, e: &Estimate) -> bool {
        match self {
            Rule::Above(null) => e.low > null,
            Rule::Below(null) => e.high < null,
            Rule::Within(low, high) => low <= e.low && e.high <= high,
        }
    }

    fn fails(self, e: &Estimate) -> bool {
        match self {
            Rule::Above(null) => e.high < null,
            Rule::Below(null) => e.low > null,
            Rule::Within(low, high) => e.high < low || high < e.low,
        }
    }
}

/// What is measured, for the form of its interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// A share, from 0 to 1.
    Share,
    /// Any number: a difference, a loss, an entropy.
    Mean,
}

/// A claim of the paper.
#[derive(Debug, Clone, Copy)]
pub struct Claim {
    /// Where the paper makes it.
    pub figure: &'static str,
    /// What it says, and by which number we look at it.
    pub claim: &'static str,
    /// The paper's value.
    pub paper: &'static str,
    /// What our number is.
    pub measure: Measure,
    /// How it is decided.
    pub rule: Rule,
}

impl Claim {
    /// The verdict on the observations of each seed.
    pub fn judge(&self, seeds: &[Values]) -> Verdict {
        let of_each: Vec<f64> =
            seeds.iter().filter_map(|values| estimate(self.measure, [values])).map(value).collect();
        let over_prompts = estimate(self.measure, seeds);
        // One seed says nothing of others.
        let over_seeds = over_seeds(&of_each).filter(|_| of_each.len() > 1);
        let both = || over_prompts.iter().chain(&over_seeds);
        let (effect, mut why) = match over_prompts {
            None => (Effect::Undecided, "nothing to look at".to_string()),
            Some(_) if both().all(|e| self.rule.holds(e)) => (Effect::Yes, String::new()),
            Some(_) if both().all(|e| self.rule.fails(e)) => (Effect::No, String::new()),
            Some(_) => (Effect::Undecided, String::new()),
        };
        if let Some(e) = over_prompts {
            why = format!("over {} items: {}", e.clusters, interval_text(over_prompts, 3));
            if over_seeds.is_some() {
                why += &format!("; over {} seeds: {}", of_each.len(), interval_text(over_seeds, 3));
            }
        }
        let end = |x: f64| Some(x).filter(|x| x.is_finite());
        Verdict {
            figure: self.figure.into(),
            claim: self.claim.into(),
            paper: self.paper.into(),
            ours: over_prompts.map(value),
            low: over_prompts.and_then(|e| end(e.low)),
            high: over_prompts.and_then(|e| end(e.high)),
            seeds: of_each,
            effect,
            rule: self.rule.words(),
            why,
        }
    }
}

fn value(estimate: Estimate) -> f64 {
    estimate.value
}

/// The mean over all values of all seeds, a prompt of a seed being one cluster; `None` of nothing.
pub fn estimate<'a>(measure: Measure, seeds: impl IntoIterator<Item = &'a Values>) -> Option<Estimate> {
    let values = (0..).zip(seeds).flat_map(|(seed, values)| {
        values.iter().map(move |(prompt, value)| ((seed, prompt.as_str()), *value))
    });
    let values: Clustered<(usize, &str)> = values.collect();
    match measure {
        Measure::Share => values.share(),
        Measure::Mean => values.mean(),
    }
}

/// A point of a chart; `None` of nothing.
pub fn point(x: f64, measure: Measure, seeds: &[Values]) -> Option<Point> {
    let Estimate { value: y, low, high, .. } = estimate(measure, seeds)?;
    let end = |x: f64| Some(x).filter(|x| x.is_finite());
    Some(Point { x, y, low: end(low), high: end(high) })
}

/// The difference of two measurements of the same prompts in the same order.
///
/// # Panics
/// If they are of other prompts.
pub fn difference(a: &Values, b: &Values) -> Values {
    assert_eq!(a.len(), b.len(), "two measurements of the same prompts");
    let pair = |((prompt, a), (other, b)): (&(String, f64), &(String, f64))| {
        assert_eq!(prompt, other, "two measurements of the same prompts");
        (prompt.clone(), a - b)
    };
    a.iter().zip(b).map(pair).collect()
}

/// The mean of the values of each item, in the order of the items' names.
pub fn mean_by_item(values: impl IntoIterator<Item = (String, f64)>) -> Values {
    let mut items: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    values.into_iter().for_each(|(item, value)| items.entry(item).or_default().push(value));
    items.into_iter().filter_map(|(item, values)| Some((item, mean(&values)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::statistics::t95;

    fn values(values: &[f64]) -> Values {
        values.iter().enumerate().map(|(i, &value)| (i.to_string(), value)).collect()
    }

    fn judge(measure: Measure, rule: Rule, seeds: &[&[f64]]) -> Verdict {
        let claim = Claim { figure: "Figure 0", claim: "c", paper: "p", measure, rule };
        claim.judge(&seeds.iter().map(|seed| values(seed)).collect::<Vec<_>>())
    }

    #[test]
    fn one_seed_is_judged_by_its_prompts() {
        // Mean 2, variance 1: half an interval is t(2) sqrt(1/3) = 2.484.
        let seed: &[f64] = &[1.0, 2.0, 3.0];
        let half = t95(2) * (1.0f64 / 3.0).sqrt();
        for (rule, effect) in [
            (Rule::Above(-0.5), Effect::Yes),
            (Rule::Above(0.0), Effect::Undecided),
            (Rule::Above(5.0), Effect::No),
            (Rule::Below(5.0), Effect::Yes),
            (Rule::Below(4.0), Effect::Undecided),
            (Rule::Below(-1.0), Effect::No),
            (Rule::Within(-0.5, 4.5), Effect::Yes),
            (Rule::Within(-0.4, 4.5), Effect::Undecided),
            (Rule::Within(4.5, 5.0), Effect::No),
            (Rule::Within(-2.0, -1.0), Effect::No),
        ] {
            let verdict = judge(Measure::Mean, rule, &[seed]);
            assert_eq!(verdict.effect, effect, "{rule:?} {}", verdict.why);
            assert_eq!((verdict.ours, verdict.seeds), (Some(2.0), vec![2.0]));
            assert!((verdict.high.unwrap() - 2.0 - half).abs() < 1e-12);
        }
    }

    #[test]
    fn several_seeds_must_agree_as_well() {
        // Over six prompts 0.5 of a share is far from sure; over the seeds t(1) = 12.7 makes it unsure again.
        let far = [10.0, 10.1, 9.9, 10.0];
        let near = [1.0, 1.1, 0.9, 1.0];
        let verdict = judge(Measure::Mean, Rule::Above(0.0), &[&far, &near]);
        assert!(verdict.low.unwrap() > 0.0, "over prompts alone it is sure");
        assert_eq!((verdict.effect, verdict.seeds.len()), (Effect::Undecided, 2));
        assert!(
            verdict.why.contains("over 8 items") && verdict.why.contains("over 2 seeds"),
            "{}",
            verdict.why
        );
        assert_eq!(judge(Measure::Mean, Rule::Above(0.0), &[&far, &far]).effect, Effect::Yes);
        assert_eq!(judge(Measure::Mean, Rule::Below(0.0), &[&far, &far]).effect, Effect::No);
    }

    #[test]
    fn a_share_has_the_interval_of_a_share() {
        let verdict = judge(Measure::Share, Rule::Above(0.5), &[&[1.0; 10]]);
        // Wilson's, of 10 of 10.
        assert!((verdict.low.unwrap() - 0.7225).abs() < 5e-5 && verdict.high == Some(1.0), "{verdict:?}");
        assert_eq!(verdict.effect, Effect::Yes);
    }

    #[test]
    fn of_nothing_nothing_is_decided() {
        let nothing = judge(Measure::Share, Rule::Above(0.5), &[]);
        assert_eq!(
            (nothing.effect, nothing.ours, nothing.why.as_str()),
            (Effect::Undecided, None, "nothing to look at")
        );
        // One value leaves the spread unknown, and no number that is not finite is written.
        let one = judge(Measure::Mean, Rule::Above(0.5), &[&[3.0]]);
        assert_eq!((one.effect, one.ours, one.low, one.high), (Effect::Undecided, Some(3.0), None, None));
    }

    #[test]
    fn differences_are_by_prompt() {
        let d = difference(&values(&[3.0, 1.0]), &values(&[1.0, 1.5]));
        assert_eq!(d, [("0".to_string(), 2.0), ("1".to_string(), -0.5)]);
        let p = point(4.0, Measure::Mean, &[d]).unwrap();
        assert_eq!((p.x, p.y), (4.0, 0.75));
        let mean = mean_by_item([("b", 1.0), ("a", 2.0), ("b", 4.0)].map(|(item, x)| (item.to_string(), x)));
        assert_eq!(mean, [("a".to_string(), 2.0), ("b".to_string(), 2.5)]);
    }

    #[test]
    #[should_panic(expected = "the same prompts")]
    fn other_prompts_have_no_difference() {
        difference(&values(&[1.0]), &vec![("x".to_string(), 1.0)]);
    }
}
