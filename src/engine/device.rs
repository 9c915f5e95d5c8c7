//! What computes: from a device's name to an engine.

use alloc::format;
use alloc::string::String;

use serde::{Deserialize, Serialize};

use super::{Cpu, Engine, Precision};
use crate::error::{Error, Result};
use crate::num::par;

/// What computes: "cpu", "cuda" (the first device) or "cuda:N".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Device {
    /// The processor, with the engine [`Cpu`](super::Cpu).
    #[default]
    Cpu,
    /// An NVIDIA GPU by its number, with the engine `Cuda` (feature `cuda`).
    Cuda(usize),
}

impl core::str::FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> core::result::Result<Self, String> {
        let number = |text: &str| text.parse().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
        match text.split_once(':') {
            None if text == "cpu" => Some(Device::Cpu),
            None if text == "cuda" => Some(Device::Cuda(0)),
            Some(("cuda", text)) => number(text).map(Device::Cuda),
            _ => None,
        }
        .ok_or_else(|| "expected cpu, cuda or cuda:N".into())
    }
}

impl Device {
    /// Rows of logits that a language-model head of `vocab_size` tokens holds at a time, given up to `targets` targets.
    pub fn head_rows(self, vocab_size: usize, targets: usize) -> usize {
        match self {
            #[cfg(feature = "cuda")]
            Device::Cuda(_) => super::cuda::head_rows(vocab_size, targets),
            _ => super::cpu::log_prob::chunk(vocab_size, targets),
        }
    }

    /// Sequences that are decoded at a time.
    pub fn decoded_together(self) -> usize {
        match self {
            #[cfg(feature = "cuda")]
            Device::Cuda(_) => super::Cuda::DECODED,
            _ => Cpu::DECODED * par::threads(),
        }
    }

    /// Whether it computes in a precision as the name says.
    ///
    /// # Errors
    /// [`Error::Usage`] for tensor cores on a processor.
    pub fn check_precision(self, precision: Precision) -> Result<()> {
        if self != Device::Cpu || precision.is_exact() {
            return Ok(());
        }
        let hint = "tf32 and bf16-fast are for a GPU's tensor cores: --device cuda";
        Err(Error::usage("precision", "f32 or bf16 on the processor", precision.name(), hint))
    }

    /// Bytes of its memory that can be had; `None` if only trying says so.
    ///
    /// # Errors
    /// Those of opening it.
    pub fn free_memory(self) -> Result<Option<usize>> {
        match self {
            #[cfg(feature = "cuda")]
            Device::Cuda(number) => super::Cuda::open(number).map(|cuda| Some(cuda.free_memory())),
            _ => Ok(None),
        }
    }
}

impl TryFrom<String> for Device {
    type Error = String;

    fn try_from(text: String) -> core::result::Result<Self, String> {
        text.parse()
    }
}

impl core::fmt::Display for Device {
    fn fmt(&self, f: &mut core::fmt::Formatter) -> core::fmt::Result {
        match self {
            Device::Cpu => f.write_str("cpu"),
            Device::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

impl From<Device> for String {
    fn from(device: Device) -> String {
        format!("{device}")
    }
}

/// Runs an expression with the engine of a device, in a function that returns a [`Result`].
#[cfg(feature = "app")]
macro_rules! on_device {
    ($device:expr, |$engine:ident| $body:expr) => {
        match $device {
            $crate::engine::Device::Cpu => {
                let $engine = $crate::engine::Cpu;
                $body
            }
            #[cfg(feature = "cuda")]
            $crate::engine::Device::Cuda(number) => {
                let $engine = $crate::engine::Cuda::open(number)?;
                $body
            }
            #[cfg(not(feature = "cuda"))]
            $crate::engine::Device::Cuda(_) => Err($crate::engine::device::not_built_in()),
        }
    };
}
#[cfg(feature = "app")]
pub(crate) use on_device;

/// What a build without the feature says when it is asked for a GPU.
#[cfg(all(feature = "app", not(feature = "cuda")))]
pub(crate) fn not_built_in() -> Error {
    let hint = "cargo build --release --features cuda makes one; without --device the processor computes";
    Error::device("a build with the feature `cuda`", "one without it", hint)
}

/// What has gone wrong with a device, if something has: all that was computed since is of no worth. The operations of an
/// engine do not fail, so whoever keeps a result asks here.
///
/// # Errors
/// [`Error::Device`].
pub fn check_devices() -> Result<()> {
    #[cfg(feature = "cuda")]
    super::cuda::check()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn devices_have_names() {
        let read = |text: &str| text.parse::<Device>();
        assert_eq!(read("cpu"), Ok(Device::Cpu));
        assert_eq!((read("cuda"), read("cuda:3")), (Ok(Device::Cuda(0)), Ok(Device::Cuda(3))));
        for device in [Device::Cpu, Device::Cuda(12)] {
            assert_eq!(read(&device.to_string()), Ok(device));
        }
        for wrong in ["", "CUDA", "cuda:", "cuda:-1", "cuda:+1", "cuda:1:2", "gpu", "cpu:0"] {
            assert_eq!(read(wrong), Err("expected cpu, cuda or cuda:N".to_string()), "{wrong}");
        }
    }
}
