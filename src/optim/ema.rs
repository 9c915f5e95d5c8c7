//! The exponential moving average of the weights: what is evaluated and exported (paper, C.4: 0.992).
//!
//! ```text
//! e <- d e + (1 - d) p        after every optimizer update
//! ```
//!
//! The paper does not say whether "0.992" is per update or per iteration; per update is our reading.

use crate::num::math::fma;

/// One element: `e + (1 - d)(p - e)`, the equation above in the form in which `p = e` moves nothing.
#[inline(always)]
pub(super) fn blend(average: f32, parameter: f32, rest: f32) -> f32 {
    fma(rest, parameter - average, average)
}

/// `1 - d`, subtracted in f64.
pub(super) fn rest(decay: f32) -> f32 {
    (1.0 - decay as f64) as f32
}

/// Moves `average` towards `parameters`; both any length, elementwise. Decay 0 copies only up to a
/// rounding: keep no average instead.
pub fn update(average: &mut [f32], parameters: &[f32], decay: f32) {
    assert_eq!(average.len(), parameters.len(), "ema: average and parameters");
    let rest = rest(decay);
    for (e, &p) in average.iter_mut().zip(parameters) {
        *e = blend(*e, p, rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_updates_by_hand() {
        let mut average = [0.0];
        let values: [f32; 3] = core::array::from_fn(|_| {
            update(&mut average, &[8.0], 0.75);
            average[0]
        });
        assert_eq!(values, [2.0, 3.5, 4.625]);
    }

    #[test]
    fn a_constant_stays_and_the_extremes_hold() {
        let weights = [0.1, -3.7, 1e-30, 123456.7];
        let mut average = weights;
        update(&mut average, &weights, 0.992);
        assert_eq!(average, weights);
        update(&mut average, &[1.0; 4], 1.0);
        assert_eq!(average, weights, "decay 1 keeps the average");
        let mut average = [0.1, -3.7];
        update(&mut average, &[0.5, 2.0], 0.0);
        assert!((average[0] - 0.5).abs() < 1e-6 && (average[1] - 2.0).abs() < 1e-6, "{average:?}");
    }
}
