//! The `gemm` crate (candle's), measured on the matrix products of `instructgpt bench`:
//!
//! ```text
//! bench_gemm gemm/nn/1024x1024x1024 THREADS
//! ```
//!
//! The protocol is that of `bench_torch.py --serve`: one JSON line with the unit when all is ready, then a
//! sample for each line on standard input.

use std::io::{BufRead, Write};
use std::time::Instant;

use gemm::Parallelism;

/// Floating-point operations of a sample: as many as in `instructgpt bench`.
const SAMPLE_FLOPS: f64 = 8e9;

/// Numbers, and the strides of the matrix that they stand for.
struct Matrix {
    numbers: Vec<f32>,
    row_stride: usize,
    column_stride: usize,
}

impl Matrix {
    /// Stored row by row; if `transposed`, that is how its transpose is stored.
    fn new(rows: usize, columns: usize, transposed: bool) -> Self {
        let (row_stride, column_stride) = if transposed { (1, rows) } else { (columns, 1) };
        Matrix { numbers: vec![0.0; rows * columns], row_stride, column_stride }
    }

    /// Filled with numbers between -0.5 and 0.5, from a linear congruential generator
    /// (multiplier: Steele and Vigna, 2021).
    fn random(mut self, seed: u64) -> Self {
        let mut state = seed;
        for number in &mut self.numbers {
            state = state.wrapping_mul(0xd1342543de82ef95).wrapping_add(1);
            *number = (state >> 40) as f32 / (1 << 24) as f32 - 0.5;
        }
        self
    }

    fn at(&self, row: usize, column: usize) -> f32 {
        self.numbers[row * self.row_stride + column * self.column_stride]
    }
}

/// `C = A B`, with A of m x k, B of k x n and C of m x n.
struct Product {
    size: (usize, usize, usize),
    a: Matrix,
    b: Matrix,
    c: Matrix,
    parallelism: Parallelism,
}

impl Product {
    /// `gemm/{nn,nt,tn}/MxNxK`: nn is `A B`, nt is `A B^T` and tn is `A^T B`, of what is stored.
    fn of_case(name: &str, threads: usize) -> Option<Self> {
        let (form, shape) = name.strip_prefix("gemm/")?.split_once('/')?;
        let sizes: Option<Vec<usize>> = shape.split('x').map(|size| size.parse().ok()).collect();
        let [m, n, k] = sizes?.try_into().ok()?;
        let (transpose_a, transpose_b) = match form {
            "nn" => (false, false),
            "nt" => (false, true),
            "tn" => (true, false),
            _ => return None,
        };
        let parallelism = if threads == 1 { Parallelism::None } else { Parallelism::Rayon(threads) };
        Some(Product {
            size: (m, n, k),
            a: Matrix::new(m, k, transpose_a).random(1),
            b: Matrix::new(k, n, transpose_b).random(2),
            c: Matrix::new(m, n, false),
            parallelism,
        })
    }

    fn run(&mut self) {
        let Product { size: (m, n, k), a, b, c, parallelism } = self;
        // SAFETY: each matrix holds as many numbers as sizes and strides reach, and C is borrowed mutably.
        unsafe {
            gemm::gemm(
                *m,
                *n,
                *k,
                c.numbers.as_mut_ptr(),
                c.column_stride as isize,
                c.row_stride as isize,
                false,
                a.numbers.as_ptr(),
                a.column_stride as isize,
                a.row_stride as isize,
                b.numbers.as_ptr(),
                b.column_stride as isize,
                b.row_stride as isize,
                0.0,
                1.0,
                false,
                false,
                false,
                *parallelism,
            )
        }
    }

    /// One element of C, to see that the call's arguments stand in order: if not, it would be as fast.
    fn check(&self) {
        let (m, n, k) = self.size;
        let (row, column) = (m / 3, n / 2);
        let expected: f64 =
            (0..k).map(|i| f64::from(self.a.at(row, i)) * f64::from(self.b.at(i, column))).sum();
        let found = f64::from(self.c.at(row, column));
        // Each of the k products is below 0.25.
        let tolerance = f64::from(f32::EPSILON) * 0.25 * k as f64;
        assert!((found - expected).abs() <= tolerance, "C[{row}, {column}] is {found}, expected {expected}");
    }
}

fn serve(mut product: Product) -> std::io::Result<()> {
    let (m, n, k) = product.size;
    let flops = 2.0 * m as f64 * n as f64 * k as f64;
    let times = (SAMPLE_FLOPS / flops).ceil() as usize;
    product.run();
    product.check();
    let mut sample = || {
        let start = Instant::now();
        (0..times).for_each(|_| product.run());
        flops * times as f64 / start.elapsed().as_secs_f64() / 1e9
    };
    sample();
    let mut out = std::io::stdout();
    writeln!(out, r#"{{"unit": "GFLOP/s"}}"#)?;
    for line in std::io::stdin().lock().lines() {
        line?;
        writeln!(out, "{}", sample())?;
    }
    Ok(())
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let parsed = match &arguments[..] {
        [name, threads] => threads
            .parse()
            .ok()
            .filter(|&threads| threads > 0)
            .and_then(|threads| Some((threads, Product::of_case(name, threads)?))),
        _ => None,
    };
    let Some((threads, product)) = parsed else {
        eprintln!("usage: bench_gemm gemm/{{nn,nt,tn}}/MxNxK THREADS, found {arguments:?}");
        std::process::exit(2);
    };
    // Within the pool, as `instructgpt` is: outside it every product would pay a hand-over.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
    pool.install(|| serve(product)).expect("standard input and output");
}
