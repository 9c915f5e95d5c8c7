//! InstructGPT (Ouyang et al., 2022, arXiv 2203.02155): pretraining, supervised fine-tuning, a reward
//! model from K-way rankings, and PPO-ptx, with its own kernels and hand-derived gradients.
//!
//! # Reading order
//! A file imports only from floors below its own (a test enforces it), so reading upwards never
//! meets an unknown name.
//!
//! | floor | module | what it holds |
//! |---|---|---|
//! | 0 | [`num`] | vectors, elementary functions, addressed random numbers, the one parallel split |
//! | 1 | [`kernel`] | matrix products and row sums, each with its scalar definition |
//! | 2 | [`ops`] | linear, layer norm, GELU, embedding, attention, dropout, log-probs: forward and backward |
//! | 3 | [`model`] | configuration, the one parameter layout, transformer, heads, decoding |
//! | 4 | [`learn`] | AdamW, schedules, EMA, the reward loss, PPO's pure functions |
//! | 5 | [`text`], `data`, `checkpoint` | byte-level BPE; data formats; safetensors and model directories |
//! | 6 | `world` | the paper's data in miniature |
//! | 7 | `train` | the four stages, each a script |
//! | 8 | `eval`, `report` | win rates, monitors, the HTML report |
//! | 9 | `cli` | commands and configuration |
//!
//! # Glossary
//! `N` token rows of a packed batch, `B` sequences, `T` tokens of one sequence, `C` width,
//! `V` vocabulary, `L` layers, `NH` heads, `HS` head size (`C = NH * HS`), `F` inner width of the MLP.
//! Every buffer is row-major. The gradient of `x` is `dx`.
//!
//! # The arithmetic contract
//! Every operation has one definition down to the bit; every implementation (scalar, SIMD, any number
//! of threads, any batch, training or decoding) gives those bits. See [`num`] and [`kernel`].
#![cfg_attr(not(feature = "std"), no_std)]
#![warn(missing_docs)]

extern crate alloc;

pub mod error;
pub mod kernel;
pub mod learn;
pub mod model;
pub mod num;
pub mod ops;
pub mod text;

pub mod checkpoint;
#[cfg(feature = "std")]
pub mod cli;
#[cfg(feature = "std")]
pub mod data;
#[cfg(feature = "std")]
pub mod eval;
#[cfg(feature = "std")]
pub mod report;
#[cfg(feature = "std")]
pub mod train;
#[cfg(feature = "std")]
pub mod world;

pub use error::{Error, Result};
