"""Can the tests of the CUDA kernels fail? Each mutant is a kernel with one error put in by hand: a missing barrier, a wrong
mask, an order, a bound. The test driver compiles it in the kernels' place; nothing else is built again.

    python3 tests/mutants_cuda.py [NAME ...]

Printed is what noticed each: the first operation that differed, or the driver's word for a rule that was broken. The exit
code is 1 if a mutant survives, 2 if a place is not found. It needs Python, cargo and a C++ compiler; some ten seconds for
each mutant.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
ROOM = ROOT / "src" / "engine" / "cuda"

# Name, file, what stands there once, what is put in its place.
MUTANTS = [
    ("exp_unclamped", "math", "clamped < -104.0f ? -104.0f : clamped", "clamped"),
    ("exp_scale_at_once", "math", "power_of_two(half) * power_of_two(n - half)", "power_of_two(n)"),
    ("ln_low_part", "math", "whole * LN_2_LOW", "0.0f"),
    ("tree_order", "math", "lane = lane + __shfl_xor_sync(mask, lane, 8);\n", ""),
    ("max_is_the_least", "math", "return b > a ? b : a; }", "return b < a ? b : a; }"),
    ("bf16_ties", "bf16", "0x7fffu + (bits >> 16 & 1u)", "0x8000u"),
    ("bf16_even_first", "bf16", "fma_ftz(a_even, b_even, fma_ftz(a_odd, b_odd, acc))", "fma_ftz(a_odd, b_odd, fma_ftz(a_even, b_even, acc))"),
    ("product_unfused", "gemm", "acc[i][j] = __fmaf_rn(x[i], y[j], acc[i][j]);", "acc[i][j] = x[i] * y[j] + acc[i][j];"),
    ("product_padded", "gemm", "for (int q = 0; q < depth; q++) step(half, q);", "for (int q = 0; q < DEPTH; q++) step(half, q);"),
    ("product_first_barrier", "gemm", "if (more) store(0);\n    __syncthreads();", "if (more) store(0);"),
    ("product_last_barrier", "gemm", "if (more) store(half ^ 1);\n        __syncthreads();", "if (more) store(half ^ 1);"),
    ("product_run_goes_on", "gemm", "p = (int)(runs[run] - runs[0]), end", "end"),
    ("product_without_bias", "gemm", "init == BIAS ? bias[column] :", "init == BIAS ? 0.0f :"),
    ("product_pairs_padded", "gemm", "if (q < depth) step_of_pair(half, q);", "step_of_pair(half, q);"),
    ("embedding_position", "embedding", "wpe[(i64)positions[row] * c + column]", "wpe[(i64)row * c + column]"),
    ("embedding_overwrites", "embedding", "float sum = table[(i64)ids[entry] * c + i];", "float sum = 0.0f;"),
    ("norm_sample_variance", "layer_norm", "halving_sum(squares) / (float)c", "halving_sum(squares) / (float)(c - 1)"),
    ("norm_overwrites", "layer_norm", "__fmaf_rn(-x_hat, mean_gx, g - mean_g), dx[i])", "__fmaf_rn(-x_hat, mean_gx, g - mean_g), 0.0f)"),
    ("norm_unfused", "layer_norm", "sum_gx = __fmaf_rn(g, (x[i] - mean) * r, sum_gx);", "sum_gx = sum_gx + g * ((x[i] - mean) * r);"),
    ("bias_overwrites", "linear", "float sum = dbias[o];", "float sum = 0.0f;"),
    ("attention_sees_the_next", "attention", "key <= t && key >= first_seen(t, window);\n    };\n\n    // 1.", "key <= t + 1 && key >= first_seen(t, window);\n    };\n\n    // 1."),
    ("attention_band", "attention", "return t + 1 > window ? t + 1 - window : 0;", "return t > window ? t - window : 0;"),
    ("attention_barrier", "attention", "int depth = hs - d0 < SLICE ? hs - d0 : SLICE;\n        __syncthreads();", "int depth = hs - d0 < SLICE ? hs - d0 : SLICE;"),
    ("attention_mask_by_zero", "attention", "[&](int i, int r) { return sees(i, s0 + r); });", "[&](int i, int r) { return p_tile[4 * ty + i][r] *= sees(i, s0 + r), true; });"),
    ("max_of_half_the_lanes", "math", "for (int l = 0; l < LANES; l++) max", "for (int l = 0; l < LANES / 2; l++) max"),
    ("attention_delta_tail", "attention", "d < (hs / LANES + 1) * LANES", "d < hs / LANES * LANES"),
    ("attention_weights_barrier", "attention", "value_gradient, weights, dout + query_row * hs, queries, hs, tile.column, a_slice, takes);\n        __syncthreads();", "value_gradient, weights, dout + query_row * hs, queries, hs, tile.column, a_slice, takes);"),
    ("attention_late_readers", "attention", "tile.first + tile.rows - 1 + window, end", "tile.first + window, end"),
    ("heads_swapped", "attention", "(first * head_count + head * length + (row - first)) * hs", "(first * head_count + (row - first) * head_count + head) * hs"),
    ("decode_held", "attention", "// These are no scores any more.\n            in_memory = -1;", "in_memory = s0;"),
    ("decode_slot", "attention", "keys[own + (i64)d * capacity + positions[row]]", "keys[own + (i64)positions[row] * hs + d]"),
    ("gelu_slope", "gelu", "3.0f * CUBIC * x", "2.0f * CUBIC * x"),
    ("dropout_rounds", "dropout", "for (int round = 0; round < 4; round++)", "for (int round = 0; round < 6; round++)"),
    ("dropout_high_word", "dropout", "numbers[2 * row + 1]}", "0u}"),
    ("dropout_unscaled", "dropout", "0.0f : kept * scale", "0.0f : kept"),
    ("dropout_site", "dropout", "(u64)positions[row] | (u64)site << 32", "(u64)positions[row]"),
    ("scatter_once", "log_prob", "for (i64 same = t; same < targets && rows[same] == rows[t]; same++) sum = sum + part[same * c + i];", "sum = sum + part[t * c + i];"),
    ("entropy_unfused", "log_prob", "weighted = __fmaf_rn(e, e > 0.0f ? shifted : 0.0f, weighted);", "weighted = weighted + e * (e > 0.0f ? shifted : 0.0f);"),
    ("slope_without_temperature", "log_prob", "slopes[t] / temperature;", "slopes[t];"),
    ("draw_at_the_threshold", "log_prob", "passed = cumulative > threshold;", "passed = cumulative >= 2.0 * threshold;"),
    ("draw_in_f32", "log_prob", "double total = 0.0, cumulative = 0.0;", "float total = 0.0f, cumulative = 0.0f;"),
    ("greedy_last", "log_prob", "(other == best && where < at)", "(other == best && where > at)"),
    ("head_unfused", "scalar_head", "sum = __fmaf_rn(hidden[i], w[i], sum);", "sum = sum + hidden[i] * w[i];"),
    ("head_twice", "scalar_head", "if (t >= targets || (t > 0 && rows[t - 1] == rows[t])) return;", "if (t >= targets) return;"),
    ("adam_order", "adamw", "rest2 * g * g", "rest2 * (g * g)"),
    ("adam_rate_zero", "adamw", "p = rate == 0.0f ? p : moved;", "p = moved;"),
    ("norm_tail", "gradient_norm", "i < (length / LANES + 1) * LANES", "i < length / LANES * LANES"),
    ("finite_first", "gradient_norm", "if (first == CHUNK && ", "if ("),
]


def unit(file=None, old="", new=""):
    """The kernels as one source, with a change in one file."""
    parts = []
    for name in re.findall(r'include_str!\("(\w+)\.cu"\)', (ROOM / "mod.rs").read_text()):
        text = (ROOM / f"{name}.cu").read_text()
        if name == file:
            if text.count(old) != 1:
                print(f"{file}.cu: {text.count(old)} times: {old}")
                sys.exit(2)
            text = text.replace(old, new)
        parts.append(f'#line 1 "{name}.cu"\n{text}')
    return "".join(parts)


def binary():
    command = ["cargo", "test", "--no-default-features", "--features", "cuda", "--test", "cuda", "--no-run"]
    built = subprocess.run([*command, "--message-format=json"], cwd=ROOT, capture_output=True, text=True, check=True)
    messages = [json.loads(line) for line in built.stdout.splitlines() if line.startswith("{")]
    return [m["executable"] for m in messages if m.get("executable")][-1]


def noticed(executable, source, order):
    """What a run of the tests says of a source; nothing if it likes it."""
    environment = {**os.environ, "CUDA_TEST_DRIVER": "1", "CUDA_TEST_SOURCE": str(source), "CUDA_TEST_ORDER": order}
    # A launch that fails is said at once; a mutant may also never end.
    for test in ["every_operation", "large_shapes"]:
        try:
            run = subprocess.run([executable, test], env=environment, capture_output=True, text=True, timeout=180)
        except subprocess.TimeoutExpired:
            return "it never ends"
        if run.returncode != 0:
            # The operation whose bits differ, or the driver's word.
            said = re.search(r"\w+: [\w ]+, number \d+ is \S+ instead of \S+;|could not .*|.*(barrier|shuffle|cuda).*", run.stdout + run.stderr)
            return said.group(0).strip()[:110] if said else "a test failed"
    return ""


def main():
    chosen = [m for m in MUTANTS if not sys.argv[1:] or m[0] in sys.argv[1:]]
    executable, folder = binary(), ROOT / "target" / "mutants_cuda"
    folder.mkdir(parents=True, exist_ok=True)
    source, started, survivors = folder / "unit.cu", time.time(), []
    for name, file, old, new in chosen:
        source.write_text(unit(file, old, new))
        word = noticed(executable, source, "forward")
        if not word and (word := noticed(executable, source, "backward")):
            word += " (threads run backward)"
        if not word:
            survivors.append(name)
        print(f"{name:28} {word or 'SURVIVES'}", flush=True)
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} noticed in {time.time() - started:.0f} s")
    sys.exit(1 if survivors else 0)


main()
