"""The wheel holds the whole package and nothing else, and decodes where no project lies around."""

from __future__ import annotations

import importlib.metadata
import json
import sys
import zipfile
from pathlib import Path

import pytest
from tree import copy_tree, lend_compiled, run_with, tracked

PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
NEEDED = 77  # of setuptools, by pyproject.toml


def pip(*arguments: str | Path, cwd: Path) -> None:
    ran = run_with(cwd, *PIP, *arguments, cwd=cwd)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def build_options() -> list[str]:
    """Nothing is fetched to build with where a setuptools that will do is at hand."""
    try:
        major = int(importlib.metadata.version("setuptools").partition(".")[0])
    except importlib.metadata.PackageNotFoundError:
        major = 0
    return ["--no-build-isolation"] if major >= NEEDED else []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy, since building leaves its traces in the folder it reads."""
    copy, folder = copy_tree(tmp_path_factory.mktemp("copy")), tmp_path_factory.mktemp("wheel")
    pip("wheel", ".", "--no-deps", *build_options(), "--wheel-dir", folder, cwd=copy)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """A folder with the package as its users have it."""
    folder = tmp_path_factory.mktemp("installed")
    pip("install", wheel, "--no-deps", "--no-index", "--target", folder, cwd=folder)
    lend_compiled(folder)
    return folder


def test_it_holds_each_file_of_the_package_and_nothing_else(wheel) -> None:
    """Code, weights, prompts and cards; no test, no notebook."""
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    beside = {name for name in names if ".data/" in name}  # what pip puts into the environment
    names -= beside
    assert [name.partition(".data/data/")[2] for name in beside] == [
        "etc/jupyter/jupyter_nbconvert_config.py"
    ]
    assert names == {name for name in tracked() if name.startswith("medusa_lib/")}
    assert {Path(name).suffix for name in names} >= {".py", ".safetensors", ".json", ".txt", ".md"}


def test_it_decodes_from_an_empty_folder(installed, tmp_path) -> None:
    options = ("--max-new-tokens", "5", "--device", "cpu", "--json")
    ran = run_with(installed, sys.executable, "-m", "medusa_lib", *options, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)
    assert said["identical"] is True
    assert said["greedy"]["new_tokens"] == 5


def test_it_is_the_installed_package_whose_heads_and_draft_model_draft(installed, tmp_path) -> None:
    script = """
from medusa_lib import __file__, load_lm, run_greedy, speculate
print(__file__)
lm = load_lm(device="cpu")
wanted = run_greedy(lm, "Once upon a time", 12).new_ids
for name in ("heads_tree", "draft_model"):
    run = speculate(lm, "Once upon a time", name, 12)
    print(name, run.new_ids == wanted, any(loop.accepted for loop in run.loops))
"""
    ran = run_with(installed, sys.executable, "-c", script, cwd=tmp_path)
    first = str(installed / "medusa_lib" / "__init__.py")
    wanted = [first, "heads_tree True True", "draft_model True True"]
    assert ran.stdout.splitlines() == wanted, ran.stderr
