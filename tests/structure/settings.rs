//! The table of the settings and their tests: beside each key of the configuration stands a test that fails where the
//! key is ignored, or taken for another. `make mutants` makes such errors and sees the tests fail.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use instructgpt::settings::{Section, Settings};

const COLLECTING: &str = "tests/settings/collecting.rs";
const INPUTS: &str = "tests/settings/inputs.rs";
const PPO: &str = "tests/settings/ppo.rs";
const RECIPES: &str = "tests/settings/recipes.rs";
const SUPERVISED: &str = "tests/settings/supervised.rs";
const FAULTS: &str = "tests/numerical_faults.rs";

/// Sections or keys that one test follows: its file, its name, and the keys.
type Row = (&'static str, &'static str, &'static [&'static str]);

const TESTED: &[Row] = &[
    (PPO, "ppo_follows_the_hand_in_every_setting", &["seed"]),
    ("tests/hostile.rs", "run_configurations", &["micro_batch_tokens"]),
    ("tests/cuda_program.rs", "a_run_leaves_the_same_bytes_on_any_device", &["device"]),
    ("tests/exact_pipeline.rs", "in_bf16_neither_threads_nor_micro_batches_change_a_byte", &["precision"]),
    (RECIPES, "states_are_saved_as_often_as_is_set", &["checkpoint_every"]),
    (
        INPUTS,
        "the_model_has_the_shape_of_its_section",
        &[
            "model.context",
            "model.width",
            "model.layers",
            "model.heads",
            "model.inner",
            "model.layer_norm_epsilon",
            "model.activation",
            "model.attention_window",
            "model.tied_head",
        ],
    ),
    (INPUTS, "the_first_weights_have_the_deviation_that_is_set", &["model.initializer_range"]),
    (
        INPUTS,
        "the_tokenizer_is_trained_to_its_size_or_taken_from_a_directory",
        &["tokenizer.vocab_size", "tokenizer.from"],
    ),
    (
        INPUTS,
        "data_comes_from_the_files_that_are_named",
        &["data.pretraining", "data.demonstrations", "data.comparisons", "data.prompts"],
    ),
    (INPUTS, "documents_are_joined_or_kept_apart", &["data.join_documents"]),
    (INPUTS, "the_share_of_validation_is_that_of_the_setting", &["data.validation_fraction"]),
    (
        INPUTS,
        "longer_prompts_and_responses_are_left_out",
        &["data.max_prompt_tokens", "data.max_response_tokens", "ppo.max_prompt_tokens"],
    ),
    (INPUTS, "no_user_has_more_prompts_than_the_cap", &["data.prompts_per_user"]),
    ("src/train/dataset/tests.rs", "each_fraction_is_of_its_own_side", &["data.test_fraction"]),
    (
        "src/train/dataset/tests.rs",
        "prompts_that_begin_alike_count_once_in_every_kind",
        &["data.deduplicate_prefix"],
    ),
    ("tests/data_files.rs", "the_joint_ends_every_stated_prompt_and_no_other", &["data.joint"]),
    ("src/train/dataset/tests.rs", "personal_data_are_kept_replaced_or_dropped_in_training", &["data.pii"]),
    ("tests/data_files.rs", "columns_have_the_names_that_are_set", &["data.columns"]),
    (
        "tests/data_files.rs",
        "the_template_is_that_of_the_settings",
        &["data.template_instruction", "data.template_input", "data.template_response"],
    ),
    (
        INPUTS,
        "the_miniature_has_the_sizes_of_its_section",
        &["data.world", "world.documents", "world.demonstrations", "world.comparisons", "world.prompts"],
    ),
    (
        SUPERVISED,
        "pretraining_follows_the_hand_in_every_setting",
        &[
            "adam.beta1",
            "adam.beta2",
            "adam.epsilon",
            "adam.style",
            "pretrain.steps",
            "pretrain.batch",
            "pretrain.learning_rate",
            "pretrain.schedule",
            "pretrain.final_fraction",
            "pretrain.warmup_steps",
            "pretrain.weight_decay",
            "pretrain.gradient_clip",
            "pretrain.eval_every",
            "pretrain.eval_tokens",
        ],
    ),
    (
        SUPERVISED,
        "sft_follows_the_hand_in_every_setting",
        &[
            "sft.epochs",
            "sft.batch",
            "sft.learning_rate",
            "sft.schedule",
            "sft.final_fraction",
            "sft.warmup_steps",
            "sft.dropout",
            "sft.weight_decay",
            "sft.gradient_clip",
            "sft.eval_examples",
        ],
    ),
    (
        RECIPES,
        "sft_selects_the_epoch_that_the_named_reward_model_likes",
        &["sft.select", "sft.reward_model_from"],
    ),
    (
        SUPERVISED,
        "the_rlhf_init_follows_the_hand_in_every_setting",
        &[
            "rlhf_init.epochs",
            "rlhf_init.pretrain_fraction",
            "rlhf_init.batch",
            "rlhf_init.learning_rate",
            "rlhf_init.schedule",
            "rlhf_init.final_fraction",
            "rlhf_init.warmup_steps",
            "rlhf_init.dropout",
            "rlhf_init.weight_decay",
            "rlhf_init.gradient_clip",
            "rlhf_init.eval_examples",
        ],
    ),
    (
        SUPERVISED,
        "the_reward_model_follows_the_hand_in_every_setting",
        &[
            "reward_model.epochs",
            "reward_model.batch",
            "reward_model.shuffle_pairs",
            "reward_model.learning_rate",
            "reward_model.schedule",
            "reward_model.final_fraction",
            "reward_model.warmup_steps",
            "reward_model.weight_decay",
            "reward_model.gradient_clip",
            "reward_model.center_on_demonstrations",
            "reward_model.eval_every",
            "reward_model.eval_examples",
        ],
    ),
    (
        COLLECTING,
        "each_prompt_has_as_many_responses_as_is_set",
        &["reward_model.min_candidates", "reward_model.max_candidates"],
    ),
    (COLLECTING, "people_write_their_share_of_the_responses", &["reward_model.written_share"]),
    (
        COLLECTING,
        "models_sample_by_turns_at_the_temperature_that_is_set",
        &["reward_model.candidate_temperature", "collect.models"],
    ),
    (
        RECIPES,
        "stages_begin_with_the_model_that_is_named",
        &[
            "pretrain.init_from",
            "sft.init_from",
            "rlhf_init.init_from",
            "reward_model.init_from",
            "ppo.init_from",
        ],
    ),
    (
        RECIPES,
        "ppo_takes_reward_reference_and_value_function_from_where_they_are_named",
        &["ppo.value_init_from", "ppo.reward_model_from", "ppo.reference_from"],
    ),
    (RECIPES, "plain_ppo_is_trained_to_compare_where_it_is_asked_for", &["ppo.also_without_ptx"]),
    (
        PPO,
        "ppo_makes_its_iterations_and_validations",
        &["ppo.episodes", "ppo.eval_every", "ppo.eval_prompts"],
    ),
    (PPO, "the_policys_warm_up_follows_the_hand", &["ppo.warmup_iterations", "ppo.warmup_start"]),
    ("tests/exact_stages.rs", "the_warm_up_is_the_policys_alone_unless_asked_for", &["ppo.value_warmup"]),
    (
        PPO,
        "ppo_follows_the_hand_in_every_setting",
        &[
            "ppo.batch",
            "ppo.minibatches",
            "ppo.inner_epochs",
            "ppo.temperature",
            "ppo.max_response_tokens",
            "ppo.kl_coef",
            "ppo.ptx_coef",
            "ppo.ptx_examples_per_episode",
            "ppo.learning_rate",
            "ppo.value_learning_rate",
            "ppo.weight_decay",
            "ppo.gradient_clip",
            "ppo.adam_style",
            "ppo.ema",
            "ppo.gamma",
            "ppo.lambda",
            "ppo.clip",
            "ppo.value_clip",
            "ppo.value_coef",
            "ppo.whiten_advantages",
            "ppo.score_after_eos",
            "ppo.missing_eos",
            "ppo.missing_eos_value",
            "ppo.unbiased_whitening",
            "ppo.whiten_rewards",
            "ppo.adaptive_kl",
            "ppo.kl_target",
            "ppo.kl_horizon",
        ],
    ),
    (
        RECIPES,
        "public_benchmarks_are_asked_as_is_set",
        &["evaluation.tasks", "evaluation.data", "evaluation.style", "evaluation.shots", "evaluation.limit"],
    ),
    (FAULTS, "a_spike_of_the_value_loss_or_the_ptx_loss_stops_ppo", &["limits.loss_spike"]),
    (
        FAULTS,
        "each_bound_of_ppo_stops_the_run_with_advice",
        &["limits.kl", "limits.ratio", "limits.min_entropy"],
    ),
];

/// All keys, as `--set` writes them.
fn keys() -> Vec<String> {
    let settings = Settings::default();
    let sections = std::iter::once(&settings as &dyn Section).chain(settings.sections());
    let keys = |section: &dyn Section| -> Vec<String> {
        section.fields().iter().map(|field| section.path(field.name)).collect()
    };
    sections.flat_map(keys).collect()
}

/// What is wrong with a table, given the text of a file.
fn violations(keys: &[String], table: &[Row], read: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut tested = BTreeSet::new();
    for &(file, test, of_test) in table {
        let text = read(file).unwrap_or_default();
        if !text.contains(&format!("#[test]\nfn {test}() {{")) {
            wrong.push(format!("{file} has no test `{test}`"));
        }
        for &key in of_test {
            let name = key.rsplit('.').next().unwrap();
            if !text.contains(name) {
                wrong.push(format!("{key}: {file} does not mention `{name}`"));
            }
            if !keys.iter().any(|known| known == key) {
                wrong.push(format!("{key}: no such key, so its row can go"));
            }
            if !tested.insert(key) {
                wrong.push(format!("{key}: has two rows"));
            }
        }
    }
    let untested = keys.iter().filter(|key| !tested.contains(key.as_str()));
    wrong.extend(untested.map(|key| {
        format!(
            "{key}: no test. Write one that fails where the key is ignored (in tests/settings most are one line \
             of a table of cases), and name it in TESTED of tests/structure/settings.rs"
        )
    }));
    wrong
}

#[test]
fn every_setting_has_a_test_that_fails_when_it_is_ignored() {
    let read = |path: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).ok();
    let wrong = violations(&keys(), TESTED, &read);
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn a_wrong_table_is_found() {
    let read =
        |path: &str| (path == "a.rs").then(|| "#[test]\nfn one() {\n    set(\"x.key=1\")\n}\n".to_string());
    let found = |keys: &[&str], table: &[Row]| {
        violations(&keys.iter().map(|key| key.to_string()).collect::<Vec<_>>(), table, &read)
    };
    assert_eq!(found(&["x.key"], &[("a.rs", "one", &["x.key"])]), [""; 0]);
    for (keys, table, expected) in [
        (&["x.key", "y.other"][..], &[("a.rs", "one", &["x.key"][..])][..], "y.other: no test"),
        (&["x.key"], &[("a.rs", "two", &["x.key"])], "a.rs has no test `two`"),
        (&["x.key"], &[("b.rs", "one", &["x.key"])], "b.rs has no test `one`"),
        (&["x.key", "x.lost"], &[("a.rs", "one", &["x.key", "x.lost"])], "x.lost: a.rs does not mention"),
        (&["x.key"], &[("a.rs", "one", &["x.key", "z.key"])], "z.key: no such key"),
        (&["x.key"], &[("a.rs", "one", &["x.key", "x.key"])], "x.key: has two rows"),
    ] {
        let wrong = found(keys, table);
        assert!(wrong[0].starts_with(expected), "{wrong:?}");
    }
}
