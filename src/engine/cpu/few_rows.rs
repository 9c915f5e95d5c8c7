//! `C = start + A B` for a few rows of A, with B read once and where it lies: for a product that is made a single
//! time, of which packing B would be most of the work. The chains are [`super::gemm`]'s in f32.

use crate::engine::Init;
use crate::num::math::fma;
use crate::num::par;

/// Columns that are not split further.
const UNIT: usize = 16;
/// Rows of B that are taken at a time, so that C is loaded and stored the less often.
const DEPTH: usize = 4;

/// `C = start + A B` with A (m, k), B (k, n) and C (m, n), all row-major.
///
/// # Panics
/// If the lengths are not those of such shapes.
pub fn multiply(a: &[f32], b: &[f32], n: usize, start: Init, c: &mut [f32]) {
    let (m, k) = (c.len() / n, b.len() / n);
    assert_eq!((m * k, k * n, m * n), (a.len(), b.len(), c.len()), "no product with {n} columns");
    // Split over columns, a run of them for each thread: shorter ones would be read the slower.
    let grain = n.div_ceil(UNIT).div_ceil(par::threads());
    par::for_each(par::columns(c, n, UNIT), grain, |first, part| {
        let mut rows = part.rows;
        let columns = first * UNIT..first * UNIT + rows.first().map_or(0, |row| row.len());
        for row in &mut rows {
            match start {
                Init::Zero => row.fill(0.0),
                Init::Bias(bias) => row.copy_from_slice(&bias[columns.clone()]),
                Init::Accumulate => {}
            }
        }
        for (step, b) in b.chunks(DEPTH * n).enumerate() {
            for (a, row) in a.chunks_exact(k).zip(&mut rows) {
                let a = &a[step * DEPTH..];
                let b = |p: usize| &b[p * n..][columns.clone()];
                if let [a0, a1, a2, a3, ..] = *a {
                    let b = b(0).iter().zip(b(1)).zip(b(2)).zip(b(3));
                    for (acc, (((b0, b1), b2), b3)) in row.iter_mut().zip(b) {
                        *acc = fma(a3, *b3, fma(a2, *b2, fma(a1, *b1, fma(a0, *b0, *acc))));
                    }
                } else {
                    for (p, a) in a.iter().enumerate() {
                        row.iter_mut().zip(b(p)).for_each(|(acc, b)| *acc = fma(*a, *b, *acc));
                    }
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::gemm::gemm;
    use super::*;
    use crate::engine::{Matrix, Precision};
    use alloc::vec::Vec;

    #[test]
    fn bits_are_gemms() {
        let numbers = |len: usize, salt: usize| -> Vec<f32> {
            (0..len).map(|i| ((i * 7919 + salt) % 1013) as f32 / 97.0 - 5.0).collect()
        };
        for threads in [1, 2, 3] {
            for (m, n, k) in [(1, 1, 1), (1, 33, 7), (2, 16, 4), (3, 100, 9), (5, 64, 130), (0, 5, 3)] {
                let (a, b, bias) = (numbers(m * k, 1), numbers(k * n, 2), numbers(n, 3));
                for start in [Init::Zero, Init::Bias(&bias), Init::Accumulate] {
                    let [mut expected, mut found] = [(); 2].map(|()| numbers(m * n, 4));
                    let (left, right) = (Matrix::new(&a, k), Matrix::new(&b, n));
                    gemm(Precision::F32, m, n, k, left, right, start, &mut expected);
                    par::with_threads(threads, || multiply(&a, &b, n, start, &mut found));
                    let bits = |c: &[f32]| c.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                    assert_eq!(bits(&found), bits(&expected), "{m} {n} {k}");
                }
            }
        }
    }
}
