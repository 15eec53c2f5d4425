"""Each lesson's code is where the list of lessons says."""

import importlib
from pathlib import Path

import pytest

from medusa_lib.base.course import LESSONS


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.name)
def test_each_lesson_is_a_module(lesson):
    module = importlib.import_module(f"medusa_lib.{lesson.module}")
    assert Path(module.__file__).as_posix().endswith(f"/{lesson.file}")
