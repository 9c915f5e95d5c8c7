//! A CUDA device for tests, with or without a GPU. Where there is none, `tests/cuda/` has a driver and an NVRTC of our
//! own that run the kernels on the CPU: cudarc looks its libraries up by name and takes ours, as they are there.
//!
//! cudarc keeps the first library it finds, so a test binary has one device for its whole life.
#![allow(dead_code, unsafe_code)]

use std::ffi::{c_int, c_uint};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use libloading::Library;

/// What a test's kernels run on.
#[derive(Debug)]
pub enum Device {
    /// A GPU of this machine.
    Gpu,
    /// The CPU, through the libraries in this folder.
    TestDriver(PathBuf),
}

/// Opens the device, before anything asks cudarc for one. `None`, and a line that says why, where tests are skipped.
///
/// `CUDA_TEST_DRIVER=1` takes the test driver even where there is a GPU. What else the environment sets stands at the
/// beginnings of the files in `tests/cuda/`.
pub fn device() -> Option<&'static Device> {
    static DEVICE: OnceLock<Result<Device, String>> = OnceLock::new();
    let device = DEVICE.get_or_init(|| {
        if std::env::var_os("CUDA_TEST_DRIVER").is_none() && has_gpu() {
            return Ok(Device::Gpu);
        }
        let folder = build()?;
        for library in LIBRARIES {
            // SAFETY: the library is ours, and loading it does nothing.
            match unsafe { Library::new(folder.join(library.file)) } {
                Ok(library) => std::mem::forget(library),
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(Device::TestDriver(folder))
    });
    device.as_ref().map_err(|why| println!("skipped: {why}")).ok()
}

/// Whether the test driver cannot be had, which a line says.
pub fn skip_test_driver() -> bool {
    let missing = build().err();
    missing.iter().for_each(|why| println!("skipped: {why}"));
    missing.is_some()
}

impl Device {
    /// Lets a program that is started find the same device.
    pub fn hand_to(&self, command: &mut Command) {
        if let Device::TestDriver(folder) = self {
            command.env("LD_LIBRARY_PATH", folder);
        }
    }
}

/// Runs one test of this binary in a process of its own, with more environment: for what the test driver reads once,
/// and for what it ends the program for.
pub fn again(test: &str, environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--include-ignored", "--nocapture"]).envs(environment.iter().copied());
    command.output().unwrap()
}

/// Whether NVIDIA's driver is here and has a device.
fn has_gpu() -> bool {
    // SAFETY: the signatures are those of the driver's manual.
    unsafe {
        let Ok(driver) = Library::new("libcuda.so.1") else { return false };
        let init = driver.get::<unsafe extern "C" fn(c_uint) -> c_int>(b"cuInit");
        let count = driver.get::<unsafe extern "C" fn(*mut c_int) -> c_int>(b"cuDeviceGetCount");
        let (Ok(init), Ok(count)) = (init, count) else { return false };
        let mut devices = 0;
        init(0) == 0 && count(&mut devices) == 0 && devices > 0
    }
}

struct TestLibrary {
    /// As cudarc looks for it first.
    file: &'static str,
    source: &'static str,
}

const LIBRARIES: [TestLibrary; 2] = [
    TestLibrary { file: "libcuda.so", source: "driver.cpp" },
    TestLibrary { file: "libnvrtc.so", source: "nvrtc.cpp" },
];

/// All that they are made of.
const SOURCES: [&str; 6] = [
    include_str!("../cuda/driver.cpp"),
    include_str!("../cuda/launch.h"),
    include_str!("../cuda/memory.h"),
    include_str!("../cuda/nvrtc.cpp"),
    include_str!("../cuda/result.h"),
    include_str!("../cuda/streams.h"),
];

/// The folder of the libraries, which are compiled where they are not there yet.
fn build() -> Result<PathBuf, String> {
    if !cfg!(target_os = "linux") {
        return Err("the test driver for CUDA is written for Linux".into());
    }
    #[cfg(target_arch = "x86_64")]
    if !std::arch::is_x86_feature_detected!("fma") {
        return Err("this processor has no FMA, without which CUDA's kernels take minutes".into());
    }
    let (compiler, version) = compiler().ok_or("no C++ compiler (CXX, c++, g++ or clang++)")?;
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cuda");
    let mut hash = DefaultHasher::new();
    (&compiler, version, &sources).hash(&mut hash);
    for file in SOURCES {
        file.hash(&mut hash);
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cuda-{:016x}", hash.finish()));
    if folder.exists() {
        return Ok(folder);
    }
    // Several test binaries may come here at a time: each builds a folder of its own, and the first one counts.
    let building = folder.with_extension(std::process::id().to_string());
    fs::create_dir_all(&building).map_err(|error| format!("{}: {error}", building.display()))?;
    for library in LIBRARIES {
        let mut command = Command::new(&compiler);
        command.args(["-std=c++17", "-O2", "-shared", "-fPIC"]);
        command.arg(format!("-DCOMPILER={compiler:?}")).arg(format!("-DSHIM={sources:?}"));
        command.arg(format!("-Wl,-soname,{}", library.file));
        command.arg("-o").arg(building.join(library.file)).arg(sources.join(library.source)).arg("-ldl");
        let output = command.output().map_err(|error| format!("{compiler}: {error}"))?;
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}\n{log}");
    }
    if fs::rename(&building, &folder).is_err() {
        fs::remove_dir_all(&building).ok();
    }
    Ok(folder)
}

/// A C++ compiler and what it says about itself.
fn compiler() -> Option<(String, Vec<u8>)> {
    let named = std::env::var("CXX").ok();
    let names = named.into_iter().chain(["c++", "g++", "clang++"].map(String::from));
    names.into_iter().find_map(|name| {
        let output = Command::new(&name).arg("--version").output().ok()?;
        output.status.success().then_some((name, output.stdout))
    })
}
