"""Can the tests fail? Each mutant is the library with one error put in by hand: a setting that is left out or taken for
another, a sign, a bound, an order.

The tree is copied once to `target/mutants`. In the copy every place of the table below becomes

    (if crate::mutant("NAME") { the error } else { the code })

so the tests are built once, and each mutant is a run of them with `MUTANT=NAME`. The sources themselves stay as they
are. The tests that compare with known hashes are left out: a test must know the right value. Only for a mutant that all
others let through are the hashes asked, and then it says so.

    python3 tests/mutants.py [NAME ...]      all, or those of these names
    python3 tests/mutants.py --check         whether every place of the table is there, and no more

Printed is the first test that noticed each. The exit code is 1 if a mutant survives, 2 if a place is not found. It needs
Python, cargo, and no network; one build of the tests, then some seconds for each mutant.
"""

import json
import os
import pathlib
import subprocess
import sys
import time
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parent.parent
SCRATCH = ROOT / "target" / "mutants"

# Unit tests that are quick, by module.
UNITS = ["data::", "engine::sampling", "eval::", "loss::", "model::", "num::statistics", "optim::", "recipe::", "run::", "settings::", "train::"]
# In this order, until one fails.
TESTS = ["lib", "settings", "exact_ranks", "exact_stages", "numerical_faults", "golden", "model_directories"]
HASHES = ("exact_pipeline", ["the_run_has_the_known_hashes"])

SWITCH = """
/// Whether the error of that name is switched on.
pub fn mutant(name: &str) -> bool {
    static ACTIVE: std::sync::LazyLock<Option<String>> = std::sync::LazyLock::new(|| std::env::var("MUTANT").ok());
    ACTIVE.as_deref() == Some(name)
}
"""


class Mutant(NamedTuple):
    name: str
    file: str
    # Occurs exactly once in the file; between the marks stands what is replaced: an expression, or statements.
    place: str
    new: str
    # Where it should be noticed: a test binary and a filter. Tried first.
    likely: str

    def text(self):
        return self.place.replace("«", "").replace("»", "")


LOSS, PPO, SUPERVISED, INPUTS = "lib loss::", "settings ppo::", "settings supervised::", "settings inputs::"
MUTANTS = [
    Mutant(*row)
    for row in [
        # BPE.
        ("bpe_cut_in_white_space", "src/text/split.rs", "text.as_bytes()[*at] == b' ' && «!text[..*at].chars().next_back().is_none_or(char::is_whitespace)»", "true", "lib text::split"),
        ("bpe_unchanged_pairs_from_too_early", "src/text/train.rs", "symbols.len().saturating_sub(«last + 3»)", "last + 2", "lib text::train"),
        # The losses.
        ("policy_clip_below_lost", "src/loss/clipped.rs", "clamp(ratio, «1.0 - clip», 1.0 + clip)", "0.0", LOSS),
        ("policy_gradient_beyond_the_clip", "src/loss/clipped.rs", "dlog_probs[t] = «if is_clipped { 0.0 } else { unclipped * weight }»;", "unclipped * weight", LOSS),
        ("policy_minimum_for_maximum", "src/loss/clipped.rs", "let is_clipped = «clipped > unclipped»;", "clipped < unclipped", LOSS),
        ("value_clip_lost", "src/loss/clipped.rs", "let is_clipped = «clipped_error * clipped_error > error * error»;", "false", LOSS),
        ("value_coef_lost", "src/loss/clipped.rs", "let scale = «value_coef * weight»;", "weight", LOSS),
        ("kl_penalty_sign", "src/loss/kl_reward.rs", "*r = «-kl_coef * (old - reference)»;", "kl_coef * (old - reference)", LOSS),
        ("score_lost", "src/loss/kl_reward.rs", "*last += «score»;", "0.0", LOSS),
        ("missing_eos_added", "src/loss/kl_reward.rs", "MissingEos::Subtract if !ended => «score - value»,", "score + value", LOSS),
        ("missing_eos_of_those_that_end", "src/loss/kl_reward.rs", "MissingEos::Replace if «!ended» =>", "ended", LOSS),
        ("adaptive_kl_sign", "src/loss/kl_reward.rs", "let error = «(mean_kl / self.target as f64 - 1.0).clamp(-0.2, 0.2)»;", "(1.0 - mean_kl / self.target as f64).clamp(-0.2, 0.2)", LOSS),
        ("adaptive_kl_unbounded", "src/loss/kl_reward.rs", "let error = «(mean_kl / self.target as f64 - 1.0).clamp(-0.2, 0.2)»;", "mean_kl / self.target as f64 - 1.0", LOSS),
        ("kl_horizon_lost", "src/loss/kl_reward.rs", "error * episodes as f64 / «self.horizon as f64»", "10_000.0", PPO),
        ("score_behind_a_full_response", "src/loss/kl_reward.rs", "ScorePlacement::AfterEndOfText if «tokens < limit» =>", "true", LOSS),
        ("lambda_lost", "src/loss/advantage.rs", "let discount = «gamma * lambda»;", "gamma", LOSS),
        ("gamma_lost", "src/loss/advantage.rs", "fma(«gamma», next_value, rewards[t])", "1.0", LOSS),
        ("whitening_moves_the_mean", "src/loss/advantage.rs", "let shift = «if whitening.shift_mean { 0.0 } else { mean }»;", "0.0", LOSS),
        ("unbiased_whitening_lost", "src/loss/advantage.rs", "let divisor = «if whitening.unbiased { (n - 1).max(1) } else { n }»;", "n", LOSS),
        ("cross_entropy_coefficient_lost", "src/loss/cross_entropy.rs", "slope: «-coefficient / tokens as f32»,", "-1.0 / tokens as f32", LOSS),
        ("pairs_summed", "src/loss/reward_loss.rs", "let share = «weight / count as f32»;", "weight", LOSS),
        ("equal_rewards_are_right", "src/loss/reward_loss.rs", "Some(core::cmp::Ordering::Equal) => «0.5»,", "1.0", LOSS),
        # The optimizer.
        ("weight_decay_of_everything", "src/optim/adamw.rs", "keep: «if decay { 1.0 - rate * self.weight_decay } else { 1.0 }» as f32,", "1.0 - rate * self.weight_decay", "lib optim::"),
        ("first_moment_uncorrected", "src/optim/adamw.rs", "AdamStyle::PyTorch => (1.0 / correction2, «1.0 / correction1»),", "1.0", "lib optim::"),
        ("tensorflow_style_lost", "src/optim/adamw.rs", "AdamStyle::TensorFlow => «(1.0, correction2 / correction1)»,", "(1.0 / correction2, 1.0 / correction1)", "lib optim::"),
        ("average_swapped", "src/optim/adamw.rs", "average_rest: («1.0 - f64::from(average_decay)») as f32,", "f64::from(average_decay)", "lib optim::"),
        ("gradient_clip_lost", "src/optim/learner.rs", "let scale = «if clip > 0.0 { clipping_scale(norm, clip) } else { 1.0 }»;", "1.0", SUPERVISED),
        ("cosine_to_zero", "src/optim/schedule.rs", "                «final_fraction + (1.0 - final_fraction) * wave»", "wave", "lib optim::"),
        ("linear_to_zero", "src/optim/schedule.rs", "Decay::Linear => «final_fraction + (1.0 - final_fraction) * (1.0 - progress)»,", "1.0 - progress", SUPERVISED),
        ("warm_up_from_zero", "src/optim/schedule.rs", "return «start + (1.0 - start) * (step as f64 / warmup as f64)»;", "step as f64 / warmup as f64", "lib optim::"),
        # What the stages share.
        ("adam_style_of_the_stage_lost", "src/train/inputs.rs", "style: «style.unwrap_or(self.adam.style)»,", "self.adam.style", PPO),
        ("weight_decay_lost", "src/train/inputs.rs", "adam: «adam.adamw(weight_decay)»,", "adam.adamw(0.0)", SUPERVISED),
        ("same_order_in_every_epoch", "src/train/inputs.rs", "Rng::at(self.seed, stage, Purpose::Shuffle, «epoch», 0, 0)", "0", SUPERVISED),
        ("same_text_in_every_step", "src/train/pretrain.rs", "Rng::at(seed, stage, Purpose::Pretraining, «step», i, 0)", "0", SUPERVISED),
        ("eval_tokens_lost", "src/train/inputs.rs", "eval_tokens: «settings.pretrain.eval_tokens»,", "65536", SUPERVISED),
        # Pretraining, SFT, the reward model.
        ("pretraining_unclipped", "src/train/pretrain.rs", "inputs.optimizer(None, s.weight_decay, «s.gradient_clip»)", "0.0", SUPERVISED),
        ("pretraining_rate_constant", "src/train/pretrain.rs", "let learning_rate = «self.schedule.learning_rate(s.learning_rate, step, s.steps)»;", "s.learning_rate", SUPERVISED),
        ("sft_weight_decay_lost", "src/train/sft.rs", "inputs.optimizer(None, «s.weight_decay», s.gradient_clip)", "0.0", SUPERVISED),
        ("sft_dropout_lost", "src/train/sft.rs", "let dropout = («s.dropout > 0.0»).then_some(dropout);", "false", SUPERVISED),
        ("sft_any_epoch_is_better", "src/train/sft.rs", "self.s.select == Select::ValidationLoss && «better»", "true", "exact_stages the_best_epoch"),
        ("sft_selects_the_worst", "src/train/sft_selection.rs", "|(most, ..)| «reward > *most»", "reward < *most", "settings recipes::"),
        ("prompts_summed", "src/train/reward_model.rs", "let weight = «1.0 / batch.len() as f32»;", "1.0", SUPERVISED),
        ("shuffled_pairs_lost", "src/train/reward_model.rs", "let pairs = «s.shuffle_pairs».then(|| Pair::all(ranks));", "false", SUPERVISED),
        ("reward_model_uncentred", "src/train/reward_model.rs", "let wanted = «self.s.center_on_demonstrations»;", "false", SUPERVISED),
        ("reward_model_always_centred", "src/train/reward_model.rs", "let wanted = «self.s.center_on_demonstrations»;", "true", SUPERVISED),
        ("reward_model_tested_on_validation", "src/train/reward_model.rs", "validate(&mut network, «test», usize::MAX)", "&data.rankings.validation", "exact_pipeline validation_chooses"),
        ("pairs_are_their_own_clusters", "src/num/statistics.rs", "(«variance * (n - 1.0) / (p * (1.0 - p))»).max(1.0)", "1.0", "lib num::statistics"),
        ("centred_the_other_way", "src/train/reward_model.rs", "*bias = («f64::from(*bias) - mean * f64::from(w) / square») as f32;", "f64::from(*bias) + mean * f64::from(w) / square", SUPERVISED),
        # The collection of comparisons.
        ("written_share_lost", "src/train/collect.rs", "let share = «k as f64 * f64::from(s.written_share)»;", "k as f64 * 0.5", "settings collecting::"),
        ("written_share_rounded", "src/train/collect.rs", "(«(share + f64::from(rng.uniform())) as usize»).min(k)", "share.round() as usize", "settings collecting::"),
        ("candidate_temperature_lost", "src/train/collect.rs", "Sampling::full(«s.candidate_temperature», max_response_tokens", "1.0", "settings collecting::"),
        ("max_candidates_never_reached", "src/train/collect.rs", "rng.below(«s.max_candidates - s.min_candidates + 1»)", "(s.max_candidates - s.min_candidates).max(1)", "settings collecting::"),
        # PPO.
        ("ptx_coef_is_1", "src/train/ppo.rs", "CrossEntropy::of(text, «s.ptx_coef»)", "1.0", PPO),
        ("ptx_examples_per_episode_lost", "src/train/ppo.rs", "«s.batch / s.minibatches * s.ptx_examples_per_episode»", "s.batch / s.minibatches", PPO),
        ("value_function_at_the_policys_rate", "src/train/ppo.rs", "rate(«s.value_learning_rate»)", "s.learning_rate", PPO),
        ("policy_clipped_as_the_value", "src/train/ppo.rs", "advantages, «s.clip», weight, &mut sums.policy", "s.value_clip", PPO),
        ("value_clipped_as_the_policy", "src/train/ppo.rs", "returns, «s.value_clip», s.value_coef", "s.clip", PPO),
        ("policy_gradient_at_temperature_1", "src/train/ppo.rs", "policy.accumulate(&responses, &singly(responses.len()), «s.temperature», None", "1.0", PPO),
        ("missing_eos_inverted", "src/train/ppo.rs", "score, «response.ended»)", "!response.ended", PPO),
        ("adaptive_kl_lost", "src/train/ppo.rs", "if «s.adaptive_kl» {", "false", PPO),
        ("same_prompts_in_every_pass", "src/train/ppo.rs", "Purpose::Prompt, «pass», 0, 0)", "0", PPO),
        ("same_minibatches_in_every_iteration", "src/train/ppo.rs", "Purpose::Shuffle, «iteration», epoch, 0)", "0", PPO),
        ("same_minibatches_in_every_pass", "src/train/ppo.rs", "Purpose::Shuffle, iteration, «epoch», 0)", "0", PPO),
        ("inner_epochs_lost", "src/train/ppo.rs", "for epoch in 0..«s.inner_epochs as u64»", "1", PPO),
        ("advantages_always_whitened", "src/train/ppo.rs", "if «s.whiten_advantages» {", "true", PPO),
        ("advantages_whitened_biased", "src/train/ppo.rs", "Whitening { shift_mean: true, unbiased: «s.unbiased_whitening» }", "false", PPO),
        ("ema_is_the_papers", "src/train/ppo.rs", "policy.update(sums.learning_rate, «s.average_decay()»)", "0.992", PPO),
        ("unset_ema_is_the_papers", "src/settings/ppo.rs", "let of_run = || «libm::pow(PAPER, UPDATES / self.updates() as f64)».min(PAPER) as f32;", "PAPER", PPO),
        ("warm_up_counts_updates", "src/train/ppo.rs", "warmup_steps: «s.warmup_iterations * (s.minibatches * s.inner_epochs) as u64»,", "s.warmup_iterations", PPO),
        ("raw_weights_exported", "src/train/ppo.rs", "Finished::network(«self.policy.averaged()», results)", "self.policy.network.clone()", PPO),
        ("eval_prompts_lost", "src/train/ppo.rs", "prompts.truncate(«s.eval_prompts»);", "usize::MAX", PPO),
        ("validation_of_the_raw_policy", "src/optim/learner.rs", "«mem::swap(self.network.parameters_and_layout().0, average);»", "let _ = average;", "exact_stages"),
        ("value_rate_warms_up", "src/train/ppo.rs", "let value_rate = if «s.value_warmup»", "!s.value_warmup", "exact_stages"),
        ("rewards_whitened_to_mean_0", "src/train/episodes.rs", "Whitening { shift_mean: «false», unbiased", "true", PPO),
        ("rewards_whitened_biased", "src/train/episodes.rs", "shift_mean: false, unbiased: «s.unbiased_whitening» }", "false", PPO),
        ("reference_at_temperature_1", "src/train/episodes.rs", "reference.log_probs(&episodes.rollouts.sequences(), «s.temperature»)", "1.0", PPO),
        ("gamma_is_lambda", "src/train/episodes.rs", "rewards, values, «s.gamma», s.lambda)", "s.lambda", PPO),
        ("score_after_eos_without_limit", "src/train/episodes.rs", "placement.positions(response.len(), «s.max_response_tokens»)", "usize::MAX", PPO),
        ("score_after_eos_lost", "src/train/episodes.rs", "match «s.score_after_eos» {", "false", PPO),
        # The data.
        ("mix_rounded_per_batch", "src/train/mixture.rs", "(«step as f64 * self.batch as f64 * self.text_share») as u64", "step as f64 * (self.batch as f64 * self.text_share).floor()", "lib train::"),
        ("pad_ignored", "src/model/network.rs", "let pad = «self.config.pad_token»;", "None", "model_directories"),
        ("top_p_of_all_tokens", "src/engine/sampling.rs", "let whole = «if most < p.len() { order[..most].iter().map(probable).sum() } else { 1.0 }»;", "1.0", "lib engine::sampling"),
        ("documents_always_joined", "src/train/encoder.rs", "joins: «settings.data.join_documents»,", "true", INPUTS),
        ("cap_of_users_lost", "src/train/records.rs", "data::cap_per_user(records, «settings.data.prompts_per_user», &rule.form)", "usize::MAX", INPUTS),
        ("cap_of_users_off_by_one", "src/data/filters.rs", "(«prompts.len() < limit» && prompts.insert(prompt))", "prompts.len() <= limit", "lib data::"),
        ("held_out_prompts_leak", "src/data/split.rs", ".all(|key| «self.earliest[key] == side»)", "true", "lib data::"),
        ("test_trains_the_choice", "src/data/split.rs", "number if number < «self.validation + self.test» => Side::Test,", "self.validation", "lib data::"),
        ("prefix_longer_by_one", "src/data/normal_form.rs", "text.char_indices().nth(«self.prefix»)", "self.prefix + 1", "lib data::"),
        ("users_on_both_sides", "src/data/split.rs", "Some(user) => «Key::User(user.to_string())»,", "Key::Prompt(self.form.beginning(record.prompt()))", "lib data::"),
        ("last_mark_alone", "src/data/tags.rs", "Ok(Marks(«set | 1 << place»))", "1 << place", "lib data::tags"),
        ("marks_of_the_first_place", "src/data/tags.rs", "«self.0 >> place» & 1 == 1", "self.0", "lib data::tags"),
        ("response_shorter_by_one", "src/train/encoder.rs", "«response <= self.max_response»", "response < self.max_response", INPUTS),
        ("prompt_limit_of_data_for_ppo", "src/train/dataset.rs", "\"ppo.max_prompt_tokens\", «settings.ppo.max_prompt_tokens»,", "settings.data.max_prompt_tokens", INPUTS),
        # Evaluation and statistics.
        ("ties_lose", "src/eval/win_rate.rs", "Some(Ordering::Equal) => (&mut ties, «0.5»),", "0.0", "lib eval::"),
        ("open_questions_count", "src/eval/metadata.rs", "counts.add(prompt, yes, «usize::from(answer.is_some())»);", "1", "lib eval::"),
        ("kl_of_the_evaluation_sign", "src/eval/evaluation.rs", "«(own - theirs) / prompts.len() as f64»", "(theirs - own) / prompts.len() as f64", "settings recipes::"),
        ("variance_over_n", "src/num/statistics.rs", "if clusters > 1 { «g / (g - 1.0)» * squares", "1.0", "lib num::statistics"),
        # Models and sampling.
        ("top_p_keeps_one_more", "src/engine/sampling.rs", "(kept == 0 || «mass < f64::from(how.top_p) * whole»)", "mass <= f64::from(how.top_p) * whole", "settings sampling::"),
        ("banded_layers_even", "src/model/config.rs", "if «layer % 2 == 1» =>", "layer % 2 == 0", "lib settings::"),
        ("scalar_head_as_a_matrix", "src/model/layout.rs", "let deviation = «1.0 / libm::sqrtf(c as f32 + 1.0)»;", "0.02", "lib model::"),
        ("residual_projections_unscaled", "src/model/layout.rs", "Initialiser::Normal(«INITIALIZER_RANGE / libm::sqrtf(2.0 * config.layers as f32)»)", "0.02", "lib model::"),
        ("initializer_range_lost", "src/recipe/models.rs", "let range = «s.model.initializer_range»;", "0.02", INPUTS),
        # Runs and recipes.
        ("loss_spike_lost", "src/run/recent_losses.rs", "if spike > 0.0 && «loss > f64::from(spike) * mean» {", "false", "lib run::"),
        ("kl_limit_lost", "src/run/watch.rs", "self.limits.kl, «kl > f64::from(self.limits.kl)»)", "false", "numerical_faults each_bound"),
        ("entropy_limit_inverted", "src/run/watch.rs", "entropy, least, «entropy < f64::from(least)»)", "entropy > f64::from(least)", "numerical_faults each_bound"),
        ("saved_after_every_step", "src/run/driver.rs", "every > 0 && «done.is_multiple_of(every)» &&", "true", "settings recipes::"),
        ("plain_ppo_with_ptx", "src/recipe.rs", "PpoSettings { ptx_coef: «0.0», ..s.clone() }", "s.ptx_coef", "settings recipes::"),
        ("reward_model_from_the_pretrained", "src/recipe.rs", "None => self.start(&None, «self.best_imitator()», Head::LanguageModel)?,", "\"pretrain\"", "settings recipes::"),
        ("rlhf_init_from_sft", "src/recipe.rs", "let earlier = «if s.epochs == 0 { self.best_imitator() } else { \"pretrain\" }»;", "self.best_imitator()", "settings recipes::"),
        # Several ranks.
        ("ranks_chains_begin_anew", "src/model/relay.rs", "(«self.before > 0»).then", "self.before > 1", "exact_ranks gradients"),
        ("ranks_forget_rows", "src/model/shared_out.rs", "«micro_batches[unread..]».iter()", "micro_batches[..0]", "exact_ranks gradients"),
        ("ranks_head_anew_without_the_slope_of_the_token", "src/engine/cpu/log_prob.rs", "to_gradient(t, p, «token»);", "None", "exact_ranks gradients_of_more"),
        ("ranks_take_any_data", "src/run/first.rs", "find(|&rank| «of(rank).1 != expected»)", "false", "lib run::first"),
        ("ranks_all_ask_the_reward", "src/train/reward.rs", "let mine = if «ranks.is_first()» {", "true", "exact_ranks the_first_rank_alone"),
        ("ranks_waiting_not_counted", "src/ranks/mailbox.rs", "traffic.waited += «since.elapsed().as_secs_f64()»;", "0.0", "lib ranks::"),
    ]
]


def locate(files):
    """From each file to its replaced spans: (begin, end) to the mutants there. Stops at a place that is not there once."""
    spans, wrong = {}, []
    for mutant in MUTANTS:
        source, text = files[mutant.file], mutant.text()
        if source.count(text) != 1:
            wrong.append(f"{mutant.name}: its place occurs {source.count(text)} times in {mutant.file}, not once:\n    {text}")
            continue
        begin = source.index(text) + mutant.place.index("«")
        end = source.index(text) + mutant.place.index("»") - 1
        spans.setdefault(mutant.file, {}).setdefault((begin, end), []).append(mutant)
    names = [mutant.name for mutant in MUTANTS]
    wrong += [f"{name}: a name that occurs twice" for name in sorted(set(names)) if names.count(name) > 1]
    for file, of_file in spans.items():
        ordered = sorted(of_file)
        for (_, end), (begin, _) in zip(ordered, ordered[1:]):
            if begin < end:
                wrong.append(f"{file}: two places overlap: {files[file][begin:end]}")
    if wrong:
        print("\n".join(wrong) + "\nthe code has changed: mend the table of tests/mutants.py", file=sys.stderr)
        sys.exit(2)
    return spans


def switched(source, of_file):
    """The source with a switch for each mutant."""
    for (begin, end), mutants in sorted(of_file.items(), reverse=True):
        code = source[begin:end]
        text = "".join(f'if crate::mutant("{m.name}") {{ {m.new} }} else ' for m in mutants) + f"{{ {code} }}"
        source = source[:begin] + (text if code.rstrip().endswith(";") else f"({text})") + source[end:]
    return source


def copy_tree(tree, changed):
    """Makes `tree` a copy of the repository with the `changed` files. What is the same is not written again, so that
    the next build is short."""
    # Below the repository, where cargo finds its settings (`.cargo`) and must not find them twice.
    ignored = {"target", "runs", ".cargo", ".git", "__pycache__"}
    wanted = set()
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in ignored and not name.startswith(".venv")]
        wanted |= {(pathlib.Path(folder) / name).relative_to(ROOT) for name in names}
    for path in wanted:
        text = changed.get(path.as_posix())
        content = (ROOT / path).read_bytes() if text is None else text.encode()
        copy = tree / path
        if not copy.exists() or copy.read_bytes() != content:
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(content)
    for copy in [path for path in tree.rglob("*") if path.is_file()]:
        if copy.relative_to(tree) not in wanted:
            copy.unlink()


def build():
    """Writes the switched tree and builds its tests; from a test's name to its program."""
    files = {m.file: (ROOT / m.file).read_text() for m in MUTANTS}
    changed = {file: switched(files[file], of_file) for file, of_file in locate(files).items()}
    library = changed.get("src/lib.rs", (ROOT / "src/lib.rs").read_text())
    allowed = library.replace("#![warn(missing_docs)]", "#![allow(missing_docs, unused_parens)]")
    changed["src/lib.rs"] = allowed + SWITCH
    tree = SCRATCH / "tree"
    copy_tree(tree, changed)
    targets = ["--lib"] + [word for name in [*TESTS[1:], HASHES[0]] for word in ("--test", name)]
    command = ["cargo", "test", "--no-run", "--message-format=json-render-diagnostics", *targets]
    # Optimised enough for the longer tests, little enough to be built soon. A given folder may hold what they need.
    folder = os.environ.get("CARGO_TARGET_DIR", str(SCRATCH / "build"))
    environment = os.environ | {"CARGO_TARGET_DIR": folder, "CARGO_PROFILE_DEV_OPT_LEVEL": "1"}
    output = subprocess.run(command, cwd=tree, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    messages = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    built = [m for m in messages if m.get("executable") and m["profile"]["test"]]
    return {"lib" if "lib" in m["target"]["kind"] else m["target"]["name"]: m["executable"] for m in built}


def first_failure(program, filters, mutant):
    """The first test that fails with this mutant (or with none), or nothing."""
    environment = os.environ | ({"MUTANT": mutant} if mutant else {}) | {"RUST_BACKTRACE": "0"}
    try:
        run = subprocess.run([program, *filters], cwd=SCRATCH / "tree", env=environment, capture_output=True, text=True,
                             timeout=180)
    except subprocess.TimeoutExpired:
        return "it does not end"
    if run.returncode == 0:
        return None
    lines = [line.split() for line in run.stdout.splitlines()]
    failed = [words[1] for words in lines if words[:1] == ["test"] and words[-1] == "FAILED"]
    return failed[0] if failed else f"exit code {run.returncode}: {run.stderr.strip()[-200:]}"


def everything(programs, mutant):
    """The first failure among all tests."""
    for test in TESTS:
        failed = first_failure(programs[test], UNITS if test == "lib" else [], mutant)
        if failed:
            return f"{test} {failed}"
    return None


def by_hashes(programs, mutant):
    """Whether at least the known hashes of the tiny run notice."""
    test, filters = HASHES
    if first_failure(programs[test], filters, None):
        return "the hashes of the tiny run cannot tell, as they are others without it too"
    return f"{'only' if first_failure(programs[test], filters, mutant) else 'not even'} the hashes of the tiny run notice"


def main():
    wanted = sys.argv[1:]
    if wanted == ["--check"]:
        locate({m.file: (ROOT / m.file).read_text() for m in MUTANTS})
        print(f"{len(MUTANTS)} mutants have their places")
        return 0
    unknown = [name for name in wanted if name not in [m.name for m in MUTANTS]]
    if unknown:
        print(f"no such mutant: {', '.join(unknown)}", file=sys.stderr)
        return 2
    began = time.time()
    programs = build()
    print(f"built in {time.time() - began:.0f} s", flush=True)
    failed = everything(programs, None)
    if failed:
        print(f"{failed} fails on the unchanged library, so mutants say nothing")
        return 1
    print("unchanged library: the tests pass", flush=True)
    mutants = [m for m in MUTANTS if not wanted or m.name in wanted]
    survivors = []
    for mutant in mutants:
        test, *filters = mutant.likely.split()
        failed = first_failure(programs[test], filters, mutant.name)
        failed = f"{test} {failed}" if failed else everything(programs, mutant.name)
        if failed:
            print(f"noticed  {mutant.name}: {failed}", flush=True)
        else:
            print(f"SURVIVED {mutant.name}: {by_hashes(programs, mutant.name)}", flush=True)
            survivors.append(mutant.name)
    print(f"{len(mutants) - len(survivors)} of {len(mutants)} mutants noticed, in {time.time() - began:.0f} s")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
