//! The engine on an NVIDIA GPU (feature `cuda`): the same operations as [`plain`](super::plain) and
//! [`cpu`](super::cpu), and the same bits. Parameters, moments and activations stay in the device's memory; host and
//! device meet where a batch is handed over, a token drawn, a score or a measure read.
//!
//! | file | what |
//! |---|---|
//! | `device.rs` | a device: opening it, its memory, its streams, launching a kernel; all that is `unsafe` |
//! | `batch.rs` | a batch's tokens and offsets in the device's memory |
//! | `operations.rs` | the [`Engine`](super::Engine): from the names of buffers to launches |
//! | `*.cu` | the kernels, one file for each operation, named as its neighbours in `plain/` and `cpu/` |
//!
//! The kernels are one unit of CUDA C++, [`SOURCE`], which NVRTC compiles for the device at hand when it is opened. They
//! keep the arithmetic contract as the other engines do: one chain for each sum of products, sixteen lanes and a tree for
//! each sum over a row, our own elementary functions, no fused operation that is not written, no atomics.
//!
//! libcuda and libnvrtc are loaded at run time, so one binary serves machines with and without them.

pub(super) mod batch;
mod device;
mod operations;
mod products;

pub use device::{DeviceInfo, check, devices};
pub use operations::head_rows;

/// All kernels, as NVRTC gets them. A file's lines keep their numbers in its messages.
pub const SOURCE: &str = concat!(
    "#line 1 \"math.cu\"\n",
    include_str!("math.cu"),
    "#line 1 \"bf16.cu\"\n",
    include_str!("bf16.cu"),
    "#line 1 \"gemm.cu\"\n",
    include_str!("gemm.cu"),
    "#line 1 \"gemm_fast.cu\"\n",
    include_str!("gemm_fast.cu"),
    "#line 1 \"embedding.cu\"\n",
    include_str!("embedding.cu"),
    "#line 1 \"layer_norm.cu\"\n",
    include_str!("layer_norm.cu"),
    "#line 1 \"linear.cu\"\n",
    include_str!("linear.cu"),
    "#line 1 \"attention.cu\"\n",
    include_str!("attention.cu"),
    "#line 1 \"gelu.cu\"\n",
    include_str!("gelu.cu"),
    "#line 1 \"dropout.cu\"\n",
    include_str!("dropout.cu"),
    "#line 1 \"log_prob.cu\"\n",
    include_str!("log_prob.cu"),
    "#line 1 \"scalar_head.cu\"\n",
    include_str!("scalar_head.cu"),
    "#line 1 \"adamw.cu\"\n",
    include_str!("adamw.cu"),
    "#line 1 \"gradient_norm.cu\"\n",
    include_str!("gradient_norm.cu"),
);

/// What NVRTC is told, besides the architecture. Nothing is fused or flushed that the kernels do not say.
pub const OPTIONS: [&str; 4] = ["--fmad=false", "--ftz=false", "--prec-div=true", "--prec-sqrt=true"];

/// An opened device. It is never closed: a copy of this is a name for it.
#[derive(Clone, Copy)]
pub struct Cuda(&'static device::Device);
