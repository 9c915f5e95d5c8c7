//! Means and shares with 95 % intervals. No distribution is fitted and nothing is resampled.
//!
//! Observations come in clusters: the pairs of one prompt's ranking, the answers to a prompt that occurs twice. Those
//! of a cluster are alike and say less than as many independent ones, so the spread is measured between clusters
//! (Cochran 1977, chapter 6.3, the ratio estimator):
//!
//! ```text
//! m = sum_g s_g / N        V(m) = G/(G-1) sum_g (s_g - m n_g)^2 / N^2
//! ```
//!
//! with `s_g` and `n_g` the sum and the number of cluster `g`'s values, `G` clusters and `N` values in all. If every
//! cluster is one value, this is the variance of a mean of independent values.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;

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
    /// How many observations it rests on, at least one.
    pub count: usize,
    /// In how many clusters.
    pub clusters: usize,
}

/// What the observations of one cluster add up to.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Cluster {
    sum: f64,
    count: usize,
}

/// Observations by the cluster that they belong to.
#[derive(Debug, Clone, PartialEq)]
pub struct Clustered<K>(BTreeMap<K, Cluster>);

impl<K> Default for Clustered<K> {
    fn default() -> Self {
        Clustered(BTreeMap::new())
    }
}

impl<K: Ord> FromIterator<(K, f64)> for Clustered<K> {
    /// Each value with its cluster.
    fn from_iter<I: IntoIterator<Item = (K, f64)>>(values: I) -> Self {
        let mut all = Clustered::default();
        values.into_iter().for_each(|(cluster, value)| all.add(cluster, value, 1));
        all
    }
}

impl<K: Ord> Clustered<K> {
    /// Adds `count` values of a cluster that add up to `sum`.
    pub fn add(&mut self, cluster: K, sum: f64, count: usize) {
        if count > 0 {
            let of_cluster = self.0.entry(cluster).or_default();
            of_cluster.sum += sum;
            of_cluster.count += count;
        }
    }

    /// The number of observations.
    pub fn count(&self) -> usize {
        self.0.values().map(|cluster| cluster.count).sum()
    }

    /// The mean of all observations and its interval `m +- t sqrt(V)`, t of G - 1 degrees of freedom; `None` of
    /// nothing. One cluster alone leaves the spread unknown: the interval is infinite.
    pub fn mean(&self) -> Option<Estimate> {
        let Moments { value, variance, count, clusters } = self.moments()?;
        let half = if clusters > 1 { t95(clusters - 1) * libm::sqrt(variance) } else { f64::INFINITY };
        Some(Estimate { value, low: value - half, high: value + half, count, clusters })
    }

    /// The share of observations that are 1 (or the mean of values from 0 to 1: a tie is 0.5), with Wilson's score
    /// interval (1927) for the effective sample size; `None` of nothing.
    ///
    /// Wilson's interval stays within 0 and 1 and is sound for few observations and for shares near the ends, where
    /// the normal one is not. Into its place for `n` goes the number of independent observations that would have the
    /// same variance, `N / deff` with `deff = V(p) (N-1) / (p (1-p))` of at least 1, times
    /// `(t_(N-1) / t_(G-1))^2` for the few clusters that `V` was measured on (Korn and Graubard 1998; recommended with
    /// Wilson's interval by Franco et al. 2019). Without clusters this is Wilson's interval itself.
    ///
    /// At a share of 0 or 1 nothing varies and `deff` is unknown: it is taken as that of clusters whose observations
    /// are all alike, `sum n_g^2 / N`. One cluster of several observations says nothing of others: 0 to 1.
    ///
    /// # Panics
    /// If the mean is not within 0 and 1.
    pub fn share(&self) -> Option<Estimate> {
        let Moments { value: p, variance, count, clusters } = self.moments()?;
        assert!((0.0..=1.0).contains(&p), "a share of {p}");
        if clusters == 1 && count > 1 {
            return Some(Estimate { value: p, low: 0.0, high: 1.0, count, clusters });
        }
        let n = count as f64;
        let deff = if p == 0.0 || p == 1.0 {
            self.0.values().fold(0.0, |sum, cluster| sum + (cluster.count * cluster.count) as f64) / n
        } else {
            (variance * (n - 1.0) / (p * (1.0 - p))).max(1.0)
        };
        let few = if clusters == count { 1.0 } else { t95(count - 1) / t95(clusters - 1) };
        let (low, high) = wilson(p, n / deff * few * few);
        Some(Estimate { value: p, low, high, count, clusters })
    }

    fn moments(&self) -> Option<Moments> {
        let (count, clusters) = (self.count(), self.0.len());
        if count == 0 {
            return None;
        }
        let n = count as f64;
        let value = self.0.values().fold(0.0, |sum, cluster| sum + cluster.sum) / n;
        let squares = self.0.values().fold(0.0, |sum, cluster| {
            let residual = cluster.sum - value * cluster.count as f64;
            sum + residual * residual
        });
        let g = clusters as f64;
        let variance = if clusters > 1 { g / (g - 1.0) * squares / (n * n) } else { 0.0 };
        Some(Moments { value, variance, count, clusters })
    }
}

/// The mean of all observations and its variance, as measured between the clusters.
struct Moments {
    value: f64,
    variance: f64,
    count: usize,
    clusters: usize,
}

/// Wilson's score interval of a share `p` of `n` independent observations.
fn wilson(p: f64, n: f64) -> (f64, f64) {
    let z2 = Z95 * Z95;
    let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z95 / (1.0 + z2 / n) * libm::sqrt(p * (1.0 - p) / n + z2 / (4.0 * n * n));
    // At the ends the formula gives 0 or 1 up to rounding.
    let low = if p == 0.0 { 0.0 } else { (centre - half).max(0.0) };
    let high = if p == 1.0 { 1.0 } else { (centre + half).min(1.0) };
    (low, high)
}

/// The 0.975 quantile of Student's t distribution: exact for 1 and 2 degrees of freedom, by the expansion of Abramowitz
/// and Stegun (26.7.5) from 3 on, where it is low by 0.1 % and soon by less.
///
/// # Panics
/// For 0 degrees of freedom.
pub fn t95(degrees: usize) -> f64 {
    let (n, z) = (degrees as f64, Z95);
    match degrees {
        0 => panic!("no degrees of freedom"),
        1 => 12.706_204_736_174_7,
        2 => 4.302_652_729_749_46,
        _ => {
            let [z2, z3] = [z * z, z * z * z];
            let [z5, z7, z9] = [z3 * z2, z3 * z2 * z2, z3 * z2 * z2 * z2];
            let g1 = (z3 + z) / 4.0;
            let g2 = (5.0 * z5 + 16.0 * z3 + 3.0 * z) / 96.0;
            let g3 = (3.0 * z7 + 19.0 * z5 + 17.0 * z3 - 15.0 * z) / 384.0;
            let g4 = (79.0 * z9 + 776.0 * z7 + 1482.0 * z5 - 1920.0 * z3 - 945.0 * z) / 92160.0;
            z + (g1 + (g2 + (g3 + g4 / n) / n) / n) / n
        }
    }
}

/// The mean, added in f64 in the order given; `None` of nothing.
pub fn mean<T: Copy + Into<f64>>(values: &[T]) -> Option<f64> {
    let sum = values.iter().fold(0.0, |sum, &x| sum + x.into());
    (!values.is_empty()).then(|| sum / values.len() as f64)
}

/// What changes from one model to another that was asked the same: the mean of `ours - theirs`, paired observation by
/// observation, with the interval of [`Clustered::mean`]; `None` of nothing. Above 0, ours is the larger. Where both find
/// the same prompts hard, this interval is far shorter than those of the two means would suggest.
///
/// # Panics
/// If the lengths differ.
pub fn difference<K: Ord + Copy>(clusters: &[K], ours: &[f64], theirs: &[f64]) -> Option<Estimate> {
    assert_eq!([ours.len(), theirs.len()], [clusters.len(); 2], "values of both against their clusters");
    let differences = ours.iter().zip(theirs).map(|(ours, theirs)| ours - theirs);
    clusters.iter().copied().zip(differences).collect::<Clustered<K>>().mean()
}

/// The mean of one figure of runs that differ in nothing but the seed, with Student's interval; `None` of nothing. One
/// seed leaves the spread unknown: the interval is infinite.
pub fn over_seeds(values: &[f64]) -> Option<Estimate> {
    values.iter().copied().enumerate().collect::<Clustered<usize>>().mean()
}

/// `part / whole`; `None` of nothing.
pub fn share(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// A number as tables print it, with so many decimals and never as minus zero; `-` where there is none.
pub fn text(value: Option<f64>, decimals: usize) -> String {
    let Some(value) = value else { return "-".into() };
    let text = format!("{value:.decimals$}");
    match text.strip_prefix('-') {
        Some(zero) if zero.chars().all(|c| matches!(c, '0' | '.')) => zero.into(),
        _ => text,
    }
}

/// A figure with its interval, as tables print it: `0.62 [0.55, 0.68]`; `-` where there is none.
pub fn interval_text(estimate: Option<Estimate>, decimals: usize) -> String {
    let Some(Estimate { value, low, high, .. }) = estimate else { return "-".into() };
    let [value, low, high] = [value, low, high].map(|x| text(Some(x), decimals));
    format!("{value} [{low}, {high}]")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::rng::{Purpose, Rng, Stage};
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn close(a: f64, b: f64, tolerance: f64) {
        assert!((a - b).abs() < tolerance, "{a} is not {b}");
    }

    /// Each value a cluster of its own.
    fn singly(values: impl IntoIterator<Item = f64>) -> Clustered<usize> {
        values.into_iter().enumerate().collect()
    }

    /// So many successes, among so many independent observations.
    fn successes(successes: usize, count: usize) -> Clustered<usize> {
        singly((0..count).map(|i| f64::from(u8::from(i < successes))))
    }

    #[test]
    fn wilson_known_values() {
        // Newcombe (1998), table I, method 3.
        for (k, count, low, high) in [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ] {
            let e = successes(k, count).share().unwrap();
            assert!((e.low - low).abs() < 5e-5 && (e.high - high).abs() < 5e-5, "{e:?}");
            assert_eq!((e.count, e.clusters), (count, count));
        }
        assert_eq!(successes(5, 5).share().unwrap().high, 1.0);
    }

    #[test]
    fn student_known_values() {
        // Tables of the t distribution, two-sided 95 %.
        for (degrees, expected) in
            [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (5, 2.5706), (10, 2.2281), (30, 2.0423)]
        {
            close(t95(degrees), expected, if degrees < 5 { 4e-3 } else { 4e-4 });
        }
        close(t95(1_000_000), Z95, 1e-5);
    }

    #[test]
    fn means_by_hand() {
        let e = singly([1.0, 2.0, 3.0, 4.0]).mean().unwrap();
        close(e.value, 2.5, 1e-12);
        // The variance is 5/3.
        close(e.high - e.value, t95(3) * (5.0f64 / 12.0).sqrt(), 1e-12);
        assert!(singly([3.0]).mean().unwrap().high.is_infinite());
        // Two clusters, of sums 3 and 7: residuals -2 and 2, V = 2/1 * 8 / 16.
        let e: Clustered<&str> = [("a", 1.0), ("b", 3.0), ("a", 2.0), ("b", 4.0)].into_iter().collect();
        let e = e.mean().unwrap();
        close(e.high - e.value, t95(1), 1e-12);
        assert_eq!((e.value, e.count, e.clusters), (2.5, 4, 2));
        assert_eq!(mean(&[1.0f32, 2.0]), Some(1.5));
    }

    #[test]
    fn a_pair_cancels_what_its_prompt_has_in_common() {
        // Prompts from very easy to very hard; one model is better by 0.5, 1.5, 1.0 and 1.0.
        let (ours, theirs) = ([10.5, 1.5, -99.0, 51.0], [10.0, 0.0, -100.0, 50.0]);
        let e = difference(&["a", "b", "c", "d"], &ours, &theirs).unwrap();
        // The differences' variance is 0.5 / 3.
        close(e.value, 1.0, 1e-12);
        close(e.high - e.value, t95(3) * (0.5f64 / 12.0).sqrt(), 1e-12);
        // Of two clusters the sums are 2 and 2: nothing varies between them.
        let e = difference(&["a", "a", "b", "b"], &ours, &theirs).unwrap();
        assert_eq!((e.low, e.high, e.clusters), (1.0, 1.0, 2));
        assert_eq!(difference::<u8>(&[], &[], &[]), None);
    }

    #[test]
    fn three_seeds_by_hand() {
        // Mean 0.62, variance 0.0001, t of 2 degrees of freedom.
        let e = over_seeds(&[0.61, 0.62, 0.63]).unwrap();
        close(e.value, 0.62, 1e-12);
        close(e.high - e.low, 2.0 * 4.302_652_729_749_46 * 0.01 / 3f64.sqrt(), 1e-9);
        assert_eq!((e.count, over_seeds(&[])), (3, None));
        assert!(over_seeds(&[0.5]).unwrap().high.is_infinite());
    }

    #[test]
    fn of_nothing_there_is_nothing() {
        let nothing = Clustered::<u8>::default();
        assert_eq!((nothing.mean(), nothing.share(), nothing.count()), (None, None, 0));
        assert_eq!((mean::<f64>(&[]), share(0, 0), share(0, 2)), (None, None, Some(0.0)));
        assert_eq!((text(None, 2), interval_text(None, 2)), ("-".into(), "-".into()));
        let mut none_of_a_cluster = nothing;
        none_of_a_cluster.add(1, 0.0, 0);
        assert_eq!(none_of_a_cluster.mean(), None);
    }

    #[test]
    fn zero_has_no_sign() {
        for zero in [-0.0, -0.0004] {
            assert_eq!(text(Some(zero), 3), "0.000");
        }
        assert_eq!((text(Some(-0.0006), 3), text(Some(-10.0), 0)), ("-0.001".into(), "-10".into()));
        let e = Estimate { value: -0.001, low: -1.0, high: 0.5, count: 2, clusters: 2 };
        assert_eq!(interval_text(Some(e), 2), "0.00 [-1.00, 0.50]");
    }

    #[test]
    fn a_cluster_of_copies_counts_once() {
        let once = successes(30, 50).share().unwrap();
        let copies: Clustered<usize> = (0..500).map(|i| (i / 10, f64::from(u8::from(i / 10 < 30)))).collect();
        let copies = copies.share().unwrap();
        // But for the few degrees of freedom.
        close(copies.low, once.low, 5e-3);
        close(copies.high, once.high, 5e-3);
        assert_eq!((copies.count, copies.clusters), (500, 50));
        // Where nothing varies, each cluster counts as one.
        let all: Clustered<usize> = (0..500).map(|i| (i / 10, 1.0)).collect();
        close(all.share().unwrap().low, successes(50, 50).share().unwrap().low, 5e-3);
        // One cluster alone says nothing of others.
        let one: Clustered<usize> = (0..500).map(|i| (0, f64::from(u8::from(i < 300)))).collect();
        let one = one.share().unwrap();
        assert_eq!((one.value, one.low, one.high), (0.6, 0.0, 1.0));
    }

    /// In what share of `trials` each interval holds the truth: that of the clusters, and that which takes every
    /// observation for independent. `draw` gives the observations of one cluster.
    fn coverage(
        clusters: usize,
        truth: f64,
        interval: fn(&Clustered<usize>) -> Option<Estimate>,
        mut draw: impl FnMut(&mut Rng, usize) -> Vec<f64>,
    ) -> (f64, f64) {
        const TRIALS: usize = 2000;
        let (mut clustered, mut naive) = (0, 0);
        for trial in 0..TRIALS {
            let mut rng = Rng::at(7, Stage::Test, Purpose::Test, clusters as u64, trial as u64, 0);
            let mut of_cluster = Clustered::default();
            let mut all = Vec::new();
            for g in 0..clusters {
                // The pairs of 4 to 9 responses.
                let k = 4 + rng.below(6);
                let values = draw(&mut rng, k * (k - 1) / 2);
                values.iter().for_each(|&value| of_cluster.add(g, value, 1));
                all.extend(values);
            }
            let holds = |e: Estimate| usize::from((e.low..=e.high).contains(&truth));
            clustered += holds(interval(&of_cluster).unwrap());
            naive += holds(interval(&singly(all)).unwrap());
        }
        (clustered as f64 / TRIALS as f64, naive as f64 / TRIALS as f64)
    }

    /// Observations of a prompt that is easy (`high`) in `easy` of ten cases and else hard (`low`).
    fn prompt(rng: &mut Rng, count: usize, easy: usize, high: f64, low: f64) -> Vec<f64> {
        let p = if rng.below(10) < easy { high } else { low };
        (0..count).map(|_| f64::from(u8::from((rng.below(1000) as f64) < 1000.0 * p))).collect()
    }

    #[test]
    fn the_intervals_of_clusters_hold_the_truth_in_95_of_100_cases() {
        for (clusters, range) in [(40, 0.935..=0.965), (200, 0.935..=0.965), (8, 0.925..=0.985)] {
            let (clustered, naive) =
                coverage(clusters, 0.65, Clustered::share, |rng, n| prompt(rng, n, 5, 0.95, 0.35));
            assert!(range.contains(&clustered), "{clusters} clusters: {clustered}");
            assert!(naive < 0.7, "{clusters} clusters, taken for independent: {naive}");
        }
        // Near the end of the scale.
        let (clustered, naive) = coverage(60, 0.96, Clustered::share, |rng, n| prompt(rng, n, 9, 1.0, 0.6));
        assert!((0.93..=0.985).contains(&clustered) && naive < 0.8, "{clustered} {naive}");
        // A mean, of values with a part that the cluster's share.
        let draw = |rng: &mut Rng, n: usize| {
            let common = rng.normal();
            (0..n).map(|_| f64::from(3.0 + common + rng.normal())).collect()
        };
        // Six clusters of unequal sizes are a little less than six.
        for (clusters, range) in [(6, 0.91..=0.965), (40, 0.935..=0.965)] {
            let (clustered, naive) = coverage(clusters, 3.0, Clustered::mean, draw);
            assert!(range.contains(&clustered) && naive < 0.7, "{clusters}: {clustered} {naive}");
        }
    }

    #[test]
    fn independent_observations_in_clusters_keep_their_worth() {
        let (clustered, naive) =
            coverage(100, 0.65, Clustered::share, |rng, n| prompt(rng, n, 10, 0.65, 0.65));
        assert!((0.935..=0.965).contains(&naive), "{naive}");
        assert!((naive..=0.98).contains(&clustered), "{clustered}");
    }

    proptest! {
        #[test]
        fn an_interval_contains_its_share_and_is_symmetric(
            values in proptest::collection::vec((0u8..6, 0u8..3), 1..60)
        ) {
            let share = |mirror: bool| {
                let value = |half: u8| f64::from(if mirror { 2 - half } else { half }) / 2.0;
                let all: Clustered<u8> = values.iter().map(|&(g, half)| (g, value(half))).collect();
                all.share().unwrap()
            };
            let (e, mirror) = (share(false), share(true));
            prop_assert!(0.0 <= e.low && e.low <= e.value && e.value <= e.high && e.high <= 1.0, "{:?}", e);
            prop_assert!((e.low - (1.0 - mirror.high)).abs() < 1e-9, "{:?} {:?}", e, mirror);
        }
    }
}
