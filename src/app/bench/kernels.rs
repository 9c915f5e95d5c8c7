//! Matrix products: `nn` is `A B`, `nt` is `A B^T` and `tn` is `A^T B`, all with row-major operands: a
//! linear layer's forward, its gradient to the input, its gradient to the weights.

use super::{Bench, Case, Unit, seconds};
use crate::engine::cpu::gemm::gemm;
use crate::engine::{Init, Matrix};
use crate::error::Result;
use crate::num::rng::{Purpose, Rng, Stage};

/// (m, n, k): square, GPT-2's MLP at 512 tokens in both directions, a small layer, GPT-2's head.
const SHAPES: [(usize, usize, usize); 5] =
    [(1024, 1024, 1024), (512, 3072, 768), (512, 768, 3072), (1024, 256, 256), (256, 50257, 768)];

/// Which operand is stored transposed.
const FORMS: [(&str, bool, bool); 3] = [("nn", false, false), ("nt", false, true), ("tn", true, false)];

/// Floating-point operations of a sample, so that it lasts some ten milliseconds.
const SAMPLE_FLOPS: f64 = 8e9;

pub fn run(bench: &mut Bench) -> Result<()> {
    let (threads, precision) = (rayon::current_num_threads(), bench.precision);
    let shapes = if bench.quick { vec![SHAPES[0], SHAPES[3]] } else { SHAPES.to_vec() };
    for (m, n, k) in shapes {
        for (form, transpose_a, transpose_b) in FORMS {
            let name = format!("gemm/{form}/{m}x{n}x{k}");
            if !bench.wants(&name) {
                continue;
            }
            let (a, b) = (uniform(m * k), uniform(k * n));
            let a = if transpose_a { Matrix::transposed(&a, m) } else { Matrix::new(&a, k) };
            let b = if transpose_b { Matrix::transposed(&b, k) } else { Matrix::new(&b, n) };
            let mut c = vec![0.0; m * n];
            let flops = 2.0 * m as f64 * n as f64 * k as f64;
            let times = (SAMPLE_FLOPS / flops).ceil();
            for threads in if threads == 1 { vec![1] } else { vec![1, threads] } {
                let case = Case {
                    name: name.clone(),
                    threads,
                    unit: Unit::GigaflopsPerSecond,
                    amount: flops,
                    flops,
                    bytes: 0.0,
                    samples: bench.samples(false),
                    warm_up: true,
                };
                bench.measure(case, || {
                    let work = || {
                        (0..times as usize).for_each(|_| gemm(precision, m, n, k, a, b, Init::Zero, &mut c))
                    };
                    Ok(seconds(work) / times)
                })?;
            }
        }
    }
    Ok(())
}

/// Numbers between -1 and 1.
pub fn uniform(n: usize) -> Vec<f32> {
    let mut rng = Rng::at(1, Stage::Test, Purpose::Noise, 0, 0, 0);
    (0..n).map(|_| 2.0 * rng.uniform() - 1.0).collect()
}
