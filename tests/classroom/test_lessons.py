"""Handing out lessons: new ones come, a learner's work stays."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from medusa_lib.classroom.lessons import copy_missing, hand_out
from medusa_lib.classroom.settings import LESSONS

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture
def course(tmp_path):
    """A folder of two lessons, one in a folder of its own, and a file that is nobody's."""
    source = tmp_path / "course"
    (source / "beyond").mkdir(parents=True)
    (source / "one.ipynb").write_text("first")
    (source / "beyond" / "two.ipynb").write_text("second")
    (source / ".ipynb_checkpoints").mkdir()
    (source / ".ipynb_checkpoints" / "one.ipynb").write_text("hidden")
    return source


@pytest.fixture
def own(tmp_path, course):
    """A learner's copy."""
    folder = tmp_path / "own"
    folder.mkdir()
    assert hand_out(course, folder) == ["beyond/two.ipynb", "one.ipynb"]
    return folder


def test_all_lessons_are_handed_out_once(course, own) -> None:
    assert (own / "beyond" / "two.ipynb").read_text() == "second"
    assert not list(own.rglob(".ipynb_checkpoints"))
    assert hand_out(course, own) == []
    assert not list(own.rglob("*.part"))


def test_what_a_learner_has_changed_is_never_overwritten(course, own) -> None:
    (own / "one.ipynb").write_text("my work")
    (course / "one.ipynb").write_text("a new edition")
    assert hand_out(course, own) == []
    assert (own / "one.ipynb").read_text() == "my work"
    (own / ".handed_out.json").unlink()  # nor if nothing is known of it any more
    assert hand_out(course, own) == []
    assert (own / "one.ipynb").read_text() == "my work"


def test_what_a_learner_has_not_touched_follows_the_course(course, own) -> None:
    (course / "one.ipynb").write_text("a new edition")
    (course / "three.ipynb").write_text("third")
    assert hand_out(course, own) == ["one.ipynb", "three.ipynb"]
    assert (own / "one.ipynb").read_text() == "a new edition"


def test_a_lesson_that_was_deleted_comes_anew(course, own) -> None:
    (own / "one.ipynb").unlink()
    (own / "mine.ipynb").write_text("my own")
    assert hand_out(course, own) == ["one.ipynb"]
    assert (own / "mine.ipynb").read_text() == "my own"


def test_a_spoilt_note_costs_no_work(course, own) -> None:
    (own / "one.ipynb").write_text("my work")
    (own / ".handed_out.json").write_text("[broken")
    assert hand_out(course, own) == []
    assert (own / "one.ipynb").read_text() == "my work"


def test_a_folder_in_the_place_of_a_lesson_stays(course, own) -> None:
    (own / "one.ipynb").unlink()
    (own / "one.ipynb").mkdir()
    assert hand_out(course, own) == []
    assert (own / "one.ipynb").is_dir()


def test_a_course_without_files_is_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="lessons must be a folder with files, got"):
        hand_out(tmp_path, tmp_path)


def test_what_is_prepared_is_copied_where_there_is_none(course, tmp_path) -> None:
    home = tmp_path / "home"
    (home / "beyond").mkdir(parents=True)
    (home / "one.ipynb").write_text("mine")
    copy_missing(course, home)
    assert (home / "one.ipynb").read_text() == "mine"
    assert (home / "beyond" / "two.ipynb").read_text() == "second"


def test_the_command_that_readme_gives_a_cluster_hands_the_lessons_out(tmp_path) -> None:
    """In a fresh home, as Zero to JupyterHub runs it when a learner's server has started."""
    code = re.search(r'running `python -c "(.*?)"`', README.read_text(encoding="utf-8"))[1]
    assert "/srv/medusa/notebooks" in code
    code = code.replace("/srv/medusa/notebooks", str(LESSONS))
    env = {**os.environ, "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=env, check=True)
    assert (tmp_path / "STEP3_sampling.ipynb").exists()
    assert (tmp_path / "beyond" / "BEYOND1_one_pass.ipynb").exists()
