//! What messages between ranks take.

use std::time::Instant;

use crate::ranks::{Lane, Ranks};

/// Rounds of a small message, and messages of 1 MB: as a gradient is sent.
const ROUNDS: usize = 200;
const MESSAGES: usize = 64;
const WORDS: usize = 1 << 18;

/// Seconds that a small message takes from one rank to the next: the mean over rounds of the ring. All must call it.
pub fn latency(ranks: &dyn Ranks) -> f64 {
    ranks.any(false);
    let begin = Instant::now();
    for _ in 0..ROUNDS {
        if ranks.is_first() {
            ranks.send(Lane::Gradient, vec![0]);
            ranks.receive(Lane::Gradient);
        } else {
            let message = ranks.receive(Lane::Gradient);
            ranks.send(Lane::Gradient, message);
        }
    }
    begin.elapsed().as_secs_f64() / (ROUNDS * ranks.size()) as f64
}

/// Bytes a second that come in at each of the ranks while all send to their next one, by rank. All must call it.
pub fn speeds(ranks: &dyn Ranks) -> Vec<f64> {
    ranks.any(false);
    let begin = Instant::now();
    (0..MESSAGES).for_each(|_| ranks.send(Lane::Gradient, vec![0; WORDS]));
    (0..MESSAGES).for_each(|_| drop(ranks.receive(Lane::Gradient)));
    let speed = (4 * WORDS * MESSAGES) as f64 / begin.elapsed().as_secs_f64();
    ranks.gather(vec![(speed as f32).to_bits()]).iter().map(|said| f32::from_bits(said[0]).into()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ranks::Threads;

    #[test]
    fn every_rank_is_measured() {
        let found = Threads::run(3, |ranks| (latency(ranks), speeds(ranks)));
        for (latency, speeds) in &found {
            assert!(*latency > 0.0 && *latency < 1.0, "{latency}");
            assert_eq!(*speeds, found[0].1, "all are told the same");
            assert!(speeds.len() == 3 && speeds.iter().all(|&speed| speed > 1e6), "{speeds:?}");
        }
    }
}
