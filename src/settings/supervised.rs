//! The supervised stages: pretraining, SFT, the RLHF init, the reward model; Adam and the limits,
//! which all stages share.

use super::section::{any, at_least_one, below_one, fraction, not_negative, positive, section};
use crate::data::comparisons::MAX_RESPONSES;
use crate::optim::adamw::{AdamStyle, AdamW};
use crate::optim::schedule::Decay;
use serde::{Deserialize, Serialize};

/// Which of SFT's epochs becomes the SFT model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Select {
    /// `"reward"`: the best mean reward on validation prompts (the paper).
    Reward,
    /// `"validation_loss"`: the lowest loss on validation demonstrations.
    ValidationLoss,
    /// `"last"`: the last epoch.
    Last,
}

impl AdamSettings {
    /// The optimizer's constants for a stage with that weight decay.
    pub fn adamw(&self, weight_decay: f64) -> AdamW {
        let AdamSettings { beta1, beta2, epsilon, style } = *self;
        AdamW { beta1, beta2, epsilon, weight_decay, style }
    }
}

section! {
    /// Adam, for every stage.
    AdamSettings = "adam" {
        /// Decay of the first moment, per update. Paper: 0.9 (appendix C).
        beta1: f64 = 0.9, below_one;
        /// Decay of the second moment, per update. Paper: 0.95 (appendix C).
        beta2: f64 = 0.95, below_one;
        /// Keeps the division finite. Not printed; 1e-8 as in PyTorch (LHP and N+: 1e-5).
        epsilon: f64 = 1e-8, positive;
        /// "torch" or "tensorflow": where epsilon stands. Not printed; LHP: "tensorflow".
        style: AdamStyle = AdamStyle::PyTorch, any;
    }
}

section! {
    /// Pretraining on text. The paper starts from GPT-3; all figures here are for small models.
    PretrainSettings = "pretrain" {
        /// A model directory to go on from; not set: random weights of section `model`.
        init_from: Option<String> = None, any;
        /// Updates. 0: no pretraining (needs `init_from`).
        steps: u64 = 10000, any;
        /// Sequences of `model.context` tokens per update.
        batch: usize = 32, at_least_one;
        /// Peak learning rate. GPT-3 XL: 2e-4; smaller models 6e-4.
        learning_rate: f32 = 6e-4, not_negative;
        /// "cosine", "linear" or "constant". GPT-3: cosine.
        schedule: Decay = Decay::Cosine, any;
        /// Learning rate at the end, as a share of the peak. GPT-3: 0.1.
        final_fraction: f64 = 0.1, fraction;
        /// Updates of linear warm-up from 0. GPT-3: 375 million tokens.
        warmup_steps: u64 = 100, any;
        /// Decoupled weight decay of the matrices. GPT-3: 0.1.
        weight_decay: f64 = 0.1, not_negative;
        /// Largest norm of the gradient; 0: off. GPT-3: 1.0; off here, as small models do without.
        gradient_clip: f32 = 0.0, not_negative;
        /// Updates between two validations; 0: only at the end.
        eval_every: u64 = 200, any;
        /// Tokens of held-out text in a validation or test.
        eval_tokens: usize = 65536, at_least_one;
    }
}

section! {
    /// Supervised fine-tuning on demonstrations, on the responses' tokens only (section 3.5, C.1).
    SftSettings = "sft" {
        /// A model directory to start from; not set: the pretrained model.
        init_from: Option<String> = None, any;
        /// Passes over the demonstrations. Paper: 16 (C.1). 0: no SFT; later stages start from the pretrained model.
        epochs: usize = 16, any;
        /// Demonstrations per update. Paper: 32 (175B: 8) (C.1).
        batch: usize = 32, at_least_one;
        /// Peak learning rate. Paper: 9.65e-6 for 1.3B and 6B, 5.03e-6 for 175B (C.1).
        learning_rate: f32 = 9.65e-6, not_negative;
        /// "cosine", "linear" or "constant". Paper: cosine (C.1).
        schedule: Decay = Decay::Cosine, any;
        /// Learning rate at the end, as a share of the peak. Paper: 0.1 (C.1).
        final_fraction: f64 = 0.1, fraction;
        /// Updates of linear warm-up. Paper: none (C.1).
        warmup_steps: u64 = 0, any;
        /// Residual dropout. Paper: 0.2 (C.1).
        dropout: f32 = 0.2, below_one;
        /// Decoupled weight decay of the matrices. Not printed; LHP: none.
        weight_decay: f64 = 0.0, not_negative;
        /// Largest norm of the gradient; 0: off. Not printed; LHP: off.
        gradient_clip: f32 = 0.0, not_negative;
        /// Which epoch becomes the SFT model: "reward" (paper, C.1: reward-model score on validation
        /// prompts), "validation_loss" or "last".
        select: Select = Select::Reward, any;
        /// The reward-model directory that `select = "reward"` asks; not set: the run's own, trained
        /// from the last epoch, chooses once it exists.
        reward_model_from: Option<String> = None, any;
        /// Validation demonstrations and prompts looked at after each epoch.
        eval_examples: usize = 256, at_least_one;
    }
}

section! {
    /// The model PPO starts from, also its KL reference: SFT mixed with pretraining text (C.3, E.8).
    RlhfInitSettings = "rlhf_init" {
        /// A model directory to start from; not set: the pretrained model.
        init_from: Option<String> = None, any;
        /// Passes over the demonstrations. Paper: 2 (C.3). 0: PPO starts from the SFT model.
        epochs: usize = 2, any;
        /// Share of pretraining text among the sequences that are read; what a batch has no whole sequence for is
        /// carried to the next. Paper: 0.1, "10% pretraining data" (C.3), taken as a share of examples, in which the
        /// paper counts all its batches (also C.4's pretraining data). The loss is one mean over all tokens, and a
        /// window of text is longer than a response: text's share of tokens and loss is higher. It is told at the
        /// end, and stands in `metrics.jsonl` (`text_share_of_tokens`, `text_share_of_loss`) and `results.json`.
        pretrain_fraction: f32 = 0.1, below_one;
        /// Sequences per update. Paper: 32 (175B: 8) (C.3).
        batch: usize = 32, at_least_one;
        /// Peak learning rate. Paper: 5e-6 (1.3B), 1.04e-5 (6B), 2.45e-6 (175B) (C.3).
        learning_rate: f32 = 5e-6, not_negative;
        /// "cosine", "linear" or "constant". Paper: cosine (C.3).
        schedule: Decay = Decay::Cosine, any;
        /// Learning rate at the end, as a share of the peak. Paper: 0.1 (C.3).
        final_fraction: f64 = 0.1, fraction;
        /// Updates of linear warm-up. Not printed; none, as in C.1.
        warmup_steps: u64 = 0, any;
        /// Residual dropout. Not printed for this stage; 0.2 as in SFT (C.1).
        dropout: f32 = 0.2, below_one;
        /// Decoupled weight decay of the matrices. Not printed; LHP: none.
        weight_decay: f64 = 0.0, not_negative;
        /// Largest norm of the gradient; 0: off. Not printed; LHP: off.
        gradient_clip: f32 = 0.0, not_negative;
        /// Validation demonstrations looked at after each epoch.
        eval_examples: usize = 256, at_least_one;
    }
}

impl RlhfInitSettings {
    /// The stage in SFT's terms, as it is SFT with a share of text: one function trains both. Its model is that of
    /// the last epoch.
    pub fn as_sft(&self) -> SftSettings {
        let RlhfInitSettings {
            init_from,
            epochs,
            pretrain_fraction: _,
            batch,
            learning_rate,
            schedule,
            final_fraction,
            warmup_steps,
            dropout,
            weight_decay,
            gradient_clip,
            eval_examples,
        } = self.clone();
        SftSettings {
            init_from,
            epochs,
            batch,
            learning_rate,
            schedule,
            final_fraction,
            warmup_steps,
            dropout,
            weight_decay,
            gradient_clip,
            select: Select::Last,
            reward_model_from: None,
            eval_examples,
        }
    }
}

section! {
    /// The reward model: all pairs of a prompt's ranking are one batch element (section 3.5, C.2).
    RewardModelSettings = "reward_model" {
        /// A model directory to start from; not set: the SFT model (section 3.5). The paper's own run began with GPT-3
        /// fine-tuned on public NLP data sets, with similar results (C.2).
        init_from: Option<String> = None, any;
        /// Passes over the comparisons. Paper: 1, more overfits (C.2). 0: no reward model.
        epochs: usize = 1, any;
        /// Prompts per update, each with all its pairs. Paper: 64 (C.2).
        batch: usize = 64, at_least_one;
        /// Take the pairs of all prompts as elements of their own, shuffled together: each response is then in up to
        /// K - 1 updates of an epoch, which overfits (section 3.5, footnote 5). A batch has as many pairs as `batch`
        /// prompts have on average. Paper: no.
        shuffle_pairs: bool = false, any;
        /// Peak learning rate. Paper: 9e-6 (C.2).
        learning_rate: f32 = 9e-6, not_negative;
        /// "cosine", "linear" or "constant". Paper: cosine (C.2).
        schedule: Decay = Decay::Cosine, any;
        /// Learning rate at the end, as a share of the peak. Paper: 0.1 (C.2).
        final_fraction: f64 = 0.1, fraction;
        /// Updates of linear warm-up. Not printed; none.
        warmup_steps: u64 = 0, any;
        /// Decoupled weight decay of the matrices. Not printed; LHP: none.
        weight_decay: f64 = 0.0, not_negative;
        /// Largest norm of the gradient; 0: off. Not printed; LHP: off.
        gradient_clip: f32 = 0.0, not_negative;
        /// Shift the rewards so that demonstrations average 0. Paper: yes (section 3.5).
        center_on_demonstrations: bool = true, any;
        /// In the miniature, fewest responses a labeler ranks for a prompt. Paper: 4 (section 3.5).
        min_candidates: usize = 4, |&k: &usize| (k < 2).then_some("at least 2");
        /// In the miniature, most responses a labeler ranks for a prompt. Paper: 9 (section 3.5).
        max_candidates: usize = 9, |&k: &usize| (!(2..=MAX_RESPONSES).contains(&k)).then_some("2 to 64");
        /// In the miniature, share of them written by people of varied skill, on average over the prompts; the SFT model
        /// samples the rest. Paper: outputs of models, mostly SFT (section 3.1); what only people's mistakes show a
        /// small reward model, a small SFT model would have to make first.
        written_share: f32 = 0.5, fraction;
        /// In the miniature, temperature at which the SFT model writes the others. Not printed.
        candidate_temperature: f32 = 1.0, positive;
        /// Updates between two validations; 0: only at the end.
        eval_every: u64 = 50, any;
        /// Validation comparisons (prompts) in a validation.
        eval_examples: usize = 512, at_least_one;
    }
}

section! {
    /// The collection of comparisons in the miniature: responses of models and of people, ranked by labelers
    /// (section 3.1). How many for a prompt, and by whom, is said in section `reward_model`.
    CollectSettings = "collect" {
        /// The models that write the responses, which take turns: model directories, or names of this run's own, as in
        /// `["sft", "../earlier/policy"]`. Empty: the SFT model. Paper: mostly SFT, some PPO models (section 3.1).
        models: Vec<String> = Vec::new(), any;
    }
}

section! {
    /// When a run stops by itself: it says what left its bounds and keeps the last good state.
    /// 0 turns a bound off; a number that is not finite always stops the run.
    LimitsSettings = "limits" {
        /// A training loss (in PPO that of the value function, and ptx) above this many times the mean of the
        /// last 20 updates. 0: off.
        loss_spike: f32 = 0.0, not_negative;
        /// PPO's mean KL to the reference, in nats per response. 0: off.
        kl: f32 = 0.0, not_negative;
        /// PPO's largest probability ratio of any token in a minibatch. 0: off.
        ratio: f32 = 0.0, not_negative;
        /// PPO's smallest mean entropy of the policy, in nats per token. 0: off.
        min_entropy: f32 = 0.0, not_negative;
    }
}
