//! Floor 7: training. Each stage of the paper is a file to be read top to bottom: [`pretrain`], [`sft`] (with the RLHF
//! init), [`collect`], [`reward_model`], [`sft_selection`], [`ppo`]; the driver in [`crate::run`] does what they
//! have in common, and [`crate::recipe`] says which follows which.
//!
//! Below them: [`dataset`] with its encoder (files or miniature to tokens), [`inputs`] (what every stage is given), [`rollouts`] and
//! [`episodes`] (what is sampled, and what it is worth), [`reward`], the [`mixture`] of demonstrations and text,
//! [`held_out`] losses, [`monitors`] and [`ppo_metrics`].

pub mod collect;
pub mod dataset;
mod encoder;
pub mod episodes;
pub mod held_out;
pub mod inputs;
pub mod mixture;
pub mod monitors;
pub mod ppo;
pub mod ppo_metrics;
pub mod pretrain;
pub mod reward;
pub mod reward_model;
pub mod rollouts;
pub mod sft;
pub mod sft_selection;
