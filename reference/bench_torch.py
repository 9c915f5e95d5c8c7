"""PyTorch, eager and compiled, `transformers` and `tokenizers`, measured.

The cases, their names and their units are those of `instructgpt bench`:

    bench_torch.py gemm/nn/1024x1024x1024 --threads 2
    bench_torch.py step/10.8M --threads 2 [--dtype bf16] [--compile] [--device cuda]

prints one JSON object, `{"name", "threads", "median", "unit"}`. It can also be kept running: with `--serve` it says
`{"unit"}` when all is ready, and then answers each line of its input with a sample, which is how
`bench_side_by_side.py` alternates the sides.

Eager is what a user would otherwise run, with all defaults. Compiled is the strongest that PyTorch offers for a step:
`torch.compile` of the model and its loss, SDPA attention, the fused AdamW. What compiling takes is said apart, as
`prepared_s`.
"""

import argparse
import json
import statistics
import sys
import time

# vocabulary, context, width, layers, heads
SIZES = {
    "0.8M": (65, 128, 128, 4, 4),
    "10.8M": (65, 256, 384, 6, 6),
    "30M": (50257, 256, 384, 6, 6),
    "124M": (50257, 1024, 768, 12, 12),
}
# size, tokens of a sequence, sequences
STEPS = {
    "0.8M": ("0.8M", 64, 12),
    "10.8M": ("10.8M", 256, 8),
    "30M": ("30M", 256, 4),
    "124M-T64": ("124M", 64, 4),
    "124M-T1024": ("124M", 1024, 1),
    # On a GPU.
    "10.8M-B64": ("10.8M", 256, 64),
    "124M-T1024-B8": ("124M", 1024, 8),
    "124M-T1024-B32": ("124M", 1024, 32),
}
# size, sequences, tokens of a prompt, new tokens
GENERATIONS = {
    "0.8M-B64": ("0.8M", 64, 16, 64),
    "10.8M-B32": ("10.8M", 32, 32, 128),
    "124M-B1": ("124M", 1, 32, 64),
    "124M-B16": ("124M", 16, 32, 64),
    # On a GPU.
    "10.8M-B64": ("10.8M", 64, 32, 128),
    "124M-B64": ("124M", 64, 32, 64),
}
# episodes, tokens of a prompt and of a response, minibatches
PPO = (64, 32, 64, 8)
VOCABULARY = 8192


def serve(sample, shown, unit, **more):
    """A sample for each line on standard input."""
    print(json.dumps({"unit": unit, **more}), flush=True)
    for _ in sys.stdin:
        print(shown(sample()), flush=True)


def absent(why):
    """Ends a program that `bench_side_by_side.py` has asked for what this machine does not have."""
    print(json.dumps({"absent": why}), flush=True)
    raise SystemExit(3)


def model_of(size):
    """GPT-2 of a size with random weights, and no dropout: that of `instructgpt bench` has none."""
    from transformers import GPT2Config, GPT2LMHeadModel

    vocabulary, context, width, layers, heads = SIZES[size]
    config = GPT2Config(
        vocab_size=vocabulary, n_positions=context, n_embd=width, n_layer=layers, n_head=heads,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=None, eos_token_id=None,
    )
    return GPT2LMHeadModel(config)


def finished(device):
    """A GPU works on after a call returns: the clock is read when it is done."""
    import torch

    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def gemm(name, dtype):
    """A product of row-major operands: nn is A B, nt A B^T, tn A^T B."""
    import torch

    form, shape = name.split("/")
    m, n, k = (int(number) for number in shape.split("x"))
    a = torch.rand(m, k, dtype=dtype) - 0.5 if form[0] == "n" else (torch.rand(k, m, dtype=dtype) - 0.5).T
    b = torch.rand(k, n, dtype=dtype) - 0.5 if form[1] == "n" else (torch.rand(n, k, dtype=dtype) - 0.5).T
    c = torch.empty(m, n, dtype=dtype)
    flops = 2.0 * m * n * k
    times = -(-8_000_000_000 // int(flops))

    def sample():
        start = time.perf_counter()
        for _ in range(times):
            torch.mm(a, b, out=c)
        return (time.perf_counter() - start) / times

    return sample, lambda seconds: flops / seconds / 1e9, "GFLOP/s"


def step(name, dtype, compiled, device="cpu"):
    """Forward, backward, AdamW."""
    import torch

    size, tokens, sequences = STEPS[name]
    model = model_of(size).train().to(device)
    weights = dict(lr=1e-5, betas=(0.9, 0.95), weight_decay=0.1)
    optimizer = torch.optim.AdamW(model.parameters(), **weights, fused=True if compiled else None)
    data = torch.randint(SIZES[size][0], (sequences, tokens + 1), device=device)

    def loss_of(data):
        logits = model(input_ids=data[:, :-1], use_cache=False).logits
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), data[:, 1:].flatten())

    if compiled:
        model.set_attn_implementation("sdpa")
        loss_of = torch.compile(loss_of)

    def sample():
        start = finished(device)
        with torch.autocast(device, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            loss = loss_of(data)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return finished(device) - start

    return sample, lambda seconds: seconds * 1e3, "ms"


def memory(name, dtype):
    """The most memory that this process, libraries included, has held after a training step."""
    import resource

    train, _, _ = step(name, dtype, compiled=False)

    def sample():
        train()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    return sample, lambda mebibytes: mebibytes, "MiB"


def generate(name, dtype, device="cpu"):
    """Sampling from the full distribution, with a key-value cache."""
    import torch

    size, sequences, prompt, new = GENERATIONS[name]
    model = model_of(size).eval().to(device, dtype)
    prompts = torch.randint(SIZES[size][0], (sequences, prompt), device=device)
    how = dict(do_sample=True, top_k=0, top_p=1.0, min_new_tokens=new, max_new_tokens=new, use_cache=True)

    def sample():
        start = finished(device)
        with torch.no_grad():
            out = model.generate(prompts, attention_mask=torch.ones_like(prompts), **how)
        seconds = finished(device) - start
        assert out.shape == (sequences, prompt + new), out.shape
        return seconds

    return sample, lambda seconds: sequences * new / seconds, "tokens/s"


def ppo(size, dtype, device):
    """An iteration of PPO, the work of `instructgpt bench`'s: sampling; a forward of policy, reference, reward model and
    value function each; a step of policy and value function for each minibatch. No pretraining gradient."""
    import torch
    from transformers import GPT2ForTokenClassification

    episodes, prompt, response, minibatches = PPO
    policy, reference = model_of(size).to(device), model_of(size).to(device).eval()
    config = model_of(size).config
    config.num_labels, config.classifier_dropout = 1, 0.0
    reward, value = (GPT2ForTokenClassification(config).to(device) for _ in range(2))
    weights = dict(lr=1e-5, betas=(0.9, 0.95), weight_decay=0.1)
    optimizers = [torch.optim.AdamW(network.parameters(), **weights) for network in (policy, value)]
    prompts = torch.randint(SIZES[size][0], (episodes, prompt), device=device)
    how = dict(do_sample=True, top_k=0, top_p=1.0, min_new_tokens=response, max_new_tokens=response, use_cache=True)

    def log_probs(network, texts):
        logits = network(texts[:, :-1], use_cache=False).logits[:, prompt - 1:].float()
        return logits.log_softmax(-1).gather(-1, texts[:, prompt:, None]).squeeze(-1)

    def values(network, texts):
        return network(texts[:, :-1]).logits[:, prompt - 1:, 0].float()

    def sample():
        start = finished(device)
        with torch.autocast(device, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            with torch.no_grad():
                texts = policy.generate(prompts, attention_mask=torch.ones_like(prompts), **how)
                old, referred = log_probs(policy, texts), log_probs(reference, texts)
                rewards, old_values = -0.02 * (old - referred), values(value, texts)
                rewards[:, -1] += reward(texts).logits[:, -1, 0].float()
                advantages, last = torch.zeros_like(rewards), 0.0
                for t in reversed(range(response)):
                    following = old_values[:, t + 1] if t + 1 < response else 0.0
                    last = rewards[:, t] + following - old_values[:, t] + 0.95 * last
                    advantages[:, t] = last
                returns = advantages + old_values
            for some in torch.randperm(episodes, device=device).chunk(minibatches):
                own = (advantages[some] - advantages[some].mean()) / (advantages[some].std() + 1e-8)
                ratio = (log_probs(policy, texts[some]) - old[some]).exp()
                loss = torch.max(-own * ratio, -own * ratio.clamp(0.8, 1.2)).mean()
                new = values(value, texts[some])
                near = old_values[some] + (new - old_values[some]).clamp(-0.2, 0.2)
                error = torch.max((new - returns[some]) ** 2, (near - returns[some]) ** 2).mean() / 2
                for what, optimizer in zip((loss, error), optimizers):
                    what.backward()
                    optimizer.step()
                    optimizer.zero_grad(set_to_none=True)
        return finished(device) - start

    return sample, lambda seconds: seconds * 1e3, "ms"


def bpe(name, corpus):
    """Hugging Face's `tokenizers`, on the threads that `main` has set."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    if corpus is None:
        raise SystemExit("the BPE cases need --corpus FILE: both sides must read the same text")
    with open(corpus, encoding="utf-8") as file:
        documents = [text for text in file.read().split("<|endoftext|>") if text.strip()]
    size = sum(len(text.encode()) for text in documents)

    def learn():
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(
            vocab_size=VOCABULARY, min_frequency=2, show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=["<|endoftext|>"],
        )
        tokenizer.train_from_iterator(documents, trainer)
        return tokenizer

    tokenizer = None if name == "train" else learn()

    def sample():
        start = time.perf_counter()
        if tokenizer is None:
            learn()
        else:
            tokenizer.encode_batch_fast(documents)  # token ids only, as ours
        return time.perf_counter() - start

    return sample, lambda seconds: size / seconds / 1e6, "MB/s"


def prepare(name, args):
    """The case's sample (seconds or, of memory, MiB), what is shown for it, and its unit."""
    kind, rest = name.split("/", 1)
    if kind == "bpe":
        return bpe(rest, args.corpus)
    import torch

    torch.manual_seed(1)
    torch.set_num_threads(args.threads)
    dtype = torch.bfloat16 if args.dtype == "bf16" else torch.float32
    torch.backends.cuda.matmul.allow_tf32 = args.dtype == "tf32"
    if kind == "gemm":
        return gemm(rest, dtype)
    if kind == "step":
        return step(rest, dtype, args.compile, args.device)
    if kind == "memory":
        return memory(rest, dtype)
    if kind == "generate":
        return generate(rest, dtype, args.device)
    if kind == "ppo":
        return ppo(rest, dtype, args.device)
    raise SystemExit(f"{name}: PyTorch's side has no such case")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--dtype", choices=["f32", "tf32", "bf16"], default="f32")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="for step, generate and ppo")
    parser.add_argument("--compile", action="store_true", help="torch.compile a training step")
    parser.add_argument("--corpus", help="text for the BPE cases")
    parser.add_argument("--serve", action="store_true", help="a sample for each line on standard input")
    args = parser.parse_args()
    if args.name.startswith("bpe/"):
        import os

        several = "true" if args.threads > 1 else "false"
        os.environ.update(RAYON_NUM_THREADS=str(args.threads), TOKENIZERS_PARALLELISM=several)
    sample, shown, unit = prepare(args.name, args)
    start = time.perf_counter()
    sample()
    prepared = {"prepared_s": time.perf_counter() - start} if args.compile else {}
    if args.serve:
        return serve(sample, shown, unit, **prepared)
    median = statistics.median(sample() for _ in range(args.samples))
    print(json.dumps({"name": args.name, "threads": args.threads, "median": shown(median), "unit": unit}))


if __name__ == "__main__":
    main()
