//! The test driver for CUDA (`tests/cuda/`), put to the test: what it runs gives the bits that it should, and what a GPU
//! would punish or leave undefined shows.
#![allow(unsafe_code)]

#[path = "common/cuda.rs"]
mod cuda;

use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaFunction, CudaStream, LaunchConfig, PushKernelArg};
use cudarc::nvrtc::{CompileOptions, Ptx, compile_ptx_with_opts};

fn options() -> CompileOptions {
    let exact = CompileOptions { fmad: Some(false), ftz: Some(false), ..Default::default() };
    CompileOptions { prec_div: Some(true), prec_sqrt: Some(true), arch: Some("compute_90"), ..exact }
}

fn compile(source: &str) -> Ptx {
    compile_ptx_with_opts(source, options()).unwrap()
}

/// A device with the kernels of a source.
struct Bench {
    stream: Arc<CudaStream>,
    module: Arc<cudarc::driver::CudaModule>,
}

impl Bench {
    fn new(source: &str) -> Bench {
        let context = CudaContext::new(0).unwrap();
        Bench { stream: context.new_stream().unwrap(), module: context.load_module(compile(source)).unwrap() }
    }

    fn kernel(&self, name: &str) -> CudaFunction {
        self.module.load_function(name).unwrap()
    }
}

fn size(blocks: u32, threads: u32, shared: u32) -> LaunchConfig {
    LaunchConfig { grid_dim: (blocks, 1, 1), block_dim: (threads, 1, 1), shared_mem_bytes: shared }
}

/// Numbers of both signs, some of them zeros.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut draw = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if state >> 27 == 3 { -0.0 } else { state as i32 as f32 / 1e9 }
    };
    (0..count).map(|_| draw()).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// A block turns its numbers round in shared memory.
const REVERSE: &str = r#"
extern "C" __global__ void __launch_bounds__(256) reverse(float *y, const float *x) {
    __shared__ float all[256];
    all[threadIdx.x] = x[blockIdx.x * 256 + threadIdx.x];
    __syncthreads();
    y[blockIdx.x * 256 + threadIdx.x] = all[255 - threadIdx.x];
}
"#;

/// How many of its numbers a `reverse` gets wrong.
fn wrong_after_reverse(source: &str) -> usize {
    let bench = Bench::new(source);
    let x = numbers(1024, 1);
    let on_device = bench.stream.clone_htod(&x).unwrap();
    let mut y = bench.stream.alloc_zeros::<f32>(x.len()).unwrap();
    let kernel = bench.kernel("reverse");
    let mut launch = bench.stream.launch_builder(&kernel);
    launch.arg(&mut y).arg(&on_device);
    // SAFETY: the kernel's arguments, and its buffers have as many numbers as it has threads.
    unsafe { launch.launch(size(4, 256, 0)) }.unwrap();
    let y = bits(&bench.stream.clone_dtoh(&y).unwrap());
    let expected: Vec<f32> = x.chunks(256).flat_map(|block| block.iter().rev().copied()).collect();
    y.iter().zip(bits(&expected)).filter(|(y, expected)| **y != *expected).count()
}

#[test]
fn a_missing_barrier_shows() {
    if cuda::device().is_none() {
        return;
    }
    assert_eq!(wrong_after_reverse(REVERSE), 0);
    assert!(wrong_after_reverse(&REVERSE.replace("__syncthreads();", "")) >= 512);
}
