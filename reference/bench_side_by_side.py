"""Our side and PyTorch's, alternating, as a table of ratios in Markdown.

    bench_side_by_side.py [--binary target/release/instructgpt] [--only step/] [--rounds 3] [--corpus FILE]

A shared machine drifts by more than what is compared, so each case alternates: a sample of PyTorch's, a
run of ours, and again. PyTorch's process is started once for a case and waits in between without using
the processor. A ratio is the median of the rounds' ratios; above 1 we are faster.
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
)
TORCH = Path(__file__).with_name("bench_torch.py")


def ours(binary, name, threads, corpus):
    """One run of `instructgpt bench` for one case: (median, unit, share of the limit)."""
    command = [binary, "bench", "--json", "--only", name, "--threads", str(threads)]
    command += ["--corpus", corpus] if corpus else []
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    used = 1 if name.startswith("bpe/") else threads
    result = next(r for r in found["results"] if r["name"] == name and r["threads"] == used)
    return result["median"], result["unit"], result.get("of_limit")


class Torch:
    """PyTorch's side of a case: a process that gives a sample whenever asked."""

    def __init__(self, name, threads, corpus, dtype):
        command = [sys.executable, str(TORCH), name, "--threads", str(threads), "--serve", "--dtype", dtype]
        command += ["--corpus", corpus] if corpus else []
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.process = subprocess.Popen(command, **pipes)
        self.unit = json.loads(self.process.stdout.readline())["unit"]

    def sample(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--binary", default="target/release/instructgpt")
    parser.add_argument("--only", default="", help="only cases whose names begin so")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32", help="PyTorch's number format")
    parser.add_argument("--corpus", help="text for the BPE cases; without it they are left out")
    args = parser.parse_args()
    chosen = [case for case in CASES if case.startswith(args.only)]
    if args.corpus is None:
        chosen = [case for case in chosen if not case.startswith("bpe/")]
    print(f"| case | unit | instructgpt | of the limit | PyTorch {args.dtype} | times as fast |")
    print("|---|---|---|---|---|---|")
    for name in chosen:
        torch = Torch(name, args.threads, args.corpus, args.dtype)
        rounds = []
        for _ in range(args.rounds):
            theirs = statistics.median(torch.sample() for _ in range(3))
            rounds.append((theirs, *ours(args.binary, name, args.threads, args.corpus)))
        torch.close()
        unit, share = rounds[0][2], rounds[0][3]
        assert unit == torch.unit, f"{name}: {unit} against {torch.unit}"
        less_is_better = unit == "ms"
        ratio = statistics.median(r[0] / r[1] if less_is_better else r[1] / r[0] for r in rounds)
        we, they = (statistics.median(r[i] for r in rounds) for i in (1, 0))
        share = "" if share is None else f"{100 * statistics.median(r[3] for r in rounds):.0f} %"
        print(f"| {name} | {unit} | {we:.4g} | {share} | {they:.4g} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
