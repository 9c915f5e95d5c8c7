//! Clipping by the global gradient norm, as PyTorch's `clip_grad_norm_` does it:
//!
//! ```text
//! scale = min(1, max_norm / (|g| + 1e-6))
//! ```
//! The paper prints no clipping; it is off by default.

/// What to multiply the gradients by so that their norm is at most `max_norm`; 1 when it already is.
pub fn clipping_scale(norm: f32, max_norm: f32) -> f32 {
    let scale = max_norm / (norm + 1e-6);
    if scale < 1.0 { scale } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_gradients_are_scaled() {
        assert_eq!(clipping_scale(5.0, 1.0), 1.0 / (5.0 + 1e-6));
        assert_eq!([clipping_scale(0.5, 1.0), clipping_scale(0.0, 1.0)], [1.0, 1.0]);
    }
}
