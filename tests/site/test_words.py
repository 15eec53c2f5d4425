"""The glossary's entries are found in the lessons, not typed."""

from __future__ import annotations

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from tree import ROOT

from medusa_lib.base.course import LESSONS, Lesson
from medusa_lib.site.words import (
    first_use,
    link_words,
    meaning_at,
    plain_line,
    running_text,
    uses_of,
    words_learned,
)

LESSON = LESSONS[3]
PROSE = """## The draw

**Goal.** Learn it.

Look at `draw`. A **draw** picks a token. It is [seeded](STEP0.ipynb).

<details><summary>Answer</summary>A **die** is thrown.</details>

**Words learned:** draw, nucleus (top-p), die, draft cost c."""


def book(*sources):
    return new_notebook(cells=[new_code_cell("draw = 1"), *map(new_markdown_cell, sources)])


def test_words_are_those_of_the_line_at_the_end():
    assert words_learned(book(PROSE)) == ["draw", "nucleus (top-p)", "die", "draft cost c"]
    assert words_learned(book("nothing")) == []


def test_running_text_keeps_each_letters_place_and_blanks_what_is_none():
    text = running_text(PROSE)
    assert len(text) == len(PROSE)
    assert "The draw" not in text
    assert "die" not in text
    assert "ipynb" not in text
    assert text.index("picks") == PROSE.index("picks")


@pytest.mark.parametrize(
    ("prose", "term", "meaning"),
    [
        ("One. A **draw** picks a token. Two.", "draw", "A **draw** picks a token."),
        ("A draw? A **draw** picks.", "draw", "A **draw** picks."),
        (
            "The **nucleus** (top-p) keeps. Two.",
            "nucleus (top-p)",
            "The **nucleus** (top-p) keeps.",
        ),
        ("It moves. This is the **draw**.", "draw", "It moves. This is the **draw**."),
        ("**A cache.** It keeps all. Two.", "cache", "**A cache.** It keeps all."),
        ("the **draft cost c**: time", "draft cost c", "the **draft cost c**: time"),
        ("a *prompt lookup* is", "prompt lookup", "a *prompt lookup* is"),
        ("two knobs here", "knob", "two knobs here"),
        ("its **joint** part", "joint chance", "its **joint** part"),
        ("| a | the **row** |", "row", "a · the **row**"),
        ("- **span**: so [long](x.md)", "span", "**span**: so long"),
    ],
)
def test_a_meaning_is_the_sentence_of_the_first_use(prose, term, meaning):
    use = first_use(LESSON, book("nothing here", prose), term)
    assert use.meaning == meaning
    assert use.cell == 2
    assert term.split()[0] in prose[use.start : use.end].lower()


def test_a_word_that_is_used_nowhere_has_no_place():
    use = first_use(LESSON, book(PROSE), "die")
    assert (use.cell, use.meaning) == (None, "")


def test_bold_wins_over_an_earlier_plain_use():
    use = first_use(LESSON, book("A draw.", "The **draw** is."), "draw")
    assert use.meaning == "The **draw** is."


def test_a_line_stands_elsewhere_without_links_tags_or_half_a_bracket():
    assert plain_line("1. (see <em>the</em> [lesson](a.ipynb)") == "see the lesson"
    assert meaning_at("p is | p − q | here.", 0, 1) == "p is | p − q | here."


def test_words_become_links_with_a_place_to_come_back_to():
    notebook = book(PROSE)
    uses = uses_of(LESSON, notebook)
    link_words(notebook, uses)
    text = notebook.cells[1].source
    assert 'A **<span id="word-draw"></span>{term}`draw <draw>`** picks' in text
    assert "Look at `draw`." in text
    assert text.count('id="word-draw"') == 1
    assert "**Words learned:** {term}`draw`, " in text
    assert 'id="word-nucleus-top-p"' in text.split("**Words learned:**")[1]
    assert notebook.cells[0].source == "draw = 1"


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.name)
def test_nearly_each_word_of_a_lesson_is_found(lesson: Lesson):
    notebook = nbformat.read(ROOT / "notebooks" / lesson.notebook, as_version=4)
    uses = uses_of(lesson, notebook)
    assert len(uses) >= 4
    lost = [use.term for use in uses if use.cell is None]
    assert len(lost) <= 3, lost
