"""Pure functions from plain data to HTML; everything that a model wrote is escaped."""

from __future__ import annotations

import html
import io
import re
import threading
from collections.abc import Callable, Sequence

import matplotlib as mpl
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from medusa_lib.steps.model import LM

MARKS = {
    "accepted": ("✓", "#C9EBDD", "2px solid #009E73"),
    "corrected": ("✗", "#FBE3B5", "2px dashed #B87700"),
    "bonus": ("+", "#CFE3F3", "2px dotted #0072B2"),
    "greedy": ("", "#EEEEEE", "2px solid #999999"),
    "unused": ("–", "#FFFFFF", "2px dotted #999999"),
}
SVG_STYLE = "max-width:100%;height:auto;stroke-linejoin:round;stroke-linecap:butt"
NO_METADATA = ("Date", "Creator", "Format", "Type")
_ID = re.compile(r'(\sid="|href="#|url\(#)')  # within a tag: an id, or a reference to one
_drawing = threading.Lock()  # matplotlib's settings are shared by all threads


def token_texts(lm: LM, ids: Sequence[int] | torch.Tensor) -> list[str]:
    """Each token id decoded alone, special tokens included: [12, 5] → ["In", " a"]."""
    flat = ids.flatten().tolist() if isinstance(ids, torch.Tensor) else ids
    return [lm.tokenizer.decode([i], clean_up_tokenization_spaces=False) for i in flat]


def mark_html(text: str, kind: str) -> str:
    """One token as marked text: colour, underline and a sign say where it came from."""
    sign, colour, line = MARKS[kind]
    shown = html.escape(text.replace("\n", "⏎"))
    return (
        f'<span class="token" data-source="{kind}" title="{kind}" style="background:{colour};'
        f'color:#000;border-bottom:{line};white-space:pre-wrap">{shown}<sup>{sign}</sup></span>'
        + ("<br>" if "\n" in text else "")
    )


def legend_html(kinds: Sequence[str]) -> str:
    """What the marks mean, one sample each."""
    return " &nbsp; ".join(mark_html(kind, kind) for kind in kinds)


def figure_html(
    draw: Callable[[Axes], object],
    size: tuple[float, float],
    label: str,
    prefix: str = "",
    margins: tuple[float, float, float, float] | None = None,
) -> str:
    """A plot as SVG text with a label for those who do not see it. size: inches.

    prefix: put before each id within, so that the pictures of one page do not share ids.
    margins: left, bottom, right, top in inches; None has them measured, which takes as long
    as the drawing.
    """
    figure, buffer = Figure(figsize=size), io.StringIO()
    if margins is None:
        figure.set_layout_engine("constrained")
    else:
        (left, bottom, right, top), (wide, high) = margins, size
        figure.subplots_adjust(left / wide, bottom / high, 1 - right / wide, 1 - top / high)
    with _drawing, mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "medusa"}):
        draw(figure.subplots())
        # Not savefig, which draws everything twice: a slider waits for this.
        FigureCanvasSVG(figure).print_svg(buffer, metadata=dict.fromkeys(NO_METADATA))
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.S)  # it would style the whole page
    svg = re.sub("<[^<>]+>", lambda tag: _ID.sub(rf"\1{prefix}", tag[0]), svg)
    head = f'<svg role="img" aria-label="{html.escape(label)}" style="{SVG_STYLE}" '
    return svg.replace("<svg ", head, 1)


def table_html(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column names its rows. Everything is escaped."""
    top = "".join(f"<th scope='col'>{html.escape(cell)}</th>" for cell in head)
    body = "".join(
        f"<tr><th scope='row' style='text-align:left'>{html.escape(name)}</th>"
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for name, *cells in rows
    )
    style = "border-spacing:14px 2px;line-height:1.5"
    return f'<table style="{style}"><tr>{top}</tr>{body}</table>'
