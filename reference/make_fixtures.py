"""Regenerates every file of `fixtures/`: python reference/make_fixtures.py --out fixtures

Inputs are drawn from a seed and rounded to float32 first, so that they are exact. Each fixture is then
computed twice. In float64, rounded to float32 once at the end: those values are stored. And in float32:
the largest difference between the two, relative to the tensor's largest entry, goes into the manifest
as the tensor's `noise_log2`. It is what honest float32 arithmetic costs at this place, and so the measure
for anyone's tolerance. `fixtures/README.md` says what each tensor is.
"""

import argparse
import hashlib
import json
import math
import os
import pathlib
import sys
import tempfile

os.environ.setdefault("MKL_CBWR", "COMPATIBLE")  # the same sums on every x86 processor
os.environ.setdefault("ATEN_CPU_CAPABILITY", "default")

import numpy as np
import safetensors
import safetensors.numpy
import torch

import bpe
import bpe_text
import losses
import model
import optim
import padded
from model import Config, NeoConfig

SEED = 20220304  # the day arXiv received the paper


def exact(x):
    """A number that float32 holds exactly, as a Python float."""
    return float(np.float32(x))


class Draw:
    """Random inputs of one fixture, rounded to float32, handed out in the working precision."""

    def __init__(self, name, dtype):
        self.generator = np.random.default_rng([SEED, *name.encode()])
        self.dtype = dtype

    def floats(self, values):
        return torch.from_numpy(np.asarray(values, dtype=np.float32)).to(self.dtype)

    def normal(self, *shape, scale=1.0, mean=0.0):
        return self.floats(mean + scale * self.generator.standard_normal(shape))

    def tokens(self, count, vocab_size):
        return torch.from_numpy(self.generator.integers(0, vocab_size, count))

    def parameters(self, config, head):
        return self.of_shapes(model.parameter_shapes(config, head))

    def of_shapes(self, shapes):
        """Larger than a training initialisation: every gradient should be well away from zero."""
        p = {}
        for name, shape in shapes.items():
            gain = "ln_" in name and name.endswith("weight")
            matrix = len(shape) == 2
            p[name] = self.normal(*shape, scale=0.25 if matrix else 0.1, mean=1.0 if gain else 0.0)
        return p


def offsets_of(lengths):
    return torch.tensor([0, *np.cumsum(lengths)])


def leaf(parameters):
    """Copies that autograd follows."""
    return {name: tensor.detach().clone().requires_grad_() for name, tensor in parameters.items()}


def gradients(loss, parameters):
    return dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values()))))


def prefixed(prefix, tensors):
    return {prefix + name: tensor for name, tensor in tensors.items()}


def backward(y, dy, **inputs):
    """The gradient of every input, named d<input>."""
    return {"d" + name: g for name, g in zip(inputs, torch.autograd.grad(y, list(inputs.values()), dy))}


# ---------------------------------------------------------------------------------------------------
# The fixtures. Each returns {tensor name: tensor}; a "config" entry becomes the file's metadata.


def ops(draw):
    out = {}

    def record(prefix, function, constants=None, **inputs):
        inputs = {name: tensor.requires_grad_() for name, tensor in inputs.items()}
        y = function(*inputs.values())
        dy = draw.normal(*y.shape)
        entries = {**inputs, **(constants or {}), "y": y, "dy": dy, **backward(y, dy, **inputs)}
        out.update(prefixed(prefix + ".", entries))

    n = draw.normal
    record("linear", model.linear, x=n(7, 13), weight=n(13, 19), bias=n(19))
    epsilon = exact(1e-5)
    row_scales = draw.floats([2.0, 1.0, 0.5, 2.0**-6, 2.0**-8, 2.0**-10, 4.0, 1.0, 64.0])[:, None]  # epsilon shows in the small ones
    record("layer_norm", lambda x, w, b: model.layer_norm(x, w, b, epsilon), {"epsilon": draw.floats(epsilon)},
           x=row_scales * n(9, 21, mean=0.5), weight=n(21), bias=n(21))
    record("gelu_tanh", model.gelu_tanh, x=torch.cat([n(83, scale=2.0), draw.floats([0.0, -9.5, 9.5, -0.25])]))
    record("gelu_erf", model.gelu_erf, x=torch.cat([n(83, scale=2.0), draw.floats([0.0, -9.5, 9.5, -0.25])]))

    offsets = offsets_of([5, 1, 17])
    tokens = draw.tokens(23, 11)
    record("embedding", lambda wte, wpe: model.embedding(wte, wpe, tokens, offsets),
           {"tokens": tokens, "offsets": offsets}, wte=n(11, 6), wpe=n(19, 6))
    for name, window in [("attention_dense", None), ("attention_banded", 4), ("attention_own", 1)]:
        constants = {"offsets": offsets, "heads": torch.tensor(3)}
        constants |= {"window": torch.tensor(window)} if window else {}
        record(name, lambda qkv, w=window: model.attention(qkv, offsets, 3, w), constants, qkv=n(23, 3 * 15))

    # The head: log-probs of targets at a temperature, entropy of the same distribution, cross-entropy.
    hidden, weight = n(10, 7).requires_grad_(), n(37, 7).requires_grad_()
    targets, temperature = draw.tokens(10, 37), exact(0.7)
    table = model.log_softmax(torch.einsum("nc,vc->nv", hidden, weight) / temperature)
    log_probs = table[range(10), targets]
    d_log_probs = n(10)
    out |= prefixed("head.", {
        "hidden": hidden, "weight": weight, "targets": targets, "temperature": draw.floats(temperature),
        "log_probs": log_probs, "entropy": -(torch.exp(table) * table).sum(dim=1), "dlog_probs": d_log_probs,
        **backward(log_probs, d_log_probs, hidden=hidden, weight=weight)})
    loss = losses.cross_entropy(model.log_softmax(torch.einsum("nc,vc->nv", hidden, weight))[range(10), targets])
    out |= prefixed("cross_entropy.", {"loss": loss, **backward(loss, None, hidden=hidden, weight=weight)})
    return out


DENSE = Config(61, 24, 20, 3, 4, 80)
BANDED = Config(61, 24, 20, 3, 5, 52, 1e-3, "gelu", tie_word_embeddings=False, attention_window=4)


def transformer(draw, config, lengths):
    p = leaf(draw.parameters(config, "language_model"))
    offsets = offsets_of(lengths)
    tokens = draw.tokens(sum(lengths), config.vocab_size)
    log_probs = model.next_token_log_probs(p, config, tokens, offsets)
    loss = losses.cross_entropy(log_probs)
    return {"config": config, **p, "tokens": tokens, "offsets": offsets,
            "hidden": model.trunk(p, config, tokens, offsets), "logits": model.logits(p, config, tokens, offsets),
            "log_probs": log_probs, "loss": loss, **prefixed("grad.", gradients(loss, p))}


# One layer, odd sizes, and tied: the head rounds what the embedding does not.
BF16 = Config(11, 7, 7, 1, 1, 9, precision="bf16")
# A number half-way between two of bf16 may become either after an error in its last bits, and then all that is
# made of it differs by 2^-8. This is the first draw in which none is so near: see `self_check.py`.
BF16_DRAW = 55


def transformer_bf16(draw):
    draw.generator = np.random.default_rng([SEED, BF16_DRAW])
    return transformer(draw, BF16, [4, 2, 6])


GPT_NEO = NeoConfig(61, 24, 20, 3, 4, 52, [[["global", "local"], 1], [["global"], 1]], 5)


def gpt_neo(draw):
    p = leaf(draw.of_shapes(model.neo_parameter_shapes(GPT_NEO)))
    offsets, tokens = offsets_of([5, 1, 24, 13]), draw.tokens(43, 61)
    config, as_gpt2 = GPT_NEO.as_gpt2(), model.neo_as_gpt2(p)
    log_probs = model.next_token_log_probs(as_gpt2, config, tokens, offsets)
    loss = losses.cross_entropy(log_probs)
    return {"config": GPT_NEO, **p, "tokens": tokens, "offsets": offsets,
            "hidden": model.trunk(as_gpt2, config, tokens, offsets), "logits": model.logits(as_gpt2, config, tokens, offsets),
            "log_probs": log_probs, "loss": loss, **prefixed("grad.", gradients(loss, p))}


def adamw(draw):
    runs = {  # name: (beta1, beta2, epsilon, weight decay, TF style)
        "plain": (0.9, 0.95, 1e-8, 0.0, False),
        "decay": (0.9, 0.95, 1e-8, 0.1, False),
        "tf": (0.9, 0.999, 1e-5, 0.0, True),
    }
    config, offsets = DENSE, offsets_of([11, 7, 23])
    p, tokens = draw.parameters(config, "language_model"), draw.tokens(41, config.vocab_size)
    rates = draw.floats(np.linspace(1e-3, 1e-4, 10))
    vector = {"weights": draw.normal(37, 1), "bias": draw.normal(5)}
    vector_gradients = {name: draw.normal(10, *w.shape, scale=0.1) for name, w in vector.items()}
    out = {"config": config, **p, "tokens": tokens, "offsets": offsets, "learning_rates": rates,
           **prefixed("vector.", vector), **prefixed("vector.gradients.", vector_gradients)}
    for run, (*settings, tf_style) in runs.items():
        settings = [exact(s) for s in settings]
        w, state, step_losses = p, {}, []
        u, vector_state = vector, {}
        for step in range(10):
            w = leaf(w)
            loss = losses.cross_entropy(model.next_token_log_probs(w, config, tokens, offsets))
            step_losses.append(loss.detach())
            w = optim.adamw_step(w, gradients(loss, w), state, rates[step].item(), *settings, tf_style)
            g = {name: all_steps[step] for name, all_steps in vector_gradients.items()}
            u = optim.adamw_step(u, g, vector_state, rates[step].item(), *settings, tf_style)
        out |= prefixed(run + ".", {
            "settings": draw.floats(settings), "losses": torch.stack(step_losses), **prefixed("after.", w),
            **prefixed("vector.after.", u),
            **{f"vector.m.{name}": vector_state[name][0] for name in u},
            **{f"vector.v.{name}": vector_state[name][1] for name in u}})
    return out


def sft(draw):
    config, offsets, prompt_lengths = DENSE, offsets_of([9, 2, 24, 14]), torch.tensor([4, 1, 23, 6])
    p, tokens = leaf(draw.parameters(config, "language_model")), draw.tokens(49, config.vocab_size)
    log_probs = model.next_token_log_probs(p, config, tokens, offsets)
    picked = losses.response_log_probs(log_probs, offsets, prompt_lengths)
    loss = losses.cross_entropy(picked)
    return {"config": config, **p, "tokens": tokens, "offsets": offsets, "prompt_lengths": prompt_lengths,
            "response_log_probs": picked, "response_tokens": torch.tensor(len(picked)), "loss": loss,
            **prefixed("grad.", gradients(loss, p))}


REWARD = Config(61, 24, 12, 2, 3, 48)


def reward(draw):
    groups = [2, 5, 3, 4]  # responses per prompt
    ranks = torch.tensor([2, 1, 3, 1, 1, 2, 4, 2, 2, 1, 1, 1, 1, 2])
    group_offsets = offsets_of(groups)

    def loss_and_gradient(rewards):
        rewards = rewards.clone().requires_grad_()
        loss, counts = losses.reward_loss(rewards, group_offsets, ranks)
        return {"rewards": rewards, "loss": loss, "pair_counts": torch.tensor(counts),
                **backward(loss, None, rewards=rewards)}

    out = {"config": REWARD, "ranks": ranks, "group_offsets": group_offsets}
    out |= prefixed("function.", loss_and_gradient(draw.normal(14)))
    out |= prefixed("extreme.", loss_and_gradient(draw.normal(14, scale=100.0)))

    lengths = [5, 9, 7, 3, 12, 24, 6, 8, 2, 13, 10, 11, 4, 15]
    offsets, demonstration_offsets = offsets_of(lengths), offsets_of([7, 3, 16])
    p = leaf(draw.parameters(REWARD, "scalar"))
    tokens, demonstrations = draw.tokens(sum(lengths), 61), draw.tokens(26, 61)
    rewards = model.rewards(p, REWARD, tokens, offsets)
    loss, counts = losses.reward_loss(rewards, group_offsets, ranks)
    before = model.rewards(p, REWARD, demonstrations, demonstration_offsets)
    bias = losses.fold_demonstration_mean(p["transformer.ln_f.bias"], p["score.weight"], before)
    shifted = {**p, "transformer.ln_f.bias": bias}
    return {**out, **p, "tokens": tokens, "offsets": offsets, "rewards": rewards, "loss": loss,
            "pair_counts": torch.tensor(counts), **prefixed("grad.", gradients(loss, p)),
            "demonstrations.tokens": demonstrations, "demonstrations.offsets": demonstration_offsets,
            "demonstrations.rewards": before, "folded.transformer.ln_f.bias": bias,
            "folded.demonstrations.rewards": model.rewards(shifted, REWARD, demonstrations, demonstration_offsets),
            "folded.rewards": model.rewards(shifted, REWARD, tokens, offsets)}


def ppo_functions(draw):
    n, offsets = draw.normal, offsets_of([1, 6, 2, 14])
    log_probs, reference, scores = n(23, mean=-3.0), n(23, mean=-3.0), n(4)
    beta = exact(0.02)
    shaped = losses.kl_rewards(log_probs, reference, scores, offsets, beta)
    out = {"offsets": offsets}
    out |= prefixed("kl_rewards.", {"log_probs": log_probs, "reference_log_probs": reference, "scores": scores,
                                    "kl_coefficient": draw.floats(beta), "rewards": shaped})
    rewards, values = n(23), n(23)
    out |= {"gae.rewards": rewards, "gae.values": values}
    for name, gamma, lam in [("default", 1.0, 0.95), ("discounted", 0.9, 0.8), ("monte_carlo", 1.0, 1.0), ("td", 1.0, 0.0)]:
        gamma, lam = exact(gamma), exact(lam)
        advantages, returns = losses.gae(rewards, values, offsets, gamma, lam)
        out |= prefixed(f"gae.{name}.", {"gamma": draw.floats(gamma), "lambda": draw.floats(lam),
                                         "advantages": advantages, "returns": returns})

    arrays = {"published": draw.floats(np.arange(12, 21) / 10), "one": n(1), "two": n(2), "many": n(37, scale=3.0, mean=1.0)}
    for name, x in arrays.items():
        out[f"whiten.{name}.x"] = x
        for unbiased in (False, True):
            for shift_mean in (True, False):
                key = f"whiten.{name}.{'unbiased' if unbiased else 'population'}.{'shifted' if shift_mean else 'mean_kept'}"
                out[key] = losses.whiten(x, unbiased, shift_mean)

    clip = exact(0.2)
    old = n(31, mean=-3.0)
    new, advantages = (old + n(31, scale=0.3)).float().to(draw.dtype).requires_grad_(), n(31)
    loss, fraction = losses.policy_loss(new, old, advantages, clip)
    out |= prefixed("policy_loss.", {"log_probs": new, "old_log_probs": old, "advantages": advantages,
                                     "clip": draw.floats(clip), "loss": loss, "clip_fraction": fraction,
                                     **backward(loss, None, log_probs=new)})
    old, returns = n(31), n(31)
    new = (old + n(31, scale=0.3)).float().to(draw.dtype).requires_grad_()
    loss = losses.value_loss(new, old, returns, clip)
    out |= prefixed("value_loss.", {"values": new, "old_values": old, "returns": returns, "clip": draw.floats(clip),
                                    "loss": loss, **backward(loss, None, values=new)})

    coefficient, target, horizon, episodes = exact(0.15), 6.0, 10000.0, 512
    kls, coefficients = draw.floats([0.0, 3.0, 5.5, 6.0, 6.5, 9.0, 40.0]), []
    for kl in kls:
        coefficient = losses.adaptive_kl_coefficient(coefficient, kl, target, horizon, episodes)
        coefficients.append(coefficient)
    out |= prefixed("adaptive_kl.", {"initial": draw.floats(0.15), "kl": kls, "target": draw.floats(target),
                                     "horizon": draw.floats(horizon), "episodes": torch.tensor(episodes),
                                     "coefficients": torch.stack(coefficients)})
    average, weights, decay = n(19), n(19), exact(0.992)
    out |= prefixed("ema.", {"average": average, "weights": weights, "decay": draw.floats(decay),
                             "after": optim.ema_step({"": average}, {"": weights}, decay)[""]})
    return out


def episodes(draw):
    """Functions of padded batches (`padded.py`), and of packed ones what `ppo_functions` cannot tell apart."""
    n, out = draw.normal, {}
    rows, prompt_length, columns, vocab_size, end, pad = 4, 3, 9, 13, 11, 12
    lengths = torch.tensor([4, 9, 1, 6])
    mask = (torch.arange(columns) < lengths[:, None]).long()
    left = torch.flip(mask, [1])
    out |= {"mask": mask, "left_mask": left, "positions": padded.positions(left), "right_positions": padded.positions(mask)}

    sampled = draw.tokens(rows * columns, end).reshape(rows, columns)
    for row, column in [(0, 3), (0, 6), (2, 0), (3, 5), (3, 6), (3, 8)]:
        sampled[row, column] = end
    out |= prefixed("truncate.", {"tokens": sampled, "end_of_text": torch.tensor(end), "pad": torch.tensor(pad),
                                  "truncated": padded.truncate(sampled, end, pad)})

    token_rewards = n(rows, columns)
    out |= prefixed("last_rewards.", {"token_rewards": token_rewards, "rewards": padded.last_rewards(token_rewards, mask)})

    temperature = exact(0.7)
    logits, token_values = n(rows, prompt_length + columns, vocab_size, scale=2.0), n(rows, prompt_length + columns)
    tokens = draw.tokens(rows * (prompt_length + columns), vocab_size).reshape(rows, prompt_length + columns)
    out |= {"prompt_length": torch.tensor(prompt_length)}
    out |= prefixed("log_probs.", {
        "logits": logits, "tokens": tokens, "temperature": draw.floats(temperature),
        "log_probs": padded.response_log_probs(logits, tokens, prompt_length, temperature, mask)})
    out |= prefixed("values.", {"token_values": token_values, "values": padded.values_before(token_values, prompt_length, mask)})

    log_probs, reference, scores, beta = n(rows, columns, mean=-3.0), n(rows, columns, mean=-3.0), n(rows), exact(0.02)
    out |= prefixed("kl.", {
        "log_probs": log_probs, "reference_log_probs": reference, "scores": scores, "kl_coefficient": draw.floats(beta),
        "rewards": padded.kl_rewards(log_probs, reference, scores, mask, beta),
        "sequence_kl": padded.sequence_kl(log_probs, reference, mask)})

    rewards, values, gamma, lam = n(rows, columns), n(rows, columns), exact(0.99), exact(0.95)
    advantages, returns = padded.gae(rewards, values, mask, gamma, lam)
    out |= prefixed("gae.", {"rewards": rewards, "values": values, "gamma": draw.floats(gamma), "lambda": draw.floats(lam),
                             "advantages": advantages, "returns": returns})
    x = n(rows, columns, scale=2.0, mean=1.0)
    out |= prefixed("whiten.", {"x": x, "y": padded.whiten(x, mask)})
    micro_batches = [0, 1, 4]
    out |= prefixed("mean.", {"x": x, "mean": padded.masked_mean(x, mask), "micro_batches": torch.tensor(micro_batches),
                              "accumulated": padded.accumulated_mean(x, mask, micro_batches)})

    clip = exact(0.2)
    old, advantages = n(rows, columns, mean=-3.0), n(rows, columns)
    new = (old + n(rows, columns, scale=0.3)).float().to(draw.dtype).requires_grad_()
    loss = padded.policy_loss(new, old, advantages, mask, clip)
    out |= prefixed("policy_loss.", {"log_probs": new, "old_log_probs": old, "advantages": advantages, "clip": draw.floats(clip),
                                     "loss": loss, **backward(loss, None, log_probs=new)})
    old, returns = n(rows, columns), n(rows, columns)
    new = (old + n(rows, columns, scale=0.3)).float().to(draw.dtype).requires_grad_()
    loss = padded.value_loss(new, old, returns, mask, clip)
    out |= prefixed("value_loss.", {"values": new, "old_values": old, "returns": returns, "clip": draw.floats(clip),
                                    "loss": loss, **backward(loss, None, values=new)})

    # Packed.
    offsets, prompt_lengths = offsets_of([5, 9, 3, 12]), torch.tensor([2, 8, 1, 4])
    next_token = n(25, mean=-3.0).requires_grad_()  # 29 tokens, of which the first of each sequence has none
    out |= {"packed.offsets": offsets, "packed.log_probs": next_token, "packed.prompt_lengths": prompt_lengths}
    ptx = losses.cross_entropy(next_token)
    out |= prefixed("ptx_loss.", {"loss": ptx, **backward(ptx, None, log_probs=next_token)})
    sft = losses.cross_entropy(losses.response_log_probs(next_token, offsets, prompt_lengths))
    out |= prefixed("sft_loss.", {"loss": sft, **backward(sft, None, log_probs=next_token)})
    rewards, values = n(29), n(29)
    advantages, returns = losses.gae(rewards, values, offsets, gamma, lam)
    out |= prefixed("estimates.", {"rewards": rewards, "values": values, "advantages": losses.whiten(advantages), "returns": returns})
    small = n(11, scale=2.0**-13)  # its variance is near the epsilon
    out |= prefixed("whiten_small.", {"x": small, "y": losses.whiten(small)})
    normals = n(16)
    out |= prefixed("head.", {"normals": normals, "weights": padded.head_weights(normals)})
    return out


POLICY = Config(61, 24, 16, 2, 2, 64)
END_OF_TEXT = 60


def ppo_iteration(draw):
    """One PPO-ptx iteration (section 3.5): 8 episodes, 2 minibatches of 4, one inner epoch."""
    settings = {"temperature": 0.75, "kl_coefficient": 0.125, "gamma": 1.0, "lambda": 0.95, "clip": 0.2,
                "value_clip": 0.2, "ptx_coefficient": 1.5, "learning_rate": 4e-3, "value_learning_rate": 4e-3,
                "beta1": 0.9, "beta2": 0.95, "epsilon": 1e-8, "weight_decay": 0.0, "ema_decay": 0.992}
    s = {name: exact(x) for name, x in settings.items()}
    adam = [s["beta1"], s["beta2"], s["epsilon"], s["weight_decay"]]

    reference = draw.parameters(POLICY, "language_model")
    policy = {name: (w + draw.normal(*w.shape, scale=0.02)).float().to(draw.dtype) for name, w in reference.items()}
    reward_model = draw.parameters(REWARD, "scalar")
    value = {name: (w + draw.normal(*w.shape, scale=0.02)).float().to(draw.dtype) for name, w in reward_model.items()}

    prompts, responses = [5, 3, 9, 1, 14, 2, 6, 8], [4, 1, 12, 7, 10, 6, 3, 9]
    offsets, response_offsets = offsets_of(np.add(prompts, responses)), offsets_of(responses)
    prompt_lengths = torch.tensor(prompts)
    tokens = draw.tokens(int(offsets[-1]), END_OF_TEXT)
    tokens[offsets[1:][[0, 1, 3, 4, 6]] - 1] = END_OF_TEXT  # the others ran into the length limit

    out = {"config": {"policy": POLICY, "reward_model": REWARD}, "tokens": tokens, "offsets": offsets,
           "prompt_lengths": prompt_lengths, "response_offsets": response_offsets,
           **prefixed("settings.", {name: draw.floats(x) for name, x in s.items()}),
           **prefixed("policy.", policy), **prefixed("reference.", reference),
           **prefixed("reward_model.", reward_model), **prefixed("value.", value)}

    def log_probs_of(p, tokens, offsets, prompt_lengths):
        table = model.next_token_log_probs(p, POLICY, tokens, offsets, s["temperature"])
        return losses.response_log_probs(table, offsets, prompt_lengths)

    def values_of(p, tokens, offsets, prompt_lengths):
        return losses.values_before(model.token_scores(p, REWARD, tokens, offsets), offsets, prompt_lengths)

    # The rollout's numbers: all before the first update, without gradients.
    old_log_probs = log_probs_of(policy, tokens, offsets, prompt_lengths)
    reference_log_probs = log_probs_of(reference, tokens, offsets, prompt_lengths)
    scores = model.rewards(reward_model, REWARD, tokens, offsets)
    old_values = values_of(value, tokens, offsets, prompt_lengths)
    shaped = losses.kl_rewards(old_log_probs, reference_log_probs, scores, response_offsets, s["kl_coefficient"])
    advantages, returns = losses.gae(shaped, old_values, response_offsets, s["gamma"], s["lambda"])
    out |= prefixed("rollout.", {"log_probs": old_log_probs, "reference_log_probs": reference_log_probs,
                                 "scores": scores, "values": old_values, "rewards": shaped,
                                 "advantages": advantages, "returns": returns})

    ema, policy_state, value_state = policy, {}, {}
    for k, episodes in enumerate([[3, 0, 6, 4], [7, 1, 5, 2]]):
        lengths = [prompts[e] + responses[e] for e in episodes]
        mini_tokens = torch.cat([tokens[offsets[e] : offsets[e + 1]] for e in episodes])
        mini = mini_tokens, offsets_of(lengths), prompt_lengths[episodes]
        rows = torch.cat([torch.arange(response_offsets[e], response_offsets[e + 1]) for e in episodes])
        whitened = losses.whiten(advantages[rows])

        # Policy: PPO and ptx gradients add up in the same buffers, then one step.
        policy = leaf(policy)
        log_probs = log_probs_of(policy, *mini)
        policy_loss, clip_fraction = losses.policy_loss(log_probs, old_log_probs[rows], whitened, s["clip"])
        ptx_lengths = [24, 9, 17][: 3 - k]
        ptx_offsets, ptx_tokens = offsets_of(ptx_lengths), draw.tokens(sum(ptx_lengths), POLICY.vocab_size)
        ptx_loss = losses.cross_entropy(model.next_token_log_probs(policy, POLICY, ptx_tokens, ptx_offsets))
        policy_gradient = gradients(policy_loss + s["ptx_coefficient"] * ptx_loss, policy)
        policy = optim.adamw_step(policy, policy_gradient, policy_state, s["learning_rate"], *adam)
        policy = {name: w.detach() for name, w in policy.items()}
        ema = optim.ema_step(ema, policy, s["ema_decay"])

        # Value function: its own network, its own step.
        value = leaf(value)
        values = values_of(value, *mini)
        value_loss = losses.value_loss(values, old_values[rows], returns[rows], s["value_clip"])
        value_gradient = gradients(value_loss, value)
        value = optim.adamw_step(value, value_gradient, value_state, s["value_learning_rate"], *adam)
        value = {name: w.detach() for name, w in value.items()}

        out |= prefixed(f"minibatch.{k}.", {
            "episodes": torch.tensor(episodes), "advantages": whitened, "log_probs": log_probs, "values": values,
            "policy_loss": policy_loss, "clip_fraction": clip_fraction, "value_loss": value_loss,
            "ptx.tokens": ptx_tokens, "ptx.offsets": ptx_offsets, "ptx.loss": ptx_loss})
        if k == 0:
            out |= prefixed("minibatch.0.policy_grad.", policy_gradient)
            out |= prefixed("minibatch.0.value_grad.", value_gradient)
    return {**out, **prefixed("policy_after.", policy), **prefixed("value_after.", value), **prefixed("ema_after.", ema)}


FIXTURES = {
    "ops": ops,
    "transformer_dense": lambda draw: transformer(draw, DENSE, [5, 1, 24, 13]),
    "transformer_banded": lambda draw: transformer(draw, BANDED, [5, 1, 24, 13]),
    "transformer_bf16": transformer_bf16,
    "gpt_neo": gpt_neo,
    "adamw": adamw,
    "sft": sft,
    "reward": reward,
    "ppo_functions": ppo_functions,
    "episodes": episodes,
    "ppo_iteration": ppo_iteration,
}


# ---------------------------------------------------------------------------------------------------
# Writing.


def stored(tensor):
    """As written: float32 (or int64). What is zero but for rounding (a key bias has no influence on
    attention, so its gradient is exactly 0) becomes 0, so that the file is the same everywhere.
    """
    array = tensor.detach().numpy()
    if array.dtype != np.float64:
        return np.array(array, order="C")
    tiny = max(2.0**-40 * np.abs(array).max(), 1e-15)
    return np.where(np.abs(array) < tiny, 0.0, array).astype(np.float32, order="C")


def noise_log2(name, single, double):
    """n with max |float32 - float64| <= 2^n max |float64| (2^n alone if that maximum is 0), as an integer;
    None if they are equal.

    Left out: key biases after an optimizer step. Their gradient is 0 and Adam blows rounding noise up to
    full steps, harmless to the model, meaningless to compare.
    """
    single, double = single.detach().double().numpy(), double.detach().numpy()
    error = np.abs(single - double)
    if "after." in name and name.endswith("c_attn.bias"):
        width = len(double) // 3
        error[width : 2 * width] = 0.0
    relative = error.max() / (np.abs(stored(torch.from_numpy(double))).max() or 1.0)
    return math.ceil(math.log2(relative)) if relative > 0.0 else None


def config_json(config):
    if isinstance(config, dict):
        return {name: config_json(c) for name, c in config.items()}
    return {name: value for name, value in vars(config).items() if name not in ("precision", "scale_attn_weights")}


def write(name, out):
    """One safetensors file; returns its manifest entry."""
    double, single = (FIXTURES[name](Draw(name, dtype)) for dtype in (torch.float64, torch.float32))
    config = double.pop("config", None)
    arrays = {key: stored(tensor) for key, tensor in double.items()}
    metadata = {"config": json.dumps(config_json(config))} if config else None
    path = out / f"{name}.safetensors"
    path.write_bytes(safetensors.numpy.save(arrays, metadata))
    floats = {key: t for key, t in double.items() if t.dtype == torch.float64}
    noises = {key: noise_log2(key, single[key], t) for key, t in sorted(floats.items())}
    return entry(path) | {"noise_log2": {key: n for key, n in noises.items() if n is not None}}


def write_bpe(out):
    documents, vocab_size = bpe_text.DOCUMENTS, bpe_text.VOCAB_SIZE
    merges = bpe.train(documents, vocab_size)
    vocabulary, lines = bpe.huggingface_files(merges)
    assert len(vocabulary) == vocab_size, "two merges gave the same token"
    cases = [{"text": text, "tokens": bpe.encode(text, merges)} for text in bpe_text.HOSTILE]
    path = out / "bpe.json"
    path.write_text(json.dumps({
        "documents": documents, "vocab_size": vocab_size, "byte_order": bpe.byte_order(), "merges": merges,
        "merges_txt": lines, "end_of_text": vocab_size - 1, "encodings": cases}, indent=None) + "\n")
    return entry(path)


def entry(path):
    data = path.read_bytes()
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def make(out, names):
    """Writes the named fixtures and their manifest entries."""
    out.mkdir(parents=True, exist_ok=True)
    manifest_path = out / "manifest.json"
    files = json.loads(manifest_path.read_text())["files"] if manifest_path.exists() else {}
    for name in names:
        key = "bpe.json" if name == "bpe" else f"{name}.safetensors"
        files[key] = write_bpe(out) if name == "bpe" else write(name, out)
    manifest = {
        "generator": "reference/make_fixtures.py",
        "seed": SEED,
        "versions": {"python": ".".join(map(str, sys.version_info[:2])), "torch": torch.__version__.split("+")[0],
                     "numpy": np.__version__, "safetensors": safetensors.__version__},
        "stored": "computed in float64 from inputs exact in float32, rounded to float32 once",
        "noise_log2": "n: the float32 run differs by at most 2^n * max|tensor| (absent: no difference)",
        "files": dict(sorted(files.items())),
    }
    manifest_path.write_text(json.dumps(manifest, indent=1) + "\n")


def check(out, names):
    """Regenerates into a temporary folder and compares every file's hash with the manifest in `out`."""
    recorded = json.loads((out / "manifest.json").read_text())["files"]
    with tempfile.TemporaryDirectory() as folder:
        make(pathlib.Path(folder), names)
        files = json.loads((pathlib.Path(folder) / "manifest.json").read_text())["files"]
    different = [name for name in files if files[name]["sha256"] != recorded.get(name, {}).get("sha256")]
    different += [name for name in recorded if (out / name).is_file() and entry(out / name)["sha256"] != recorded[name]["sha256"]]
    print("different: " + ", ".join(sorted(set(different))) if different else f"{len(files)} files identical")
    return 1 if different else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("fixtures"))
    parser.add_argument("--only", nargs="+", choices=[*FIXTURES, "bpe"], default=[*FIXTURES, "bpe"])
    parser.add_argument("--check", action="store_true", help="compare with --out instead of writing it")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    if arguments.check:
        return check(arguments.out, arguments.only)
    make(arguments.out, arguments.only)
    return 0


if __name__ == "__main__":
    sys.exit(main())
