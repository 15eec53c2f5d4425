"""Every exercise has its tests, and every solution that a lesson shows is right."""

import ast
import importlib
import inspect
import itertools
import pkgutil
import re
from pathlib import Path

import nbformat
import pytest
import refresh

from medusa_lib import exercises
from medusa_lib.exercises.grading import CORRECT

HERE = Path(__file__).parent
FOLDER = HERE.parents[1] / "notebooks"
WORDS = [room.name for room in pkgutil.iter_modules(exercises.__path__) if room.name != "grading"]


@pytest.mark.parametrize("word", WORDS)
def test_every_check_has_its_tests(word):
    room = importlib.import_module(f"medusa_lib.exercises.{word}")
    checks = [
        name
        for name, f in inspect.getmembers(room, inspect.isfunction)
        if name.startswith("check_") and f.__module__ == room.__name__
    ]
    tests = (HERE / f"test_{word}.py").read_text(encoding="utf-8")
    assert sorted(re.findall(r"check = staticmethod\((\w+)\)", tests)) == checks


def cells(path, kind):
    notebook = nbformat.read(path, as_version=4)
    return [cell.source for cell in notebook.cells if cell.cell_type == kind]


def folded_solutions(path):
    """The ```python blocks within <details> of a notebook's Markdown."""
    folds = re.findall(r"<details>.*?</details>", "\n".join(cells(path, "markdown")), re.S)
    return [code for fold in folds for code in re.findall(r"```python\n(.*?)```", fold, re.S)]


def first_function(code):
    names = [node.name for node in ast.parse(code).body if isinstance(node, ast.FunctionDef)]
    return names[0] if names else None


def stubs(path):
    """Function's name → the call of its check, for each stub that returns `...`, and the cell
    below it."""
    found = {}
    for code, below in itertools.pairwise(cells(path, "code")):
        call = refresh.CHECK.search(below)
        if call and refresh.STUB.search(code):
            found[first_function(code)] = call[0].removeprefix("print(").removesuffix(")")
    return found


def imports(path):
    """The import statements of all code cells, as one piece of source."""
    nodes = [node for code in cells(path, "code") for node in ast.parse(code).body]
    wanted = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    return "\n".join(map(ast.unparse, wanted))


SOLUTIONS = [
    pytest.param(path, code, id=f"{path.stem}-{first_function(code)}")
    for path in sorted(FOLDER.rglob("*.ipynb"))
    for code in folded_solutions(path)
    if first_function(code)
]


@pytest.mark.parametrize(("path", "code"), SOLUTIONS)
def test_the_solution_that_a_lesson_folds_away_passes(path, code, lm):
    call = stubs(path)[first_function(code)]
    names = {"lm": lm}
    exec(imports(path) + "\n" + code, names)
    assert eval(call, names) == CORRECT


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.ipynb")), ids=lambda path: path.stem)
def test_every_stub_has_a_folded_solution(path):
    assert {first_function(code) for code in folded_solutions(path)} >= set(stubs(path))
    uses = re.findall(r"^print\(check_\w+\(", "\n".join(cells(path, "code")), re.M)
    assert len(uses) == len(stubs(path))
