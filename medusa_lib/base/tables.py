"""Tables as text: plain for a terminal or a cell, Markdown for a README or a card."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Plain-text table with right-aligned columns; the first column is left-aligned."""
    cells = [[str(cell) for cell in row] for row in [head, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]

    def line(row: Sequence[str]) -> str:
        rest = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        return "  ".join([row[0].ljust(widths[0]), *rest]).rstrip()

    return "\n".join(line(row) for row in cells)


def md_table(head: Sequence[str], rows: Iterable[Sequence[object]], left: int | None = None) -> str:
    """A Markdown table; bars in cells are escaped.

    left: how many columns stand to the left, the others to the right; None: all to the left.
    """
    left = len(head) if left is None else left
    lines = [head, ["---" if i < left else "---:" for i in range(len(head))], *rows]
    cells = ([str(cell).replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)


def split_at_marks(path: Path, start: str, end: str) -> tuple[str, str, str]:
    """What stands before, between and after two marks. Raises ValueError if one is missing."""
    whole = path.read_text(encoding="utf-8")
    if start not in whole or end not in whole:
        raise ValueError(f"--readme must have the marks {start} and {end}, got {path.name}")
    before, rest = whole.split(start, 1)
    return before, *rest.split(end, 1)


def fill_marks(path: Path, start: str, end: str, text: str) -> None:
    """Replace what stands between two marks of a file. Raises ValueError if one is missing."""
    before, _, after = split_at_marks(path, start, end)
    path.write_text(f"{before}{start}\n\n{text}\n{end}{after}", encoding="utf-8")
