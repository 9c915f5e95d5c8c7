//! Floor 4: what is kept on disk, and how it is kept safely.
//!
//! Reading order: [`read_at`] (bytes, in memory or in a file), [`safetensors`] (the container) and its
//! [`checksum`], [`config_json`], [`tensors`] and [`hugging_face`] (a model from bytes), [`generation_config`]; with files:
//! [`atomic`] (never half a file), [`weight_files`] (which of them) and [`directory`] (a model directory, both ways),
//! [`state`] (what a run resumes from), [`lock`] (one run per directory).

pub mod checksum;
pub mod config_json;
pub mod generation_config;
pub mod hugging_face;
pub mod read_at;
pub mod safetensors;
pub mod tensors;

#[cfg(feature = "std")]
pub mod atomic;
#[cfg(feature = "std")]
pub mod directory;
#[cfg(feature = "std")]
pub mod lock;
#[cfg(feature = "std")]
pub mod state;
#[cfg(feature = "std")]
pub mod weight_files;

pub use hugging_face::{load_model, load_model_with_warnings};

#[cfg(feature = "std")]
pub use atomic::{read_file, remove_temporaries, write_atomic};
#[cfg(feature = "std")]
pub use directory::{
    inspect_model_directory, load_generation, load_model_directory, load_model_directory_with_warnings,
    load_tokenizer, load_tokenizer_with_warnings, save_model_directory,
};
#[cfg(feature = "std")]
pub use lock::RunLock;
#[cfg(feature = "std")]
pub use state::{LoadedState, State, load_latest_state, save_state};
