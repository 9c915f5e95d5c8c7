"""A GPT-2 directory with random weights and GPT-2's own tokenizer, as `transformers` writes it.

    python reference/random_gpt2.py --bpe DIR --out MODEL [--size tiny|small|124M] [--seed 1]

`--bpe` has `encoder.json` (or `vocab.json`) and `vocab.bpe` (or `merges.txt`). The deviation of the weights is
1/sqrt(width), so that what a matrix gives is about as large as what it is given and no layer is without effect. The model
knows nothing: it serves to compare two programs.
"""

import argparse
from pathlib import Path

import torch
import transformers

# Layers, width, heads, context. The tiny one's context is short, so that long prompts are cut; the small one has room for
# answers that are written.
SIZES = {"tiny": (4, 128, 4, 256), "small": (4, 128, 4, 1024), "124M": (12, 768, 12, 1024)}


def tokenizer(bpe):
    """GPT-2's, from the two files that OpenAI gave it."""
    first = lambda *names: str(next(path for name in names if (path := bpe / name).exists()))
    return transformers.GPT2Tokenizer(
        vocab=first("vocab.json", "encoder.json"), merges=first("merges.txt", "vocab.bpe"),
        bos_token="<|endoftext|>", eos_token="<|endoftext|>", unk_token="<|endoftext|>",
    )


def make(bpe, out, size, seed):
    layers, width, heads, context = SIZES[size]
    tokens = tokenizer(bpe)
    torch.manual_seed(seed)
    config = transformers.GPT2Config(
        vocab_size=len(tokens), n_positions=context, n_embd=width, n_layer=layers, n_head=heads,
        initializer_range=width**-0.5, bos_token_id=tokens.eos_token_id, eos_token_id=tokens.eos_token_id,
    )
    model = transformers.GPT2LMHeadModel(config)
    model.save_pretrained(out)
    tokens.save_pretrained(out)
    return sum(parameter.numel() for parameter in model.parameters())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bpe", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", choices=SIZES, default="tiny")
    parser.add_argument("--seed", type=int, default=1)
    a = parser.parse_args()
    print(f"{a.out}: {make(a.bpe, a.out, a.size, a.seed):,} parameters")


if __name__ == "__main__":
    main()
