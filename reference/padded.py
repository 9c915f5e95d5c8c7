"""The functions of `losses.py` for batches with padding, as most programs store them, and some that only such batches need.

Arrays are (B, T), `mask` is 1 where a token is real and 0 where it is padding. What stands at padding in an input means
nothing, and outputs are 0 there. With the padding taken out these are the packed functions (`self_check.py` compares).
"""

import math

import torch


def positions(mask):
    """Of each real token among its row's real ones, from 0, whichever side the padding is on."""
    return (torch.cumsum(mask, dim=1) - mask) * mask


def truncate(tokens, end_of_text, pad):
    """Keeps every row through its first end of text; what follows becomes padding."""
    ended = torch.cumsum(tokens == end_of_text, dim=1) - (tokens == end_of_text).long() > 0
    return torch.where(ended, pad, tokens)


def last_tokens(mask):
    """The column of each row's last real token."""
    columns = torch.arange(mask.shape[1])
    return (columns * mask).max(dim=1).values


def last_rewards(token_rewards, mask):
    """A reward model's number at the last real token, (B)."""
    return token_rewards[torch.arange(len(mask)), last_tokens(mask)]


def response_log_probs(logits, tokens, prompt_length, temperature, mask):
    """ln p of the tokens from column `prompt_length` on, each from the logits (B, P + T, V) one column earlier."""
    before = logits[:, prompt_length - 1 : -1] / temperature
    table = torch.log_softmax(before, dim=-1)
    return table.gather(2, tokens[:, prompt_length:, None])[:, :, 0] * mask


def values_before(token_values, prompt_length, mask):
    """The value function's outputs (B, P + T) one column before each response token."""
    return token_values[:, prompt_length - 1 : -1] * mask


def kl_rewards(log_probs, reference_log_probs, scores, mask, kl_coefficient):
    """`losses.kl_rewards`: the score is added once, at the last real token."""
    shaped = -kl_coefficient * (log_probs - reference_log_probs) * mask
    shaped[torch.arange(len(mask)), last_tokens(mask)] += scores
    return shaped


def gae(rewards, values, mask, gamma, lam):
    """`losses.gae`: the value after the last real token is 0."""
    rewards, values = rewards * mask, values * mask
    advantages = torch.zeros_like(rewards)
    next_value, next_advantage = torch.zeros(len(mask)), torch.zeros(len(mask))
    for t in reversed(range(mask.shape[1])):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        next_advantage = delta + gamma * lam * next_advantage
        next_value = values[:, t]
        advantages[:, t] = next_advantage
    return advantages * mask, (advantages + values) * mask


def masked_mean(x, mask):
    """Over all real tokens of the batch alike."""
    return (x * mask).sum() / mask.sum()


def whiten(x, mask):
    """`losses.whiten` with the population variance, over the real tokens."""
    count = mask.sum()
    mean = (x * mask).sum() / count
    variance = (((x - mean) * mask) ** 2).sum() / count
    return (x - mean) / torch.sqrt(variance + 1e-8) * mask


def policy_loss(log_probs, old_log_probs, advantages, mask, clip):
    """`losses.policy_loss`, without the clip fraction."""
    ratio = torch.exp(log_probs - old_log_probs)
    clipped = torch.clamp(ratio, 1.0 - clip, 1.0 + clip)
    return masked_mean(torch.maximum(-advantages * ratio, -advantages * clipped), mask)


def value_loss(values, old_values, returns, mask, clip):
    """`losses.value_loss`."""
    clipped = torch.clamp(values, old_values - clip, old_values + clip)
    return 0.5 * masked_mean(torch.maximum((values - returns) ** 2, (clipped - returns) ** 2), mask)


def accumulated_mean(x, mask, micro_batches):
    """The mean over all real tokens, of a batch that is worked through in parts (`micro_batches`: their rows' offsets)."""
    total, count = 0.0, mask.sum()
    for start, end in zip(micro_batches[:-1], micro_batches[1:]):
        total = total + (x[start:end] * mask[start:end]).sum() / count
    return total


def sequence_kl(log_probs, reference_log_probs, mask):
    """The KL divergence that a controller sees: ln p - ln p_ref summed over each episode, and the mean over episodes."""
    return ((log_probs - reference_log_probs) * mask).sum(dim=1).mean()


def head_weights(normals):
    """A reward head's initial weights from standard normal draws: of deviation 1 / sqrt(C + 1) (Stiennon et al. 2020)."""
    return normals / math.sqrt(len(normals) + 1)
