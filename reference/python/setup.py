"""Puts the vectors into the wheel. In the repository they are in `fixtures/` and nowhere else; a source distribution carries
them along in a folder of the same name.
"""

import json
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = Path(__file__).resolve().parent
FIXTURES = next(f for f in (HERE / "fixtures", HERE.parent.parent / "fixtures") if (f / "cases.json").exists())
CASES = json.loads((FIXTURES / "cases.json").read_text())


def copy_vectors(folder):
    values = [value for case in CASES["cases"] for value in [*case["inputs"].values(), *case["outputs"].values()]]
    files = {value["file"] for value in values if "file" in value} | {"cases.json", "cases.schema.json", "bugs.safetensors", "bits.safetensors"}
    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted(files):
        shutil.copyfile(FIXTURES / file, folder / file)


class BuildWithVectors(build_py):
    def run(self):
        super().run()
        copy_vectors(Path(self.build_lib) / "instructgpt_vectors" / "data")


class SourceWithVectors(sdist):
    def make_release_tree(self, base_dir, files):
        super().make_release_tree(base_dir, files)
        copy_vectors(Path(base_dir) / "fixtures")


setup(version=CASES["version"], cmdclass={"build_py": BuildWithVectors, "sdist": SourceWithVectors})
