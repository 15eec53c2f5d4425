"""Records the panels of a stored notebook, each from the very cell that shows it.

Of the cells before it only those statements run that give a name it needs. The panel must say
the sentence that is stored; if it does not, that sentence stays as it is.
"""

from __future__ import annotations

import ast
import gzip
import symtable
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import medusa_lib
from medusa_lib.teaching.shared.record import recorded_html

LESSONS_FOLDER = Path(medusa_lib.__file__).parents[1] / "notebooks"
MOST_PACKED = 500_000  # bytes of a panel with gzip: a third of what a page may weigh
WIDGET = "application/vnd.jupyter.widget-view+json"
Cell = Mapping[str, object]  # of a notebook, as nbformat reads it


def panel_output(cell: Cell) -> Mapping[str, object] | None:
    """The data of a code cell's output that is one of our panels, or None."""
    for output in cell.get("outputs", ()):
        data = output.get("data", {})
        if WIDGET in data and str(data.get("text/plain", "")).startswith("Panel: "):
            return data
    return None


def given_and_needed(statement: ast.stmt) -> tuple[set[str], set[str]]:
    """The names that a statement of a cell binds, and those that it needs, also in functions."""
    table = symtable.symtable(ast.unparse(statement), "cell", "exec")
    given, needed, inner = set(), set(), [*table.get_children()]
    for symbol in table.get_symbols():
        if symbol.is_assigned() or symbol.is_imported():
            given.add(symbol.get_name())
        if symbol.is_referenced():
            needed.add(symbol.get_name())
    while inner:
        scope = inner.pop()
        inner += scope.get_children()
        needed |= {one.get_name() for one in scope.get_symbols() if one.is_global()}
    return given, needed


def changed(statement: ast.stmt) -> set[str]:
    """The names whose content a statement changes: `names["a"] = 1` changes `names`."""
    targets = getattr(statement, "targets", None) or [getattr(statement, "target", None)]
    parts = [part for target in targets if target is not None for part in ast.walk(target)]
    inner = [part.value for part in parts if isinstance(part, ast.Subscript | ast.Attribute)]
    return {part.id for part in inner if isinstance(part, ast.Name)}


def statements_for(sources: Iterable[str]) -> list[ast.stmt]:
    """The last expression of the last of these cells, after the statements that it needs."""
    body = [one for source in sources for one in ast.parse(source).body]
    last = body.pop()
    (_, needed), kept = given_and_needed(last), [last]
    for statement in reversed(body):
        given, uses = given_and_needed(statement)
        if needed & given or needed & changed(statement):
            kept.append(statement)
            needed = (needed - given) | uses
    return kept[::-1]


def shown_by(statements: list[ast.stmt]) -> object:
    """Run these statements in a room of their own → what the last one, an expression, shows."""
    *before, last = statements
    if not isinstance(last, ast.Expr):
        raise ValueError(f"cell must end with an expression, got {ast.unparse(last)!r}")
    names: dict[str, object] = {"__name__": "__cell__"}
    exec(compile(ast.Module(before, []), "cells", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names)


def record_cell(sources: Iterable[str], says: str, name: str) -> str:
    """The recorded panel that the last of these cells shows, as HTML.

    says: the sentence that it must say. name: begins the ids within. "" for a panel that records
    nothing, such as one that trains. Raises ValueError for another sentence, or too many bytes.
    """
    panel = shown_by(statements_for(sources))
    if not panel.grid:
        return ""
    if panel.says != says:
        raise ValueError(f"panel must say {says!r}, got {panel.says!r}")
    html = recorded_html(panel.record(name=name))
    packed = len(gzip.compress(html.encode()))
    if packed > MOST_PACKED:
        raise ValueError(f"panel must have at most {MOST_PACKED} bytes with gzip, got {packed}")
    return html


def record_notebook(notebook: Mapping[str, object]) -> dict[str, str]:
    """A stored notebook → for each cell that shows a panel, by its id, the recorded panel as HTML.

    A cell whose panel records nothing is left out, and so is one that fails: why is said on
    stderr.
    """
    sources, recorded = [], {}
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        sources.append(cell["source"])
        data = panel_output(cell)
        if data is None:
            continue
        try:
            html = record_cell(sources, data["text/plain"], f"panel-{cell['id']}")
            recorded |= {cell["id"]: html} if html else {}
        except Exception as error:  # whatever it is, the page still has the panel's sentence
            print(
                f"{cell.get('id')}: panel not recorded: {type(error).__name__}: {error}",
                file=sys.stderr,
            )
    return recorded


def put_panels(notebook: Mapping[str, object], recorded: Mapping[str, str]) -> None:
    """Put recorded panels, by the ids of their cells, where the notebook has widgets.

    What stands in for a panel without its kernel goes: the recorded one shows the same, and moves.
    """
    for cell in notebook["cells"]:
        if cell.get("id") in recorded:
            data = panel_output(cell)
            del data[WIDGET]
            data["text/html"] = recorded[cell["id"]]
            cell["outputs"] = [one for one in cell["outputs"] if not stands_in(one)]


def stands_in(output: Mapping[str, object]) -> bool:
    """True for an output that is there for a panel whose kernel is gone."""
    return 'class="medusa-instead"' in output.get("data", {}).get("text/html", "")


def is_lesson(folder: str | None) -> bool:
    """True for a folder of the course's own lessons: only their cells are run."""
    return bool(folder) and Path(folder).resolve().is_relative_to(LESSONS_FOLDER.resolve())
