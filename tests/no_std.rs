//! The library without `std`: the embedded example is built as its documentation says, and writes what
//! `instructgpt sample` writes.
#![cfg(target_os = "linux")]

#[path = "common/tiny.rs"]
mod tiny;

use std::path::{Path, PathBuf};
use std::process::Command;

use instructgpt::model::Head;
use tiny::{instructgpt, run};

/// Builds the example, in a folder of its own that later runs find again.
fn build() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no_std");
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--no-default-features", "--profile", "embedded", "--example", "embedded"])
        .arg("--manifest-path")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .status()
        .unwrap();
    assert!(status.success());
    target.join("embedded/examples/embedded")
}

#[test]
fn the_embedded_example_samples_the_same_text() {
    let embedded = build();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().display().to_string();
    tiny::save(directory.path(), Head::LanguageModel);
    for flags in [
        &["--prompt", "the cat"][..],
        &["--prompt", "the cat", "--seed", "2", "--max-new-tokens", "9"],
        &["--prompt", "", "--temperature", "0"],
        &["--prompt", "\u{1f600} on", "--top-k", "20", "--temperature", "0.8"],
        &["--prompt", "a", "--top-p", "0.7", "--seed", "18446744073709551615"],
    ] {
        let flags = [&["--model", path.as_str()], flags].concat();
        let expected = instructgpt(&[&["sample"], &flags[..]].concat(), "");
        let found = run(&embedded, &flags, b"");
        assert_eq!((found.code, &found.stdout), (0, &expected.stdout), "{flags:?}: {found:?}");
        // "heap: N bytes in use at the peak, M of BUDGET touched"
        let numbers: Vec<usize> = found.stderr.split(' ').filter_map(|word| word.parse().ok()).collect();
        let &[used, touched, budget] = &numbers[..] else { panic!("{}", found.stderr) };
        assert!(0 < used && used <= touched && touched <= 4 << 20 && budget == 128 << 20, "{}", found.stderr);
    }
    // Mistakes end it as they end the program.
    for (flags, code, part) in [
        (&["--model", &path, "--prompt", &"a".repeat(99)][..], 2, "--prompt"),
        (&["--model", &path, "--temperature", "-1"], 2, "--temperature"),
        (&["--model", "nowhere"], 1, "nowhere/"),
        (&["--wat"], 2, "--wat"),
    ] {
        let found = run(&embedded, flags, b"");
        assert!(found.code == code && found.stderr.contains(part), "{found:?}");
    }
}
