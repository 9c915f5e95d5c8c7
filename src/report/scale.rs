//! The scale of an axis: its range, the round numbers on it, and how they are written.

use core::ops::Range;

/// The smallest and the largest of finite numbers with a margin each side; 0 to 1 without any.
pub fn range(numbers: impl Iterator<Item = f64>, margin: f64) -> Range<f64> {
    let finite = numbers.filter(|x| x.is_finite());
    let (low, high) = finite.fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(x), high.max(x)));
    if low > high {
        return 0.0..1.0;
    }
    let (low, high) = (low.max(f64::MIN / 8.0), high.min(f64::MAX / 8.0));
    let room = if high > low { (high - low) * margin } else { (high.abs() / 20.0).max(0.5) };
    low - room..high + room
}

/// Round numbers in a range, at most `most` or so, and the decimals that tell them apart.
pub fn ticks(range: &Range<f64>, most: usize) -> (Vec<f64>, usize) {
    let span = range.end - range.start;
    let raw = span / most as f64;
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].iter().map(|m| m * power).find(|step| *step >= raw).unwrap_or(raw);
    let decimals = (-step.log10()).ceil().clamp(0.0, 12.0) as usize;
    let first = (range.start / step).ceil() as i64;
    let at = (0..64).map(|i| (first + i) as f64 * step).take_while(|x| *x <= range.end);
    (at.collect(), decimals)
}

/// A number on an axis, short.
pub fn number(x: f64, decimals: usize) -> String {
    match x.abs() {
        0.0 => "0".into(),
        size if size >= 1e5 || (decimals > 4 && size < 1e-2) => {
            let text = format!("{x:.1e}");
            text.replace(".0e", "e")
        }
        _ => format!("{x:.decimals$}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_tell_apart() {
        assert_eq!(ticks(&(0.0..1.0), 5), (vec![0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0], 1));
        assert_eq!(ticks(&(-3.0..27.0), 5), (vec![0.0, 10.0, 20.0], 0));
        let (at, decimals) = ticks(&(0.6011..0.6029), 5);
        let words: Vec<String> = at.iter().map(|x| number(*x, decimals)).collect();
        assert_eq!(words, ["0.6015", "0.6020", "0.6025"]);
        assert_eq!([1e6, 2.5e7, 0.0, 3e-6].map(|x| number(x, 6)), ["1e6", "2.5e7", "0", "3e-6"]);
    }
}
