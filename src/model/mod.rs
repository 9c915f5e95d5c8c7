//! Floor 2: the model. Configuration, the one parameter table, networks and what is asked of them, decoding, sampling.
//!
//! Reading order: [`config`] and [`layout`] (the shape, the parameters), [`block`] (the ten calls and the way back),
//! [`transformer`] (the trunk), [`sequence`] (what is asked, and what a loss is), [`network`] (what is answered),
//! [`gradients`] (forward, loss and back), [`decode`] and [`sampling`] (one token after another); `shared_out` and
//! `relay` (the same on several ranks); [`cost`] (what all of it takes).

pub mod activations;
pub mod block;
pub mod config;
pub mod cost;
pub mod decode;
pub mod gradients;
pub mod layout;
mod micro_batch;
pub mod network;
mod relay;
pub mod sampling;
pub mod sequence;
mod shared_out;
pub mod transformer;

pub use config::{Activation, AttentionPattern, Family, ModelConfig, Precision};
pub use decode::Decoder;
pub use gradients::Gradients;
pub use layout::{Head, Layout};
pub use network::Network;
pub use sampling::{Draw, Response, Sampling, generate, generate_one, generate_until, generate_with};
pub use sequence::{Loss, Sequence, singly};
