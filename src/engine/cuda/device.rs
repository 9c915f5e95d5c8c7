//! A device: finding and opening it, its memory, its streams, and the launch of a kernel. All that is `unsafe` about the
//! engine is here: calls of the driver and of NVRTC.
//!
//! # Faults
//! The operations of an engine do not fail. What can go wrong once a device is open (its memory is used up, it is lost)
//! is kept as a fault, which [`check`] reports: from then on nothing is launched and all that is read back is NaN, so
//! that whoever checks numbers stops, and asks for the fault.
#![allow(unsafe_code)]

use alloc::ffi::CString;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::ffi::{c_char, c_int, c_void};
use core::fmt::Display;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use cudarc::driver::{result as driver, sys};
use cudarc::nvrtc;

use super::{Cuda, OPTIONS, SOURCE};
use crate::error::{Error, Result};

/// What there is to know about a device before it is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Its number, as in `cuda:0`.
    pub number: usize,
    /// What its maker calls it.
    pub name: String,
    /// Compute capability, (9, 0) for an H100.
    pub capability: (i32, i32),
    /// Streaming multiprocessors.
    pub processors: i32,
    /// Bytes of memory.
    pub memory: usize,
}

/// Kernels that are launched, by name.
macro_rules! kernels {
    ($($name:ident),* $(,)?) => {
        /// A kernel.
        #[allow(non_camel_case_types)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Kernel { $($name),* }

        /// Their names in the unit, in order.
        pub const KERNELS: &[&str] = &[$(stringify!($name)),*];
    };
}

kernels!(
    gemm_128,
    gemm_64,
    gemm_32,
    gemm_bf16_128,
    gemm_bf16_64,
    gemm_bf16_32,
    gemm_tf32_128,
    gemm_tf32_64,
    gemm_fast_bf16_128,
    gemm_fast_bf16_64,
    embedding_forward,
    embedding_backward,
    layer_norm_forward,
    layer_norm_backward,
    layer_norm_parameters,
    linear_bias,
    attention_forward,
    attention_backward_queries,
    attention_backward_keys,
    attention_heads,
    attention_append,
    attention_decode,
    gelu_forward,
    gelu_backward,
    dropout,
    gather_rows,
    scatter_rows,
    log_prob,
    sample,
    scalar_head_forward,
    scalar_head_backward,
    scalar_head_weight,
    adamw,
    add,
    gradient_norm,
    first_non_finite,
);

/// A number or an address that a kernel is given.
#[derive(Debug, Clone, Copy)]
pub enum Argument {
    /// An address in the device's memory; 0 for none.
    Address(u64),
    /// An `int`.
    Int(i32),
    /// A `u32`.
    Word(u32),
    /// An `i64` or `u64`.
    Long(u64),
    /// A `float`.
    Float(f32),
}

/// Arguments of a kernel, at most.
const MOST_ARGUMENTS: usize = 24;

/// Streams beside the main one, on which the gradients of a layer's parameters are computed side by side: each alone
/// would not fill the machine where the layer is small.
const SIDES: usize = 4;

/// An opened device.
pub struct Device {
    /// What it is.
    pub info: DeviceInfo,
    context: sys::CUcontext,
    functions: Vec<sys::CUfunction>,
    state: Mutex<State>,
}

// SAFETY: the handles are addresses that the driver may be given from any thread; a context is made current on a
// thread before each use of it, and the streams are used under the lock of `state`.
unsafe impl Send for Device {}
// SAFETY: as above.
unsafe impl Sync for Device {}

struct State {
    main: sys::CUstream,
    sides: [sys::CUstream; SIDES],
    /// Recorded where streams wait for each other: by the main one, and by each of the others.
    forked: sys::CUevent,
    joined: [sys::CUevent; SIDES],
    /// Side streams used since the main one waited for them.
    busy: usize,
    /// Memory for what operations hand over, each in its turn: the main stream keeps the order.
    staging: Memory,
}

/// Some of the device's memory.
struct Memory {
    address: u64,
    bytes: usize,
}

/// Numbers in a device's memory.
pub struct Buffer {
    device: &'static Device,
    memory: Memory,
    /// How many.
    pub len: usize,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.device.free(&self.memory);
    }
}

impl Buffer {
    /// The address of the number at a place.
    pub fn at(&self, index: usize) -> u64 {
        assert!(index <= self.len, "number {index} of {}", self.len);
        match self.memory.address {
            0 => 0,
            address => address + 4 * index as u64,
        }
    }
}

/// The driver's devices.
///
/// # Errors
/// [`Error::Device`] without a driver, or if it does not work.
pub fn devices() -> Result<Vec<DeviceInfo>> {
    // SAFETY: looks whether the library can be loaded, which runs its initialisers.
    if !unsafe { sys::is_culib_present() } {
        let hint = "install NVIDIA's driver, or leave --device out";
        return Err(Error::device("NVIDIA's driver", "no libcuda.so.1 on this machine", hint));
    }
    let broken = |error: driver::DriverError| {
        let hint = "`nvidia-smi` says more; the driver and the kernel module must be of one version";
        Error::device("a driver that works", format!("it says: {}", words(error)), hint)
    };
    driver::init().map_err(broken)?;
    let count = driver::device::get_count().map_err(broken)?;
    (0..count).map(|number| info(number).map_err(broken)).collect()
}

fn info(number: c_int) -> core::result::Result<DeviceInfo, driver::DriverError> {
    use sys::CUdevice_attribute_enum as Attribute;
    let device = driver::device::get(number)?;
    // SAFETY: `device` is the driver's own handle.
    let attribute = |attribute| unsafe { driver::device::get_attribute(device, attribute) };
    Ok(DeviceInfo {
        number: number as usize,
        name: driver::device::get_name(device)?,
        capability: (
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ),
        processors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        // SAFETY: as above.
        memory: unsafe { driver::device::total_mem(device) }?,
    })
}

/// The first fault of any device: see the head of this file.
static FAULT: OnceLock<String> = OnceLock::new();

/// Whether no device has failed so far.
///
/// # Errors
/// [`Error::Device`].
pub fn check() -> Result<()> {
    match FAULT.get() {
        None => Ok(()),
        Some(fault) => {
            let hint = "of a run, what was saved before is whole: --resume goes on with it, on any device; a smaller \
                        micro_batch_tokens needs less memory";
            Err(Error::device("a device that goes on working", fault, hint))
        }
    }
}

/// The driver's name and description of an error.
fn words(error: driver::DriverError) -> String {
    let text = |text: core::result::Result<&core::ffi::CStr, driver::DriverError>| match text {
        Ok(text) => text.to_string_lossy().into_owned(),
        Err(_) => format!("error {}", error.0 as u32),
    };
    format!("{} ({})", text(error.error_string()), text(error.error_name()))
}

impl Cuda {
    /// Opens a device and compiles the kernels for it; the second time it is only found again.
    ///
    /// # Errors
    /// [`Error::Device`]: without a driver, a device of that number, NVRTC, or if one of them refuses.
    pub fn open(number: usize) -> Result<Cuda> {
        static OPENED: Mutex<Vec<Cuda>> = Mutex::new(Vec::new());
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cuda) = opened.iter().find(|cuda| cuda.0.info.number == number) {
            return Ok(*cuda);
        }
        let devices = devices()?;
        let Some(info) = devices.get(number).cloned() else {
            let found = match devices.len() {
                0 => "no device".into(),
                1 => "one device, cuda:0".into(),
                count => format!("{count} devices, cuda:0 to cuda:{}", count - 1),
            };
            return Err(Error::device(
                format!("the device cuda:{number}"),
                found,
                "`doctor` lists the devices",
            ));
        };
        // SAFETY: looks whether the library can be loaded, which runs its initialisers.
        if !unsafe { nvrtc::sys::is_culib_present() } {
            let hint = "it comes with CUDA's toolkit, or alone: `pip install nvidia-cuda-nvrtc`, with its folder in \
                        LD_LIBRARY_PATH";
            return Err(Error::device("NVRTC, which compiles the kernels", "no libnvrtc.so", hint));
        }
        let image = compile(info.capability)?;
        let device = Device::open(info, &image).map_err(|error| {
            let hint = "is another program using the device? `nvidia-smi` says so";
            Error::device("a device that can be opened", words(error), hint)
        })?;
        let cuda = Cuda(Box::leak(Box::new(device)));
        opened.push(cuda);
        Ok(cuda)
    }

    /// What the device is.
    pub fn info(&self) -> &'static DeviceInfo {
        &self.0.info
    }

    /// Bytes of its memory that are free.
    pub fn free_memory(&self) -> usize {
        self.0.try_to("ask for free memory", |_| driver::mem_get_info()).map_or(0, |(free, _)| free)
    }
}

/// The kernels as machine code for a compute capability. PTX would need a driver as new as the compiler.
fn compile((major, minor): (i32, i32)) -> Result<Vec<u8>> {
    let refused = |what: String| {
        let hint = "is this NVRTC as new as the device? One of CUDA 12 or 13 is expected";
        Error::device("NVRTC to compile the kernels", what, hint)
    };
    let failed = |error: nvrtc::result::NvrtcError| refused(format!("{:?}", error.0));
    let source = CString::new(SOURCE).expect("no zero in the source");
    let program = nvrtc::result::create_program(&source, Some(c"instructgpt.cu")).map_err(failed)?;
    let options: Vec<String> = OPTIONS
        .iter()
        .map(|option| option.to_string())
        .chain([format!("--gpu-architecture=sm_{major}{minor}")])
        .collect();
    // SAFETY: `program` was just created, is used by this thread alone, and is destroyed once, at the end.
    unsafe {
        if let Err(error) = nvrtc::result::compile_program(program, &options) {
            let log = nvrtc::result::get_program_log(program).unwrap_or_default();
            let log: Vec<u8> = log.iter().map(|&c: &c_char| c as u8).take_while(|&c| c != 0).collect();
            let _ = nvrtc::result::destroy_program(program);
            let log = String::from_utf8_lossy(&log).lines().take(8).collect::<Vec<_>>().join("; ");
            return Err(refused(format!("{:?}: {log}", error.0)));
        }
        let mut size = 0;
        nvrtc::sys::nvrtcGetCUBINSize(program, &mut size).result().map_err(failed)?;
        let mut image = vec![0u8; size];
        nvrtc::sys::nvrtcGetCUBIN(program, image.as_mut_ptr().cast()).result().map_err(failed)?;
        nvrtc::result::destroy_program(program).map_err(failed)?;
        Ok(image)
    }
}

type Attempt<T> = core::result::Result<T, driver::DriverError>;

impl Device {
    fn open(info: DeviceInfo, image: &[u8]) -> Attempt<Device> {
        let device = driver::device::get(info.number as c_int)?;
        let event = || driver::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING);
        let stream = || driver::stream::create(driver::stream::StreamKind::NonBlocking);
        // SAFETY: `device` is the driver's handle, the context is made current before all else, and `image` is what the
        // compiler gave, which lives until the module has been loaded. Nothing of it is ever released.
        unsafe {
            let context = driver::primary_ctx::retain(device)?;
            driver::ctx::set_current(context)?;
            let module = driver::module::load_data(image.as_ptr().cast())?;
            let functions = KERNELS
                .iter()
                .map(|name| driver::module::get_function(module, CString::new(*name).expect("a name")))
                .collect::<Attempt<Vec<_>>>()?;
            let state = State {
                main: stream()?,
                sides: [stream()?, stream()?, stream()?, stream()?],
                forked: event()?,
                joined: [event()?, event()?, event()?, event()?],
                busy: 0,
                staging: Memory { address: 0, bytes: 0 },
            };
            Ok(Device { info, context, functions, state: Mutex::new(state) })
        }
    }

    /// Does something with the driver, unless there is a fault; a failure is one.
    fn try_to<T>(&self, what: impl Display, act: impl FnOnce(&mut State) -> Attempt<T>) -> Option<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.attempt(&mut state, what, act)
    }

    fn attempt<T>(
        &self,
        state: &mut State,
        what: impl Display,
        act: impl FnOnce(&mut State) -> Attempt<T>,
    ) -> Option<T> {
        if FAULT.get().is_some() {
            return None;
        }
        // SAFETY: the context is the device's own and is never destroyed.
        let attempt = unsafe { driver::ctx::set_current(self.context) }.and_then(|()| act(state));
        let number = self.info.number;
        attempt
            .map_err(|error| {
                FAULT.get_or_init(|| format!("cuda:{number} could not {what}: {}", words(error)))
            })
            .ok()
    }

    /// Memory for so many numbers, of no particular content.
    pub fn memory(&'static self, len: usize) -> Buffer {
        let bytes = 4 * len;
        let none = Buffer { device: self, memory: Memory { address: 0, bytes: 0 }, len };
        if bytes == 0 {
            return none;
        }
        // SAFETY: the address goes into a `Buffer`, which frees it once, when it is dropped.
        let take = |_: &mut State| unsafe { driver::malloc_sync(bytes) };
        match self.try_to(format_args!("take {} MiB of memory", bytes.div_ceil(1 << 20)), take) {
            Some(address) => Buffer { memory: Memory { address, bytes }, ..none },
            None => none,
        }
    }

    fn free(&self, memory: &Memory) {
        if memory.address == 0 {
            return;
        }
        // SAFETY: the memory is its owner's, who is being dropped. The driver waits for the work that uses it. After a
        // fault this may fail, and nothing is left to be saved.
        let _ = unsafe {
            driver::ctx::set_current(self.context).and_then(|()| driver::free_sync(memory.address))
        };
    }

    /// The device for the launches and copies of one operation; other threads wait. With room for some words to hand
    /// over, of which it gives the addresses: they belong to the main stream's launches of this operation.
    pub fn begin<const K: usize>(&'static self, words: [usize; K]) -> (Work, [u64; K]) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut work = Work { device: self, state };
        let mut bytes = 0;
        let mut places = words.map(|words| {
            let at = bytes as u64;
            bytes += (4 * words).next_multiple_of(256);
            at
        });
        if bytes > work.state.staging.bytes {
            work.join();
            let wanted = (2 * work.state.staging.bytes).max(bytes).max(1 << 16);
            let old = core::mem::replace(&mut work.state.staging, Memory { address: 0, bytes: 0 });
            self.free(&old);
            // SAFETY: the memory is the state's, which frees it when it takes more.
            let taken = work.attempt("take memory to hand over", |_| unsafe { driver::malloc_sync(wanted) });
            if let Some(address) = taken {
                work.state.staging = Memory { address, bytes: wanted };
            }
        }
        let base = work.state.staging.address;
        places.iter_mut().for_each(|place| *place += base);
        (work, places)
    }
}

/// One operation's hold of a device.
pub struct Work {
    device: &'static Device,
    state: MutexGuard<'static, State>,
}

impl Work {
    fn attempt<T>(&mut self, what: impl Display, act: impl FnOnce(&mut State) -> Attempt<T>) -> Option<T> {
        self.device.attempt(&mut self.state, what, act)
    }

    /// Makes the main stream wait for what the others have been given.
    fn join(&mut self) {
        self.attempt("wait for a stream", |state| {
            for side in 0..core::mem::take(&mut state.busy).min(SIDES) {
                // SAFETY: streams and events are the device's own; both live for ever.
                unsafe {
                    driver::event::record(state.joined[side], state.sides[side])?;
                    wait(state.main, state.joined[side])?;
                }
            }
            Ok(())
        });
    }

    /// Launches a kernel on the main stream: `grid` blocks of `block` threads.
    pub fn launch(&mut self, kernel: Kernel, grid: [usize; 3], block: usize, arguments: &[Argument]) {
        self.join();
        let stream = self.state.main;
        self.launch_on(stream, kernel, grid, block, arguments);
    }

    /// Launches a kernel that the main stream need not wait for before its next operation: one that reads what is there,
    /// and adds to a part of the gradients that nothing else touches.
    pub fn launch_aside(&mut self, kernel: Kernel, grid: [usize; 3], block: usize, arguments: &[Argument]) {
        let side = self.attempt("start a stream", |state| {
            if state.busy == 0 {
                // SAFETY: streams and events are the device's own; both live for ever.
                unsafe {
                    driver::event::record(state.forked, state.main)?;
                    state.sides.iter().try_for_each(|&side| wait(side, state.forked))?;
                }
            }
            let side = state.busy % SIDES;
            state.busy += 1;
            Ok(side)
        });
        if let Some(side) = side {
            let stream = self.state.sides[side];
            self.launch_on(stream, kernel, grid, block, arguments);
        }
    }

    fn launch_on(
        &mut self,
        stream: sys::CUstream,
        kernel: Kernel,
        grid: [usize; 3],
        block: usize,
        arguments: &[Argument],
    ) {
        if grid.contains(&0) {
            return;
        }
        let [x, y, z] = grid.map(|side| u32::try_from(side).expect("a grid of at most 2^32 blocks"));
        assert!(
            y < 1 << 16 && z < 1 << 16 && x < 1 << 31,
            "{} in a grid of {grid:?}",
            KERNELS[kernel as usize]
        );
        // The driver only reads them, though it takes them as if it wrote.
        let mut addresses = [core::ptr::null_mut::<c_void>(); MOST_ARGUMENTS];
        for (address, argument) in addresses[..arguments.len()].iter_mut().zip(arguments) {
            *address = match argument {
                Argument::Address(value) | Argument::Long(value) => {
                    core::ptr::from_ref(value).cast_mut().cast()
                }
                Argument::Int(value) => core::ptr::from_ref(value).cast_mut().cast(),
                Argument::Word(value) => core::ptr::from_ref(value).cast_mut().cast(),
                Argument::Float(value) => core::ptr::from_ref(value).cast_mut().cast(),
            };
        }
        let function = self.device.functions[kernel as usize];
        self.attempt(format_args!("launch {}", KERNELS[kernel as usize]), |_| {
            // SAFETY: `addresses` point to arguments of the kernel's types, in order, which the driver copies before it
            // returns; `operations.rs` hands over buffers of the sizes that the kernel's comment names, and the tests
            // run every kernel under a driver that looks for accesses beyond them.
            unsafe {
                driver::launch_kernel(
                    function,
                    (x, y, z),
                    (block as u32, 1, 1),
                    0,
                    stream,
                    &mut addresses[..arguments.len()],
                )
            }
        });
    }

    /// `buffer[at..at + len] = 0`.
    pub fn clear(&mut self, address: u64, len: usize) {
        self.join();
        if len == 0 {
            return;
        }
        self.attempt("clear memory", |state| {
            // SAFETY: the caller's buffer has `len` numbers from `address` on.
            unsafe { driver::memset_d8_async(address, 0, 4 * len, state.main) }
        });
    }

    /// Hands numbers over into a buffer.
    pub fn write<T: Copy>(&mut self, address: u64, values: &[T]) {
        assert_eq!(size_of::<T>(), 4, "words of 32 bits");
        self.join();
        if values.is_empty() {
            return;
        }
        self.attempt("write to its memory", |state| {
            // SAFETY: the caller's buffer has room for the values; ordinary host memory is copied before the call
            // returns.
            unsafe { driver::memcpy_htod_async(address, values, state.main) }
        });
    }

    /// Reads words back, after all that was launched before. After a fault all are `fault`: NaN, of numbers.
    pub fn read<T: Copy>(&mut self, address: u64, values: &mut [T], fault: T) {
        assert_eq!(size_of::<T>(), 4, "words of 32 bits");
        self.join();
        if values.is_empty() {
            return;
        }
        let read = self.attempt("read from its memory", |state| {
            // SAFETY: the caller's buffer has as many numbers from `address` on, and `values` lives until the copy is
            // done, for which the second call waits.
            unsafe {
                driver::memcpy_dtoh_async(values, address, state.main)?;
                driver::stream::synchronize(state.main)
            }
        });
        if read.is_none() {
            values.fill(fault);
        }
    }
}

/// Makes a stream wait for an event.
///
/// # Safety
/// Both are live handles of the current context.
unsafe fn wait(stream: sys::CUstream, event: sys::CUevent) -> Attempt<()> {
    // SAFETY: the caller's promise.
    unsafe { driver::stream::wait_event(stream, event, sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT) }
}
