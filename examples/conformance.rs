//! Checks an implementation in Rust against the conformance vectors: here the moving average of weights, written again.
//!
//! ```sh
//! cargo run --example conformance --no-default-features --features fixtures
//! ```

use instructgpt::fixtures::{Array, Arrays, Vectors};

fn main() {
    let vectors = Vectors::embedded();
    for case in vectors.of("ema") {
        let input = |name| vectors.input(case, name).array().floats();
        let (average, weights, decay) = (input("average"), input("weights"), input("decay")[0]);
        let after: Vec<f64> =
            average.iter().zip(weights).map(|(a, w)| decay * a + (1.0 - decay) * w).collect();
        let mine = Arrays::from([("after".into(), Array::of_floats(vec![after.len()], after))]);
        let judgement = vectors.judge(case, &mine);
        println!("{}  {judgement}", case.id);
        assert!(judgement.passes());
    }
}
