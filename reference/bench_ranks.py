"""What do ranks cost, and what do they gain?

    cargo build --release --features mpi
    python reference/bench_ranks.py                                                   on this machine
    RATE=1gbit sh tests/two_hosts.sh python3 reference/bench_ranks.py --cable 1       over a cable of 1 Gbit/s

The same steps of pretraining are made by one process of one thread and of two, by one rank under a launcher, and by two ranks
of one thread each, which talk through shared memory or TCP. They take turns. `stage` is what the run's timings.jsonl says,
`process` goes from its start to its end, launcher included, and `processor` is what the processor gave to it meanwhile, which
says more where others use the machine, too; they are medians of the rounds, in seconds. A ratio is the median of the
rounds' ratios of the stage's seconds, and one by the processor's.

Beside the two ranks stands what simulate_ranks.py says of them, with half the speed of the two threads for each rank. With
--cable the ranks are on two hosts, and no other case of ranks is measured; what went over the cable is counted, too.
"""

import argparse
import json
import math
import os
import resource
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from simulate_ranks import Model, Setup, Step, bytes_sent

# Name: the shape with the smallest vocabulary that a tokenizer of ours has, heads, sequences of a step, steps.
SIZES = {
    "0.8M": (Model(257, 128, 128, 4), 4, 16, 60),
    "10.8M": (Model(257, 256, 384, 6), 6, 16, 4),
}

CONFIG = """
seed = 1
checkpoint_every = 0
micro_batch_tokens = {micro_batch}
[model]
context = {context}
width = {width}
layers = {layers}
heads = {heads}
[tokenizer]
vocab_size = {vocab}
[data]
world = true
[world]
documents = 400
[pretrain]
steps = {steps}
batch = {batch}
eval_every = 0
eval_tokens = 1
"""

# As root, and where ranks share cores, Open MPI wants to be told.
ENVIRONMENT = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "OMPI_MCA_mpi_yield_when_idle": "1",
}
# One thread in each rank computes and another one moves messages; bound to a core, as two ranks are if nothing is said,
# they would share it.
UNBOUND = ["--bind-to", "none"]
OVER_THE_CABLE = "2 ranks over the cable"


def cases(a):
    """Name: what starts the program, threads of each process, the case that it is compared with."""
    ranks = lambda n, *more: [a.mpirun, "-n", str(n), *UNBOUND, *more]
    alone = {"one process, 1 thread": ([], 1, None), "one process, 2 threads": ([], 2, "one process, 1 thread")}
    if a.cable:
        return {**alone, OVER_THE_CABLE: (ranks(2), 1, "one process, 2 threads")}
    return {
        **alone,
        "1 rank": (ranks(1), 1, "one process, 1 thread"),
        "2 ranks, shared memory": (ranks(2, "--mca", "btl", "self,vader"), 1, "one process, 2 threads"),
        "2 ranks, TCP": (ranks(2, "--mca", "btl", "self,tcp"), 1, "one process, 2 threads"),
    }


def over_the_cable():
    """Bytes that this host has sent and received so far; none without a cable."""
    counters = [Path(f"/sys/class/net/cable/statistics/{way}_bytes") for way in ("tx", "rx")]
    return [int(counter.read_text()) if counter.exists() else 0 for counter in counters]


def run(a, launcher, threads, config, out):
    """Seconds of the stage, of the process, and of the processor on this host; bytes sent and received."""
    usage = lambda: sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    command = [*launcher, a.binary.resolve(), "run", config, "--out", out, "--threads", threads, "--stage", "pretrain"]
    start, before, bytes_before = time.perf_counter(), usage(), over_the_cable()
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, env={**os.environ, **ENVIRONMENT})
    process, processor = time.perf_counter() - start, usage() - before
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(done.args)}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    timing = json.loads((out / "timings.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    sent, received = (after - before for after, before in zip(over_the_cable(), bytes_before))
    return timing["seconds"], process, processor, sent, received


def measure(a, size, folder):
    model, heads, batch, steps = SIZES[size]
    tokens, steps = batch * model.context, a.steps or steps
    config = folder / f"{size}.toml"
    config.write_text(CONFIG.format(context=model.context, width=model.width, layers=model.layers, heads=heads,
                                    vocab=model.vocab, steps=steps, batch=batch, micro_batch=a.micro_batch))
    found = {name: [] for name in cases(a)}
    models = set()
    for number in range(a.rounds):
        # Each round begins with another case.
        order = list(cases(a).items())
        order = order[number % len(order):] + order[: number % len(order)]
        for name, (launcher, threads, _) in order:
            out = folder / f"{size}-{number}-{len(found[name])}-{order.index((name, cases(a)[name]))}"
            found[name].append(run(a, launcher, threads, config, out))
            models.add((out / "pretrain/model.safetensors").read_bytes())
    assert len(models) == 1, f"{size}: the cases made different models"

    middle = lambda name, of: statistics.median(sample[of] for sample in found[name])
    step = lambda name: middle(name, 0) / steps
    print(f"\n{size}: {steps} steps of {tokens} tokens, {a.rounds} rounds, load average {os.getloadavg()[0]:.0f}\n")
    print("| case | stage | process | processor | compared with | ratio (least to most) | by processor |")
    print("|---|---|---|---|---|---|---|")
    for name, (_, _, other) in cases(a).items():
        ratio = "| | |"
        if other:
            ratios = [sorted(mine[of] / theirs[of] for mine, theirs in zip(found[name], found[other])) for of in (0, 2)]
            ratio, by_processor = (f"{statistics.median(all):.3f} ({all[0]:.2f} to {all[-1]:.2f})" for all in ratios)
            ratio = f"| {other} | {ratio} | {by_processor} |"
        print(f"| {name} | {middle(name, 0):.2f} | {middle(name, 1):.2f} | {middle(name, 2):.2f} {ratio}", flush=True)

    # Half of what two threads do together: two ranks share the machine in the same way.
    flops = model.flops(tokens) / step("one process, 2 threads") / 2
    line, latency = (0.95 * a.cable * 1e9 / 8, 100e-6) if a.cable else (math.inf, 30e-6)
    setup = Setup(flops, a.memory, line, latency, a.micro_batch, head="chunks")
    simulated = Step(model, tokens, 2, setup)
    print(f"\n{flops / 1e9:.1f} GFLOP/s for each of two. A step on two ranks is simulated to take {simulated.seconds:.3f} s, "
          f"and to send {sum(simulated.sent) / 1e6:.1f} MB.")
    for name in found:
        if name.startswith("2 ranks"):
            print(f"{name}: {step(name):.3f} s, {100 * (step(name) / simulated.seconds - 1):+.0f} %.")
        if name == OVER_THE_CABLE:
            for way, at, theirs in (("sent", 3, 0), ("received", 4, 1)):
                formula, counted = bytes_sent(model, tokens, 2, setup)[theirs], middle(name, at) / steps
                print(f"The first rank {way} {counted / 1e6:.2f} MB a step, headers, launcher and beginning included; by the "
                      f"formula it is {formula / 1e6:.2f} MB, if the text has all tokens.")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, default="target/release/instructgpt", help="built with --features mpi")
    parser.add_argument("--mpirun", default="mpirun.openmpi", help="Open MPI's")
    parser.add_argument("--size", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--micro-batch", type=int, default=8192, help="micro_batch_tokens")
    parser.add_argument("--memory", type=float, default=10e9, help="bytes a second of a rank, for the simulation")
    parser.add_argument("--cable", type=float, help="Gbit/s between the two hosts of tests/two_hosts.sh")
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for size in a.size:
            measure(a, size, Path(folder))


if __name__ == "__main__":
    main()
