//! The length of the gradient of all parameters, and the search for what is not finite.
//!
//! ```text
//! |g| = sqrt(sum over i of g[i]^2)
//! ```
//! The sum's order is part of the definition: chunks of [`CHUNK`] elements of the flat buffer, each a
//! [`reduce::dot`] with itself, added in order in f64.

use super::reduce;

/// Elements of a chunk of the flat buffer.
pub const CHUNK: usize = 4096;

/// The L2 norm of the flat gradient buffer; infinite when a square overflows.
pub fn gradient_norm(gradients: &[f32]) -> f32 {
    let mut total = 0.0f64;
    for chunk in gradients.chunks(CHUNK) {
        total += f64::from(reduce::dot(chunk, chunk));
    }
    libm::sqrt(total) as f32
}

/// The index of the first infinity or NaN.
pub fn first_non_finite(values: &[f32]) -> Option<usize> {
    values.iter().position(|x| !x.is_finite())
}
