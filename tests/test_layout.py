"""The agreed layout: a short top level, and one word for a lesson and its module."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import medusa_lib
from medusa_lib.base.course import BEYOND_WORDS, STEP_WORDS

ROOT = Path(__file__).parent.parent
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


@pytest.mark.parametrize("step", range(8))
def test_lesson_and_module_carry_the_same_word(step: int) -> None:
    word = STEP_WORDS[step]
    assert (ROOT / "notebooks" / f"STEP{step}_{word}.ipynb").exists()
    assert (ROOT / "medusa_lib" / f"{word}.py").exists()
    assert (ROOT / "tests" / f"test_{word}.py").exists()


@pytest.mark.parametrize("number", range(1, len(BEYOND_WORDS) + 1))
def test_beyond_lesson_and_module_carry_the_same_word(number: int) -> None:
    word = BEYOND_WORDS[number - 1]
    assert (ROOT / "notebooks" / "beyond" / f"BEYOND{number}_{word}.ipynb").exists()
    assert (ROOT / "medusa_lib" / f"{word}.py").exists()
    assert (ROOT / "tests" / f"test_{word}.py").exists()


def test_steps_import_only_lower_steps() -> None:
    for step, word in enumerate(STEP_WORDS):
        source = (ROOT / "medusa_lib" / f"{word}.py").read_text()
        for later in (*STEP_WORDS[step + 1 :], "plots", "views", "widgets", "lessons"):
            assert f"from medusa_lib.{later} import" not in source, f"{word} imports {later}"


def test_public_names_are_importable_and_documented() -> None:
    for name in medusa_lib.__all__:
        assert getattr(medusa_lib, name).__doc__, name
