"""CTranslate2, measured on the generation cases of `instructgpt bench`:

    bench_ctranslate2.py generate/124M-B16 --threads 2

The model is a directory that our program exports, `examples/side_by_side.rs`'s, with random weights. CTranslate2's own
converter reads it; weights stay float32. Sampling is from the full distribution (`sampling_topk=0`). The output is that
of `bench_torch.py`, with `--serve` or without.
"""

import argparse
import json
import random
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from bench_torch import GENERATIONS, SIZES, absent, serve


def exported(size, directory, program):
    """Our export of a model of that size: `config.json` and `model.safetensors`."""
    if not Path(program).exists():
        absent(f"{program} is missing: `make bench` builds it")
    subprocess.run([program, "model", directory, *map(str, SIZES[size])], check=True)


def converted(source, target):
    """What `ct2-transformers-converter` does, for a directory without a tokenizer: the words are made up."""
    import transformers
    from ctranslate2.converters.transformers import _MODEL_LOADERS

    model = transformers.GPT2LMHeadModel.from_pretrained(source)
    spec = _MODEL_LOADERS["GPT2Config"].get_model_spec(model)
    words = [f"<{token}>" for token in range(model.config.vocab_size)]
    spec.register_vocabulary(words)
    # No word ends a text: each has its full length.
    spec.config.bos_token = spec.config.eos_token = spec.config.unk_token = words[0]
    spec.validate()
    Path(target).mkdir()
    spec.save(str(target))
    return words


def prepare(name, threads, directory, program):
    import ctranslate2

    size, sequences, prompt, new = GENERATIONS[name.removeprefix("generate/")]
    directory = Path(directory)
    exported(size, directory / "ours", program)
    words = converted(directory / "ours", directory / "theirs")
    # A batch at a time, on all threads.
    generator = ctranslate2.Generator(str(directory / "theirs"), compute_type="float32", inter_threads=1,
                                      intra_threads=threads)
    random.seed(1)
    prompts = [random.choices(words, k=prompt) for _ in range(sequences)]
    how = dict(sampling_topk=0, sampling_temperature=1.0, min_length=new, max_length=new,
               include_prompt_in_result=False, max_batch_size=0)

    def sample():
        start = time.perf_counter()
        results = generator.generate_batch(prompts, **how)
        seconds = time.perf_counter() - start
        assert all(len(result.sequences_ids[0]) == new for result in results), "a text of another length"
        return seconds

    return sample, lambda seconds: sequences * new / seconds, "tokens/s"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--samples", type=int, default=3)
    parser.add_argument("--program", default="target/release/examples/side_by_side", help="exports the model")
    parser.add_argument("--serve", action="store_true", help="a sample for each line on standard input")
    args = parser.parse_args()
    try:
        import ctranslate2  # noqa: F401
    except ImportError as error:
        absent(f"{error}: see requirements-bench.txt")
    with tempfile.TemporaryDirectory() as directory:
        sample, shown, unit = prepare(args.name, args.threads, directory, args.program)
    sample()
    if args.serve:
        return serve(sample, shown, unit)
    median = statistics.median(sample() for _ in range(args.samples))
    print(json.dumps({"name": args.name, "threads": args.threads, "median": shown(median), "unit": unit}))


if __name__ == "__main__":
    main()
