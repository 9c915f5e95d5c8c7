//! What a run reads, looked at before it starts and whenever it goes on: models that do not fit together, inputs that
//! have changed, settings that do nothing. Each is refused by name, or noted.

#[path = "common/runs.rs"]
mod runs;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use instructgpt::checkpoint::{load_tokenizer, save_model_directory};
use instructgpt::engine::Cpu;
use instructgpt::model::{Head, Network};
use instructgpt::text::Tokenizer;
use instructgpt::train::dataset::Dataset;
use runs::{config_file, files, tiny};
use tempfile::TempDir;

fn run(config: &Path, out: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_instructgpt"));
    command.arg("run").arg(config).arg("--out").arg(out).args(["--threads", "1"]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn succeeds(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", words(&output));
    words(&output)
}

/// Asserts exit code 2 and one error with these words.
#[track_caller]
fn refused(mut command: Command, expected: &[&str]) {
    let output = command.output().unwrap();
    let said = words(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(!said.contains("panicked") && said.matches("error: ").count() == 1, "{said}");
    for word in expected {
        assert!(said.contains(word), "{word:?} in: {said}");
    }
}

/// The tiny run's tokenizer.
static TOKENIZER: LazyLock<Tokenizer> =
    LazyLock::new(|| Dataset::load(&tiny(&[]), Path::new(".")).unwrap().tokenizer);

/// A model of the tiny run's shape and tokenizer, or of another context, vocabulary or tokenizer.
fn model(directory: &Path, head: Head, context: usize, vocabulary: usize, tokenizer: &Tokenizer) -> PathBuf {
    let mut config = tiny(&[]).model.config(vocabulary, Default::default());
    config.context = context;
    let network = Network::random(Cpu, config, head, 1);
    let path = directory.join(format!("{head:?}-{context}-{vocabulary}-{}", tokenizer.vocab_size()));
    save_model_directory(&path, &network, Some(tokenizer), &[]).unwrap();
    path
}

#[test]
fn models_that_do_not_fit_are_refused_before_the_first_stage() {
    let directory = tempfile::tempdir().unwrap();
    let (tokenizer, size) = (&*TOKENIZER, TOKENIZER.vocab_size());
    let make = |head, context| model(directory.path(), head, context, size, tokenizer);
    let [good, short] = [96, 40].map(|context| make(Head::LanguageModel, context));
    let [good_reward, short_reward] = [96, 40].map(|context| make(Head::Scalar, context));
    let other = model(directory.path(), Head::Scalar, 96, size, &Tokenizer::train(["a b a b"], 512).unwrap());
    let larger = model(directory.path(), Head::LanguageModel, 96, size + 7, tokenizer);
    let smaller = model(directory.path(), Head::LanguageModel, 96, size - 1, tokenizer);
    let long = make(Head::LanguageModel, 200);
    for (key, from, parts) in [
        ("pretrain.init_from", &short, &["a context of at least", "found 40"][..]),
        ("sft.init_from", &short, &["for the longest demonstration", "found 40"]),
        ("sft.reward_model_from", &short_reward, &["a context of at least", "found 40"]),
        ("reward_model.init_from", &short, &["a context of at least", "found 40"]),
        ("rlhf_init.init_from", &short, &["a context of at least", "found 40"]),
        (
            "ppo.reward_model_from",
            &short_reward,
            &["a context of at least", "reads prompts with their responses"],
        ),
        ("ppo.reference_from", &short, &["as the reference reads", "found 40"]),
        // Heads.
        ("sft.init_from", &good_reward, &["expected a language model, found a reward model"]),
        ("ppo.reward_model_from", &good, &["expected a reward model, found a language model"]),
        ("ppo.reference_from", &good_reward, &["expected a language model"]),
        ("collect.models", &good_reward, &["expected a language model"]),
        // Tokens.
        ("ppo.reward_model_from", &other, &["expected", "tokenizer"]),
        ("ppo.reference_from", &larger, &["the reference needs the policy's vocabulary"]),
        ("ppo.init_from", &smaller, &["at least the tokenizer's"]),
        // Nothing there.
        ("ppo.value_init_from", &directory.path().join("nowhere"), &["a model directory", "nowhere"]),
        ("collect.models", &directory.path().join("nowhere"), &["a model directory", "nowhere"]),
        ("tokenizer.from", &directory.path().join("nowhere"), &["a model directory", "nowhere"]),
    ] {
        let out = tempfile::tempdir().unwrap();
        let from = from.display().to_string();
        let set = if key == "collect.models" { format!("{key}=[{from:?}]") } else { format!("{key}={from}") };
        let said: Vec<&str> = [key].into_iter().chain(parts.iter().copied()).collect();
        refused(run(&config_file(), &out.path().join("run"), &["--set", &set]), &said);
        let left = files(&out.path().join("run"));
        assert!(left.is_empty(), "{key}: {:?}", left.keys());
    }
    // The other way round: who writes more than others can read.
    let out = tempfile::tempdir().unwrap();
    let sets =
        ["--set", &format!("ppo.init_from={}", long.display()), "--set", "ppo.max_response_tokens=150"];
    refused(run(&config_file(), out.path(), &sets), &["reads prompts with their responses", "found 96"]);
    // A value function of a small context has prompts left out; what is left is read whole.
    let value = format!("ppo.value_init_from={}", short.display());
    refused(run(&config_file(), out.path(), &["--set", &value]), &["ppo.value_init_from", "found 40"]);
    // And one stage alone.
    refused(
        run(
            &config_file(),
            out.path(),
            &["--stage", "sft", "--set", &value, "--set", &format!("sft.init_from={}", short.display())],
        ),
        &["sft.init_from", "found 40"],
    );
}

/// A run on files: a text and demonstrations, in a folder of their own.
struct OnFiles {
    folder: TempDir,
}

impl OnFiles {
    fn new() -> Self {
        let files = OnFiles { folder: tempfile::tempdir().unwrap() };
        let demonstration = |i| format!("{{\"prompt\":\"say {i}\",\"response\":\"the {i} is here\"}}\n");
        files.write("d.jsonl", &(0..40).map(demonstration).collect::<String>());
        files.write("t.txt", &"the cat sat on the mat and the dog sat on the cat. ".repeat(60));
        files.write(
            "c.toml",
            "[model]\ncontext = 32\nwidth = 16\nlayers = 1\nheads = 2\n[tokenizer]\nvocab_size = 280\n\
             [data]\npretraining = [\"t.txt\"]\ndemonstrations = [\"d.jsonl\"]\nmax_prompt_tokens = 16\n\
             max_response_tokens = 16\n[pretrain]\nsteps = 3\nwarmup_steps = 1\nbatch = 2\n\
             learning_rate = 1e-2\n[sft]\nepochs = 1\n\
             select = \"last\"\n[reward_model]\nepochs = 0\n[ppo]\nepisodes = 0\nmax_prompt_tokens = 16\n\
             max_response_tokens = 16\n",
        );
        files
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap()
    }

    fn run(&self, out: &str, arguments: &[&str]) -> Command {
        run(&self.folder.path().join("c.toml"), &self.folder.path().join(out), arguments)
    }
}

#[test]
fn a_changed_input_is_refused_by_name_and_the_run_keeps_its_tokenizer() {
    let on = OnFiles::new();
    succeeds(on.run("out", &["--stage", "pretrain"]));
    let (demonstrations, text) = (on.read("d.jsonl"), on.read("t.txt"));
    let record = on.read("out/run.json");
    on.write("d.jsonl", &(demonstrations.clone() + "{\"prompt\":\"more\",\"response\":\"and more\"}\n"));
    for arguments in [&["--stage", "sft"][..], &["--resume"]] {
        refused(on.run("out", arguments), &["d.jsonl (an input of this run)", "the file it began with"]);
    }
    on.write("d.jsonl", &demonstrations);
    on.write("t.txt", &text.replace("dog", "cow"));
    refused(on.run("out", &["--resume"]), &["t.txt (an input of this run)"]);
    fs::remove_file(on.folder.path().join("t.txt")).unwrap();
    refused(on.run("out", &["--resume"]), &["t.txt (an input of this run)", "no such file"]);
    assert_eq!(on.read("out/run.json"), record, "what is refused writes nothing");
    on.write("t.txt", &text);

    // Data elsewhere is the same data if its files are.
    let moved = tempfile::tempdir().unwrap();
    for name in ["d.jsonl", "t.txt"] {
        fs::copy(on.folder.path().join(name), moved.path().join(name)).unwrap();
    }
    succeeds(on.run("out", &["--stage", "sft", "--data", moved.path().to_str().unwrap()]));
    assert_eq!(on.read("out/pretrain/merges.txt"), on.read("out/sft/merges.txt"));
    // The directory of a run made in one go is the same, but for the record's order of writing.
    succeeds(on.run("whole", &[]));
    assert_eq!(
        fs::read(on.folder.path().join("out/sft/model.safetensors")).unwrap(),
        fs::read(on.folder.path().join("whole/sft/model.safetensors")).unwrap()
    );
}

#[test]
fn the_tokenizer_of_a_run_is_its_own() {
    let on = OnFiles::new();
    succeeds(on.run("out", &["--stage", "pretrain"]));
    // A run of a version that kept no fingerprints, whose data have changed since.
    let mut record: serde_json::Value = serde_json::from_str(&on.read("out/run.json")).unwrap();
    record["inputs"] = serde_json::Value::Null;
    let mut bytes = serde_json::to_vec(&record).unwrap();
    instructgpt::checkpoint::checksum::renew(&mut bytes);
    fs::write(on.folder.path().join("out/run.json"), bytes).unwrap();
    on.write("d.jsonl", &on.read("d.jsonl").replace("here", "zoo"));
    let said = succeeds(on.run("out", &["--stage", "sft"]));
    assert!(said.contains("kept no fingerprints so far"), "{said}");
    assert_eq!(on.read("out/pretrain/merges.txt"), on.read("out/sft/merges.txt"));
}

#[test]
fn a_state_knows_the_inputs_too() {
    let on = OnFiles::new();
    let sets = ["--set", "checkpoint_every=1", "--set", "pretrain.steps=100000"];
    let mut child = on.run("out", &sets).spawn().unwrap();
    let states = on.folder.path().join("out/state/pretrain");
    while fs::read_dir(&states).map_or(0, |states| states.count()) < 2 {
        assert!(child.try_wait().unwrap().is_none(), "the run ended before it saved a state");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let text = on.read("t.txt");
    on.write("t.txt", &text.replace("dog", "cow"));
    refused(on.run("out", &[&sets[..], &["--resume"]].concat()), &["t.txt (an input of this run)"]);
    fs::remove_file(on.folder.path().join("out/run.json")).unwrap();
    refused(on.run("out", &[&sets[..], &["--resume"]].concat()), &["t.txt (an input of this run)"]);
}

#[test]
fn a_model_that_is_named_is_an_input_until_it_is_read() {
    let on = OnFiles::new();
    succeeds(on.run("first", &["--stage", "pretrain"]));
    let sets = ["--set", "pretrain.init_from=first/pretrain"];
    succeeds(on.run("out", &[&sets[..], &["--stage", "pretrain"]].concat()));
    let config = on.read("first/pretrain/config.json");
    on.write("first/pretrain/config.json", &(config.clone() + "\n"));
    let resumed = [&sets[..], &["--resume"]].concat();
    refused(on.run("out", &resumed), &["first/pretrain/config.json (an input of this run)"]);
    on.write("first/pretrain/config.json", &config);
    on.write("first/pretrain/added_tokens.json", "{}");
    refused(on.run("out", &resumed), &["first/pretrain/added_tokens.json (an input of this run)"]);
    // No stage to come needs it: its tokenizer is in the run by now.
    fs::remove_dir_all(on.folder.path().join("first")).unwrap();
    succeeds(on.run("out", &resumed));
    let tokenizer = load_tokenizer(&on.folder.path().join("out/sft")).unwrap().unwrap();
    assert_eq!(tokenizer.merges_txt(), on.read("out/pretrain/merges.txt"));
}

#[test]
fn what_is_left_over_or_set_in_vain_is_said() {
    let out = tempfile::tempdir().unwrap();
    let sets = ["ppo.episodes=15", "ppo.adaptive_kl=false", "sft.final_fraction=0.5", "ppo.ema=0.99"];
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    let said = succeeds(run(&config_file(), out.path(), &sets));
    assert!(said.contains("the 7 left over are not run"), "{said}");
    assert!(
        said.contains("ppo.kl_target, ppo.kl_horizon are set but not used, since ppo.adaptive_kl = false"),
        "{said}"
    );
    assert!(!said.contains("sft.final_fraction"), "that one is used: {said}");
    let results: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(out.path().join("results.json")).unwrap()).unwrap();
    let ppo = &results["ppo_ptx"];
    assert_eq!(
        (&ppo["episodes"], &ppo["iterations"], &ppo["episodes_left_over"]),
        (&8.into(), &1.into(), &7.into())
    );
    // The average of four updates, 0.99^4 = 0.96: said once, and left among the results.
    let hint = "warning: the averaged policy still holds 96 % of its start";
    assert_eq!(said.matches(&format!("ppo_ptx: {hint}")).count(), 1, "{said}");
    assert!(ppo["notes"][0].as_str().unwrap().starts_with(hint), "{ppo}");
    let none = tempfile::tempdir().unwrap();
    let wrong = run(&config_file(), &none.path().join("run"), &["--set", "ppo.episodes=7"]);
    refused(wrong, &["ppo.episodes: expected at least ppo.batch = 8, or 0 for no PPO, found 7"]);
    assert!(!none.path().join("run").exists());
}

#[test]
fn what_a_stage_will_not_do_is_said_before_it_starts() {
    let on = OnFiles::new();
    let sets = ["pretrain.warmup_steps=3", "sft.batch=64", "sft.learning_rate=0", "limits.loss_spike=9"];
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    let said = succeeds(on.run("out", &sets));
    let before = &said[..said.find("pretrain: stage 1").unwrap()];
    for note in [
        "the last of the 3 updates is within pretrain.warmup_steps = 3",
        "sft.batch = 64 is more than the",
        "sft.learning_rate = 0: the stage trains nothing",
        "limits.loss_spike binds from the 21st update on, and no stage has more than 3",
    ] {
        assert!(before.contains(note), "{note:?} in: {before}");
    }
    let said = succeeds(on.run("random", &["--set", "pretrain.steps=0"]));
    assert!(said.contains("pretrain.steps = 0 without pretrain.init_from"), "{said}");
    // The same configuration without them has nothing to say.
    let said = succeeds(on.run("quiet", &["--set", "sft.batch=4", "--set", "sft.learning_rate=1e-3"]));
    for word in ["is more than the", "trains nothing", "warmup", "limits.", "far below"] {
        assert!(!said.contains(word), "{word:?} in: {said}");
    }
    // GPT-3's rate for a model of width 16: the usual 2e-4 at 2048 would be 2.56e-2.
    let slow = ["--set", "pretrain.learning_rate=2e-3", "--set", "sft.batch=4"];
    let said = succeeds(on.run("slow", &slow));
    assert_eq!(said.matches("pretrain: pretrain.learning_rate = 2e-3 is far below").count(), 1, "{said}");
}

/// The configurations that come with the program set nothing in vain.
#[test]
fn shipped_configurations_have_no_unused_keys() {
    for entry in fs::read_dir(config_file().parent().unwrap()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let settings = instructgpt::app::config::load(&path, &[]).unwrap();
            assert_eq!(settings.unused(), [""; 0], "{}", path.display());
        }
    }
}
