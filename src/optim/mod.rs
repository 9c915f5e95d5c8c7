//! Floor 4: learning. What turns gradients into new weights, and the losses of the reward model and PPO.
//!
//! Everything here is a pure function over slices: no model, no data, no files. Each file states its
//! equation and its source, and has a three-line numeric test with the numbers worked out by hand.

pub mod adamw;
pub mod ema;
pub mod gradient_norm;
pub mod learner;
pub mod schedule;

pub use adamw::{AdamStyle, AdamW};
pub use learner::{Learner, NotFinite, Optimizer};
pub use schedule::{Decay, Schedule};
