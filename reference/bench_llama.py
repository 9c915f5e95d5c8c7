"""llama.cpp, measured on the generation cases of `instructgpt bench`:

    bench_llama.py generate/124M-B1 --threads 2

Makes an f32 GGUF of a model directory that our program exports (see `bench_ctranslate2.py`), and starts
`bench_llama/main.cpp`, which `bench_llama/build.sh` builds, on it. It answers a sample for each line on standard input.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

from bench_ctranslate2 import exported
from bench_torch import GENERATIONS, SIZES, absent

# By GPT-2's names, llama.cpp's; a block's begin with `h.N.` and `blk.N.`.
WHOLE = {"wte": "token_embd", "wpe": "position_embd", "ln_f": "output_norm"}
BLOCK = {
    "ln_1": "attn_norm", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down",
}


def renamed(name):
    name, kind = name.removeprefix("transformer.").rsplit(".", 1)
    if not name.startswith("h."):
        return f"{WHOLE[name]}.{kind}"
    _, number, name = name.split(".", 2)
    return f"blk.{number}.{BLOCK[name]}.{kind}"


def converted(source, target, size):
    import gguf
    import numpy
    from safetensors.numpy import load_file

    vocabulary, context, width, layers, heads = SIZES[size]
    writer = gguf.GGUFWriter(target, "gpt2")
    writer.add_context_length(context)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(4 * width)
    writer.add_block_count(layers)
    writer.add_head_count(heads)
    writer.add_layer_norm_eps(1e-5)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("no_vocab")
    writer.add_vocab_size(vocabulary)
    for name, tensor in load_file(source / "model.safetensors").items():
        # GPT-2 multiplies with x W, llama.cpp with W x: it stores the transpose.
        turned = tensor.T if ".c_" in name and tensor.ndim == 2 else tensor
        writer.add_tensor(renamed(name), numpy.ascontiguousarray(turned))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--program", default="target/release/examples/side_by_side", help="exports the model")
    parser.add_argument("--bench-llama", default="target/bench_llama/build/bench_llama")
    parser.add_argument("--serve", action="store_true", help="which it always does")
    args = parser.parse_args()
    size, *numbers = GENERATIONS[args.name.removeprefix("generate/")]
    if not Path(args.bench_llama).exists():
        absent(f"{args.bench_llama} was not built, see bench_llama/build.sh")
    with tempfile.TemporaryDirectory() as directory:
        directory = Path(directory)
        exported(size, directory / "ours", args.program)
        converted(directory / "ours", directory / "theirs.gguf", size)
        command = [args.bench_llama, directory / "theirs.gguf", *numbers, args.threads]
        raise SystemExit(subprocess.run([str(part) for part in command]).returncode)


if __name__ == "__main__":
    main()
