//! Ranks that are threads of one process.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use std::panic::resume_unwind;
use std::thread;

use super::mailbox::{Deserted, Mailbox};
use super::{Lane, Ranks, Traffic};

/// A rank that is a thread.
pub struct Threads {
    rank: usize,
    size: usize,
    next: Arc<Mailbox>,
    own: Arc<Mailbox>,
}

/// Closes a mailbox when its sender ends, however it ends.
struct Closes<'a>(&'a Mailbox);

impl Drop for Closes<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Threads {
    /// Runs `work` on `size` ranks at once; gives what each of them returned. Networks keep their ranks for as long as
    /// they like, so what connects the ranks, some hundred bytes, is never given back.
    ///
    /// # Panics
    /// If a rank does, with its words; and if one ends while another waits for it.
    pub fn run<T: Send>(size: usize, work: impl Fn(&'static dyn Ranks) -> T + Sync) -> Vec<T> {
        let mailboxes: Vec<Arc<Mailbox>> = (0..size).map(|_| Arc::default()).collect();
        let rank = |rank: usize| {
            let (next, own) = (mailboxes[(rank + 1) % size].clone(), mailboxes[rank].clone());
            let ranks: &'static Threads = Box::leak(Box::new(Threads { rank, size, next, own }));
            let _closes = Closes(&ranks.next);
            work(ranks)
        };
        let rank = &rank;
        thread::scope(|scope| {
            let threads: Vec<_> = (0..size).map(|number| scope.spawn(move || rank(number))).collect();
            let ends: Vec<thread::Result<T>> = threads.into_iter().map(|thread| thread.join()).collect();
            let (done, mut panics): (Vec<_>, Vec<_>) = ends.into_iter().partition(Result::is_ok);
            // What the others say then is only that somebody is gone.
            panics.sort_by_key(|end| end.as_ref().is_err_and(|words| words.is::<Deserted>()));
            match panics.into_iter().next() {
                Some(Err(words)) if words.is::<Deserted>() => {
                    panic!("a rank ended while another waited for it")
                }
                Some(Err(words)) => resume_unwind(words),
                _ => done.into_iter().flatten().collect(),
            }
        })
    }
}

impl Ranks for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn send(&self, lane: Lane, message: Vec<u32>) {
        self.next.put(lane, message);
    }

    fn receive(&self, lane: Lane) -> Vec<u32> {
        self.own.take(lane)
    }

    fn traffic(&self) -> Traffic {
        self.own.traffic()
    }
}
