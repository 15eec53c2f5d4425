"""The lessons and their files."""

from pathlib import Path

import pytest

import medusa_lib
from medusa_lib.base.course import LESSONS


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.name)
def test_each_lesson_is_a_module(lesson):
    assert __import__(f"medusa_lib.{lesson.module}")
    assert (Path(medusa_lib.__file__).parents[1] / lesson.file).exists()
