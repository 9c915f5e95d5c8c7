"""python -m instructgpt_vectors: lists the cases, or checks a safetensors file with tensors ID/OUTPUT."""

import argparse
import sys

import safetensors
import safetensors.numpy

from . import cases, version


def main():
    parser = argparse.ArgumentParser(prog="python -m instructgpt_vectors", description=__doc__)
    parser.add_argument("file", nargs="?", help="tensors ID/OUTPUT, such as F/gae/default/advantages; without it the cases are listed")
    parser.add_argument("--level", help="levels, such as F or FO")
    parser.add_argument("--function", help="one function, such as gae")
    arguments = parser.parse_args()
    try:
        selected = list(cases(arguments.level, arguments.function))
        tensors = safetensors.numpy.load_file(arguments.file) if arguments.file else None
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        print(f"instructgpt_vectors: {arguments.file or ''} {error}", file=sys.stderr)
        return 2
    if tensors is None:
        print("\n\n".join(map(str, selected)))
        return 0
    results = []
    for case in selected:
        results.append(case.check({name: tensors.get(f"{case.id}/{name}") for name in case.outputs}))
        print(results[-1])
    right = sum(result.ok for result in results)
    print(f"{right} of {len(results)} cases are right (vectors {version()})")
    return 0 if right == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
