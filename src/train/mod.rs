//! Floor 7: training (settings, metrics and progress; the stages follow).

pub mod metrics;
pub mod progress;
pub mod settings;
