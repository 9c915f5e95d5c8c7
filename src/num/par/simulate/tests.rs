use super::*;
use crate::num::par::{for_each, join, regions, rows, threads, with_threads};
use proptest::prelude::*;

fn fork(a: Steps, b: Steps) -> Step {
    Step::Fork(a, b)
}

#[test]
fn times_that_one_can_add_up() {
    let halves = [Step::Work(1.0), fork(vec![Step::Work(4.0)], vec![Step::Work(5.0)]), Step::Work(2.0)];
    assert_eq!((work(&halves), span(&halves)), (12.0, 8.0));
    let of = |threads, hand_over| {
        let Simulated { seconds, hand_overs } = simulate(&halves, threads, hand_over);
        (seconds, hand_overs)
    };
    assert_eq!(of(1, 0.5), (12.0, 0));
    assert_eq!(of(2, 0.0), (8.0, 1));
    // Begun half a second later; whoever waits for the end sees it half a second later.
    assert_eq!(of(2, 0.5), (9.0, 1));
    // The second thread comes too late: the first has begun the other side itself.
    assert_eq!(of(2, 4.5), (12.0, 0));
    // Three of four forks to hand over; each of four threads has one second.
    let work = || vec![Step::Work(1.0)];
    let quarters = [fork(vec![fork(work(), work())], vec![fork(work(), work())])];
    assert_eq!(simulate(&quarters, 4, 0.0), Simulated { seconds: 1.0, hand_overs: 3 });
    assert_eq!(simulate(&quarters, 2, 0.0), Simulated { seconds: 2.0, hand_overs: 1 });
}

/// Who waits for a fork helps others meanwhile.
#[test]
fn who_waits_helps() {
    let work = |seconds| vec![Step::Work(seconds)];
    // The first thread ends its side after 1 s; the second's fork of 3 + 2 s has a side left for it.
    let steps = [fork(work(1.0), vec![fork(work(3.0), work(2.0))])];
    assert_eq!(simulate(&steps, 2, 0.0), Simulated { seconds: 3.0, hand_overs: 2 });
}

#[test]
fn the_oldest_is_taken_first() {
    let work = |seconds| vec![Step::Work(seconds)];
    // After half a second two sides lie in the queue: five seconds of the first fork, two of the second.
    let steps = [fork(vec![fork(work(2.0), work(2.0))], work(5.0))];
    assert_eq!(simulate(&steps, 2, 0.5), Simulated { seconds: 6.0, hand_overs: 1 });
}

#[test]
fn a_trace_has_the_cuts_of_the_pretended_threads() {
    let mut data = vec![0u8; 64];
    let mut pieces = 0;
    let steps = trace(8, || {
        assert_eq!(threads(), 8);
        let cell = std::sync::Mutex::new(&mut pieces);
        for_each(rows(&mut data, 1), 8, |_, piece| {
            piece.data.fill(1);
            **cell.lock().unwrap() += 1;
        });
    });
    assert_eq!((forks(&steps), pieces, data), (7, 8, vec![1; 64]));
    let mut data = vec![0u8; 64];
    let steps =
        trace(4, || regions(&[0, 16, 32, 48, 64], rows(&mut data, 1), 1, |_, rows| rows.data.fill(1)));
    assert_eq!((forks(&steps), data), (3, vec![1; 64]));
    // Nothing is left of the pretence.
    with_threads(2, || assert_eq!(threads(), 2));
}

#[test]
fn pieces_are_timed_where_they_run() {
    let wait = |milliseconds| std::thread::sleep(std::time::Duration::from_millis(milliseconds));
    let steps = trace(2, || {
        wait(10);
        join(|| wait(20), || join(|| wait(30), || wait(40)));
        wait(50);
    });
    let [Step::Work(first), Step::Fork(a, b), Step::Work(last)] = &steps[..] else { panic!("{steps:?}") };
    let [Step::Work(a)] = a[..] else { panic!("{a:?}") };
    let [Step::Work(_), Step::Fork(c, d), Step::Work(_)] = &b[..] else { panic!("{b:?}") };
    let ([Step::Work(c)], [Step::Work(d)]) = (&c[..], &d[..]) else { panic!("{b:?}") };
    // A busy machine can only make them longer.
    for (seconds, least) in [(*first, 0.01), (a, 0.02), (*c, 0.03), (*d, 0.04), (*last, 0.05)] {
        assert!(seconds >= least, "{steps:?}");
    }
}

/// Trees of pieces of whole seconds, so that sums are exact.
fn any_steps() -> impl Strategy<Value = Steps> {
    let leaf = (0..100u8).prop_map(|seconds| vec![Step::Work(f64::from(seconds))]);
    leaf.prop_recursive(5, 64, 4, |inner| {
        let part = prop_oneof![
            inner.clone().prop_map(|mut steps| steps.pop().expect("never empty")),
            (inner.clone(), inner).prop_map(|(a, b)| Step::Fork(a, b)),
        ];
        prop::collection::vec(part, 1..4)
    })
}

proptest! {
    /// One thread takes the sum; more never less than the span or a share of the sum, and never more than one, as work is
    /// never waited for by all.
    #[test]
    fn bounds(steps in any_steps(), threads in 2..9usize) {
        let (work, span) = (work(&steps), span(&steps));
        prop_assert_eq!(simulate(&steps, 1, 3.0), Simulated { seconds: work, hand_overs: 0 });
        let Simulated { seconds, hand_overs } = simulate(&steps, threads, 0.0);
        prop_assert!(seconds <= work && seconds >= span.max(work / threads as f64), "{seconds} of {work}, {span}");
        prop_assert!(hand_overs > 0 || seconds == work);
    }
}
