//! Floor 8: judging. Statistics with intervals, the monitors of reward hacking, win rates, metadata.
//!
//! Everything is f64 in one fixed order, from numbers that are already there: no model is run here.

pub mod metadata;
pub mod monitors;
pub mod statistics;
pub mod win_rate;
