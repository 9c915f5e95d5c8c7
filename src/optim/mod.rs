//! Floor 3: what decides how gradients become new weights. The arithmetic over whole buffers is the engine's.
//!
//! Each file states its equation and its source, and has a small numeric test with the numbers worked out by hand.

pub mod adamw;
pub mod clipping;
pub mod learner;
pub mod schedule;

pub use adamw::{AdamStyle, AdamW};
pub use clipping::clipping_scale;
pub use learner::{Learner, NotFinite, Optimizer};
pub use schedule::{Decay, Schedule};
