//! The rules of the house, checked on the source text: which file may import which, and which calls would
//! let a machine, a compiler or a thread show in a result. Each rule is a function from a file to its
//! violations; one more test plants one for every rule and sees it found.

mod documents;
mod settings;
mod source;

use source::{File, function, imports, is_word, repository, word, words};

/// The floors, lowest first. `error.rs` lies below them all.
const FLOORS: [&[&str]; 12] = [
    &["num", "ranks"],
    &["engine"],
    &["model"],
    &["loss", "optim"],
    &["text", "data", "checkpoint"],
    &["world", "fixtures"],
    &["settings", "run"],
    &["train"],
    &["eval", "report"],
    &["recipe"],
    &["bench", "reproduce", "label"],
    &["app"],
];
/// Folders of one floor of which the first may import the second.
const NEIGHBOURS: [(&str, &str); 4] =
    [("data", "text"), ("checkpoint", "text"), ("report", "eval"), ("run", "settings")];

/// Files above [`LONG`] lines, each with its reason.
const LONG_FILES: [(&str, &str); 15] = [
    ("src/checkpoint/hugging_face.rs", "one format in all its variants; tests make half"),
    ("src/checkpoint/safetensors.rs", "one format, both ways, with the tests that go round"),
    (
        "src/engine/cpu/attention.rs",
        "one operation, forward and backward, on the same ragged tile; tests make half",
    ),
    (
        "src/engine/host.rs",
        "a list of the engine's operations, each from names of buffers to a function's slices",
    ),
    ("src/engine/cuda/device.rs", "all that is unsafe about an engine, so that it is in one file"),
    (
        "src/engine/cuda/operations.rs",
        "a list of the engine's operations, each from names of buffers to a kernel's arguments",
    ),
    ("src/text/fields.rs", "a list of fields, four files long"),
    ("src/text/hub.rs", "four files that say one thing together; tests make half"),
    ("src/text/files.rs", "two formats of the same tokenizer, and what a broken file gets"),
    ("tests/cli.rs", "a list of small tests, one for each thing a user can do or get wrong"),
    ("tests/cuda_test_driver.rs", "a list of small tests, one for each thing that the test driver shows"),
    ("tests/common/operations.rs", "a list of the engine's operations, each with what it is tested on"),
    ("tests/exact_stages.rs", "a list of small tests, one for each exact promise of a stage"),
    ("tests/hostile.rs", "a list of small tests, one for each kind of file"),
    ("tests/interruption.rs", "a list of small tests, one for each way a run can be stopped"),
];
const LONG: usize = 400;

/// Files that use `unsafe`, each with its reason.
const UNSAFE_FILES: [(&str, &str); 15] = [
    ("examples/embedded.rs", "without std, system calls are its own"),
    ("examples/embedded/heap.rs", "without std, the allocator is its own"),
    ("reference/bench_gemm/src/main.rs", "the crate that we are compared with takes raw pointers"),
    ("src/engine/cuda/device.rs", "the driver and the compiler of a GPU are C libraries"),
    ("src/ranks/mpi.rs", "an MPI library is a C library"),
    (
        "src/num/allocator.rs",
        "an allocator can be written in no other way; vectors that lie in one cache line are faster",
    ),
    (
        "src/num/simd/avx512.rs",
        "safe code cannot choose the form of an instruction, nor has that for bf16 pairs one",
    ),
    ("tests/allocation.rs", "an allocator that counts can be written in no other way"),
    ("tests/common/cuda.rs", "loads libraries, and asks a driver whether it has a device"),
    ("tests/common/ptx/block.rs", "kernels read and write memory by its address"),
    ("tests/common/ptx/driver.rs", "is called by the driver that it stands in for"),
    ("tests/common/ptx/mod.rs", "is called by the driver that it stands in for"),
    ("tests/cuda_ptx.rs", "loads NVIDIA's compiler"),
    ("tests/cuda_test_driver.rs", "launches kernels"),
    ("tests/heap.rs", "calls that allocator as a program does; Miri runs it"),
];

/// Functions of std that call the platform's mathematical library, whose bits differ.
const PLATFORM_MATH: &[&str] = &[
    "exp", "exp2", "exp_m1", "ln", "ln_1p", "log", "log2", "log10", "powf", "powi", "cbrt", "hypot", "sin",
    "cos", "tan", "sin_cos", "asin", "acos", "atan", "atan2", "sinh", "cosh", "tanh", "asinh", "acosh",
    "atanh",
];
/// Of `wide`, what is not the same on every target or in every version (see `num::simd`).
const UNSTABLE_WIDE: &[&str] = &[
    "reduce_add",
    "recip",
    "recip_sqrt",
    "exp",
    "ln",
    "tanh",
    "max",
    "min",
    "fast_max",
    "fast_min",
    "mul_sub",
    "mul_neg_add",
    "mul_neg_sub",
];
/// What makes an order of arrival visible.
const PARALLEL: &[&str] = &[
    "par_iter",
    "par_iter_mut",
    "into_par_iter",
    "par_bridge",
    "par_chunks",
    "par_chunks_mut",
    "par_chunks_exact",
    "par_chunks_exact_mut",
    "par_extend",
    "ParallelIterator",
    "IndexedParallelIterator",
    "ParallelSlice",
];
const SHARED: &[&str] = &["atomic", "Mutex", "RwLock", "mpsc", "spawn"];

/// Macros that panic where standard output or standard error is closed or full.
const PANICKING_OUTPUT: &[&str] = &["println", "eprintln", "print", "eprint", "dbg"];

/// From a file to its violations.
type Rule = fn(&File) -> Vec<String>;

/// Which floor a folder lies on.
fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

fn floor_of(file: &File) -> Option<usize> {
    floor(file.room()?)
}

/// A file imports only from floors below its own, its own folder, and [`NEIGHBOURS`].
fn floors(file: &File) -> Vec<String> {
    // The library's front page and the program, which stand on all floors and on none.
    let program = |room: &str| matches!(room, "lib" | "main");
    let Some(room) = file.room().filter(|room| !program(room)) else { return vec![] };
    let mine = if room == "error" { None } else { Some(floor_of(file)) };
    if mine == Some(None) {
        return vec![format!("{}: a folder without a floor", file.path)];
    }
    let allowed = |name: &str| match (mine.flatten(), floor(name)) {
        _ if matches!(name, "error" | "Error" | "Result") || name == room => true,
        (Some(mine), Some(theirs)) => theirs < mine || NEIGHBOURS.contains(&(room, name)),
        _ => false,
    };
    let wrong = imports(&file.path, &file.shipped).into_iter().filter(|(_, name)| !allowed(name));
    let line = |at: usize| file.shipped[..at].matches('\n').count() + 1;
    wrong.map(|(at, name)| format!("{}:{}: imports `{name}`", file.path, line(at))).collect()
}

/// `wide` is used in its facade alone, and of it only what has the same bits everywhere.
fn wide(file: &File) -> Vec<String> {
    if file.path != "src/num/simd.rs" {
        return file.find(&file.code, |line| {
            let path = |&(before, word, after): &(&str, &str, &str)| {
                let imported = ["use", "extern crate"].iter().any(|by| before.trim_end().ends_with(by));
                word == "wide" && (after.starts_with("::") || imported)
            };
            words(line).find(path).map(|_| "`wide` outside its facade".into())
        });
    }
    let mut wrong = file.find(&file.shipped, |line| function(line, UNSTABLE_WIDE));
    let lines: Vec<&str> = file.shipped.lines().collect();
    for (i, line) in lines.iter().enumerate() {
        if word(line, &["mul_add"]).is_some() && !(i > 0 && lines[i - 1].contains("if HARDWARE_FMA {")) {
            wrong.push(format!("{}:{}: `mul_add` without a look at HARDWARE_FMA", file.path, i + 1));
        }
    }
    let condition = r#"HARDWARE_FMA: bool = cfg!(any(target_feature = "fma", target_arch = "aarch64"))"#;
    if !file.raw.contains(condition) {
        wrong.push(format!("{}: HARDWARE_FMA is not what `wide` looks at", file.path));
    }
    wrong
}

/// Parallel loops go through `num::par`; up to `optim` nothing is shared between threads.
fn parallel(file: &File) -> Vec<String> {
    let mut wrong = file.find(&file.shipped, |line| word(line, PARALLEL));
    // Threads take turns at a GPU; what a kernel computes does not ask whose turn it is.
    let takes_turns = file.path.starts_with("src/engine/cuda/");
    // Ranks send each other whole messages, each kind in the order in which it was sent.
    let sends = file.room() == Some("ranks");
    // A thread sees that another is at work, and waits.
    let waits = file.path == "src/num/par/wait.rs";
    if floor_of(file) <= floor("optim") && floor_of(file).is_some() && !takes_turns && !sends && !waits {
        wrong.extend(file.find(&file.shipped, |line| {
            word(line, SHARED)
                .or_else(|| words(line).find(|w| w.1.starts_with("Atomic")).map(|w| format!("`{}`", w.1)))
        }));
        if !["src/num/par.rs", "src/num/scratch.rs"].contains(&file.path.as_str()) {
            wrong.extend(file.find(&file.shipped, |line| word(line, &["rayon"])));
        }
    }
    wrong
}

/// Nothing that reaches a result calls the platform's mathematical library.
fn platform_math(file: &File) -> Vec<String> {
    // What the experiments find repeats to the bit, high as they stand.
    let experiments = file.room() == Some("reproduce");
    let above = !experiments && floor_of(file) > floor("eval");
    if floor_of(file).is_none() || above || file.room() == Some("report") {
        return vec![];
    }
    file.find(&file.shipped, |line| function(line, PLATFORM_MATH))
}

/// The program and the library write where a failure is a value.
fn panicking_output(file: &File) -> Vec<String> {
    if file.room().is_none() {
        return vec![];
    }
    file.find(&file.shipped, |line| {
        let macros =
            words(line).filter(|(_, word, after)| PANICKING_OUTPUT.contains(word) && after.starts_with('!'));
        macros.map(|(_, word, _)| format!("`{word}!`")).next()
    })
}

/// A file above [`LONG`] lines has a reason.
fn length(file: &File) -> Vec<String> {
    let lines = file.raw.lines().count();
    let excused = LONG_FILES.iter().any(|(path, _)| *path == file.path);
    if lines <= LONG || excused { vec![] } else { vec![format!("{}: {lines} lines", file.path)] }
}

/// `unsafe` only where it is listed, and there each block and implementation shortly below a SAFETY comment.
fn unsafe_code(file: &File) -> Vec<String> {
    let listed = UNSAFE_FILES.iter().any(|(path, _)| *path == file.path);
    let raw: Vec<&str> = file.raw.lines().collect();
    let explained = |i: usize| raw[i.saturating_sub(4)..=i].iter().any(|line| line.contains("SAFETY"));
    let mut wrong = vec![];
    for (i, line) in file.code.lines().enumerate() {
        let claims = |after: &str| after.trim_start().starts_with(['{', 'i']);
        for (_, _, after) in words(line).filter(|(_, word, _)| *word == "unsafe") {
            if !listed || claims(after) && !explained(i) {
                wrong.push(format!("{}:{}: `unsafe`", file.path, i + 1));
            }
        }
    }
    wrong
}

/// No file knows the machine it was written on.
fn machine_paths(file: &File) -> Vec<String> {
    // Put together here, as this file is searched too.
    let folders = ["work", "home", "root", "Users", "tmp"].map(|folder| format!("/{folder}/"));
    file.find(&file.raw, |line| {
        folders.iter().find_map(|folder| {
            let at = line.find(folder)?;
            // `a/home/b` is a relative path.
            (!line[..at].ends_with(|c| is_word(c) || c == '.')).then(|| folder.clone())
        })
    })
}

fn hold(rule: Rule, rust_only: bool) {
    let files = repository();
    let files: Vec<&File> = files.iter().filter(|file| !rust_only || file.path.ends_with(".rs")).collect();
    assert!(files.iter().any(|file| file.path == "src/lib.rs"), "no source found");
    let wrong: Vec<String> = files.into_iter().flat_map(rule).collect();
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn files_import_from_lower_floors_only() {
    hold(floors, true);
}

#[test]
fn wide_is_used_through_its_facade() {
    hold(wide, true);
    let manifest = include_str!("../../Cargo.toml");
    assert!(manifest.contains("\nwide = { version = \"=1.7.1\""), "`wide` is not pinned");
}

#[test]
fn no_order_of_arrival_shows() {
    hold(parallel, true);
}

#[test]
fn no_platform_mathematics() {
    hold(platform_math, true);
}

#[test]
fn no_output_panics() {
    hold(panicking_output, true);
}

#[test]
fn long_files_have_a_reason() {
    hold(length, true);
}

#[test]
fn unsafe_is_listed() {
    hold(unsafe_code, true);
    assert!(include_str!("../../Cargo.toml").contains("\nunsafe_code = \"deny\""));
}

#[test]
fn no_machine_is_named() {
    hold(machine_paths, false);
}

/// Each rule finds what is planted, and passes its nearest lawful neighbour.
#[test]
fn rules_find_violations() {
    let cases: &[(Rule, &str, &str, &str)] = &[
        (
            floors,
            "src/num/x.rs",
            "use crate::engine::cpu::gemm;",
            "use crate::num::math; // crate::engine::cpu",
        ),
        (floors, "src/engine/cpu/x.rs", "fn f() { crate::model::f() }", "fn f() { crate::engine::cpu::f() }"),
        (floors, "src/engine/cpu/x.rs", "use super::super::super::model;", "use super::super::cpu;"),
        (floors, "src/settings/x.rs", "use super::super::app;", "use super::section;"),
        (
            floors,
            "src/model/x.rs",
            "use crate::{num::{a, b}, optim::c};",
            "use crate::{num::{a, b}, engine};",
        ),
        (floors, "src/data/x.rs", "use crate::checkpoint;", "use crate::text::Tokenizer;"),
        (floors, "src/text/x.rs", "use crate::data;", "#[cfg(test)] mod tests { use crate::app; }"),
        (floors, "src/error.rs", "use crate::num;", "use alloc::string::String;"),
        (wide, "src/engine/cpu/x.rs", "use wide::f32x8;", "let wide = 1;"),
        (wide, "src/engine/cpu/x.rs", "wide::f32x8::ZERO", "// wide::f32x8"),
        (parallel, "src/world/x.rs", "x.par_iter().sum()", "x.iter().sum()"),
        (parallel, "src/engine/cpu/x.rs", "use rayon::join;", "use crate::num::par::join;"),
        (parallel, "src/optim/x.rs", "AtomicU32::new(0)", "\"AtomicU32\""),
        (parallel, "src/optim/x.rs", "use core::sync::atomic;", "use core::cell;"),
        (platform_math, "src/optim/x.rs", "x.exp()", "libm::exp(x)"),
        (platform_math, "src/train/x.rs", "map(f64::ln)", "map(libm::log)"),
        (platform_math, "src/eval/x.rs", "a\n    .powi(2)", "x.sqrt().abs().mul_add(a, b) + 2i32.pow(3)"),
        (platform_math, "src/world/x.rs", "x.tanh()", "#[cfg(test)]\nmod tests { fn f() { x.tanh(); } }"),
        (panicking_output, "src/app/x.rs", "eprintln!(\"x\");", "bar.println(x); // eprintln!"),
        (
            panicking_output,
            "src/num/x.rs",
            "std::print!(\"x\")",
            "#[cfg(test)]\nmod tests { fn f() { println!(); } }",
        ),
        (length, "src/engine/cpu/x.rs", &"\n".repeat(LONG + 1), &"\n".repeat(LONG)),
        (unsafe_code, "src/num/x.rs", "// SAFETY: no\nunsafe { }", "#![deny(unsafe_code)]"),
        (unsafe_code, "tests/allocation.rs", "unsafe { }", "// SAFETY: yes\nunsafe { }"),
        (machine_paths, "README.md", concat!("see /ho", "me/x"), "see a/home/x"),
        (machine_paths, "README.md", concat!("(/ho", "me/me)"), "https://example.org/home"),
    ];
    for (i, (rule, path, planted, lawful)) in cases.iter().enumerate() {
        let found = |source: &str| rule(&File::new(path, source.to_string()));
        assert_eq!(found(planted).len(), 1, "case {i}: {planted:?} passes");
        assert!(found(lawful).is_empty(), "case {i}: {:?}", found(lawful));
    }
    assert_eq!(floors(&File::new("src/attic/x.rs", String::new())).len(), 1, "a folder without a floor");
    let facade = include_str!("../../src/num/simd.rs");
    let planted = [
        facade.replace("if HARDWARE_FMA {", "if true {"),
        facade.replace("any(target_feature = \"fma\", ", "any("),
        facade.replace("V16(self.0 + b.0)", "V16(self.0.max(b.0))"),
        facade.replace("halving_sum(self.0.to_array())", "self.0.reduce_add()"),
    ];
    for planted in planted {
        assert_eq!(wide(&File::new("src/num/simd.rs", planted)).len(), 1);
    }
}
