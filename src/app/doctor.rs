//! `doctor`: what was compiled in, what the machine has, and what that means for the speed. The
//! results do not depend on any of it: the last line says whether that is true of this build. In an MPI job the first rank
//! speaks for its machine, and `doctor/ranks.rs` for all.

mod ranks;

use super::bits;
use super::jsonl::Output;
#[cfg(feature = "cuda")]
use crate::engine::cuda::{self, DeviceInfo};
use crate::engine::device::on_device;
use crate::engine::{Device, check_devices};
use crate::error::{Error, Result};
use crate::num::simd::HARDWARE_FMA;

/// A processor feature that the kernels gain from.
struct Feature {
    name: &'static str,
    /// What it is good for.
    use_: &'static str,
    compiled: bool,
    present: bool,
}

#[cfg(target_arch = "x86_64")]
fn features() -> Vec<Feature> {
    macro_rules! feature {
        ($name:tt, $use_:literal) => {
            Feature {
                name: $name,
                use_: $use_,
                compiled: cfg!(target_feature = $name),
                present: std::is_x86_feature_detected!($name),
            }
        };
    }
    vec![
        feature!("fma", "fused multiply-add: the kernels' one operation"),
        feature!("avx2", "vectors of 8"),
        feature!("avx512f", "vectors of 16, twice the speed"),
        feature!("avx512bf16", "products in bf16, two elements a step"),
    ]
}

#[cfg(target_arch = "aarch64")]
fn features() -> Vec<Feature> {
    // Both belong to every aarch64 processor.
    vec![Feature {
        name: "neon",
        use_: "vectors of 4, with fused multiply-add",
        compiled: true,
        present: true,
    }]
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn features() -> Vec<Feature> {
    Vec::new()
}

/// What a user should know about the build.
fn warnings(features: &[Feature], hardware_fma: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    if !hardware_fma {
        warnings.push(
            "no hardware fused multiply-add is compiled in: every result is the same, but many times slower"
                .into(),
        );
    }
    let unused = features.iter().filter(|f| f.present && !f.compiled);
    let unused: Vec<&str> = unused.map(|f| f.name).collect();
    if !unused.is_empty() {
        warnings.push(format!(
            "this machine has {}, which this build does not use: build with RUSTFLAGS unset \
             (.cargo/config.toml asks for target-cpu=native) or with RUSTFLAGS=\"-C target-cpu=native\"",
            unused.join(", ")
        ));
    }
    warnings
}

/// Prints the findings.
///
/// # Errors
/// [`Error::Format`] if this build's results are not the reference build's; [`Error::Io`] if standard
/// output cannot be written.
pub fn run(asked: Option<Device>) -> Result<()> {
    let job = super::ranks::of_this_process()?;
    let done = if job.is_first() { of_machine(asked) } else { Ok(()) };
    if super::ranks::library().is_some() {
        ranks::run(job)?;
    }
    done
}

fn of_machine(asked: Option<Device>) -> Result<()> {
    let mut out = Output::stdout();
    let features = features();
    let yes = |b| if b { "yes" } else { "no" };
    out.text(&format!("instructgpt {}", env!("CARGO_PKG_VERSION")))?;
    let build = if cfg!(debug_assertions) { "development" } else { "release" };
    out.text(&format!("build: {build}, {} {}", std::env::consts::ARCH, std::env::consts::OS))?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    out.text(&format!("threads: {} on {cores} cores", rayon::current_num_threads()))?;
    for f in &features {
        out.text(&format!(
            "{:<11} built in: {:<3}  machine: {:<3}  ({})",
            f.name,
            yes(f.compiled),
            yes(f.present),
            f.use_
        ))?;
    }
    for warning in warnings(&features, HARDWARE_FMA) {
        out.text(&format!("warning: {warning}"))?;
    }
    let devices = devices(asked, &mut out)?;
    let mut wrong = Vec::new();
    for device in devices {
        let differences = on_device!(device, |engine| Ok(bits::differences(engine)))?;
        check_devices()?;
        let what = format!("{device}: same bits as the reference build");
        match differences.first() {
            None => {
                let parts = bits::REFERENCE.map(|(name, _)| name).join(", ");
                out.text(&format!("{what}: yes ({parts})"))?;
            }
            Some(first) => {
                out.text(&format!("{what}: no, from {first} on"))?;
                out.text(&format!("different: {}", differences.join(", ")))?;
                let hint =
                    "no result of this build can be compared to the bit; please report it with these lines";
                let found = format!("others from {first} on");
                wrong.push(Error::format(device, "", "the reference build's bits", found, hint));
            }
        }
    }
    Error::all(wrong)
}

/// What is checked: the device that was asked for, or the processor and all GPUs that can be used, which are listed.
fn devices(asked: Option<Device>, out: &mut Output) -> Result<Vec<Device>> {
    #[cfg_attr(not(feature = "cuda"), allow(unused_mut))]
    let mut checked = vec![Device::Cpu];
    #[cfg(feature = "cuda")]
    match cuda::devices() {
        Ok(found) => {
            for device in &found {
                let DeviceInfo { number, name, capability: (major, minor), processors, memory } = device;
                out.text(&format!(
                    "cuda:{number:<6} {name}, compute capability {major}.{minor}, {processors} multiprocessors, {} GiB",
                    memory >> 30
                ))?;
                checked.push(Device::Cuda(*number));
            }
            if found.is_empty() {
                out.text("cuda        built in; the driver knows no device")?;
            }
        }
        // Not having a GPU is no fault of the build.
        Err(error) => {
            out.text(&format!("cuda        built in, cannot be used: {}", one_line(&error)))?;
        }
    }
    #[cfg(not(feature = "cuda"))]
    out.text("cuda        not built in (feature `cuda`)")?;
    Ok(asked.map_or(checked, |device| vec![device]))
}

#[cfg(feature = "cuda")]
fn one_line(error: &Error) -> String {
    error.to_string().trim_start_matches("device: ").replace("\n  hint: ", "; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feature(name: &'static str, compiled: bool, present: bool) -> Feature {
        Feature { name, use_: "", compiled, present }
    }

    #[test]
    fn warns_only_when_something_is_lost() {
        assert!(warnings(&[feature("fma", true, true), feature("avx512f", false, false)], true).is_empty());
        let w = warnings(&[feature("fma", true, true), feature("avx512f", false, true)], true);
        assert!(w.len() == 1 && w[0].contains("avx512f") && w[0].contains("target-cpu=native"));
        let w = warnings(&[feature("fma", false, true), feature("avx2", false, true)], false);
        assert!(w.len() == 2 && w[0].contains("slower") && w[1].contains("fma, avx2"));
    }
}
