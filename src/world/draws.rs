//! The dice: one of several things, by chance.

use crate::num::rng::Rng;

/// One of `items`, uniformly.
pub fn pick<T: Copy>(rng: &mut Rng, items: &[T]) -> T {
    items[rng.below(items.len())]
}

/// True with that probability.
pub fn chance(rng: &mut Rng, probability: f32) -> bool {
    rng.uniform() < probability
}

/// One of `items` that is none of `excluded`.
pub fn pick_other(rng: &mut Rng, items: &[&'static str], excluded: &[&str]) -> &'static str {
    let allowed: Vec<&'static str> = items.iter().copied().filter(|item| !excluded.contains(item)).collect();
    pick(rng, &allowed)
}

/// The index drawn with probability proportional to its weight.
pub fn pick_weighted(rng: &mut Rng, weights: &[usize]) -> usize {
    let mut left = rng.below(weights.iter().sum());
    weights
        .iter()
        .position(|&weight| left.checked_sub(weight).map(|rest| left = rest).is_none())
        .expect("a weight")
}
