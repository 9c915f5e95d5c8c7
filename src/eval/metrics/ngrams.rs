//! Bags of n-grams, which BLEU, ROUGE and the F1 of answers all compare.

use std::collections::BTreeMap;

/// How often each n-gram occurs.
pub(super) type Counts<'a, T> = BTreeMap<&'a [T], usize>;

/// The `n`-grams of `tokens` with their counts.
pub(super) fn counts<T: Ord>(tokens: &[T], n: usize) -> Counts<'_, T> {
    let mut counts = Counts::new();
    for ngram in tokens.windows(n) {
        *counts.entry(ngram).or_default() += 1;
    }
    counts
}

/// The size of the bag that both have in common: each n-gram as often as in the one that has fewer.
pub(super) fn common<T: Ord>(a: &Counts<T>, b: &Counts<T>) -> usize {
    a.iter().map(|(ngram, &count)| count.min(b.get(ngram).copied().unwrap_or(0))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ngram_counts_as_often_as_both_have_it() {
        let (a, b) = (["x", "x", "x", "y"], ["x", "x", "y", "x"]);
        assert_eq!(common(&counts(&a, 1), &counts(&b, 1)), 4);
        // xx xx xy against xx xy yx.
        assert_eq!(common(&counts(&a, 2), &counts(&b, 2)), 2);
        assert!(counts(&a, 5).is_empty());
    }
}
