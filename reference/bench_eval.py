"""How fast is `instructgpt evaluate` beside lm-evaluation-harness?

    python reference/random_gpt2.py --bpe GPT2_FILES --out MODEL --size 124M
    python reference/bench_eval.py --model MODEL --lambada FILE

Each side is a process of its own, from its start to its end, on the same model directory and the same file; the two take
turns. A ratio is the median of the rounds' ratios; above 1 ours is faster, or takes less of the processor's time, which
says more where others use the machine, too. Theirs runs with each of the batch sizes, and
without drawing standard errors, which takes it longer than the model does.

LAMBADA's file is OpenAI's, or llm-foundry's. A file in HellaSwag's format is made of it: the beginnings of passages, and
endings of about twenty words that are cut from others.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NAMES = {"hellaswag": "hellaswag", "lambada": "lambada_openai"}


def passages(path):
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    return [r["text"] if "text" in r else f"{r['context']} {r['continuation']}" for r in records]


def hellaswag(texts):
    """Documents in its format: two thirds of fifty words or so, then twenty of this passage or of three others."""
    words = [text.split() for text in texts]
    ending = lambda i: " ".join(words[i % len(words)][-20:])
    return [
        {"activity_label": "Reading", "ctx_a": " ".join(own[:-20][-45:]), "ctx_b": "",
         "endings": [ending(i + 7 * k) for k in range(4)], "label": "0"}
        for i, own in enumerate(words)
    ]


def run_theirs(a):
    """A process of theirs."""
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    import datasets
    import lm_eval.api.task
    import torch
    from lm_eval import simple_evaluate

    torch.set_num_threads(a.threads)
    data = datasets.Dataset.from_list([json.loads(line) for line in a.file.read_text(encoding="utf-8").splitlines()])
    splits = datasets.DatasetDict({split: data for split in ("train", "validation", "test")})
    lm_eval.api.task.datasets.load_dataset = lambda *_, **__: splits
    arguments = {"pretrained": a.model, "dtype": "float32"}
    found = simple_evaluate(model="hf", model_args=arguments, tasks=[NAMES[a.theirs]], device="cpu",
                            batch_size=a.batch_size[0], bootstrap_iters=0)
    print(json.dumps(found["results"]))


def seconds(command):
    """From its start to its end, and of the processor."""
    usage = lambda: sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    start, before = time.perf_counter(), usage()
    run = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if run.returncode != 0:
        raise SystemExit(f"{' '.join(run.args)}: exit code {run.returncode}\n{run.stderr[-2000:]}")
    return time.perf_counter() - start, usage() - before


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--lambada", type=Path, help="lambada_openai.jsonl")
    parser.add_argument("--documents", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch-size", type=int, nargs="+", default=[1, 8], help="theirs")
    parser.add_argument("--task", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--binary", default="target/release/instructgpt")
    parser.add_argument("--theirs", choices=NAMES, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.theirs:
        return run_theirs(a)
    texts = passages(a.lambada)[:a.documents]
    documents = {"hellaswag": hellaswag(texts), "lambada": [{"text": text} for text in texts]}
    print("| task | instructgpt | lm-eval | its batch size | times as fast | by processor time |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for task in a.task:
            file = Path(folder) / f"{task}.jsonl"
            file.write_text("".join(json.dumps(d) + "\n" for d in documents[task]), encoding="utf-8")
            for size in a.batch_size:
                rounds = []
                for number in range(a.rounds):
                    theirs = seconds([sys.executable, __file__, "--theirs", task, "--file", file, "--model", a.model,
                                      "--threads", a.threads, "--batch-size", size])
                    out = Path(folder) / f"{task}-{size}-{number}"
                    ours = seconds([a.binary, "evaluate", "--model", a.model, "--task", task, "--data", file, "--out", out,
                                    "--threads", a.threads])
                    rounds.append((ours, theirs))
                we, they = (statistics.median(r[i][0] for r in rounds) for i in (0, 1))
                ratios = [statistics.median(theirs[i] / ours[i] for ours, theirs in rounds) for i in (0, 1)]
                print(f"| {task} | {we:.1f} s | {they:.1f} s | {size} | {ratios[0]:.2f} | {ratios[1]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
