//! The paper's experiments at a scale of seconds: that they go on after a stop and end in the same bytes, that a figure
//! alone trains only what it needs, and (at a scale of half a minute) that the paper's order appears.

#[path = "common/runs.rs"]
mod runs;
#[path = "common/tiny.rs"]
mod tiny;

use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::AtomicBool;

use instructgpt::error::{Error, Result};
use instructgpt::num::par::with_threads;
use instructgpt::report::figures::{Effect, Figures};
use instructgpt::reproduce::scale::{Scale, Size};
use instructgpt::reproduce::{chosen, reproduce};
use instructgpt::run::progress::{Progress, Silent};
use runs::{Files, StopAfter, assert_same, files};

/// Every stage in a second or so: it shows that everything runs, and nothing else.
fn plumbing() -> Scale {
    let mut base =
        runs::tiny(&["ppo.episodes=16", "reward_model.epochs=1", "world.comparisons=8", "model.context=160"]);
    base.checkpoint_every = 2;
    let size = |name, width, rate| Size { name, width, layers: 1, heads: 2, rate };
    Scale {
        base,
        sizes: [size("s", 8, 2.0), size("m", 16, 1.0), size("l", 24, 0.5)],
        closed: 3,
        shots: 2,
        probes: 4,
        prefixes: 2,
        prefix_prompts: 4,
        gammas: vec![0.5, 2.0],
        betas: vec![0.01, 0.5],
    }
}

fn draw(
    scale: &Scale,
    names: &[&str],
    seeds: &[u64],
    out: &Path,
    progress: &mut dyn Progress,
    stop: &AtomicBool,
) -> Result<Figures> {
    let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
    with_threads(2, || reproduce(scale, &chosen(&names, names.is_empty())?, seeds, out, progress, stop))
}

/// The headline of the plumbing, undisturbed.
static REFERENCE: LazyLock<Files> = LazyLock::new(|| {
    let out = tempfile::tempdir().unwrap();
    draw(&plumbing(), &[], &[3], out.path(), &mut Silent, &AtomicBool::new(false)).unwrap();
    repeating(out.path())
});

/// What must repeat: all but clocks and locks, wherever they lie.
fn repeating(out: &Path) -> Files {
    let mut found = files(out);
    found.retain(|name, _| !name.ends_with("timings.jsonl") && !name.ends_with("run.lock"));
    found
}

#[test]
fn stopped_again_and_again_it_ends_in_the_same_bytes() {
    let out = tempfile::tempdir().unwrap();
    let mut stops = 0;
    loop {
        let stop = AtomicBool::new(false);
        let mut progress = StopAfter::new(37, &stop);
        match draw(&plumbing(), &[], &[3], out.path(), &mut progress, &stop) {
            Err(Error::Interrupted { .. }) => stops += 1,
            done => break drop(done.unwrap()),
        }
    }
    assert!(stops >= 3, "{stops} stops");
    assert_same(&repeating(out.path()), &REFERENCE, &[], "stopped and started again");
    let figures =
        Figures::parse(std::str::from_utf8(&REFERENCE["figures.json"]).unwrap(), "figures.json").unwrap();
    assert!(figures.verdicts.len() >= 8 && figures.charts.len() >= 8);
    assert!(figures.verdicts.iter().all(|verdict| verdict.ours.is_some()), "{:?}", figures.verdicts);
}

#[test]
fn a_figure_alone_trains_what_it_needs_and_shares_it() {
    let out = tempfile::tempdir().unwrap();
    let scale = plumbing();
    let go = |names: &[&str]| {
        let stop = AtomicBool::new(false);
        let mut progress = StopAfter::new(usize::MAX, &stop);
        draw(&scale, names, &[3], out.path(), &mut progress, &stop).unwrap();
        let stages: std::collections::BTreeSet<String> =
            progress.seen.iter().map(|seen| seen.rsplit_once(' ').unwrap().0.to_string()).collect();
        stages
    };
    let first = go(&["bias"]);
    assert!(first.contains("seed-3/m pretrain") && first.contains("seed-3/l ppo_ptx"), "{first:?}");
    // It asks no model for answers, and the reward model's accuracy is not its matter.
    assert!(!out.path().join("seed-3/answers/m-policy.jsonl").exists());
    let again = go(&["bias"]);
    assert!(again.is_empty(), "what is there is not trained again: {again:?}");
    let more = go(&["figure-4"]);
    assert!(more.is_empty(), "{more:?}");
}
