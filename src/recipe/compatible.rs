//! Whether all models of a recipe fit together: looked at before its first stage, hours before the last would fail.
//!
//! Of each model only the shape is needed: of one on disk its `config.json` and the list of its tensors, of one that
//! a stage is still to train the shape of what that stage starts from. Widths need not agree, since every model is a
//! network of its own. Contexts must hold what is read and written, heads must be of the right kind, and all models
//! share one tokenizer.

use std::path::Path;

use super::Recipe;
use super::named::{check_there, has, is_own, to_do};
use crate::checkpoint::{inspect_model_directory, load_tokenizer};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::model::{Head, ModelConfig};
use crate::run::StageId;
use crate::train::dataset::{Example, Ranking, fitting};

/// A model, as far as others must fit it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Shape {
    /// The key that decides it.
    pub key: &'static str,
    pub config: ModelConfig,
}

/// What follows which, in shapes; `None` where neither the model nor what it starts from is known, as where a stage is
/// asked for alone.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    pub pretrain: Option<Shape>,
    pub sft: Option<Shape>,
    pub reward_model: Option<Shape>,
    pub rlhf_init: Option<Shape>,
    pub policy: Option<Shape>,
}

impl<E: Engine> Recipe<'_, E> {
    /// Checks the models of those stages among `stages` that are still to be run.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the key of the model that does not fit; those of the models' files.
    pub(super) fn check_models(&self, stages: &[StageId]) -> Result<Shapes> {
        let s = self.settings;
        let planned = |stage| stages.contains(&stage) && to_do(s, &self.run, stage);
        let language = Some(Head::LanguageModel);

        // 1. Pretraining.
        let fresh = s.model.config(self.data.tokenizer.vocab_size(), s.precision);
        let fresh = Some(Shape { key: "model.context", config: fresh });
        let pretrain = match planned(StageId::Pretrain) {
            true => self.given("pretrain.init_from", &s.pretrain.init_from, language, &fresh)?,
            false => self.own_config("pretrain")?.map(|config| match s.pretrain.init_from {
                Some(_) => Shape { key: "pretrain.init_from", config },
                None => Shape { key: "model.context", config },
            }),
        };

        // 2. SFT.
        let sft = match planned(StageId::Sft) {
            true => self.given("sft.init_from", &s.sft.init_from, language, &pretrain)?,
            false => self.own_config("sft")?.map(|config| Shape { key: "sft.init_from", config }),
        };
        if planned(StageId::Sft) {
            self.reads_demonstrations(&sft)?;
        }
        let imitator = if s.sft.epochs > 0 { &sft } else { &pretrain };

        // 3. Comparisons, and the reward model that reads them.
        let reward_model = match planned(StageId::RewardModel) {
            true => self.given("reward_model.init_from", &s.reward_model.init_from, None, imitator)?,
            false => {
                self.own_config("reward_model")?.map(|config| Shape { key: "reward_model.init_from", config })
            }
        };
        if planned(StageId::Collect) {
            for writer in self.writing(imitator, &pretrain, &sft)? {
                self.is_asked(&writer)?;
                let prompts: Vec<&[u32]> = self.data.ranking_prompts.all().map(Vec::as_slice).collect();
                let limit = s.data.max_response_tokens;
                reads(&reward_model, &writer, &prompts, limit, "the reward model reads")?;
            }
        }
        if planned(StageId::RewardModel) {
            let responses = self.data.rankings.all().flat_map(|ranking: &Ranking| &ranking.responses);
            holds(&reward_model, longest(responses), "the longest comparison")?;
            if s.reward_model.center_on_demonstrations {
                let training = longest(&self.data.demonstrations.train);
                holds(&reward_model, training, "the demonstrations that are to have mean reward 0")?;
            }
        }

        // 4. The reward model's choice among SFT's epochs.
        let scalar = Some(Head::Scalar);
        if planned(StageId::SftSelection) {
            let from = &s.sft.reward_model_from;
            let reward = self.given("sft.reward_model_from", from, scalar, &reward_model)?;
            let context = reward.as_ref().map_or(0, |reward| reward.config.context);
            let prompts: Vec<&[u32]> = fitting_all(self.data.prompts.all(), context);
            reads(&reward, &sft, &prompts, s.ppo.max_response_tokens, "the choice of SFT's epoch reads")?;
        }

        // 5. The RLHF init, and PPO.
        let earlier = if s.rlhf_init.epochs == 0 { imitator } else { &pretrain };
        let rlhf_init = match planned(StageId::RlhfInit) {
            true => self.given("rlhf_init.init_from", &s.rlhf_init.init_from, language, earlier)?,
            false => self.own_config("rlhf_init")?.map(|config| Shape { key: "rlhf_init.init_from", config }),
        };
        if planned(StageId::RlhfInit) {
            self.reads_demonstrations(&rlhf_init)?;
        }
        let ppo = [StageId::Ppo, StageId::PpoToCompare, StageId::PpoPtx].into_iter().any(planned);
        let policy = match ppo {
            true => self.given("ppo.init_from", &s.ppo.init_from, language, &rlhf_init)?,
            false => self.own_config("policy")?.map(|config| Shape { key: "ppo.init_from", config }),
        };
        if ppo {
            self.check_ppo(&policy, &reward_model)?;
        }

        // 6. The evaluation, where every model answers.
        if planned(StageId::Evaluation) {
            self.check_evaluation(&[&pretrain, &sft, &rlhf_init, &policy], &rlhf_init, &reward_model)?;
        }
        Ok(Shapes { pretrain, sft, reward_model, rlhf_init, policy })
    }

    /// The value function, the reference and the reward model read what the policy writes.
    fn check_ppo(&self, policy: &Option<Shape>, reward_model: &Option<Shape>) -> Result<()> {
        let s = &self.settings.ppo;
        let reward =
            self.given("ppo.reward_model_from", &s.reward_model_from, Some(Head::Scalar), reward_model)?;
        let value = self.given("ppo.value_init_from", &s.value_init_from, None, &reward)?;
        let language = Some(Head::LanguageModel);
        let reference = self.given("ppo.reference_from", &s.reference_from, language, policy)?;
        let (Some(policy), Some(value)) = (policy, &value) else { return Ok(()) };
        for (other, name) in [(Some(value), "the value function"), (reference.as_ref(), "the reference")] {
            let vocabulary = |shape: &Shape| shape.config.vocab_size;
            if let Some(other) = other.filter(|&other| vocabulary(other) != vocabulary(policy)) {
                let expected = format!("a vocabulary of {} tokens, as the policy has", vocabulary(policy));
                let hint = format!("{name} needs the policy's vocabulary");
                return Err(Error::usage(other.key, expected, vocabulary(other), hint));
            }
        }
        let context = policy.config.context.min(value.config.context);
        if !self.data.prompts.train.is_empty() && fitting(&self.data.prompts.train, context).is_empty() {
            let expected = "prompts that leave room for a response";
            let found = format!("none below {context} tokens");
            return Err(Error::usage("data.prompts", expected, found, "lower ppo.max_prompt_tokens"));
        }
        let prompts: Vec<&[u32]> = fitting_all(self.data.prompts.all(), context);
        let policy = Some(policy.clone());
        for (reader, what) in [
            (&reward, "the reward model reads"),
            (&Some(value.clone()), "the value function reads"),
            (&reference, "the reference reads"),
        ] {
            reads(reader, &policy, &prompts, s.max_response_tokens, what)?;
        }
        Ok(())
    }

    fn check_evaluation(
        &self,
        contenders: &[&Option<Shape>],
        reference: &Option<Shape>,
        reward_model: &Option<Shape>,
    ) -> Result<()> {
        let s = &self.settings.ppo;
        let from = &s.reward_model_from;
        let reward = self.given("ppo.reward_model_from", from, Some(Head::Scalar), reward_model)?;
        let contexts = contenders.iter().copied().flatten().map(|shape| shape.config.context);
        let prompts: Vec<&[u32]> = fitting_all(self.data.prompts.all(), contexts.min().unwrap_or(0));
        for contender in contenders {
            let held_out = longest(self.data.demonstrations.held_out());
            holds(contender, held_out, "the longest held-out demonstration")?;
            for (reader, what) in [(&reward, "the reward model reads"), (reference, "the reference reads")] {
                reads(reader, contender, &prompts, s.max_response_tokens, what)?;
            }
        }
        Ok(())
    }

    /// Who writes the responses that are compared.
    fn writing(
        &self,
        imitator: &Option<Shape>,
        pretrain: &Option<Shape>,
        sft: &Option<Shape>,
    ) -> Result<Vec<Option<Shape>>> {
        let names = &self.settings.collect.models;
        if names.is_empty() {
            return Ok(vec![imitator.clone()]);
        }
        let one = |name: &String| match name.as_str() {
            _ if !is_own(self.settings, &self.run, name) => {
                self.given("collect.models", &Some(name.clone()), Some(Head::LanguageModel), &None)
            }
            "pretrain" => Ok(pretrain.clone()),
            "sft" => Ok(sft.clone()),
            other => Ok(self.own_config(other)?.map(|config| Shape { key: "collect.models", config })),
        };
        names.iter().map(one).collect()
    }

    /// A writer must have room for an answer to every prompt that is ranked.
    fn is_asked(&self, writer: &Option<Shape>) -> Result<()> {
        let longest = self.data.ranking_prompts.all().map(Vec::len).max().unwrap_or(0);
        holds(writer, longest + 1, "a response to the longest ranked prompt")
    }

    fn reads_demonstrations(&self, reader: &Option<Shape>) -> Result<()> {
        holds(reader, longest(self.data.demonstrations.all()), "the longest demonstration")
    }

    /// The model that a key names, or else that of an earlier stage.
    fn given(
        &self,
        key: &'static str,
        from: &Option<String>,
        head: Option<Head>,
        otherwise: &Option<Shape>,
    ) -> Result<Option<Shape>> {
        let Some(from) = from else { return Ok(otherwise.clone()) };
        check_there(key, self.root, from)?;
        let path = self.root.join(from);
        let (config, found) = inspect_model_directory(&path)?;
        if let Some(head) = head.filter(|&head| head != found) {
            let name = |head| if head == Head::Scalar { "a reward model" } else { "a language model" };
            let hint = format!("see {}", path.display());
            return Err(Error::usage(key, name(head), name(found), hint));
        }
        self.check_tokenizer(key, &path, &config)?;
        Ok(Some(Shape { key, config }))
    }

    /// A model that an earlier stage has left in the run directory.
    fn own_config(&self, name: &str) -> Result<Option<ModelConfig>> {
        let path = self.run.directory.path.join(name);
        let config = has(&self.run, name).then(|| inspect_model_directory(&path));
        Ok(config.transpose()?.map(|(config, _)| config))
    }

    /// A model's tokens must be those of the run. A directory whose tokenizer cannot be read serves for token ids.
    fn check_tokenizer(&self, key: &'static str, path: &Path, config: &ModelConfig) -> Result<()> {
        let ours = &self.data.tokenizer;
        let (expected, found) = (ours.vocab_size(), config.vocab_size);
        if found < expected {
            let expected = format!("at least the tokenizer's {expected} tokens");
            return Err(Error::usage(key, expected, found, "all models of a run share one tokenizer"));
        }
        let Ok(Some(theirs)) = load_tokenizer(path) else { return Ok(()) };
        if theirs.vocab_json() == ours.vocab_json() && theirs.merges_txt() == ours.merges_txt() {
            return Ok(());
        }
        let hint = format!(
            "all models of a run share one tokenizer: set tokenizer.from to {}, or train all of them from one model",
            path.display()
        );
        Err(Error::usage(key, "a model with the run's tokenizer", "one with another", hint))
    }
}

/// The prompts below a context.
fn fitting_all<'a>(prompts: impl Iterator<Item = &'a Vec<u32>>, context: usize) -> Vec<&'a [u32]> {
    prompts.map(Vec::as_slice).filter(|prompt| prompt.len() < context).collect()
}

fn longest<'a>(examples: impl IntoIterator<Item = &'a Example>) -> usize {
    examples.into_iter().map(|example| example.tokens.len()).max().unwrap_or(0)
}

/// Checks that a model has room for so many tokens.
fn holds(model: &Option<Shape>, tokens: usize, what: &str) -> Result<()> {
    let Some(Shape { key, config }) = model.as_ref().filter(|model| model.config.context < tokens) else {
        return Ok(());
    };
    let expected = format!("a context of at least {tokens} tokens, for {what}");
    let hint = "or lower data.max_prompt_tokens or data.max_response_tokens: longer ones are then left out";
    Err(Error::usage(key, expected, config.context, hint))
}

/// Checks that `reader` can read whatever `writer` answers to these prompts with at most `limit` tokens.
fn reads(
    reader: &Option<Shape>,
    writer: &Option<Shape>,
    prompts: &[&[u32]],
    limit: usize,
    what: &str,
) -> Result<()> {
    let (Some(reader), Some(writer)) = (reader, writer) else { return Ok(()) };
    let room = writer.config.context;
    let whole = |prompt: &&[u32]| prompt.len().saturating_add(limit).min(room);
    // The writer is not asked what it has no room to answer.
    let asked = prompts.iter().filter(|prompt| prompt.len() < room);
    let tokens = asked.map(whole).max().unwrap_or(0);
    if reader.config.context < tokens {
        let expected =
            format!("a context of at least {tokens} tokens, as {what} prompts with their responses");
        let hint = "or lower max_prompt_tokens or max_response_tokens in sections data and ppo";
        return Err(Error::usage(reader.key, expected, reader.config.context, hint));
    }
    let (ours, theirs) = (reader.config.vocab_size, writer.config.vocab_size);
    if ours < theirs && tokens > 0 {
        let expected =
            format!("a vocabulary of at least {theirs} tokens, as {what} what another model writes");
        return Err(Error::usage(reader.key, expected, ours, "all models of a run share one tokenizer"));
    }
    Ok(())
}
