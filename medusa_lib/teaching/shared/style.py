"""How every figure of the course looks: colours, hatches, axes, labels."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from IPython import get_ipython
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties, findfont, get_font

# Okabe and Ito's palette, which colour-blind readers can tell apart; hatches say it again.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#E69F00", "#009E73", "#BBBBBB"
KIND_COLOURS = {"accepted": GREEN, "corrected": ORANGE, "unused": GREY, "bonus": BLUE}
KIND_HATCHES = {"accepted": "", "corrected": "//", "unused": "..", "bonus": "xx"}

SERIES_LOOKS = (  # colour, marker, line
    (BLUE, "o", "-"),
    (ORANGE, "s", "--"),
    (GREEN, "^", "-."),
    ("black", "D", ":"),
    ("#CC79A7", "v", "-"),
    ("#56B4E9", "X", "--"),
)


def draw_in_the_page() -> None:
    """In a notebook, draw into its page whatever backend the environment's MPLBACKEND names.

    One such as agg shows nothing, and a window would open where the server is. A backend that
    somebody chose by `%matplotlib` stays.
    """
    shell, named = get_ipython(), os.environ.get("MPLBACKEND", "")
    in_notebook = hasattr(shell, "kernel")
    if in_notebook and named == mpl.rcParams["backend"] and not named.startswith("module://"):
        shell.enable_matplotlib("inline")


draw_in_the_page()  # each lesson's first cell imports this file


def axes_for(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """The axes given, or those of a new figure of that size in inches."""
    return plt.figure(figsize=size, layout="constrained").gca() if ax is None else ax


def escaped(char: str) -> str:
    """A character as a backslash and its number."""
    return char.encode("unicode_escape").decode()


def open_frame(ax: Axes) -> Axes:
    """The axes without their upper and right edge."""
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def visible(text: str) -> str:
    """A token's text with what is invisible in it made visible: " the" → "·the"."""
    text = text.replace(" ", "·").replace("\n", "⏎").replace("\t", "⇥") or "∅"
    return "".join(char if char.isprintable() else escaped(char) for char in text)


def label_of(text: str) -> str:
    """A token's text as the font of a plot can show it."""
    font = get_font(findfont(FontProperties()))
    known = (c if font.get_char_index(ord(c)) else escaped(c) for c in visible(text))
    return "".join(known).replace("$", r"\$")  # a pair of $ would start a formula


def two_digits(value: float) -> str:
    """A figure with two digits, or a dash for none."""
    return "–" if math.isnan(value) else f"{value:.2f}"


def series_look(i: int, **more: object) -> dict[str, object]:
    """Colour, marker and line of a plot's i-th series: none is told by colour alone."""
    colour, marker, line = SERIES_LOOKS[i % len(SERIES_LOOKS)]
    return {"color": colour, "marker": marker, "linestyle": line, "markersize": 4, **more}


def bars_beside(
    ax: Axes, rows: Mapping[str, Sequence[float]], looks: Sequence[tuple[str, str]]
) -> None:
    """Bars side by side with their numbers, a group for each place, from 0.

    rows: name → a number for each place. looks: colour and hatch of each name, in turn.
    """
    width = 0.8 / len(rows)
    for i, (name, values) in enumerate(rows.items()):
        colour, hatch = looks[i % len(looks)]
        at = np.arange(len(values)) + (i - (len(rows) - 1) / 2) * width
        look = {"color": colour, "hatch": hatch, "edgecolor": "black", "linewidth": 0.4}
        ax.bar(at, values, width, label=name, **look)
        for x, value in zip(at, values, strict=True):
            ax.text(x, value, f"{value:.2f}", ha="center", va="bottom", fontsize=7)


def legend_beside(ax: Axes, **more: object) -> None:
    """A legend to the right of the axes."""
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1), **more)


def name_lines(ax: Axes, least: float = 0.07) -> None:
    """Each labelled line's name at its right end, in its colour, instead of a legend.

    least: how far apart names are, as a share of the axes' height. Call it when all is drawn.
    """
    labelled = [line for line in ax.lines if not line.get_label().startswith("_")]
    to_axes = ax.transData + ax.transAxes.inverted()
    drawn = [line for line in labelled if len(line.get_xdata())]
    ends = [(to_axes.transform(line.get_xydata()[-1])[1], line) for line in drawn]
    lowest = -1.0
    for height, line in sorted(ends, key=lambda end: end[0]):
        lowest = max(height, lowest + least)
        look = {"color": line.get_color(), "fontsize": 8, "va": "center"}
        ax.text(1.02, lowest, line.get_label(), transform=ax.transAxes, **look)
