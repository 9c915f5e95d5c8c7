//! Whole runs by several ranks leave the files of a run by one, to the byte, and so does a run that goes from one number
//! of ranks to another.

#[path = "common/runs.rs"]
mod runs;

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use instructgpt::app::pipeline;
use instructgpt::error::{Error, Result};
use instructgpt::num::par::with_threads;
use instructgpt::ranks::Threads;
use instructgpt::run::progress::{Progress, Silent};
use instructgpt::settings::Settings;
use runs::{StopAfter, assert_same, files, tiny, whole_run};

/// Runs (or goes on with) all stages in `out` by so many ranks; what each of them returned. The last of them is asked to
/// stop after some steps, if that is said.
fn go(settings: &Settings, out: &Path, ranks: usize, stop_after: Option<usize>) -> Vec<Result<()>> {
    let resume = out.join("config.toml").exists();
    Threads::run(ranks, |ranks| {
        let stop = AtomicBool::new(false);
        let mut stops = StopAfter::new(stop_after.unwrap_or(usize::MAX), &stop);
        let mut silent = Silent;
        let last = ranks.rank() + 1 == ranks.size();
        let progress: &mut (dyn Progress + Send) = if last { &mut stops } else { &mut silent };
        with_threads(1, || {
            let root = Path::new(".");
            pipeline::stages_among(ranks, settings, root, out, resume, None, progress, &stop).map(drop)
        })
    })
}

#[test]
fn a_run_by_any_number_of_ranks() {
    let settings = tiny(&[]);
    let expected = whole_run(&settings, 2);
    for ranks in [2, 3, 8] {
        let out = tempfile::tempdir().unwrap();
        assert_eq!(go(&settings, out.path(), ranks, None), vec![Ok(()); ranks]);
        assert_same(&files(out.path()), &expected, &[], &format!("{ranks} ranks"));
    }
}

#[test]
fn a_run_in_bf16_with_its_sft_epoch_chosen_by_reward_that_goes_from_one_number_of_ranks_to_another() {
    let settings = tiny(&["precision=bf16", "sft.select=reward", "sft.epochs=2", "checkpoint_every=2"]);
    let expected = whole_run(&settings, 2);
    let out = tempfile::tempdir().unwrap();
    let mut stopped = 0;
    for ranks in [3, 1, 2, 5, 4].into_iter().cycle() {
        let ends = go(&settings, out.path(), ranks, Some(7));
        if ends[0].is_ok() {
            break;
        }
        assert!(ends.iter().all(|end| matches!(end, Err(Error::Interrupted { .. }))), "{ends:?}");
        stopped += 1;
    }
    assert!(stopped > 5, "{stopped} times");
    assert_same(&files(out.path()), &expected, &[], "stopped and resumed");
}

#[test]
fn what_the_first_rank_cannot_do_ends_all() {
    let settings = tiny(&[]);
    let out = tempfile::tempdir().unwrap();
    fs::write(out.path().join("config.toml"), "seed = 1\n").unwrap();
    let ends = go(&settings, out.path(), 3, None);
    assert!(matches!(&ends[0], Err(Error::Usage { field, .. }) if field == "--resume"), "{ends:?}");
    assert_eq!(ends[1..], [Err(Error::Elsewhere), Err(Error::Elsewhere)]);
}
