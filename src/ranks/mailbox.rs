//! What a rank has been sent and has not received yet.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use std::panic::resume_unwind;
use std::sync::{Condvar, Mutex, PoisonError};

use super::Lane;

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
}

/// The panic of a rank that waits for one that is gone.
pub(super) struct Deserted;

impl Mailbox {
    /// Puts a message in.
    pub fn put(&self, lane: Lane, message: Vec<u32>) {
        self.change(|inside| inside.messages[lane as usize].push_back(message));
    }

    /// No more messages will come.
    pub fn close(&self) {
        self.change(|inside| inside.closed = true);
    }

    fn change(&self, change: impl FnOnce(&mut Inside)) {
        change(&mut self.inside.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    /// Takes the next message; waits for it.
    ///
    /// # Panics
    /// With [`Deserted`] if none will come.
    pub fn take(&self, lane: Lane) -> Vec<u32> {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(message) = inside.messages[lane as usize].pop_front() {
                return message;
            }
            if inside.closed {
                // Released first: a panic would poison it.
                drop(inside);
                resume_unwind(Box::new(Deserted));
            }
            inside = self.changed.wait(inside).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
