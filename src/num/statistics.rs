//! Means and proportions with 95 % intervals. No distribution is fitted and nothing is resampled.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// The 0.975 quantile of the standard normal distribution: two-sided 95 %.
pub const Z95: f64 = 1.959_963_984_540_054;

/// A figure and its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The figure itself.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// How many observations it rests on.
    pub count: usize,
}

impl Estimate {
    /// The figure with its interval, as the tables print it: `0.62 [0.55, 0.68]`; `-` without data.
    pub fn text(&self, digits: usize) -> String {
        if self.count == 0 {
            return "-".into();
        }
        let Estimate { value, low, high, .. } = self;
        format!("{value:.digits$} [{low:.digits$}, {high:.digits$}]")
    }
}

/// The mean, added in f64 in the order given; 0 of nothing.
pub fn mean<T: Copy + Into<f64>>(values: &[T]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    values.iter().fold(0.0, |sum, &x| sum + x.into()) / values.len() as f64
}

/// The sample variance (over n - 1), in two passes; 0 of fewer than two values.
pub fn variance(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let m = mean(values);
    values.iter().fold(0.0, |sum, x| sum + (x - m) * (x - m)) / (values.len() - 1) as f64
}

/// The mean with its normal interval `m +- z s / sqrt(n)`. With fewer than two values the spread is
/// unknown and the interval is infinite.
pub fn mean_interval(values: &[f64]) -> Estimate {
    let value = mean(values);
    let half = match values.len() {
        0 | 1 => f64::INFINITY,
        n => Z95 * libm::sqrt(variance(values) / n as f64),
    };
    Estimate { value, low: value - half, high: value + half, count: values.len() }
}

/// The mean of `a[i] - b[i]` with its interval: much narrower than the two means' own where both are
/// measured on the same prompts.
///
/// # Panics
/// If the lengths differ.
pub fn paired_difference(a: &[f64], b: &[f64]) -> Estimate {
    assert_eq!(a.len(), b.len(), "paired values: {} and {}", a.len(), b.len());
    let differences: Vec<f64> = a.iter().zip(b).map(|(x, y)| x - y).collect();
    mean_interval(&differences)
}

/// A proportion with the Wilson score interval (Wilson 1927): inside [0, 1] and sound for few
/// observations and for shares near 0 or 1, where the normal interval is not. `successes` may carry
/// halves (a tie counts half to each side). Without observations: 0 in [0, 1].
///
/// # Panics
/// If `successes` is not within `0..=count`.
pub fn wilson(successes: f64, count: usize) -> Estimate {
    assert!((0.0..=count as f64).contains(&successes), "{successes} successes of {count}");
    if count == 0 {
        return Estimate { value: 0.0, low: 0.0, high: 1.0, count };
    }
    let n = count as f64;
    let p = successes / n;
    let z2 = Z95 * Z95;
    let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z95 / (1.0 + z2 / n) * libm::sqrt(p * (1.0 - p) / n + z2 / (4.0 * n * n));
    // At the ends the formula gives 0 or 1 up to rounding.
    let low = if p == 0.0 { 0.0 } else { (centre - half).max(0.0) };
    let high = if p == 1.0 { 1.0 } else { (centre + half).min(1.0) };
    Estimate { value: p, low, high, count }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-6, "{a} is not {b}");
    }

    #[test]
    fn wilson_known_values() {
        // Newcombe (1998), table I, method 3: 81/263 and 15/148; 0/20 and 1/29.
        for (successes, count, low, high) in [
            (81.0, 263, 0.2553, 0.3662),
            (15.0, 148, 0.0624, 0.1605),
            (0.0, 20, 0.0, 0.1611),
            (1.0, 29, 0.0061, 0.1718),
        ] {
            let e = wilson(successes, count);
            assert!((e.low - low).abs() < 5e-5 && (e.high - high).abs() < 5e-5, "{e:?}");
        }
        assert_eq!(wilson(5.0, 5).high, 1.0);
        assert_eq!(wilson(0.0, 0), Estimate { value: 0.0, low: 0.0, high: 1.0, count: 0 });
    }

    #[test]
    fn mean_and_interval() {
        let x = [1.0, 2.0, 3.0, 4.0];
        close(mean(&x), 2.5);
        close(variance(&x), 5.0 / 3.0);
        let e = mean_interval(&x);
        close(e.high - e.value, Z95 * (5.0f64 / 12.0).sqrt());
        assert_eq!(mean::<f64>(&[]), 0.0);
        assert_eq!(mean(&[1.0f32, 2.0]), 1.5);
        assert!(mean_interval(&[3.0]).high.is_infinite());
    }

    #[test]
    fn pairing_removes_what_both_share() {
        let a = [10.1, 20.1, 30.1];
        let b = [10.0, 20.0, 30.0];
        let e = paired_difference(&a, &b);
        close(e.value, 0.1);
        assert!(e.low > 0.0, "{e:?}");
    }

    proptest! {
        #[test]
        fn wilson_contains_the_share_and_is_symmetric(n in 1usize..500, k in 0usize..1000) {
            let half_steps = k.min(2 * n) as f64 / 2.0;
            let e = wilson(half_steps, n);
            prop_assert!(0.0 <= e.low && e.low <= e.value && e.value <= e.high && e.high <= 1.0);
            let mirror = wilson(n as f64 - half_steps, n);
            prop_assert!((e.low - (1.0 - mirror.high)).abs() < 1e-12);
        }
    }
}
