"""Each lesson's code is where the list of lessons says."""

import importlib
from pathlib import Path

import pytest

from medusa_lib.base.course import LESSONS, PHRASES, Lesson


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.name)
def test_each_lesson_is_a_module(lesson):
    module = importlib.import_module(f"medusa_lib.{lesson.module}")
    assert 3 < len(lesson.phrase) < 40
    assert Path(module.__file__).as_posix().endswith(f"/{lesson.file}")


def test_a_lesson_without_a_phrase_has_its_word():
    assert Lesson("BEYOND99", "no_such", "a", "b").phrase == "no such"
    assert Lesson("STEP4", "drafter", "a", "b").phrase == PHRASES["drafter"]
