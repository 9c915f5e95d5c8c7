//! Floor 0: ranks, the processes that make one run together, on one machine or on several.
//!
//! All of them go through the same program with the same data. Where work can be shared out, each does its share, and
//! what it found is handed round, so that all of them know everything and take the same decisions. How many there are
//! shows in no bit: shares are whole sequences, and a sum's order of addition is that of one rank.
//!
//! The ranks stand in a ring. A rank sends to the next one and receives from the one before; all else is made of that.
//!
//! | ranks | what they are |
//! |---|---|
//! | [`Alone`] | the only one: the default, which costs nothing |
//! | [`Threads`] | threads of one process, for tests and to watch |
//! | `Mpi` | processes of an MPI job, with the feature `mpi` |

use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

#[cfg(feature = "std")]
mod mailbox;
#[cfg(all(feature = "mpi", unix))]
pub mod mpi;
#[cfg(feature = "std")]
mod threads;
#[cfg(all(feature = "mpi", unix))]
mod watchdog;

#[cfg(feature = "std")]
pub use threads::Threads;

/// What a launcher of MPI says of a process that it starts.
#[cfg(feature = "std")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Launched {
    /// Its number, from 0.
    pub rank: usize,
    /// Of how many.
    pub size: usize,
}

/// As what a launcher of MPI has started this process; none without a launcher. Where the launcher does not say how many
/// it starts, that counts as one.
#[cfg(feature = "std")]
pub fn launched() -> Option<Launched> {
    launched_as(|name| std::env::var(name).ok())
}

#[cfg(feature = "std")]
fn launched_as(variable: impl Fn(&str) -> Option<alloc::string::String>) -> Option<Launched> {
    // Of Open MPI, of MPICH and its kin, and of Slurm with PMIx.
    let launchers = [
        ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
        ("PMI_RANK", "PMI_SIZE"),
        ("PMIX_RANK", "SLURM_STEP_NUM_TASKS"),
    ];
    let number = |name| variable(name).and_then(|text| text.parse().ok());
    let (rank, size) = launchers.into_iter().find(|(rank, _)| variable(rank).is_some())?;
    Some(Launched { rank: number(rank).unwrap_or(0), size: number(size).unwrap_or(1) })
}

/// What a message belongs to. Messages of one kind arrive in the order in which they were sent; those of the other may
/// overtake them, as a rank learns what the others found before it takes over their sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// A gradient that is being added up.
    Gradient,
    /// Whatever a rank found, or says.
    Findings,
}

/// What a rank's messages cost so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Traffic {
    /// Seconds for which the rank had nothing to do but wait for a message.
    pub waited: f64,
    /// Bytes that it was sent.
    pub received: u64,
}

/// One of the processes that make a run together.
pub trait Ranks: Send + Sync {
    /// Its number, from 0.
    fn rank(&self) -> usize;

    /// How many there are.
    fn size(&self) -> usize;

    /// Sends a message to the next rank, and does not wait until it is there.
    fn send(&self, lane: Lane, message: Vec<u32>);

    /// The next message of the rank before; waits for it.
    fn receive(&self, lane: Lane) -> Vec<u32>;

    /// The machine that it runs on.
    fn host(&self) -> &str {
        "this machine"
    }

    /// What its messages cost so far.
    fn traffic(&self) -> Traffic {
        Traffic::default()
    }

    /// Whether it is the first one, which owns the files.
    fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// Its share of `n` things; the shares of all ranks follow each other.
    fn share(&self, n: usize) -> Range<usize> {
        n * self.rank() / self.size()..n * (self.rank() + 1) / self.size()
    }

    /// What each of the ranks gives, by rank. All must call it.
    fn gather(&self, mine: Vec<u32>) -> Vec<Vec<u32>> {
        let (size, mut at) = (self.size(), self.rank());
        let mut all = vec![Vec::new(); size];
        all[at] = mine;
        for _ in 1..size {
            // What came last goes on, until all have been everywhere.
            self.send(Lane::Findings, all[at].clone());
            at = (at + size - 1) % size;
            all[at] = self.receive(Lane::Findings);
        }
        all
    }

    /// What the first rank gives, whatever the others do. All must call it.
    fn broadcast(&self, mine: Vec<u32>) -> Vec<u32> {
        let (rank, size) = (self.rank(), self.size());
        let message = if rank == 0 { mine } else { self.receive(Lane::Findings) };
        if rank + 1 < size {
            self.send(Lane::Findings, message.clone());
        }
        message
    }

    /// Whether one of the ranks says so. All must call it.
    fn any(&self, mine: bool) -> bool {
        match self.size() {
            1 => mine,
            _ => self.gather(vec![u32::from(mine)]).iter().any(|said| said[0] != 0),
        }
    }

    /// The numbers of all ranks, those of the first rank first. All must call it.
    fn join(&self, mine: Vec<f32>) -> Vec<f32> {
        if self.size() == 1 {
            return mine;
        }
        self.gather(to_words(mine)).into_iter().flat_map(to_numbers).collect()
    }
}

/// Numbers as a message has them.
pub fn to_words(numbers: Vec<f32>) -> Vec<u32> {
    numbers.into_iter().map(f32::to_bits).collect()
}

/// A message's numbers.
pub fn to_numbers(words: Vec<u32>) -> Vec<f32> {
    words.into_iter().map(f32::from_bits).collect()
}

/// The only rank.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Alone;

impl Ranks for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn send(&self, _: Lane, _: Vec<u32>) {
        unreachable!("there is no other rank")
    }

    fn receive(&self, _: Lane) -> Vec<u32> {
        unreachable!("there is no other rank")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_follow_each_other_and_differ_by_one_at_most() {
        for size in [1, 2, 3, 5, 8] {
            for n in [0, 1, 4, 7, 100] {
                let shares = Threads::run(size, |ranks| ranks.share(n));
                let mut next = 0;
                for share in shares {
                    assert_eq!(share.start, next);
                    assert!((n / size..=n.div_ceil(size)).contains(&share.len()), "{n} over {size}");
                    next = share.end;
                }
                assert_eq!(next, n);
            }
        }
    }

    #[test]
    fn everyone_learns_what_everyone_has_found() {
        for size in [1, 2, 3, 5, 8] {
            Threads::run(size, |ranks| {
                let rank = ranks.rank() as u32;
                let expected: Vec<Vec<u32>> = (0..size as u32).map(|r| vec![r; r as usize]).collect();
                assert_eq!(ranks.gather(vec![rank; rank as usize]), expected);
                assert_eq!(ranks.broadcast(vec![7 + rank, 9]), [7, 9]);
                for says in 0..size {
                    assert!(ranks.any(ranks.rank() == says));
                }
                assert!(!ranks.any(false));
                let joined = ranks.join(vec![rank as f32, f32::NAN, -0.0]);
                let bits: Vec<u32> = joined.iter().map(|x| x.to_bits()).collect();
                let of = |r: u32| [(r as f32).to_bits(), f32::NAN.to_bits(), 1 << 31];
                assert_eq!(bits, (0..size as u32).flat_map(of).collect::<Vec<u32>>());
            });
        }
    }

    #[test]
    fn launchers_are_known_by_what_they_say() {
        let of = |said: &[(&str, &str)]| {
            launched_as(|name| {
                said.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into())
            })
        };
        assert_eq!(of(&[]), None);
        let launched = |rank, size| Some(Launched { rank, size });
        assert_eq!(of(&[("OMPI_COMM_WORLD_RANK", "2"), ("OMPI_COMM_WORLD_SIZE", "4")]), launched(2, 4));
        assert_eq!(of(&[("PMI_RANK", "0"), ("PMI_SIZE", "3")]), launched(0, 3));
        assert_eq!(of(&[("PMIX_RANK", "1"), ("SLURM_STEP_NUM_TASKS", "5")]), launched(1, 5));
        // Where Slurm has started a shell, and in it this program.
        assert_eq!(of(&[("SLURM_STEP_NUM_TASKS", "5")]), None);
        assert_eq!(of(&[("PMIX_RANK", "0")]), launched(0, 1));
    }

    #[test]
    fn what_is_sent_and_waited_for_is_counted() {
        let traffic = Threads::run(2, |ranks| {
            if ranks.is_first() {
                std::thread::sleep(core::time::Duration::from_millis(50));
                ranks.send(Lane::Gradient, vec![0; 10]);
                ranks.send(Lane::Findings, vec![0; 3]);
            } else {
                ranks.receive(Lane::Gradient);
                ranks.receive(Lane::Findings);
            }
            ranks.traffic()
        });
        assert_eq!([traffic[0].received, traffic[1].received], [0, 4 * 13]);
        assert_eq!(traffic[0].waited, 0.0);
        assert!((0.03..5.0).contains(&traffic[1].waited), "{traffic:?}");
        assert_eq!(Alone.traffic(), Traffic::default());
    }

    #[test]
    fn a_message_may_overtake_those_of_the_other_lane_and_no_others() {
        Threads::run(2, |ranks| {
            for i in 0..3 {
                ranks.send(Lane::Gradient, vec![i]);
                ranks.send(Lane::Findings, vec![10 + i]);
            }
            for lane in [Lane::Findings, Lane::Gradient] {
                let first = if lane == Lane::Gradient { 0 } else { 10 };
                assert_eq!([(); 3].map(|()| ranks.receive(lane)[0]), [first, first + 1, first + 2]);
            }
        });
    }

    #[test]
    #[should_panic(expected = "only I know why")]
    fn where_one_rank_panics_none_waits_for_ever() {
        Threads::run(3, |ranks| {
            assert_ne!(ranks.rank(), 1, "only I know why");
            ranks.gather(vec![]);
        });
    }
}
