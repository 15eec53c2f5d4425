"""Running the course elsewhere: Binder, Colab and the dev container get what they need."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType, SimpleNamespace

import nbformat
import pytest
import refresh
import yaml
from minutes import minutes
from tree import ROOT

from medusa_lib.base.course import LESSONS, REPOSITORY, Lesson

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REQUIREMENTS = (ROOT / "requirements.txt").read_text(encoding="utf-8")
POST_BUILD = ROOT / ".binder" / "postBuild"
CONTAINER = ROOT / ".devcontainer" / "devcontainer.json"

lessons = pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.name)


def read(lesson: Lesson) -> nbformat.NotebookNode:
    return nbformat.read(ROOT / "notebooks" / lesson.notebook, as_version=4)


@pytest.fixture
def ran(monkeypatch):
    """Commands that the cell runs, none of which is carried out."""
    commands = []
    monkeypatch.setattr(subprocess, "run", lambda command, **how: commands.append((command, how)))
    return commands


@pytest.fixture
def colab(monkeypatch):
    """A stand-in for Colab's own module; holds how often the widget manager was asked for."""
    asked = []
    output = SimpleNamespace(enable_custom_widget_manager=lambda: asked.append(1))
    module = ModuleType("google.colab")
    module.output = output
    monkeypatch.setitem(sys.modules, "google", ModuleType("google"))
    monkeypatch.setitem(sys.modules, "google.colab", module)
    return asked


@pytest.fixture
def bare(monkeypatch):
    """A machine on which the course is not installed."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


def run_cell(repository: str = "someone/medusa") -> None:
    exec(compile(refresh.colab_source(repository), "<colab cell>", "exec"), {})


def test_in_colab_the_cell_installs_the_course_and_switches_widgets_on(colab, bare, ran) -> None:
    run_cell()
    wanted = "medusa-lib[colab] @ git+https://github.com/someone/medusa"
    assert ran == [([sys.executable, "-m", "pip", "install", "-q", wanted], {"check": True})]
    assert colab == [1]


def test_in_colab_the_cell_installs_once(colab, ran) -> None:
    run_cell()
    assert ran == []
    assert colab == [1]


@pytest.mark.parametrize("repository", ["", "medusa", "https://github.com/someone/medusa"])
def test_in_colab_without_a_repository_the_cell_says_so(colab, bare, ran, repository) -> None:
    with pytest.raises(ValueError, match="repository must be OWNER/NAME"):
        run_cell(repository)
    assert ran == colab == []


def test_anywhere_else_the_cell_does_and_says_nothing(bare, ran, capsys) -> None:
    assert "google.colab" not in sys.modules
    run_cell("")
    assert ran == []
    assert capsys.readouterr() == ("", "")


@lessons
def test_each_lesson_carries_the_very_same_cell_and_nobody_sees_it(lesson: Lesson) -> None:
    notebook = read(lesson)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    assert first.source == refresh.colab_source(REPOSITORY)
    assert first.metadata == refresh.UNSEEN
    assert (first.id, first.execution_count, first.outputs) == ("colab", 1, [])
    counted = minutes(notebook)
    notebook.cells.remove(first)
    assert minutes(notebook) == counted


def test_the_cell_is_put_in_once_and_follows_the_setting(tmp_path: Path) -> None:
    path = tmp_path / "copy.ipynb"
    nbformat.write(read(LESSONS[0]), path)
    before = path.read_bytes()
    refresh.set_up_colab(path)
    assert path.read_bytes() == before
    refresh.set_up_colab(path, "someone/medusa")
    said = path.read_text(encoding="utf-8")
    assert said.count('"id": "colab"') == 1
    assert 'repository = \\"someone/medusa\\"' in said


def test_what_colab_gets_is_what_everybody_gets() -> None:
    """The same pins, and no torch: Colab's own is there, and its replacement takes minutes."""
    pins = PROJECT["optional-dependencies"]["colab"]
    assert set(pins) <= set(re.findall(r"^[\w-]+==[\w.]+", REQUIREMENTS, re.M))
    assert not [pin for pin in pins if pin.startswith("torch")]


def test_readme_says_how_and_links_nowhere_that_is_not_there(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    copy = tmp_path / "README.md"
    copy.write_text(readme, encoding="utf-8")
    refresh.update_readme(copy)
    assert copy.read_text(encoding="utf-8") == readme
    assert REPOSITORY or not re.findall(r"\]\(https://(?:mybinder|colab)", readme)
    refresh.update_readme(copy, "someone/medusa")
    links = re.findall(r"\]\((https://(?:mybinder|colab)[^)]*)\)", copy.read_text(encoding="utf-8"))
    assert len(links) == 1 + len(LESSONS)
    assert all("/someone/medusa/" in link for link in links)


def test_the_container_and_binder_have_a_python_that_will_do() -> None:
    container = json.loads(CONTAINER.read_text(encoding="utf-8"))
    assert container["postCreateCommand"] == f"bash {POST_BUILD.relative_to(ROOT)}"
    for opened in container["customizations"]["codespaces"]["openFiles"]:
        assert (ROOT / opened).exists()
    python = (POST_BUILD.parent / "runtime.txt").read_text(encoding="utf-8").strip()
    version = python.removeprefix("python-")
    assert f"/python:{version}-" in container["image"]
    assert PROJECT["requires-python"] == f">={version}"


def test_workflows_are_yaml() -> None:
    for file in (ROOT / ".github" / "workflows").iterdir():
        assert yaml.safe_load(file.read_text(encoding="utf-8"))["jobs"]


def test_what_binder_runs_installs_the_small_torch_first(tmp_path: Path) -> None:
    """Carried out with a stand-in for python that notes what it is told."""
    assert POST_BUILD.stat().st_mode & stat.S_IXUSR
    stand_in, told = tmp_path / "python", tmp_path / "told"
    stand_in.write_text(f'#!/bin/sh\necho "$@" >> {told}\n', encoding="utf-8")
    stand_in.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(["bash", POST_BUILD], cwd=ROOT, env={"PATH": path}, check=True)
    small, rest, works = told.read_text(encoding="utf-8").splitlines()
    (torch,) = re.findall(r"^torch==\S+", REQUIREMENTS, re.M)
    assert small.endswith(f"--index-url https://download.pytorch.org/whl/cpu {torch}")
    assert rest.endswith("-r requirements.txt")
    assert works.startswith("-m medusa_lib ")
    assert f"{torch} --index-url" in (ROOT / "README.md").read_text(encoding="utf-8")
