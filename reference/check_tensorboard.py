"""Reads the events that `instructgpt report RUN --tensorboard DIR` wrote with the `tensorboard` package, and compares
them with RUN/metrics.jsonl: every finite number of every stage must be there, at its step, as a 32-bit float.

    python reference/check_tensorboard.py RUN DIR
"""

import json
import struct
import sys
from pathlib import Path

from tensorboard.backend.event_processing.event_file_loader import EventFileLoader


def expected(run):
    """(tag, step, value) of every finite number of metrics.jsonl."""
    for line in (Path(run) / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        for name, value in record.items():
            if name not in ("stage", "step") and isinstance(value, (int, float)):
                yield f"{record['stage']}/{name}", record["step"], as_float32(value)


def as_float32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def found(directory):
    """The same, as TensorBoard reads it: it checks each record's CRC, and drops the file's rest at a wrong one."""
    for path in sorted(Path(directory).glob("*tfevents*")):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                # The loader turns simple values into tensors.
                number = value.tensor.float_val[0] if value.HasField("tensor") else value.simple_value
                yield value.tag, event.step, as_float32(number)


def main():
    run, directory = sys.argv[1:]
    ours, theirs = sorted(found(directory)), sorted(expected(run))
    if ours != theirs:
        different = sorted(set(ours) ^ set(theirs))[:5]
        sys.exit(f"{len(ours)} numbers were read, {len(theirs)} were expected; the first that differ: {different}")
    if not ours:
        sys.exit("no number was read")
    print(f"{len(ours)} numbers of {len({tag for tag, _, _ in ours})} tags are as they were written")


if __name__ == "__main__":
    main()
