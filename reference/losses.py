"""Every loss and estimator between the model and the optimizer, as pure functions.

Packed conventions as in `model.py`. "Response" arrays hold only response tokens, episode after
episode, with their own offsets. Section numbers refer to Ouyang et al. 2022 (arXiv 2203.02155).
"""

import itertools

import torch
from model import spans


def cross_entropy(log_probs):
    """Minus the mean of the targets' log-probs, over all target tokens of the batch."""
    return -log_probs.mean()


def response_log_probs(log_probs, offsets, prompt_lengths):
    """Picks the response tokens' entries out of `next_token_log_probs`' (N - B) output.

    Sequence b contributes its tokens prompt_length .. length, whose log-probs stand one position
    earlier, as the first token of a sequence has none.
    """
    picked = []
    for b, (start, end) in enumerate(spans(offsets)):
        begin = start - b  # each earlier sequence lacks one entry
        picked.append(log_probs[begin + int(prompt_lengths[b]) - 1 : begin + (end - start) - 1])
    return torch.cat(picked)


def values_before(token_scores, offsets, prompt_lengths):
    """The value function's outputs at the position before each response token."""
    picked = []
    for b, (start, end) in enumerate(spans(offsets)):
        picked.append(token_scores[start + int(prompt_lengths[b]) - 1 : end - 1])
    return torch.cat(picked)


def log_sigmoid(x):
    """ln(1 / (1 + exp(-x))) without overflow: min(x, 0) - ln(1 + exp(-|x|))."""
    return torch.clamp(x, max=0.0) - torch.log1p(torch.exp(-torch.abs(x)))


def reward_loss(rewards, offsets, ranks):
    """Equation 1: per prompt the mean of -ln sigmoid(better - worse) over its pairs, then the mean over
    prompts. Rank 1 is best; tied pairs leave both the sum and the denominator. Also returns the number
    of pairs of each prompt.
    """
    per_prompt, counts = [], []
    for start, end in spans(offsets):
        terms = []
        for i, j in itertools.combinations(range(start, end), 2):
            if ranks[i] < ranks[j]:
                terms.append(-log_sigmoid(rewards[i] - rewards[j]))
            elif ranks[j] < ranks[i]:
                terms.append(-log_sigmoid(rewards[j] - rewards[i]))
        per_prompt.append(torch.stack(terms).mean())
        counts.append(len(terms))
    return torch.stack(per_prompt).mean(), counts


def fold_demonstration_mean(ln_f_bias, score_weight, demonstration_rewards):
    """Shifts every reward by -mean(demonstration rewards) (section 3.5) without a bias in the head: the
    final layer norm's bias moves along w = score.weight, b -= mean * w / (w . w), so w . b drops by mean.
    """
    w = score_weight[0]
    return ln_f_bias - demonstration_rewards.mean() * w / (w * w).sum()


def kl_rewards(log_probs, reference_log_probs, scores, offsets, kl_coefficient):
    """Equation 2 per token: -beta (ln pi - ln pi_ref), and the episode's score once, on its last token."""
    shaped = -kl_coefficient * (log_probs - reference_log_probs)
    shaped[[end - 1 for _, end in spans(offsets)]] += scores
    return shaped


def gae(rewards, values, offsets, gamma, lam):
    """Generalised advantage estimation (Schulman et al. 2016); the value after the last token is 0.

    Returns (advantages, returns), returns = advantages + values, before any whitening.
    """
    advantages = torch.zeros_like(rewards)
    for start, end in spans(offsets):
        next_value, next_advantage = 0.0, 0.0
        for t in reversed(range(start, end)):
            delta = rewards[t] + gamma * next_value - values[t]
            next_advantage = delta + gamma * lam * next_advantage
            next_value = values[t]
            advantages[t] = next_advantage
    return advantages, advantages + values


def whiten(x, unbiased=False, shift_mean=True):
    """(x - mean) / sqrt(variance + 1e-8); with shift_mean=False the mean is added back. The unbiased
    variance divides by n - 1; a single element has variance 0 in both forms.
    """
    mean = x.mean()
    denominator = max(len(x) - 1, 1) if unbiased else len(x)
    variance = ((x - mean) ** 2).sum() / denominator
    y = (x - mean) / torch.sqrt(variance + 1e-8)
    return y if shift_mean else y + mean


def policy_loss(log_probs, old_log_probs, advantages, clip):
    """PPO's clipped objective as a loss: mean of max(-A r, -A clip(r, 1 - clip, 1 + clip)). Also returns
    the share of tokens where the clipped term is strictly the larger, so that the gradient is zero. (A ratio
    outside the range whose gradient leads back does not count.)
    """
    ratio = torch.exp(log_probs - old_log_probs)
    unclipped = -advantages * ratio
    clipped = -advantages * torch.clamp(ratio, 1.0 - clip, 1.0 + clip)
    return torch.maximum(unclipped, clipped).mean(), (clipped > unclipped).to(ratio.dtype).mean()


def value_loss(values, old_values, returns, clip):
    """0.5 * mean of max((V - R)^2, (V_clipped - R)^2), V_clipped within old V +- clip."""
    clipped = torch.clamp(values, old_values - clip, old_values + clip)
    return 0.5 * torch.maximum((values - returns) ** 2, (clipped - returns) ** 2).mean()


def adaptive_kl_coefficient(coefficient, kl, target, horizon, episodes):
    """Ziegler et al. 2019: beta (1 + clip(kl / target - 1, -0.2, 0.2) * episodes / horizon)."""
    error = torch.clamp(kl / target - 1.0, -0.2, 0.2)
    return coefficient * (1.0 + error * episodes / horizon)
