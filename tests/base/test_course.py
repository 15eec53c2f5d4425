"""Each lesson's code is where the list of lessons says."""

import importlib
from pathlib import Path

import pytest

from medusa_lib.base import course
from medusa_lib.base.course import LESSONS, PHRASES, Lesson, launch_links, published_at


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.name)
def test_each_lesson_is_a_module(lesson):
    module = importlib.import_module(f"medusa_lib.{lesson.module}")
    assert 3 < len(lesson.phrase) < 40
    assert Path(module.__file__).as_posix().endswith(f"/{lesson.file}")


def test_a_lesson_without_a_phrase_has_its_word():
    assert Lesson("BEYOND99", "no_such", "a", "b").phrase == "no such"
    assert Lesson("STEP4", "drafter", "a", "b").phrase == PHRASES["drafter"]


def test_a_lesson_runs_in_the_browser_at_two_addresses():
    beyond = next(lesson for lesson in LESSONS if lesson.name == "BEYOND1")
    assert launch_links(beyond, "some-one/medusa.py") == {
        "Binder": "https://mybinder.org/v2/gh/some-one/medusa.py/HEAD"
        "?labpath=notebooks%2Fbeyond%2FBEYOND1_one_pass.ipynb",
        "Colab": "https://colab.research.google.com/github/some-one/medusa.py/blob/HEAD"
        "/notebooks/beyond/BEYOND1_one_pass.ipynb",
    }


@pytest.mark.parametrize("repository", ["", "medusa", "a/b/c", "https://x/y", "a b/c", None, 7])
def test_what_is_no_repository_is_refused(repository):
    with pytest.raises(ValueError, match="repository must be OWNER/NAME on GitHub, got"):
        launch_links(LESSONS[0], repository)


def test_the_setting_goes_before_what_githubs_machines_say(monkeypatch):
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    assert published_at() == course.REPOSITORY
    monkeypatch.setenv("GITHUB_REPOSITORY", "someone/medusa")
    assert published_at() == (course.REPOSITORY or "someone/medusa")
    monkeypatch.setattr(course, "REPOSITORY", "another/medusa")
    assert published_at() == "another/medusa"
