//! The configuration of a run: one struct per section of the TOML file.
//!
//! Each field's documentation gives its unit, the paper's value and where the paper prints it
//! (sections and appendices of arXiv 2203.02155). The defaults are the paper's values wherever it
//! prints one; the others are labelled with whose they are: LHP is OpenAI's lm-human-preferences
//! (Ziegler et al. 2019), N+ is summarize_from_feedback_details (Huang et al. 2024), TRL and VERL
//! the libraries of these names, GPT-3 is Brown et al. 2020.
//! Reading files and `--set` overrides is the command line's matter, not this module's.

mod evaluation;
mod models;
mod modes;
mod ppo;
mod section;
mod source;
mod supervised;

pub use evaluation::{EvaluationSettings, Style};
pub use models::Model;
pub use ppo::PpoSettings;
pub use section::{Field, Number, Section};
pub use source::{DataSettings, ModelSettings, TokenizerSettings, WorldSettings};
pub use supervised::{
    AdamSettings, CollectSettings, LimitsSettings, PretrainSettings, RewardModelSettings, RlhfInitSettings,
    Select, SftSettings,
};

use crate::engine::Device;
use crate::error::{Error, Result};
use crate::model::Precision;
use section::{any, at_least_one, section};

section! {
    /// The configuration of a run.
    Settings = "" {
        /// Every random number follows from it.
        seed: u64 = 1, any;
        /// Most tokens in one forward pass. Bounds the memory; does not change a bit.
        micro_batch_tokens: usize = 8192, at_least_one;
        /// What computes: "cpu", or "cuda" or "cuda:N", an NVIDIA GPU, in a build with the feature `cuda`. Does not change a
        /// bit: an interrupted run may go on with another. The flag --device comes before it.
        device: Device = Device::Cpu, any;
        /// What the products with weights round their operands to, forward and backward, in every model of the run,
        /// loaded ones included: "f32" (nothing) or "bf16". Sums, attention, the scalar head, everything between
        /// the products, the weights that the optimizer changes and its moments are f32 in both. The paper trains
        /// with half-precision weights and activations and f32 copies of the weights (appendix C; fp16). Off here: it
        /// changes results a little, and only pays where a processor has the instruction for bf16 pairs. On a GPU there
        /// are also "tf32" and "bf16-fast", on its tensor cores: the same from run to run, but with bits of their own.
        precision: Precision = Precision::F32, any;
        /// Updates (PPO: iterations) between two saved states to resume from; 0: only after each stage.
        checkpoint_every: u64 = 200, any;
    }
    sections {
        /// The shape of a model trained from random weights.
        model: ModelSettings;
        /// The tokenizer.
        tokenizer: TokenizerSettings;
        /// Where the data comes from.
        data: DataSettings;
        /// The built-in miniature.
        world: WorldSettings;
        /// Adam, for every stage.
        adam: AdamSettings;
        /// Pretraining.
        pretrain: PretrainSettings;
        /// Supervised fine-tuning.
        sft: SftSettings;
        /// The collection of comparisons.
        collect: CollectSettings;
        /// The reward model.
        reward_model: RewardModelSettings;
        /// The model PPO starts from.
        rlhf_init: RlhfInitSettings;
        /// PPO and PPO-ptx.
        ppo: PpoSettings;
        /// Public benchmarks.
        evaluation: EvaluationSettings;
        /// When a run stops by itself.
        limits: LimitsSettings;
    }
}

impl Settings {
    /// Checks every field's range and the fields that must agree with each other; says all that is wrong at once.
    ///
    /// # Errors
    /// [`Error::Usage`] naming `section.field`, what is expected and what is there; [`Error::Several`] of them.
    pub fn validate(&self) -> Result<()> {
        Error::all(self.all_faults())
    }

    /// What [`Settings::validate`] finds: fields out of their ranges, then those of the others that disagree.
    pub fn all_faults(&self) -> Vec<Error> {
        let mut faults = self.faults();
        let named = |faults: &[Error], error: &Error| faults.iter().any(|fault| field(fault) == field(error));
        let checks = [
            Self::check_heads,
            Self::check_sides,
            Self::check_minibatches,
            Self::check_candidates,
            Self::check_lengths,
        ];
        let disagree = checks.into_iter().filter_map(|check| check(self).err());
        for error in disagree.chain(self.contradictions()) {
            if !named(&faults, &error) {
                faults.push(error);
            }
        }
        faults
    }

    fn check_heads(&self) -> Result<()> {
        let model = &self.model;
        if !model.width.is_multiple_of(model.heads) {
            let expected = format!("a divisor of model.width = {}", model.width);
            return Err(Error::usage("model.heads", expected, model.heads, "width = heads * head size"));
        }
        Ok(())
    }

    fn check_sides(&self) -> Result<()> {
        let held_out = self.data.validation_fraction + self.data.test_fraction();
        if held_out >= 1.0 {
            let expected = "validation_fraction and test_fraction below 1 together";
            let hint = "where test_fraction is not set, it is as large as validation_fraction";
            return Err(Error::usage("data.test_fraction", expected, held_out, hint));
        }
        Ok(())
    }

    fn check_minibatches(&self) -> Result<()> {
        let ppo = &self.ppo;
        if !ppo.batch.is_multiple_of(ppo.minibatches) {
            let expected = format!("a divisor of ppo.batch = {}", ppo.batch);
            return Err(Error::usage("ppo.minibatches", expected, ppo.minibatches, ""));
        }
        Ok(())
    }

    fn check_candidates(&self) -> Result<()> {
        let RewardModelSettings { min_candidates: least, max_candidates: most, .. } = self.reward_model;
        if most < least {
            let expected = format!("at least reward_model.min_candidates = {least}");
            return Err(Error::usage("reward_model.max_candidates", expected, most, ""));
        }
        Ok(())
    }

    /// Prompt and response must fit the context; where a stage starts from a model directory the
    /// context is that model's, and is checked when it is loaded.
    fn check_lengths(&self) -> Result<()> {
        let data = (self.data.max_prompt_tokens, self.data.max_response_tokens);
        let ppo = (self.ppo.max_prompt_tokens, self.ppo.max_response_tokens);
        let lengths = [("data", Model::Sft, data), ("ppo", Model::Policy, ppo)];
        for (section, model, (prompt, response)) in lengths {
            let context = self.model.context;
            if self.shape_from(model).is_none() && prompt.saturating_add(response) > context {
                return Err(Error::usage(
                    format!("{section}.max_response_tokens"),
                    format!("at most {} with max_prompt_tokens = {prompt}", context.saturating_sub(prompt)),
                    response,
                    format!("prompt and response share model.context = {context} tokens"),
                ));
            }
        }
        Ok(())
    }
}

/// The key that an error is about.
fn field(error: &Error) -> &str {
    match error {
        Error::Usage { field, .. } => field,
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_the_papers_and_valid() {
        let s = Settings::default();
        s.validate().unwrap();
        assert_eq!((s.sft.epochs, s.sft.batch, s.sft.learning_rate, s.sft.dropout), (16, 32, 9.65e-6, 0.2));
        assert_eq!(
            (s.reward_model.epochs, s.reward_model.batch, s.reward_model.learning_rate),
            (1, 64, 9e-6)
        );
        assert_eq!((s.rlhf_init.epochs, s.rlhf_init.pretrain_fraction), (2, 0.1));
        assert_eq!(
            (s.ppo.episodes, s.ppo.batch, s.ppo.minibatches, s.ppo.inner_epochs),
            (256_000, 512, 8, 1)
        );
        assert_eq!((s.ppo.kl_coef, s.ppo.ptx_coef, s.ppo.ptx_examples_per_episode), (0.02, 27.8, 8));
        assert_eq!(
            (s.ppo.average_decay(), s.ppo.clip, s.ppo.warmup_iterations, s.ppo.warmup_start),
            (0.992, 0.2, 10, 0.1)
        );
        assert_eq!((s.adam.beta1, s.adam.beta2), (0.9, 0.95));
    }

    #[test]
    fn toml_reads_back_to_the_same_settings() {
        let mut s = Settings::default();
        s.ppo.kl_coef = 0.1 + 0.2;
        s.pretrain.init_from = Some("a \"b\"\nc".into());
        s.data.pretraining = vec!["x.txt".into(), "y.jsonl.gz".into()];
        s.ppo.adam_style = Some(crate::optim::adamw::AdamStyle::TensorFlow);
        let text = s.to_toml();
        assert_eq!(toml::from_str::<Settings>(&text).unwrap(), s, "{text}");
        assert!(text.contains("\nkl_coef = 0.3"), "floats are written short: {text}");
        assert!(text.contains("# Gamma of equation 2"));
    }

    #[test]
    fn every_section_is_known_by_its_key_and_documented() {
        let s = Settings::default();
        let table = toml::Table::try_from(&s).unwrap();
        for section in s.sections() {
            let sub = table[section.key()].as_table().expect("section key = field name");
            assert!(!section.about().is_empty());
            for field in section.fields() {
                assert!(!field.doc.is_empty(), "{}", section.path(field.name));
                assert_eq!(sub.contains_key(field.name), field.value.is_some());
            }
        }
    }

    /// Applies a change to the defaults and returns the message.
    fn refused(change: impl FnOnce(&mut Settings)) -> String {
        let mut s = Settings::default();
        change(&mut s);
        let error = s.validate().unwrap_err();
        assert_eq!(error.exit_code(), 2);
        error.to_string()
    }

    #[test]
    fn validate_names_the_field() {
        let cases = [
            (
                refused(|s| s.ppo.minibatches = 7),
                "ppo.minibatches: expected a divisor of ppo.batch = 512, found 7",
            ),
            (
                refused(|s| s.ppo.kl_coef = f32::NAN),
                "ppo.kl_coef: expected a finite number from 0 up, found nan",
            ),
            (
                refused(|s| s.sft.dropout = 1.0),
                "sft.dropout: expected a number from 0 up and below 1, found 1.0",
            ),
            (refused(|s| s.micro_batch_tokens = 0), "micro_batch_tokens: expected at least 1, found 0"),
            (refused(|s| s.model.heads = 5), "model.heads: expected a divisor of model.width = 768, found 5"),
            (refused(|s| s.tokenizer.vocab_size = 256), "tokenizer.vocab_size: expected at least 257"),
            (
                refused(|s| {
                    (s.model.context, s.ppo.max_prompt_tokens, s.ppo.max_response_tokens) = (64, 9, 9)
                }),
                "data.max_response_tokens: expected at most 0 with",
            ),
            (refused(|s| s.model.inner = Some(0)), "model.inner: expected at least 1"),
            (
                refused(|s| s.data.validation_fraction = 0.5),
                "data.test_fraction: expected validation_fraction and test_fraction below 1 together, found 1",
            ),
            (
                refused(|s| s.data.test_fraction = Some(1.5)),
                "data.test_fraction: expected a number from 0 up",
            ),
            (
                refused(|s| s.reward_model.max_candidates = 3),
                "reward_model.max_candidates: expected at least",
            ),
        ];
        for (message, start) in cases {
            assert!(message.starts_with(start), "{message}");
        }
    }

    #[test]
    fn validate_says_all_that_is_wrong() {
        let all = refused(|s| {
            (s.seed, s.ppo.clip, s.model.heads, s.ppo.minibatches, s.ppo.batch) = (2, 0.0, 5, 0, 7);
            s.sft.dropout = 2.0;
        });
        let lines: Vec<&str> = all.lines().map(|line| line.split(": expected").next().unwrap()).collect();
        // What is out of its range is not said to disagree as well.
        assert_eq!(
            lines,
            ["4 mistakes", "  sft.dropout", "  ppo.minibatches", "  ppo.clip", "  model.heads"]
        );
        assert!(all.contains("found 5; width = heads * head size\n") || all.ends_with("head size"), "{all}");
    }

    #[test]
    fn a_model_directory_brings_its_own_context() {
        let mut s = Settings::default();
        s.model.context = 64;
        s.pretrain.init_from = Some("gpt2".into());
        s.validate().unwrap();
    }

    #[test]
    fn model_section_becomes_a_model_config() {
        let mut m = ModelSettings { attention_window: 7, ..Default::default() };
        m.inner = Some(100);
        let config = m.config(300, Precision::F32);
        assert_eq!(
            (config.vocab_size, config.inner, config.window(1), config.window(0)),
            (300, 100, 7, 2048)
        );
        config.validate("model").unwrap();
    }
}
