//! Who keeps the others waiting.
//!
//! A rank that waits for its neighbour cannot know whether that one is busy or waits in its turn. So whoever has waited
//! for too long tells all others, and whoever says nothing is who they wait for: it computes, or it hangs. The first one of
//! those that wait says it to the user, since the first one of all may be the one that hangs.

use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

/// How long a rank waits before it complains.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long it then listens to who else does.
const GRACE: Duration = Duration::from_secs(5);

/// What one rank knows of who waits.
pub(super) struct Watchdog {
    rank: usize,
    /// Who has waited for too long, itself included.
    waiting: Vec<bool>,
    /// Whether it was said of this wait.
    said: bool,
}

impl Watchdog {
    /// Of one of so many ranks.
    pub fn new(rank: usize, size: usize) -> Self {
        Watchdog { rank, waiting: vec![false; size], said: false }
    }

    /// Takes note of how long its rank has been waiting, if it does. What it gives, the others are to be told: that the
    /// rank waits now, or no longer.
    pub fn look(&mut self, waits: Option<Duration>) -> Option<bool> {
        let complains = waits.is_some_and(|waits| waits >= PATIENCE);
        self.said &= complains;
        let news = complains != self.waiting[self.rank];
        self.waiting[self.rank] = complains;
        news.then_some(complains)
    }

    /// Takes note of what another rank has told.
    pub fn hear(&mut self, rank: usize, waits: bool) {
        self.waiting[rank] = waits;
    }

    /// Who keeps the others waiting, if it is time to say so, and for this rank to do it.
    pub fn accuse(&mut self, waits: Option<Duration>) -> Option<Vec<usize>> {
        let is_time = waits.is_some_and(|waits| waits >= PATIENCE + GRACE) && !self.said;
        if !is_time || self.waiting.iter().position(|&waits| waits) != Some(self.rank) {
            return None;
        }
        self.said = true;
        Some((0..self.waiting.len()).filter(|&rank| !self.waiting[rank]).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    #[test]
    fn the_first_of_those_that_wait_names_the_others_once() {
        let mut dogs: Vec<Watchdog> = (0..4).map(|rank| Watchdog::new(rank, 4)).collect();
        for dog in &mut dogs {
            assert_eq!(dog.look(seconds(59)), None);
            assert_eq!(dog.accuse(seconds(59)), None);
        }
        // Rank 2 hangs, so ranks 3, 0 and 1 wait.
        for waits in [3, 0, 1] {
            assert_eq!(dogs[waits].look(seconds(60)), Some(true));
            assert_eq!(dogs[waits].look(seconds(61)), None, "told once");
            for hears in [0, 1, 3] {
                dogs[hears].hear(waits, true);
            }
        }
        assert_eq!(dogs[0].accuse(seconds(64)), None, "others may still say that they wait");
        assert_eq!(dogs[1].accuse(seconds(66)), None, "rank 0 does it");
        assert_eq!(dogs[0].accuse(seconds(65)), Some(vec![2]));
        assert_eq!(dogs[0].accuse(seconds(66)), None, "said once");
    }

    #[test]
    fn a_wait_that_has_ended_counts_no_more() {
        let mut dog = Watchdog::new(1, 3);
        assert_eq!(dog.look(seconds(70)), Some(true));
        assert_eq!(dog.accuse(seconds(70)), Some(vec![0, 2]));
        assert_eq!(dog.look(None), Some(false));
        assert_eq!(dog.accuse(None), None);
        dog.hear(0, true);
        dog.hear(0, false);
        assert_eq!(dog.look(seconds(80)), Some(true));
        assert_eq!(dog.accuse(seconds(80)), Some(vec![0, 2]), "another wait, said again");
    }
}
