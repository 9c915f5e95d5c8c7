"""A pytest fixture, `instructgpt_case`: the test that takes it runs once for each case.

A test called `test_FUNCTION` gets that function's cases; `@pytest.mark.instructgpt(level=, function=, id=)` says otherwise; a
test of any other name gets all. `--instructgpt-level F` (or `FO`) leaves out the other levels.
"""

import pytest

from . import cases, levels


def pytest_addoption(parser):
    parser.getgroup("instructgpt").addoption(
        "--instructgpt-level", metavar="LETTERS", help="levels of the vectors to run, such as F or FO (default: all)")


def pytest_configure(config):
    config.addinivalue_line("markers", "instructgpt(level, function, id): which vectors `instructgpt_case` takes")
    unknown = set(config.getoption("--instructgpt-level") or "") - set(levels())
    if unknown:
        raise pytest.UsageError(f"--instructgpt-level: no level {'/'.join(sorted(unknown))}; there are {', '.join(levels())}")


def pytest_generate_tests(metafunc):
    if "instructgpt_case" not in metafunc.fixturenames:
        return
    marker = metafunc.definition.get_closest_marker("instructgpt")
    if marker:
        selected = list(cases(*marker.args, **marker.kwargs))
    else:
        name = metafunc.function.__name__.removeprefix("test_")
        functions = {case.function for case in cases()}
        selected = list(cases(function=name if name in functions else None))
    only = metafunc.config.getoption("--instructgpt-level")
    selected = [case for case in selected if not only or case.level in only]
    metafunc.parametrize("instructgpt_case", selected, ids=[case.id for case in selected])
