//! The program with `--device cuda`, on a GPU or behind the test driver: the known hashes of the tiny run, a run that goes
//! from one device to the other, and what a user is told where a device, a library or memory is missing.

#[path = "common/cuda.rs"]
mod cuda;
#[path = "common/tiny.rs"]
mod tiny;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cuda::Device;
use instructgpt::model::Head;

/// The program with a device's libraries at hand.
fn program(device: &Device, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_instructgpt"));
    device.hand_to(&mut command);
    command.args(arguments).envs(environment.iter().copied()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn succeeds(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// Exit code, and all of these words in standard error; nothing of a panic.
fn fails(output: &Output, code: i32, words: &[&str]) {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(words.iter().all(|word| said.contains(word)), "{words:?} in\n{said}");
    assert!(!said.contains("panicked"), "{said}");
}

/// What the tiny run leaves, as bytes, in the order of `tests/tiny_run.sha256`.
fn files(run: &Path) -> Vec<(String, Vec<u8>)> {
    let known =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tiny_run.sha256")).unwrap();
    let name = |line: &str| line.split_whitespace().nth(1).unwrap().to_string();
    known.lines().map(name).map(|name| (name.clone(), fs::read(run.join(&name)).unwrap())).collect()
}

fn config() -> String {
    format!("{}/configs/tiny.toml", env!("CARGO_MANIFEST_DIR"))
}

/// The whole tiny run on the device; on the processor; and one of which every stage is another's than the one before.
/// `tests/determinism.sh` compares the processor's with the known hashes.
#[test]
fn a_run_leaves_the_same_bytes_on_any_device() {
    let Some(device) = cuda::device() else { return };
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str, more: &[&str]| {
        let out = folder.path().join(name);
        let (config, out_text) = (config(), out.display().to_string());
        let arguments = [&["run", config.as_str(), "--out", out_text.as_str()], more].concat();
        succeeds(&program(device, &arguments, &[]));
        out
    };
    let expected = files(&run("cpu", &[]));
    let on_device = run("cuda", &["--set", "device=cuda"]);
    let stages = ["pretrain", "sft", "collect", "reward_model", "rlhf_init", "ppo", "evaluation"];
    let mut mixed = PathBuf::new();
    for (stage, device) in stages.into_iter().zip(["cuda:0", "cpu"].into_iter().cycle()) {
        mixed = run("mixed", &["--device", device, "--stage", stage]);
    }
    for run in [on_device, mixed] {
        for ((name, found), (_, expected)) in files(&run).iter().zip(&expected) {
            assert!(found == expected, "{} differs in {name}", run.display());
        }
    }
    let timings = fs::read_to_string(folder.path().join("cuda/timings.jsonl")).unwrap();
    assert!(timings.lines().all(|line| line.contains("\"device\":\"cuda:0\"")), "{timings}");
}

/// A device that is lost in the middle of a stage: that is said, nothing of what it computed since is kept, and the run
/// goes on from the last state with the processor.
#[test]
fn a_run_on_a_device_that_is_lost_goes_on_with_another() {
    let Some(device @ Device::TestDriver(_)) = cuda::device() else { return };
    let folder = tempfile::tempdir().unwrap();
    let config = config();
    let run = |name: &str, more: &[&str], environment: &[(&str, &str)]| {
        let out = folder.path().join(name).display().to_string();
        let of_stage = ["--stage", "pretrain", "--set", "checkpoint_every=2"];
        let arguments = [&["run", config.as_str(), "--out", out.as_str()], &of_stage[..], more].concat();
        program(device, &arguments, environment)
    };
    succeeds(&run("whole", &[], &[]));
    let lost = run("parts", &["--device", "cuda"], &[("CUDA_TEST_LAUNCHES", "1000")]);
    fails(&lost, 1, &["expected a device that goes on working", "cuda:0 could not launch", "--resume"]);
    let states = fs::read_dir(folder.path().join("parts/state/pretrain")).unwrap().count();
    assert!(states > 0, "it was lost before the first state, or after the stage");
    let resumed = run("parts", &[], &[]);
    assert!(text(&resumed.stderr).contains("going on after step"), "{}", text(&resumed.stderr));
    succeeds(&resumed);
    let model = |run: &str| fs::read(folder.path().join(run).join("pretrain/model.safetensors")).unwrap();
    assert!(model("whole") == model("parts"));
}

/// Tensor cores: other bits than the definition's, the same each time, and the model says so.
#[test]
fn a_run_on_tensor_cores_repeats_and_says_what_it_is() {
    let Some(device) = cuda::device() else { return };
    let folder = tempfile::tempdir().unwrap();
    let config = config();
    let run = |name: &str, precision: &str| {
        let out = folder.path().join(name).display().to_string();
        let set = format!("precision={precision}");
        let arguments =
            ["run", &config, "--out", &out, "--device", "cuda", "--stage", "pretrain", "--set", &set];
        let output = program(device, &arguments, &[]);
        succeeds(&output);
        let read = |file: &str| fs::read(folder.path().join(name).join("pretrain").join(file)).unwrap();
        (text(&output.stderr), text(&read("config.json")), read("model.safetensors"))
    };
    let exact = run("f32", "f32");
    for precision in ["tf32", "bf16-fast"] {
        let (said, model_config, weights) = run(precision, precision);
        assert!(said.contains("has bits of its own"), "{said}");
        assert!(model_config.contains(&format!("\"precision\": \"{precision}\"")), "{model_config}");
        assert!(weights != exact.2, "{precision}: the exact bits");
        assert!(weights == run(&format!("{precision} again"), precision).2, "{precision} does not repeat");
    }
}

#[test]
fn commands_give_the_same_output_on_any_device() {
    let Some(device) = cuda::device() else { return };
    let folder = tempfile::tempdir().unwrap();
    tiny::save(&folder.path().join("lm"), Head::LanguageModel);
    tiny::save(&folder.path().join("rm"), Head::Scalar);
    let input = folder.path().join("in.jsonl");
    fs::write(&input, "{\"tokens\":[1,2,3,200,5]}\n{\"text\":\"the cat sat\"}\n").unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (lm, rm, input) = (path("lm"), path("rm"), path("in.jsonl"));
    let sample =
        ["sample", "--model", lm.as_str(), "--prompt", "the cat", "-n", "3", "--max-new-tokens", "9"];
    let cases: [&[&str]; 5] = [
        &sample,
        &[&sample[..], &["--temperature", "0"]].concat(),
        &[&sample[..], &["--top-k", "5"]].concat(),
        &["logprobs", "--model", &lm, "--input", &input],
        &["score", "--model", &rm, "--input", &input],
    ];
    for arguments in cases {
        let on = |name: &str| succeeds(&program(device, &[arguments, &["--device", name]].concat(), &[]));
        assert_eq!(on("cuda"), on("cpu"), "{arguments:?}");
    }
    let question = "{\"goal\":\"the cat\",\"sol1\":\"sat\",\"sol2\":\"the mat\",\"label\":0}\n";
    fs::write(path("piqa.jsonl"), question.repeat(3)).unwrap();
    fs::write(path("lambada.jsonl"), "{\"text\":\"the cat sat on the mat\"}\n".repeat(3)).unwrap();
    let article = "{\"article\":\"the cat sat on the mat\",\"highlights\":\"a cat\"}\n";
    fs::write(path("cnn_dailymail.jsonl"), article.repeat(3)).unwrap();
    let tasks = "piqa,lambada,cnn_dailymail";
    let evaluated = |name: &str| {
        let out = path(&format!("on {name}"));
        let arguments = ["evaluate", "--model", &lm, "--task", tasks, "--data", &path(""), "--out", &out];
        let table =
            succeeds(&program(device, &[&arguments[..], &["--device", name, "--shots", "1"]].concat(), &[]));
        let samples = tasks.split(',').map(|task| format!("samples_{task}_lm-eval.jsonl"));
        let files = samples.chain(["results_lm-eval.json".into()]);
        let text = |file: String| fs::read_to_string(Path::new(&out).join(file)).unwrap();
        (table, files.map(text).collect::<Vec<_>>())
    };
    assert_eq!(evaluated("cuda"), evaluated("cpu"));
    let doctor = succeeds(&program(device, &["doctor"], &[]));
    assert!(doctor.contains("cuda:0: same bits as the reference build: yes"), "{doctor}");
}

/// A plan is that of the device, and refuses what the device does not compute in.
#[test]
fn a_plan_is_made_for_the_device() {
    let Some(device) = cuda::device() else { return };
    let config = config();
    let plan = |more: &[&str]| program(device, &[&["run", &config, "--plan"], more].concat(), &[]);
    let said = succeeds(&plan(&["--device", "cuda", "--set", "precision=tf32"]));
    assert!(said.contains(" on cuda:0, in "), "{said}");
    let said = succeeds(&plan(&["--threads", "2"]));
    assert!(said.contains(" on 2 threads, in "), "{said}");
    fails(
        &plan(&["--set", "precision=tf32"]),
        2,
        &["precision: expected f32 or bf16 on the processor, found tf32"],
    );
}

#[test]
fn what_is_missing_is_said() {
    let Some(device) = cuda::device() else { return };
    let folder = tempfile::tempdir().unwrap();
    tiny::save(&folder.path().join("lm"), Head::LanguageModel);
    let lm = folder.path().join("lm").display().to_string();
    let sample = |device_name: &'static str| {
        vec!["sample", "--model", &lm, "--prompt", "the", "--device", device_name]
            .into_iter()
            .map(String::from)
            .collect::<Vec<_>>()
    };
    let run = |device: &Device, name, environment: &[(&str, &str)]| {
        let arguments = sample(name);
        program(device, &arguments.iter().map(String::as_str).collect::<Vec<_>>(), environment)
    };
    fails(&run(device, "cuda:77", &[]), 1, &["device: expected the device cuda:77, found", "doctor"]);
    fails(&run(device, "gpu", &[]), 2, &["expected cpu, cuda or cuda:N"]);
    let tokenize = ["tokenize", "--model", lm.as_str(), "--device", "cuda"];
    fails(&program(device, &tokenize, &[]), 2, &["--device: expected a command that computes"]);
    let plan = config();
    let set = ["run", plan.as_str(), "--plan", "--set", "device=gpu"];
    fails(&program(device, &set, &[]), 2, &["device", "expected cpu, cuda or cuda:N"]);
    let Device::TestDriver(libraries) = device else { return };
    // No driver; a driver without a device; one without NVRTC.
    let nowhere = Device::TestDriver(folder.path().join("nowhere"));
    let without_driver = run(&nowhere, "cuda", &[]);
    fails(&without_driver, 1, &["expected NVIDIA's driver, found no libcuda.so.1", "leave --device out"]);
    fails(&run(device, "cuda", &[("CUDA_TEST_DEVICES", "0")]), 1, &["the device cuda:0, found no device"]);
    let half = folder.path().join("half");
    fs::create_dir(&half).unwrap();
    fs::copy(libraries.join("libcuda.so"), half.join("libcuda.so")).unwrap();
    fails(&run(&Device::TestDriver(half), "cuda", &[]), 1, &["NVRTC", "no libnvrtc.so", "pip install"]);
}

#[test]
fn memory_that_is_not_there_is_said_before_or_as_it_is_missed() {
    let Some(device @ Device::TestDriver(_)) = cuda::device() else { return };
    let folder = tempfile::tempdir().unwrap();
    tiny::save(&folder.path().join("lm"), Head::LanguageModel);
    let lm = folder.path().join("lm").display().to_string();
    let little = [("CUDA_TEST_MEMORY", "50000")];
    let out = folder.path().join("run").display().to_string();
    let config = config();
    // A run plans its memory before its first step.
    let run = program(device, &["run", config.as_str(), "--out", out.as_str(), "--device", "cuda"], &little);
    fails(&run, 1 + 1, &["model: expected a size that fits into memory", "that cuda:0 has free"]);
    // A sampler takes it as it goes.
    let sample = ["sample", "--model", lm.as_str(), "--prompt", "the", "--device", "cuda"];
    fails(
        &program(device, &sample, &little),
        1,
        &["expected a device that goes on working", "cuda:0 could not"],
    );
}
