//! InstructGPT (Ouyang et al., 2022, arXiv 2203.02155): pretraining, supervised fine-tuning, a reward
//! model from K-way rankings, and PPO-ptx, with its own kernels and hand-derived gradients.
//!
//! # Reading order
//! A file imports only from floors below its own (a test enforces it), so reading upwards never
//! meets an unknown name.
//!
//! | floor | module | what it holds |
//! |---|---|---|
//! | 0 | [`num`], [`ranks`] | vectors, elementary functions, addressed random numbers, the one parallel split; several processes for one run |
//! | 1 | [`engine`] | the operations, forward and backward: [`engine::plain`] defines them (begin there), [`engine::cpu`] is fast |
//! | 2 | [`model`] | the parameter layout, the block's ten calls, [`model::Network`], what a [`model::Loss`] is, decoding |
//! | 3 | [`loss`], [`optim`] | cross-entropy, the reward loss, PPO's pure functions; AdamW, schedules, [`optim::Learner`] |
//! | 4 | [`text`], `data`, [`checkpoint`] | byte-level BPE; data formats; safetensors and model directories |
//! | 5 | `world`, `fixtures` | the paper's data in miniature; the conformance vectors |
//! | 6 | `settings`, `run` | every number of a run; the run directory, and the driver of all stages |
//! | 7 | `train` | the stages, each a file that is its algorithm |
//! | 8 | `eval`, `report` | the comparison of models; the HTML report |
//! | 9 | `recipe` | figure 2 of the paper: which stage follows which |
//! | 10 | `bench`, `reproduce`, `label` | how fast this machine is; the paper's experiments in miniature; the labelers' page |
//! | 11 | `app` | commands and configuration |
//!
//! # Features
//! | feature | default | what it adds |
//! |---|---|---|
//! | none | | numbers, engine, model, losses, optimizer, tokens, model directories in memory: `no_std` with `alloc` |
//! | `std` | yes | threads, files, data, settings, the stages of training, evaluation |
//! | `app` | yes | `std`, and the program: command line, progress, report, bench |
//! | `fixtures` | with `app` | the conformance vectors of `fixtures/` (3 MB), to check another implementation with |
//! | `label` | | `app`, and the labelers' page: an HTTP server on loopback and its database |
//! | `cuda` | | the engine on an NVIDIA GPU, with the same bits; its libraries are loaded at run time |
//! | `mpi` | | one run by several processes, with the same bits; the MPI library is loaded at run time |
//!
//! A library user who trains takes `default-features = false, features = ["std"]`.
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
pub mod ranks;
pub mod text;

#[cfg(feature = "app")]
pub mod app;
#[cfg(feature = "app")]
pub mod bench;
#[cfg(feature = "std")]
pub mod data;
#[cfg(feature = "std")]
pub mod eval;
#[cfg(feature = "fixtures")]
pub mod fixtures;
#[cfg(feature = "label")]
pub mod label;
#[cfg(feature = "std")]
pub mod recipe;
#[cfg(feature = "app")]
pub mod report;
#[cfg(feature = "app")]
pub mod reproduce;
#[cfg(feature = "std")]
pub mod run;
#[cfg(feature = "std")]
pub mod settings;
#[cfg(feature = "std")]
pub mod train;
#[cfg(feature = "std")]
pub mod world;

pub use error::{Error, Result};
