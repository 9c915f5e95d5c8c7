//! Attacks on a running program: killed at any moment, interrupted, started twice, with a full disk, a
//! damaged state, a directory that disappears, weights that are not numbers. Each ends in one clear error
//! and a directory from which `--resume` gives the bytes of a run that was never disturbed.
#![cfg(unix)]

#[path = "common/runs.rs"]
mod runs;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use instructgpt::checkpoint::checksum::renew;
use instructgpt::checkpoint::{load_latest_state, load_model_directory};
use instructgpt::num::rng::{Purpose, Rng, Stage};
use runs::{Files, assert_same, config_file, files};
use tempfile::TempDir;

/// An undisturbed run, made by the program itself, and how long it took.
static REFERENCE: LazyLock<(TempDir, Files, Duration)> = LazyLock::new(|| {
    let out = tempfile::tempdir().unwrap();
    let started = Instant::now();
    let output = run(out.path(), &[]).output().unwrap();
    assert!(output.status.success(), "{}", words(&output));
    let files = files(out.path());
    (out, files, started.elapsed())
});

fn reference() -> &'static Files {
    &REFERENCE.1
}

/// `instructgpt run configs/tiny.toml --out OUT ...`
fn run(out: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_instructgpt"));
    command.arg("run").arg(config_file()).arg("--out").arg(out).args(["--threads", "1"]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Asserts one clear error with that exit code and those words, and returns what was said.
fn assert_refused(output: &Output, code: i32, expected: &[&str]) -> String {
    let said = words(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(!said.contains("panicked") && said.matches("error: ").count() == 1, "{said}");
    for word in expected {
        assert!(said.contains(word), "{word:?} in: {said}");
    }
    said
}

/// Goes on to the end and compares.
fn assert_resumes(out: &Path, what: &str) -> String {
    let output = run(out, &["--resume"]).output().unwrap();
    assert!(output.status.success(), "{what}: {}", words(&output));
    assert_same(&files(out), reference(), &[], what);
    words(&output)
}

/// Asserts that whatever lies in a run directory is whole: models load, logs hold whole lines, nothing
/// temporary is left.
fn assert_whole(out: &Path) {
    if !out.exists() {
        return;
    }
    for name in files(out).keys() {
        assert!(!name.ends_with(".tmp"), "{name}");
        if name.ends_with("config.json") {
            load_model_directory(out.join(name).parent().unwrap()).unwrap();
        }
        if name.ends_with(".jsonl") {
            let text = fs::read_to_string(out.join(name)).unwrap();
            assert!(text.is_empty() || text.ends_with('\n'), "{name}");
        }
    }
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", child.id())).status().unwrap();
    assert!(status.success());
}

/// Waits until `ready`; fails if the process ends first.
fn wait_until(child: &mut Child, what: &str, ready: impl Fn() -> bool) {
    for _ in 0..60_000 {
        if ready() {
            return;
        }
        assert!(child.try_wait().unwrap().is_none(), "the run ended before {what}");
        sleep(Duration::from_millis(1));
    }
    panic!("{what} never came");
}

/// Waits until `metrics.jsonl` holds a line of that stage and step.
fn wait_for_step(child: &mut Child, out: &Path, stage: &str, step: u64) {
    let line = format!("{{\"stage\":\"{stage}\",\"step\":{step},");
    let path = out.join("metrics.jsonl");
    let read = || fs::read_to_string(&path).is_ok_and(|text| text.contains(&line));
    wait_until(child, &line, read);
}

/// Waits until the process has said that on standard error, or has ended.
fn wait_for_words(child: &mut Child, expected: &str) {
    let mut said = BufReader::new(child.stderr.as_mut().unwrap());
    let mut line = String::new();
    while !line.contains(expected) {
        line.clear();
        if said.read_line(&mut line).unwrap() == 0 {
            return;
        }
    }
}

/// Kills runs at random times until one gets through, again and again, until `enough(kills, elapsed)`.
fn kill_at_random(seed: u64, enough: impl Fn(usize, Duration) -> bool) {
    let mut rng = Rng::at(seed, Stage::Test, Purpose::Test, 0, 0, 0);
    // A life long enough to get somewhere, short enough for several kills per run.
    let longest = (REFERENCE.2.as_millis() as usize / 3).max(100);
    let (started, mut kills, mut runs) = (Instant::now(), 0, 0);
    while !enough(kills, started.elapsed()) {
        let out = tempfile::tempdir().unwrap();
        loop {
            let mut child = run(out.path(), &["--resume"]).stderr(Stdio::null()).spawn().unwrap();
            sleep(Duration::from_millis(rng.below(longest) as u64));
            if enough(kills, started.elapsed()) {
                // Time is up: the last one may finish.
                assert!(child.wait().unwrap().success());
            }
            if let Some(status) = child.try_wait().unwrap() {
                assert!(status.success(), "after {kills} kills: {status}");
                break;
            }
            child.kill().unwrap();
            child.wait().unwrap();
            kills += 1;
        }
        runs += 1;
        assert_same(&files(out.path()), reference(), &[], &format!("run {runs}, {kills} kills in all"));
    }
    println!("{kills} kills in {runs} runs, all with the same bytes");
}

#[test]
fn killed_at_random_times() {
    kill_at_random(1, |kills, elapsed| kills >= 30 || elapsed > Duration::from_secs(25));
}

#[test]
#[ignore = "takes minutes"]
fn killed_a_hundred_times_and_more() {
    kill_at_random(2, |kills, _| kills >= 150);
}

#[test]
fn ctrl_c_finishes_the_step_and_saves() {
    for (stage, step) in [("pretrain", 2), ("sft", 3), ("reward_model", 1), ("ppo", 2)] {
        let out = tempfile::tempdir().unwrap();
        let mut child = run(out.path(), &[]).spawn().unwrap();
        wait_for_step(&mut child, out.path(), stage, step);
        signal(&child, "INT");
        let said = assert_refused(&child.wait_with_output().unwrap(), 1, &["interrupted", "--resume"]);
        assert!(said.contains("once more stops at once"), "{said}");
        assert_whole(out.path());
        let said = assert_resumes(out.path(), &format!("interrupted in {stage}"));
        assert!(said.contains("going on after step") || stage != "pretrain", "{said}");
    }
}

/// Steps of a second or so, to be caught in the middle of one.
const LONG_STEPS: [&str; 2] = ["--set", "pretrain.batch=1500"];

/// Before there is any state, and with one: what was done of the step is lost, and nothing else.
#[test]
fn a_second_ctrl_c_stops_at_once_and_the_run_goes_on_from_there() {
    let sets = [&LONG_STEPS[..], &["--set", "pretrain.steps=2", "--set", "checkpoint_every=1"]].concat();
    let undisturbed = tempfile::tempdir().unwrap();
    assert!(run(undisturbed.path(), &sets).output().unwrap().status.success());
    for steps in [0, 1] {
        // Interrupted between two steps, a run stops with what it has: then another one is tried.
        let caught = (0..20).find_map(|_| {
            let out = tempfile::tempdir().unwrap();
            let mut child = run(out.path(), &sets).spawn().unwrap();
            wait_until(&mut child, "the step", || {
                out.path().join("metrics.jsonl").exists() && states(out.path(), "pretrain").len() == steps
            });
            // Well into the next step.
            sleep(Duration::from_millis(50));
            signal(&child, "INT");
            wait_for_words(&mut child, "once more stops at once");
            signal(&child, "INT");
            let output = child.wait_with_output().unwrap();
            (output.status.code() != Some(1)).then_some((out, output))
        });
        let (out, output) = caught.expect("a step in which it was interrupted");
        assert_eq!(output.status.code(), Some(130), "{}", words(&output));
        let metrics = fs::read_to_string(out.path().join("metrics.jsonl")).unwrap();
        assert_eq!(metrics.lines().count(), steps, "{metrics}");
        assert_whole(out.path());
        let output = run(out.path(), &[&sets[..], &["--resume"]].concat()).output().unwrap();
        assert!(output.status.success(), "{}", words(&output));
        assert_eq!(words(&output).contains("going on after step 1"), steps == 1);
        let what = format!("stopped at once after {steps} steps");
        assert_same(&files(out.path()), &files(undisturbed.path()), &[], &what);
    }
}

#[test]
fn a_second_run_in_the_directory_is_refused_until_the_first_is_gone() {
    let out = tempfile::tempdir().unwrap();
    let mut first = run(out.path(), &LONG_STEPS).spawn().unwrap();
    wait_until(&mut first, "the first stage", || out.path().join("metrics.jsonl").exists());
    let holder = format!("process {}", first.id());
    for arguments in [&[][..], &["--resume"], &["--stage", "sft"]] {
        let second = run(out.path(), arguments).output().unwrap();
        assert_refused(&second, 1, &["run.lock", &holder]);
    }
    first.kill().unwrap();
    first.wait().unwrap();
    // The lock file is still there, and nobody holds it.
    assert!(out.path().join("run.lock").exists());
    assert_refused(&run(out.path(), &[]).output().unwrap(), 2, &["--resume"]);
    assert_refused(&run(out.path(), &["--resume"]).output().unwrap(), 2, &["another", "config.toml"]);
    fs::remove_dir_all(out.path().join("state")).ok();
    for begun in ["config.toml", "run.json"] {
        fs::remove_file(out.path().join(begun)).unwrap();
    }
    assert_resumes(out.path(), "a lock file left by a killed run");
}

/// The states of a stage, oldest first.
fn states(out: &Path, stage: &str) -> Vec<PathBuf> {
    let directory = out.join("state").join(stage);
    let mut states: Vec<PathBuf> =
        fs::read_dir(directory).map_or(vec![], |d| d.map(|entry| entry.unwrap().path()).collect());
    // Not what is being written.
    states.retain(|path| path.extension().is_some_and(|extension| extension == "safetensors"));
    states.sort();
    states
}

#[test]
fn a_damaged_state_is_named_and_the_one_before_used() {
    for damage in 0..3 {
        let out = tempfile::tempdir().unwrap();
        let mut child = run(out.path(), &[]).spawn().unwrap();
        wait_for_step(&mut child, out.path(), "ppo", 5);
        signal(&child, "INT");
        child.wait().unwrap();
        let found = states(out.path(), "ppo");
        if found.len() < 2 {
            // The signal came after the stage's end; the next attempt differs in time only.
            continue;
        }
        let newest = found.last().unwrap();
        let mut bytes = fs::read(newest).unwrap();
        match damage {
            0 => bytes.truncate(bytes.len() / 2),
            1 => bytes.clear(),
            _ => {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
            }
        }
        fs::write(newest, bytes).unwrap();
        let said = assert_resumes(out.path(), "a damaged state");
        let name = newest.file_name().unwrap().to_str().unwrap();
        assert!(said.contains("passed over a damaged state") && said.contains(name), "{said}");
    }
}

#[test]
fn without_any_good_state_nothing_is_touched() {
    let out = tempfile::tempdir().unwrap();
    let mut child = run(out.path(), &[]).spawn().unwrap();
    wait_for_step(&mut child, out.path(), "pretrain", 5);
    signal(&child, "INT");
    child.wait().unwrap();
    let found = states(out.path(), "pretrain");
    assert!(!found.is_empty());
    for state in &found {
        fs::write(state, "no state").unwrap();
    }
    let before = files(out.path());
    let name = found.last().unwrap().file_name().unwrap().to_str().unwrap();
    assert_refused(&run(out.path(), &["--resume"]).output().unwrap(), 1, &[name, "hint"]);
    assert_same(&files(out.path()), &before, &[], "refused");
    // Giving the states up starts the stage over.
    fs::remove_dir_all(out.path().join("state")).unwrap();
    assert_resumes(out.path(), "without its states");
}

/// Whatever a run goes on from is refused by name once it was altered; what it only writes is written again.
#[test]
fn an_altered_record_of_the_run_is_named() {
    let out = tempfile::tempdir().unwrap();
    let mut child = run(out.path(), &[]).spawn().unwrap();
    wait_for_step(&mut child, out.path(), "ppo_ptx", 2);
    signal(&child, "INT");
    child.wait().unwrap();
    for name in ["config.toml", "metrics.jsonl", "run.json", "reward_model/model.safetensors"] {
        let path = out.path().join(name);
        let good = fs::read(&path).unwrap();
        let mut altered = good.clone();
        // Of the configuration, what it sets: its comments are the program's.
        let set = good.windows(8).position(|bytes| bytes == b"\nseed = ").map(|at| at + 8);
        altered[set.filter(|_| name == "config.toml").unwrap_or(good.len() / 3)] ^= 1;
        for wrong in [&altered[..], &good[..good.len() / 3], b""] {
            fs::write(&path, wrong).unwrap();
            let before = files(out.path());
            let output = run(out.path(), &["--resume"]).output().unwrap();
            assert_refused(&output, if name == "config.toml" { 2 } else { 1 }, &[name]);
            assert_same(&files(out.path()), &before, &[], name);
        }
        fs::remove_file(&path).unwrap();
        if ["config.toml", "metrics.jsonl"].contains(&name) {
            assert_refused(&run(out.path(), &["--resume"]).output().unwrap(), 1, &[name]);
        }
        fs::write(&path, good).unwrap();
    }
    fs::write(out.path().join("results.json"), "{}").unwrap();
    assert_resumes(out.path(), "with altered results");
}

/// The comparisons are read once: by the stage that learns from them.
#[test]
fn altered_comparisons_are_named() {
    let out = tempfile::tempdir().unwrap();
    for stage in ["pretrain", "sft", "collect"] {
        assert!(run(out.path(), &["--stage", stage]).output().unwrap().status.success(), "{stage}");
    }
    let path = out.path().join("comparisons.jsonl");
    let good = fs::read(&path).unwrap();
    let mut altered = good.clone();
    altered[good.len() / 3] ^= 1;
    for wrong in [&altered[..], &good[..good.len() / 2], b""] {
        fs::write(&path, wrong).unwrap();
        let output = run(out.path(), &["--resume"]).output().unwrap();
        assert_refused(&output, 1, &["comparisons.jsonl", "checksum"]);
    }
    fs::write(&path, good).unwrap();
    assert_resumes(out.path(), "with the comparisons as they were");
}

/// The same command, unable to write files larger than so many of the shell's blocks (512 or 1024 bytes).
fn limited(command: &Command, blocks: usize) -> Command {
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
    let mut limited = Command::new("sh");
    limited.arg("-c").arg(script).arg("sh").arg(command.get_program()).args(command.get_args());
    limited
}

#[test]
fn a_full_disk_is_one_error_and_nothing_half_written() {
    // Too small for the configuration, the tokenizer, a model, a state, PPO's state.
    let mut failures = 0;
    for blocks in [2, 40, 150, 400, 800, 1200] {
        let out = tempfile::tempdir().unwrap();
        let whole = run(out.path(), &[]);
        let output = limited(&whole, blocks).output().unwrap();
        if !output.status.success() {
            assert_refused(&output, 1, &["cannot write"]);
            failures += 1;
        }
        assert_whole(out.path());
        assert_resumes(out.path(), &format!("a disk full at {blocks} blocks"));
    }
    assert!(failures >= 4, "{failures} of 6 limits were met");
}

#[test]
fn a_full_disk_leaves_whole_lines() {
    // Here the first file to grow too large is the log.
    let out = tempfile::tempdir().unwrap();
    let sets = ["checkpoint_every=0", "pretrain.steps=800", "pretrain.batch=1", "pretrain.eval_every=0"];
    let mut whole = run(out.path(), &[]);
    whole.args(sets.iter().flat_map(|set| ["--set", set]));
    assert_refused(&limited(&whole, 40).output().unwrap(), 1, &["metrics.jsonl: cannot write"]);
    assert_whole(out.path());
    assert!(whole.arg("--resume").output().unwrap().status.success());
}

#[test]
fn a_directory_that_may_not_be_written_is_one_error() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().unwrap();
    // A file where the directory, or the one above it, should be: nobody can write there, root included.
    let file = parent.path().join("file");
    fs::write(&file, "").unwrap();
    for out in [file.clone(), file.join("run")] {
        assert_refused(&run(&out, &[]).output().unwrap(), 1, &[out.to_str().unwrap()]);
    }
    // A directory that is there and takes no files from anyone.
    if Path::new("/proc/self").exists() {
        assert_refused(&run(Path::new("/proc/self"), &[]).output().unwrap(), 1, &["/proc/self/run.lock"]);
        assert_refused(&run(Path::new("/proc/run"), &[]).output().unwrap(), 1, &["/proc/run"]);
    }
    // Permissions hold back everyone but root.
    let out = parent.path().join("run");
    fs::create_dir(&out).unwrap();
    fs::set_permissions(&out, fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(out.join("probe"), "").is_ok() {
        println!("permissions: skipped, as this user may write anywhere");
        return;
    }
    assert_refused(&run(&out, &[]).output().unwrap(), 1, &[out.to_str().unwrap()]);
    fs::set_permissions(&out, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(files(&out).is_empty());
}

#[test]
fn a_directory_removed_while_running_is_not_made_again() {
    for (stage, step) in [("pretrain", 3), ("sft", 8), ("ppo", 1)] {
        let parent = tempfile::tempdir().unwrap();
        let out = parent.path().join("run");
        let mut child = run(&out, &[]).spawn().unwrap();
        wait_for_step(&mut child, &out, stage, step);
        // The run may be making a file in it right now.
        while out.exists() {
            let _ = fs::remove_dir_all(&out);
        }
        assert_refused(&child.wait_with_output().unwrap(), 1, &[out.to_str().unwrap()]);
        assert!(!out.join("config.toml").exists() && !out.join("results.json").exists(), "{stage}");
    }
}

/// A copy of the undisturbed run's pretrained model in which a number of `tensor` is not finite.
fn broken_model(tensor: &str, value: f32) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let from = REFERENCE.0.path().join("pretrain");
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, directory.path().join(path.file_name().unwrap())).unwrap();
    }
    let weights = directory.path().join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let json: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    let offset = 8 + header + json[tensor]["data_offsets"][0].as_u64().unwrap() as usize;
    bytes[offset + 4..offset + 8].copy_from_slice(&value.to_le_bytes());
    renew(&mut bytes);
    fs::write(weights, bytes).unwrap();
    directory
}

#[test]
fn weights_that_are_not_finite_are_refused_by_name() {
    for (tensor, value, key) in [
        ("transformer.ln_f.weight", f32::NAN, "pretrain.init_from"),
        ("transformer.wte.weight", f32::INFINITY, "sft.init_from"),
    ] {
        let model = broken_model(tensor, value);
        let out = tempfile::tempdir().unwrap();
        let set = format!("{key}={}", model.path().display());
        let output = run(out.path(), &["--set", &set]).output().unwrap();
        assert_refused(&output, 1, &[tensor, "model.safetensors", &value.to_string()]);
        assert!(!out.path().join("sft").exists());
        assert_whole(out.path());
    }
}

#[test]
fn training_that_leaves_the_numbers_stops_and_keeps_the_last_state() {
    let cases = [
        ("pretrain", "pretrain.learning_rate=1e38"),
        ("sft", "sft.learning_rate=1e38"),
        ("reward_model", "reward_model.learning_rate=1e38"),
        ("rlhf_init", "rlhf_init.learning_rate=1e38"),
        ("ppo", "ppo.learning_rate=1e38"),
        ("ppo", "ppo.value_learning_rate=1e38"),
    ];
    for (stage, set) in cases {
        let out = tempfile::tempdir().unwrap();
        let sets = ["--set", set, "--set", "checkpoint_every=1"];
        let output = run(out.path(), &sets).output().unwrap();
        let said = assert_refused(&output, 1, &[&format!("{stage}: step "), "hint"]);
        let error = said[said.find("error: ").unwrap()..].to_string();
        assert_whole(out.path());
        if let Some(saved) = load_latest_state(&out.path().join("state").join(stage)).unwrap() {
            let mut numbers = saved.state.buffers.values().flatten();
            assert!(numbers.all(|number| number.is_finite()), "{stage}: the state after step {}", saved.step);
        }
        // The model of the stage is not there; the last state is, and leads to the same place.
        let name = if stage == "ppo" { "policy_without_ptx" } else { stage };
        assert!(!out.path().join(name).join("config.json").exists());
        let again = run(out.path(), &[&sets[..], &["--resume"]].concat()).output().unwrap();
        let said = assert_refused(&again, 1, &[error.trim_end()]);
        assert!(states(out.path(), stage).is_empty() || said.contains("going on after step"), "{said}");
    }
}

#[test]
fn what_is_wrong_with_the_data_leaves_no_run_behind() {
    let data = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(data.path().join(name), text).unwrap();
    write("empty.jsonl", "");
    write("one.jsonl", "{\"prompt\":\"p\",\"responses\":[\"a\"],\"ranks\":[1]}\n");
    write("tied.jsonl", "{\"prompt\":\"p\",\"responses\":[\"a\",\"b\"],\"ranks\":[1,1]}\n");
    write("good.jsonl", "{\"prompt\":\"p\",\"response\":\"r\"}\n{\"prompt\":\"q\",\"response\":\"r\"}\n");
    write("torn.jsonl", "{\"prompt\":\"p\",\"response\":\"r\"}\n{\"prompt\":\"q\",\"resp");
    write("held.jsonl", "{\"prompt\":\"p\",\"responses\":[\"a\",\"b\"],\"ranks\":[1,2],\"set\":\"test\"}\n");
    let text = "once upon a time there was a text ".repeat(50);
    write("text.txt", &text);
    let cases: &[(&[&str], i32, &str)] = &[
        (&["data.demonstrations=[\"none.jsonl\"]"], 1, "none.jsonl"),
        (&["data.demonstrations=[\"empty.jsonl\"]"], 1, "empty.jsonl"),
        (&["data.demonstrations=[\"torn.jsonl\"]"], 1, "line 2"),
        (&["data.comparisons=[\"one.jsonl\"]"], 1, "one.jsonl"),
        (&["data.comparisons=[\"tied.jsonl\"]"], 1, "tied.jsonl"),
        (&["data.pretraining=[\"text.txt\"]", "tokenizer.from=nowhere"], 2, "nowhere"),
        (&[], 2, "data"),
        (&["data.demonstrations=[\"good.jsonl\"]"], 2, "data.pretraining"),
        (&["data.demonstrations=[\"good.jsonl\"]"], 2, "data.comparisons"),
        (&["data.demonstrations=[\"good.jsonl\"]", "data.pretraining=[\"text.txt\"]"], 2, "data.comparisons"),
        (
            &[
                "data.demonstrations=[\"good.jsonl\"]",
                "data.pretraining=[\"text.txt\"]",
                "data.comparisons=[\"held.jsonl\"]",
            ],
            2,
            "none of the comparisons: 0 train, 0 validation, 1 test",
        ),
        (&["data.world=true", "ppo.max_prompt_tokens=1"], 2, "data.prompts"),
        (&["data.world=true", "data.validation_fraction=0.5"], 2, "data.test_fraction"),
        (&["data.world=true", "pretrain.init_from=nowhere"], 2, "nowhere"),
        (&["data.world=true", "collect.models=[\"nowhere\"]"], 2, "collect.models"),
        (&["sft.epoch=3"], 2, "sft.epochs"),
        (&["reward_model.epochs=0"], 2, "sft.select"),
    ];
    for (sets, code, word) in cases {
        let out = tempfile::tempdir().unwrap();
        let mut command = run(&out.path().join("run"), &["--set", "data.world=false"]);
        command.arg("--data").arg(data.path());
        for set in *sets {
            command.args(["--set", set]);
        }
        assert_refused(&command.output().unwrap(), *code, &[word]);
        let left = files(out.path());
        assert!(left.keys().all(|name| name == "run/run.lock"), "{sets:?}: {:?}", left.keys());
    }
}

#[test]
fn stages_one_by_one_give_the_run_and_keep_their_order() {
    let out = tempfile::tempdir().unwrap();
    assert_refused(&run(out.path(), &["--stage", "sft"]).output().unwrap(), 2, &["pretrain"]);
    // An interrupted stage comes first.
    let mut child = run(out.path(), &["--stage", "pretrain"]).spawn().unwrap();
    wait_for_step(&mut child, out.path(), "pretrain", 3);
    signal(&child, "INT");
    assert_refused(&child.wait_with_output().unwrap(), 1, &["interrupted"]);
    let with_model = format!("sft.init_from={}", REFERENCE.0.path().join("pretrain").display());
    let other = run(out.path(), &["--stage", "sft", "--set", &with_model]).output().unwrap();
    assert_refused(&other, 2, &["another", "config.toml"]);
    assert_refused(&run(out.path(), &["--stage", "evaluation"]).output().unwrap(), 2, &["pretrain first"]);
    for stage in ["pretrain", "sft", "reward_model", "rlhf_init", "ppo", "evaluation", "evaluation"] {
        let output = run(out.path(), &["--stage", stage]).output().unwrap();
        assert!(output.status.success(), "{stage}: {}", words(&output));
    }
    assert_resumes(out.path(), "one stage at a time");
}
