//! Several ranks under a launcher of MPI, as a user starts them: what is said, who says it, and what signals do. (That the
//! files are the same bytes, also after kills, is a row of `tests/determinism.sh`.)
//!
//! Skipped where there is no `mpirun.openmpi` or `mpiexec.mpich`.

#[path = "common/runs.rs"]
mod runs;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use runs::{Files, assert_same, files, tiny, whole_run};

const PROGRAM: &str = env!("CARGO_BIN_EXE_instructgpt");

/// The launchers that are there.
fn launchers() -> Vec<&'static str> {
    let is_there = |name: &&str| {
        let there = Command::new(name).arg("--version").output().is_ok();
        if !there {
            println!("{name}: skipped, as it is not installed");
        }
        there
    };
    ["mpirun.openmpi", "mpiexec.mpich"].into_iter().filter(is_there).collect()
}

/// The program on so many ranks; the launcher's process.
fn start(launcher: &str, ranks: usize, args: &[&str], variables: &[(&str, &str)]) -> Child {
    Command::new(launcher)
        .args(["-n", &ranks.to_string(), PROGRAM, "--threads", "1"])
        .args(args)
        // As root, and with more ranks than cores, Open MPI wants to be told.
        .env("OMPI_ALLOW_RUN_AS_ROOT", "1")
        .env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
        .env("OMPI_MCA_rmaps_base_oversubscribe", "1")
        .env("OMPI_MCA_mpi_yield_when_idle", "1")
        .env_remove("INSTRUCTGPT_MPI")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn ended(child: Child) -> (Output, String, String) {
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    (output, stdout, stderr)
}

#[test]
fn doctor_says_who_the_ranks_are_and_what_messages_take() {
    for launcher in launchers() {
        let (output, said, stderr) = ended(start(launcher, 2, &["doctor"], &[]));
        assert!(output.status.success(), "{launcher}: {stderr}");
        let interface = if launcher == "mpirun.openmpi" { "(Open MPI's" } else { "(MPICH's" };
        for part in [
            "ranks: 2, through libmpi",
            interface,
            ": 0, 1\n",
            " us to the next rank",
            " GB/s come in",
            "all ranks: same bits as the reference build: yes",
        ] {
            assert_eq!(said.matches(part).count(), 1, "{launcher}: {part} in\n{said}");
        }
        // The machine is described by one of them.
        assert_eq!(said.matches("threads: ").count(), 1, "{said}");
    }
}

#[test]
fn one_rank_says_what_is_wrong() {
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("out").display().to_string();
    let run = ["run", "configs/tiny.toml", "--out", &out];
    for launcher in launchers() {
        let wrong = [&run[..], &["--set", "model.width=x"]].concat();
        let write = ["verify", "--write", &out];
        let nothing = ("INSTRUCTGPT_MPI", "libnothing.so");
        for (args, variables, parts) in [
            (&wrong[..], &[][..], ["rank 0 of 3, on ", "model.width: expected a whole number"]),
            (&write, &[], ["expected one process, found 3 processes of MPI", "`run`, `demo` and `doctor`"]),
            (&run, &[nothing], ["libnothing.so: cannot open", "name the library in INSTRUCTGPT_MPI"]),
        ] {
            let begin = Instant::now();
            let (output, _, stderr) = ended(start(launcher, 3, args, variables));
            assert!(!output.status.success());
            // Ranks that have no library cannot know of each other, and MPICH's launcher does not end them.
            let several = if variables.is_empty() || launcher == "mpirun.openmpi" { 1 } else { 3 };
            for part in parts.iter().chain(&["error: "]) {
                let said = stderr.matches(part).count();
                assert!((1..=several).contains(&said), "{launcher}: {part} {said} times in\n{stderr}");
            }
            assert!(begin.elapsed() < Duration::from_secs(20), "the others went on");
            assert!(!Path::new(&out).exists());
        }
    }
}

/// What a launcher passes on stops all ranks after the same step, and others go on from there to the same bytes.
#[test]
fn signals_save_and_stop() {
    let settings = tiny(&["pretrain.steps=60"]);
    let expected: Files = whole_run(&settings, 1);
    for launcher in launchers() {
        for signal in ["-TERM", "-USR1", "-INT"] {
            let place = tempfile::tempdir().unwrap();
            let out = place.path().join("out");
            let path = out.display().to_string();
            let args = ["run", "configs/tiny.toml", "--out", &path, "--resume", "--set", "pretrain.steps=60"];
            let ranks = start(launcher, 3, &args, &[]);
            let lines =
                || fs::read_to_string(out.join("metrics.jsonl")).map_or(0, |text| text.lines().count());
            let begin = Instant::now();
            while lines() < 5 {
                assert!(begin.elapsed() < Duration::from_secs(60), "{launcher}: it does not begin");
                sleep(Duration::from_millis(5));
            }
            let pid = ranks.id().to_string();
            assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
            let (_, _, stderr) = ended(ranks);
            let said = stderr.matches("interrupted; all that is finished is saved").count();
            // Open MPI's launcher kills two seconds after SIGTERM and Ctrl-C, which a busy machine may need.
            let least = usize::from(launcher == "mpiexec.mpich" || signal == "-USR1");
            assert!((least..=1).contains(&said), "{launcher} {signal}: {stderr}");
            assert!(!out.join("report.html").exists(), "it was not stopped");
            let (output, _, stderr) = ended(start(launcher, 2, &args, &[]));
            assert!(output.status.success(), "{stderr}");
            assert_same(&files(&out), &expected, &[], &format!("{launcher} {signal}"));
        }
    }
}
