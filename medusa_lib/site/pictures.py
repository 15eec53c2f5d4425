"""Words for those who do not see a picture: what the function that drew it says of itself."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

from nbformat import NotebookNode

import medusa_lib

DRAWS = re.compile(r"plot_|where_we_are|\w*pictures")


@cache
def first_sentences() -> dict[str, str]:
    """Each drawing function of the package: the first sentence of its docstring."""
    found = {}
    for file in sorted(Path(medusa_lib.__file__).parent.rglob("*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and DRAWS.match(node.name):
                said = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
                found[node.name] = re.split(r"(?<=[.;]) ", said)[0].rstrip(".;")
    return found


def called_in(source: str) -> list[str]:
    """Names of the functions that a cell calls, in order, each once."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    calls.sort(key=lambda call: (call.lineno, call.col_offset))
    return list(dict.fromkeys(ast.unparse(call.func) for call in calls))


def alternative(cell: NotebookNode) -> str:
    """What stands in for a cell's pictures: never empty."""
    printed = [output.text for output in cell.outputs if output.output_type == "stream"]
    names = called_in(cell.source)
    if any(name.startswith("where_we_are") for name in names):
        return f"Map of the lessons. {printed[0].splitlines()[0]}"
    drawn = [first_sentences()[name] for name in names if name in first_sentences()]
    said = "; beside it: ".join(drawn) or "Drawn by the code above"
    return f"Plot. {said}. Its numbers are printed with it." if printed else f"Plot. {said}."


def describe_pictures(notebook: NotebookNode) -> None:
    """Give each stored picture its words, in the place where MyST-NB looks for them."""
    for cell in notebook.cells:
        kinds = {kind for output in cell.get("outputs", []) for kind in output.get("data", {})}
        if kinds & {"image/png", "image/svg+xml"}:
            cell.metadata["mystnb"] = {"image": {"alt": alternative(cell)}}
