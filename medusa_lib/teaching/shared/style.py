"""How every figure of the course looks: colours, hatches, axes, labels."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties, findfont, get_font

# Okabe and Ito's palette, which colour-blind readers can tell apart; hatches say it again.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#E69F00", "#009E73", "#BBBBBB"
KIND_COLOURS = {"accepted": GREEN, "corrected": ORANGE, "unused": GREY, "bonus": BLUE}
KIND_HATCHES = {"accepted": "", "corrected": "//", "unused": "..", "bonus": "xx"}


def axes_for(ax: Axes | None, size: tuple[float, float]) -> Axes:
    return plt.figure(figsize=size, layout="constrained").gca() if ax is None else ax


def escaped(char: str) -> str:
    return char.encode("unicode_escape").decode()


def open_frame(ax: Axes) -> Axes:
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def visible(text: str) -> str:
    """A token's text with what is invisible in it made visible: " the" → "·the"."""
    text = text.replace(" ", "·").replace("\n", "⏎").replace("\t", "⇥") or "∅"
    return "".join(char if char.isprintable() else escaped(char) for char in text)


def label_of(text: str) -> str:
    font = get_font(findfont(FontProperties()))
    known = (c if font.get_char_index(ord(c)) else escaped(c) for c in visible(text))
    return "".join(known).replace("$", r"\$")  # a pair of $ would start a formula


def two_digits(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


SERIES_LOOKS = (
    (BLUE, "o", "-"),
    (ORANGE, "s", "--"),
    (GREEN, "^", "-."),
    ("black", "D", ":"),
    ("#CC79A7", "v", "-"),
    ("#56B4E9", "X", "--"),
)
