//! Floor 7: training. Each stage of the paper is a file to be read top to bottom: [`pretrain`], [`sft`] (with the RLHF
//! init), [`collect`], [`reward_model`] (with the [`pairs`] of its rankings), [`sft_selection`], [`ppo`]; the driver
//! in [`crate::run`] does what they have in common, and [`crate::recipe`] says which follows which.
//!
//! Below them: [`dataset`] (files or miniature to records to tokens; [`stream`] is its text, [`account`] says where
//! records went), [`inputs`] (what every stage is given), [`rollouts`] and [`episodes`] (what is sampled, and what it is
//! worth), [`reward`], the [`mixture`] of demonstrations and text, [`held_out`] losses, [`monitors`] and
//! [`ppo_metrics`]; of a reward model its [`ceiling`] and its [`blind_spots`].

pub mod account;
pub mod blind_spots;
pub mod ceiling;
pub mod collect;
pub mod dataset;
mod encoder;
pub mod episode_record;
pub mod episodes;
pub mod held_out;
pub mod inputs;
pub mod mixture;
pub mod monitors;
pub mod pairs;
mod personal;
pub mod ppo;
pub mod ppo_metrics;
pub mod pretrain;
mod records;
pub mod reward;
pub mod reward_model;
pub mod rollouts;
pub mod sft;
pub mod sft_selection;
pub mod stream;
pub mod survey;
