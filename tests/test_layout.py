"""The agreed layout: a short top level, floors, a page that shows them, one word a lesson."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import refresh
from tree import ROOT, tracked

import medusa_lib
from medusa_lib.base.course import LESSONS, Lesson

PAGE = medusa_lib.__doc__
README = (ROOT / "README.md").read_text(encoding="utf-8")
TESTED = ("base", "steps", "engine", "beyond")  # floors where each file has a test of its name
ALLOWED = {"notebooks", "medusa_lib", "tests", "requirements.txt", "README.md", "pyproject.toml"}
ALLOWED |= {"LICENSE"}


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


@pytest.mark.parametrize("floor", TESTED)
def test_each_file_has_a_test_of_its_name(floor: str) -> None:
    words = {path.stem for path in (ROOT / "medusa_lib" / floor).glob("[!_]*.py")}
    tests = {path.stem for path in (ROOT / "tests" / floor).glob("test_*.py")}
    assert tests == {f"test_{word}" for word in words}


def test_readmes_table_is_the_list_of_lessons() -> None:
    rows = re.findall(r"^\| \[(\w+) ([^]]+)\]\(([^)]+)\) \| (.+) \| `(.+)` \|$", README, re.M)
    assert [(name, words.lower().replace(" ", "_"), *rest) for name, words, *rest in rows] == [
        (each.name, each.word, f"notebooks/{each.notebook}", each.learn, each.file)
        for each in LESSONS
    ]


def test_readmes_table_can_be_written_anew(tmp_path: Path) -> None:
    copy = tmp_path / "README.md"
    copy.write_text(README.replace(LESSONS[3].learn, "something else"), encoding="utf-8")
    refresh.update_readme(copy)
    assert copy.read_text(encoding="utf-8") == README


@pytest.mark.parametrize("text", [README, PAGE], ids=["README", "page"])
def test_every_path_that_is_named_exists(text: str) -> None:
    named = re.findall(r"\b(?:medusa_lib|tests|notebooks|\.ci|\.github)/[\w./]*\w/?", text)
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("text", [README, PAGE], ids=["README", "page"])
def test_every_command_that_is_named_can_be_run(text: str) -> None:
    modules = re.findall(r"python -m (medusa_lib[\w.]*)", text)
    assert modules
    for module in modules:
        place = ROOT / module.replace(".", "/")
        assert (place / "__main__.py").exists() or '"__main__"' in place.with_suffix(
            ".py"
        ).read_text(encoding="utf-8"), module


def test_the_page_is_short_and_names_every_folder() -> None:
    assert len(PAGE.splitlines()) <= 80
    folders = {Path(name).parent for name in tracked() if name.startswith("medusa_lib/")}
    for folder in folders - {Path("medusa_lib")}:
        assert re.search(rf"\b{folder.name}\b", PAGE), folder
    assert "medusa_lib/__init__.py" in README


def test_imports_point_down() -> None:
    """The contracts of pyproject.toml, which list no exception."""
    program = Path(sys.executable).with_name("lint-imports")
    found = subprocess.run([program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout[-3000:]
    for file in (ROOT / "medusa_lib").rglob("*.py"):
        assert (file.parent / "__init__.py").exists(), f"import-linter does not see {file}"
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert not re.findall("ignore_imports|exhaustive_ignores|unmatched_ignore", settings)


def test_public_names_are_importable_and_documented() -> None:
    for name in medusa_lib.__all__:
        assert getattr(medusa_lib, name).__doc__, name
