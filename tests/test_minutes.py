"""The minutes that a lesson announces are counted, not felt."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
import refresh
from minutes import minutes, of_outputs, of_prose
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from medusa_lib.base.course import LESSONS, Lesson

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
SOLUTION = "<details><summary>Solution</summary>\n\n```python\na\n```\n\n</details>"


def test_words_listings_and_planned_minutes_of_prose() -> None:
    neighbours = "← this is the first lesson · about 19 minutes · code: `a.py`"
    heading = f"{neighbours}\n\n## Your turn (4 minutes)"
    text = f"{heading}\n\none [two](three.ipynb)\n\n```python\na = 1\n\nb\n```\n{SOLUTION}"
    assert of_prose(text) == (6, 2, 4)  # Your turn 4 minutes one two


def test_a_listing_counts_by_lines_and_any_other_output_once() -> None:
    listing = new_output("display_data", {"text/markdown": "`f`\n```python\na\nb\n```"})
    printed = new_output("stream", text="1\n2\n3\n")
    assert of_outputs(new_code_cell(outputs=[listing])) == (2, 0)
    assert of_outputs(new_code_cell(outputs=[listing, printed, printed])) == (2, 1)


def test_the_count_is_the_sum() -> None:
    cells = [new_markdown_cell("word " * 400), new_markdown_cell("## Now you (3 minutes)")]
    code = new_code_cell("\n".join(["a"] * 15), outputs=[new_output("stream", text="1")])
    assert minutes(new_notebook(cells=cells)) == 6  # 2, 3 and the heading's four words
    assert minutes(new_notebook(cells=[cells[0], code])) == 4  # 2, 1 and 20 seconds


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.name)
def test_a_lesson_announces_its_count_and_its_neighbours(lesson: Lesson) -> None:
    notebook = nbformat.read(NOTEBOOKS / lesson.notebook, as_version=4)
    first = notebook.cells[0].source
    assert re.findall(r"about (\d+) minutes", first) == [str(minutes(notebook))]
    assert refresh.neighbours(lesson) in first


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.name)
def test_a_step_takes_25_minutes_at_most_and_a_lesson_beyond_40(lesson: Lesson) -> None:
    taken = minutes(nbformat.read(NOTEBOOKS / lesson.notebook, as_version=4))
    assert taken <= (40 if lesson.name.startswith("BEYOND") else 25)
