//! The losses of the last updates, that a new one is compared with: see `limits.loss_spike`.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

/// How many are remembered.
const REMEMBERED: usize = 20;

/// The last losses, by name. Part of a stage's state, so that a resumed run stops where the other would have.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RecentLosses(BTreeMap<String, VecDeque<f64>>);

impl RecentLosses {
    /// Adds a loss.
    ///
    /// # Errors
    /// What was found, if it is not finite, or above `spike` times the mean of the last 20 (0: no bound).
    pub fn add(&mut self, name: &str, loss: f64, spike: f32) -> Result<(), String> {
        if !loss.is_finite() {
            return Err(loss.to_string());
        }
        let last = self.0.entry(name.to_string()).or_default();
        if last.len() == REMEMBERED {
            let mean = last.iter().sum::<f64>() / REMEMBERED as f64;
            if spike > 0.0 && loss > f64::from(spike) * mean {
                let of = format!("of the last {REMEMBERED} updates");
                return Err(format!("{loss:.4}, over {spike} times the mean {mean:.4} {of}"));
            }
            last.pop_front();
        }
        last.push_back(loss);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_compared_with_its_own_last_twenty() {
        let mut losses = RecentLosses::default();
        losses.add("a", 1000.0, 3.0).unwrap();
        for _ in 0..20 {
            losses.add("a", 1.0, 3.0).unwrap();
            losses.add("b", 10.0, 3.0).unwrap();
        }
        assert_eq!(losses.clone().add("a", 3.0, 3.0), Ok(()));
        let found = "3.0100, over 3 times the mean 1.0000 of the last 20 updates";
        assert_eq!(losses.clone().add("a", 3.01, 3.0), Err(found.into()));
        assert_eq!(losses.clone().add("a", 3.01, 0.0), Ok(()));
        assert_eq!(losses.clone().add("b", 30.0, 3.0), Ok(()));
        assert_eq!(losses.add("b", f64::NAN, 0.0), Err("NaN".into()));
        let text = serde_json::to_string(&losses).unwrap();
        assert_eq!(serde_json::from_str::<RecentLosses>(&text).unwrap(), losses);
    }
}
