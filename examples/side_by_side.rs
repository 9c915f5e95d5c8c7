//! What `reference/bench_side_by_side.py` takes of the library to give to other programs: a model directory with random
//! weights, as `instructgpt bench` has them, and the bits of a matrix product.
//!
//! ```text
//! side_by_side model DIRECTORY VOCABULARY CONTEXT WIDTH LAYERS HEADS
//! side_by_side product M N K A B C
//! ```
//!
//! `C = A B`, with A of m x k and B of k x n: files of f32, row by row, little-endian.

use std::fs;
use std::path::Path;

use instructgpt::checkpoint::save_model_directory;
use instructgpt::engine::cpu::gemm::gemm;
use instructgpt::engine::{Cpu, Init, Matrix};
use instructgpt::error::{Error, Result};
use instructgpt::model::{Head, ModelConfig, Network, Precision};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["model", directory, vocabulary, context, width, layers, heads] => {
            let [v, t, c, l, h] = numbers([vocabulary, context, width, layers, heads])?;
            let network = Network::random(Cpu, ModelConfig::gpt2(v, t, c, l, h), Head::LanguageModel, 1);
            save_model_directory(Path::new(directory), &network, None, &[])
        }
        ["product", m, n, k, a, b, c] => {
            let [m, n, k] = numbers([m, n, k])?;
            let (a, b) = (read(a, m * k)?, read(b, k * n)?);
            let mut product = vec![0.0; m * n];
            gemm(Precision::F32, m, n, k, Matrix::new(&a, k), Matrix::new(&b, n), Init::Zero, &mut product);
            let bytes: Vec<u8> = product.iter().flat_map(|x| x.to_le_bytes()).collect();
            fs::write(c, bytes).map_err(|error| Error::io(c, "write", error))
        }
        _ => Err(Error::usage("side_by_side", "model or product, as its source says", arguments.len(), "")),
    }
}

fn numbers<const N: usize>(words: [&str; N]) -> Result<[usize; N]> {
    let mut numbers = [0; N];
    for (number, word) in numbers.iter_mut().zip(words) {
        *number = word.parse().map_err(|_| Error::usage("side_by_side", "a number", word, ""))?;
    }
    Ok(numbers)
}

/// A file of exactly `count` numbers.
fn read(path: &str, count: usize) -> Result<Vec<f32>> {
    let bytes = fs::read(path).map_err(|error| Error::io(path, "read", error))?;
    let numbers: Vec<f32> =
        bytes.chunks_exact(4).map(|x| f32::from_le_bytes([x[0], x[1], x[2], x[3]])).collect();
    if numbers.len() != count || bytes.len() != 4 * count {
        let found = format!("{} bytes", bytes.len());
        return Err(Error::format(path, "", format!("{count} numbers of 4 bytes"), found, ""));
    }
    Ok(numbers)
}
