//! From nothing to a run: `init`, `run --plan`, `run`, and `run --resume` of what is finished.

#[path = "common/tiny.rs"]
mod tiny;

use std::fs;
use std::path::{Path, PathBuf};

use tiny::{Outcome, instructgpt};

/// Names below a folder, sorted.
fn listing(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

fn succeeded(outcome: &Outcome) {
    assert_eq!(outcome.code, 0, "{outcome:?}");
}

/// What makes the configuration that `init` writes a matter of seconds.
const SMALL: [&str; 9] = [
    "world.documents=60",
    "world.demonstrations=32",
    "world.comparisons=12",
    "world.prompts=48",
    "pretrain.steps=4",
    "reward_model.batch=4",
    "ppo.episodes=16",
    "ppo.batch=8",
    "ppo.eval_prompts=8",
];

#[test]
fn init_then_plan_then_run_then_nothing_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (config, out) = (path("my/instructgpt.toml"), path("my/run"));

    // A configuration, which is never replaced.
    let outcome = instructgpt(&["init", &path("my")], "");
    succeeded(&outcome);
    assert_eq!(outcome.stdout, format!("{config}\n"));
    assert!(
        outcome.stderr.contains("miniature") && outcome.stderr.contains("instructgpt run"),
        "{outcome:?}"
    );
    let written = fs::read(&config).unwrap();
    let again = instructgpt(&["init", &path("my")], "");
    assert!(again.code == 2 && again.stderr.contains("instructgpt.toml"), "{again:?}");
    assert_eq!(fs::read(&config).unwrap(), written);

    // Its plan, on standard output; nothing is written.
    let sets: Vec<&str> = SMALL.iter().flat_map(|set| ["--set", *set]).collect();
    let plan = instructgpt(&[&["run", &config, "--plan"][..], &sets].concat(), "");
    succeeded(&plan);
    for part in ["plan:", "pretrain", "collect", "ppo_ptx", "evaluation", "in all at most ", "measured now: "]
    {
        assert!(plan.stdout.contains(part), "{part}: {plan:?}");
    }
    succeeded(&instructgpt(&[&["run", &config, "--plan", "--out", &out][..], &sets].concat(), ""));
    assert_eq!(listing(&folder.path().join("my")), [PathBuf::from(&config)]);

    // The run: its report's path alone on standard output; plan, progress and tables for people.
    let run = [&["run", &config, "--out", &out][..], &sets].concat();
    let outcome = instructgpt(&run, "");
    succeeded(&outcome);
    assert_eq!(outcome.stdout, format!("{out}/report.html\n"));
    let at = |part: &str| outcome.stderr.find(part).unwrap_or_else(|| panic!("{part}: {outcome:?}"));
    let order = [
        "reading the data",
        "plan:",
        "drawing the first weights",
        "pretrain: stage 1 of 8, 4 steps",
        "ppo_ptx: stage 7 of 8, 2 steps",
        "test prompts, 95 % intervals",
    ];
    assert!(order.map(at).is_sorted(), "{outcome:?}");
    assert!(!outcome.stderr.contains("already finished"));

    // Once more: there is nothing to do.
    let outcome = instructgpt(&[&run[..], &["--resume"]].concat(), "");
    succeeded(&outcome);
    assert_eq!(outcome.stdout, format!("{out}/report.html\n"));
    for part in ["already finished", "test prompts, 95 % intervals"] {
        assert!(outcome.stderr.contains(part), "{part}: {outcome:?}");
    }
    assert!(!outcome.stderr.contains("stage 1 of") && !outcome.stderr.contains("plan:"), "{outcome:?}");
    let plan = instructgpt(&[&run[..], &["--resume", "--plan"]].concat(), "");
    succeeded(&plan);
    assert_eq!(plan.stdout.lines().filter(|line| line.ends_with("done")).count(), 8, "{plan:?}");

    // A stage that is turned off is not passed over in silence.
    let off = [&run[..], &["--set", "sft.epochs=0", "--set", "sft.select=last", "--stage", "sft"]].concat();
    let other = path("other");
    let off: Vec<&str> =
        off.into_iter().map(|word| if word == out { other.as_str() } else { word }).collect();
    let outcome = instructgpt(&off, "");
    succeeded(&outcome);
    assert!(outcome.stderr.contains("the configuration turns this stage off"), "{outcome:?}");
}

#[test]
fn a_long_run_is_warned_about_before_it_starts() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("c.toml").display().to_string();
    // The paper's values but for the data: weeks on any machine that runs tests. Pretraining is short, so that PPO is
    // nearly all of it, however fast this machine is just now in the one and in the other.
    let data = "[data]\nworld = true\n[pretrain]\nsteps = 100\n[world]\n";
    let text = format!("{data}documents = 60\ndemonstrations = 32\ncomparisons = 12\nprompts = 48");
    fs::write(&config, text).unwrap();
    let plan = instructgpt(&["run", &config, "--plan"], "");
    succeeded(&plan);
    let warning = plan.stdout.lines().last().unwrap();
    assert!(warning.starts_with("warning: this run takes about "), "{plan:?}");
    assert!(warning.contains("half of ppo.episodes saves "), "{plan:?}");
    // One stage alone.
    let plan = instructgpt(&["run", &config, "--plan", "--stage", "sft"], "");
    succeeded(&plan);
    assert!(plan.stdout.contains("  sft") && !plan.stdout.contains("pretrain"), "{plan:?}");
}

#[test]
fn every_mistake_of_a_configuration_is_said_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (config, out) = (path("c.toml"), path("out"));
    fs::write(&config, "[ppo]\nkl_coeff = 1\nclip = \"x\"\nbatch = 0\n[model]\nheads = 5\n").unwrap();
    let outcome = instructgpt(&["run", &config, "--out", &out, "--set", "sft.dropout=1"], "");
    assert_eq!((outcome.code, outcome.stdout.as_str()), (2, ""), "{outcome:?}");
    let parts = [
        "5 mistakes",
        "line 2: ppo.kl_coeff",
        "line 3: ppo.clip",
        "line 4: ppo.batch",
        "line 6: model.heads",
        "--set sft.dropout",
    ];
    assert_eq!(outcome.stderr.lines().count(), parts.len(), "{outcome:?}");
    for (line, part) in outcome.stderr.lines().zip(parts) {
        assert!(line.contains(part), "{part}: {outcome:?}");
    }
    assert!(!Path::new(&out).exists());
}

#[test]
fn threads_beyond_what_cores_can_use_are_said_and_not_started() {
    let folder = tempfile::tempdir().unwrap();
    tiny::save(folder.path(), instructgpt::model::Head::LanguageModel);
    let model = folder.path().display().to_string();
    let ask = |threads: &str| {
        instructgpt(&["logprobs", "--model", &model, "--threads", threads], "{\"tokens\":[1,2,3]}")
    };
    let (few, many) = (ask("2"), ask("100000"));
    succeeded(&many);
    assert_eq!(many.stdout, few.stdout);
    assert!(few.stderr.is_empty() && many.stderr.contains("--threads 100000: "), "{many:?}");
}
