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
mod tests;
