//! Floor 7: training. Each stage of the paper is a script to be read top to bottom:
//! [`pretrain`], [`sft`] (with the RLHF init), [`reward_model`], [`ppo`].
//!
//! Below them: [`settings`] (every number of a run), [`dataset`] (files or miniature to tokens),
//! [`learner`] (a network under training), [`passes`] (forwards over many sequences), [`run`] (the run
//! directory: metrics, states to resume from, [`completed`] stages, [`recent_losses`]).

pub mod dataset;
pub mod monitors;
pub mod ppo;
pub mod pretrain;
pub mod reward_model;
pub mod rollout;
pub mod sft;
