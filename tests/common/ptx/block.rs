//! Runs a block: each thread until it waits for others or ends, a warp until all its threads stand at the block's
//! barrier or have ended, as `tests/cuda/block.h` does.

use super::operations::Value;
use super::{Fragments, Instruction, Kernel, Mode, SPECIAL, Space, Step, Type};

/// Three numbers of a grid, a block or a place in one.
pub type Dim = [u32; 3];

#[derive(Clone, Copy, PartialEq)]
enum State {
    Ready,
    AtBarrier,
    /// For these lanes.
    AtWarp(u32),
    Ended,
}

struct Thread {
    state: State,
    next: usize,
    registers: Vec<u64>,
}

struct Block<'a> {
    kernel: &'a Kernel,
    threads: Vec<Thread>,
    shared: Vec<u8>,
}

/// What a value is that nobody has given: not a number.
const NOTHING: u64 = 0xffff_ffff;

/// Runs a grid; `backward`, with its blocks and threads in the opposite order.
///
/// # Safety
/// The arguments' addresses are of memory that the kernel may use as it does.
pub unsafe fn launch(
    kernel: &Kernel,
    grid: Dim,
    size: Dim,
    dynamic: usize,
    arguments: &[u64],
    backward: bool,
) {
    let place = |i: u64, of: Dim| -> Dim {
        let [x, y] = [of[0], of[1]].map(u64::from);
        [i % x, i / x % y, i / x / y].map(|i| i as u32)
    };
    let blocks: u64 = grid.iter().map(|&n| u64::from(n)).product();
    let count = size.iter().product::<u32>() as usize;
    for i in 0..blocks {
        let index = place(if backward { blocks - 1 - i } else { i }, grid);
        let thread = |i: usize| {
            let mut registers = kernel.registers.clone();
            let special = [place(i as u64, size), index, size, grid];
            registers
                .iter_mut()
                .zip(special.as_flattened())
                .for_each(|(register, &value)| *register = value.into());
            registers[SPECIAL.len()..][..arguments.len()].copy_from_slice(arguments);
            Thread { state: State::Ready, next: 0, registers }
        };
        let threads = (0..count).map(thread).collect();
        let mut block = Block { kernel, threads, shared: vec![0xff; kernel.shared + dynamic] };
        // SAFETY: as the caller promises.
        unsafe { block.run(backward) };
    }
}

impl<'a> Block<'a> {
    unsafe fn run(&mut self, backward: bool) {
        let count = self.threads.len();
        let ordered = |n: usize| (0..n).map(move |i| if backward { n - 1 - i } else { i });
        loop {
            for warp in ordered(count.div_ceil(32)) {
                let first = 32 * warp;
                let lanes = (count - first).min(32);
                loop {
                    for lane in ordered(lanes) {
                        // SAFETY: as the caller promises.
                        unsafe { self.go_on(first + lane) };
                    }
                    if !self.release(first, lanes) {
                        break;
                    }
                }
            }
            let at = |state: State| self.threads.iter().filter(|thread| thread.state == state).count();
            let (waiting, ended) = (at(State::AtBarrier), at(State::Ended));
            assert_eq!(waiting + ended, count, "some threads wait for lanes of their warp that do not come");
            assert!(waiting == 0 || ended == 0, "a barrier that not all threads reach");
            if waiting == 0 {
                return;
            }
            self.threads.iter_mut().for_each(|thread| thread.state = State::Ready);
        }
    }

    /// Runs one thread until it waits.
    unsafe fn go_on(&mut self, thread: usize) {
        let Thread { state, next, registers } = &mut self.threads[thread];
        while *state == State::Ready {
            let Instruction { guard, step, to, from } = &self.kernel.code[*next];
            *next += 1;
            if guard.is_some_and(|(register, wanted)| (registers[register] != 0) != wanted) {
                continue;
            }
            match *step {
                Step::Compute(compute, [a, b, c, d]) => {
                    registers[to[0]] = compute(registers[a], registers[b], registers[c], registers[d]);
                }
                Step::Branch(target) => *next = target,
                Step::Load(space, offset, kind) => {
                    let address = registers[from[0]].wrapping_add_signed(offset);
                    assert_aligned(address, kind, to.len());
                    for (i, &register) in to.iter().enumerate() {
                        let address = address + (i * kind.bytes) as u64;
                        let raw = match space {
                            Space::Shared => word(&self.shared[address as usize..][..kind.bytes]),
                            // SAFETY: the address is the kernel's, and aligned.
                            Space::Global => unsafe { read(address, kind.bytes) },
                        };
                        registers[register] = kind.extend(raw);
                    }
                }
                Step::Store(space, offset, kind) => {
                    let address = registers[from[0]].wrapping_add_signed(offset);
                    assert_aligned(address, kind, from.len() - 1);
                    for (i, &register) in from[1..].iter().enumerate() {
                        let address = address + (i * kind.bytes) as u64;
                        let bytes = registers[register].to_le_bytes();
                        match space {
                            Space::Shared => {
                                self.shared[address as usize..][..kind.bytes]
                                    .copy_from_slice(&bytes[..kind.bytes]);
                            }
                            // SAFETY: the address is the kernel's, and aligned.
                            Space::Global => unsafe { write(address, kind.bytes, registers[register]) },
                        }
                    }
                }
                Step::Barrier => *state = State::AtBarrier,
                Step::WarpBarrier => *state = State::AtWarp(registers[from[0]] as u32),
                Step::Shuffle(_) => *state = State::AtWarp(registers[from[3]] as u32),
                Step::Product(_) => *state = State::AtWarp(u32::MAX),
                Step::Return => *state = State::Ended,
            }
        }
    }

    /// Lets those lanes of a warp go on whose whole group has come.
    fn release(&mut self, first: usize, lanes: usize) -> bool {
        let mut any = false;
        let gone = |lane: usize| lane >= lanes || self.threads[first + lane].state == State::Ended;
        let gone: u32 = (0..32).map(|lane| u32::from(gone(lane)) << lane).sum();
        for lane in 0..lanes {
            let State::AtWarp(mask) = self.threads[first + lane].state else { continue };
            assert!(mask >> lane & 1 == 1, "the mask of an exchange lacks the calling lane");
            let came = |lane: usize| lane < lanes && self.threads[first + lane].state == State::AtWarp(mask);
            let came: u32 = (0..32).map(|lane| u32::from(came(lane)) << lane).sum();
            if came == mask & !gone {
                self.exchange(first, came);
                any = true;
            }
        }
        any
    }

    /// The lanes of a group get what they asked for, and go on.
    fn exchange(&mut self, first: usize, group: u32) {
        let members: Vec<usize> = (0..32).filter(|lane| group >> lane & 1 == 1).collect();
        // What each lane hands over: no lane may see what another one is given.
        let mut handed = vec![vec![]; 32];
        for &lane in &members {
            let Thread { registers, .. } = &self.threads[first + lane];
            handed[lane] = self.asked(first + lane).from.iter().map(|&from| registers[from]).collect();
        }
        for &lane in &members {
            let instruction = self.asked(first + lane);
            let results = match instruction.step {
                Step::Shuffle(mode) => {
                    let (source, inside) =
                        source(mode, lane as u32, handed[lane][1] as u32, handed[lane][2] as u32);
                    let value = handed[source as usize].first().copied().unwrap_or(NOTHING);
                    vec![value, inside.into()]
                }
                Step::Product(fragments) => {
                    assert_eq!(group, u32::MAX, "a product of fragments without the whole warp");
                    (0..4).map(|i| element(fragments, lane, i, &handed)).collect()
                }
                _ => vec![],
            };
            let Thread { registers, state, .. } = &mut self.threads[first + lane];
            instruction.to.iter().zip(results).for_each(|(&to, result)| registers[to] = result);
            *state = State::Ready;
        }
    }

    /// The instruction at which a thread waits.
    fn asked(&self, thread: usize) -> &'a Instruction {
        &self.kernel.code[self.threads[thread].next - 1]
    }
}

/// The lane that a shuffle reads, and whether it lies inside the bounds; if not, it is the lane itself. Names are those
/// of PTX's manual.
fn source(mode: Mode, lane: u32, b: u32, c: u32) -> (u32, bool) {
    let (bval, cval, segmask) = (b & 31, c & 31, c >> 8 & 31);
    let max_lane = lane & segmask | cval & !segmask;
    let min_lane = lane & segmask;
    let (j, inside) = match mode {
        Mode::Up => (lane.wrapping_sub(bval), lane as i32 - bval as i32 >= max_lane as i32),
        Mode::Down => (lane + bval, lane + bval <= max_lane),
        Mode::Xor => (lane ^ bval, lane ^ bval <= max_lane),
        Mode::Index => {
            let j = min_lane | bval & !segmask;
            (j, j <= max_lane)
        }
    };
    if inside { (j, true) } else { (lane, false) }
}

/// The i-th of a lane's four elements of a b + c; each lane hands over four words of a, two of b and four of c. A GPU
/// adds in an order of its own; here k ascends, as in `tests/cuda/shim.h`.
fn element(fragments: Fragments, lane: usize, i: usize, handed: &[Vec<u64>]) -> u64 {
    let (row, column) = (lane / 4 + i / 2 * 8, lane % 4 * 2 + i % 2);
    let number = |word: u64, k: usize| match fragments {
        Fragments::Tf32 => f32::from_bits(word as u32 & 0xffff_e000),
        Fragments::Bf16 => {
            f32::from_bits(if k.is_multiple_of(2) { (word as u32) << 16 } else { word as u32 & 0xffff_0000 })
        }
    };
    // Words go in fours, of one number or of two.
    let (depth, per_word) = match fragments {
        Fragments::Tf32 => (8, 1),
        Fragments::Bf16 => (16, 2),
    };
    let term = |sum: f32, k: usize| {
        let word = k / per_word;
        let a = handed[row % 8 * 4 + word % 4][row / 8 + word / 4 * 2];
        let b = handed[column * 4 + word % 4][4 + word / 4];
        number(a, k).mul_add(number(b, k), sum)
    };
    (0..depth).fold(f32::of(handed[lane][6 + i]), term).bits()
}

fn assert_aligned(address: u64, kind: Type, count: usize) {
    assert_eq!(address % (kind.bytes * count) as u64, 0, "an address that is not aligned");
}

fn word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

/// # Safety
/// So many bytes can be read there, and the address is a multiple of that.
unsafe fn read(address: u64, bytes: usize) -> u64 {
    // SAFETY: as the caller promises.
    unsafe {
        match bytes {
            1 => (address as *const u8).read().into(),
            2 => (address as *const u16).read().into(),
            4 => (address as *const u32).read().into(),
            _ => (address as *const u64).read(),
        }
    }
}

/// # Safety
/// So many bytes can be written there, and the address is a multiple of that.
unsafe fn write(address: u64, bytes: usize, value: u64) {
    // SAFETY: as the caller promises.
    unsafe {
        match bytes {
            1 => (address as *mut u8).write(value as u8),
            2 => (address as *mut u16).write(value as u16),
            4 => (address as *mut u32).write(value as u32),
            _ => (address as *mut u64).write(value),
        }
    }
}
