//! How long a computation would take on more threads than this machine has. It is run on one thread, cut as it would be
//! for many; its pieces are timed, and a simulated pool then shares them out as rayon's does.
//!
//! What the simulation knows: how long each piece takes, where threads wait for each other, and what it costs to hand
//! work to another thread. What it leaves out: that threads share caches, memory and the processor's clock. So it says
//! how far the *cuts* of the work go, and no machine is faster than that.

use core::cell::RefCell;
use std::collections::VecDeque;
use std::time::Instant;

use alloc::vec::Vec;

/// A computation, in its order.
pub type Steps = Vec<Step>;

/// What a computation consists of.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// So many seconds of one thread.
    Work(f64),
    /// Two computations that two threads may do; the next step waits for both.
    Fork(Steps, Steps),
}

struct Tracing {
    threads: usize,
    steps: Steps,
    since: Instant,
}

impl Tracing {
    /// Ends the piece that has run since the last fork.
    fn end_piece(&mut self) {
        self.steps.push(Step::Work(self.since.elapsed().as_secs_f64()));
    }
}

std::thread_local! {
    static TRACING: RefCell<Option<Tracing>> = const { RefCell::new(None) };
}

/// Runs `body` on the calling thread, its loops cut as for `threads` threads, and says what it consisted of.
pub fn trace(threads: usize, body: impl FnOnce()) -> Steps {
    let tracing = Tracing { threads, steps: Vec::new(), since: Instant::now() };
    let outer = TRACING.replace(Some(tracing));
    body();
    let mut tracing = TRACING.replace(outer).expect("set above");
    tracing.end_piece();
    tracing.steps
}

/// The threads that the computation traced on this thread believes it has.
pub(super) fn threads() -> Option<usize> {
    TRACING.with_borrow(|tracing| tracing.as_ref().map(|tracing| tracing.threads))
}

/// Runs both, one after the other, as a fork of the trace.
pub(super) fn fork(a: impl FnOnce(), b: impl FnOnce()) {
    let before = with(|tracing| {
        tracing.end_piece();
        core::mem::take(&mut tracing.steps)
    });
    let (a, b) = (side(a), side(b));
    with(|tracing| {
        tracing.steps = before;
        tracing.steps.push(Step::Fork(a, b));
        tracing.since = Instant::now();
    });
}

fn side(body: impl FnOnce()) -> Steps {
    with(|tracing| tracing.since = Instant::now());
    body();
    with(|tracing| {
        tracing.end_piece();
        core::mem::take(&mut tracing.steps)
    })
}

fn with<R>(body: impl FnOnce(&mut Tracing) -> R) -> R {
    TRACING.with_borrow_mut(|tracing| body(tracing.as_mut().expect("called while tracing")))
}

/// What a simulated pool made of a computation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Simulated {
    /// From the start to the end, in seconds.
    pub seconds: f64,
    /// How often one thread took work from another.
    pub hand_overs: usize,
}

/// Seconds of all pieces together, which is what one thread takes.
pub fn work(steps: &[Step]) -> f64 {
    sum(steps, |a, b| a + b)
}

/// Seconds of the longest chain of pieces that wait for each other, below which no number of threads gets.
pub fn span(steps: &[Step]) -> f64 {
    sum(steps, f64::max)
}

/// How often a thread could hand work to another.
pub fn forks(steps: &[Step]) -> usize {
    let of = |step: &Step| match step {
        Step::Work(_) => 0,
        Step::Fork(a, b) => 1 + forks(a) + forks(b),
    };
    steps.iter().map(of).sum()
}

fn sum(steps: &[Step], sides: fn(f64, f64) -> f64) -> f64 {
    let one = |step: &Step| match step {
        Step::Work(seconds) => *seconds,
        Step::Fork(a, b) => sides(sum(a, sides), sum(b, sides)),
    };
    steps.iter().map(one).sum()
}

/// Shares `steps` out over a pool of `threads`. As in rayon, a thread at a fork leaves the second side in a queue of its
/// own and does the first; then it does the second, if nobody took it, or helps others until that is done. A thread
/// without work takes the oldest of a queue, `hand_over` seconds after it began to look for it or was woken.
///
/// # Panics
/// Without threads.
pub fn simulate(steps: &[Step], threads: usize, hand_over: f64) -> Simulated {
    assert!(threads > 0, "a pool of no threads");
    let mut pool = Pool {
        workers: (0..threads).map(|_| Worker::default()).collect(),
        forks: Vec::new(),
        taken: 0,
        hand_over,
    };
    pool.workers[0].stack.push(Frame::Steps { rest: steps, fork: None });
    pool.workers[0].state = State::Runs;
    // The first thread holds the whole until its end.
    while !pool.workers[0].stack.is_empty() {
        pool.act(pool.next());
    }
    Simulated { seconds: pool.workers[0].now, hand_overs: pool.taken }
}

struct Pool<'a> {
    workers: Vec<Worker<'a>>,
    /// When the taken second side of each fork was done.
    forks: Vec<Option<f64>>,
    taken: usize,
    hand_over: f64,
}

#[derive(Default)]
struct Worker<'a> {
    now: f64,
    state: State,
    stack: Vec<Frame<'a>>,
    /// Second sides of its forks, the oldest first.
    queue: VecDeque<(usize, &'a [Step])>,
}

#[derive(Default, Clone, Copy, PartialEq)]
enum State {
    /// Sleeps, with or without a fork to wait for.
    #[default]
    Sleeps,
    /// Looks into the others' queues at its time `now`.
    Looks,
    /// Goes on with the top of its stack.
    Runs,
}

enum Frame<'a> {
    /// What is left of some steps, which are the second side of a fork if another thread took them.
    Steps { rest: &'a [Step], fork: Option<usize> },
    /// The end of a fork whose first side lies above: the second side is now done here, or waited for.
    Join { fork: usize },
}

impl<'a> Pool<'a> {
    /// The thread awake that is furthest behind, so that what it finds in a queue was put there before.
    fn next(&self) -> usize {
        let awake = (0..self.workers.len()).filter(|&w| self.workers[w].state != State::Sleeps);
        let first = awake.min_by(|&a, &b| self.workers[a].now.total_cmp(&self.workers[b].now));
        first.expect("whoever holds what others wait for is awake")
    }

    fn act(&mut self, w: usize) {
        if self.workers[w].state == State::Looks {
            return self.look(w);
        }
        let worker = &mut self.workers[w];
        match worker.stack.pop() {
            None => self.search(w),
            Some(Frame::Steps { rest: [], fork }) => {
                if let Some(fork) = fork {
                    self.finish(fork, w);
                }
            }
            Some(Frame::Steps { rest: [step, rest @ ..], fork }) => {
                worker.stack.push(Frame::Steps { rest, fork });
                match step {
                    Step::Work(seconds) => worker.now += seconds,
                    Step::Fork(a, b) => {
                        let fork = self.forks.len();
                        self.forks.push(None);
                        worker.stack.push(Frame::Join { fork });
                        worker.stack.push(Frame::Steps { rest: a, fork: None });
                        worker.queue.push_back((fork, b));
                        let now = worker.now;
                        self.wake(|_| true, now);
                    }
                }
            }
            Some(Frame::Join { fork }) => {
                if worker.queue.back().is_some_and(|(id, _)| *id == fork) {
                    let (_, b) = worker.queue.pop_back().expect("seen");
                    worker.stack.push(Frame::Steps { rest: b, fork: None });
                } else if let Some(done) = self.forks[fork] {
                    worker.now = worker.now.max(done);
                } else {
                    worker.stack.push(Frame::Join { fork });
                    self.search(w);
                }
            }
        }
    }

    /// Without work of its own, a thread looks for some.
    fn search(&mut self, w: usize) {
        self.workers[w].state = State::Looks;
        self.workers[w].now += self.hand_over;
    }

    /// Takes the oldest of the first queue that holds any, or goes on if what it waits for is done, or sleeps.
    fn look(&mut self, w: usize) {
        let count = self.workers.len();
        if let Some(Frame::Join { fork }) = self.workers[w].stack.last()
            && self.forks[*fork].is_some()
        {
            self.workers[w].state = State::Runs;
            return;
        }
        let found = (1..count).find_map(|i| self.workers[(w + i) % count].queue.pop_front());
        let worker = &mut self.workers[w];
        match found {
            Some((fork, rest)) => {
                worker.stack.push(Frame::Steps { rest, fork: Some(fork) });
                worker.state = State::Runs;
                self.taken += 1;
            }
            None => worker.state = State::Sleeps,
        }
    }

    /// A taken second side is done: who waits for it, and sleeps, wakes.
    fn finish(&mut self, fork: usize, w: usize) {
        let now = self.workers[w].now;
        self.forks[fork] = Some(now);
        self.wake(|worker| matches!(worker.stack.last(), Some(Frame::Join { fork: id }) if *id == fork), now);
    }

    /// Wakes a sleeping thread of those meant.
    fn wake(&mut self, meant: impl Fn(&Worker) -> bool, now: f64) {
        let hand_over = self.hand_over;
        if let Some(worker) =
            self.workers.iter_mut().find(|worker| worker.state == State::Sleeps && meant(worker))
        {
            worker.now = worker.now.max(now) + hand_over;
            worker.state = State::Looks;
        }
    }
}

#[cfg(test)]
mod tests;
