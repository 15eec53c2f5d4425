"""Pure functions from plain data to HTML, by the templates beside this file.

Everything that a model wrote is escaped.
"""

from __future__ import annotations

import base64
import html
import io
import re
import threading
from collections.abc import Callable, Sequence

import matplotlib as mpl
import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
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
CHIP_COLOURS = ("#D6E8F5", "#FBE8C6", "#D3EFE4", "#F4DCE9")
TEMPLATES = Environment(
    loader=PackageLoader("medusa_lib.teaching.shared"), autoescape=True, undefined=StrictUndefined
)
TEMPLATES.globals |= {"marks": MARKS, "chip_colours": CHIP_COLOURS}
SVG_STYLE = "max-width:100%;height:auto;stroke-linejoin:round;stroke-linecap:butt"
NO_METADATA = ("Date", "Creator", "Format", "Type")
_ID = re.compile(r'(\sid="|href="#|url\(#)')  # within a tag: an id, or a reference to one
_drawing = threading.Lock()  # matplotlib's settings are shared by all threads


def token_texts(lm: LM, ids: Sequence[int] | torch.Tensor) -> list[str]:
    """Each token id decoded alone, special tokens included: [12, 5] → ["In", " a"]."""
    flat = ids.flatten().tolist() if isinstance(ids, torch.Tensor) else ids
    return [lm.tokenizer.decode([i], clean_up_tokenization_spaces=False) for i in flat]


def render(part: str, *given: object) -> str:
    """One of the macros of templates/parts.html, filled in."""
    return str(getattr(TEMPLATES.get_template("parts.html").module, part)(*given))


def mark_html(text: str, kind: str) -> str:
    """One token as marked text: colour, underline and a sign say where it came from."""
    return render("mark", text, kind)


def legend_html(kinds: Sequence[str]) -> str:
    """What the marks mean, one sample each."""
    return render("legend", kinds)


def says_html(text: str) -> str:
    """The line of figures in a panel's view."""
    return render("says", text)


def table_html(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column names its rows."""
    return render("table", head, rows)


def pictures_apart(shown: str) -> str:
    """The same HTML with each SVG as an image of its own, which has no ids to share."""
    return re.sub("<svg .*?</svg>", lambda svg: _image(svg[0]), shown, flags=re.S)


def _image(svg: str) -> str:
    head = svg[: svg.index(">")]
    label, style = (re.search(f'{name}="([^"]*)"', head)[1] for name in ("aria-label", "style"))
    data = base64.b64encode(svg.encode()).decode()
    return f'<img alt="{label}" style="{style}" src="data:image/svg+xml;base64,{data}">'


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
