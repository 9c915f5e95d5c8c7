//! Puts the interpreter behind the test driver, which hands it the modules that are PTX: `tests/cuda/launch.h` has the
//! other side of what stands here.

use std::ffi::{CStr, c_char, c_uint, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use libloading::Library;

use super::{Kernel, block, parser};

#[repr(C)]
#[derive(Clone, Copy)]
struct Dim {
    x: c_uint,
    y: c_uint,
    z: c_uint,
}

/// `shim::Kernel`, and what the driver does not look at.
#[repr(C)]
struct Entry {
    launch: unsafe extern "C" fn(&Entry, Dim, Dim, c_uint, *const *const c_void) -> bool,
    place: extern "C" fn() -> *const c_char,
    bounds: c_uint,
    argument_count: usize,
    argument_sizes: *const usize,
    name: String,
    kernel: Kernel,
}

/// Lets the driver whose library lies in this folder, and which is loaded already, run PTX.
pub fn install(folder: &Path) {
    type Find = unsafe extern "C" fn(*const c_char, *const c_char) -> *const Entry;
    // SAFETY: the library is loaded and stays so, and the function has this type.
    unsafe {
        let driver = Library::new(folder.join("libcuda.so")).unwrap();
        let install = driver.get::<unsafe extern "C" fn(Find)>(b"cuda_test_interpret").unwrap();
        install(find);
    }
}

/// A kernel of a module, for good; null if there is none of that name, or one that is refused.
unsafe extern "C" fn find(ptx: *const c_char, name: *const c_char) -> *const Entry {
    // SAFETY: the driver hands over two strings that end with a zero.
    let [ptx, name] = [ptx, name].map(|text| unsafe { CStr::from_ptr(text) }.to_str().unwrap());
    let Ok(Some(kernel)) = catch_unwind(|| parser::parse(ptx, name)) else { return std::ptr::null() };
    Box::leak(Box::new(Entry {
        launch,
        place,
        bounds: kernel.bounds,
        argument_count: kernel.parameters.len(),
        argument_sizes: kernel.parameters.clone().leak().as_ptr(),
        name: name.to_string(),
        kernel,
    }))
}

unsafe extern "C" fn launch(
    entry: &Entry,
    grid: Dim,
    size: Dim,
    dynamic: c_uint,
    given: *const *const c_void,
) -> bool {
    let backward = std::env::var("CUDA_TEST_ORDER").is_ok_and(|order| order == "backward");
    let run = || {
        let argument = |(i, &bytes): (usize, &usize)| {
            let mut value = [0u8; 8];
            // SAFETY: the driver gives as many arguments of these sizes, each a copy.
            unsafe { (*given.add(i)).cast::<u8>().copy_to(value.as_mut_ptr(), bytes) };
            u64::from_le_bytes(value)
        };
        let arguments: Vec<u64> = entry.kernel.parameters.iter().enumerate().map(argument).collect();
        let [grid, size] = [grid, size].map(|dim| [dim.x, dim.y, dim.z]);
        // SAFETY: what lies behind the arguments is the driver's to watch.
        unsafe { block::launch(&entry.kernel, grid, size, dynamic as usize, &arguments, backward) };
    };
    let result = catch_unwind(AssertUnwindSafe(run));
    if result.is_err() {
        eprintln!("that was kernel {}", entry.name);
    }
    result.is_ok()
}

extern "C" fn place() -> *const c_char {
    c"interpreted".as_ptr()
}
