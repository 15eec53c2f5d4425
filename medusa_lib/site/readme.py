"""What the site takes from the README: the figures of the bench."""

from __future__ import annotations

import re

BLOCK = re.compile(r"<!-- bench: .*?-->\n+(.*?)\n*<!-- /bench -->", re.S)
PEERS = ("llama.cpp", "CTranslate2", "transformers")


def bench_block(readme: str) -> str:
    """What the bench wrote, in Markdown. Raises ValueError where it wrote nothing."""
    found = BLOCK.search(readme)
    if not found:
        raise ValueError("README must have the block that the bench writes, got none")
    return found[1]


def table_below(block: str, title: str) -> dict[str, dict[str, str]]:
    """A table of the block by its title: first column → heading → figure, as printed."""
    found = re.search(rf"\*\*{re.escape(title)}[^\n]*\n\n((?:\|.*\n?)+)", block)
    if not found:
        raise ValueError(f"the bench's block must have a table {title!r}, got none")
    head, _, *rows = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in found[1].splitlines()
    )
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}


def speeds(block: str) -> dict[str, str]:
    """Decoder → tokens per second, of the outputs that do not loop, as printed."""
    rows = table_below(block, "Outputs that do not loop")
    return {name: row["tokens/s"] for name, row in rows.items()}


def read_figure(figure: str) -> float:
    """A printed figure as a number: "1,696" → 1696.0."""
    return float(figure.replace(",", ""))


def fastest_own(found: dict[str, str]) -> str:
    """The fastest decoder that is the course's own."""
    return max(
        (name for name in found if not name.startswith(PEERS)), key=lambda n: read_figure(found[n])
    )
