//! A figure with its interval in `results.json`: `accuracy`, `accuracy_low`, `accuracy_high`, and `accuracy_prompts`, the
//! number of prompts (clusters) that it rests on.

use serde_json::{Value as Json, json};

use crate::num::statistics::{Estimate, text};

/// Writes a figure under its name; null, and no prompts, where there is none.
pub fn put(results: &mut Json, name: &str, estimate: Option<Estimate>) {
    // JSON knows no infinity: an end that is unknown is null.
    let finite = |end: fn(&Estimate) -> f64| estimate.as_ref().map(end).filter(|end| end.is_finite());
    results[name] = json!(estimate.map(|e| e.value));
    results[format!("{name}_low")] = json!(finite(|e| e.low));
    results[format!("{name}_high")] = json!(finite(|e| e.high));
    results[format!("{name}_prompts")] = json!(estimate.map_or(0, |e| e.clusters));
}

/// A figure as tables print it, `0.624 [0.599, 0.648]`; `-` where there is none.
pub fn cell(results: &Json, name: &str, decimals: usize) -> String {
    let [value, low, high] = ["", "_low", "_high"].map(|end| results[format!("{name}{end}")].as_f64());
    match value {
        Some(_) => {
            format!("{} [{}, {}]", text(value, decimals), text(low, decimals), text(high, decimals))
        }
        None => "-".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_printed() {
        let mut results = json!({});
        let estimate = Estimate { value: 0.5, low: 0.25, high: 0.75, count: 9, clusters: 3 };
        put(&mut results, "accuracy", Some(estimate));
        put(&mut results, "nothing", None);
        put(&mut results, "one", Some(Estimate { low: f64::NEG_INFINITY, high: f64::INFINITY, ..estimate }));
        assert_eq!((&results["accuracy_prompts"], &results["nothing_prompts"]), (&json!(3), &json!(0)));
        assert_eq!(cell(&results, "accuracy", 2), "0.50 [0.25, 0.75]");
        assert_eq!(cell(&results, "one", 2), "0.50 [-, -]");
        assert_eq!((cell(&results, "nothing", 2), cell(&json!(null), "x", 2)), ("-".into(), "-".into()));
    }
}
