"""Learners' notebooks: the course's own with attempts put in, and what a run would print."""

import re
import textwrap
from pathlib import Path

import nbformat
from nbformat.v4 import new_output
from tree import ROOT

NOTEBOOKS = ROOT / "notebooks"
STEP3 = NOTEBOOKS / "STEP3_sampling.ipynb"


def solutions(path):
    """Function's name → the source of the solution that a lesson folds away."""
    prose = "\n".join(c.source for c in read(path).cells if c.cell_type == "markdown")
    folded = re.findall(r"<details><summary>Solution</summary>.*?```python\n(.*?)```", prose, re.S)
    return {re.search(r"^def (\w+)", code, re.M)[1]: code for code in folded}


def read(path):
    return nbformat.read(path, as_version=4)


def exercise_cells(notebook):
    """Exercise's name → its stub's cell and its check's."""
    marks = {c.metadata.get("nbgrader", {}).get("grade_id"): c for c in notebook.cells}
    return {
        name: (cell, marks[f"check_{name}"])
        for name, cell in marks.items()
        if f"check_{name}" in marks
    }


def put_in(stub, code):
    """Write an attempt over a stub's `return ...`, or over the whole stub if it has a `def`."""
    if "def " in code:
        imports = [line for line in stub.source.splitlines() if "import" in line]
        stub.source = "\n".join([*imports, "\n\n" + code.strip()])
    else:
        stub.source = stub.source.replace("    return ...", textwrap.indent(code, "    "))


def attempt_in(path, attempts, said=None):
    """A lesson with attempts (exercise's name → code), and what its checks print (name → text)."""
    notebook = read(path)
    for name, (stub, check) in exercise_cells(notebook).items():
        if name in attempts:
            put_in(stub, attempts[name])
        if said and name in said:
            check.outputs = [new_output("stream", name="stdout", text=said[name] + "\n")]
    return notebook


def save(notebook, path):
    """Write a notebook, and the folders above it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path
