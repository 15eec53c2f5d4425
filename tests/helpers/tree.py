"""The project's own files, and a copy of them that a test may change."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def tracked() -> list[str]:
    """Paths of all files that git tracks and that are there, from the top of the project on."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout, so there is no list of tracked files")
    return [name for name in listed.stdout.splitlines() if (ROOT / name).exists()]


def copy_tree(folder: Path) -> Path:
    """Copy all tracked files into a new folder, without git's own."""
    for name in tracked():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


def lend_compiled(folder: Path) -> None:
    """Let a copy of the package in a folder use what numba has compiled of the very same lines.

    Numba knows them by the source's size and time. Compiling itself has tests of its own.
    """
    for kept in (ROOT / "medusa_lib").rglob("__pycache__/*.nb[ic]"):
        source = kept.parents[1] / f"{kept.name.partition('.')[0]}.py"
        for own in (source, kept):
            copy = folder / own.relative_to(ROOT)
            copy.parent.mkdir(exist_ok=True)
            shutil.copy2(own, copy)


def run_with(library: Path, *command: str | Path, cwd: Path) -> subprocess.CompletedProcess:
    """Run a command that imports `medusa_lib` from the folder `library`, and nothing else of us."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    return subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env={**kept, "PYTHONPATH": str(library), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
