"""The agreed layout: a short top level, and one word for a lesson and its module."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import medusa_lib
from medusa_lib.base.course import LESSONS, Lesson

ROOT = Path(__file__).parents[1]
ALLOWED = {"notebooks", "medusa_lib", "tests", "requirements.txt", "README.md", "pyproject.toml"}
ALLOWED |= {"LICENSE"}


def tracked() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout, so there is no list of tracked files")
    return listed.stdout.splitlines()


def test_top_level() -> None:
    top = {name.split("/")[0] for name in tracked()}
    assert {name for name in top if not name.startswith(".")} == ALLOWED


def test_one_requirements_file_and_no_pickle() -> None:
    names = [Path(name).name for name in tracked()]
    assert [n for n in names if n.startswith("requirements")] == ["requirements.txt"]
    assert not [n for n in names if n.endswith((".pt", ".pth", ".bin", ".pkl"))]


def test_every_requirement_is_pinned_and_says_what_it_serves() -> None:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    wanted = [line for line in lines if line.strip() and not line.startswith("#")]
    for line in wanted:
        requirement, _, reason = line.partition("#")
        assert reason.strip(), line
        assert "==" in requirement or requirement.strip() == "-e .", line
    assert any(line.startswith("torch==2.13.0 ") for line in wanted)


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.name)
def test_lesson_and_module_carry_the_same_word(lesson: Lesson) -> None:
    assert (ROOT / "notebooks" / lesson.notebook).exists()
    assert (ROOT / lesson.file).exists()
    assert Path(lesson.file).stem == lesson.word
    assert list((ROOT / "tests").rglob(f"test_{lesson.word}.py"))


def test_imports_point_down() -> None:
    """The contracts of pyproject.toml, which list no exception."""
    program = Path(sys.executable).with_name("lint-imports")
    found = subprocess.run([program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout[-3000:]
    assert "ignore_imports" not in (ROOT / "pyproject.toml").read_text()


def test_public_names_are_importable_and_documented() -> None:
    for name in medusa_lib.__all__:
        assert getattr(medusa_lib, name).__doc__, name
