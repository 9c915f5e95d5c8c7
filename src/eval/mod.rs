//!
//! Everything is f64 in one fixed order, from numbers that are already there: no model is run here.

pub mod differences;
pub mod evaluation;
pub mod metadata;
pub mod metrics;
pub mod win_rate;
