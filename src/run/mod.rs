//! Floor 6: a run. Its directory, what it records, what it resumes from, whom it tells.

pub mod completed;
pub mod directory;
pub mod metrics;
pub mod progress;
pub mod recent_losses;
