//! The program's allocator: the system's, and a word to Linux that large buffers are worth huge pages.
//!
//! A model's 43 MB of parameters are 11,000 pages of 4 KiB. The first touch of each is a fault of some microseconds,
//! on a virtual machine most of a cold start, and later the processor looks up their addresses again and again. Many
//! systems give pages of 2 MiB to those who ask. Where they do not, nothing changes.

use std::alloc::{GlobalAlloc, Layout, System};

/// The system's allocator, which asks for huge pages under buffers of at least [`LARGE`] bytes.
pub struct HugePages;

/// Two huge pages: any buffer of that size has one to itself, wherever it begins.
const LARGE: usize = 4 << 20;

/// Asks for huge pages under the whole pages of a large buffer. It is a hint: failure changes nothing.
fn advise(buffer: *mut u8, size: usize) {
    /// A multiple of every page size in use.
    const PAGE: usize = 64 << 10;
    if size < LARGE || buffer.is_null() {
        return;
    }
    let start = buffer.addr().next_multiple_of(PAGE);
    let end = (buffer.addr() + size) / PAGE * PAGE;
    let start = buffer.with_addr(start);
    // SAFETY: the range lies inside one allocation of this process, and the advice says nothing about its contents.
    unsafe { libc::madvise(start.cast(), end - start.addr(), libc::MADV_HUGEPAGE) };
}

// SAFETY: all memory comes from and goes back to the system's allocator, with the caller's layouts.
unsafe impl GlobalAlloc for HugePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the promises of this same function.
        let buffer = unsafe { System.alloc(layout) };
        advise(buffer, layout.size());
        buffer
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the promises of this same function.
        let buffer = unsafe { System.alloc_zeroed(layout) };
        advise(buffer, layout.size());
        buffer
    }

    unsafe fn realloc(&self, buffer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller keeps the promises of this same function.
        let buffer = unsafe { System.realloc(buffer, layout, size) };
        advise(buffer, size);
        buffer
    }

    unsafe fn dealloc(&self, buffer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the promises of this same function.
        unsafe { System.dealloc(buffer, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the kernel knows that the memory at `address` is to be of huge pages.
    fn is_advised(address: usize) -> bool {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        for line in maps.lines() {
            let range = line.split(' ').next().unwrap().split_once('-');
            if let Some((Ok(start), Ok(end))) =
                range.map(|(a, b)| (usize::from_str_radix(a, 16), usize::from_str_radix(b, 16)))
            {
                inside = (start..end).contains(&address);
            } else if inside && let Some(flags) = line.strip_prefix("VmFlags:") {
                return flags.split_whitespace().any(|flag| flag == "hg");
            }
        }
        panic!("no memory at {address:x}");
    }

    #[test]
    fn large_buffers_are_advised_however_they_come() {
        if !std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists() {
            return; // This kernel has none.
        }
        let middle = |buffer: &Vec<u8>| buffer.as_ptr().addr() + buffer.capacity() / 2;
        // The small one comes first: later it may lie where a large one was.
        let mut grown = vec![2; LARGE / 2];
        assert!(!is_advised(middle(&grown)));
        grown.resize(2 * LARGE, 3);
        assert!(is_advised(middle(&grown)));
        assert!(grown[..LARGE / 2].iter().all(|&x| x == 2) && grown[LARGE / 2..].iter().all(|&x| x == 3));
        assert!(is_advised(middle(&vec![0; LARGE])));
        assert!(is_advised(middle(&vec![1; LARGE])));
    }
}
