//! The runs of all experiments: for each a name, its configuration, its stages, and the runs whose models it starts from.
//! A run is an ordinary run directory, `OUT/seed-S/NAME`; paths in its configuration begin at `OUT/seed-S`.
//!
//! As in the paper one tokenizer and one reward model, those of the middle size, serve all sizes (appendix C).

use super::scale::{MIDDLE, Scale, Size};
use crate::run::StageId;
use crate::settings::{PpoSettings, RewardModelSettings, Settings};

/// A run.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The name of its directory.
    pub name: String,
    /// What it does.
    pub settings: Settings,
    /// Its stages, in order.
    pub stages: &'static [StageId],
    /// The runs that must have come that far before its first stage.
    pub needs: Vec<(Spec, StageId)>,
}

/// A model that a run leaves.
#[derive(Debug, Clone)]
pub struct Model {
    /// The run.
    pub spec: Spec,
    /// The stage that leaves it.
    pub stage: StageId,
    /// Its directory in the run's.
    pub directory: &'static str,
}

impl Model {
    /// Its path from the seed's directory.
    pub fn path(&self) -> String {
        format!("{}/{}", self.spec.name, self.directory)
    }
}

impl Spec {
    fn model(&self, stage: StageId, directory: &'static str) -> Model {
        Model { spec: self.clone(), stage, directory }
    }

    /// What pretraining leaves: GPT.
    pub fn gpt(&self) -> Model {
        self.model(StageId::Pretrain, "pretrain")
    }

    /// The SFT model, the epoch that the reward model likes best.
    pub fn sft(&self) -> Model {
        self.model(StageId::SftSelection, "sft")
    }

    /// The reward model.
    pub fn reward(&self) -> Model {
        self.model(StageId::RewardModel, "reward_model")
    }

    /// What PPO starts from.
    pub fn init(&self) -> Model {
        self.model(StageId::RlhfInit, "rlhf_init")
    }

    /// PPO without the pretraining gradient, of a run that also trains PPO-ptx.
    pub fn ppo(&self) -> Model {
        self.model(StageId::Ppo, "policy_without_ptx")
    }

    /// The run's policy: PPO-ptx, or PPO where the coefficient is 0.
    pub fn policy(&self) -> Model {
        self.model(StageId::Ppo, "policy")
    }
}

impl Scale {
    /// The whole recipe at a size.
    pub fn size(&self, seed: u64, size: usize) -> Spec {
        use StageId::{Ppo, Pretrain, RewardModel, RlhfInit, Sft, SftSelection};
        let Size { name, width, layers, heads, rate } = self.sizes[size];
        let mut s = Settings { seed, ..self.base.clone() };
        (s.model.width, s.model.layers, s.model.heads) = (width, layers, heads);
        s.model.initializer_range = 1.0 / libm::sqrtf(width as f32);
        for own in [
            &mut s.pretrain.learning_rate,
            &mut s.sft.learning_rate,
            &mut s.rlhf_init.learning_rate,
            &mut s.ppo.learning_rate,
        ] {
            *own *= rate;
        }
        s.ppo.also_without_ptx = true;
        if size == MIDDLE {
            let stages = &[Pretrain, Sft, RewardModel, SftSelection, RlhfInit, Ppo];
            return Spec { name: name.into(), settings: s, stages, needs: vec![] };
        }
        let middle = self.size(seed, MIDDLE);
        self.share(&mut s);
        Spec {
            name: name.into(),
            settings: s,
            stages: &[Pretrain, Sft, SftSelection, RlhfInit, Ppo],
            needs: vec![(middle, RewardModel)],
        }
    }

    /// Takes tokenizer and reward model from the middle size.
    fn share(&self, s: &mut Settings) {
        let middle = self.sizes[MIDDLE].name;
        s.tokenizer.from = Some(format!("{middle}/pretrain"));
        s.reward_model.epochs = 0;
        let reward = Some(format!("{middle}/reward_model"));
        (s.sft.reward_model_from, s.ppo.reward_model_from) = (reward.clone(), reward);
    }

    /// PPO alone, from the middle size's RLHF init; `change` makes it another.
    pub fn policy(&self, seed: u64, name: String, change: impl FnOnce(&mut PpoSettings)) -> Spec {
        let middle = self.size(seed, MIDDLE);
        let mut s = middle.settings.clone();
        self.share(&mut s);
        s.sft.epochs = 0;
        s.ppo.also_without_ptx = false;
        s.ppo.init_from = Some(middle.init().path());
        change(&mut s.ppo);
        Spec { name, settings: s, stages: &[StageId::Ppo], needs: vec![(middle, StageId::RlhfInit)] }
    }

    /// A reward model alone, on comparisons of what the middle size's SFT model writes. It starts from the SFT model of
    /// `size`; `change` makes it another.
    pub fn reward_model(
        &self,
        seed: u64,
        size: usize,
        name: String,
        change: impl FnOnce(&mut RewardModelSettings),
    ) -> Spec {
        let (middle, own) = (self.size(seed, MIDDLE), self.size(seed, size));
        let mut s = own.settings.clone();
        s.tokenizer.from = Some(middle.gpt().path());
        (s.sft.epochs, s.ppo.episodes) = (0, 0);
        s.collect.models = vec![middle.sft().path()];
        s.reward_model = middle.settings.reward_model.clone();
        // A larger model takes a lower rate here as well.
        s.reward_model.learning_rate *= self.sizes[size].rate.min(1.0);
        s.reward_model.init_from = Some(own.sft().path());
        change(&mut s.reward_model);
        let mut needs = vec![(middle, StageId::SftSelection)];
        needs.extend((size != MIDDLE).then_some((own, StageId::SftSelection)));
        Spec { name, settings: s, stages: &[StageId::RewardModel], needs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reproduce::scale::{LARGE, SMALL};

    fn scale() -> Scale {
        let mut base = Settings::default();
        base.ppo.learning_rate = 1e-3;
        Scale::laptop(base)
    }

    #[test]
    fn the_sizes_share_what_the_middle_one_trains() {
        let [small, middle, large] = [SMALL, MIDDLE, LARGE].map(|size| scale().size(7, size));
        assert_eq!((small.settings.seed, large.settings.model.width), (7, 256));
        assert_eq!(middle.settings.tokenizer.from, None);
        assert_eq!(large.settings.tokenizer.from.as_deref(), Some("m/pretrain"));
        assert_eq!(small.settings.ppo.reward_model_from.as_deref(), Some("m/reward_model"));
        assert_eq!(small.settings.sft.reward_model_from, small.settings.ppo.reward_model_from);
        assert_eq!((small.settings.reward_model.epochs, middle.settings.reward_model.epochs), (0, 1));
        assert_eq!([&small, &middle, &large].map(|spec| spec.settings.ppo.learning_rate), [2e-3, 1e-3, 6e-4]);
    }

    #[test]
    fn a_policy_and_a_reward_model_of_their_own_change_nothing_else() {
        let scale = scale();
        let policy = scale.policy(1, "beta-2".into(), |ppo| ppo.kl_coef = 2.0);
        let mut expected = scale.size(1, MIDDLE).settings.ppo;
        expected.kl_coef = 2.0;
        expected.also_without_ptx = false;
        (expected.init_from, expected.reward_model_from) =
            (Some("m/rlhf_init".into()), Some("m/reward_model".into()));
        assert_eq!(policy.settings.ppo, expected);
        let reward = scale.reward_model(1, LARGE, "reward-l".into(), |s| s.max_candidates = 5);
        let own = &reward.settings.reward_model;
        assert_eq!((own.init_from.as_deref(), own.max_candidates), (Some("l/sft"), 5));
        assert_eq!(reward.settings.collect.models, ["m/sft"]);
        assert_eq!(own.learning_rate, scale.base.reward_model.learning_rate * 0.6);
        assert_eq!(reward.needs.iter().map(|(spec, _)| spec.name.as_str()).collect::<Vec<_>>(), ["m", "l"]);
    }
}
