//! Settings that only some configurations use, and settings that contradict each other.
//!
//! A key that is set although nothing reads it is a mistake of its user's, or will be one of their readers': each is
//! said once, with the reason. One table says which key is used when.

use super::{Section, Select, Settings};
use crate::error::Error;
use crate::loss::kl_reward::MissingEos;
use crate::optim::schedule::Decay;

/// Keys that are only used in some configurations.
struct Conditional {
    /// `section.key`, or `section.*` for all keys of a section.
    keys: &'static [&'static str],
    /// Keys of that section that are used all the same.
    except: &'static [&'static str],
    /// Whether these are used.
    used: fn(&Settings) -> bool,
    /// Why they are not, where they are not.
    since: &'static str,
}

const fn keys(
    keys: &'static [&'static str],
    used: fn(&Settings) -> bool,
    since: &'static str,
) -> Conditional {
    Conditional { keys, except: &[], used, since }
}

/// In the order of the configuration; what switches a whole section off comes before what switches a key off.
const CONDITIONAL: &[Conditional] = &[
    keys(&["model.*"], |s| s.pretrain.init_from.is_none(), "pretrain.init_from names a model"),
    keys(
        &["tokenizer.vocab_size"],
        |s| s.tokenizer.from.is_none() && s.pretrain.init_from.is_none(),
        "the tokenizer comes from a model directory",
    ),
    keys(
        &[
            "data.pretraining",
            "data.demonstrations",
            "data.comparisons",
            "data.prompts",
            "data.joint",
            "data.columns",
            "data.pii",
            "data.template_instruction",
            "data.template_input",
            "data.template_response",
        ],
        |s| !s.data.world,
        "data.world = true",
    ),
    keys(&["world.*"], |s| s.data.world, "data.world = false"),
    Conditional {
        keys: &["pretrain.*"],
        except: &["pretrain.init_from", "pretrain.steps", "pretrain.eval_tokens"],
        used: |s| s.pretrain.steps > 0,
        since: "pretrain.steps = 0",
    },
    keys(
        &["pretrain.final_fraction"],
        |s| s.pretrain.schedule != Decay::Constant,
        "the schedule is constant",
    ),
    Conditional {
        keys: &["sft.*"],
        except: &["sft.epochs", "sft.eval_examples"],
        used: |s| s.sft.epochs > 0,
        since: "sft.epochs = 0",
    },
    keys(&["sft.final_fraction"], |s| s.sft.schedule != Decay::Constant, "the schedule is constant"),
    keys(
        &["sft.reward_model_from"],
        |s| s.sft.select == Select::Reward,
        "sft.select lets no reward model choose",
    ),
    keys(&["collect.*"], |s| s.reward_model.epochs > 0, "reward_model.epochs = 0"),
    keys(&["collect.*"], |s| s.data.world, "comparisons come from files"),
    Conditional {
        keys: &["reward_model.*"],
        except: &["reward_model.epochs"],
        used: |s| s.reward_model.epochs > 0,
        since: "reward_model.epochs = 0",
    },
    keys(
        &["reward_model.final_fraction"],
        |s| s.reward_model.schedule != Decay::Constant,
        "the schedule is constant",
    ),
    keys(
        &[
            "reward_model.min_candidates",
            "reward_model.max_candidates",
            "reward_model.written_share",
            "reward_model.candidate_temperature",
        ],
        |s| s.data.world,
        "comparisons come from files",
    ),
    Conditional {
        keys: &["rlhf_init.*"],
        except: &["rlhf_init.epochs"],
        used: |s| s.ppo.episodes > 0,
        since: "ppo.episodes = 0",
    },
    Conditional {
        keys: &["rlhf_init.*"],
        except: &["rlhf_init.init_from", "rlhf_init.epochs", "rlhf_init.eval_examples"],
        used: |s| s.rlhf_init.epochs > 0,
        since: "rlhf_init.epochs = 0",
    },
    keys(
        &["rlhf_init.final_fraction"],
        |s| s.rlhf_init.schedule != Decay::Constant,
        "the schedule is constant",
    ),
    // The choice of SFT's epoch and the evaluation sample as PPO does, and score with its reward model.
    Conditional {
        keys: &["ppo.*"],
        except: &[
            "ppo.episodes",
            "ppo.reward_model_from",
            "ppo.temperature",
            "ppo.max_prompt_tokens",
            "ppo.max_response_tokens",
            "ppo.eval_prompts",
        ],
        used: |s| s.ppo.episodes > 0,
        since: "ppo.episodes = 0",
    },
    keys(
        &["ppo.ptx_examples_per_episode", "ppo.also_without_ptx"],
        |s| s.ppo.ptx_coef > 0.0,
        "ppo.ptx_coef = 0",
    ),
    keys(
        &["ppo.ptx_coef", "ppo.also_without_ptx"],
        |s| s.ppo.ptx_examples_per_episode > 0,
        "ppo.ptx_examples_per_episode = 0",
    ),
    keys(
        &["ppo.warmup_start", "ppo.value_warmup"],
        |s| s.ppo.warmup_iterations > 0,
        "ppo.warmup_iterations = 0",
    ),
    keys(
        &["ppo.missing_eos_value"],
        |s| s.ppo.missing_eos != MissingEos::Keep,
        "ppo.missing_eos = \"keep\" leaves the score",
    ),
    keys(
        &["ppo.unbiased_whitening"],
        |s| s.ppo.whiten_advantages || s.ppo.whiten_rewards,
        "nothing is whitened",
    ),
    keys(&["ppo.kl_target", "ppo.kl_horizon"], |s| s.ppo.adaptive_kl, "ppo.adaptive_kl = false"),
    keys(&["evaluation.*"], |s| !s.evaluation.tasks.is_empty(), "evaluation.tasks names none"),
    keys(&["limits.kl", "limits.ratio", "limits.min_entropy"], |s| s.ppo.episodes > 0, "ppo.episodes = 0"),
];

impl Conditional {
    fn names(&self, section: &str, path: &str) -> bool {
        let named = |key: &str| key == path || key.strip_suffix(".*") == Some(section);
        self.keys.iter().any(|key| named(key)) && !self.except.contains(&path)
    }
}

impl Settings {
    /// One sentence for each reason why keys that differ from their defaults are used by nothing.
    pub fn unused(&self) -> Vec<String> {
        let standard = Settings::default();
        let mut groups: Vec<(&str, Vec<String>)> = Vec::new();
        for (section, standard) in self.sections().into_iter().zip(standard.sections()) {
            for (field, standard) in section.fields().into_iter().zip(standard.fields()) {
                let path = section.path(field.name);
                let off = |row: &&Conditional| row.names(section.key(), &path) && !(row.used)(self);
                let Some(row) = CONDITIONAL.iter().find(off).filter(|_| field.value != standard.value) else {
                    continue;
                };
                match groups.iter_mut().find(|(since, _)| *since == row.since) {
                    Some((_, paths)) => paths.push(path),
                    None => groups.push((row.since, vec![path])),
                }
            }
        }
        let sentence = |(since, paths): (&str, Vec<String>)| {
            let are = if paths.len() == 1 { "is" } else { "are" };
            format!("{} {are} set but not used, since {since}", paths.join(", "))
        };
        groups.into_iter().map(sentence).collect()
    }

    /// Values that are each in their range, but together make a stage do nothing, or the opposite of what is meant.
    pub(super) fn contradictions(&self) -> Vec<Error> {
        let ppo = &self.ppo;
        let mut faults = Vec::new();
        if (1..ppo.batch as u64).contains(&ppo.episodes) {
            let expected = format!("at least ppo.batch = {}, or 0 for no PPO", ppo.batch);
            let hint = "fewer episodes make no iteration: lower ppo.batch as well";
            faults.push(Error::usage("ppo.episodes", expected, ppo.episodes, hint));
        }
        if let (MissingEos::Subtract, Some(penalty)) = (ppo.missing_eos, ppo.missing_eos_value)
            && penalty < 0.0
        {
            let expected = "a penalty from 0 up with ppo.missing_eos = \"subtract\"";
            let hint = "a negative one would reward responses that do not end";
            faults.push(Error::usage("ppo.missing_eos_value", expected, penalty, hint));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The defaults, on the miniature, with a change.
    fn with(change: impl FnOnce(&mut Settings)) -> Settings {
        let mut s = Settings::default();
        s.data.world = true;
        change(&mut s);
        s
    }

    #[test]
    fn what_is_set_in_vain_is_said_once_for_each_reason() {
        assert_eq!(with(|_| ()).unused(), [""; 0]);
        let s = with(|s| (s.ppo.kl_target, s.ppo.kl_horizon) = (5.0, 100.0));
        let said = "ppo.kl_target, ppo.kl_horizon are set but not used, since ppo.adaptive_kl = false";
        assert_eq!(s.unused(), [said]);
        assert_eq!(with(|s| (s.ppo.kl_target, s.ppo.adaptive_kl) = (5.0, true)).unused(), [""; 0]);
        let s = with(|s| (s.sft.epochs, s.sft.batch, s.sft.eval_examples) = (0, 7, 9));
        assert_eq!(s.unused(), ["sft.batch is set but not used, since sft.epochs = 0"]);
        // A key that two reasons switch off is named with the first.
        let s = with(|s| (s.ppo.episodes, s.ppo.kl_target, s.limits.kl) = (0, 5.0, 1.0));
        assert_eq!(s.unused(), ["ppo.kl_target, limits.kl are set but not used, since ppo.episodes = 0"]);
    }

    #[test]
    fn every_row_names_keys_that_exist_and_is_on_in_some_configuration() {
        let s = Settings::default();
        let paths: Vec<(String, String)> = s
            .sections()
            .iter()
            .flat_map(|section| {
                let paths = section.fields().into_iter().map(|field| section.path(field.name));
                paths.map(|path| (section.key().to_string(), path)).collect::<Vec<_>>()
            })
            .collect();
        let others = with(|s| {
            s.ppo.missing_eos = MissingEos::Subtract;
            s.ppo.adaptive_kl = true;
            s.evaluation.tasks = vec!["rte".into()];
        });
        for row in CONDITIONAL {
            for key in row.keys {
                let one = Conditional { keys: std::slice::from_ref(key), ..*row };
                assert!(paths.iter().any(|(section, path)| one.names(section, path)), "{key}");
            }
            for key in row.except {
                assert!(paths.iter().any(|(_, path)| path == key), "{key}");
            }
            assert!((row.used)(&s) || (row.used)(&others), "{:?}", row.keys);
        }
    }

    #[test]
    fn values_that_make_a_stage_do_nothing_or_the_opposite_are_refused() {
        let refused = |change: fn(&mut Settings)| {
            let error = with(change).validate().unwrap_err();
            assert_eq!(error.exit_code(), 2);
            error.to_string()
        };
        let said = refused(|s| s.ppo.episodes = 511);
        assert!(said.starts_with("ppo.episodes: expected at least ppo.batch = 512, or 0"), "{said}");
        with(|s| s.ppo.episodes = 512).validate().unwrap();
        with(|s| s.ppo.episodes = 0).validate().unwrap();
        let penalty = |value| {
            with(|s| (s.ppo.missing_eos, s.ppo.missing_eos_value) = (MissingEos::Subtract, value)).validate()
        };
        assert!(
            penalty(Some(-1.0))
                .unwrap_err()
                .to_string()
                .starts_with("ppo.missing_eos_value: expected a penalty")
        );
        for right in [None, Some(0.0), Some(2.0)] {
            penalty(right).unwrap();
        }
    }

    #[test]
    fn a_missing_end_of_text_never_pays_by_default() {
        let score = |missing_eos, ended| with(|s| s.ppo.missing_eos = missing_eos).ppo.score(0.5, ended);
        for mode in [MissingEos::Keep, MissingEos::Replace, MissingEos::Subtract] {
            assert_eq!(score(mode, true), 0.5);
        }
        assert_eq!(score(MissingEos::Keep, false), 0.5);
        assert_eq!(score(MissingEos::Replace, false), -1.0);
        assert_eq!(score(MissingEos::Subtract, false), -0.5);
        let set = with(|s| (s.ppo.missing_eos, s.ppo.missing_eos_value) = (MissingEos::Subtract, Some(2.0)));
        assert_eq!(set.ppo.score(0.5, false), -1.5);
    }
}
