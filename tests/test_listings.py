"""What the lessons print: short enough to be held at once."""

from __future__ import annotations

import ast
import importlib
import textwrap
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from medusa_lib.base.course import LESSONS, Lesson
from medusa_lib.steps.loops import draft_and_verify
from medusa_lib.teaching.shared.page import show_source, source_of

FOLDER = Path(__file__).parents[1] / "notebooks"
MOST_BODY, MOST_LINES, MOST_BARE = 15, 25, 8


Printed = tuple[str, Callable]  # the words it is asked for by, the function or class itself


def calls_of_show_source(cell: ast.AST, names: dict[str, object]) -> list[list[Printed]]:
    """What each call of show_source in a cell is given; `names` learns what the cell imports."""
    nodes = list(ast.walk(cell))
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module.startswith("medusa_lib"):
            module = importlib.import_module(node.module)
            names |= {a.asname or a.name: getattr(module, a.name) for a in node.names}
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    shown = [call for call in calls if getattr(call.func, "id", "") == "show_source"]
    words = [[ast.unparse(argument) for argument in call.args] for call in shown]
    return [[(word, eval(word, dict(names))) for word in call] for call in words]


def cells_that_print(notebook: str) -> list[tuple[nbformat.NotebookNode, list[list[Printed]]]]:
    """Each code cell of a lesson that calls show_source or stores Markdown, with those calls."""
    names: dict[str, object] = {}
    cells = nbformat.read(FOLDER / notebook, as_version=4).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    found = [(cell, calls_of_show_source(ast.parse(cell.source), names)) for cell in code]
    return [(cell, calls) for cell, calls in found if calls or stored_markdown(cell)]


def stored_markdown(cell: nbformat.NotebookNode) -> list[str]:
    """The Markdown among a cell's stored outputs."""
    kept = [output.get("data", {}) for output in cell.outputs]
    return [data["text/markdown"] for data in kept if "text/markdown" in data]


def printed(notebook: str) -> list[Printed]:
    """Everything that a lesson hands to show_source, by the words it uses."""
    calls = [call for _, calls in cells_that_print(notebook) for call in calls]
    return [one for call in calls for one in call]


LISTINGS = [(lesson, *one) for lesson in LESSONS for one in printed(lesson.notebook)]


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.name)
def test_every_stored_listing_is_what_the_library_holds_now(lesson: Lesson) -> None:
    """Also in a cell whose output nobody compares, such as one that takes times."""
    for cell, calls in cells_that_print(lesson.notebook):
        live = [show_source(*(function for _, function in call)).data for call in calls]
        assert stored_markdown(cell) == live, cell.id


def body_of(source: str) -> list[ast.stmt]:
    """The statements of one function or class, its docstring left out."""
    body = ast.parse(textwrap.dedent(source)).body[0].body
    is_doc = isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)
    return body[1:] if is_doc and len(body) > 1 else body


def test_the_lessons_print_their_functions() -> None:
    assert len(LISTINGS) > 60
    assert {lesson.name for lesson, *_ in LISTINGS} == {lesson.name for lesson in LESSONS}


@pytest.mark.parametrize(
    ("name", "function"),
    [pytest.param(*one, id=f"{lesson.name}-{one[0]}") for lesson, *one in LISTINGS],
)
def test_a_listing_can_be_held_at_once(name: str, function: Callable) -> None:
    source = source_of(function)
    body = body_of(source)
    assert body[-1].end_lineno - body[0].lineno + 1 <= MOST_BODY, name
    assert len(source.splitlines()) <= MOST_LINES, name


def test_step6_prints_the_bare_loop() -> None:
    in_step6 = [function for lesson, _, function in LISTINGS if lesson.name == "STEP6"]
    assert in_step6[0] is draft_and_verify
    assert len(source_of(draft_and_verify).splitlines()) <= MOST_BARE


def test_no_listing_checks_its_input() -> None:
    """What `checked` does needs no line of a listing; only checks of one thing by another stay."""
    kinds = ("check_int(", "check_bool(", "check_number(", "check_top_p(", "check_seed(")
    kinds += ("check_generator(", "check_ids(", "check_callable(", "check_text(", "check_share(")
    for lesson, name, function in LISTINGS:
        held = [kind for kind in kinds if kind in source_of(function)]
        assert not held, (lesson.name, name, held)
