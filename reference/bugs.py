"""The bugs that the vectors name. Each is the reference with a line changed: one of `mutants.py`, whose names have
underscores where these have hyphens, or one of its own. `cases` says where its wrong outputs are stored (a `*` stands for
anything; a case whose settings do not show the bug is passed over). `seen` are threads about it in other programs.
"""

from typing import NamedTuple

from mutants import MUTANTS


class Bug(NamedTuple):
    name: str
    what: str
    cases: tuple
    edits: tuple  # (file, old, new), each with one place in the file
    seen: tuple


GITHUB = "https://github.com/"


def threads(seen):
    """`owner/name#12` is an issue of GitHub; `owner/name/pull/12` and the like are pages of it."""
    return tuple(GITHUB + thread.replace("#", "/issues/") for thread in seen.split())


def bug(name, what, cases, *edits, seen=""):
    return Bug(name, what, tuple(cases.split()), edits, threads(seen))


def mutant(name, what, cases, *edits, seen=""):
    """That of `mutants.py`, and the same in other places of the reference."""
    (first,) = [(m.file, m.old, m.new) for m in MUTANTS if m.name == name]
    return bug(name.replace("_", "-"), what, cases, first, *edits, seen=seen)


def padded(old, new):
    return ("padded.py", old, new)


WHITENING = "huggingface/trl/pull/1540"
MEANS = "huggingface/trl#2596 huggingface/transformers#24725 verl-project/verl#593 verl-project/verl/pull/906"
SCORE_AFTER = "huggingface/trl#3750 huggingface/trl#1893 deepspeedai/DeepSpeedExamples/pull/672"

BUGS = [
    # Operations.
    mutant("gelu_tanh_constant", "0.044915 in the tanh form, for 0.044715", "O/gelu_tanh M/dense"),
    mutant("gelu_erf_scale", "1.4 for the square root of 2 in the erf form", "O/gelu_erf M/banded"),
    bug("gelu-other-form", "the erf form of GELU where the tanh form is asked for, or the other way round",
        "O/gelu_* M/dense M/banded",
        ("model.py", "return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))",
         "return 0.5 * x * (1.0 + torch.erf(x / 2.0**0.5))"),
        ("model.py", "return 0.5 * x * (1.0 + torch.erf(x / math.sqrt(2.0)))",
         "return 0.5 * x * (1.0 + torch.tanh((2.0 / math.pi) ** 0.5 * (x + 0.0447150 * x**3)))")),
    mutant("layer_norm_unbiased", "the variance of a layer norm divided by C - 1", "O/layer_norm M/dense"),
    mutant("layer_norm_epsilon_outside", "epsilon added to the deviation, outside the root", "O/layer_norm M/banded"),
    mutant("attention_unscaled", "the division by the root of the head size is missing", "O/attention/* M/dense"),
    bug("attention-scaled-by-width", "scores divided by the root of C, not of the head size", "O/attention/* M/dense",
        ("model.py", "scores / math.sqrt(size)", "scores / math.sqrt(width)")),
    bug("attention-sees-the-next-token", "position t sees t + 1 too", "O/attention/dense M/dense",
        ("model.py", "keys[first : t + 1, columns]", "keys[first : min(t + 2, end), columns]"),
        ("model.py", "values[first : t + 1, columns]", "values[first : min(t + 2, end), columns]")),
    mutant("gpt_neo_scaled", "scores of a GPT-Neo divided by the root of the head size, as GPT-2's are", "M/gpt_neo"),
    mutant("gpt_neo_keys_before_queries", "queries and keys of a GPT-Neo in each other's place", "M/gpt_neo"),
    mutant("attention_window_off_by_one", "a window that sees one token more", "O/attention/* M/banded M/gpt_neo"),
    mutant("attention_crosses_sequences", "attention sees earlier sequences of a packed batch", "O/attention/dense M/dense"),
    mutant("attention_banded_layers_even", "the band in even layers, not in odd ones", "M/banded M/gpt_neo"),
    mutant("positions_from_one", "positions start at 1", "O/embedding M/bf16", seen="hiyouga/LLaMA-Factory#689 huggingface/trl#469"),
    bug("positions-run-on", "positions run on over the sequences of a packed batch", "O/embedding",
        ("model.py", "torch.cat([torch.arange(end - start) for start, end in spans(offsets)])",
         "torch.arange(len(tokens)) % len(wpe)"), seen="huggingface/trl#469"),
    mutant("residual_lost", "the residual stream is lost at attention", "M/dense"),
    mutant("targets_shifted", "log-probs of the token itself instead of the next one", "M/dense S/sft/log_probs"),
    # bfloat16.
    mutant("bf16_truncated", "operands cut off to bfloat16 instead of rounded", "M/bf16"),
    mutant("bf16_x_unrounded", "activations not rounded to bfloat16", "M/bf16"),
    mutant("bf16_weight_unrounded", "weights not rounded to bfloat16", "M/bf16"),
    mutant("bf16_dy_unrounded", "the incoming gradient not rounded, in both products", "G/bf16"),
    mutant("bf16_dx_of_unrounded_dy", "the incoming gradient not rounded in the product for dx", "G/bf16"),
    mutant("bf16_dweight_of_unrounded_dy", "the incoming gradient not rounded in the product for dweight", "G/bf16"),
    mutant("bf16_result_rounded", "results of products rounded to bfloat16", "M/bf16"),
    mutant("bf16_gradients_rounded", "results of the backward's products rounded to bfloat16", "G/bf16"),
    mutant("bf16_bias_and_its_gradient_rounded", "the bias and its gradient rounded to bfloat16", "M/bf16 G/bf16"),
    mutant("bf16_not_in_the_head", "the head's product in float32", "M/bf16"),
    mutant("bf16_embedding_rounded", "embeddings rounded to bfloat16", "M/bf16"),
    # The optimizer and the average.
    mutant("adam_no_bias_correction", "the first moment's bias correction is missing", "F/adam/*"),
    mutant("adam_decay_coupled_sign", "weight decay with the wrong sign", "F/adam/*"),
    mutant("adam_decays_everything", "weight decay on biases and layer norms too", "F/adam/*"),
    mutant("adam_tf_epsilon", "epsilon beside the corrected deviation (PyTorch's place) where TensorFlow's is asked for", "F/adam/*"),
    bug("adam-epsilon-inside-root", "Adam's epsilon under the root", "F/adam/*",
        ("optim.py", "(torch.sqrt(v) + epsilon)", "torch.sqrt(v + epsilon)"),
        ("optim.py", "(torch.sqrt(v / correction2) + epsilon)", "torch.sqrt(v / correction2 + epsilon)")),
    bug("adam-decay-in-gradient", "weight decay added to the gradient (Adam with L2) instead of decoupled", "F/adam/*",
        ("optim.py", "m = beta1 * m + (1.0 - beta1) * g", "g = g + weight_decay * w * (w.dim() == 2)\n        m = beta1 * m + (1.0 - beta1) * g"),
        ("optim.py", "w = w - lr * weight_decay * w", "pass")),
    bug("adam-step-from-zero", "the step counter of the corrections is one behind", "F/adam/*",
        ("optim.py", "correction1, correction2 = 1.0 - beta1**t, 1.0 - beta2**t",
         "correction1, correction2 = 1.0 - beta1**max(t - 1, 1), 1.0 - beta2**max(t - 1, 1)")),
    mutant("ema_swapped", "the average and the new weights swapped", "F/ema I/ppo/after"),
    # Supervised fine-tuning and the reward model.
    mutant("sft_counts_prompt_end", "the prompt's last token is learned too", "F/sft_loss S/sft/step"),
    bug("sft-learns-prompts", "the loss over prompts too", "F/sft_loss S/sft/step",
        ("make_fixtures.py", "sft = losses.cross_entropy(losses.response_log_probs(next_token, offsets, prompt_lengths))",
         "sft = losses.cross_entropy(next_token)"),
        ("make_fixtures.py", "picked = losses.response_log_probs(log_probs, offsets, prompt_lengths)\n    loss", "picked = log_probs\n    loss")),
    mutant("reward_loss_sign", "the reward loss prefers the worse response of some pairs", "F/reward_loss/* S/reward/step"),
    mutant("reward_loss_keeps_ties", "tied pairs are counted", "F/reward_loss/* S/reward/step"),
    mutant("reward_loss_sums_pairs", "a sum over a prompt's pairs instead of their mean", "F/reward_loss/* S/reward/step",
           seen="openai/following-instructions-human-feedback#2"),
    bug("reward-loss-mean-of-all-pairs", "one mean over the pairs of all prompts, so that prompts with more responses weigh more",
        "F/reward_loss/*",
        ("losses.py", "per_prompt.append(torch.stack(terms).mean())", "per_prompt.append(torch.stack(terms).sum())"),
        ("losses.py", "return torch.stack(per_prompt).mean(), counts", "return torch.stack(per_prompt).sum() / sum(counts), counts"),
        seen="openai/following-instructions-human-feedback#2"),
    bug("reward-loss-of-log-of-sigmoid", "ln(sigmoid + 1e-8) instead of a log-sigmoid, which stays finite by its epsilon only",
        "F/reward_loss/extreme",
        ("losses.py", "return torch.clamp(x, max=0.0) - torch.log1p(torch.exp(-torch.abs(x)))", "return torch.log(torch.sigmoid(x) + 1e-8)"),
        seen="hpcaitech/ColossalAI#3490"),
    mutant("demonstration_mean_sign", "the demonstrations' mean is added, not taken off", "F/demonstration_mean S/reward/demonstration_mean"),
    # Rewards and advantages.
    mutant("kl_sign", "the KL divergence with the wrong sign: its penalty is a reward", "F/kl_rewards F/padded/kl_rewards F/padded/sequence_kl I/ppo/rollout",
           padded("shaped = -kl_coefficient * (log_probs - reference_log_probs) * mask", "shaped = kl_coefficient * (log_probs - reference_log_probs) * mask"),
           padded("return ((log_probs - reference_log_probs) * mask)", "return ((reference_log_probs - log_probs) * mask)"),
           seen="huggingface/trl#925 huggingface/trl#1857"),
    mutant("score_on_first_token", "the score at the response's first token", "F/kl_rewards F/padded/kl_rewards I/ppo/rollout",
           padded("shaped[torch.arange(len(mask)), last_tokens(mask)] += scores", "shaped[:, 0] += scores")),
    mutant("score_on_every_token", "the score at every token", "F/kl_rewards F/padded/kl_rewards I/ppo/rollout",
           padded("shaped[torch.arange(len(mask)), last_tokens(mask)] += scores", "shaped += scores[:, None] * mask"),
           seen="hpcaitech/ColossalAI#3374"),
    bug("score-after-the-end", "the score one column after the last real token, at padding, where there is room", "F/padded/kl_rewards",
        padded("shaped[torch.arange(len(mask)), last_tokens(mask)] += scores",
               "shaped[torch.arange(len(mask)), (last_tokens(mask) + 1).clamp(max=mask.shape[1] - 1)] += scores"), seen=SCORE_AFTER),
    bug("score-at-last-column", "the score at the last column, whatever the row's length", "F/padded/kl_rewards",
        padded("shaped[torch.arange(len(mask)), last_tokens(mask)] += scores", "shaped[:, -1] += scores")),
    bug("kl-of-padding", "the KL divergence of padding counts too", "F/padded/kl_rewards F/padded/sequence_kl",
        padded("(log_probs - reference_log_probs) * mask\n", "(log_probs - reference_log_probs)\n"),
        padded("return ((log_probs - reference_log_probs) * mask)", "return (log_probs - reference_log_probs)"),
        seen="natolambert/rlhf-book/pull/216"),
    bug("kl-of-tokens", "the mean over tokens instead of the sum over each episode", "F/padded/sequence_kl",
        padded("return ((log_probs - reference_log_probs) * mask).sum(dim=1).mean()",
               "return masked_mean(log_probs - reference_log_probs, mask)"), seen="CarperAI/trlx#438 CarperAI/trlx/pull/441"),
    bug("kl-mean-of-means", "the mean over each episode's tokens instead of their sum", "F/padded/sequence_kl",
        padded(".sum(dim=1).mean()\n", ".sum(dim=1).div(mask.sum(dim=1)).mean()\n"), seen="verl-project/verl/pull/7970"),
    bug("reward-read-at-padding", "the reward model read one column after the last real token", "F/padded/last_rewards",
        padded("token_rewards[torch.arange(len(mask)), last_tokens(mask)]",
               "token_rewards[torch.arange(len(mask)), (last_tokens(mask) + 1).clamp(max=mask.shape[1] - 1)]"),
        seen="RLHFlow/RLHF-Reward-Modeling#49"),
    bug("reward-read-at-last-column", "the reward model read at the last column, which may be padding", "F/padded/last_rewards",
        padded("token_rewards[torch.arange(len(mask)), last_tokens(mask)]", "token_rewards[:, -1]"),
        seen="huggingface/trl#2778 allenai/reward-bench#137"),
    bug("end-of-text-cut-off", "the end of text becomes padding too, so that it is never learned", "F/padded/truncate",
        padded("torch.cumsum(tokens == end_of_text, dim=1) - (tokens == end_of_text).long() > 0", "torch.cumsum(tokens == end_of_text, dim=1) > 0"),
        seen="huggingface/trl#1623"),
    bug("truncated-at-last-end", "cut at a row's last end of text instead of its first", "F/padded/truncate",
        padded("torch.cumsum(tokens == end_of_text, dim=1) - (tokens == end_of_text).long() > 0",
               "((tokens == end_of_text).any(dim=1) & True)[:, None] & "
               "(torch.arange(tokens.shape[1]) > last_tokens((tokens == end_of_text).long())[:, None])")),
    bug("not-truncated", "what was sampled after the end of text is kept", "F/padded/truncate",
        padded("return torch.where(ended, pad, tokens)", "return tokens")),
    bug("positions-count-padding", "positions are columns: padding counts", "F/padded/positions/left",
        padded("return (torch.cumsum(mask, dim=1) - mask) * mask", "return torch.arange(mask.shape[1]) * mask"),
        seen="huggingface/trl#469 huggingface/transformers#18388 NVIDIA/NeMo-Aligner#68"),
    bug("position-off-by-one", "positions from 1: an inclusive sum over the mask", "F/padded/positions/*",
        padded("return (torch.cumsum(mask, dim=1) - mask) * mask", "return torch.cumsum(mask, dim=1) * mask"),
        seen="hiyouga/LLaMA-Factory#689"),
    bug("log-probs-off-by-one", "log-probs from the logits at the token itself, not one before it", "F/padded/log_probs",
        padded("logits[:, prompt_length - 1 : -1]", "logits[:, prompt_length:]")),
    mutant("value_after_the_token", "the value at the token instead of before it", "I/ppo/rollout F/padded/values",
           padded("token_values[:, prompt_length - 1 : -1]", "token_values[:, prompt_length:]")),
    bug("padding-leaks", "values and rewards at padding enter the advantages of real tokens", "F/padded/gae",
        padded("    rewards, values = rewards * mask, values * mask\n", ""),
        seen="natolambert/rlhf-book/pull/216 radixark/miles/pull/1827"),
    bug("value-after-the-end", "the first padding column counts as one more token, with a value of its own", "F/padded/gae",
        padded("    rewards, values = rewards * mask, values * mask\n",
               "    rewards = rewards * mask\n    values = values * ((torch.cumsum(1 - mask, dim=1) <= 1) | (mask > 0))\n"),
        seen="huggingface/trl#3750"),
    mutant("gae_lambda_lost", "lambda is missing from the advantages' sum", "F/gae/* F/padded/gae",
           padded("gamma * lam * next_advantage", "gamma * next_advantage")),
    mutant("gae_value_sign", "the value added instead of subtracted", "F/gae/* F/padded/gae",
           padded("gamma * next_value - values[:, t]", "gamma * next_value + values[:, t]")),
    bug("gae-gamma-lost", "gamma is missing from the advantages' sum", "F/gae/*",
        ("losses.py", "gamma * lam * next_advantage", "lam * next_advantage")),
    bug("gae-crosses-episodes", "advantages run on over the episodes of a packed batch", "F/gae/*",
        ("losses.py", "    for start, end in spans(offsets):\n        next_value, next_advantage = 0.0, 0.0\n",
         "    next_value, next_advantage = 0.0, 0.0\n    for start, end in reversed(spans(offsets)):\n")),
    bug("advantages-of-rewards", "advantages without the next value: rewards instead of returns", "F/gae/*",
        ("losses.py", "rewards[t] + gamma * next_value - values[t]", "rewards[t] - values[t]"), seen="natolambert/rlhf-book/pull/216"),
    mutant("returns_without_values", "returns that are the advantages", "F/gae/* F/padded/gae",
           padded("(advantages + values) * mask", "advantages * mask")),
    bug("returns-from-whitened-advantages", "values added to the advantages after whitening", "F/estimates",
        ("make_fixtures.py", '"advantages": losses.whiten(advantages), "returns": returns})', '"advantages": losses.whiten(advantages), "returns": losses.whiten(advantages) + values})')),
    bug("advantages-not-whitened", "advantages are not whitened", "F/estimates",
        ("make_fixtures.py", '"advantages": losses.whiten(advantages), "returns": returns})', '"advantages": advantages, "returns": returns})')),
    # Whitening.
    mutant("whiten_epsilon", "1e-2 for the 1e-8 in the root", "F/whiten/*"),
    bug("whiten-epsilon-outside", "epsilon added to the deviation, outside the root", "F/whiten/small/*",
        ("losses.py", "torch.sqrt(variance + 1e-8)", "(torch.sqrt(variance) + 1e-8)")),
    bug("whiten-epsilon-as-floor", "the variance raised to at least epsilon, which is to be added", "F/whiten/small/*",
        ("losses.py", "torch.sqrt(variance + 1e-8)", "torch.sqrt(torch.clamp(variance, min=1e-8))")),
    bug("unbiased-variance", "the variance divided by n - 1 where n is asked for", "F/whiten/*/population/* F/padded/whiten F/estimates",
        ("losses.py", "max(len(x) - 1, 1) if unbiased else len(x)", "max(len(x) - 1, 1)"),
        padded("** 2).sum() / count", "** 2).sum() / (count - 1)"), seen=WHITENING),
    bug("whiten-one-is-nan", "a single token's variance divided by n - 1, which is 0: not a number", "F/whiten/one/*",
        ("losses.py", "max(len(x) - 1, 1) if unbiased else len(x)", "len(x) - 1"), seen="alibaba/ROLL#475"),
    bug("population-variance", "the variance divided by n where n - 1 is asked for", "F/whiten/*/unbiased/*",
        ("losses.py", "max(len(x) - 1, 1) if unbiased else len(x)", "len(x)")),
    bug("whiten-mean-shifted", "the mean taken off where it should be kept (rewards)", "F/whiten/*/mean_kept",
        ("losses.py", "return y if shift_mean else y + mean", "return y")),
    bug("whiten-mean-kept", "the mean kept where it should be taken off (advantages)", "F/whiten/*/shifted F/padded/whiten F/estimates",
        ("losses.py", "return y if shift_mean else y + mean", "return y + mean"),
        padded("return (x - mean) / torch.sqrt(variance + 1e-8) * mask", "return ((x - mean) / torch.sqrt(variance + 1e-8) + mean) * mask")),
    bug("unbiased-variance-and-mean-kept", "the variance divided by n - 1, and the mean kept where it should be taken off", "F/estimates",
        ("losses.py", "max(len(x) - 1, 1) if unbiased else len(x)", "max(len(x) - 1, 1)"),
        ("losses.py", "return y if shift_mean else y + mean", "return y + mean"), seen="meta-pytorch/torchtune/pull/1005"),
    bug("whiten-counts-padding", "padding, as zeros, counts in mean and variance", "F/padded/whiten",
        padded("    count = mask.sum()\n    mean", "    x, count = x * mask, mask.numel()\n    mean"),
        padded("variance = (((x - mean) * mask) ** 2)", "variance = ((x - mean) ** 2)"),
        seen="MarcoMeter/recurrent-ppo-truncated-bptt#10"),
    bug("mean-of-means", "the mean of each row's or sequence's mean: tokens of long ones weigh less",
        "F/padded/mean F/padded/policy_loss F/padded/value_loss F/sft_loss",
        padded("return (x * mask).sum() / mask.sum()", "return ((x * mask).sum(dim=1) / mask.sum(dim=1)).mean()"),
        ("make_fixtures.py", "sft = losses.cross_entropy(losses.response_log_probs(next_token, offsets, prompt_lengths))",
         "sft = torch.stack([losses.cross_entropy(losses.response_log_probs(next_token[s - b : e - b - 1], [0, e - s], [p])) "
         "for b, ((s, e), p) in enumerate(zip(model.spans(offsets), prompt_lengths))]).mean()"),
        seen=MEANS),
    bug("padding-in-the-mean", "padding counts in the denominator", "F/padded/mean F/padded/policy_loss F/padded/value_loss",
        padded("return (x * mask).sum() / mask.sum()", "return (x * mask).mean()"), seen="huggingface/transformers#24725"),
    bug("sum-for-mean", "a sum over tokens instead of a mean", "F/padded/mean F/padded/policy_loss F/padded/value_loss",
        padded("return (x * mask).sum() / mask.sum()", "return (x * mask).sum()")),
    bug("mean-of-micro-batches", "the mean of the micro-batches' means, so that their cut shows", "F/padded/accumulated_mean",
        padded("(x[start:end] * mask[start:end]).sum() / count",
               "(x[start:end] * mask[start:end]).sum() / mask[start:end].sum() / (len(micro_batches) - 1)"), seen=MEANS),
    bug("ptx-mean-per-sequence", "the pretraining loss as a mean of each sequence's mean", "F/ptx_loss",
        ("make_fixtures.py", "ptx = losses.cross_entropy(next_token)",
         "ptx = torch.stack([losses.cross_entropy(next_token[s - b : e - b - 1]) for b, (s, e) in enumerate(model.spans(offsets))]).mean()"),
        seen="huggingface/transformers#24725"),
    bug("ptx-sum", "the pretraining loss as a sum", "F/ptx_loss",
        ("make_fixtures.py", "ptx = losses.cross_entropy(next_token)", "ptx = -next_token.sum()")),
    bug("head-init-1-over-d-plus-1", "a deviation of 1 / (C + 1)", "F/reward_head",
        padded("math.sqrt(len(normals) + 1)", "(len(normals) + 1)"),
        seen="OpenRLHF/OpenRLHF#348 vwxyzjn/lm-human-preference-details/pull/13"),
    bug("head-init-1-over-root-d", "a deviation of 1 / sqrt(C)", "F/reward_head",
        padded("math.sqrt(len(normals) + 1)", "math.sqrt(len(normals))")),
    bug("head-init-gpt2", "GPT-2's deviation of 0.02", "F/reward_head", padded("normals / math.sqrt(len(normals) + 1)", "normals * 0.02")),
    mutant("whiten_unbiased_by_default", "the variance divided by n - 1 in the minibatch's advantages", "I/ppo/minibatch-0", seen=WHITENING),
    mutant("whitened_over_all_episodes", "advantages whitened over the whole batch, not over the minibatch", "I/ppo/minibatch-0"),
    # The losses.
    mutant("policy_loss_minimum", "the smaller of the two terms of the loss, so that clipping does nothing", "F/policy_loss F/padded/policy_loss",
           padded("return masked_mean(torch.maximum(-advantages", "return masked_mean(torch.minimum(-advantages")),
    bug("policy-loss-sign", "the objective itself, which should grow, as the loss", "F/policy_loss F/padded/policy_loss",
        ("losses.py", "return torch.maximum(unclipped, clipped).mean(), (", "return -torch.maximum(unclipped, clipped).mean(), ("),
        padded("return masked_mean(torch.maximum(-advantages * ratio, -advantages * clipped), mask)",
               "return -masked_mean(torch.maximum(-advantages * ratio, -advantages * clipped), mask)")),
    mutant("clip_fraction_of_ratios_outside", "the clip fraction counts every ratio outside the range", "F/policy_loss",
           seen="natolambert/rlhf-book/pull/290"),
    mutant("clip_fraction_counts_the_rest", "the clip fraction counts the tokens where the unclipped term is larger", "F/policy_loss"),
    mutant("policy_clip_one_sided", "the ratio is clipped from above only", "F/policy_loss F/padded/policy_loss",
           padded("torch.clamp(ratio, 1.0 - clip, 1.0 + clip)", "torch.clamp(ratio, max=1.0 + clip)")),
    mutant("value_loss_minimum", "the smaller of the two squared errors", "F/value_loss F/padded/value_loss",
           padded("0.5 * masked_mean(torch.maximum(", "0.5 * masked_mean(torch.minimum(")),
    mutant("value_loss_factor", "the factor 0.5 is missing", "F/value_loss F/padded/value_loss",
           padded("0.5 * masked_mean(torch.maximum(", "masked_mean(torch.maximum(")),
    bug("value-loss-past-the-end", "the value loss counts one padding column of each row", "F/padded/value_loss",
        padded("    clipped = torch.clamp(values, old_values - clip, old_values + clip)\n",
               "    mask = (torch.arange(mask.shape[1]) <= (last_tokens(mask) + 1)[:, None]).long()\n"
               "    clipped = torch.clamp(values, old_values - clip, old_values + clip)\n"), seen="huggingface/trl#3750"),
    bug("value-clip-lost", "the value is not clipped", "F/value_loss F/padded/value_loss",
        ("losses.py", "return 0.5 * torch.maximum((values - returns) ** 2, (clipped - returns) ** 2).mean()",
         "return 0.5 * ((values - returns) ** 2).mean()"),
        padded("torch.clamp(values, old_values - clip, old_values + clip)", "values")),
    bug("value-clipped-only", "the clipped squared error alone, without the larger of the two", "F/value_loss",
        ("losses.py", "return 0.5 * torch.maximum((values - returns) ** 2, (clipped - returns) ** 2).mean()",
         "return 0.5 * ((clipped - returns) ** 2).mean()")),
    mutant("adaptive_kl_unclipped", "the error is not clipped to 0.2", "F/adaptive_kl"),
    bug("adaptive-kl-per-batch", "the coefficient moves once for each batch instead of for each episode", "F/adaptive_kl",
        ("losses.py", "error * episodes / horizon", "error / horizon")),
    mutant("ptx_coefficient_lost", "the pretraining loss without its coefficient", "I/ppo/gradients"),
    mutant("temperature_multiplies", "logits multiplied by the temperature", "F/padded/log_probs I/ppo/rollout",
           padded("logits[:, prompt_length - 1 : -1] / temperature", "logits[:, prompt_length - 1 : -1] * temperature")),
    bug("temperature-missing", "log-probs without the temperature of sampling", "F/padded/log_probs O/head I/ppo/rollout",
        padded("logits[:, prompt_length - 1 : -1] / temperature", "logits[:, prompt_length - 1 : -1]"),
        ("model.py", "logits(p, config, tokens, offsets) / temperature", "logits(p, config, tokens, offsets)"),
        ("make_fixtures.py", "weight) / temperature)", "weight))"),
        seen="OpenRLHF/OpenRLHF/pull/853 NVIDIA/NeMo-Aligner#46 huggingface/trl#3169 THUDM/slime/pull/557"),
    # The tokenizer.
    mutant("bpe_ties_largest_pair", "of equally frequent pairs the largest", "T/bpe/train"),
    mutant("bpe_latest_merge_first", "the latest merge first instead of the earliest", "T/bpe/encode/*"),
    mutant("bpe_plain_byte_order", "ids of bytes in their own order instead of GPT-2's", "T/bpe/*"),
]

assert len({b.name for b in BUGS}) == len(BUGS), "two bugs have one name"
LEFT = {m.name.replace("_", "-") for m in MUTANTS} - {b.name for b in BUGS}
assert not LEFT, f"mutants that no vector names: {LEFT}"
