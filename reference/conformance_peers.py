"""How each program's functions are called on the vectors. Every adapter takes a case and returns {output: array}, or None where
the program has nothing like it. Their functions and statements are taken out of their files by name (`Source`), so that
importing their packages is not needed.
"""

import ast
import dataclasses
import fnmatch
import functools
import __future__
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F


@dataclasses.dataclass(frozen=True)
class Reason:
    """Why a program's numbers differ, for the cases of some patterns; without threads (None) a remark on what was called."""

    cases: str
    text: str
    threads: tuple | None = ()

    def matches(self, id):
        return any(fnmatch.fnmatchcase(id, pattern) for pattern in self.cases.split())


@dataclasses.dataclass
class Peer:
    name: str
    url: str
    source: str  # pypi:NAME==VERSION or github:OWNER/NAME@COMMIT
    files: tuple
    functions: object  # folder -> {function of the vectors: adapter}
    reasons: tuple = ()


class Source:
    """A file of another program, of which single definitions and statements are executed."""

    def __init__(self, path):
        text = path.read_text()
        self.lines, self.tree = text.splitlines(), ast.parse(text)

    def _execute(self, nodes, namespace):
        module = ast.Module(body=nodes, type_ignores=[])
        flags = __future__.annotations.compiler_flag  # Annotations name what is not there.
        exec(compile(module, "peer", "exec", flags, dont_inherit=True), namespace)
        return namespace

    def definition(self, name):
        """A function or class, at any depth."""
        for node in ast.walk(self.tree):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == name:
                return node
        raise LookupError(f"no {name}")

    def pick(self, /, *names, **namespace):
        """Functions and classes, without their decorators, in a namespace of their own."""
        namespace = {"torch": torch, "F": F, "nn": torch.nn, "np": np, **namespace}
        nodes = [self.definition(name) for name in names]
        for node in nodes:
            node.decorator_list = []
        return SimpleNamespace(**self._execute(nodes, namespace))

    def run(self, function, first, last, /, **namespace):
        """The statements of a function from the one that begins with `first` to the one that begins with `last`."""
        def begins(node, words):
            return self.lines[node.lineno - 1].strip().startswith(words)

        for node in ast.walk(self.definition(function)):
            for body in (getattr(node, name, None) for name in ("body", "orelse")):
                if not isinstance(body, list):
                    continue
                starts = [i for i, s in enumerate(body) if begins(s, first)]
                for start in starts:
                    ends = [i for i, s in enumerate(body) if i >= start and begins(s, last)]
                    if ends:
                        namespace = {"torch": torch, "F": F, "nn": torch.nn, "np": np, **namespace}
                        return SimpleNamespace(**self._execute(body[start : ends[0] + 1], namespace))
        raise LookupError(f"no statements from {first!r} to {last!r} in {function}")

    def assignments(self, /, *beginnings, **namespace):
        """Single assignments, wherever they are, in the file's order."""
        nodes = [n for n in ast.walk(self.tree) if isinstance(n, (ast.Assign, ast.AugAssign))
                 and self.lines[n.lineno - 1].strip().startswith(beginnings)]
        nodes = {self.lines[n.lineno - 1].strip(): n for n in sorted(nodes, key=lambda n: -n.lineno)}.values()  # each once
        return SimpleNamespace(**self._execute(sorted(nodes, key=lambda n: n.lineno), {"torch": torch, "F": F, "np": np, **namespace}))

    def argument(self, function, name, /, **namespace):
        """The value of a keyword argument of the first call of a function."""
        calls = [n for n in ast.walk(self.tree) if isinstance(n, ast.Call) and ast.unparse(n.func).split(".")[-1] == function]
        (value, *_) = [k.value for call in calls for k in call.keywords if k.arg == name]
        return float(eval(compile(ast.Expression(value), "peer", "eval"), {"np": np, **namespace}))


# What the adapters share.


def inputs(case):
    """A case's inputs as torch tensors and Python numbers."""
    def converted(x):
        return torch.from_numpy(x) if isinstance(x, np.ndarray) else x.item() if isinstance(x, np.generic) else x

    return SimpleNamespace(**{name.replace("lambda", "lam"): converted(x) for name, x in case.inputs.items()})


def pad(packed, offsets):
    """(B, T) with zeros, and its mask."""
    lengths = offsets[1:] - offsets[:-1]
    mask = (torch.arange(int(lengths.max())) < lengths[:, None]).long()
    out = torch.zeros(mask.shape)
    out[mask > 0] = packed
    return out, mask


def unpad(padded, mask):
    return padded[mask > 0]


def with_gradient(loss_of, x):
    """(loss, gradient) of a function at x."""
    x = x.clone().requires_grad_()
    loss = loss_of(x)
    (gradient,) = torch.autograd.grad(loss, x)
    return loss.detach(), gradient


def gae(estimate, padded):
    """An adapter for GAE: estimate(rewards, values, mask, gamma, lam) -> (advantages, returns) of (B, T)."""
    def packed_case(case):
        i = inputs(case)
        (r, mask), (v, _) = pad(i.rewards, i.offsets), pad(i.values, i.offsets)
        a, returns = estimate(r, v, mask, i.gamma, i.lam)
        return {"advantages": unpad(a, mask), "returns": unpad(returns, mask)}

    def padded_case(case):
        i = inputs(case)
        a, returns = estimate(i.rewards, i.values, i.mask, i.gamma, i.lam)
        return {"advantages": a * i.mask, "returns": returns * i.mask}

    return padded_case if padded else packed_case


def whitening(whiten, unbiased):
    """An adapter for whitening: whiten(x (1, N), mask, shift_mean), of which one variance is the program's."""
    def adapter(case):
        if case.settings["unbiased"] != unbiased:
            return None
        x = inputs(case).x
        return {"y": whiten(x[None], torch.ones_like(x[None]), case.settings["shift_mean"])[0]}

    return adapter


def padded_whitening(whiten):
    def adapter(case):
        i = inputs(case)
        return {"y": whiten(i.x, i.mask, True) * i.mask}

    return adapter


def policy_loss(loss_of, padded):
    """loss_of(log_probs, old, advantages, mask, clip) -> (loss, clip fraction or None)."""
    def adapter(case):
        i = inputs(case)
        rows = (i.log_probs, i.old_log_probs, i.advantages)
        new, old, advantages = rows if padded else (x[None] for x in rows)
        mask = i.mask if padded else torch.ones_like(old)
        fraction = loss_of(new, old, advantages, mask, i.clip)[1]
        loss, gradient = with_gradient(lambda x: loss_of(x, old, advantages, mask, i.clip)[0], new)
        if padded:
            return {"loss": loss, "dlog_probs": gradient}
        return {"loss": loss, "dlog_probs": gradient[0], "clip_fraction": fraction}

    return adapter


def value_loss(loss_of, padded):
    """loss_of(values, old, returns, mask, clip) -> loss."""
    def adapter(case):
        i = inputs(case)
        rows = (i.values, i.old_values, i.returns)
        new, old, returns = rows if padded else (x[None] for x in rows)
        mask = i.mask if padded else torch.ones_like(old)
        loss, gradient = with_gradient(lambda x: loss_of(x, old, returns, mask, i.clip), new)
        return {"loss": loss, "dvalues": gradient if padded else gradient[0]}

    return adapter


def pairs_loss(loss_of):
    """The K-way loss from a loss of pairs: all untied pairs of the batch at once."""
    def adapter(case):
        i = inputs(case)
        better, worse = [], []
        for start, end in zip(i.group_offsets[:-1], i.group_offsets[1:]):
            for a in range(start, end):
                for b in range(start, end):
                    if i.ranks[a] < i.ranks[b]:
                        better.append(a)
                        worse.append(b)
        loss, gradient = with_gradient(lambda r: loss_of(r[better], r[worse]), i.rewards)
        return {"loss": loss, "drewards": gradient}

    return adapter


def response_log_probs(log_probs_of):
    """log_probs_of(logits, tokens, temperature), of the logits one column before each token."""
    def adapter(case):
        i = inputs(case)
        logits = i.logits[:, i.prompt_length - 1 : -1]
        return {"log_probs": log_probs_of(logits.clone(), i.tokens[:, i.prompt_length :], i.temperature) * i.mask}

    return adapter


def head(log_probs_of, entropy_of=None):
    """The same functions on the logits of a linear head, with the gradients that autograd gives."""
    def adapter(case):
        i = inputs(case)
        h, w = i.hidden.requires_grad_(), i.weight.requires_grad_()
        log_probs = log_probs_of((h @ w.T)[None], i.targets[None], i.temperature)[0]
        dh, dw = torch.autograd.grad(log_probs, [h, w], i.dlog_probs)
        entropy = entropy_of(((h @ w.T) / i.temperature)[None])[0].detach() if entropy_of else None
        return {"log_probs": log_probs.detach(), "entropy": entropy, "dhidden": dh, "dweight": dw}

    return adapter


def controller(make):
    """make(initial, target, horizon) -> an object with update(kl, episodes) and value."""
    def adapter(case):
        i = inputs(case)
        control, out = make(i.initial, i.target, i.horizon), []
        for kl in i.kl.tolist():
            control.update(kl, i.episodes)
            out.append(control.value)
        return {"coefficients": torch.tensor(out)}

    return adapter


def last_columns(mask):
    return (torch.arange(mask.shape[1]) * mask).max(dim=1).values


def token_scores(scores, mask):
    """Scores at the last real token, where a program's function takes them so."""
    out = torch.zeros(mask.shape)
    out[torch.arange(len(mask)), last_columns(mask)] = scores
    return out


# verl


def verl(root):
    tensors = Source(root / "verl/utils/torch_functional.py").pick(
        "masked_sum", "masked_mean", "masked_var", "masked_whiten", "clip_by_value", "entropy_from_logits", "logprobs_from_logits_v2",
        "get_response_mask")
    core = Source(root / "verl/trainer/ppo/core_algos.py").pick(
        "AdaptiveKLController", "compute_gae_advantage_return", "agg_loss", "compute_policy_loss_vanilla", "compute_value_loss",
        "kl_penalty", "kl_penalty_forward", verl_F=tensors, AlgoConfig=type("AlgoConfig", (), {}))
    trainer = Source(root / "verl/trainer/ppo/ray_trainer.py").pick("apply_kl_penalty", core_algos=core, masked_mean=tensors.masked_mean)
    positions = Source(root / "verl/utils/model.py").pick("compute_position_id_with_mask")

    def raw_gae(r, v, mask, gamma, lam):
        whiten, tensors.masked_whiten = tensors.masked_whiten, lambda x, mask: x  # Its whitening taken out.
        try:
            return core.compute_gae_advantage_return(r, v, mask, gamma, lam)
        finally:
            tensors.masked_whiten = whiten

    def kl(case, scores=None):
        i = inputs(case)
        scores = getattr(i, "scores", torch.zeros(len(i.mask)))
        batch = Batch(response_mask=i.mask, token_level_scores=token_scores(scores, i.mask), old_log_probs=i.log_probs,
                      ref_log_prob=i.reference_log_probs)
        control = SimpleNamespace(value=getattr(i, "kl_coefficient", 0.0), update=lambda **_: None)
        data, metrics = trainer.apply_kl_penalty(SimpleNamespace(batch=batch), control)
        return data.batch["token_level_rewards"], metrics["actor/reward_kl_penalty"]

    def policy(new, old, advantages, mask, clip):
        config = SimpleNamespace(clip_ratio=clip, clip_ratio_low=None, clip_ratio_high=None, global_batch_info={}, get=lambda _, default: default)
        loss, metrics = core.compute_policy_loss_vanilla(old, new, advantages, mask, config=config)
        return loss, metrics["actor/pg_clipfrac"]

    def value(new, old, returns, mask, clip):
        return core.compute_value_loss(new, returns, old, mask, clip)[0]

    def log_probs(logits, tokens, temperature):
        return tensors.logprobs_from_logits_v2(logits / temperature, tokens)

    def truncate(case):
        i = inputs(case)
        mask = tensors.get_response_mask(i.tokens, i.end_of_text)
        return {"truncated": torch.where(mask > 0, i.tokens, i.pad)}

    def mean(case):
        i = inputs(case)
        return {"mean": core.agg_loss(i.x, i.mask, "token-mean")}

    def accumulated(case):
        i = inputs(case)
        parts = zip(i.micro_batches[:-1], i.micro_batches[1:])
        return {"accumulated": sum(core.agg_loss(i.x[s:e], i.mask[s:e], "token-mean", batch_num_tokens=i.mask.sum()) for s, e in parts)}

    return {
        "gae": gae(raw_gae, False), "padded_gae": gae(raw_gae, True), "estimates": gae(core.compute_gae_advantage_return, False),
        "whiten": whitening(tensors.masked_whiten, True), "padded_whiten": padded_whitening(tensors.masked_whiten),
        "policy_loss": policy_loss(policy, False), "padded_policy_loss": policy_loss(policy, True),
        "value_loss": value_loss(value, False), "padded_value_loss": value_loss(value, True),
        "adaptive_kl": controller(core.AdaptiveKLController),
        "padded_kl_rewards": lambda case: {"rewards": kl(case)[0] * inputs(case).mask},
        "padded_sequence_kl": lambda case: {"sequence_kl": kl(case)[1]},
        "padded_mean": mean, "padded_accumulated_mean": accumulated, "padded_truncate": truncate,
        "padded_positions": lambda case: {"positions": positions.compute_position_id_with_mask(inputs(case).mask) * inputs(case).mask},
        "padded_log_probs": response_log_probs(log_probs), "head": head(log_probs, tensors.entropy_from_logits),
    }


class Batch(dict):
    batch_size = (4,)


# OpenRLHF


def openrlhf(root):
    utils = Source(root / "openrlhf/models/utils.py").pick(
        "compute_approx_kl", "compute_reward", "_logsumexp_by_chunk", "log_probs_from_logits", "masked_mean", "compute_entropy",
        Optional=None, Tuple=None, Union=None)
    loss = Source(root / "openrlhf/models/loss.py").pick(
        "aggregate_loss", "PolicyLoss", "ValueLoss", "PairWiseLoss", masked_mean=utils.masked_mean)
    control = Source(root / "openrlhf/trainer/ppo_utils/kl_controller.py").pick("AdaptiveKLController")
    maker = Source(root / "openrlhf/trainer/ppo_utils/experience_maker.py")
    estimate = maker.pick("get_advantages_and_returns").get_advantages_and_returns
    model = Source(root / "openrlhf/models/model.py")

    def raw_gae(r, v, mask, gamma, lam):
        return estimate(None, v, r, mask, gamma, lam)

    def whiten(x, mask, shift_mean):
        if not shift_mean:
            return None
        experience = SimpleNamespace(advantages=x, action_mask=mask)
        options = SimpleNamespace(algo=SimpleNamespace(advantage=SimpleNamespace(estimator="gae", no_std_norm=False)))
        maker.run("compute_advantages_and_returns", "if args.algo.advantage.estimator in [", "if args.algo.advantage.estimator in [",
                  experiences=[experience], args=options)
        return experience.advantages

    def whiten_case(case):
        if case.settings["unbiased"] or not case.settings["shift_mean"]:
            return None
        x = inputs(case).x[None]
        return {"y": whiten(x, torch.ones_like(x), True)[0]}

    def whitened_gae(r, v, mask, gamma, lam):
        advantages, returns = raw_gae(r, v, mask, gamma, lam)
        return whiten(advantages, mask, True), returns

    def rewards(case):
        i = inputs(case)
        kl = utils.compute_approx_kl(i.log_probs, i.reference_log_probs)
        return {"rewards": utils.compute_reward(i.scores, i.kl_coefficient, kl, i.mask) * i.mask}

    def kl(case):
        i = inputs(case)
        kl = utils.compute_approx_kl(i.log_probs, i.reference_log_probs)
        return {"sequence_kl": utils.masked_mean(kl, i.mask, dim=-1).mean()}

    def policy(new, old, advantages, mask, clip):
        out = loss.PolicyLoss(clip, clip)(new, old, advantages, mask)
        return out[0], out[1]

    def mean(case):
        i = inputs(case)
        return {"mean": loss.aggregate_loss(i.x, i.mask)}

    def accumulated(case):
        i = inputs(case)
        parts = zip(i.micro_batches[:-1], i.micro_batches[1:])
        return {"accumulated": sum(loss.aggregate_loss(i.x[s:e], i.mask[s:e], batch_num_tokens=i.mask.sum()) for s, e in parts)}

    def reward_head(case):
        normals = inputs(case).normals
        return {"weights": normals * model.argument("normal_", "std", config=SimpleNamespace(hidden_size=len(normals)))}

    log_probs = utils.log_probs_from_logits
    return {
        "gae": gae(raw_gae, False), "padded_gae": gae(raw_gae, True), "estimates": gae(whitened_gae, False),
        "whiten": whiten_case, "padded_whiten": padded_whitening(whiten),
        "policy_loss": policy_loss(policy, False), "padded_policy_loss": policy_loss(policy, True),
        "value_loss": value_loss(lambda n, o, r, m, c: loss.ValueLoss(c)(n, o, r, m), False),
        "padded_value_loss": value_loss(lambda n, o, r, m, c: loss.ValueLoss(c)(n, o, r, m), True),
        "adaptive_kl": controller(control.AdaptiveKLController), "reward_loss": pairs_loss(lambda a, b: loss.PairWiseLoss()(a, b)),
        "padded_kl_rewards": rewards, "padded_sequence_kl": kl, "padded_mean": mean, "padded_accumulated_mean": accumulated,
        "reward_head": reward_head, "padded_log_probs": response_log_probs(log_probs),
        "head": head(lambda z, t, temperature: log_probs(z.clone(), t, temperature), utils.compute_entropy),
    }


# TRL, and summarize_from_feedback_details, from whose code TRL's PPO comes.


def trainer_of(source, function, core, options, first):
    """The adapters for the PPO that both programs write into one long function; `options` are its settings, `first` is where
    masks begin.
    """
    def names(mask):
        return {"sequence_lengths": last_columns(mask), "responses": torch.zeros(mask.shape), "INVALID_LOGPROB": 1.0, **vars(core)}

    def prepared(mask, log_probs, reference, values, scores, beta):
        """From masks to rewards."""
        rows = {"logprobs": log_probs, "ref_logprobs": reference, "values": values, "scores": scores, "args": options(kl_coef=beta)}
        return source.run(function, first, "rewards[[actual_start", **names(mask), **rows)

    def raw_gae(r, v, mask, gamma, lam):
        # Values up to one column past the end stay, as above; rewards are 0 past the last token.
        p1 = torch.arange(mask.shape[1]) > (last_columns(mask) + 1)[:, None]
        out = source.run(function, "lastgaelam = 0", "returns = advantages + values", rewards=r * mask, values=v.masked_fill(p1, 0),
                         args=options(gamma=gamma, lam=lam), **names(mask))
        return out.advantages, out.returns

    def whitened_gae(r, v, mask, gamma, lam):
        a, returns = raw_gae(r, v, mask, gamma, lam)
        return core.masked_whiten(a, mask), returns

    def losses(new, old, advantages, values, old_values, returns, mask, clip):
        p1 = torch.arange(mask.shape[1]) > (last_columns(mask) + 1)[:, None]
        every = slice(None)
        space = {
            "new_logprobs": new.masked_fill(mask == 0, 1.0), "mb_logprobs": old.masked_fill(mask == 0, 1.0),
            "mb_advantage": advantages * mask, "vpred": values.masked_fill(p1, 0), "mb_values": old_values.masked_fill(p1, 0),
            "mb_return": returns, "padding_mask": mask == 0, "padding_mask_p1": p1, "micro_batch_inds": every,
            "args": options(cliprange=clip, cliprange_value=clip)}
        out = source.run(function, "vpredclipped =", "pg_loss = masked_mean", **names(mask), **space)
        fraction = core.masked_mean((out.pg_losses2 > out.pg_losses).float(), mask)
        return out.pg_loss, fraction, out.vf_loss

    def policy(new, old, advantages, mask, clip):
        zeros = torch.zeros(mask.shape)
        return losses(new, old, advantages, zeros, zeros, zeros, mask, clip)[:2]

    def value(new, old, returns, mask, clip):
        zeros = torch.zeros(mask.shape)
        return losses(zeros, zeros, zeros, new, old, returns, mask, clip)[2]

    def rewards(case):
        i = inputs(case)
        out = prepared(i.mask, i.log_probs, i.reference_log_probs, torch.zeros(i.mask.shape), i.scores, i.kl_coefficient)
        return {"rewards": out.rewards}

    def kl(case):
        i = inputs(case)
        out = prepared(i.mask, i.log_probs, i.reference_log_probs, torch.zeros(i.mask.shape), torch.zeros(len(i.mask)), 0.0)
        return {"sequence_kl": source.run(function, "mean_kl =", "mean_kl =", kl=out.kl).mean_kl}

    def mean(case):
        i = inputs(case)
        return {"mean": core.masked_mean(i.x, i.mask)}

    return {
        "gae": gae(raw_gae, False), "padded_gae": gae(raw_gae, True), "estimates": gae(whitened_gae, False),
        "policy_loss": policy_loss(policy, False), "padded_policy_loss": policy_loss(policy, True),
        "value_loss": value_loss(value, False), "padded_value_loss": value_loss(value, True),
        "padded_kl_rewards": rewards, "padded_sequence_kl": kl, "padded_mean": mean, "padded_whiten": padded_whitening(core.masked_whiten),
    }


def asked_model(get_reward, with_tokenizer):
    """Calls get_reward on a model that notes its positions and gives the token rewards of a case."""
    def call(token_rewards, mask, context):
        seen, pad_token = {}, 99

        def backbone(**arguments):
            seen.update(arguments)
            return SimpleNamespace(hidden_states=[token_rewards[..., None]])

        queries = torch.where(mask > 0, 5, pad_token)
        if with_tokenizer:
            def model(**arguments):
                seen.update(arguments)
                return token_rewards[..., None]

            out = get_reward(model, queries, SimpleNamespace(pad_token_id=pad_token), context)
        else:
            model = SimpleNamespace(base_model_prefix="backbone", backbone=backbone, score=lambda x: x)
            out = get_reward(model, queries, pad_token, context)
        return out[1], seen.get("position_ids", torch.arange(mask.shape[1]).expand(mask.shape))

    def rewards(case):
        i = inputs(case)
        return {"rewards": call(i.token_rewards, i.mask, 0)[0]}

    def positions(case):
        mask = inputs(case).mask
        return {"positions": call(torch.zeros(mask.shape), mask, 0)[1] * mask}

    return {"padded_last_rewards": rewards, "padded_positions": positions}


def trl(root):
    core = Source(root / "trl/core.py").pick("masked_mean", "masked_var", "masked_whiten")
    utils = Source(root / "trl/trainer/utils.py").pick("first_true_indices", "get_reward", "truncate_response", "selective_log_softmax")
    ppo, reward = Source(root / "trl/trainer/ppo_trainer.py"), Source(root / "trl/trainer/reward_trainer.py")

    def log_probs(logits, tokens, temperature):
        scaled = ppo.run("train", "ref_logits /= ", "ref_logprob = ", ref_logits=logits.clone(), response=tokens,
                         args=SimpleNamespace(temperature=temperature), selective_log_softmax=utils.selective_log_softmax)
        return scaled.ref_logprob

    def truncate(case):
        i = inputs(case)
        return {"truncated": utils.truncate_response(i.end_of_text, i.pad, i.tokens)}

    def pairs(better, worse):
        return reward.run("compute_loss", "if \"margin\" in inputs", "if \"margin\" in inputs", rewards_chosen=better, rewards_rejected=worse,
                          inputs={}).loss

    options = functools.partial(SimpleNamespace, kl_estimator="k1")
    return {
        **trainer_of(ppo, "train", core, options, "response_idxs ="), **asked_model(utils.get_reward, False), "whiten": whitening(core.masked_whiten, True),
        "padded_truncate": truncate, "reward_loss": pairs_loss(pairs), "padded_log_probs": response_log_probs(log_probs), "head": head(log_probs),
    }


def details(root):
    source = Source(root / "summarize_from_feedback_details/ppo.py")
    core = source.pick("masked_mean", "masked_var", "masked_whiten")
    others = source.pick("first_true_indices", "get_reward", "truncate_response")
    reward = Source(root / "summarize_from_feedback_details/reward.py")

    def truncate(case):
        i = inputs(case)
        tokenizer = SimpleNamespace(pad_token_id=i.pad)
        return {"truncated": others.truncate_response(SimpleNamespace(truncate_token_id=i.end_of_text), tokenizer, i.tokens)}

    def pairs(better, worse):
        return reward.assignments("loss = -F.logsigmoid(", chosen_rewards=better, rejected_rewards=worse).loss

    def reward_head(case):
        normals = inputs(case).normals
        model = SimpleNamespace(config=SimpleNamespace(hidden_size=len(normals)))
        return {"weights": normals * source.argument("layer_init", "std", **{"self": model})}

    def log_probs(logits, tokens, temperature):
        return source.assignments("ref_logits /= ", "ref_all_logprob = ", "ref_logprob = ", ref_logits=logits.clone(), response=tokens,
                                  args=SimpleNamespace(temperature=temperature)).ref_logprob

    def options(**settings):
        return SimpleNamespace(ppo=SimpleNamespace(**settings))

    class Whole(Source):
        """The PPO stands at the top of the file, under `if __name__`: no function holds it."""

        def definition(self, name):
            return self.tree if name == "<file>" else super().definition(name)

    whole = Whole(root / "summarize_from_feedback_details/ppo.py")
    return {
        **trainer_of(whole, "<file>", core, options, "sequence_lengths_p1 ="), **asked_model(others.get_reward, True), "whiten": whitening(core.masked_whiten, False),
        "padded_truncate": truncate, "reward_loss": pairs_loss(pairs), "reward_head": reward_head,
        "padded_log_probs": response_log_probs(log_probs), "head": head(log_probs),
    }


# lm-human-preferences, in TensorFlow 1. The operations that it names are torch's here.


class Scope:
    def __init__(self, *_):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False


def moments(x, axes):
    return x.mean(), ((x - x.mean()) ** 2).mean()


def cross_entropies(labels, logits):
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="none").view(labels.shape)


def reduce_mean(x, axis=None, keepdims=False):
    return x.mean() if axis is None else x.mean(dim=axis, keepdim=keepdims)


def cumsum(x, exclusive, axis):
    return torch.cumsum(x, dim=axis) - (x if exclusive else 0)


TF = SimpleNamespace(
    nn=SimpleNamespace(moments=moments, softmax=lambda x, axis: torch.softmax(x, dim=axis),
                       sparse_softmax_cross_entropy_with_logits=cross_entropies),
    math=SimpleNamespace(reduce_logsumexp=lambda x, axis: torch.logsumexp(x, dim=axis)),
    rsqrt=torch.rsqrt, exp=torch.exp, square=torch.square, tanh=torch.tanh, pow=torch.pow, maximum=torch.maximum, greater=torch.gt,
    clip_by_value=torch.clamp, reduce_mean=reduce_mean, reduce_sum=lambda x, axis: x.sum(dim=axis), stop_gradient=torch.detach,
    cast=lambda x, dtype: x.to(dtype), float32=torch.float32, int32=torch.int64, stack=lambda xs, axis: torch.stack(xs, dim=axis),
    cumsum=cumsum, name_scope=Scope, variable_scope=Scope, constant_initializer=lambda x: x)


class Columns(torch.Tensor):
    """A tensor whose last dimension has TensorFlow 1's `value`."""

    @property
    def shape(self):
        return [SimpleNamespace(value=n) for n in self.size()]


class Ranked(torch.Tensor):
    """A tensor whose shape has TensorFlow 1's `rank`."""

    @property
    def shape(self):
        return SimpleNamespace(rank=self.dim())


def preferences(root):
    utils = Source(root / "lm_human_preferences/utils/core.py").pick("whiten", "logprobs_from_logits", "entropy_from_logits", tf=TF)
    language = Source(root / "lm_human_preferences/language/model.py")
    training = Source(root / "lm_human_preferences/train_policy.py")
    control = training.pick("AdaptiveKLController")

    def raw_gae(r, v, mask, gamma, lam):
        ppo = SimpleNamespace(gamma=gamma, lam=lam)
        self = SimpleNamespace(hparams=SimpleNamespace(task=SimpleNamespace(response_length=r.shape[1]), ppo=ppo))
        out = training.run("loss", "lastgaelam = 0", "returns = advantages + values", tf=TF, rewards=r, values=v, **{"self": self})
        return out.advantages, out.returns

    def one_by_one(estimate):
        """Its episodes have one length each: no padding exists."""
        def adapter(case):
            i, parts = inputs(case), []
            for s, e in zip(i.offsets[:-1], i.offsets[1:]):
                parts.append(estimate(i.rewards[None, s:e], i.values[None, s:e], None, i.gamma, i.lam))
            return {"advantages": torch.cat([a[0] for a, _ in parts]), "returns": torch.cat([r[0] for _, r in parts])}

        return adapter

    def estimates(case):
        out = one_by_one(raw_gae)(case)
        return {**out, "advantages": whitened(out["advantages"])}

    def whiten(case):
        if case.settings["unbiased"]:
            return None
        return {"y": whitened(inputs(case).x, case.settings["shift_mean"])}

    def whitened(x, shift_mean=True):
        return utils.whiten(x.as_subclass(Ranked), shift_mean).as_subclass(torch.Tensor)

    def losses(new, old, advantages, values, old_values, returns, clip):
        ppo = SimpleNamespace(cliprange=clip, cliprange_value=clip)
        self = SimpleNamespace(hparams=SimpleNamespace(ppo=ppo))
        outputs = {"values": values, "logprobs": new}
        out = training.run("loss", "vpred = outputs", "pg_clipfrac = ", tf=TF, outputs=outputs, values=old_values, old_logprob=old,
                           advantages=advantages, returns=returns, self=self)
        return out.pg_loss, out.pg_clipfrac, out.vf_loss

    def policy(new, old, advantages, mask, clip):
        zeros = torch.zeros(new.shape)
        return losses(new, old, advantages, zeros, zeros, zeros, clip)[:2]

    def value(new, old, returns, mask, clip):
        zeros = torch.zeros(new.shape)
        return losses(zeros, zeros, zeros, new, old, returns, clip)[2]

    def shaped(case):
        i, parts = inputs(case), []
        self = SimpleNamespace(kl_ctl=SimpleNamespace(value=i.kl_coefficient))
        compute = training.pick("compute_rewards", self=self).compute_rewards
        for b, (s, e) in enumerate(zip(i.offsets[:-1], i.offsets[1:])):
            rows = (i.log_probs[None, s:e].numpy(), i.reference_log_probs[None, s:e].numpy())
            parts.append(compute(i.scores[b : b + 1].numpy(), *rows)[0][0])
        return {"rewards": np.concatenate(parts)}

    def adaptive(initial, target, horizon):
        return control.AdaptiveKLController(initial, SimpleNamespace(target=target, horizon=horizon))

    def gelu(case):
        i = inputs(case)
        x = i.x.requires_grad_()
        y = language.pick("gelu", tf=TF).gelu(x)
        return {"y": y.detach(), "dx": torch.autograd.grad(y, x, i.dy)[0]}

    def norm(case):
        i = inputs(case)
        variables = {"g": i.weight.requires_grad_(), "b": i.bias.requires_grad_()}
        tf = SimpleNamespace(**{**vars(TF), "get_variable": lambda name, shape, initializer: variables[name]})
        x = i.x.requires_grad_()
        y = language.pick("norm", tf=tf).norm(x.as_subclass(Columns), "", epsilon=i.epsilon).as_subclass(torch.Tensor)
        dx, dw, db = torch.autograd.grad(y, [x, variables["g"], variables["b"]], i.dy)
        return {"y": y.detach(), "dx": dx, "dweight": dw, "dbias": db}

    def reward_head(case):
        normals = inputs(case).normals
        return {"weights": normals * float(language.assignments("scale = 1 / np.sqrt(", inshape=(len(normals),)).scale)}

    def positions(case):
        mask = inputs(case).mask
        positions_for = language.pick("positions_for", tf=TF).positions_for
        return {"positions": positions_for(batch=len(mask), sequence=mask.shape[1], past_length=0, mask=mask) * mask}

    def log_probs(logits, tokens, temperature):
        return utils.logprobs_from_logits(logits=logits / temperature, labels=tokens)

    return {
        "gae": one_by_one(raw_gae), "estimates": estimates, "whiten": whiten, "policy_loss": policy_loss(policy, False),
        "value_loss": value_loss(value, False), "kl_rewards": shaped, "adaptive_kl": controller(adaptive), "gelu_tanh": gelu,
        "layer_norm": norm, "reward_head": reward_head, "padded_positions": positions,
        "padded_log_probs": response_log_probs(log_probs), "head": head(log_probs, utils.entropy_from_logits),
    }


# rlax, in JAX


def rlax(root):
    import chex
    import jax
    import jax.numpy as jnp

    space = {"jax": jax, "jnp": jnp, "chex": chex}
    multistep = Source(root / "rlax/_src/multistep.py").pick("truncated_generalized_advantage_estimation", **space)
    policy = Source(root / "rlax/_src/policy_gradients.py").pick("clipped_surrogate_pg_loss", **space)

    def advantages(case):
        i, parts = inputs(case), []
        for s, e in zip(i.offsets[:-1].tolist(), i.offsets[1:].tolist()):
            values = jnp.array([*i.values[s:e].tolist(), 0.0])
            discounts = jnp.full(e - s, i.gamma)
            parts.append(multistep.truncated_generalized_advantage_estimation(jnp.array(i.rewards[s:e].numpy()), discounts, i.lam, values))
        return {"advantages": np.concatenate(parts)}

    def loss(case):
        i = inputs(case)
        new, old, a = (jnp.array(x.numpy()) for x in (i.log_probs, i.old_log_probs, i.advantages))
        value, gradient = jax.value_and_grad(lambda x: policy.clipped_surrogate_pg_loss(jnp.exp(x - old), a, i.clip))(new)
        return {"loss": np.asarray(value), "dlog_probs": np.asarray(gradient)}

    return {"gae": advantages, "policy_loss": loss}


# torchtune


def torchtune(root):
    rlhf = Source(root / "torchtune/rlhf/rewards.py").pick(
        "get_rewards_ppo", "masked_mean", "masked_var", "whiten", "estimate_advantages")
    loss = Source(root / "torchtune/rlhf/loss/ppo.py").pick("PPOLoss", rlhf=rlhf)
    sequences = Source(root / "torchtune/rlhf/sequence_processing.py").pick("truncate_sequence_at_first_stop_token", "logits_to_logprobs")
    recipe = Source(root / "recipes/ppo_full_finetune_single_device.py")

    def raw_gae(r, v, mask, gamma, lam):
        whole = Source(root / "torchtune/rlhf/rewards.py").pick("estimate_advantages", whiten=lambda x, mask: x)  # Its whitening taken out.
        return whole.estimate_advantages(v, r, gamma, lam)

    def estimates(r, v, mask, gamma, lam):
        return rlhf.estimate_advantages(v, r, gamma, lam, mask > 0)

    def whiten(x, mask, shift_mean):
        # "Whether to shift normalised values by the mean": the other way round than elsewhere.
        return rlhf.whiten(x, mask > 0, shift_mean=not shift_mean)

    def both(new, old, advantages, values, old_values, returns, mask, clip):
        out = loss.PPOLoss(clip, clip, 1.0)(old, new, advantages, old_values, values, returns, mask > 0, mask > 0)
        return out[0], out[4]

    def policy(new, old, advantages, mask, clip):
        zeros = torch.zeros(mask.shape)
        return both(new, old, advantages, zeros, zeros, zeros, mask, clip)

    def value(new, old, returns, mask, clip):
        zeros = torch.zeros(mask.shape)
        return both(zeros, zeros, zeros, new, old, returns, mask, clip)[0]

    def rewards(case):
        i = inputs(case)
        padding, lengths = i.mask == 0, last_columns(i.mask)
        space = {"seq_lens": lengths, "self": SimpleNamespace(_max_generated_tokens=i.mask.shape[1])}
        columns = recipe.run("generate_trajectory", "value_seq_idxs =", "value_seq_idxs =", **space).value_seq_idxs
        filled = (x.masked_fill(padding, 1.0) for x in (i.log_probs, i.reference_log_probs))
        return {"rewards": rlhf.get_rewards_ppo(i.scores, *filled, i.kl_coefficient, columns)[0]}

    def mean(case):
        i = inputs(case)
        return {"mean": rlhf.masked_mean(i.x, i.mask)}

    def truncate(case):
        i = inputs(case)
        return {"truncated": sequences.truncate_sequence_at_first_stop_token(i.tokens.clone(), torch.tensor([i.end_of_text]), i.pad)[1]}

    log_probs = sequences.logits_to_logprobs
    return {
        "gae": gae(raw_gae, False), "estimates": gae(estimates, False), "whiten": whitening(whiten, True), "padded_whiten": padded_whitening(whiten),
        "policy_loss": policy_loss(policy, False), "padded_policy_loss": policy_loss(policy, True),
        "value_loss": value_loss(value, False), "padded_value_loss": value_loss(value, True),
        "padded_kl_rewards": rewards, "padded_mean": mean, "padded_truncate": truncate,
        "padded_log_probs": response_log_probs(log_probs), "head": head(log_probs),
    }


# The RLHF Book's code


def book(root):
    loss = Source(root / "code/policy_gradients/loss.py").pick("PPOLoss", "masked_mean", "approx_kl1")
    reward = Source(root / "code/reward_models/train_preference_rm.py")

    def both(new, old, advantages, values, old_values, mask, clip, coefficient):
        experience = SimpleNamespace(advantages=advantages, values_old=old_values, log_probs_old=old, action_mask=mask)
        return loss.PPOLoss(clip, clip, clip, coefficient)(new, experience, values)

    def policy(new, old, advantages, mask, clip):
        zeros = torch.zeros(mask.shape)
        return both(new, old, advantages, zeros, zeros, mask, clip, 0.0), None

    def value(new, old, returns, mask, clip):
        zeros, advantages = torch.zeros(mask.shape), returns - old  # It makes returns of advantages and old values.
        return both(zeros, zeros, advantages, new, old, mask, clip, 1.0) - both(zeros, zeros, advantages, new, old, mask, clip, 0.0)

    def kl(case):
        i = inputs(case)
        return {"sequence_kl": loss.approx_kl1(i.log_probs, i.reference_log_probs, i.mask).sum(dim=1).mean()}

    def mean(case):
        i = inputs(case)
        return {"mean": loss.masked_mean(i.x, i.mask)}

    def pairs(better, worse):
        return reward.assignments("loss = -F.logsigmoid(", r_chosen=better, r_rejected=worse).loss

    return {
        "policy_loss": policy_loss(policy, False), "padded_policy_loss": policy_loss(policy, True),
        "value_loss": value_loss(value, False), "padded_value_loss": value_loss(value, True),
        "padded_sequence_kl": kl, "padded_mean": mean, "reward_loss": pairs_loss(pairs),
    }


def reason(cases, text, *threads):
    """`owner/name#12` is an issue, `owner/name/pull/12` a pull request."""
    return Reason(cases, text, tuple("https://github.com/" + t.replace("#", "/issues/") for t in threads))


def remark(cases, text):
    return Reason(cases, text, None)


PAIRS = reason(
    "F/reward_loss/*", "The loss knows pairs only. All untied pairs of the batch were given at once, so prompts with more responses weigh "
    "more; from a batch of one prompt it would be equation 1.", "openai/following-instructions-human-feedback#2")
UNBIASED = (
    "F/padded/whiten F/estimates", "The variance of whitening divides by n - 1. TRL's pull request had lm-human-preferences' n at first, and was asked to "
    "use `trl.core`'s function instead.")
ONE = ("F/whiten/one/unbiased/*", "A single token gives NaN: its variance is divided by 0. (The same failure in ROLL, where it was reported.)",
       "alibaba/ROLL#475")
AFTER = (
    "F/padded/kl_rewards", "The score goes one column past the last real token wherever there is room, on purpose: value and reward go on for one "
    "column (`padding_mask_p1`). Disputed.")
AFTER_VALUES = (
    "F/padded/gae F/padded/value_loss", "The same extra column: its value enters the advantages, and the value loss counts it.")
TOKEN_KL = (
    "F/padded/sequence_kl", "The KL divergence that the adaptive controller sees is a mean over each response's tokens, where the controller's "
    "paper has a sum; the target means something else then. trlX had the same and changed it.")

PEERS = [
    Peer("verl", "https://github.com/verl-project/verl", "pypi:verl==0.9.1",
         ("verl/utils/torch_functional.py", "verl/trainer/ppo/core_algos.py", "verl/trainer/ppo/ray_trainer.py", "verl/utils/model.py"), verl,
         (reason("F/whiten/one/unbiased/*", "A single token is refused with an error, as n - 1 is 0. (The same in ROLL, where it was reported.)",
                 "alibaba/ROLL#475"),
          reason(*UNBIASED, "huggingface/trl/pull/1540"),
          reason(*TOKEN_KL, "verl-project/verl/pull/7970", "CarperAI/trlx/pull/441"),
          remark("F/gae/* F/padded/gae", "With its whitening taken out, which is judged in F/estimates."),
          remark("F/padded/kl_rewards", "The scores were given at the last real token, where its reward manager puts them."),
          reason("F/policy_loss F/padded/policy_loss", "Its loss is PPO with a second clip at ratios of 3 where the advantage is negative. No "
                 "ratio of these cases comes near that.", "verl-project/verl/pull/784", "verl-project/verl/pull/7246"))),
    Peer("OpenRLHF", "https://github.com/OpenRLHF/OpenRLHF", "pypi:openrlhf==0.11.2",
         ("openrlhf/models/loss.py", "openrlhf/models/utils.py", "openrlhf/models/model.py", "openrlhf/trainer/ppo_utils/experience_maker.py",
          "openrlhf/trainer/ppo_utils/kl_controller.py"), openrlhf,
         (reason("F/whiten/small/*", "The variance is raised to at least 1e-8 instead of having 1e-8 added. It shows only where advantages are tiny."),
          reason("F/reward_head", "The head starts with a deviation of 1 / (d + 1), which is a misprint of Stiennon et al.'s 1 / sqrt(d + 1). Its "
                 "thread asks why the head is initialised by hand at all.", "OpenRLHF/OpenRLHF#348"),
          reason(*TOKEN_KL, "CarperAI/trlx/pull/441"), PAIRS)),
    Peer("TRL", "https://github.com/huggingface/trl", "pypi:trl==0.19.1",
         ("trl/core.py", "trl/trainer/utils.py", "trl/trainer/ppo_trainer.py", "trl/trainer/reward_trainer.py"), trl,
         (reason(*ONE), reason(*UNBIASED, "huggingface/trl/pull/1540"),
          reason(*AFTER, "huggingface/trl#3750", "huggingface/trl#1893", "huggingface/trl/pull/5338"),
          reason(*AFTER_VALUES, "huggingface/trl#3750"), PAIRS)),
    Peer("lm-human-preferences", "https://github.com/openai/lm-human-preferences",
         "github:openai/lm-human-preferences@cbfd210bb8b08f6bc5c26878c10984b90f516c66",
         ("lm_human_preferences/utils/core.py", "lm_human_preferences/language/model.py", "lm_human_preferences/train_policy.py"), preferences,
         (remark("F/kl_rewards F/gae/* F/estimates", "All its responses have one length, so each episode was given alone."),
          remark("O/layer_norm O/gelu_tanh", "TensorFlow's operations are torch's here; the gradient is autograd's."))),
    Peer("summarize_from_feedback_details", "https://github.com/vwxyzjn/summarize_from_feedback_details",
         "github:vwxyzjn/summarize_from_feedback_details@ee77a9abc31f5338365ee087945c5bcafac7f1ca",
         ("summarize_from_feedback_details/ppo.py", "summarize_from_feedback_details/reward.py"), details,
         (reason(*AFTER, "huggingface/trl#3750"), reason(*AFTER_VALUES, "huggingface/trl#3750"),
          reason("F/padded/positions/left", "Positions are left to the model, and count padding then; the right ones stand commented out in the file. "
                 "Its Pythia models have rotary positions, which a shift hardly changes; GPT-2's learned ones it does.", "huggingface/trl#469"),
          PAIRS)),
    Peer("rlax", "https://github.com/google-deepmind/rlax", "pypi:rlax==0.1.9",
         ("rlax/_src/multistep.py", "rlax/_src/policy_gradients.py"), rlax,
         (remark("F/gae/*", "It gives advantages; returns are the caller's."),)),
    Peer("RLHF Book", "https://github.com/natolambert/rlhf-book", "github:natolambert/rlhf-book@a66b0bf1103b590511e0503a2e9d93faea939a49",
         ("code/policy_gradients/loss.py", "code/reward_models/train_preference_rm.py"), book,
         (reason("F/padded/sequence_kl", "`approx_kl1` is reference minus policy. Of samples from the policy that is minus the KL divergence, so as "
                 "a penalty it rewards distance; `approx_kl3`, its default, takes the same direction. The thread reports early spikes with "
                 "kl3; that this is why is our inference.", "natolambert/rlhf-book#489"),
          reason("F/padded/policy_loss F/padded/value_loss", "A mean over each response's tokens, then over responses, as GRPO's paper has it: tokens "
                 "of long responses weigh less. verl was asked for this form.", "verl-project/verl#593"),
          PAIRS)),
    Peer("torchtune", "https://github.com/meta-pytorch/torchtune", "pypi:torchtune==0.6.1",
         ("torchtune/rlhf/rewards.py", "torchtune/rlhf/loss/ppo.py", "torchtune/rlhf/sequence_processing.py",
          "recipes/ppo_full_finetune_single_device.py"), torchtune,
         (reason(*ONE),
          reason("F/padded/whiten", "The variance of whitening divides by n - 1, as in TRL, from which the function comes.", "huggingface/trl/pull/1540"),
          reason("F/estimates", "`shift_mean=True` adds the mean back here, where elsewhere it leaves it off, and `estimate_advantages` calls it "
                 "so: advantages keep their mean, and n - 1 divides. It came with the pull request; no report of it was found.",
                 "meta-pytorch/torchtune/pull/1005"),
          reason("F/padded/kl_rewards", "The score goes one column past the last real token, as in TRL, but not in a response of one token. The "
                 "reviewers of the recipe asked what this is for.", "meta-pytorch/torchtune/pull/1005"),
          remark("F/gae/*", "With its whitening taken out, which is judged in F/estimates."))),
]
