//! The test driver for CUDA (`tests/cuda/`), put to the test: what it runs gives the bits that it should, and what a GPU
//! would punish or leave undefined shows.
#![allow(unsafe_code)]

#[path = "common/cuda.rs"]
mod cuda;

use std::sync::Arc;

use cudarc::driver::{
    CudaContext, CudaModule, CudaSlice, CudaStream, DriverError, LaunchConfig, PushKernelArg,
};
use cudarc::nvrtc::{CompileError, CompileOptions, Ptx, compile_ptx_with_opts};

/// Whether the device is the test driver: a GPU is not to be ill-treated.
fn is_here() -> bool {
    match cuda::device() {
        Some(cuda::Device::TestDriver(_)) => true,
        Some(cuda::Device::Gpu) => {
            println!("skipped: the device is a GPU (CUDA_TEST_DRIVER=1 takes the test driver)");
            false
        }
        None => false,
    }
}

fn compile(source: &str, fmad: Option<bool>) -> Result<Ptx, CompileError> {
    let options = CompileOptions { fmad, name: Some("test.cu".into()), ..Default::default() };
    compile_ptx_with_opts(source, options)
}

/// A device with the kernels of a source, and a stream.
struct Bench {
    stream: Arc<CudaStream>,
    module: Arc<CudaModule>,
}

impl Bench {
    fn new(source: &str) -> Bench {
        let context = CudaContext::new(0).unwrap();
        let module = context.load_module(compile(source, Some(false)).unwrap()).unwrap();
        Bench { stream: context.new_stream().unwrap(), module }
    }

    /// Launches a kernel that takes a buffer of its own and one to read, both of f32.
    fn launch(
        &self,
        kernel: &str,
        size: LaunchConfig,
        y: &mut CudaSlice<f32>,
        x: &CudaSlice<f32>,
    ) -> Result<(), DriverError> {
        let kernel = self.module.load_function(kernel)?;
        let mut launch = self.stream.launch_builder(&kernel);
        launch.arg(y).arg(x);
        // SAFETY: these are the kernel's arguments. What it does is the test driver's to watch.
        unsafe { launch.launch(size) }.map(drop)
    }

    /// What such a kernel writes, `count` numbers.
    fn run(
        &self,
        kernel: &str,
        size: LaunchConfig,
        count: usize,
        x: &[f32],
    ) -> Result<Vec<f32>, DriverError> {
        let x = self.stream.clone_htod(x)?;
        // SAFETY: the test driver's fresh memory is NaN.
        let mut y = unsafe { self.stream.alloc::<f32>(count) }?;
        self.launch(kernel, size, &mut y, &x)?;
        self.stream.clone_dtoh(&y)
    }
}

fn size(blocks: u32, threads: u32, shared: u32) -> LaunchConfig {
    LaunchConfig { grid_dim: (blocks, 1, 1), block_dim: (threads, 1, 1), shared_mem_bytes: shared }
}

/// Numbers of both signs, some of them zeros.
fn numbers(count: usize) -> Vec<f32> {
    let mut state = 1u32;
    let mut draw = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if state >> 27 == 3 { -0.0 } else { state as i32 as f32 / 1e9 }
    };
    (0..count).map(|_| draw()).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// In how many places two results differ.
fn differing(a: &[f32], b: &[f32]) -> usize {
    assert_eq!(a.len(), b.len());
    bits(a).iter().zip(bits(b)).filter(|(a, b)| **a != *b).count()
}

/// A process of its own for one ignored test, which succeeds; its standard error.
fn passes(test: &str, environment: &[(&str, &str)]) -> String {
    let output = cuda::again(test, environment);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{test}\n{}\n{text}", String::from_utf8_lossy(&output.stdout));
    text
}

/// The same, but it is ended for what it did.
fn is_ended(test: &str) -> String {
    let output = cuda::again(test, &[]);
    assert!(!output.status.success(), "{test} goes through");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Blocks turn their numbers round in shared memory, static and the launch's.
const REVERSE: &str = r#"
extern "C" __global__ void __launch_bounds__(256) reverse(float *y, const float *x) {
    __shared__ float all[256];
    all[threadIdx.x] = x[blockIdx.x * 256 + threadIdx.x];
    __syncthreads();
    y[blockIdx.x * 256 + threadIdx.x] = all[255 - threadIdx.x];
}
extern "C" __global__ void reverse_dynamic(float *y, const float *x) {
    extern __shared__ float any[];
    any[threadIdx.x] = x[blockIdx.x * blockDim.x + threadIdx.x];
    __syncthreads();
    y[blockIdx.x * blockDim.x + threadIdx.x] = any[blockDim.x - 1 - threadIdx.x];
}
"#;

/// How many of its numbers a variant of `REVERSE` gets wrong, by kernel.
fn wrong_after_reverse(source: &str) -> [usize; 2] {
    let (bench, x) = (Bench::new(source), numbers(1024));
    let expected: Vec<f32> = x.chunks(256).flat_map(|block| block.iter().rev().copied()).collect();
    [("reverse", 0), ("reverse_dynamic", 1024)].map(|(kernel, shared)| {
        differing(&bench.run(kernel, size(4, 256, shared), 1024, &x).unwrap(), &expected)
    })
}

#[test]
fn a_missing_barrier_shows() {
    if !is_here() {
        return;
    }
    assert_eq!(wrong_after_reverse(REVERSE), [0, 0]);
    let [fixed, dynamic] = wrong_after_reverse(&REVERSE.replace("__syncthreads();", ""));
    assert!(fixed >= 512 && dynamic >= 512, "{fixed} {dynamic}");
}

#[test]
fn threads_run_forwards_and_backwards() {
    if !is_here() {
        return;
    }
    passes("child_sees_its_order", &[("CUDA_TEST_ORDER", "forward"), ("EXPECTED", "0")]);
    passes("child_sees_its_order", &[("CUDA_TEST_ORDER", "backward"), ("EXPECTED", "1023")]);
    passes("a_missing_barrier_shows", &[("CUDA_TEST_ORDER", "backward")]);
    passes("shuffles_move_what_ptx_says", &[("CUDA_TEST_ORDER", "backward")]);
}

/// As they are on processors for which the switch is not written.
#[test]
fn threads_run_without_a_switch_of_our_own() {
    if !is_here() {
        return;
    }
    for test in
        ["a_missing_barrier_shows", "shuffles_move_what_ptx_says", "a_launch_that_breaks_a_rule_fails"]
    {
        passes(test, &[("CUDA_TEST_FLAGS", "-DSHIM_UCONTEXT")]);
    }
}

#[test]
#[ignore = "of threads_run_forwards_and_backwards"]
fn child_sees_its_order() {
    assert!(is_here());
    let bench = Bench::new(
        r#"extern "C" __global__ void first(float *y, const float *x) {
            if (y[0] != y[0]) y[0] = blockIdx.x * blockDim.x + threadIdx.x;
        }"#,
    );
    let first = bench.run("first", size(4, 256, 0), 1, &[0.0]).unwrap()[0];
    assert_eq!(first.to_string(), std::env::var("EXPECTED").unwrap());
}

#[test]
fn shared_and_fresh_memory_are_not_a_number() {
    if !is_here() {
        return;
    }
    let bench = Bench::new(
        r#"
        template <int N> __device__ float unset() {
            __shared__ __align__(16) float a[2][N], b[N];
            float found = a[1][threadIdx.x] + b[threadIdx.x];
            a[1][threadIdx.x] = b[threadIdx.x] = 0.0f;
            return found;
        }
        extern "C" __global__ void unset_shared(float *y, const float *x) {
            extern __shared__ float c[];
            float d = c[threadIdx.x];
            c[threadIdx.x] = 0.0f;
            y[blockIdx.x * 32 + threadIdx.x] = unset<32>() == 0.0f || d == 0.0f;
        }
        extern "C" __global__ void nothing(float *y, const float *x) {}"#,
    );
    // In each block anew, and not what the block before it left.
    assert_eq!(bench.run("unset_shared", size(3, 32, 128), 96, &[0.0]).unwrap(), [0.0; 96]);
    let fresh = bench.run("nothing", size(1, 1, 0), 5, &[0.0]).unwrap();
    assert!(fresh.iter().all(|x| x.is_nan()), "{fresh:?}");
}

#[test]
fn shuffles_move_what_ptx_says() {
    if !is_here() {
        return;
    }
    let bench = Bench::new(
        r#"
        extern "C" __global__ void shuffles(float *y, const float *x) {
            int lane = threadIdx.x % 32;
            unsigned all = 0xffffffffu;
            float v = x[threadIdx.x];
            float *out = y + threadIdx.x * 9;
            out[0] = __shfl_xor_sync(all, v, 5);
            out[1] = __shfl_xor_sync(all, v, 12, 8);
            out[2] = __shfl_sync(all, v, 35);
            out[3] = __shfl_sync(all, v, 3, 8);
            out[4] = __shfl_down_sync(all, v, 7);
            out[5] = __shfl_down_sync(all, v, 3, 4);
            out[6] = __shfl_up_sync(all, v, 7);
            out[7] = (float)__shfl_xor_sync(all, lane, 1) + (float)__shfl_xor_sync(all, 2u * lane, 16);
            // Each half of a warp by itself, and the upper one has more to do.
            unsigned half = 0xffffu << (lane & 16);
            out[8] = __shfl_xor_sync(half, v, 8);
            for (int i = 0; i < lane / 16; i++) out[8] = __shfl_xor_sync(half, out[8], 1);
        }"#,
    );
    let x = numbers(96);
    let y = bench.run("shuffles", size(1, 96, 0), 96 * 9, &x).unwrap();
    for (thread, y) in y.chunks(9).enumerate() {
        let (warp, lane) = (thread / 32 * 32, thread % 32);
        let of = |lane: usize| x[warp + lane];
        // Beyond the segment's end a lane gets its own; before its beginning another's, with xor.
        let narrow = if lane % 16 < 8 { lane } else { lane ^ 12 };
        let segment = lane / 8 * 8;
        let expected = [
            of(lane ^ 5),
            of(narrow),
            of(3),
            of(segment + 3),
            of(if lane < 25 { lane + 7 } else { lane }),
            of(if lane % 4 == 0 { lane + 3 } else { lane }),
            of(if lane < 7 { lane } else { lane - 7 }),
            ((lane ^ 1) + 2 * (lane ^ 16)) as f32,
            of(if lane < 16 { lane ^ 8 } else { lane ^ 9 }),
        ];
        assert_eq!(bits(y), bits(&expected), "thread {thread}");
    }
}

#[test]
fn arithmetic_is_rounded_once() {
    if !is_here() {
        return;
    }
    let bench = Bench::new(
        r#"
        extern "C" __global__ void arithmetic(float *y, const float *x) {
            float a = x[0], b = x[1], c = x[2];
            float all[] = {
                __fmaf_rn(a, b, c), a * b + c, __fadd_rn(a, b), __fsub_rn(a, b), __fmul_rn(a, b), __fdiv_rn(a, b), a / b,
                __frcp_rn(a), __fsqrt_rn(a), sqrtf(a), __int_as_float(__float_as_int(a) + 1),
                __uint_as_float(__float_as_uint(b) ^ 0x80000000u), (float)min(3, -2) + (float)max(3u, 4u), __ldg(x + 1),
                fma_ftz(0x1p-127f, 2.0f, c), fma_ftz(0x1p-100f, -0x1p-40f, 0.0f), fma_ftz(1.0f, 0x1.8p-126f, -0x1p-126f),
                fma_ftz(0x1p-100f, 0x1.8p-26f, 0.0f),
            };
            for (int i = 0; i < sizeof all / sizeof *all; i++) y[i] = all[i];
            float4 v = make_float4(1.0f, 2.0f, 3.0f, 4.0f);
            *(float4 *)(y + 20) = v;
        }"#,
    );
    let [a, b, c] = [1.000_000_1f32, 3.000_000_2, -3.000_000_5];
    let y = bench.run("arithmetic", size(1, 1, 0), 24, &[a, b, c]).unwrap();
    let next = f32::from_bits(a.to_bits() + 1);
    let expected = [
        a.mul_add(b, c),
        a * b + c,
        a + b,
        a - b,
        a * b,
        a / b,
        a / b,
        1.0 / a,
        a.sqrt(),
        a.sqrt(),
        next,
        -b,
        2.0,
        b,
        c,
        -0.0,
        0.0,
        1.5 * f32::MIN_POSITIVE,
    ];
    assert_eq!(bits(&y[..18]), bits(&expected));
    assert_eq!(y[20..], [1.0, 2.0, 3.0, 4.0]);
    assert_ne!(expected[0], expected[1], "numbers for which it does not matter");
}

#[test]
fn contraction_is_what_nvrtc_would_do() {
    if !is_here() {
        return;
    }
    let source = r#"extern "C" __global__ void f(float *y, const float *x) { y[0] = x[0] * x[1] + x[2]; }"#;
    let x = [1.000_000_1f32, 3.000_000_2, -3.000_000_5];
    let exact = Bench::new(source).run("f", size(1, 1, 0), 1, &x).unwrap();
    let context = CudaContext::new(0).unwrap();
    let module = context.load_module(compile(source, None).unwrap()).unwrap();
    let fused = Bench { stream: context.default_stream(), module }.run("f", size(1, 1, 0), 1, &x).unwrap();
    assert_eq!(bits(&exact), [(x[0] * x[1] + x[2]).to_bits()]);
    assert_eq!(bits(&fused), [x[0].mul_add(x[1], x[2]).to_bits()]);
}

#[test]
fn fragments_are_multiplied_as_ptx_lays_them_out() {
    if !is_here() {
        return;
    }
    let bench = Bench::new(
        r#"
        // A (16, K) and B (K, 8), one behind the other; the product's fragments as PTX numbers them.
        extern "C" __global__ void tf32(float *y, const float *x) {
            const float *a = x, *b = x + 16 * 8;
            int group = threadIdx.x / 4, i = threadIdx.x % 4;
            unsigned fragment_a[4], fragment_b[2];
            for (int r = 0; r < 4; r++) fragment_a[r] = __float_as_uint(a[(group + r % 2 * 8) * 8 + i + r / 2 * 4]);
            for (int r = 0; r < 2; r++) fragment_b[r] = __float_as_uint(b[(i + r * 4) * 8 + group]);
            float d[4] = {1.0f, 1.0f, 1.0f, 1.0f};
            mma_tf32(d, fragment_a, fragment_b);
            for (int r = 0; r < 4; r++) y[(group + r / 2 * 8) * 8 + i * 2 + r % 2] = d[r];
        }
        __device__ unsigned pair(float even, float odd) { return __float_as_uint(even) >> 16 | __float_as_uint(odd); }
        extern "C" __global__ void bf16(float *y, const float *x) {
            const float *a = x, *b = x + 16 * 16;
            int group = threadIdx.x / 4, i = threadIdx.x % 4;
            unsigned fragment_a[4], fragment_b[2];
            for (int r = 0; r < 4; r++) {
                const float *at = a + (group + r % 2 * 8) * 16 + i * 2 + r / 2 * 8;
                fragment_a[r] = pair(at[0], at[1]);
            }
            for (int r = 0; r < 2; r++) {
                const float *at = b + (i * 2 + r * 8) * 8 + group;
                fragment_b[r] = pair(at[0], at[8]);
            }
            float d[4] = {1.0f, 1.0f, 1.0f, 1.0f};
            mma_bf16(d, fragment_a, fragment_b);
            for (int r = 0; r < 4; r++) y[(group + r / 2 * 8) * 8 + i * 2 + r % 2] = d[r];
        }"#,
    );
    for (kernel, depth, kept) in [("tf32", 8, 0xffff_e000), ("bf16", 16, 0xffff_0000)] {
        let x: Vec<f32> = numbers(24 * depth).iter().map(|x| f32::from_bits(x.to_bits() & kept)).collect();
        let (a, b) = x.split_at(16 * depth);
        let element =
            |i: usize| (0..depth).fold(1.0, |sum, k| a[i / 8 * depth + k].mul_add(b[k * 8 + i % 8], sum));
        let expected: Vec<f32> = (0..16 * 8).map(element).collect();
        assert_eq!(
            differing(&bench.run(kernel, size(1, 32, 0), 16 * 8, &x).unwrap(), &expected),
            0,
            "{kernel}"
        );
    }
}

#[test]
fn a_launch_that_breaks_a_rule_fails() {
    if !is_here() {
        return;
    }
    let bench = Bench::new(
        r#"
        extern "C" __global__ void half_a_barrier(float *y, const float *x) { if (threadIdx.x < 40) __syncthreads(); }
        extern "C" __global__ void half_a_shuffle(float *y, const float *x) {
            if (threadIdx.x % 32 != 3) y[0] = __shfl_xor_sync(0xffffffffu, x[0], 1);
            __syncthreads();
        }
        extern "C" __global__ void not_in_the_mask(float *y, const float *x) { y[0] = __shfl_xor_sync(0xffffu, x[0], 1); }
        extern "C" __global__ void __launch_bounds__(64) bounded(float *y, const float *x) {}
        extern "C" __global__ void beyond_dynamic(float *y, const float *x) {
            extern __shared__ float any[];
            any[threadIdx.x] = x[0];
        }
        extern "C" __global__ void good(float *y, const float *x) { y[threadIdx.x] = x[0]; }"#,
    );
    let result = |kernel: &str, size: LaunchConfig| {
        let error = bench.run(kernel, size, 1, &[2.0]).err();
        error.map_or(String::new(), |error| format!("{:?}", error.0))
    };
    for kernel in ["half_a_barrier", "half_a_shuffle", "not_in_the_mask"] {
        assert_eq!(result(kernel, size(2, 64, 0)), "CUDA_ERROR_LAUNCH_FAILED", "{kernel}");
    }
    assert_eq!(result("bounded", size(1, 64, 0)), "");
    assert_eq!(result("bounded", size(1, 65, 0)), "CUDA_ERROR_INVALID_VALUE");
    assert_eq!(result("beyond_dynamic", size(1, 64, 256)), "");
    assert_eq!(result("beyond_dynamic", size(1, 64, 255)), "CUDA_ERROR_LAUNCH_FAILED");
    assert_eq!(result("beyond_dynamic", size(1, 64, 49_153)), "CUDA_ERROR_INVALID_VALUE");
    assert_eq!(result("none", size(1, 1, 0)), "CUDA_ERROR_NOT_FOUND");
    assert_eq!(result("good", size(0, 1, 0)), "CUDA_ERROR_INVALID_VALUE");
    // And what comes after them is as good as ever.
    assert_eq!(result("good", size(1, 1, 0)), "");
}

#[test]
fn an_access_beyond_a_buffer_ends_the_program() {
    if !is_here() {
        return;
    }
    let text = is_ended("child_reads_beyond");
    assert!(text.contains("kernel read, block (0, 0, 0), thread (5, 0, 0): an access to 0x"), "{text}");
    assert!(text.contains("byte 32 of a buffer of 20"), "{text}");
    let text = is_ended("child_writes_beyond");
    assert!(text.contains("something was written behind a buffer of 20 bytes"), "{text}");
}

const BEYOND: &str = r#"
extern "C" __global__ void read(float *y, const float *x) {
    // Up to there lie bytes for which nothing can be told of a read.
    y[0] = x[threadIdx.x < 5 ? 0 : 8];
}
extern "C" __global__ void write(float *y, const float *x) { y[threadIdx.x] = x[0]; }
"#;

#[test]
#[ignore = "of an_access_beyond_a_buffer_ends_the_program"]
fn child_reads_beyond() {
    assert!(is_here());
    Bench::new(BEYOND).run("read", size(1, 6, 0), 1, &[1.0; 5]).unwrap();
}

#[test]
#[ignore = "of an_access_beyond_a_buffer_ends_the_program"]
fn child_writes_beyond() {
    assert!(is_here());
    Bench::new(BEYOND).run("write", size(1, 6, 0), 5, &[1.0]).unwrap();
}

#[test]
fn a_stream_that_is_not_waited_for_shows() {
    if !is_here() {
        return;
    }
    passes("child_forgets_to_wait", &[]);
    passes("child_forgets_to_wait", &[("CUDA_TEST_ORDER", "backward")]);
}

/// Three numbers, of which a side stream squares what the main one wrote, and the main one doubles that.
fn through_two_streams(fork: bool, join: bool) -> bool {
    let source = r#"
        extern "C" __global__ void copy(float *y, const float *x) { y[threadIdx.x] = x[threadIdx.x]; }
        extern "C" __global__ void square(float *y, const float *x) { y[threadIdx.x] = x[threadIdx.x] * x[threadIdx.x]; }
        extern "C" __global__ void twice(float *y, const float *x) { y[threadIdx.x] = 2.0f * x[threadIdx.x]; }"#;
    let main = Bench::new(source);
    let context = main.stream.context().clone();
    // SAFETY: that is what is tried here.
    unsafe { context.disable_event_tracking() };
    let side = Bench { stream: context.new_stream().unwrap(), module: main.module.clone() };
    let x = main.stream.clone_htod(&[1.0f32, 2.0, 3.0]).unwrap();
    let [mut a, mut b, mut c] = [0; 3].map(|_| main.stream.alloc_zeros::<f32>(3).unwrap());
    main.stream.synchronize().unwrap();
    main.launch("copy", size(1, 3, 0), &mut a, &x).unwrap();
    if fork {
        side.stream.join(&main.stream).unwrap();
    }
    side.launch("square", size(1, 3, 0), &mut b, &a).unwrap();
    if join {
        main.stream.join(&side.stream).unwrap();
    }
    main.launch("twice", size(1, 3, 0), &mut c, &b).unwrap();
    main.stream.clone_dtoh(&c).unwrap() == [2.0, 8.0, 18.0]
}

#[test]
#[ignore = "of a_stream_that_is_not_waited_for_shows"]
fn child_forgets_to_wait() {
    assert!(is_here());
    assert!(through_two_streams(true, true));
    // One order finds the one mistake, and the other the other.
    let backward = std::env::var("CUDA_TEST_ORDER").is_ok_and(|order| order == "backward");
    assert_eq!(through_two_streams(false, true), !backward);
    assert_eq!(through_two_streams(true, false), backward);
}

#[test]
fn memory_ends_and_devices_are_counted() {
    if !is_here() {
        return;
    }
    passes("child_has_little_memory", &[("CUDA_TEST_MEMORY", "1000"), ("CUDA_TEST_DEVICES", "2")]);
}

#[test]
#[ignore = "of memory_ends_and_devices_are_counted"]
fn child_has_little_memory() {
    assert!(is_here());
    assert_eq!(CudaContext::device_count().unwrap(), 2);
    assert!(CudaContext::new(2).is_err());
    let [first, second] = [0, 1].map(|i| CudaContext::new(i).unwrap());
    assert_eq!((first.total_mem().unwrap(), first.compute_capability().unwrap()), (1000, (9, 0)));
    let stream = first.new_stream().unwrap();
    let most = stream.alloc_zeros::<u8>(900).unwrap();
    assert_eq!(first.mem_get_info().unwrap(), (100, 1000));
    let error = stream.alloc_zeros::<u8>(101).unwrap_err();
    assert_eq!(format!("{:?}", error.0), "CUDA_ERROR_OUT_OF_MEMORY");
    assert_eq!(second.mem_get_info().unwrap(), (1000, 1000));
    second.new_stream().unwrap().alloc_zeros::<u8>(101).unwrap();
    // Freed in the stream's order, which nobody has waited for.
    drop(most);
    stream.alloc_zeros::<u8>(1000).unwrap();
}

#[test]
fn a_mistake_in_the_source_is_in_the_log() {
    if !is_here() {
        return;
    }
    let log = |source: &str| match compile(source, Some(false)) {
        Err(CompileError::CompileError { log, .. }) => log.into_string().unwrap(),
        other => panic!("{other:?}"),
    };
    let text = log("#line 7 \"part.cu\"\n__device__ int f() { return none; }\n");
    assert!(text.contains("part.cu:7") && text.contains("none"), "{text}");
    // Neither is there on purpose: the one is not exact, the other not rounded as the CPU's.
    for call in ["rsqrtf", "expf"] {
        let text = log(&format!("\n__device__ float f(float x) {{ return {call}(x); }}\n"));
        assert!(text.contains("test.cu:2") && text.contains(call), "{text}");
    }
}
