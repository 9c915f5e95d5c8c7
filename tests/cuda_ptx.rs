//! What NVRTC makes of the kernels, on a machine without a GPU: nothing approximate or fused that the source does not
//! say, no register that does not fit, and the definition's bits, from an interpreter (`tests/common/ptx/`).
//!
//! NVRTC and ptxas come from `pip install nvidia-cuda-nvrtc nvidia-cuda-nvcc` or from CUDA's toolkit, and are looked
//! for in `NVRTC_PATH` (a folder) and `PTXAS` (a file), where `python3` has its packages, and where programs and
//! libraries are. Without them a test is skipped.
#![allow(unsafe_code)]

#[path = "common/cuda.rs"]
mod cuda;
#[path = "common/operations.rs"]
mod operations;
#[path = "common/ptx/mod.rs"]
mod ptx;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use cudarc::nvrtc;
use instructgpt::engine::cuda::{OPTIONS, SOURCE};
use instructgpt::engine::{Cuda, Precision};
use libloading::Library;
use operations::Shape;

/// Files of Python's packages whose paths end so.
fn of_python(folder: &str, is_it: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let output = Command::new("python3").args(["-c", "import sys; print('\\n'.join(sys.path))"]).output();
    let paths = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let list = |path: PathBuf| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let packages =
        paths.lines().filter(|path| !path.is_empty()).flat_map(|path| list(Path::new(path).join("nvidia")));
    let files = packages.flat_map(|package| list(package.join(folder)));
    let named = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).is_some_and(&is_it);
    files.filter(named).collect()
}

/// Loads NVRTC, so that cudarc finds it; false, and a line that says why, where there is none.
fn has_nvrtc() -> bool {
    static LOADED: OnceLock<bool> = OnceLock::new();
    *LOADED.get_or_init(|| {
        let is_it =
            |name: &str| name.starts_with("libnvrtc") && name.contains(".so") && !name.contains(".alt.");
        let mut files = match std::env::var_os("NVRTC_PATH") {
            Some(folder) => {
                let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
                entries
                    .filter(|path| is_it(&path.file_name().unwrap_or_default().to_string_lossy()))
                    .collect()
            }
            None => of_python("lib", is_it),
        };
        // What NVRTC loads itself, by a name that it does not find, comes first.
        files.sort_by_key(|path| !path.to_string_lossy().contains("builtins"));
        for file in files {
            // SAFETY: NVIDIA's libraries, which may be loaded at any time.
            if let Ok(library) = unsafe { Library::new(file) } {
                std::mem::forget(library);
            }
        }
        // SAFETY: as above.
        let found = unsafe { nvrtc::sys::is_culib_present() };
        if !found {
            println!("skipped: no NVRTC (pip install nvidia-cuda-nvrtc, or NVRTC_PATH)");
        }
        found
    })
}

/// The unit as PTX.
fn compile(architecture: &str, options: &[&str]) -> String {
    let options = options.iter().map(|option| option.to_string()).collect();
    let options = nvrtc::CompileOptions { options, ..Default::default() };
    let architecture: &'static str = architecture.to_string().leak();
    let options = nvrtc::CompileOptions { arch: Some(architecture), ..options };
    match nvrtc::compile_ptx_with_opts(SOURCE, options) {
        Ok(ptx) => ptx.to_src(),
        Err(nvrtc::CompileError::CompileError { log, .. }) => panic!("{}", log.to_string_lossy()),
        Err(error) => panic!("{error}"),
    }
}

/// As the engine has it compiled, for the oldest and the newest architecture that are looked at.
fn units() -> &'static [(&'static str, String)] {
    static UNITS: OnceLock<Vec<(&str, String)>> = OnceLock::new();
    UNITS.get_or_init(|| ["80", "90"].map(|sm| (sm, compile(&format!("compute_{sm}"), &OPTIONS))).into())
}

/// Kernels of a unit, by name.
fn kernels(unit: &str) -> impl Iterator<Item = &str> {
    unit.split(".entry ").skip(1).filter_map(|rest| rest.split('(').next())
}

/// Why a kernel may not have an instruction.
fn wrong(kernel: &str, opcode: &str) -> Option<&'static str> {
    let parts: Vec<&str> = opcode.split('.').collect();
    let has = |part: &str| parts.contains(&part);
    let real = has("f32") || has("f64");
    match parts[0] {
        _ if has("approx") => Some("is approximate"),
        "ex2" | "lg2" | "sin" | "cos" | "tanh" | "rsqrt" => Some("is approximate"),
        "atom" | "red" => Some("adds in the order of arrival"),
        _ if has("ftz") && !kernel.contains("bf16") => Some("takes subnormal numbers for zero"),
        // Without a rounding an addition and a product may be fused.
        "add" | "sub" | "mul" | "mad" | "fma" | "div" | "rcp" | "sqrt" if real && !has("rn") => {
            Some("is not rounded")
        }
        "ld" | "st" if has("local") => Some("goes to memory for what should be a register"),
        _ => None,
    }
}

#[test]
fn the_arithmetic_is_what_the_source_says() {
    if !has_nvrtc() {
        return;
    }
    for (architecture, unit) in units() {
        let (mut found, mut count) = (vec![], 0);
        for kernel in kernels(unit) {
            let (_, body) = ptx::entry(unit, kernel).unwrap();
            for line in body.lines().map(str::trim) {
                let statement = if line.starts_with('@') {
                    line.split_once(' ').map_or("", |(_, rest)| rest)
                } else {
                    line
                };
                let opcode = statement.split_whitespace().next().unwrap_or("").trim_end_matches(';');
                count += 1;
                found.extend(wrong(kernel, opcode).map(|why| format!("{kernel}: {opcode} {why}")));
            }
        }
        assert!(found.is_empty(), "compute_{architecture}\n{}", found.join("\n"));
        assert!(count > 10_000, "{count} lines");
    }
}

#[test]
fn each_rule_finds_what_it_is_for() {
    for opcode in [
        "ex2.approx.f32",
        "rsqrt.approx.ftz.f32",
        "div.full.f32",
        "add.f32",
        "mul.f32",
        "fma.f32",
        "fma.rz.f32",
        "mul.rn.ftz.f32",
        "atom.global.add.f32",
        "red.global.add.f32",
        "ld.local.f32",
        "add.f64",
        "sqrt.approx.f32",
    ] {
        assert!(wrong("gemm_128", opcode).is_some(), "{opcode}");
    }
    assert!(wrong("gemm_bf16_128", "fma.rn.ftz.f32").is_none());
    for opcode in
        ["add.rn.f32", "fma.rn.f32", "add.s32", "mul.wide.s32", "mad.lo.s32", "div.u32", "max.f32", "bra.uni"]
    {
        assert!(wrong("gemm_128", opcode).is_none(), "{opcode}");
    }
}

/// A kernel as ptxas sees it.
struct Use {
    kernel: String,
    registers: usize,
    shared: usize,
    spilled: bool,
}

/// Reads what `ptxas -v` says.
fn uses(log: &str) -> Vec<Use> {
    let number_before = |line: &str, what: &str| -> usize {
        let before = line.split(what).next().filter(|before| before.len() < line.len());
        before.and_then(|text| text.split_whitespace().last()).and_then(|word| word.parse().ok()).unwrap_or(0)
    };
    let mut found: Vec<Use> = vec![];
    for line in log.lines() {
        if let Some(rest) = line.split("Compiling entry function '").nth(1) {
            let kernel = rest.split('\'').next().unwrap().to_string();
            found.push(Use { kernel, registers: 0, shared: 0, spilled: false });
        } else if let Some(last) = found.last_mut() {
            last.spilled |= number_before(line, " bytes spill stores") > 0;
            last.registers = last.registers.max(number_before(line, " registers"));
            last.shared = last.shared.max(number_before(line, " bytes smem"));
        }
    }
    found
}

#[test]
fn a_spill_is_read() {
    let log = "ptxas info    : Compiling entry function 'gemm_64' for 'sm_90'\n\
        ptxas info    : Function properties for gemm_64\n\
        \x20   0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n\
        ptxas info    : Used 61 registers, used 1 barriers, 8704 bytes smem\n\
        ptxas info    : Compiling entry function 'gemm_128' for 'sm_90'\n\
        \x20   344 bytes stack frame, 428 bytes spill stores, 500 bytes spill loads\n\
        ptxas info    : Used 64 registers, used 1 barriers, 344 bytes cumulative stack size\n";
    let found: Vec<_> = uses(log).into_iter().map(|u| (u.kernel, u.registers, u.shared, u.spilled)).collect();
    assert_eq!(found, [("gemm_64".into(), 61, 8704, false), ("gemm_128".into(), 64, 0, true)]);
    assert_eq!(resident("90", 256, 128, 25_344), 2);
    assert_eq!(resident("80", 256, 32, 40_000), 4);
}

/// Blocks of so many threads that a multiprocessor holds: 64 warps, 65536 registers in portions of 256 for a warp, 32
/// blocks, and shared memory, of which the system takes one KiB for each block.
fn resident(architecture: &str, threads: usize, registers: usize, shared: usize) -> usize {
    let memory = if architecture == "80" { 164 << 10 } else { 228 << 10 };
    let warps = threads.div_ceil(32);
    let by_registers = 65_536 / ((32 * registers).next_multiple_of(256) * warps);
    (64 / warps).min(by_registers).min(memory / (shared + 1024)).min(32)
}

#[test]
fn nothing_is_spilled() {
    if !has_nvrtc() {
        return;
    }
    let named = std::env::var_os("PTXAS").map(PathBuf::from);
    let ptxas = named.or_else(|| of_python("bin", |name| name == "ptxas").pop()).unwrap_or("ptxas".into());
    let folder = tempfile::tempdir().unwrap();
    for (architecture, unit) in units() {
        let [input, output] = ["unit.ptx", "unit.cubin"].map(|name| folder.path().join(name));
        fs::write(&input, unit).unwrap();
        let mut command = Command::new(&ptxas);
        command.arg("-v").arg(format!("--gpu-name=sm_{architecture}")).arg(&input).arg("-o").arg(&output);
        let Ok(result) = command.output() else {
            println!("skipped: no ptxas (pip install nvidia-cuda-nvcc, or PTXAS)");
            return;
        };
        let log = String::from_utf8_lossy(&result.stderr);
        assert!(result.status.success(), "{log}");
        let uses = uses(&log);
        assert_eq!(uses.len(), kernels(unit).count(), "{log}");
        println!(
            "sm_{architecture}: threads of a block, registers of a thread, shared memory, blocks of a multiprocessor"
        );
        for Use { kernel, registers, shared, spilled } in uses {
            let (header, _) = ptx::entry(unit, &kernel).unwrap();
            let threads = ptx::directive(header, ".maxntid").unwrap_or(256) as usize;
            let blocks = resident(architecture, threads, registers, shared);
            println!("  {kernel:28} {threads:4} {registers:4} {shared:6} {blocks:3}");
            assert!(!spilled, "{kernel} on sm_{architecture} spills registers");
            assert!(registers > 0 && blocks > 0, "{kernel} on sm_{architecture} cannot be launched");
        }
    }
}

/// Runs the operations on what a unit says, in a process of its own; what it complains of.
fn interpret(unit: &str, order: &str) -> Result<(), String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), unit).unwrap();
    let ptx = file.path().to_str().unwrap();
    let environment = [("CUDA_TEST_DRIVER", "1"), ("CUDA_TEST_PTX", ptx), ("CUDA_TEST_ORDER", order)];
    let output = cuda::again("child_interprets", &environment);
    let text = [output.stdout, output.stderr].concat();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&text).into_owned()) }
}

#[test]
fn what_nvrtc_makes_gives_the_definitions_bits() {
    if !has_nvrtc() || cuda::skip_test_driver() {
        return;
    }
    for order in ["forward", "backward"] {
        interpret(&units()[1].1, order).unwrap_or_else(|text| panic!("{text}"));
    }
}

#[test]
fn an_addition_that_nvrtc_fuses_is_noticed() {
    if !has_nvrtc() || cuda::skip_test_driver() {
        return;
    }
    let options = OPTIONS.map(|option| if option == "--fmad=false" { "--fmad=true" } else { option });
    let fused = compile("compute_90", &options);
    assert!(fused.contains("add.f32"), "what the assembler may fuse is not rounded");
    // The interpreter refuses that. With what NVRTC itself has fused, and nothing more, the bits are others.
    let text = interpret(&fused, "forward").unwrap_err();
    assert!(text.contains("is not among the instructions"), "{text}");
    let rounded = ["add", "sub", "mul"]
        .iter()
        .fold(fused, |unit, what| unit.replace(&format!("\t{what}.f"), &format!("\t{what}.rn.f")));
    let text = interpret(&rounded, "forward").unwrap_err();
    assert!(text.contains("instead of"), "{text}");
}

#[test]
#[ignore = "of what_nvrtc_makes_gives_the_definitions_bits"]
fn child_interprets() {
    let Some(cuda::Device::TestDriver(folder)) = cuda::device() else { panic!("no test driver") };
    ptx::driver::install(folder);
    let engine = Cuda::open(0).unwrap();
    let shape = |lengths: &[usize], heads, precision, hostile| {
        let (seed, inner, vocab, window, lengths) = (1, 7, 35, 6, lengths.to_vec());
        Shape { seed, lengths, heads, inner, vocab, window, precision, hostile }
    };
    for precision in [Precision::F32, Precision::Bf16] {
        for hostile in [false, true] {
            operations::check(engine, &shape(&[3, 0, 19], (2, 5), precision, hostile));
        }
    }
    // More rows and columns than a tile of attention has.
    let long = Shape { window: usize::MAX, ..shape(&[67], (1, 70), Precision::F32, false) };
    operations::check(engine, &long);
    for precision in [Precision::Tf32, Precision::Bf16Fast] {
        operations::check_products(engine, &shape(&[3, 0, 19], (2, 5), precision, false));
    }
}
