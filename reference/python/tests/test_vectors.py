"""The package's own tests. They run on the installed wheel: `make vectors-check`."""

import math
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy

import instructgpt_vectors
from instructgpt_vectors import bugs, cases, levels

pytest_plugins = ["pytester"]
ALL = list(cases())


def case(id):
    return next(c for c in ALL if c.id == id)


def test_every_level_has_cases_and_every_bug_a_case():
    assert {c.level for c in ALL} == set(levels())
    assert {bug for c in ALL for bug in c.bugs} == set(bugs())
    assert len({c.id for c in ALL}) == len(ALL)


@pytest.mark.parametrize("c", ALL, ids=repr)
def test_right_outputs_are_exact(c):
    result = c.check(c.outputs)
    assert result and result.bug is None
    assert {v.kind for v in result.verdicts.values()} == {"exact"}


@pytest.mark.parametrize("c", ALL, ids=repr)
def test_every_bug_is_recognised_as_itself_and_no_other(c):
    for bug in c.bugs:
        result = c.check(c.wrong(bug))
        assert not result and result.bug == bug
        assert bugs()[bug]["is"] in str(result)


@pytest.mark.parametrize("c", ALL, ids=repr)
def test_noise_within_the_tolerance_is_right_and_changes_no_bugs_name(c):
    generator = np.random.default_rng(7)

    def noisy(outputs):
        return {name: x + 0.9 * c.tolerances[name] * generator.uniform(-1, 1, x.shape) if c.tolerances[name] else x
                for name, x in outputs.items()}

    assert c.check(noisy(c.outputs))
    for bug in c.bugs:
        assert c.check(noisy(c.wrong(bug))).bug == bug


@pytest.mark.parametrize("c", ALL, ids=repr)
def test_a_random_perturbation_is_no_bug(c):
    generator = np.random.default_rng(8)

    def perturbed(name, x):
        return x + (generator.normal(size=x.shape) * 10 * c.tolerances[name] if c.tolerances[name] else 1)

    outputs = {name: perturbed(name, x) for name, x in c.outputs.items()}
    if any(x.size for x in outputs.values()):
        result = c.check(outputs)
        assert not result and result.bug is None


def test_inputs_and_outputs_are_copies():
    gae = case("F/gae/default")
    gae.inputs["rewards"][:] = 0
    gae.outputs["advantages"][:] = 0
    assert gae.inputs["rewards"].any() and gae.outputs["advantages"].any()


def test_scalars_are_numbers_and_text_is_text():
    assert isinstance(case("F/gae/default").inputs["gamma"], np.float32)
    assert isinstance(case("T/bpe/encode/09").inputs["text"], str)
    assert case("F/whiten/two/unbiased/shifted").settings == {"unbiased": True, "shift_mean": True}


def test_what_is_wrong_is_said():
    c = case("F/kl_rewards")
    right = c.outputs["rewards"]
    assert c.check(right.tolist()).ok  # one output may stand for itself, and be a list
    assert c.check({}).verdicts["rewards"].kind == "missing"
    assert c.check(right[:-1]).verdicts["rewards"].kind == "shape"
    off = right.copy()
    off[5] += 100 * c.tolerances["rewards"]
    text = str(c.check(off))
    assert "off by 100" in text and "at [5]" in text
    off[5] = math.nan
    assert c.check(off).verdicts["rewards"].kind == "off"
    assert c.check(right.astype(np.float64) + 1e-12).verdicts["rewards"].kind == "exact"
    with pytest.raises(ValueError, match="no output advantages; it has rewards"):
        c.check({"advantages": right})
    with pytest.raises(TypeError, match="advantages, returns"):
        case("F/gae/default").check(right)
    with pytest.raises(AssertionError, match="this is `kl-sign`"):
        c.assert_close(c.wrong("kl-sign"))


def test_bits_are_right_answers_and_asked_for_to_the_bit():
    with_bits = [c for c in cases() if c.bits is not None]
    assert 80 < len(with_bits) < len(list(cases())) and {c.level for c in with_bits} == set(levels())
    for c in with_bits:
        assert c.check(c.bits).ok and {v.kind for v in c.check(c.bits, bits=True).verdicts.values()} == {"exact"}
    linear = case("O/linear")
    mine = linear.bits
    mine["dx"][1, 1] = np.nextafter(mine["dx"][1, 1], np.float32(9))
    assert linear.check(mine).ok
    found = linear.check(mine, bits=True).verdicts
    assert found["dx"].kind == "bits" and "of other bits in 1, first at [1, 1]" in str(found["dx"]) and found["y"].ok
    assert case("F/kl_rewards").check(case("F/kl_rewards").wrong("kl-sign"), bits=True).bug == "kl-sign"
    with pytest.raises(ValueError, match="no bits"):
        case("F/padded/gae").check(case("F/padded/gae").outputs, bits=True)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="no level Z"):
        list(cases(level="FZ"))
    with pytest.raises(ValueError, match="no function 'gea'"):
        list(cases(function="gea"))
    with pytest.raises(ValueError, match="does not store"):
        case("F/kl_rewards").wrong("gae-lambda-lost")


GAE = """
import numpy as np

def test_gae(instructgpt_case):
    case = instructgpt_case
    i = case.inputs
    advantages = np.zeros_like(i["rewards"])
    for start, end in zip(i["offsets"][:-1], i["offsets"][1:]):
        value = advantage = 0.0
        for t in reversed(range(start, end)):
            delta = i["rewards"][t] + i["gamma"] * value - i["values"][t]
            advantage = delta + i["gamma"] * {lam} * advantage
            value, advantages[t] = i["values"][t], advantage
    case.assert_close({{"advantages": advantages, "returns": advantages + i["values"]}})
"""


def test_the_plugin_runs_a_function_on_its_cases(pytester):
    pytester.makepyfile(GAE.format(lam='i["lambda"]'))
    pytester.runpytest("--instructgpt-level", "F").assert_outcomes(passed=4)
    pytester.runpytest("--instructgpt-level", "O").assert_outcomes(skipped=1)
    assert pytester.runpytest("--instructgpt-level", "Z").ret == 4


def test_the_plugin_names_the_bug(pytester):
    pytester.makepyfile(GAE.format(lam="1.0"))
    result = pytester.runpytest("--instructgpt-level", "F")
    result.assert_outcomes(passed=1, failed=3)  # lambda is 1 in one of them
    result.stdout.fnmatch_lines(["*this is `gae-lambda-lost`*"])


def test_the_plugins_marker_chooses(pytester):
    pytester.makepyfile("""
        import pytest

        @pytest.mark.instructgpt(level="O", id="O/gelu*")
        def test_mine(instructgpt_case):
            assert instructgpt_case.level == "O"
    """)
    pytester.runpytest("--strict-markers").assert_outcomes(passed=2)


def test_a_file_is_checked(tmp_path):
    selected = list(cases(level="F"))
    path = tmp_path / "mine.safetensors"

    def run(outputs):
        safetensors.numpy.save_file({f"{c.id}/{n}": x for c in selected for n, x in outputs(c).items()}, path)
        command = [sys.executable, "-m", "instructgpt_vectors", str(path), "--level", "F"]
        return subprocess.run(command, capture_output=True, text=True)

    assert run(lambda c: c.outputs).returncode == 0
    wrong = run(lambda c: c.wrong(c.bugs[0]))
    assert wrong.returncode == 1 and f"this is `{selected[0].bugs[0]}`" in wrong.stdout
    path.write_bytes(b"torn")
    torn = subprocess.run([sys.executable, "-m", "instructgpt_vectors", str(path)], capture_output=True, text=True)
    assert torn.returncode == 2 and len(torn.stderr.splitlines()) == 1


def test_the_schema_holds_and_can_fail():
    jsonschema = pytest.importorskip("jsonschema")
    folder = instructgpt_vectors._folder()
    import copy
    import json
    schema = json.loads((folder / "cases.schema.json").read_text())
    document = json.loads((folder / "cases.json").read_text())
    validator = jsonschema.Draft202012Validator(schema)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator.validate(document)

    def refused(change):
        broken = copy.deepcopy(document)
        broken["cases"] = broken["cases"][:2]
        change(broken)
        return not validator.is_valid(broken)

    first = next(iter(document["cases"][0]["outputs"]))
    assert not refused(lambda d: None)
    assert refused(lambda d: d["cases"][0].pop("source"))
    assert refused(lambda d: d["cases"][0].update(source=""))
    assert refused(lambda d: d["cases"][0]["outputs"][first].pop("tolerance"))
    assert refused(lambda d: d["cases"][0]["outputs"][first].update(tolerance=-1))
    assert refused(lambda d: d["cases"][0]["outputs"][first].update(dtype="I64", tolerance=0.5))
    assert refused(lambda d: d["cases"][0]["outputs"].clear())
    assert refused(lambda d: d.pop("version"))
    assert refused(lambda d: d["cases"][0].update(flag=1))
    assert refused(lambda d: d["bugs"].update(Wrong={"is": "", "seen": []}))
