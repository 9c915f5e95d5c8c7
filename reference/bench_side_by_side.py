"""Our side and others', alternating, as a table of ratios in Markdown.

    bench_side_by_side.py [--against torch gemm] [--only step/] [--rounds 3] [--corpus FILE]
                          [--precision bf16] [--dtype bf16] [--device cuda] [--compile]

| --against | what it is | needs |
|---|---|---|
| torch | PyTorch, Transformers, tokenizers | `requirements.txt` |
| gemm | the `gemm` crate | `bench_gemm`, built |
| trl | TRL's PPO | `requirements-trl.txt`; older versions, so an environment of its own |

A shared machine drifts by more than what is compared, so each case alternates: a sample of the other side's,
a run of ours, and again. The other side's process is started once for a case and waits in between without
using the processor. A ratio is the median of the rounds' ratios; above 1 we are faster (of memory/: hold less).
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from bench_torch import GENERATIONS, STEPS

SHAPES = ["1024x1024x1024", "512x3072x768", "512x768x3072", "1024x256x256", "256x50257x768"]
CASES = (
    [f"gemm/{form}/{shape}" for shape in SHAPES for form in ("nn", "nt", "tn")]
    + [f"step/{name}" for name in STEPS]
    + [f"generate/{name}" for name in GENERATIONS]
    + ["bpe/train", "bpe/encode"]
    + ["memory/124M-T64"]
    + ["ppo/0.8M", "ppo/10.8M"]
)
# By a case's kind: who else measures it, and under which name.
OTHERS = {
    "gemm": {"torch": "PyTorch", "gemm": "gemm crate"},
    "step": {"torch": "PyTorch"},
    "generate": {"torch": "Transformers"},
    "bpe": {"torch": "tokenizers"},
    "memory": {"torch": "PyTorch"},
    "ppo": {"trl": "TRL"},
}
# On a GPU, against PyTorch alone; its PPO is the loop of `bench_torch.py`.
ON_GPU = [
    "step/10.8M-B64", "step/124M-T1024-B8", "step/124M-T1024-B32", "generate/10.8M-B64", "generate/124M-B64",
    "ppo/10.8M", "ppo/124M",
]
OTHERS_ON_GPU = {"step": {"torch": "PyTorch"}, "generate": {"torch": "Transformers"}, "ppo": {"torch": "PyTorch"}}


def kind(name):
    return name.split("/")[0]


def ours(name, args):
    """One run of `instructgpt bench` for one case: (median, unit, share of the limit)."""
    command = [args.binary, "bench", "--json", "--only", name, "--threads", str(args.threads)]
    command += ["--precision", args.precision, "--device", args.device]
    command += ["--corpus", args.corpus] if args.corpus else []
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    used = 1 if kind(name) == "bpe" else args.threads
    result = next(r for r in found["results"] if r["name"] == name and r["threads"] == used)
    return result["median"], result["unit"], result.get("of_limit")


def command_of(other, name, args):
    """What starts the other side of a case."""
    if other == "gemm":
        return [args.bench_gemm, name, str(args.threads)]
    script = Path(__file__).with_name(f"bench_{other}.py")
    command = [sys.executable, str(script), name, "--threads", str(args.threads), "--serve"]
    if other == "torch":
        command += ["--dtype", args.dtype, "--device", args.device]
        command += ["--compile"] if args.compile and kind(name) == "step" else []
        command += ["--corpus", args.corpus] if args.corpus else []
    return command


class Other:
    """The other side of a case: a process that gives a sample whenever asked."""

    def __init__(self, command):
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            self.process = subprocess.Popen(command, **pipes)
        except FileNotFoundError:
            raise SystemExit(f"{command[0]} is missing: `make bench` builds it") from None
        self.unit = json.loads(self.answer())["unit"]

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{' '.join(self.process.args)}: exit code {self.process.wait()}")
        return line

    def sample(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self.answer())

    def close(self):
        self.process.stdin.close()
        if self.process.wait() != 0:
            raise SystemExit(f"{' '.join(self.process.args)}: exit code {self.process.returncode}")


def compare(name, other, args):
    """A row of the table: a case, and one other side."""
    theirs, rounds = Other(command_of(other, name, args)), []
    for _ in range(args.rounds):
        sample = statistics.median(theirs.sample() for _ in range(3))
        rounds.append((sample, *ours(name, args)))
    theirs.close()
    unit, share = rounds[0][2], rounds[0][3]
    assert unit == theirs.unit, f"{name}: {unit} against {theirs.unit}"
    less_is_better = unit in ("ms", "MiB")
    ratio = statistics.median(r[0] / r[1] if less_is_better else r[1] / r[0] for r in rounds)
    we, they = (statistics.median(r[i] for r in rounds) for i in (1, 0))
    share = "" if share is None else f"{100 * statistics.median(r[3] for r in rounds):.0f} %"
    shown = (OTHERS_ON_GPU if args.device == "cuda" else OTHERS)[kind(name)][other]
    if other == "torch" and kind(name) != "bpe":
        shown += f" {args.dtype}" + (", compiled" if args.compile and kind(name) == "step" else "")
    return f"| {name} | {unit} | {we:.4g} | {share} | {shown} | {they:.4g} | {ratio:.2f} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--against", nargs="+", choices=["torch", "gemm", "trl"], default=["torch", "gemm"])
    parser.add_argument("--binary", default="target/release/instructgpt")
    parser.add_argument("--bench-gemm", default="target/bench_gemm/release/bench_gemm")
    parser.add_argument("--only", default="", help="only cases whose names begin so")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=["f32", "bf16", "tf32", "bf16-fast"], default="f32", help="ours")
    parser.add_argument("--dtype", choices=["f32", "tf32", "bf16"], default="f32", help="PyTorch's number format")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--compile", action="store_true", help="torch.compile PyTorch's training steps")
    parser.add_argument("--corpus", help="text for the BPE cases; without it they are left out")
    args = parser.parse_args()
    cases, others = (ON_GPU, OTHERS_ON_GPU) if args.device == "cuda" else (CASES, OTHERS)
    pairs = [
        (name, other)
        for name in cases
        if name.startswith(args.only) and (args.corpus or kind(name) != "bpe")
        for other in args.against
        if other in others[kind(name)]
    ]
    if not pairs:
        parser.error(f"--only {args.only}: no such case against {' or '.join(args.against)}")
    print("| case | unit | instructgpt | of the limit | against | theirs | times as fast |")
    print("|---|---|---|---|---|---|---|")
    for name, other in pairs:
        print(compare(name, other, args), flush=True)


if __name__ == "__main__":
    main()
