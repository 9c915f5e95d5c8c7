//! Floor 8: what a model is worth.
//!
//! Comparing the models of a run ([`evaluation`]) takes numbers that are already there. Public benchmarks
//! ([`tasks`], asked by [`run_tasks`]) run a model. All statistics are f64 in one fixed order.

pub mod benchmarks;
pub mod differences;
pub mod evaluation;
pub mod loglikelihood;
pub mod metadata;
pub mod metrics;
pub mod run_tasks;
pub mod samples;
pub mod scorer;
pub mod task_files;
pub mod task_results;
pub mod tasks;
pub mod win_rate;
pub mod writing;
