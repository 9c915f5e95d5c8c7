"""Conformance vectors for RLHF: inputs, right outputs with tolerances, and the wrong outputs of known bugs.

    from instructgpt_vectors import cases
    for case in cases(level="F", function="gae"):
        print(case.check(my_gae(**case.inputs)))

A case's inputs are NumPy arrays (numbers for scalars); what `check` takes are arrays of NumPy, PyTorch or JAX, numbers, or
nested lists, by the names of the case's outputs. Answers name the bug when the numbers are a known bug's.
"""

import copy
import fnmatch
import functools
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy

__all__ = ["Case", "Result", "Verdict", "bugs", "cases", "levels", "version"]


def _folder():
    """The data inside the package, or the repository's `fixtures/` when the package is used where it stands."""
    inside = Path(__file__).parent / "data"
    return inside if inside.exists() else Path(__file__).resolve().parents[4] / "fixtures"


@functools.cache
def _document():
    return json.loads((_folder() / "cases.json").read_text(encoding="utf-8"))


@functools.cache
def _tensors(file):
    return safetensors.numpy.load_file(_folder() / file)


def version():
    """Of the vectors. A changed vector is a major version."""
    return _document()["version"]


def levels():
    """{letter: what the level holds}."""
    return dict(_document()["levels"])


def bugs():
    """{name: {"is": what it is, "seen": threads about it in other programs}}."""
    return copy.deepcopy(_document()["bugs"])


def cases(level=None, function=None, id=None):
    """The cases of some levels ("F", or "FO"), of a function ("gae"), or whose id has a pattern ("F/gae/*"); all without any."""
    document = _document()
    unknown = set(level or "") - set(document["levels"])
    if unknown:
        raise ValueError(f"no level {'/'.join(sorted(unknown))}; there are {', '.join(document['levels'])}")
    functions = {case["function"] for case in document["cases"]}
    if function is not None and function not in functions:
        raise ValueError(f"no function {function!r}; there are {', '.join(sorted(functions))}")
    for case in document["cases"]:
        if level is not None and case["level"] not in level:
            continue
        if function is not None and case["function"] != function:
            continue
        if id is None or fnmatch.fnmatchcase(case["id"], id):
            yield Case(case)


@dataclass(frozen=True)
class Verdict:
    """Of one output: "exact" (the stored float32 values), "within" the tolerance, "off", "missing", or wrong "shape"; where bits
    are asked for, "bits" if it is within the tolerance and not to the bit."""

    output: str
    kind: str
    times: float = 0.0  # the largest difference, in tolerances
    text: str = ""

    @property
    def ok(self):
        return self.kind in ("exact", "within")

    def __str__(self):
        return f"{self.output}: {self.text or self.kind}"


@dataclass(frozen=True)
class Result:
    """Of one case. `bug` is the name of the bug whose numbers these are, if they are any's. True if all outputs are right."""

    case: str
    verdicts: dict
    bug: str | None = None

    @property
    def ok(self):
        return all(verdict.ok for verdict in self.verdicts.values())

    def __bool__(self):
        return self.ok

    def __str__(self):
        lines = [f"{self.case}: {'right' if self.ok else 'wrong'}", *(f"  {verdict}" for verdict in self.verdicts.values())]
        if self.bug:
            entry = _document()["bugs"][self.bug]
            lines.append(f"  this is `{self.bug}`: {entry['is']}")
            lines += [f"    seen in {thread}" for thread in entry["seen"]]
        return "\n".join(lines)


def _array(value):
    """What someone hands in, as NumPy."""
    if hasattr(value, "detach"):  # PyTorch
        value = value.detach().cpu()
        value = value.float() if str(value.dtype) in ("torch.bfloat16", "torch.float16") else value
        return value.numpy()
    return np.asarray(value)


def _times(got, expected, tolerance):
    """The largest difference in tolerances; infinite where an integer differs or only one is a number. (A bug's may be none.)"""
    got, expected = got.astype(np.float64), expected.astype(np.float64)
    if not got.size:
        return 0.0
    difference = np.where(np.isnan(got) & np.isnan(expected), 0.0, np.abs(got - expected))
    largest = float(np.where(np.isnan(difference), np.inf, difference).max())
    return largest / tolerance if tolerance else (math.inf if largest else 0.0)


def _same(got, expected):
    """Whether the values are the stored ones: for floats the bits of float32."""
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = got.astype(expected.dtype)
    if expected.dtype == np.float32:
        return bool((rounded.view(np.uint32) == expected.view(np.uint32)).all())
    return bool((got == expected).all())


class Case:
    """One question: `asks` says what to compute from `inputs` (and `settings`), `outputs` are the right answers."""

    def __init__(self, entry):
        self._entry = entry
        self.id, self.level, self.function = entry["id"], entry["level"], entry["function"]
        self.asks, self.source = entry["asks"], entry["source"]
        self.bugs = list(entry["bugs"])
        self.tolerances = {name: value["tolerance"] for name, value in entry["outputs"].items()}

    def __repr__(self):
        return f"<Case {self.id}>"

    def __str__(self):
        def line(name, value):
            shape = f" {value['dtype']} {value['shape']}" if "dtype" in value else ""
            return f"  {name}{shape}: {value['means']}"

        parts = [f"{self.id}: {self.asks} ({self.source})", "inputs"]
        parts += [line(*item) for item in self._entry["inputs"].items()]
        parts += ["outputs", *(line(*item) for item in self._entry["outputs"].items())]
        return "\n".join(parts)

    @staticmethod
    def _value(value):
        if "file" in value:
            return _tensors(value["file"])[value["tensor"]].copy()[()]
        if "dtype" in value:
            return np.array(value["value"], dtype={"F32": np.float32, "I64": np.int64}[value["dtype"]]).reshape(value["shape"])
        return copy.deepcopy(value["value"])

    @property
    def settings(self):
        """Constants and switches, such as a model's shape."""
        return copy.deepcopy(self._entry.get("settings", {}))

    @property
    def inputs(self):
        """{name: array, number, or text}. Copies: what is done to them is no one else's."""
        return {name: self._value(value) for name, value in self._entry["inputs"].items()}

    @property
    def outputs(self):
        """{name: the right array}."""
        return {name: np.asarray(self._value(value)) for name, value in self._entry["outputs"].items()}

    @property
    def bits(self):
        """{name: array}: the outputs as the arithmetic of the program `instructgpt` gives them, to the bit of float32; None where
        it has no such function."""
        stored, found = _tensors("bits.safetensors"), {}
        for name, value in self._entry["outputs"].items():
            right = np.asarray(self._value(value))
            array = right if right.dtype == np.int64 else stored.get(f"{value.get('file')}:{value.get('tensor')}")
            if array is None:
                return None
            found[name] = array.copy()
        return found

    def wrong(self, bug):
        """{name: array}: all outputs as a bug of this case gives them."""
        if bug not in self.bugs:
            raise ValueError(f"{self.id} does not store {bug!r}; it stores {', '.join(self.bugs) or 'none'}")
        stored = _tensors("bugs.safetensors")
        return {name: stored.get(f"{self.id}:{bug}:{name}", right).copy() for name, right in self.outputs.items()}

    def _verdict(self, name, got, expected):
        tolerance = self.tolerances[name]
        if got is None:
            return Verdict(name, "missing", math.inf)
        if got.dtype.kind not in "fiub":
            return Verdict(name, "off", math.inf, f"not an array of numbers but of {got.dtype}")
        if got.shape != expected.shape:
            return Verdict(name, "shape", math.inf, f"has shape {list(got.shape)}, expected {list(expected.shape)}")
        if _same(got, expected):
            return Verdict(name, "exact")
        times = _times(got, expected, tolerance)
        if times <= 1.0:
            return Verdict(name, "within", times, f"within the tolerance, at {times:.2g} of it")
        far = np.abs(got.astype(np.float64) - expected.astype(np.float64))
        place = np.unravel_index(int(np.argmax(np.where(np.isnan(far), np.inf, far))), far.shape)
        how = f"off by {times:.3g} times the tolerance of {tolerance:.3g}" if math.isfinite(times) else "off"
        where = f" at [{', '.join(map(str, place))}]" if place else ""
        return Verdict(name, "off", times, f"{how}{where}: {got[place]} instead of {expected[place]}")

    def check(self, outputs, bits=False):
        """A `Result` for {name: array} of all outputs; an output alone may stand for itself if the case has only one. `bits`: right
        is only what has the bits of `instructgpt`'s arithmetic."""
        right, stored = self.outputs, self.bits if bits else {}
        if stored is None:
            raise ValueError(f"{self.id} has no bits: the program has no such function")
        if not isinstance(outputs, dict):
            if len(right) != 1:
                raise TypeError(f"{self.id} has the outputs {', '.join(right)}: give a dictionary of them")
            outputs = {next(iter(right)): outputs}
        unknown = set(outputs) - set(right)
        if unknown:
            raise ValueError(f"{self.id} has no output {', '.join(sorted(unknown))}; it has {', '.join(right)}")
        got = {name: _array(value) for name, value in outputs.items() if value is not None}
        verdicts = {name: self._verdict(name, got.get(name), expected) for name, expected in right.items()}
        for name, expected in stored.items():
            if verdicts[name].ok:
                verdicts[name] = self._of_bits(name, got[name], expected)
        result = Result(self.id, verdicts)
        return result if result.ok else Result(self.id, verdicts, self._named(got))

    @staticmethod
    def _of_bits(name, got, expected):
        if _same(got, expected):
            return Verdict(name, "exact")
        rounded = got.astype(expected.dtype)
        other = (rounded.view(np.uint32) != expected.view(np.uint32)).reshape(expected.shape)
        place = np.unravel_index(int(np.argmax(other)), other.shape)
        where = f" at [{', '.join(map(str, place))}]" if place else ""
        return Verdict(name, "bits", 0.0, f"within the tolerance, but of other bits in {int(other.sum())}, first{where}: "
                       f"{rounded[place]} instead of {expected[place]}")

    def _named(self, got):
        """The bug whose outputs these are, every one within the tolerances."""
        def near(bug):
            wrong = self.wrong(bug)
            return all(
                name in got and got[name].shape == w.shape and got[name].dtype.kind in "fiub"
                and _times(got[name], w, self.tolerances[name]) <= 1.0 for name, w in wrong.items())

        return next((bug for bug in self.bugs if near(bug)), None)

    def assert_close(self, outputs):
        """`check`, as an assertion: an AssertionError says what is off, and which bug it is."""
        result = self.check(outputs)
        assert result.ok, f"{result}\n  asked was: {self.asks}"
