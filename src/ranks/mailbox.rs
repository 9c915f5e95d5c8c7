//! What a rank has been sent and has not received yet.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use std::panic::resume_unwind;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
#[cfg(all(feature = "mpi", unix))]
use std::time::Duration;
use std::time::Instant;

use super::{Lane, Traffic};

/// Messages that have arrived.
#[derive(Default)]
pub(super) struct Mailbox {
    inside: Mutex<Inside>,
    changed: Condvar,
}

#[derive(Default)]
struct Inside {
    /// By lane.
    messages: [VecDeque<Vec<u32>>; 2],
    /// Whether the sender is gone.
    closed: bool,
    traffic: Traffic,
    /// Since when the owner waits, if it does.
    waits: Option<Instant>,
}

/// The panic of a rank that waits for one that is gone.
pub(super) struct Deserted;

impl Mailbox {
    /// Puts a message in.
    pub fn put(&self, lane: Lane, message: Vec<u32>) {
        self.change(|inside| {
            inside.traffic.received += 4 * message.len() as u64;
            inside.messages[lane as usize].push_back(message);
        });
    }

    /// No more messages will come.
    pub fn close(&self) {
        self.change(|inside| inside.closed = true);
    }

    fn change(&self, change: impl FnOnce(&mut Inside)) {
        change(&mut self.inside());
        self.changed.notify_all();
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What came, and how long it was waited for.
    pub fn traffic(&self) -> Traffic {
        self.inside().traffic
    }

    /// For how long its owner has been waiting, if it does.
    #[cfg(all(feature = "mpi", unix))]
    pub fn waits(&self) -> Option<Duration> {
        self.inside().waits.map(|since| since.elapsed())
    }

    /// Takes the next message; waits for it.
    ///
    /// # Panics
    /// With [`Deserted`] if none will come.
    pub fn take(&self, lane: Lane) -> Vec<u32> {
        let mut inside = self.inside();
        loop {
            if let Some(message) = inside.messages[lane as usize].pop_front() {
                if let Some(since) = inside.waits.take() {
                    inside.traffic.waited += since.elapsed().as_secs_f64();
                }
                return message;
            }
            if inside.closed {
                // Released first: a panic would poison it.
                drop(inside);
                resume_unwind(Box::new(Deserted));
            }
            inside.waits.get_or_insert_with(Instant::now);
            inside = self.changed.wait(inside).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
