//! Which kernel of `gemm.cu` makes a product, with what grid and arguments.

use super::device::Argument::{Address, Int};
use super::device::{Argument, DeviceInfo, Kernel, Work};
use super::operations::{BLOCK, int};
use crate::engine::Precision;

/// A matrix operand: element `(i, j)` is `i row + j column` numbers from the address.
#[derive(Clone, Copy)]
pub struct Operand {
    address: Argument,
    row: usize,
    column: usize,
}

impl Operand {
    /// Row-major, rows of `width`.
    pub fn new(address: Argument, width: usize) -> Self {
        Operand { address, row: width, column: 1 }
    }

    /// The transpose of such a matrix.
    pub fn transposed(address: Argument, width: usize) -> Self {
        Operand { address, row: 1, column: width }
    }
}

/// What a product's chains start from.
#[derive(Clone, Copy)]
pub enum Start {
    /// +0.
    Zero,
    /// A number for each column.
    Bias(Argument),
    /// What C holds.
    Accumulate,
}

/// A product `C (m, n) = start + A (m, k) B (k, n)`.
pub struct Product {
    sizes: [usize; 3],
    a: Operand,
    b: Operand,
    start: Start,
    precision: Precision,
    runs: (u64, usize),
}

impl Product {
    /// Of sizes `[m, n, k]`.
    pub fn new(sizes: [usize; 3], a: Operand, b: Operand, start: Start, precision: Precision) -> Self {
        Product { sizes, a, b, start, precision, runs: (0, 0) }
    }

    /// k consists of so many runs, whose beginnings are words at `address`. Only pairs care for that, those of bf16.
    pub fn runs(&mut self, address: u64, count: usize) {
        if self.precision == Precision::Bf16 {
            self.runs = (address, count);
        }
    }

    /// The kernel and its grid: of the largest tile with which every processor has one.
    pub fn shape(&self, device: &DeviceInfo) -> (Kernel, [usize; 3]) {
        let [m, n, _] = self.sizes;
        let grid = |tile: usize| [n.div_ceil(tile), m.div_ceil(tile), 1];
        let fills = |tile: &usize| grid(*tile).iter().product::<usize>() >= device.processors as usize;
        // Tensor cores have no smaller tile than 64.
        let smallest = if self.precision.is_exact() { 32 } else { 64 };
        let tile = [128, 64].into_iter().find(fills).unwrap_or(smallest);
        let kernel = match (self.precision, tile) {
            (Precision::F32, 128) => Kernel::gemm_128,
            (Precision::F32, 64) => Kernel::gemm_64,
            (Precision::F32, _) => Kernel::gemm_32,
            (Precision::Bf16, 128) => Kernel::gemm_bf16_128,
            (Precision::Bf16, 64) => Kernel::gemm_bf16_64,
            (Precision::Bf16, _) => Kernel::gemm_bf16_32,
            (Precision::Tf32, 128) => Kernel::gemm_tf32_128,
            (Precision::Tf32, _) => Kernel::gemm_tf32_64,
            (Precision::Bf16Fast, 128) => Kernel::gemm_fast_bf16_128,
            (Precision::Bf16Fast, _) => Kernel::gemm_fast_bf16_64,
        };
        (kernel, grid(tile))
    }

    /// What the kernel is given.
    pub fn arguments(&self, c: Argument) -> [Argument; 14] {
        let (start, bias) = match self.start {
            Start::Zero => (0, Address(0)),
            Start::Bias(bias) => (1, bias),
            Start::Accumulate => (2, Address(0)),
        };
        let [m, n, k] = self.sizes.map(int);
        let [ai, ap] = [self.a.row, self.a.column].map(int);
        let [bp, bj] = [self.b.row, self.b.column].map(int);
        let (a, b, runs) = (self.a.address, self.b.address, Address(self.runs.0));
        [c, a, b, bias, Int(start), m, n, k, runs, int(self.runs.1), ai, ap, bp, bj]
    }

    /// Launches it, behind what was launched before.
    pub fn launch(&self, work: &mut Work, device: &DeviceInfo, c: Argument) {
        let (kernel, grid) = self.shape(device);
        work.launch(kernel, grid, BLOCK, &self.arguments(c));
    }
}
