"""Words for pictures come from the functions that draw them."""

from __future__ import annotations

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_output
from tree import ROOT

from medusa_lib.base.course import LESSONS, Lesson
from medusa_lib.site.pictures import alternative, called_in, describe_pictures, first_sentences

PICTURE = new_output("display_data", {"image/png": "x"})
PRINTED = new_output("stream", text="1 token\n2\n")


def test_the_first_sentence_of_what_draws_stands_for_the_picture():
    cell = new_code_cell("plot_branch(a)\nplt.show()", outputs=[PICTURE, PRINTED])
    assert first_sentences()["plot_branch"].startswith("A drafted branch: for each token")
    assert alternative(cell) == (
        f"Plot. {first_sentences()['plot_branch']}. Its numbers are printed with it."
    )


def test_the_map_says_where_we_are():
    cell = new_code_cell("where_we_are(3)", outputs=[PICTURE, PRINTED])
    assert alternative(cell) == "Map of the lessons. 1 token"


def test_calls_in_order_each_once():
    assert called_in("b(a())\nc.d()\na()") == ["b", "a", "c.d"]


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.name)
def test_every_stored_picture_has_words_of_its_own(lesson: Lesson):
    notebook = nbformat.read(ROOT / "notebooks" / lesson.notebook, as_version=4)
    describe_pictures(notebook)
    said = [
        cell.metadata["mystnb"]["image"]["alt"]
        for cell in notebook.cells
        if "mystnb" in cell.metadata
    ]
    assert said
    for words in said:
        assert "Drawn by the code above" not in words, words
        assert len(words.split()) > 5
