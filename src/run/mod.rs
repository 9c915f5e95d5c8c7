//! Floor 6: a run. [`driver`] drives any [`stage`] and keeps [`watch`] over its steps; below them the [`directory`] with
//! what is [`completed`], the [`metrics`], the [`recent_losses`], and the [`progress`] that others are told, and
//! what is said on [`stderr`].

pub mod completed;
pub mod directory;
pub mod driver;
pub mod metrics;
pub mod progress;
pub mod recent_losses;
pub mod stage;
pub mod stderr;
pub mod watch;

pub use driver::Run;
pub use stage::{Finished, Saved, Stage, StageId, StageState, Step};
pub use watch::Watch;
