//! The models of a run: which model directory gives each its shape, and the limits that follow from their contexts.

use super::Settings;
use crate::error::Result;

/// A model of a run, by what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// What pretraining leaves.
    Pretrained,
    /// What SFT leaves.
    Sft,
    /// What the reward model's stage leaves.
    RewardModel,
    /// What PPO starts from.
    RlhfInit,
    /// What PPO trains.
    Policy,
    /// What PPO's KL is measured against.
    Reference,
    /// What PPO maximises.
    Reward,
    /// PPO's value function.
    Value,
}

/// The paper's longest prompt, and its longest response, in tokens (appendix C).
const PAPER: usize = 1000;

impl Settings {
    /// The model directory that gives a model its shape; `None`: section `model` does. As the recipe has it (figure
    /// 2): a stage starts from the directory that its section names, or from what an earlier stage left.
    pub fn shape_from(&self, model: Model) -> Option<&str> {
        let (named, earlier) = match model {
            Model::Pretrained => (&self.pretrain.init_from, None),
            Model::Sft if self.sft.epochs == 0 => (&None, Some(Model::Pretrained)),
            Model::Sft => (&self.sft.init_from, Some(Model::Pretrained)),
            Model::RewardModel => (&self.reward_model.init_from, Some(Model::Sft)),
            Model::RlhfInit if self.rlhf_init.epochs == 0 => (&self.rlhf_init.init_from, Some(Model::Sft)),
            Model::RlhfInit => (&self.rlhf_init.init_from, Some(Model::Pretrained)),
            Model::Policy => (&self.ppo.init_from, Some(Model::RlhfInit)),
            Model::Reference => (&self.ppo.reference_from, Some(Model::Policy)),
            Model::Reward => (&self.ppo.reward_model_from, Some(Model::RewardModel)),
            Model::Value => (&self.ppo.value_init_from, Some(Model::Reward)),
        };
        named.as_deref().or_else(|| self.shape_from(earlier?))
    }

    /// Gives the longest prompt and response, where a configuration does not set them, the smaller of the paper's
    /// value and half the context, and no more than the other one leaves. `is_set` says which keys are set,
    /// `context` that of a model directory; it is only asked where that matters.
    ///
    /// # Errors
    /// Those of `context`.
    pub fn derive_lengths(
        &mut self,
        is_set: impl Fn(&str) -> bool,
        mut context: impl FnMut(&str) -> Result<usize>,
    ) -> Result<()> {
        let set =
            |section: &str| ["prompt", "response"].map(|s| is_set(&format!("{section}.max_{s}_tokens")));
        if set("data") != [true; 2] {
            let trained = [Model::Sft, Model::RewardModel, Model::RlhfInit];
            let context = self.shortest_context(&trained, &mut context)?;
            let data = &mut self.data;
            derive(set("data"), [&mut data.max_prompt_tokens, &mut data.max_response_tokens], context);
        }
        if set("ppo") != [true; 2] {
            let of_ppo = [Model::Policy, Model::Reference, Model::Reward, Model::Value];
            let context = self.shortest_context(&of_ppo, &mut context)?;
            let ppo = &mut self.ppo;
            derive(set("ppo"), [&mut ppo.max_prompt_tokens, &mut ppo.max_response_tokens], context);
        }
        Ok(())
    }

    fn shortest_context(
        &self,
        models: &[Model],
        context: &mut impl FnMut(&str) -> Result<usize>,
    ) -> Result<usize> {
        let mut shortest = usize::MAX;
        for &model in models {
            shortest = shortest.min(match self.shape_from(model) {
                Some(directory) => context(directory)?,
                None => self.model.context,
            });
        }
        Ok(shortest)
    }
}

/// Prompt and response: those that are not set get what the context and the other one leave, at least 1.
fn derive(set: [bool; 2], [prompt, response]: [&mut usize; 2], context: usize) {
    let most = PAPER.min(context / 2);
    let beside = |other: usize| most.min(context.saturating_sub(other)).max(1);
    match set {
        [true, true] => {}
        [true, false] => *response = beside(*prompt),
        [false, true] => *prompt = beside(*response),
        [false, false] => (*prompt, *response) = (most.max(1), most.max(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    /// The four lengths of a configuration whose keys `set` are set, after the change.
    fn derived(set: &[&str], change: impl FnOnce(&mut Settings)) -> [usize; 4] {
        let mut s = Settings::default();
        change(&mut s);
        let context = |directory: &str| match directory {
            "short" => Ok(20),
            "long" => Ok(4096),
            _ => Err(Error::io(directory, "read", "missing")),
        };
        s.derive_lengths(|key| set.contains(&key), context).unwrap();
        [
            s.data.max_prompt_tokens,
            s.data.max_response_tokens,
            s.ppo.max_prompt_tokens,
            s.ppo.max_response_tokens,
        ]
    }

    #[test]
    fn lengths_follow_from_the_context() {
        assert_eq!(derived(&[], |_| {}), [1000; 4], "the paper's");
        assert_eq!(derived(&[], |s| s.model.context = 65), [32; 4]);
        assert_eq!(derived(&[], |s| s.model.context = 1), [1; 4]);
        let set = ["data.max_prompt_tokens", "ppo.max_response_tokens"];
        let change = |s: &mut Settings| {
            (s.model.context, s.data.max_prompt_tokens, s.ppo.max_response_tokens) = (96, 56, 10)
        };
        assert_eq!(derived(&set, change), [56, 40, 48, 10]);
    }

    #[test]
    fn a_model_directorys_context_counts_where_its_model_is_used() {
        assert_eq!(derived(&[], |s| s.pretrain.init_from = Some("long".into())), [1000; 4]);
        assert_eq!(derived(&[], |s| s.pretrain.init_from = Some("short".into())), [10; 4]);
        let reward = |s: &mut Settings| s.ppo.reward_model_from = Some("short".into());
        assert_eq!(derived(&[], reward), [1000, 1000, 10, 10]);
        // Nothing is asked for what is set.
        let all = [
            "data.max_prompt_tokens",
            "data.max_response_tokens",
            "ppo.max_prompt_tokens",
            "ppo.max_response_tokens",
        ];
        assert_eq!(derived(&all, |s| s.pretrain.init_from = Some("missing".into())), [1000; 4]);
    }

    #[test]
    fn a_models_shape_is_that_of_the_directory_it_goes_back_to() {
        let mut s = Settings::default();
        let all = [
            Model::Pretrained,
            Model::Sft,
            Model::RewardModel,
            Model::RlhfInit,
            Model::Policy,
            Model::Reference,
            Model::Reward,
            Model::Value,
        ];
        assert!(all.iter().all(|&model| s.shape_from(model).is_none()));
        (s.pretrain.init_from, s.sft.init_from) = (Some("p".into()), Some("s".into()));
        let from = |s: &Settings| all.map(|model| s.shape_from(model).unwrap_or("-").to_string());
        assert_eq!(from(&s), ["p", "s", "s", "p", "p", "p", "s", "s"]);
        (s.ppo.init_from, s.ppo.reward_model_from) = (Some("a".into()), Some("r".into()));
        assert_eq!(from(&s), ["p", "s", "s", "p", "a", "a", "r", "r"]);
        (s.ppo.reference_from, s.ppo.value_init_from) = (Some("b".into()), Some("v".into()));
        assert_eq!(from(&s)[4..], ["a", "b", "r", "v"]);
        // Without a stage, what it would have started from; PPO then starts from the SFT model.
        (s.sft.epochs, s.rlhf_init.epochs, s.ppo.init_from) = (0, 0, None);
        assert_eq!(from(&s)[..5], ["p", "p", "p", "p", "p"]);
    }
}
