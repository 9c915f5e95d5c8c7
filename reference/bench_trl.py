"""One PPO iteration of TRL 0.19.1 (later versions have no PPOTrainer), on the cases of `instructgpt bench`:

    bench_trl.py ppo/0.8M --threads 2

64 episodes, prompts of 32 tokens, responses of 64 (no end of text, so all have their full length), 8
minibatches with an optimizer step each, 1 epoch, f32. Policy, reference, reward model and value function are
GPT-2s of one size with random weights. The first iteration is not counted; what lies between two iterations
(saving, evaluation, tables of samples) is switched off.

The same work as ours: sampling, whose log-probs are the old ones; a forward of reference, reward model and
value function each; forward, backward and AdamW of policy and value function. No pretraining gradient on
either side. What differs is cheap: TRL whitens advantages over the batch, we over each minibatch; TRL steps
one optimizer for both networks and measures the policy's entropy in each update; we keep the moving average
of the policy's weights, count repetitions, and write a line of metrics.

It needs an environment of its own, as TRL 0.19.1 does not know newer versions of `transformers`: see
`requirements-trl.txt` and `make bench-trl`. The output is that of `bench_torch.py`, with `--serve` or without.
"""

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
from types import SimpleNamespace

import torch
from transformers import GPT2ForSequenceClassification, PrinterCallback, TrainerCallback
from trl import PPOConfig, PPOTrainer

from bench_torch import SIZES, model_of

EPISODES, PROMPT, RESPONSE, MINIBATCHES = 64, 32, 64, 8


class Stopwatch(TrainerCallback):
    """Times each iteration after the first, once it is asked for; ends the training when no more are."""

    class Stopped(Exception):
        """PPOTrainer looks at no other sign."""

    def __init__(self, requests, ready, measured):
        self.requests, self.ready, self.measured = iter(requests), ready, measured
        self.start = None

    def on_step_end(self, args, state, control, **_):
        if self.start is None:
            self.ready()
        else:
            self.measured(time.perf_counter() - self.start)
        if next(self.requests, None) is None:
            raise self.Stopped
        self.start = time.perf_counter()


def scalar_model(size):
    """A GPT-2 with a scalar head: a reward model or a value function."""
    config = model_of(size).config
    config.num_labels = 1
    return GPT2ForSequenceClassification(config)


def trainer_of(size, directory, stopwatch):
    config = PPOConfig(
        output_dir=directory, use_cpu=True, bf16=False, seed=1, report_to="none", save_strategy="no",
        disable_tqdm=True, num_sample_generations=0,
        total_episodes=1_000_000 * EPISODES,  # until nobody asks for more
        # A batch is one "device batch": with `gradient_accumulation_steps` there were fewer optimizer steps.
        per_device_train_batch_size=EPISODES, gradient_accumulation_steps=1, num_mini_batches=MINIBATCHES,
        num_ppo_epochs=1, local_rollout_forward_batch_size=EPISODES, response_length=RESPONSE,
        temperature=1.0, kl_coef=0.02, learning_rate=1e-5, lr_scheduler_type="constant",
    )
    vocabulary = SIZES[size][0]
    prompts = [{"input_ids": torch.randint(vocabulary, (PROMPT,))} for _ in range(EPISODES)]
    trainer = PPOTrainer(
        args=config,
        # Of a tokenizer it reads no more than these two tokens, which no model here emits.
        processing_class=SimpleNamespace(pad_token_id=vocabulary, eos_token_id=vocabulary + 1),
        model=model_of(size), ref_model=model_of(size),
        reward_model=scalar_model(size), value_model=scalar_model(size),
        train_dataset=prompts, eval_dataset=prompts,
        data_collator=lambda batch: {"input_ids": torch.stack([prompt["input_ids"] for prompt in batch])},
        callbacks=[stopwatch],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("name", choices=["ppo/0.8M", "ppo/10.8M"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--serve", action="store_true", help="a sample for each line on standard input")
    args = parser.parse_args()
    torch.manual_seed(1)
    torch.set_num_threads(args.threads)
    out, milliseconds = sys.stdout, []

    def ready():
        if args.serve:
            print(json.dumps({"unit": "ms"}), file=out, flush=True)

    def measured(seconds):
        milliseconds.append(seconds * 1e3)
        if args.serve:
            print(milliseconds[-1], file=out, flush=True)

    stopwatch = Stopwatch(sys.stdin if args.serve else range(args.samples), ready, measured)
    with tempfile.TemporaryDirectory() as directory, contextlib.redirect_stdout(sys.stderr):
        trainer = trainer_of(args.name.removeprefix("ppo/"), directory, stopwatch)
        with contextlib.suppress(Stopwatch.Stopped):
            trainer.train()
    if not args.serve:
        median = statistics.median(milliseconds)
        print(json.dumps({"name": args.name, "threads": args.threads, "median": median, "unit": "ms"}))


if __name__ == "__main__":
    main()
