use super::*;
use crate::engine::cpu::packed::Packed;
use crate::engine::plain;
use crate::num::rng::{Purpose, Rng, Stage};
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;

fn noise(seed: u64, n: usize) -> Vec<f32> {
    let mut rng = Rng::at(seed, Stage::Test, Purpose::Test, 0, 0, 0);
    (0..n).map(|_| rng.normal()).collect()
}

fn bits(xs: &[f32]) -> Vec<u32> {
    xs.iter().map(|x| x.to_bits()).collect()
}

/// Numbers of very different sizes, subnormal and vanishing ones among them.
fn hostile(seed: u64, n: usize) -> Vec<f32> {
    let mut rng = Rng::at(seed, Stage::Test, Purpose::Noise, 0, 0, 0);
    let scales = [1.0, 1e-18, 1e-20, 1e-38, 0.0, -1e3, 1e-40];
    (0..n).map(|_| rng.normal() * scales[rng.below(scales.len())]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn fast_equals_definition(
        m in 0usize..70, n in 0usize..100, k in 0usize..40, deep in 0usize..6, in_bf16: bool,
        transpose_a: bool, transpose_b: bool, start in 0usize..3, threads in 1usize..4,
        cuts in proptest::collection::vec(0usize..900, 0..9), numbers: bool, seed: u64,
    ) {
        let precision = if in_bf16 { Precision::Bf16 } else { Precision::F32 };
        let k = k + deep * 170; // to cross a block of depth now and then
        let noise = if numbers { noise } else { hostile };
        let (a, b) = (noise(seed, m * k), noise(seed + 1, k * n));
        let (bias, start_c) = (noise(seed + 2, n), noise(seed + 3, m * n));
        let a_view = if transpose_a { Matrix::transposed(&a, m) } else { Matrix::new(&a, k) };
        let b_view = if transpose_b { Matrix::transposed(&b, k) } else { Matrix::new(&b, n) };
        let init = [Init::Zero, Init::Bias(&bias), Init::Accumulate][start];
        let (mut fast, mut defined) = (start_c.clone(), start_c.clone());
        par::with_threads(threads, || gemm(precision, m, n, k, a_view, b_view, init, &mut fast));
        plain::gemm::gemm(precision, m, n, &[0, k], a_view, b_view, init, &mut defined);
        prop_assert_eq!(bits(&fast), bits(&defined));
        if !transpose_a && m > 0 && k > 0 {
            let mut packed = start_c.clone();
            let product = || Packed::new(precision, k, n, b_view).multiply(&a, init, &mut packed);
            par::with_threads(threads, product);
            prop_assert_eq!(bits(&packed), bits(&defined));
        }
        // The same depth in runs.
        let mut offsets: Vec<usize> = cuts.into_iter().map(|cut| cut.min(k)).chain([0, k]).collect();
        offsets.sort_unstable();
        let runs = Depth::runs(&offsets);
        let (mut fast, mut defined) = (start_c.clone(), start_c.clone());
        par::with_threads(threads, || gemm(precision, m, n, runs, a_view, b_view, init, &mut fast));
        plain::gemm::gemm(precision, m, n, &offsets, a_view, b_view, init, &mut defined);
        prop_assert_eq!(bits(&fast), bits(&defined));
        // And in two products, cut where no pair is: what micro-batches do.
        let cut = runs.cut(k / 2);
        let halves = [0..cut, cut..k].map(|part| {
            let a = if transpose_a { &a[part.start * m..] } else { &a[part.start.min(a.len())..] };
            let b = if transpose_b { &b[part.start.min(b.len())..] } else { &b[part.start * n..] };
            (runs.part(part), Matrix { data: a, ..a_view }, Matrix { data: b, ..b_view })
        });
        let [(head, a_head, b_head), (tail, a_tail, b_tail)] = halves;
        let mut twice = start_c.clone();
        gemm(precision, m, n, head, a_head, b_head, init, &mut twice);
        gemm(precision, m, n, tail, a_tail, b_tail, Init::Accumulate, &mut twice);
        if cut > 0 || matches!(init, Init::Accumulate) {
            prop_assert_eq!(bits(&twice), bits(&defined));
        }
    }
}

/// Three products at once against the definition of each.
fn several(precision: Precision, shapes: [(usize, usize); 3], k: usize, threads: usize, seed: u64) {
    let offsets = [0, k / 3, k];
    let a = shapes.map(|(m, _)| noise(seed ^ 1, m * k));
    let b = shapes.map(|(_, n)| noise(seed ^ 2, k * n));
    let bias = shapes.map(|(_, n)| noise(seed ^ 3, n));
    let mut fast = shapes.map(|(m, n)| noise(seed ^ 4, m * n));
    let mut defined = fast.clone();
    let of = |i: usize| {
        let (m, n) = shapes[i];
        let init = [Init::Accumulate, Init::Bias(&bias[i]), Init::Zero][i];
        (Matrix::transposed(&a[i], m), Matrix::new(&b[i], n), init)
    };
    let mut index = 0..3;
    let all = fast.each_mut().map(|c| {
        let i = index.next().unwrap();
        let (a, b, init) = of(i);
        Product { n: shapes[i].1, a, b, init, c }
    });
    par::with_threads(threads, || products(precision, Depth::runs(&offsets), all));
    for (i, c) in defined.iter_mut().enumerate() {
        let ((m, n), (a, b, init)) = (shapes[i], of(i));
        plain::gemm::gemm(precision, m, n, &offsets, a, b, init, c);
    }
    for (i, (fast, defined)) in fast.iter().zip(&defined).enumerate() {
        assert_eq!(bits(fast), bits(defined), "product {i} of {shapes:?}, depth {k}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn several_products_equal_each_by_itself(
        shapes in prop::array::uniform3((0usize..40, 0usize..70)), k in 0usize..30, deep in 0usize..4,
        precision in prop_oneof![Just(Precision::F32), Just(Precision::Bf16)], threads in 1usize..4, seed: u64,
    ) {
        several(precision, shapes, k + deep * 170, threads, seed);
    }
}

#[test]
fn several_products_wider_than_a_block_equal_each_by_itself() {
    // The columns of the second are cut between two blocks, and none of the others'.
    several(Precision::F32, [(7, 3 * NR + 1), (5, NC), (9, NR - 1)], 20, 2, 1);
    several(Precision::F32, [(3, NC), (5, 2 * NC + 1), (1, 1)], 7, 3, 2);
}

#[test]
fn blocks_of_every_kind_equal_the_definition() {
    for (precision, deep) in [(Precision::F32, 1), (Precision::Bf16, 2)] {
        // Larger than every block size at once, with tails.
        let (m, n, k) = (2 * MC + 5, NC + NR + 3, deep * KC + 7);
        let (a, b) = (noise(1, m * k), noise(2, k * n));
        let (mut fast, mut defined) = (vec![0.0; m * n], vec![0.0; m * n]);
        let (a, b) = (Matrix::new(&a, k), Matrix::new(&b, n));
        par::with_threads(3, || gemm(precision, m, n, k, a, b, Init::Zero, &mut fast));
        plain::gemm::gemm(precision, m, n, &[0, k], a, b, Init::Zero, &mut defined);
        assert_eq!(bits(&fast), bits(&defined));
    }
}

#[test]
fn bf16_is_the_product_of_rounded_operands() {
    // An oracle that knows nothing of pairs: products of bf16 are exact in f64, and so are their sums here.
    let (m, n, k) = (7, 20, 33);
    let whole = |seed, n| noise(seed, n).into_iter().map(|x| (x * 64.0).round()).collect::<Vec<_>>();
    let (a, b) = (whole(1, m * k), whole(2, k * n));
    let mut c = vec![0.0; m * n];
    let (a_view, b_view) = (Matrix::new(&a, k), Matrix::new(&b, n));
    gemm(Precision::Bf16, m, n, k, a_view, b_view, Init::Zero, &mut c);
    for (i, c) in c.iter().enumerate() {
        let round = |x: f32| f64::from(half::bf16::from_f32(x));
        let exact: f64 = (0..k).map(|p| round(a[i / n * k + p]) * round(b[p * n + i % n])).sum();
        assert_eq!(f64::from(*c), exact);
    }
}

#[test]
fn bf16_flushes_what_cancels_below_the_normal_numbers() {
    let power = |e: i32| if e < -126 { 0.0 } else { f32::from_bits(((e + 127) as u32) << 23) };
    let of_rows = |a: [f32; 2], b: [f32; 2], start: f32, expected: f32| {
        // One row, which goes another way than several, and several.
        for m in [1, 3] {
            let (a, init) = (a.repeat(m), Init::Bias(&[start]));
            let (a_view, b_view) = (Matrix::new(&a, 2), Matrix::new(&b, 1));
            let (mut fast, mut packed, mut defined) = (vec![9.0; m], vec![9.0; m], vec![9.0; m]);
            gemm(Precision::Bf16, m, 1, 2, a_view, b_view, init, &mut fast);
            Packed::new(Precision::Bf16, 2, 1, b_view).multiply(&a, init, &mut packed);
            plain::gemm::gemm(Precision::Bf16, m, 1, &[0, 2], a_view, b_view, init, &mut defined);
            for found in [fast, packed, defined] {
                assert_eq!(bits(&found), bits(&vec![expected; m]), "{a:?} {b:?} {start}");
            }
        }
    };
    let (x, y) = (1.0 + power(-6), 1.0 + power(-7));
    for e in -125..-90 {
        let (one, other) = (power(e / 2), power(e - e / 2));
        // y^2 - x is 2^-14: what two products leave of each other.
        of_rows([one * x, one * y], [-other, other * y], 0.0, power(e - 14));
        // What a product leaves of the start.
        of_rows([-one, 0.0], [other, 0.0], power(e) * (1.0 + power(-23)), power(e - 23));
    }
}

#[test]
fn a_single_row_equals_the_same_row_among_others() {
    let (m, n, k) = (19, 8 * NR + 5, 77);
    let (a, b) = (noise(1, m * k), noise(2, k * n));
    for precision in [Precision::F32, Precision::Bf16] {
        let packed = Packed::new(precision, k, n, Matrix::new(&b, n));
        let mut together = vec![0.0; m * n];
        packed.multiply(&a, Init::Zero, &mut together);
        for (a, row) in a.chunks(k).zip(together.chunks(n)) {
            let mut alone = vec![0.0; n];
            packed.multiply(a, Init::Zero, &mut alone);
            assert_eq!(bits(&alone), bits(row));
        }
    }
}
