//! How well labelers agree, beyond what chance gives.
//!
//! A unit is one thing that several labelers judged: a pair of responses, a response. Its values are categories, numbers
//! from 0. Labelers may be missing.

use std::collections::BTreeMap;

/// What a difference between two categories counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Categories are alike or not.
    Nominal,
    /// Categories are in an order; the further apart, the more values lie between them.
    Ordinal,
}

/// Krippendorff's alpha (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability"): 1 minus the observed over the
/// expected disagreement, 1 where all agree, 0 where values are as if dealt out at random. `None` where no unit has two
/// values, or all values are the same: then nothing can be said.
pub fn krippendorff_alpha(units: &[Vec<usize>], scale: Scale) -> Option<f64> {
    // How often each ordered pair of categories meets in a unit; a unit of m values gives m to the sum.
    let mut meetings = BTreeMap::<(usize, usize), f64>::new();
    for unit in units.iter().filter(|unit| unit.len() > 1) {
        for (i, &a) in unit.iter().enumerate() {
            for (j, &b) in unit.iter().enumerate() {
                if i != j {
                    *meetings.entry((a, b)).or_default() += 1.0 / (unit.len() - 1) as f64;
                }
            }
        }
    }
    let categories = meetings.keys().map(|&(a, _)| a + 1).max()?;
    let mut counts = vec![0.0; categories];
    meetings.iter().for_each(|(&(a, _), times)| counts[a] += times);
    let difference = |a: usize, b: usize| match scale {
        _ if a == b => 0.0,
        Scale::Nominal => 1.0,
        Scale::Ordinal => {
            let between: f64 = counts[a.min(b)..=a.max(b)].iter().sum();
            let steps = between - (counts[a] + counts[b]) / 2.0;
            steps * steps
        }
    };
    let observed: f64 = meetings.iter().map(|(&(a, b), times)| times * difference(a, b)).sum();
    let pairs = (0..categories).flat_map(|a| (0..categories).map(move |b| (a, b)));
    let expected: f64 = pairs.map(|(a, b)| counts[a] * counts[b] * difference(a, b)).sum();
    let total: f64 = counts.iter().sum();
    (expected > 0.0).then(|| 1.0 - (total - 1.0) * observed / expected)
}

/// Gwet's AC1 (Gwet 2008, "Computing inter-rater reliability and its variance in the presence of high agreement"), for
/// `categories` categories without an order. Where nearly all values are the same it stays near the plain agreement, as
/// kappa and alpha do not. `None` where no unit has two values.
pub fn gwet_ac1(units: &[Vec<usize>], categories: usize) -> Option<f64> {
    assert!(categories > 1, "{categories} categories");
    let share_of = |unit: &Vec<usize>, category: usize| {
        unit.iter().filter(|&&value| value == category).count() as f64 / unit.len() as f64
    };
    let (mut agreement, mut shared, mut judged) = (0.0, 0.0, 0.0);
    let mut shares = vec![0.0; categories];
    for unit in units.iter().filter(|unit| !unit.is_empty()) {
        let m = unit.len() as f64;
        judged += 1.0;
        (0..categories).for_each(|category| shares[category] += share_of(unit, category));
        if unit.len() > 1 {
            shared += 1.0;
            let same = (0..categories).map(|category| share_of(unit, category) * m);
            agreement += same.map(|n| n * (n - 1.0)).sum::<f64>() / (m * (m - 1.0));
        }
    }
    let observed = (shared > 0.0).then(|| agreement / shared)?;
    let chance = shares.iter().map(|share| share / judged).map(|p| p * (1.0 - p)).sum::<f64>();
    let chance = chance / (categories - 1) as f64;
    Some((observed - chance) / (1.0 - chance))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The example of Krippendorff (2011, section C and on): four observers, twelve units, five categories, values missing.
    fn krippendorff() -> Vec<Vec<usize>> {
        let observers = ["123321412...", "1233224125.3", ".3332342251.", "12332441251."]
            .map(|row| row.chars().map(|c| c.to_digit(10).map(|d| d as usize - 1)).collect::<Vec<_>>());
        (0..12).map(|unit| observers.iter().filter_map(|row| row[unit]).collect()).collect()
    }

    fn near(found: Option<f64>, expected: f64, tolerance: f64) {
        assert!((found.unwrap() - expected).abs() < tolerance, "{found:?} for {expected}");
    }

    /// The values that the paper prints.
    #[test]
    fn alpha_is_that_of_the_published_example() {
        near(krippendorff_alpha(&krippendorff(), Scale::Nominal), 0.743, 0.0005);
        near(krippendorff_alpha(&krippendorff(), Scale::Ordinal), 0.815, 0.0005);
    }

    /// On the same data irrCAC, Gwet's own package, prints 0.77544; and for two raters of 125 units with the table
    /// 118, 5, 2, 0 (Gwet 2002) agreement is 0.944 and AC1 0.941, where kappa is -0.02.
    #[test]
    fn ac1_is_that_of_published_examples() {
        near(gwet_ac1(&krippendorff(), 5), 0.77544, 0.000005);
        let table = [(118, [0, 0]), (5, [0, 1]), (2, [1, 0])];
        let units: Vec<Vec<usize>> =
            table.iter().flat_map(|(times, unit)| vec![unit.to_vec(); *times]).collect();
        near(gwet_ac1(&units, 2), 0.941, 0.0005);
    }

    #[test]
    fn nothing_is_said_of_nothing() {
        for units in [vec![], vec![vec![]], vec![vec![1], vec![0]]] {
            assert_eq!(krippendorff_alpha(&units, Scale::Ordinal), None);
            assert_eq!(gwet_ac1(&units, 2), None);
        }
        assert_eq!(krippendorff_alpha(&[vec![1, 1], vec![1, 1]], Scale::Nominal), None);
        near(gwet_ac1(&[vec![1, 1], vec![1, 1]], 2), 1.0, 1e-12);
    }

    proptest! {
        /// Two categories have no order between them, perfect agreement is 1, and the order of labelers says nothing.
        #[test]
        fn properties(units in proptest::collection::vec(proptest::collection::vec(0..2usize, 0..5), 1..20)) {
            let [nominal, ordinal] = [Scale::Nominal, Scale::Ordinal].map(|s| krippendorff_alpha(&units, s));
            prop_assert_eq!(nominal.is_some(), ordinal.is_some());
            if let (Some(nominal), Some(ordinal)) = (nominal, ordinal) {
                prop_assert!((nominal - ordinal).abs() < 1e-9);
            }
            let turned: Vec<Vec<usize>> = units.iter().map(|u| u.iter().rev().copied().collect()).collect();
            for (a, b) in [(krippendorff_alpha(&turned, Scale::Nominal), nominal), (gwet_ac1(&turned, 2), gwet_ac1(&units, 2))] {
                prop_assert_eq!(a.is_some(), b.is_some());
                prop_assert!((a.unwrap_or(0.0) - b.unwrap_or(0.0)).abs() < 1e-9);
            }
            let agreed: Vec<Vec<usize>> = units.iter().map(|u| vec![u.first().copied().unwrap_or(0); 3]).collect();
            if let Some(alpha) = krippendorff_alpha(&agreed, Scale::Ordinal) {
                prop_assert!((alpha - 1.0).abs() < 1e-9);
            }
        }
    }
}
