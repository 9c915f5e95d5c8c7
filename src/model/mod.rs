//! Floor 3: the model. Configuration, the one parameter table, the transformer, its heads, decoding.

pub mod config;
pub mod layout;

pub use config::{Activation, AttentionPattern, ModelConfig};
pub use layout::{Head, Layout};
