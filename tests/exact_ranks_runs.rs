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
fn ranks_that_were_given_other_things_do_not_begin() {
    let place = tempfile::tempdir().unwrap();
    let texts = ["the cat sat on the mat<|endoftext|>", "the hat sat on the mat<|endoftext|>"];
    let roots = [0, 0, 1].map(|which| {
        let root = place.path().join(which.to_string());
        fs::create_dir_all(&root).unwrap();
        fs::write(root.join("text.txt"), texts[which].repeat(100)).unwrap();
        root
    });
    let changes = ["data.world=false", "data.pretraining=[\"text.txt\"]", "tokenizer.vocab_size=260"];
    let only_pretraining = ["sft.epochs=0", "reward_model.epochs=0", "ppo.episodes=0", "rlhf_init.epochs=0"];
    let settings = tiny(&[&changes[..], &only_pretraining].concat());
    let other = tiny(&[&changes[..], &only_pretraining, &["pretrain.batch=5"]].concat());
    let out = place.path().join("out");
    let go = |settings: [&Settings; 3], roots: [&Path; 3]| {
        Threads::run(3, |ranks| {
            let (settings, root, stop) =
                (settings[ranks.rank()], roots[ranks.rank()], AtomicBool::new(false));
            let go = || pipeline::stages_among(ranks, settings, root, &out, false, None, &mut Silent, &stop);
            with_threads(1, go).map(drop)
        })
    };
    let [ours, _, theirs] = &roots;
    for (ends, expected) in [
        (
            go([&settings; 3], [ours, ours, theirs]),
            "an input of rank 2, on this machine: expected text.txt of CRC-64",
        ),
        (
            go([&settings, &other, &settings], [ours; 3]),
            "the configuration of rank 1, on this machine: expected batch = 4, as rank 0 has",
        ),
    ] {
        let said = ends[0].as_ref().unwrap_err().to_string();
        assert!(said.contains(expected), "{said}");
        assert_eq!(ends[1..], [Err(Error::Elsewhere), Err(Error::Elsewhere)]);
        assert!(!out.join("config.toml").exists(), "a run was begun");
    }
    assert_eq!(go([&settings; 3], [ours; 3]), [Ok(()), Ok(()), Ok(())]);
    let timings = fs::read_to_string(out.join("timings.jsonl")).unwrap();
    let timing: serde_json::Value = serde_json::from_str(timings.lines().next().unwrap()).unwrap();
    assert_eq!((&timing["stage"], &timing["ranks"]), (&"pretrain".into(), &3.into()));
    let waited = timing["waited"].as_array().unwrap();
    let is_share = |share: &serde_json::Value| (0.0..=1.0).contains(&share.as_f64().unwrap());
    assert!(waited.len() == 3 && waited.iter().all(is_share), "{timing}");
    // Ten updates, each of three or four micro-batches: as often the gradient is handed on, and once more at the end.
    // (Of the table of tokens only some rows are.)
    let gradient = fs::metadata(out.join("pretrain/model.safetensors")).unwrap().len();
    let sent = timing["sent_bytes"].as_u64().unwrap();
    assert!((10 * 3 * gradient..10 * 6 * gradient).contains(&sent), "{sent} bytes for {gradient}");
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
