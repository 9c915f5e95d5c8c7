"""Our side and the others', in turns, as a table of ratios in Markdown.

    bench_side_by_side.py [--against compile llama] [--only step/] [--rounds 3] [--corpus FILE]
                          [--precision bf16] [--dtype bf16] [--device cuda]

| --against | what it is | needs |
|---|---|---|
| compile | PyTorch, its training steps by torch.compile | `requirements.txt`, a C++ compiler |
| torch | PyTorch eager, Transformers, tokenizers | `requirements.txt` |
| gemm | the `gemm` crate | `bench_gemm`, built |
| ctranslate2 | CTranslate2 | `requirements-bench.txt` |
| llama | llama.cpp | `bench_llama/build.sh`, which needs a C++ compiler |
| trl | TRL's PPO | `requirements-trl.txt`; older versions, so an environment of its own |

A shared machine drifts by more than what is compared, so each case goes round: a sample of each other side, a run of ours,
and again. The others' processes are started once for a case and wait in between without using the processor. A ratio is
the median of the rounds' ratios; above 1 we are faster (of memory/: hold less). The strongest rival of a case is the one
against which the ratio is least. What is missing is left out, and named after the table.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench_torch import GENERATIONS, STEPS

# On a GPU, against PyTorch alone; its PPO is the loop of `bench_torch.py`.
ON_GPU = [
    "step/10.8M-B64", "step/124M-T1024-B8", "step/124M-T1024-B32", "generate/10.8M-B64", "generate/124M-B64",
    "ppo/10.8M", "ppo/124M",
]
SHAPES = ["1024x1024x1024", "512x3072x768", "512x768x3072", "1024x256x256", "256x50257x768"]
CASES = (
    [f"gemm/{form}/{shape}" for shape in SHAPES for form in ("nn", "nt", "tn")]
    + [name for name in (f"step/{name}" for name in STEPS) if name not in ON_GPU]
    + [name for name in (f"generate/{name}" for name in GENERATIONS) if name not in ON_GPU]
    + ["bpe/train", "bpe/encode"]
    + ["memory/124M-T64"]
    + ["ppo/0.8M", "ppo/10.8M"]
)
# By a case's kind: who else measures it, and under which name.
OTHERS = {
    "gemm": {"torch": "PyTorch", "gemm": "gemm crate"},
    "step": {"compile": "torch.compile", "torch": "PyTorch eager"},
    "generate": {"ctranslate2": "CTranslate2", "llama": "llama.cpp", "torch": "Transformers"},
    "bpe": {"torch": "tokenizers"},
    "memory": {"torch": "PyTorch eager"},
    "ppo": {"trl": "TRL 0.19.1"},
}
OTHERS_ON_GPU = {
    "step": {"compile": "torch.compile", "torch": "PyTorch eager"},
    "generate": {"torch": "Transformers"},
    "ppo": {"torch": "PyTorch eager"},
}
# A rival's sample is the median of three, if they do not take longer than this: seconds.
ENOUGH = 8.0


class Absent(Exception):
    """A rival that this machine does not have."""


def kind(name):
    return name.split("/")[0]


def begins(name, only):
    """As `instructgpt bench --only` reads it: a number at the end is a whole one, `B1` is not `B16`."""
    rest = name[len(only):]
    return name.startswith(only) and not (only[-1:].isdigit() and rest[:1].isdigit())


def ours(name, threads, args):
    """One run of `instructgpt bench` for one case: (median, unit, share of the limit)."""
    command = [args.binary, "bench", "--json", "--only", name, "--threads", str(threads)]
    command += ["--precision", args.precision, "--device", args.device]
    command += ["--corpus", args.corpus] if args.corpus else []
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    # What has no threads is measured on one.
    of = {r["threads"]: r for r in found["results"] if r["name"] == name}
    result = of.get(threads, of.get(1))
    return result["median"], result["unit"], result.get("of_limit")


def command_of(other, name, threads, args):
    """What starts another side of a case."""
    if other == "gemm":
        return [args.bench_gemm, name, str(threads)]
    script = {"compile": "torch"}.get(other, other)
    command = [sys.executable, str(Path(__file__).with_name(f"bench_{script}.py")), name, "--threads", str(threads), "--serve"]
    if script == "torch":
        command += ["--dtype", args.dtype, "--device", args.device]
        command += ["--compile"] if other == "compile" else []
        command += ["--corpus", args.corpus] if args.corpus else []
    return command


class Other:
    """Another side of a case: a process that gives a sample whenever asked."""

    def __init__(self, other, name, threads, args):
        self.shown = (OTHERS_ON_GPU if args.device == "cuda" else OTHERS)[kind(name)][other]
        if other in ("compile", "torch") and args.dtype != "f32":
            self.shown += f" {args.dtype}"
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        command = command_of(other, name, threads, args)
        try:
            self.process = subprocess.Popen(command, **pipes)
        except FileNotFoundError:
            raise Absent(f"{self.shown}: {command[0]} was not built") from None
        ready = json.loads(self.answer())
        if "absent" in ready:
            raise Absent(f"{self.shown}: {ready['absent']}")
        self.unit = ready["unit"]
        if "prepared_s" in ready:
            self.shown += f" ({ready['prepared_s']:.0f} s to compile)"

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{' '.join(self.process.args)}: exit code {self.process.wait()}")
        return line

    def sample(self):
        start, samples = time.perf_counter(), []
        while len(samples) < 3 and time.perf_counter() - start < ENOUGH:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
            samples.append(float(self.answer()))
        return statistics.median(samples)

    def close(self):
        self.process.stdin.close()
        if self.process.wait() != 0:
            raise SystemExit(f"{' '.join(self.process.args)}: exit code {self.process.returncode}")


def compare(name, threads, wanted, absent, args):
    """A row of the table; None if nobody else measures this case."""
    others = []
    for other in wanted:
        try:
            others.append(Other(other, name, threads, args))
        except Absent as why:
            absent.setdefault(str(why))
    if not others:
        return None
    rounds = [([other.sample() for other in others], *ours(name, threads, args)) for _ in range(args.rounds)]
    unit = rounds[0][2]
    less_is_better = unit in ("ms", "MiB")
    against = []
    for i, other in enumerate(others):
        other.close()
        assert unit == other.unit, f"{name}: {unit} against {other.unit}"
        ratios = [r[0][i] / r[1] if less_is_better else r[1] / r[0][i] for r in rounds]
        against.append((statistics.median(ratios), statistics.median(r[0][i] for r in rounds), other.shown))
    (ratio, theirs, strongest), *rest = sorted(against)
    we = statistics.median(r[1] for r in rounds)
    shares = [r[3] for r in rounds]
    share = "" if None in shares else f"{100 * statistics.median(shares):.0f} %"
    shown = name + (f", {threads} thread{'s' * (threads > 1)}" if kind(name) == "bpe" else "")
    rest = ", ".join(f"{other} {ratio:.2f}" for ratio, _, other in rest)
    return f"| {shown} | {unit} | {we:.4g} | {share} | {strongest} | {theirs:.4g} | **{ratio:.2f}** | {rest} |"


def main():
    every = list(dict.fromkeys(other for others in OTHERS.values() for other in others))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--against", nargs="+", choices=every, default=[other for other in every if other != "trl"])
    parser.add_argument("--binary", default="target/release/instructgpt")
    parser.add_argument("--bench-gemm", default="target/bench_gemm/release/bench_gemm")
    parser.add_argument("--only", nargs="+", default=[""], help="only cases whose names begin so")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=["f32", "bf16", "tf32", "bf16-fast"], default="f32", help="ours")
    parser.add_argument("--dtype", choices=["f32", "tf32", "bf16"], default="f32", help="PyTorch's number format")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--corpus", help="text for the BPE cases; without it they are left out")
    args = parser.parse_args()
    cases, others = (ON_GPU, OTHERS_ON_GPU) if args.device == "cuda" else (CASES, OTHERS)
    rows = [
        (name, threads, wanted)
        for name in cases
        if any(begins(name, only) for only in args.only) and (args.corpus or kind(name) != "bpe")
        if (wanted := [other for other in others[kind(name)] if other in args.against])
        for threads in (sorted({1, args.threads}) if kind(name) == "bpe" else [args.threads])
    ]
    if not rows:
        parser.error(f"--only {' '.join(args.only)}: no such case against {' or '.join(args.against)}")
    print("| case | unit | instructgpt | of the limit | strongest rival | theirs | times as fast | and as |")
    print("|---|---|---|---|---|---|---|---|")
    absent = {}
    for row in rows:
        if line := compare(*row, absent, args):
            print(line, flush=True)
    for why in absent:
        print(f"\nLeft out: {why}.")


if __name__ == "__main__":
    main()
