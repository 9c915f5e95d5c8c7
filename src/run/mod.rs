//! Floor 6: a run. [`driver`] drives any [`stage`] and keeps [`watch`] over its steps; below them the [`directory`] with
//! what is [`completed`] and the [`fingerprints`] of what is read, what the [`first`] rank does for all, the [`metrics`], the [`estimates`], the
//! [`recent_losses`], the [`hints`] where training plainly fails, and the [`progress`] that others are told, with the
//! [`plan`] of what is to come, and what is said on [`stderr`].

pub mod completed;
pub mod directory;
pub mod driver;
pub mod estimates;
pub mod fingerprints;
pub mod first;
pub mod hints;
pub mod metrics;
pub mod plan;
pub mod progress;
pub mod recent_losses;
pub mod stage;
pub mod stderr;
pub mod watch;

pub use driver::Run;
pub use plan::{Plan, PlannedStage, Speed, Work};
pub use stage::{Finished, Saved, Stage, StageId, StageState, Step};
pub use watch::Watch;
