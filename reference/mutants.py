"""Can the golden tests fail? Each mutant is the reference with one sign, constant or index changed.

For every mutant the affected fixtures are made anew in a temporary folder and the golden tests, compiled
once, run on them (`FIXTURES_DIR`). They must fail; a mutant that passes has survived and the exit code is 1.
First the unchanged reference must pass, from the same kind of folder. Printed is which tests noticed.

    python reference/mutants.py [--test tests/binary] [--only NAME ...]
"""

import argparse
import json
import multiprocessing
import os
import pathlib
import runpy
import shutil
import subprocess
import sys
import tempfile
from typing import NamedTuple

import torch  # noqa: F401  Slow to import, so once, for all mutants, which are forks of this process.

HERE = pathlib.Path(__file__).resolve().parent


class Mutant(NamedTuple):
    name: str
    file: str
    old: str  # occurs exactly once in the file
    new: str
    fixtures: tuple  # those that must change


TRANSFORMER = ("transformer_dense",)
BF16 = ("transformer_bf16",)
PPO = ("ppo_functions", "ppo_iteration")
MUTANTS = [
    Mutant("gelu_tanh_constant", "model.py", "0.044715", "0.044915", ("ops",)),
    Mutant("gelu_erf_scale", "model.py", "x / math.sqrt(2.0)", "x / 1.4", ("ops",)),
    Mutant("layer_norm_unbiased", "model.py", "((x - mean) ** 2).mean(dim=-1, keepdim=True)",
           "((x - mean) ** 2).sum(dim=-1, keepdim=True) / (x.shape[-1] - 1)", ("ops",)),
    Mutant("layer_norm_epsilon_outside", "model.py", "torch.sqrt(variance + epsilon)",
           "(torch.sqrt(variance) + epsilon)", ("ops",)),
    Mutant("attention_unscaled", "model.py", "scores / math.sqrt(size)", "scores", ("ops",)),
    Mutant("gpt_neo_scaled", "model.py", "scale_attn_weights=False", "scale_attn_weights=True", ("gpt_neo",)),
    Mutant("gpt_neo_keys_before_queries", "model.py", "(\"q_proj\", \"k_proj\", \"v_proj\")", "(\"k_proj\", \"q_proj\", \"v_proj\")",
           ("gpt_neo",)),
    Mutant("attention_window_off_by_one", "model.py", "max(start, t - window + 1)", "max(start, t - window)", ("ops",)),
    Mutant("attention_crosses_sequences", "model.py", "first = start if window is None", "first = 0 if window is None", ("ops",)),
    Mutant("attention_banded_layers_even", "model.py", "if layer % 2 == 1", "if layer % 2 == 0", ("transformer_banded",)),
    Mutant("positions_from_one", "model.py", "torch.arange(end - start)", "torch.arange(1, end - start + 1)", ("ops",)),
    Mutant("residual_lost", "model.py", "x = x + linear(y, q[\"attn", "x = linear(y, q[\"attn", TRANSFORMER),
    Mutant("targets_shifted", "model.py", "tokens[s + 1 : e]]", "tokens[s : e - 1]]", TRANSFORMER),
    Mutant("temperature_multiplies", "model.py", "offsets) / temperature", "offsets) * temperature", ("ppo_iteration",)),
    Mutant("bf16_truncated", "model.py", "x.float().bfloat16().to(x.dtype)",
           "(x.float().view(torch.int32) & -65536).view(torch.float32).to(x.dtype)", BF16),
    Mutant("bf16_x_unrounded", "model.py", "bf16(x), bf16(weight)", "x, bf16(weight)", BF16),
    Mutant("bf16_weight_unrounded", "model.py", "bf16(x), bf16(weight)", "bf16(x), weight", BF16),
    Mutant("bf16_dy_unrounded", "model.py", "dy = bf16(dy)", "dy = dy", BF16),
    Mutant("bf16_dx_of_unrounded_dy", "model.py", "        dy = bf16(dy)\n        return dy @ weight.T, x.T @ dy",
           "        return dy @ weight.T, x.T @ bf16(dy)", BF16),
    Mutant("bf16_dweight_of_unrounded_dy", "model.py", "        dy = bf16(dy)\n        return dy @ weight.T, x.T @ dy",
           "        return bf16(dy) @ weight.T, x.T @ dy", BF16),
    Mutant("bf16_result_rounded", "model.py", "return x @ weight", "return bf16(x @ weight)", BF16),
    Mutant("bf16_gradients_rounded", "model.py", "return dy @ weight.T, x.T @ dy",
           "return bf16(dy @ weight.T), bf16(x.T @ dy)", BF16),
    Mutant("bf16_bias_and_its_gradient_rounded", "model.py", "product(x, weight, precision) + bias",
           "product(x, weight, precision) + product(torch.ones(len(x), 1, dtype=x.dtype), bias[None], precision)", BF16),
    Mutant("bf16_not_in_the_head", "model.py", "weight.T, config.precision)", "weight.T, \"f32\")", BF16),
    Mutant("bf16_embedding_rounded", "model.py", "return wte[tokens]", "return bf16(wte)[tokens]", BF16),
    Mutant("adam_no_bias_correction", "optim.py", "(m / correction1)", "m", ("adamw",)),
    Mutant("adam_decay_coupled_sign", "optim.py", "w = w - lr * weight_decay * w", "w = w + lr * weight_decay * w", ("adamw",)),
    Mutant("adam_decays_everything", "optim.py", "if w.dim() == 2:", "if True:", ("adamw",)),
    Mutant("adam_tf_epsilon", "optim.py", "(torch.sqrt(v) + epsilon)", "(torch.sqrt(v / correction2) + epsilon)", ("adamw",)),
    Mutant("ema_swapped", "optim.py", "decay * average[name] + (1.0 - decay) * weights[name]",
           "(1.0 - decay) * average[name] + decay * weights[name]", PPO),
    Mutant("sft_counts_prompt_end", "losses.py", "begin + int(prompt_lengths[b]) - 1 :", "begin + max(int(prompt_lengths[b]) - 2, 0) :", ("sft",)),
    Mutant("reward_loss_sign", "losses.py", "if ranks[i] < ranks[j]:\n                terms.append(-log_sigmoid(rewards[i] - rewards[j]))",
           "if ranks[i] < ranks[j]:\n                terms.append(-log_sigmoid(rewards[j] - rewards[i]))", ("reward",)),
    Mutant("reward_loss_keeps_ties", "losses.py", "elif ranks[j] < ranks[i]:", "else:", ("reward",)),
    Mutant("reward_loss_sums_pairs", "losses.py", "torch.stack(terms).mean()", "torch.stack(terms).sum()", ("reward",)),
    Mutant("demonstration_mean_sign", "losses.py", "ln_f_bias - demonstration", "ln_f_bias + demonstration", ("reward",)),
    Mutant("kl_sign", "losses.py", "shaped = -kl_coefficient", "shaped = kl_coefficient", PPO),
    Mutant("score_on_first_token", "losses.py", "shaped[[end - 1 for _, end in", "shaped[[end for end, _ in", PPO),
    Mutant("score_on_every_token", "losses.py", "    shaped[[end - 1 for _, end in spans(offsets)]] += scores\n",
           "    for (s, e), score in zip(spans(offsets), scores):\n        shaped[s:e] += score\n", PPO),
    Mutant("value_after_the_token", "losses.py", "token_scores[start + int(prompt_lengths[b]) - 1 : end - 1]",
           "token_scores[start + int(prompt_lengths[b]) : end]", ("ppo_iteration",)),
    Mutant("gae_lambda_lost", "losses.py", "gamma * lam * next_advantage", "gamma * next_advantage", PPO),
    Mutant("gae_value_sign", "losses.py", "gamma * next_value - values[t]", "gamma * next_value + values[t]", PPO),
    Mutant("returns_without_values", "losses.py", "advantages, advantages + values", "advantages, advantages", PPO),
    Mutant("whiten_epsilon", "losses.py", "torch.sqrt(variance + 1e-8)", "torch.sqrt(variance + 1e-2)", PPO),
    Mutant("whiten_unbiased_by_default", "losses.py", "unbiased=False", "unbiased=True", ("ppo_iteration",)),
    Mutant("policy_loss_minimum", "losses.py", "torch.maximum(unclipped", "torch.minimum(unclipped", PPO),
    Mutant("clip_fraction_of_ratios_outside", "losses.py", "(clipped > unclipped).to", "(clipped != unclipped).to", PPO),
    Mutant("clip_fraction_counts_the_rest", "losses.py", "(clipped > unclipped).to", "(clipped < unclipped).to", PPO),
    Mutant("policy_clip_one_sided", "losses.py", "torch.clamp(ratio, 1.0 - clip, 1.0 + clip)", "torch.clamp(ratio, max=1.0 + clip)", PPO),
    Mutant("value_loss_minimum", "losses.py", "0.5 * torch.maximum(", "0.5 * torch.minimum(", PPO),
    Mutant("value_loss_factor", "losses.py", "0.5 * torch.maximum(", "torch.maximum(", PPO),
    Mutant("adaptive_kl_unclipped", "losses.py", "torch.clamp(kl / target - 1.0, -0.2, 0.2)", "(kl / target - 1.0)", ("ppo_functions",)),
    Mutant("ptx_coefficient_lost", "make_fixtures.py", "s[\"ptx_coefficient\"] * ptx_loss", "ptx_loss", ("ppo_iteration",)),
    Mutant("whitened_over_all_episodes", "make_fixtures.py", "losses.whiten(advantages[rows])", "losses.whiten(advantages)[rows]", ("ppo_iteration",)),
    Mutant("bpe_ties_largest_pair", "bpe.py", "key=lambda pair: (-pairs[pair], pair)",
           "key=lambda pair: (-pairs[pair], -pair[0], -pair[1])", ("bpe",)),
    Mutant("bpe_latest_merge_first", "bpe.py", "min(candidates, key=rank.__getitem__)", "max(candidates, key=rank.__getitem__)", ("bpe",)),
    Mutant("bpe_plain_byte_order", "bpe.py", "    return printable + [b for b in range(256) if b not in printable]",
           "    return list(range(256))", ("bpe",)),
]


def regenerate(folder, fixtures, mutant=None):
    """Copies the reference and the fixtures to `folder`, mutates, makes `fixtures` anew."""
    shutil.copytree(HERE, folder / "reference", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(HERE.parent / "fixtures", folder / "fixtures")
    if mutant:
        path = folder / "reference" / mutant.file
        text = path.read_text()
        assert text.count(mutant.old) == 1, f"{mutant.name}: {mutant.old!r} occurs {text.count(mutant.old)} times"
        path.write_text(text.replace(mutant.old, mutant.new))
    process = multiprocessing.get_context("fork").Process(target=make_fixtures, args=(folder, fixtures))
    process.start()
    process.join()
    assert process.exitcode == 0, f"{mutant.name if mutant else 'unchanged'}: making the fixtures failed"


def make_fixtures(folder, names):
    """Runs the reference that lies in `folder`, and none of the modules beside this file."""
    os.chdir(folder)
    sys.path[0] = str(folder / "reference")
    sys.argv = ["make_fixtures.py", "--out", "fixtures", "--only", *names]
    runpy.run_path("reference/make_fixtures.py", run_name="__main__")


def compile_tests():
    """Compiles the golden tests and returns their binary."""
    command = ["cargo", "test", "--test", "golden", "--no-run", "--message-format=json"]
    output = subprocess.run(command, cwd=HERE.parent, check=True, stdout=subprocess.PIPE, text=True).stdout
    messages = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    return next(m["executable"] for m in messages if m.get("executable") and m["target"]["name"] == "golden")


def failing_tests(binary, fixtures):
    """The names of the golden tests that fail on these fixtures."""
    environment = os.environ | {"FIXTURES_DIR": str(fixtures)}
    run = subprocess.run([binary], cwd=HERE.parent, env=environment, capture_output=True, text=True)
    lines = [line.split() for line in run.stdout.splitlines()]
    failed = [words[1] for words in lines if words[:1] == ["test"] and words[-1] == "FAILED"]
    assert bool(failed) == (run.returncode != 0), run.stdout + run.stderr
    return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--test", help="the compiled golden tests (otherwise cargo compiles them)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these mutants only")
    arguments = parser.parse_args()
    binary = arguments.test or compile_tests()
    mutants = [m for m in MUTANTS if not arguments.only or m.name in arguments.only]
    survivors = []
    for mutant in [None, *mutants]:
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            regenerate(folder, mutant.fixtures if mutant else ["ops", "bpe"], mutant)
            failed = failing_tests(binary, folder / "fixtures")
        if mutant is None:
            if failed:
                print(f"these fail on the unchanged reference, so mutants say nothing: {', '.join(failed)}")
                return 1
            print("unchanged reference: the golden tests pass", flush=True)
        else:
            print(f"{'noticed ' if failed else 'SURVIVED'} {mutant.name}: {', '.join(failed) or 'no test'}", flush=True)
            survivors += [] if failed else [mutant.name]
    print(f"{len(mutants) - len(survivors)} of {len(mutants)} mutants noticed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
