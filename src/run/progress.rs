//! How a stage tells what it is doing: an interface only. The command line draws it; a library user
//! brings their own or none. Nothing that is said here reaches a result.

use super::plan::Plan;

/// Receives the progress of a run.
pub trait Progress: Send {
    /// What the run is going to do, once it is known: before the first stage.
    fn plan(&mut self, _plan: &Plan) {}
    /// A stage begins; `total_steps` counts its updates (PPO: iterations), 0 if not known.
    fn stage(&mut self, name: &str, total_steps: u64);
    /// Step `step` (from 1) is done; `line` says how it went: `"loss 1.234"`, `"reward 0.31 KL 2.1"`.
    fn step(&mut self, step: u64, line: &str);
    /// A remark that stays on the screen.
    fn note(&mut self, text: &str);
    /// The stage is over.
    fn finish(&mut self);
}

/// Says nothing.
#[derive(Debug, Default, Clone, Copy)]
pub struct Silent;

impl Progress for Silent {
    fn stage(&mut self, _: &str, _: u64) {}
    fn step(&mut self, _: u64, _: &str) {}
    fn note(&mut self, _: &str) {}
    fn finish(&mut self) {}
}
