"""Writes `fixtures/cases.json` and `fixtures/bugs.safetensors`: python reference/make_cases.py --out fixtures

A case is a function, its inputs, the outputs that are right, and how far off an output may be. A bug is the
reference with a line changed (`bugs.py`); what it then computes is stored beside the right outputs, so that a
program which checks another implementation can say which bug its numbers are. Inputs and right outputs are
tensors of the fixtures that `make_fixtures.py` makes, and are not computed here.

A case lists a bug only if the two are told apart: by more than four tolerances from the right outputs, and
from those of every other bug of the case. Anything else is an error.
"""

import argparse
import fnmatch
import json
import multiprocessing
import pathlib
import sys
import types

import numpy as np
import safetensors
import safetensors.numpy
import torch

import bugs as table
import cases_f
import cases_models

HERE = pathlib.Path(__file__).resolve().parent
# Of the vectors, not of this program. A changed vector is a major version, a further one a minor.
VERSION = "1.0.0"
RULE = (
    "an output is right if |difference| <= tolerance for every entry. For a float tensor it is 16 * 2^noise_log2 * "
    "max|tensor|, at least 2^-20 * max|tensor| (max|tensor| counts as 1 if all is 0), where 2^noise_log2 is what float32 "
    "arithmetic costs the reference at this place (manifest.json); 2^-12 of the learning rate more for weights after "
    "Adam; for integers 0"
)
LEVELS = {
    "F": "functions of PPO, the reward loss and Adam (NumPy suffices)",
    "O": "operations, forward and backward",
    "G": "gradients of whole models",
    "M": "models, forward",
    "S": "a step of SFT and of the reward model",
    "I": "one PPO-ptx iteration",
    "T": "tokenizer",
}
# The reference's modules, each after those that it imports.
MODULES = ["bpe_text", "bpe", "model", "losses", "padded", "optim", "make_fixtures"]
APART = 4.0  # tolerances
# What cannot be told apart, found on the way; anything here fails the program.
PROBLEMS = []


class Reference:
    """The reference with some edits (file, old, new), each of which has its one place in the file."""

    def __init__(self, edits=()):
        texts = {name: (HERE / f"{name}.py").read_text() for name in MODULES}
        for file, old, new in edits:
            name = file.removesuffix(".py")
            assert texts[name].count(old) == 1, f"{old!r} occurs {texts[name].count(old)} times in {file}"
            texts[name] = texts[name].replace(old, new)
        before = {name: sys.modules.get(name) for name in texts}
        for name, text in texts.items():
            module = sys.modules[name] = types.ModuleType(name)
            exec(compile(text, f"{name}.py", "exec"), module.__dict__)
        self.modules = types.SimpleNamespace(**{name: sys.modules[name] for name in texts})
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
        self.made = {}

    def fixture(self, file):
        """All tensors of a fixture as this reference makes it, in float64, stored as float32."""
        if file not in self.made:
            program = self.modules.make_fixtures
            name = file.removesuffix(".safetensors")
            tensors = program.FIXTURES[name](program.Draw(name, torch.float64))
            tensors.pop("config", None)
            self.made[file] = {key: program.stored(tensor) for key, tensor in tensors.items()}
        return self.made[file]


class Fixtures:
    """The files of `fixtures/`: tensors, metadata, noise."""

    def __init__(self, folder):
        self.folder = folder
        self.files = json.loads((folder / "manifest.json").read_text())["files"]
        self.tensors, self.configs = {}, {}
        for file in self.files:
            if file.endswith(".safetensors"):
                self.tensors[file] = safetensors.numpy.load_file(folder / file)
                with safetensors.safe_open(folder / file, "numpy") as f:
                    self.configs[file] = json.loads((f.metadata() or {}).get("config", "null"))
        self.bpe = json.loads((folder / "bpe.json").read_text())

    def config(self, file):
        return self.configs[f"{file}.safetensors"]

    def array(self, file, tensor):
        return self.tensors[f"{file}.safetensors"][tensor]

    def names(self, file, prefix=""):
        return [name for name in self.tensors[f"{file}.safetensors"] if name.startswith(prefix)]

    def tolerance(self, file, tensor, step):
        """The rule above, as a number; `step` is the learning rate where the tensor is a weight after Adam."""
        array = self.tensors[file][tensor]
        if array.dtype == np.int64:
            return 0
        noise = self.files[file]["noise_log2"].get(tensor)
        share = max(0.0 if noise is None else 16 * 2.0**noise, 2.0**-20)
        largest = float(np.abs(array).max(initial=0.0)) or 1.0
        return float(f"{share * largest + 2.0**-12 * step:.4g}")


DTYPES = {np.dtype(np.float32): "F32", np.dtype(np.int64): "I64"}


def described(fixtures, value):
    """An input or output as it stands in cases.json, without its tolerance."""
    if value.tensor is None:
        if value.typed:
            shape = list(right(fixtures, value).shape)
            return {"value": value.value, "shape": shape, "dtype": "I64", "means": value.means}
        return {"value": value.value, "means": value.means}
    array = fixtures.tensors[value.file][value.tensor]
    return {"file": value.file, "tensor": value.tensor, "shape": list(array.shape), "dtype": DTYPES[array.dtype],
            "means": value.means}


def right(fixtures, value):
    if value.tensor is None:
        return np.asarray(value.value, dtype=np.int64)
    return fixtures.tensors[value.file][value.tensor]


def distance(a, b, tolerance):
    """The largest difference in tolerances; infinite for other shapes, for integers that differ, and where one is no number."""
    if a.shape != b.shape or (np.isnan(a) != np.isnan(b)).any():
        return np.inf
    difference = np.nan_to_num(np.abs(a.astype(np.float64) - b.astype(np.float64))).max(initial=0.0)
    return difference / tolerance if tolerance else (np.inf if difference else 0.0)


def wrong_outputs(fixtures, case, tolerances, reference):
    """What a reference with a bug gives for a case, the outputs that differ from the right ones by anything."""
    computed = case.compute(reference)
    assert set(computed) == set(case.outputs), f"{case.id}: {sorted(set(computed) ^ set(case.outputs))}"
    outputs = {}
    for name, value in case.outputs.items():
        wrong, expected = computed[name], right(fixtures, value)
        assert wrong.shape == expected.shape or case.id.startswith("T/"), f"{case.id}: {name} has another shape"
        assert not np.isinf(wrong).any(), f"{case.id}: {name} is infinite"
        # An untouched output comes out the same to the bit, unless another version of torch adds up in another order.
        if distance(wrong, expected, tolerances[name]) > 0.25:
            outputs[name] = wrong
    return outputs


JOB = []  # fixtures, cases, tolerances


def run(bug):
    """What a bug gives: {case id: {output: array}}, of the cases that it names and that show it."""
    (fixtures, cases, tolerances), (reference, found) = JOB, (Reference(bug.edits), {})
    for case in cases:
        if any(fnmatch.fnmatchcase(case.id, pattern) for pattern in bug.cases):
            wrong = wrong_outputs(fixtures, case, tolerances[case.id], reference)
            if wrong:
                found[case.id] = wrong
    return found


def stored(fixtures, bug):
    """What `run` gave when the files were made, from the files."""
    found = {}
    for key, array in safetensors.numpy.load_file(fixtures.folder / "bugs.safetensors").items():
        case, name, output = key.split(":")
        if name == bug.name:
            found.setdefault(case, {})[output] = array
    return found


def add_bugs(fixtures, cases, tolerances, only):
    """Runs every bug, or some, on the cases that it names. Returns {case id: [bug, ..]} and the tensors of bugs.safetensors."""
    listed, tensors = {case.id: [] for case in cases}, {}
    JOB[:] = fixtures, cases, tolerances
    fresh = [bug for bug in table.BUGS if not only or bug.name in only]
    with multiprocessing.get_context("fork").Pool(2) as pool:  # Forks, because cases hold functions.
        results = dict(zip((bug.name for bug in fresh), pool.map(run, fresh, chunksize=1)))
    for bug in table.BUGS:
        found = results[bug.name] if bug.name in results else stored(fixtures, bug)
        for case in cases:
            wrong = found.get(case.id)
            if wrong is None:
                continue  # Another case of the function shows the bug.
            far = max(distance(wrong[n], right(fixtures, case.outputs[n]), tolerances[case.id][n]) for n in wrong)
            if far <= APART:
                PROBLEMS.append(f"{case.id}: {bug.name} is only {far:.2g} tolerances from the right outputs")
            listed[case.id].append(bug.name)
            tensors |= {f"{case.id}:{bug.name}:{name}": array for name, array in wrong.items()}
        for pattern in bug.cases:
            if not fnmatch.filter(found, pattern):
                PROBLEMS.append(f"{bug.name}: shows in none of {pattern}")
    return listed, tensors


def keep_apart(fixtures, case, names, tensors, tolerances):
    """No two bugs of a case give the same numbers."""
    def outputs(bug):
        return {n: tensors.get(f"{case.id}:{bug}:{n}", right(fixtures, value)) for n, value in case.outputs.items()}

    for i, a in enumerate(names):
        for b in names[:i]:
            ours, theirs = outputs(a), outputs(b)
            far = max(distance(ours[n], theirs[n], tolerances[n]) for n in ours)
            if far <= APART:
                PROBLEMS.append(f"{case.id}: {a} and {b} are only {far:.2g} tolerances apart")


def make(fixtures, only):
    """(the text of cases.json, the bytes of bugs.safetensors)."""
    cases = [*cases_f.cases(fixtures), *cases_models.cases(fixtures)]
    assert len({case.id for case in cases}) == len(cases), "two cases have one id"
    tolerances = {
        case.id: {n: 0 if v.tensor is None else fixtures.tolerance(v.file, v.tensor, v.step) for n, v in case.outputs.items()}
        for case in cases}
    listed, tensors = add_bugs(fixtures, cases, tolerances, only)
    lines = []
    for case in cases:
        keep_apart(fixtures, case, listed[case.id], tensors, tolerances[case.id])
        entry = {"id": case.id, "level": case.id[0], "function": case.function, "asks": case.asks, "source": case.source,
                 "inputs": {n: described(fixtures, v) for n, v in case.inputs.items()},
                 "outputs": {n: described(fixtures, v) | {"tolerance": tolerances[case.id][n]} for n, v in case.outputs.items()},
                 "settings": case.settings, "bugs": listed[case.id]}
        lines.append("  " + json.dumps(entry, ensure_ascii=True))
    bugs = {bug.name: {"is": bug.what, "seen": list(bug.seen)} for bug in table.BUGS}
    head = {"version": VERSION, "rule": RULE, "levels": LEVELS}
    text = json.dumps(head, indent=1)[:-2] + ',\n "bugs": {\n'
    text += ",\n".join(f"  {json.dumps(name)}: {json.dumps(bug)}" for name, bug in bugs.items())
    text += '\n },\n "cases": [\n' + ",\n".join(lines) + "\n ]\n}\n"
    return text, safetensors.numpy.save(dict(sorted(tensors.items())))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("fixtures"), help="where the fixtures are")
    parser.add_argument("--check", action="store_true", help="compare with the files there instead of writing them")
    parser.add_argument("--only", nargs="+", metavar="BUG", choices=[bug.name for bug in table.BUGS],
                        help="run these bugs only, and take the others' outputs from the files there")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    text, bugs = make(Fixtures(arguments.out), arguments.only)
    if PROBLEMS:
        print("\n".join(PROBLEMS))
        return 1
    files = {arguments.out / "cases.json": text.encode(), arguments.out / "bugs.safetensors": bugs}
    if arguments.check:
        different = [path.name for path, data in files.items() if not path.exists() or path.read_bytes() != data]
        print("different: " + ", ".join(different) if different else "cases.json and bugs.safetensors identical")
        return 1 if different else 0
    for path, data in files.items():
        path.write_bytes(data)
    cases = json.loads(text)["cases"]
    print(f"{len(cases)} cases, {len(table.BUGS)} bugs in {sum(len(case['bugs']) for case in cases)} places")
    return 0


if __name__ == "__main__":
    sys.exit(main())
