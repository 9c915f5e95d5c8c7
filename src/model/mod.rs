//! Floor 3: the model. Configuration, the one parameter table, the transformer, its heads, decoding, sampling.

pub mod activations;
pub mod batch;
pub mod block;
pub mod config;
pub mod decode;
pub mod layout;
pub mod sampling;
pub mod transformer;

pub use activations::Activations;
pub use batch::Batch;
pub use config::{Activation, AttentionPattern, ModelConfig};
pub use decode::{DecodeWeights, Decoder};
pub use layout::{Head, Layout};
pub use sampling::{Draw, Response, Sampling, generate, generate_one};
pub use transformer::{Gradients, Transformer};
