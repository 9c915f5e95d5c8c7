"""Has RepDL's matrix product our bits?

    python reference/bench_repdl.py [--checkout DIR]

RepDL (Xie, Zhang and Chen, 2025; github.com/microsoft/RepDL) defines its operations by an order, as we do. A product's
order is said to be the same in both: for each output one chain of fused multiply-adds from 0, over k in turn. Here both
are asked: RepDL's `mm` in all three transposes against the conformance vector `O/linear` in our bits, a row sum against
its bias gradient, and larger random products against `examples/side_by_side.rs`. Its C++ for the processor is built with
the flags of its `setup.py`; the rest of it needs CUDA and is left alone. It is written to be simple, not fast, so no times
are compared.

Exit code 1 if a bit differs, 3 if RepDL cannot be built here.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file

REPOSITORY, COMMIT = "https://github.com/microsoft/RepDL", "acd95bb"
# m, n, k: smaller than a tile; no multiple of anything; long chains; a layer's.
SHAPES = [(1, 1, 1), (3, 5, 7), (67, 129, 1031), (12, 33, 20_011), (256, 384, 768)]


def operations(checkout):
    """Its operations for the processor."""
    from torch.utils import cpp_extension

    try:
        if not checkout.exists():
            subprocess.run(["git", "clone", "--quiet", REPOSITORY, checkout], check=True)
            subprocess.run(["git", "-C", checkout, "checkout", "--quiet", COMMIT], check=True)
        # Its own two files, and their own bindings, in one unit: PyTorch's headers take a compiler most of a minute.
        parts = ("matrix_multiplication", "summation")
        unit = "".join(f'#include "{(checkout / "backend/cpu" / part).resolve()}.cpp"\n' for part in parts)
        bind = "".join(f"bind_{part}(m); " for part in parts)
        unit += f"PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {{ {bind}}}\n"
        return cpp_extension.load_inline("repdl_cpu", unit, extra_cflags=["-fopenmp"], extra_ldflags=["-fopenmp"])
    except (subprocess.CalledProcessError, OSError, RuntimeError) as error:
        print(f"RepDL cannot be built here: {error}", file=sys.stderr)
        raise SystemExit(3) from None


def same(what, ours, theirs):
    """Whether all bits are equal."""
    ours, theirs = ours.contiguous().view(torch.int32), theirs.contiguous().view(torch.int32)
    differ = int((ours != theirs).sum())
    print(f"{what}: {ours.numel()} numbers, " + ("the same bits" if differ == 0 else f"{differ} DIFFER"))
    return differ == 0


def vector(repdl, fixtures):
    """The case `O/linear`: y = x W + b and its gradients."""
    asked, bits = load_file(fixtures / "ops.safetensors"), load_file(fixtures / "bits.safetensors")
    x, weight, bias, dy = (asked[f"linear.{name}"] for name in ("x", "weight", "bias", "dy"))
    ours = lambda name: bits[f"ops.safetensors:linear.{name}"]
    # Our chain begins at the bias. So does this one: 1 times the bias is its first term.
    ones = torch.ones(len(x), 1)
    y = repdl.mm(torch.cat([ones, x], 1), torch.cat([bias[None], weight], 0), False, False)
    return [
        same("O/linear y", ours("y"), y),
        same("O/linear dx", ours("dx"), repdl.mm(dy, weight, False, True)),
        same("O/linear dweight", ours("dweight"), repdl.mm(x, dy, True, False)),
        same("O/linear dbias", ours("dbias"), repdl.sum2d_dim0(dy, False, False)),
    ]


def product(repdl, shape, program):
    m, n, k = shape
    a, b = torch.randn(m, k), torch.randn(k, n)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in "abc"]
        for path, matrix in zip(paths, (a, b)):
            path.write_bytes(matrix.numpy().tobytes())
        subprocess.run([program, "product", *map(str, shape), *paths], check=True)
        ours = torch.frombuffer(bytearray(paths[2].read_bytes()), dtype=torch.float32).reshape(m, n)
    return same(f"product {m}x{n}x{k}", ours, repdl.mm(a, b, False, False))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkout", type=Path, default=Path("target/RepDL"), help="its sources; fetched if missing")
    parser.add_argument("--fixtures", type=Path, default=Path("fixtures"))
    parser.add_argument("--program", default="target/release/examples/side_by_side", help="computes our products")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.manual_seed(1)
    torch.set_num_threads(args.threads)
    repdl = operations(args.checkout)
    equal = vector(repdl, args.fixtures) + [product(repdl, shape, args.program) for shape in SHAPES]
    sys.exit(0 if all(equal) else 1)


if __name__ == "__main__":
    main()
