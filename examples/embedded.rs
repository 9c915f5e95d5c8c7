//! Sampling without an operating system: `no_std`, no threads, no files, and an allocator of our own over
//! [`HEAP_BYTES`](machine::HEAP_BYTES) bytes that are known at compile time. Model and tokenizer come as
//! byte slices, as from flash memory. It writes what `instructgpt sample` writes for the same flags:
//!
//! ```text
//! cargo build --no-default-features --profile embedded --example embedded
//! target/embedded/examples/embedded --model DIR --prompt TEXT [--max-new-tokens N --temperature T
//!                                   --top-k K --top-p P --seed S]
//! ```
//!
//! So that it can be tried anywhere, this one stands on six functions of a Unix C library; on a bare
//! machine, `machine` is the part to replace. Built otherwise (with `std`, or with panics that unwind) it
//! only says how to build it.
//!
//! The heap needs about 8 bytes per parameter (f32 parameters, and the weights packed for decoding), the
//! key-value cache (8 bytes per layer, width and token) and, while it is read, a few times the tokenizer's
//! files. What was needed is told at the end, on standard error.
#![cfg_attr(all(not(feature = "std"), panic = "abort"), no_std, no_main)]

#[cfg(not(all(not(feature = "std"), panic = "abort")))]
fn main() {
    println!(
        "build it with: cargo build --no-default-features --profile embedded --example embedded\n\
         then run: target/embedded/examples/embedded --model DIR --prompt TEXT"
    );
}

#[cfg(all(not(feature = "std"), panic = "abort"))]
extern crate alloc;

/// The program: no unsafe code, nothing that a bare machine lacks.
#[cfg(all(not(feature = "std"), panic = "abort"))]
mod program {
    use alloc::format;
    use alloc::vec;
    use core::str::FromStr;

    use super::machine;
    use instructgpt::checkpoint::load_model;
    use instructgpt::model::{Draw, Head, Sampling, generate_one};
    use instructgpt::num::rng::Stage;
    use instructgpt::text::Tokenizer;
    use instructgpt::text::decode::TextStream;
    use instructgpt::{Error, Result};

    /// Samples one response and writes it as it comes.
    pub fn run(arguments: &[&str]) -> Result<()> {
        let (mut directory, mut text, mut seed) = ("", "", 1);
        let mut sampling =
            Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, max_new_tokens: 128, end_of_text: None };
        let mut rest = arguments.iter();
        while let Some(&flag) = rest.next() {
            let value = rest.next().copied();
            match flag {
                "--model" => directory = text_of(flag, value)?,
                "--prompt" => text = text_of(flag, value)?,
                "--seed" => seed = number(flag, value, |_| true)?,
                "--max-new-tokens" => sampling.max_new_tokens = number(flag, value, |_| true)?,
                "--top-k" => sampling.top_k = number(flag, value, |_| true)?,
                "--temperature" => {
                    sampling.temperature = number(flag, value, |t| (0.0..=f32::MAX).contains(t))?
                }
                "--top-p" => sampling.top_p = number(flag, value, |p| *p > 0.0 && *p <= 1.0)?,
                _ => return Err(Error::usage(flag, "a flag of `instructgpt sample`", "another", "")),
            }
        }

        let file = |name| machine::bytes(&format!("{directory}/{name}\0"));
        let utf8 = |name| {
            let wrong = |error| Error::format(name, "", "UTF-8", error, "");
            core::str::from_utf8(file(name)?).map_err(wrong)
        };
        let (vocabulary, merges) = (utf8("vocab.json")?, utf8("merges.txt")?);
        let tokenizer = Tokenizer::from_vocab_and_merges(vocabulary, merges, ["vocab.json", "merges.txt"])?;
        let network = load_model(file("config.json")?, &[("model.safetensors", file("model.safetensors")?)])?;
        if network.head != Head::LanguageModel {
            return Err(Error::format(directory, "config.json", "a language model", "a reward model", ""));
        }

        let end_of_text = tokenizer.end_of_text();
        let prompt = if text.is_empty() { vec![end_of_text] } else { tokenizer.encode(text) };
        let (context, vocab_size) = (network.config.context, network.config.vocab_size);
        if prompt.len() >= context || prompt.iter().any(|&token| token as usize >= vocab_size) {
            let expected = format!("fewer than {context} tokens below {vocab_size}");
            return Err(Error::usage("--prompt", expected, format!("{} tokens", prompt.len()), ""));
        }
        sampling.end_of_text = Some(end_of_text);
        let draw = Draw { seed, stage: Stage::Sample, step: 0, episode: 0 };
        let mut stream = TextStream::default();
        generate_one(&network, &prompt, &sampling, draw, |token| {
            if token != end_of_text {
                let bytes = tokenizer.token(token).unwrap_or("\u{fffd}".as_bytes());
                machine::write_text(machine::OUT, &stream.push(bytes));
            }
            true
        });
        machine::write_text(machine::OUT, &stream.finish());
        machine::write_text(machine::OUT, "\n");
        Ok(())
    }

    fn number<T: FromStr>(flag: &str, value: Option<&str>, allowed: fn(&T) -> bool) -> Result<T> {
        let found = value.unwrap_or("nothing");
        let number = value.and_then(|text| text.parse().ok()).filter(allowed);
        number.ok_or_else(|| Error::usage(flag, "a number in its range", found, ""))
    }

    fn text_of<'a>(flag: &str, value: Option<&'a str>) -> Result<&'a str> {
        value.ok_or_else(|| Error::usage(flag, "a text", "nothing", ""))
    }
}

#[cfg(all(not(feature = "std"), panic = "abort"))]
#[path = "embedded/heap.rs"]
mod heap;

/// The machine: where bytes come from, where text goes. All unsafe code is here and in `heap`.
#[cfg(all(not(feature = "std"), panic = "abort"))]
#[allow(unsafe_code)]
mod machine {
    use alloc::format;
    use alloc::vec::Vec;
    use core::ffi::{CStr, c_char, c_int, c_void};
    use core::ptr;

    use super::heap::Heap;
    use instructgpt::{Error, Result};

    /// All the memory there is, besides the stack: 128 MiB, enough for 10 M parameters. Change it here.
    pub const HEAP_BYTES: usize = 128 << 20;

    /// Where the text goes.
    pub const OUT: c_int = 1;
    const NOTES: c_int = 2;

    #[link(name = "c")]
    unsafe extern "C" {
        fn open(path: *const c_char, flags: c_int, ...) -> c_int;
        fn close(file: c_int) -> c_int;
        fn lseek(file: c_int, offset: i64, whence: c_int) -> i64;
        fn mmap(
            at: *mut c_void,
            len: usize,
            protection: c_int,
            flags: c_int,
            file: c_int,
            from: i64,
        ) -> *mut c_void;
        fn write(file: c_int, bytes: *const c_void, len: usize) -> isize;
        fn exit(code: c_int) -> !;
    }

    /// The program's entry from the C library: arguments as text, the outcome as exit code.
    #[unsafe(no_mangle)]
    extern "C" fn main(count: c_int, arguments: *const *const c_char) -> c_int {
        let mut texts = Vec::new();
        for i in 1..count.max(1) as usize {
            // SAFETY: the C library passes `count` pointers to zero-terminated strings, which live and stay
            // as they are until the process ends.
            let argument = unsafe { CStr::from_ptr(*arguments.add(i)) };
            texts.push(argument.to_str().unwrap_or("\u{fffd}"));
        }
        let code = match super::program::run(&texts) {
            Ok(()) => 0,
            Err(error) => {
                write_text(NOTES, &format!("error: {error}\n"));
                error.exit_code().into()
            }
        };
        let (used, reached) = HEAP.peak();
        let text = format!("heap: {used} bytes in use at the peak, {reached} of {HEAP_BYTES} touched\n");
        write_text(NOTES, &text);
        code
    }

    /// Writes text; what cannot be written is lost.
    pub fn write_text(to: c_int, text: &str) {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            // SAFETY: `rest` is valid for reads of its length.
            let written = unsafe { write(to, rest.as_ptr().cast(), rest.len()) };
            match usize::try_from(written) {
                Ok(n @ 1..) => rest = &rest[n..],
                _ => return,
            }
        }
    }

    #[panic_handler]
    fn panic(info: &core::panic::PanicInfo) -> ! {
        // Without the heap: it may be what is missing.
        struct Notes;
        impl core::fmt::Write for Notes {
            fn write_str(&mut self, text: &str) -> core::fmt::Result {
                write_text(NOTES, text);
                Ok(())
            }
        }
        let _ = core::fmt::write(&mut Notes, format_args!("error: {}\n", info.message()));
        // SAFETY: ends the process; nothing of ours runs afterwards.
        unsafe { exit(1) }
    }

    // A hosted target's `alloc` was compiled for unwinding and names these two. Panics abort, so nothing
    // calls them; a bare target's does without.
    #[unsafe(no_mangle)]
    extern "C" fn rust_eh_personality() {}
    #[unsafe(no_mangle)]
    extern "C" fn _Unwind_Resume() -> ! {
        // SAFETY: ends the process; nothing of ours runs afterwards.
        unsafe { exit(1) }
    }

    /// A file's bytes at an address, without heap: here mapped, on a bare machine part of the flash memory.
    /// `path` ends with a zero byte. The file must not change while the program runs.
    pub fn bytes(path: &str) -> Result<&'static [u8]> {
        const READ_ONLY: c_int = 0;
        const SEEK_END: c_int = 2;
        const PROTECTION_READ: c_int = 1;
        const MAP_PRIVATE: c_int = 2;
        assert!(path.ends_with('\0'), "a path for C");
        let failed = |reason| Err(Error::io(&path[..path.len() - 1], "read", reason));
        // SAFETY: `path` is zero-terminated and lives through the call.
        let file = unsafe { open(path.as_ptr().cast(), READ_ONLY) };
        if file < 0 {
            return failed("the system does not open it");
        }
        // SAFETY: `file` is open; these calls only look at it and map new addresses, which no one else uses.
        let (len, address) = unsafe {
            let len = lseek(file, 0, SEEK_END);
            let size = usize::try_from(len).unwrap_or(0);
            let address = mmap(ptr::null_mut(), size, PROTECTION_READ, MAP_PRIVATE, file, 0);
            close(file);
            (size, address)
        };
        if len == 0 || address.addr() == usize::MAX {
            return failed("it is empty or no file");
        }
        // SAFETY: `len` readable bytes at `address`, never unmapped, not written through this mapping; that
        // the file stays as it is, is the caller's part.
        Ok(unsafe { core::slice::from_raw_parts(address.cast(), len) })
    }

    #[global_allocator]
    static HEAP: Heap<HEAP_BYTES> = Heap::new();
}
