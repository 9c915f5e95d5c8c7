//! Long use: PPO for 20,000 updates (`make soak`), and for a few in `make test`. After the first steps the
//! program needs no more memory and holds no more files than before, and its metrics can be read all the while.
#![cfg(target_os = "linux")]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Updates of an iteration: minibatches times inner epochs, as set in [`start`].
const UPDATES: usize = 8;

/// A run whose PPO makes that many iterations.
fn start(out: &Path, iterations: usize) -> Child {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/tiny.toml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_instructgpt"));
    command.arg("run").arg(config).arg("--out").arg(out);
    let episodes = format!("ppo.episodes={}", 8 * iterations);
    let sets =
        ["ppo.batch=8", "ppo.minibatches=2", "ppo.inner_epochs=4", "ppo.also_without_ptx=false", &episodes];
    // Everything that happens now and then happens often. A small rate, so that the policy stays one.
    let often =
        ["ppo.eval_every=4", "checkpoint_every=4", "ppo.learning_rate=1e-6", "ppo.value_learning_rate=1e-5"];
    command.args(sets.iter().chain(&often).flat_map(|set| ["--set", *set]));
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Resident memory in KiB and open files of a process that runs.
fn sample(process: &Child) -> (usize, usize) {
    let folder = format!("/proc/{}", process.id());
    let status = fs::read_to_string(format!("{folder}/status")).unwrap();
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let files = fs::read_dir(format!("{folder}/fd")).unwrap().count();
    (memory.trim().trim_end_matches(" kB").parse().unwrap(), files)
}

/// PPO's iterations in `metrics.jsonl`, every whole line of which must be JSON.
fn iterations(out: &Path) -> usize {
    let Ok(text) = fs::read_to_string(out.join("metrics.jsonl")) else { return 0 };
    assert!(text.is_empty() || text.ends_with('\n'), "a torn line");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["stage"] == "ppo_ptx").count()
}

/// Runs PPO and looks at it every `pause`; after the `settled`-th iteration nothing may grow.
fn soak(total: usize, settled: usize, pause: Duration) {
    let out = tempfile::tempdir().unwrap();
    let mut process = start(out.path(), total);
    let started = Instant::now();
    let mut samples: Vec<(usize, usize, usize)> = Vec::new();
    while process.try_wait().unwrap().is_none() {
        let done = iterations(out.path());
        // The last stage, evaluation, has plans of its own.
        if (settled..total).contains(&done) {
            let (memory, files) = sample(&process);
            samples.push((done, memory, files));
        }
        sleep(pause);
    }
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(iterations(out.path()), total);

    let [first, last] = [samples.first(), samples.last()].map(|sample| *sample.expect("a sample"));
    let most = samples.iter().map(|sample| sample.1).max().unwrap();
    println!(
        "{} updates in {:.0} s, {} samples; resident memory {} KiB after {} updates, {} KiB after {}, most {most} KiB; \
         open files {} and {}",
        total * UPDATES,
        started.elapsed().as_secs_f64(),
        samples.len(),
        first.1,
        first.0 * UPDATES,
        last.1,
        last.0 * UPDATES,
        first.2,
        last.2,
    );
    assert!(last.0 > first.0, "too short to tell");
    // What the allocator keeps back varies by some pages; a leak of 100 bytes an update would show in the soak.
    assert!(most <= first.1 + 2048, "memory grew from {} to {most} KiB: {samples:?}", first.1);
    let files = samples.iter().map(|sample| sample.2).max().unwrap();
    // One more while a state is being written.
    assert!(files <= first.2 + 1, "open files grew from {} to {files}", first.2);
}

#[test]
fn some_iterations_need_no_more_than_the_first() {
    soak(50, 10, Duration::from_millis(20));
}

#[test]
#[ignore = "takes the better part of an hour"]
fn twenty_thousand_updates_need_no_more_than_the_first() {
    soak(20_000 / UPDATES, 20, Duration::from_secs(2));
}
