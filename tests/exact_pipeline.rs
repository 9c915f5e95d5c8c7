//! The whole pipeline gives the same bytes whatever cannot matter: threads, micro-batches, a second run,
//! and being interrupted after any step or at any moment. No tolerance anywhere.

#[path = "common/runs.rs"]
mod runs;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

use instructgpt::app::pipeline;
use instructgpt::data::Side;
use instructgpt::error::Error;
use instructgpt::num::par::with_threads;
use instructgpt::num::rng::{Purpose, Rng, Stage};
use instructgpt::report::{episode, measures, record};
use instructgpt::run::progress::{Progress, Silent};
use instructgpt::train::dataset::Dataset;
use runs::{Files, QUOTING, StopAfter, assert_same, files, go, tiny, whole_run};

/// What every other run must equal.
static REFERENCE: LazyLock<Files> = LazyLock::new(|| whole_run(&tiny(&[]), 1));

#[test]
fn every_stage_leaves_its_files() {
    for stage in ["pretrain", "sft", "reward_model", "rlhf_init", "policy", "policy_without_ptx"] {
        for file in ["config.json", "model.safetensors", "vocab.json", "merges.txt", "tokenizer.json"] {
            assert!(REFERENCE.contains_key(&format!("{stage}/{file}")), "{stage}/{file}");
        }
    }
    for file in ["config.toml", "metrics.jsonl", "results.json", "comparisons.jsonl", "samples.jsonl"] {
        assert!(REFERENCE.contains_key(file), "{file}");
    }
    for file in ["report.html", "run.json", "episode_ppo.jsonl", "episode_ppo_ptx.jsonl"] {
        assert!(REFERENCE.contains_key(file), "{file}");
    }
    let left = REFERENCE.keys().find(|name| name.starts_with("state/") || name.starts_with("sft_epochs/"));
    assert_eq!(left, None, "what only an interrupted run needs is gone");
}

/// The report calls everything that the stages write by a name that people know.
#[test]
fn every_measure_has_a_name() {
    let text = String::from_utf8(REFERENCE["metrics.jsonl"].clone()).unwrap();
    for stage in record::metrics(&text, "metrics.jsonl").unwrap() {
        for series in stage.series {
            assert!(measures::chart_of(&series.name).is_some(), "{}: {}", stage.name, series.name);
        }
    }
}

/// What is shown of an episode hangs together: the score at its end, rewards minus the coefficient times KL.
#[test]
fn an_episode_is_what_ppo_makes_of_it() {
    let text = String::from_utf8(REFERENCE["episode_ppo.jsonl"].clone()).unwrap();
    let episode = episode::episode(&text, "episode").unwrap();
    assert!(!episode.tokens.is_empty());
    let mut sum = 0.0;
    for token in &episode.tokens {
        let [own, reference, kl, _, reward, _] = token.numbers.map(|number| number.unwrap_or(0.0));
        assert_eq!((own - reference) as f32, kl as f32);
        sum += reward + episode.kl_coef * kl;
    }
    assert!((sum - episode.score).abs() < 1e-5, "{sum} {}", episode.score);
}

/// The hashes that `make determinism` finds in every build; where `sha256sum` is, here as well.
#[test]
fn the_run_has_the_known_hashes() {
    let run = tempfile::tempdir().unwrap();
    for (name, bytes) in REFERENCE.iter() {
        let path = run.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let known = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tiny_run.sha256");
    assert_eq!(fs::read_to_string(&known).unwrap().lines().count(), 10);
    let check =
        Command::new("sha256sum").args(["--check", "--strict"]).arg(known).current_dir(run.path()).output();
    let Ok(check) = check else { return println!("skipped: no sha256sum") };
    let said = String::from_utf8_lossy(&check.stdout);
    let hint =
        "a definition was changed? then `sh tests/determinism.sh bless`, and say so in the release notes";
    assert!(check.status.success(), "{said}\n{hint}");
}

#[test]
fn threads_and_a_second_run_change_no_byte() {
    for threads in [1, 2, 3] {
        assert_same(&whole_run(&tiny(&[]), threads), &REFERENCE, &[], &format!("{threads} threads"));
    }
}

#[test]
fn micro_batches_change_no_byte() {
    // One sequence at a time (the least that is planned is the context); a few; everything at once.
    for tokens in [1, 300, 100_000] {
        let settings = tiny(&[&format!("micro_batch_tokens={tokens}")]);
        let what = format!("micro-batches of {tokens} tokens");
        assert_same(&whole_run(&settings, 2), &REFERENCE, &QUOTING, &what);
    }
}

#[test]
fn in_bf16_neither_threads_nor_micro_batches_change_a_byte() {
    let settings = |changes: &[&str]| tiny(&[&["precision=bf16"], changes].concat());
    let reference = whole_run(&settings(&[]), 1);
    assert_same(&whole_run(&settings(&[]), 3), &reference, &[], "3 threads");
    let few = whole_run(&settings(&["micro_batch_tokens=300"]), 2);
    assert_same(&few, &reference, &QUOTING, "micro-batches of 300 tokens");
    for (name, bytes) in REFERENCE.iter().filter(|(name, _)| name.ends_with(".safetensors")) {
        assert_ne!(*bytes, reference[name], "{name}");
    }
    assert!(String::from_utf8_lossy(&reference["policy/config.json"]).contains("\"precision\": \"bf16\""));
}

#[test]
fn another_seed_changes_every_model() {
    let other = whole_run(&tiny(&["seed=2"]), 2);
    for (name, bytes) in REFERENCE.iter().filter(|(name, _)| name.ends_with(".safetensors")) {
        assert_ne!(*bytes, other[name], "{name}");
    }
}

/// By default the SFT model writes what is compared; named, it writes the same, and with another others.
#[test]
fn the_models_that_are_named_write_the_comparisons() {
    let comparisons = |models: &str| {
        let sets = [&format!("collect.models={models}"), "ppo.episodes=0", "sft.select=last"];
        whole_run(&tiny(&sets), 2)["comparisons.jsonl"].clone()
    };
    let by_sft = comparisons("[\"sft\"]");
    assert_eq!(by_sft, REFERENCE["comparisons.jsonl"]);
    let by_both = comparisons("[\"sft\", \"pretrain\"]");
    assert_ne!(by_both, by_sft);
    // In turns: the first response is still the SFT model's, the second is not.
    let responses = |bytes: &[u8]| -> Vec<serde_json::Value> {
        let lines = String::from_utf8(bytes.to_vec()).unwrap();
        lines
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["response_tokens"].clone())
            .collect()
    };
    let (one, two) = (responses(&by_sft), responses(&by_both));
    assert!(one.iter().zip(&two).all(|(one, two)| one[0] == two[0]));
    assert!(one.iter().zip(&two).any(|(one, two)| one[1] != two[1]));
    assert_ne!(comparisons("[\"pretrain\"]"), by_sft);
}

/// A second round, as docs/program.md has it: from the first one's pretrained model, with its policy among the writers.
#[test]
fn a_second_round_compares_what_the_first_ones_policy_says() {
    let (folder, stop) = (tempfile::tempdir().unwrap(), AtomicBool::new(false));
    for (name, bytes) in REFERENCE.iter().filter(|(name, _)| name.contains('/')) {
        let path = folder.path().join("first").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let models = "collect.models=[\"sft\", \"sft\", \"first/policy\"]";
    let settings = tiny(&[models, "pretrain.init_from=first/pretrain", "pretrain.steps=0"]);
    let out = folder.path().join("second");
    pipeline::stages(&settings, folder.path(), &out, false, None, &mut Silent, &stop).unwrap();
    let second = files(&out);
    let init = "rlhf_init/model.safetensors";
    assert_eq!(second[init], REFERENCE[init], "it does not depend on comparisons");
    assert_ne!(second["reward_model/model.safetensors"], REFERENCE["reward_model/model.safetensors"]);
    assert_ne!(second["policy/model.safetensors"], REFERENCE["policy/model.safetensors"]);
    // Of each prompt's responses only every third is another.
    let responses = |files: &Files| -> Vec<serde_json::Value> {
        let text = String::from_utf8(files["comparisons.jsonl"].clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let mut others = 0;
    for (one, two) in responses(&REFERENCE).iter().zip(&responses(&second)) {
        let [one, two] = [one, two].map(|line| line["response_tokens"].as_array().unwrap());
        assert_eq!(one.len(), two.len());
        for (j, (one, two)) in one.iter().zip(two).enumerate().filter(|(_, (one, two))| one != two) {
            assert_eq!(j % 3, 2, "{one} {two}");
            others += 1;
        }
    }
    assert!(others > 0);
}

#[test]
fn stopped_after_every_single_step() {
    let settings = tiny(&[]);
    let out = tempfile::tempdir().unwrap();
    let mut seen: Vec<String> = Vec::new();
    // Collect, selection and evaluation save no state and start over: there, each attempt goes one step further.
    let mut longer = 0;
    loop {
        let stop = AtomicBool::new(false);
        let mut progress = StopAfter::new(1 + longer, &stop);
        let result = with_threads(2, || go(&settings, out.path(), &mut progress, &stop));
        longer = if progress.seen.iter().any(|step| seen.contains(step)) { longer + 1 } else { 0 };
        seen.append(&mut progress.seen);
        match result {
            Ok(()) => break,
            Err(Error::Interrupted { .. }) => assert!(seen.len() < 200, "no end: {seen:?}"),
            Err(other) => panic!("{other}"),
        }
    }
    let metrics = String::from_utf8(REFERENCE["metrics.jsonl"].clone()).unwrap();
    for line in metrics.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let step = format!("{} {}", line["stage"].as_str().unwrap(), line["step"]);
        assert!(seen.contains(&step), "{step} among {seen:?}");
    }
    assert_same(&files(out.path()), &REFERENCE, &[], "stopped after every step");
}

/// Asks to stop as soon as a part of the run begins.
struct StopAt<'a> {
    part: &'a str,
    stop: &'a AtomicBool,
    steps: usize,
}

impl Progress for StopAt<'_> {
    fn stage(&mut self, name: &str, _: u64) {
        if name == self.part {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
    fn step(&mut self, _: u64, _: &str) {
        self.steps += usize::from(self.stop.load(Ordering::Relaxed));
    }
    fn note(&mut self, _: &str) {}
    fn finish(&mut self) {}
}

/// The parts that sample before their first step: they stop at once, and start over.
#[test]
fn stopped_while_sampling() {
    let settings = tiny(&[]);
    let out = tempfile::tempdir().unwrap();
    for part in ["collect", "sft_selection", "evaluation"] {
        let stop = AtomicBool::new(false);
        let mut progress = StopAt { part, stop: &stop, steps: 0 };
        let result = with_threads(2, || go(&settings, out.path(), &mut progress, &stop));
        assert!(matches!(result, Err(Error::Interrupted { .. })), "{part}: {result:?}");
        assert_eq!(progress.steps, 0, "{part} goes on");
    }
    with_threads(2, || go(&settings, out.path(), &mut Silent, &AtomicBool::new(false))).unwrap();
    assert_same(&files(out.path()), &REFERENCE, &[], "stopped while sampling");
}

/// Ends the run as a kill would, without saving anything: by unwinding from a call of the progress display.
struct KillAfter {
    calls: usize,
}

impl KillAfter {
    fn tick(&mut self) {
        if self.calls == 0 {
            // Unlike `panic!`, this prints nothing.
            resume_unwind(Box::new("killed"));
        }
        self.calls -= 1;
    }
}

impl Progress for KillAfter {
    fn stage(&mut self, _: &str, _: u64) {
        self.tick();
    }
    fn step(&mut self, _: u64, _: &str) {
        self.tick();
    }
    fn note(&mut self, _: &str) {
        self.tick();
    }
    fn finish(&mut self) {
        self.tick();
    }
}

#[test]
fn killed_again_and_again() {
    let settings = tiny(&[]);
    let stop = AtomicBool::new(false);
    let mut rng = Rng::at(1, Stage::Test, Purpose::Test, 0, 0, 0);
    let out = tempfile::tempdir().unwrap();
    let mut kills = 0;
    loop {
        // Up to 16 calls: the stages without states (collect, selection, evaluation) must get through.
        let mut progress = KillAfter { calls: rng.below(16) };
        match catch_unwind(AssertUnwindSafe(|| {
            with_threads(2, || go(&settings, out.path(), &mut progress, &stop))
        })) {
            Ok(result) => {
                result.unwrap();
                break;
            }
            Err(_) => kills += 1,
        }
        assert!(kills < 300, "no end");
    }
    assert!(kills > 8, "{kills} kills");
    assert_same(&files(out.path()), &REFERENCE, &[], &format!("killed {kills} times"));
}

#[test]
fn what_a_kill_at_the_end_of_a_stage_leaves_is_cleared() {
    let settings = tiny(&[]);
    let out = tempfile::tempdir().unwrap();
    with_threads(2, || go(&settings, out.path(), &mut Silent, &AtomicBool::new(false))).unwrap();
    // Between a stage's entry in run.json and the removal of what only the unfinished stage needed; and in
    // the middle of writing a file.
    for left in [
        "state/sft/state-00000008.safetensors",
        "sft_epochs/epoch-01/config.json",
        "sft/.config.json.77-3.tmp",
    ] {
        let path = out.path().join(left);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "left").unwrap();
    }
    with_threads(2, || go(&settings, out.path(), &mut Silent, &AtomicBool::new(false))).unwrap();
    assert_same(&files(out.path()), &REFERENCE, &[], "with leftovers");
}

/// What is tested is neither trained on nor chosen by: another test changes no model and no metric. What is reported
/// looks at the test alone: another validation changes no answer and no accuracy, where it chooses nothing.
#[test]
fn validation_chooses_and_the_test_reports() {
    let other_test = whole_run(&tiny(&["data.test_fraction=0.6"]), 2);
    let reports =
        ["results.json", "report.html", "run.json", "config.toml", "samples.jsonl", "comparisons.jsonl"];
    assert_same(&other_test, &REFERENCE, &reports, "another test");
    let results =
        |files: &Files| serde_json::from_slice::<serde_json::Value>(&files["results.json"]).unwrap();
    let (of_other, of_reference) = (results(&other_test), results(&REFERENCE));
    assert_eq!(of_other["sft_selection"], of_reference["sft_selection"]);
    assert_ne!(of_other["pretrain"]["test_loss"], of_reference["pretrain"]["test_loss"]);

    let last = ["sft.select=\"last\"", "data.test_fraction=0.1"];
    let [one, other] = ["0.1", "0.7"].map(|fraction| {
        let validation = format!("data.validation_fraction={fraction}");
        whole_run(&tiny(&[last[0], last[1], &validation]), 2)
    });
    assert_ne!(one["metrics.jsonl"], other["metrics.jsonl"]);
    assert_eq!(one["samples.jsonl"], other["samples.jsonl"]);
    assert_eq!(results(&one)["reward_model"], results(&other)["reward_model"]);

    // The samples are answers to prompts of the test, and the file of comparisons names its sides.
    let settings = tiny(&[]);
    let data = Dataset::load(&settings, Path::new(".")).unwrap();
    let text = |prompt: &Vec<u32>| data.tokenizer.decode_lossy(prompt);
    let lines = |name: &str| -> Vec<serde_json::Value> {
        let lines = std::str::from_utf8(&REFERENCE[name]).unwrap().lines();
        lines.map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let tested: Vec<String> = data.prompts.test.iter().map(text).collect();
    let samples = lines("samples.jsonl");
    assert!(
        samples.len() == settings.ppo.eval_prompts
            && samples.iter().all(|line| tested.contains(&line["prompt"].as_str().unwrap().into()))
    );
    for side in Side::ALL {
        let ranked: Vec<String> = data.ranking_prompts.of(side).iter().map(text).collect();
        let named = lines("comparisons.jsonl").into_iter().filter(|line| line["set"] == side.name());
        let named: Vec<String> = named.map(|line| line["prompt"].as_str().unwrap().to_string()).collect();
        assert_eq!(named, ranked, "{side:?}");
    }
}
