#!/bin/sh
# Builds the wheel, installs it in an environment of its own, and runs the package's tests there, away from the repository.
# Skipped, with a message, where PyPI cannot be reached.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
skip() { echo "vectors-check: skipped, as $1"; exit 0; }
command -v python3 >/dev/null 2>&1 || skip "there is no python3"
python3 -m venv "$work/venv" || skip "python3 cannot make an environment"
pip="$work/venv/bin/pip --quiet --disable-pip-version-check"
$pip install pytest jsonschema numpy safetensors 'setuptools>=70' 2>"$work/log" || skip "PyPI cannot be reached: $(tail -n 1 "$work/log")"
# From a copy, so that the build leaves nothing here; the vectors are found in the copy's fixtures.
mkdir -p "$work/reference"
cp -r "$here" "$work/reference/python"
cp -r "$here/../../fixtures" "$work/fixtures"
$pip wheel --no-deps --no-build-isolation --wheel-dir "$work/dist" "$work/reference/python"
rm -rf "$work/fixtures" "$work/reference/python/src"
$pip install --no-deps "$work"/dist/*.whl
ls -l "$work"/dist
cd "$work"
"$work/venv/bin/python" -m pytest -q -p no:cacheprovider "$work/reference/python/tests"
