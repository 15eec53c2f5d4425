"""What the lessons print: short enough to be held at once."""

from __future__ import annotations

import ast
import importlib
import textwrap
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from medusa_lib.base.course import LESSONS
from medusa_lib.steps.loops import draft_and_verify
from medusa_lib.teaching.shared.page import source_of

FOLDER = Path(__file__).parents[1] / "notebooks"
MOST_BODY, MOST_LINES, MOST_BARE = 15, 25, 8


def printed(notebook: str) -> list[tuple[str, Callable]]:
    """Everything that a lesson hands to show_source, by the words it uses."""
    names: dict[str, object] = {}
    found = []
    for cell in nbformat.read(FOLDER / notebook, as_version=4).cells:
        if cell.cell_type != "code":
            continue
        nodes = list(ast.walk(ast.parse(cell.source)))
        for node in nodes:
            if isinstance(node, ast.ImportFrom) and node.module.startswith("medusa_lib"):
                module = importlib.import_module(node.module)
                names |= {a.asname or a.name: getattr(module, a.name) for a in node.names}
        calls = [node for node in nodes if isinstance(node, ast.Call)]
        shown = [call for call in calls if getattr(call.func, "id", "") == "show_source"]
        for argument in (argument for call in shown for argument in call.args):
            found.append((ast.unparse(argument), eval(ast.unparse(argument), dict(names))))
    return found


LISTINGS = [(lesson, *one) for lesson in LESSONS for one in printed(lesson.notebook)]


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
