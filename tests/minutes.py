"""How long a lesson takes to read and do: a count, the same for all, not anyone's feeling."""

from __future__ import annotations

import math
import re
import sys

import nbformat
from nbformat import NotebookNode

WORDS_A_MINUTE = 200
SECONDS_A_LINE = 4  # of a listing or of a cell's code
SECONDS_AN_OUTPUT = 20
NEIGHBOURS = r"[^\n]* · about \d+ minutes · [^\n]*"
UNSEEN = rf"<details>.*?</details>|<svg.*?</svg>|<!--.*?-->|\]\([^)]*\)|{NEIGHBOURS}"
FENCED = re.compile(r"```\w*\n(.*?)```", re.S)
PLANNED = re.compile(r"^#+ .*\((\d+) minutes?\)", re.M)


def lines_of(code: str) -> int:
    """Lines that have something on them."""
    return sum(bool(line.strip()) for line in code.splitlines())


def of_prose(text: str) -> tuple[int, int, int]:
    """Words, lines of listings and minutes planned by a heading. What is folded counts nothing."""
    planned = sum(map(int, PLANNED.findall(text)))
    seen = re.sub(UNSEEN, "", text, flags=re.S)
    listings = sum(map(lines_of, FENCED.findall(seen)))
    return len(re.findall(r"\w+", FENCED.sub("", seen))), listings, planned


def of_outputs(cell: NotebookNode) -> tuple[int, int]:
    """Lines of the listings that a cell shows, and 1 if it shows anything else."""
    shown = [output.get("data", {}).get("text/markdown", "") for output in cell.outputs]
    listings = sum(lines_of(code) for text in shown for code in FENCED.findall(text))
    return listings, int(any("text/markdown" not in o.get("data", {}) for o in cell.outputs))


def is_unseen(cell: NotebookNode) -> bool:
    """True for what no learner reads: the cell that sets up Colab."""
    return "remove-cell" in cell.metadata.get("tags", ())


def minutes(notebook: NotebookNode) -> int:
    """What a lesson takes: words, listings, outputs, and what its exercises are given."""
    words = lines = outputs = planned = 0
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            more, listings, given = of_prose(cell.source)
            words, lines, planned = words + more, lines + listings, planned + given
        elif cell.cell_type == "code" and not is_unseen(cell):
            listings, seen = of_outputs(cell)
            lines, outputs = lines + lines_of(cell.source) + listings, outputs + seen
    seconds = lines * SECONDS_A_LINE + outputs * SECONDS_AN_OUTPUT
    return math.ceil(words / WORDS_A_MINUTE + seconds / 60 + planned)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(minutes(nbformat.read(name, as_version=4)), name)
