//! An interpreter for PTX, the assembly language that NVRTC makes of a kernel. The test driver runs kernels that were
//! compiled as C++; this one runs what a GPU would be given, so it also sees what NVRTC has made of the arithmetic.
//!
//! | file | what |
//! |---|---|
//! | [`operations`] | instructions that compute: from up to four registers to one |
//! | [`parser`] | from text to code |
//! | [`block`] | runs the threads of a block |
//! | [`driver`] | puts all this behind the test driver |
//!
//! What is not in the tables is refused: so is every approximate instruction, and every addition or product without
//! `.rn`, which the assembler might fuse. A NaN that is computed is the one that a GPU gives.
#![allow(unsafe_code)]

mod block;
pub mod driver;
mod operations;
mod parser;

use operations::Compute;
pub use parser::{directive, entry};

/// A kernel's code.
pub struct Kernel {
    /// Bytes of each parameter.
    parameters: Vec<usize>,
    /// Threads that a block may have.
    bounds: u32,
    code: Vec<Instruction>,
    /// A thread's registers when it begins: first [`SPECIAL`], then the parameters; constants among the rest.
    registers: Vec<u64>,
    /// Bytes of shared memory, without what the launch adds.
    shared: usize,
}

/// Registers that say which thread this is.
const SPECIAL: [&str; 12] = [
    "%tid.x",
    "%tid.y",
    "%tid.z",
    "%ctaid.x",
    "%ctaid.y",
    "%ctaid.z",
    "%ntid.x",
    "%ntid.y",
    "%ntid.z",
    "%nctaid.x",
    "%nctaid.y",
    "%nctaid.z",
];

struct Instruction {
    /// A register, and whether it must be true.
    guard: Option<(usize, bool)>,
    step: Step,
    /// Registers to be written.
    to: Vec<usize>,
    /// Registers to be read.
    from: Vec<usize>,
}

enum Step {
    /// Of up to four registers; those that it has not are the first.
    Compute(Compute, [usize; 4]),
    /// To another instruction.
    Branch(usize),
    /// From the address in a register, and this many bytes further, into one register after the other.
    Load(Space, i64, Type),
    /// To the address in the first register, the others.
    Store(Space, i64, Type),
    /// Waits for the block.
    Barrier,
    /// Waits for the lanes of a mask.
    WarpBarrier,
    /// Of a value, a lane, bounds and a mask.
    Shuffle(Mode),
    /// Of a warp's fragments a, b and c: a b + c.
    Product(Fragments),
    Return,
}

#[derive(Clone, Copy, PartialEq)]
enum Space {
    Shared,
    Global,
}

#[derive(Clone, Copy)]
enum Mode {
    Index,
    Xor,
    Down,
    Up,
}

#[derive(Clone, Copy)]
enum Fragments {
    /// m16n8k8
    Tf32,
    /// m16n8k16
    Bf16,
}

/// Of what is loaded and stored.
#[derive(Clone, Copy)]
struct Type {
    bytes: usize,
    signed: bool,
}

impl Type {
    fn new(name: &str) -> Type {
        let bits: usize = name[1..].parse().unwrap_or_else(|_| panic!("type {name}"));
        Type { bytes: bits / 8, signed: name.starts_with('s') }
    }

    /// What a register holds of so many bytes.
    fn extend(self, raw: u64) -> u64 {
        let unused = 64 - 8 * self.bytes as u32;
        if self.signed { ((raw << unused) as i64 >> unused) as u64 } else { raw << unused >> unused }
    }
}
