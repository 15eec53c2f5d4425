"""Panels of the lessons as recordings, several lessons at a time."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Collection, Mapping
from concurrent.futures import ProcessPoolExecutor

import nbformat
import torch
from nbformat import NotebookNode

from medusa_lib.base.course import LESSONS, Lesson
from medusa_lib.teaching.shared.cells import record_notebook

ALL = tuple(lesson.name for lesson in LESSONS)


def check_names(names: Collection[str]) -> None:
    """Raise ValueError for a name that is no lesson's."""
    for name in names:
        if name not in ALL:
            raise ValueError(f"--panels must be among {ALL[0]} to {ALL[-1]}, got {name!r}")


def record_text(text: str) -> dict[str, str]:
    """The panels of one notebook, given as its JSON. One thread: other lessons wait beside it."""
    torch.set_num_threads(1)
    return record_notebook(nbformat.reads(text, as_version=4))


def record_lessons(
    notebooks: Mapping[Lesson, NotebookNode], names: Collection[str]
) -> dict[Lesson, dict[str, str]]:
    """Lesson → cell's id → its panel as HTML, for the lessons of these names; {} for others.

    Each lesson in a process of its own, as many at once as there are processors.
    """
    recorded: dict[Lesson, dict[str, str]] = {lesson: {} for lesson in notebooks}
    wanted = {lesson: book for lesson, book in notebooks.items() if lesson.name in names}
    if wanted:
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(os.cpu_count(), mp_context=spawn) as pool:
            texts = map(nbformat.writes, wanted.values())
            recorded |= zip(wanted, pool.map(record_text, texts), strict=True)
    return recorded
