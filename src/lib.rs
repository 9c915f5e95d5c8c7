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
//! | 1 | [`engine`] | the operations: forward and backward of each |
//! | 2 | [`model`] | configuration, the one parameter layout, transformer, heads, decoding |
//! | 3 | [`loss`], [`optim`] | the reward loss, PPO's pure functions; AdamW, schedules, EMA |
//! | 4 | [`text`], `data`, [`checkpoint`] | byte-level BPE; data formats; safetensors and model directories |
//! | 5 | `world` | the paper's data in miniature |
//! | 6 | `settings`, `run` | every number of a run; the run directory |
//! | 7 | `train`, `eval` | the stages, each a script; win rates |
//! | 9 | `app`, `report` | commands and configuration; the HTML report |
//!
//! # Glossary
//! `N` token rows of a packed batch, `B` sequences, `T` tokens of one sequence, `C` width,
//! `V` vocabulary, `L` layers, `NH` heads, `HS` head size (`C = NH * HS`), `F` inner width of the MLP.
//! Every buffer is row-major. The gradient of `x` is `dx`.
//!
//! # The arithmetic contract
//! Every operation has one definition down to the bit; every implementation (scalar, SIMD, any number
//! of threads, any batch, training or decoding) gives those bits. See [`num`] and [`engine`].
#![cfg_attr(not(feature = "std"), no_std)]
#![warn(missing_docs)]

extern crate alloc;

pub mod checkpoint;
pub mod engine;
pub mod error;
pub mod loss;
pub mod model;
pub mod num;
pub mod optim;
pub mod text;

#[cfg(feature = "std")]
pub mod app;
#[cfg(feature = "std")]
pub mod data;
#[cfg(feature = "std")]
pub mod eval;
#[cfg(feature = "std")]
pub mod recipe;
#[cfg(feature = "std")]
pub mod report;
#[cfg(feature = "std")]
pub mod run;
#[cfg(feature = "std")]
pub mod settings;
#[cfg(feature = "std")]
pub mod train;
#[cfg(feature = "std")]
pub mod world;

pub use error::{Error, Result};
