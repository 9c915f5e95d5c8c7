//! The facade over `wide::f32x16`.
