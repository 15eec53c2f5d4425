"""BEYOND11's room: how far passes differ in a type of number, and which margins that can cross."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import numpy as np
from matplotlib.axes import Axes

from medusa_lib.base.checks import Check, check_named, checked
from medusa_lib.base.words import Distance
from medusa_lib.measure.numbers import PassGap
from medusa_lib.teaching.shared.controls import dropdown, observe, slider
from medusa_lib.teaching.shared.html import says_html
from medusa_lib.teaching.shared.panel import Panel
from medusa_lib.teaching.shared.recording import Grid
from medusa_lib.teaching.shared.style import (
    BLUE,
    GREY,
    ORANGE,
    axes_for,
    legend_beside,
    open_frame,
    series_look,
)

TINY = 1e-3  # where a margin of 0 is drawn on a log axis


def plot_differences(
    gaps: Mapping[str, Mapping[str, PassGap]], bounds: Mapping[str, float], ax: Axes | None = None
) -> Axes:
    """The largest difference of two kinds of pass for each type of number, on a log axis.

    gaps: type → kind of pass → its gap to greedy's own. bounds: type → bound of a near tie.
    """
    ax = axes_for(ax, (6.4, 3.2))
    kinds = list(dict.fromkeys(kind for row in gaps.values() for kind in row))
    for i, kind in enumerate(kinds):
        heights = [row[kind].largest for row in gaps.values()]
        places = np.arange(len(gaps)) + 0.16 * (i - (len(kinds) - 1) / 2)
        ax.plot(places, heights, label=kind, **series_look(i, linestyle="none", markersize=7))
    for place, name in enumerate(gaps):
        label = "bound of a near tie" if place == 0 else None
        ax.hlines(bounds[name], place - 0.35, place + 0.35, color="black", label=label)
    ax.set_yscale("log")
    ax.set_xticks(range(len(gaps)), list(gaps))
    ax.set(xlim=(-0.5, len(gaps) - 0.5), ylabel="largest difference of a logit")
    legend_beside(ax, fontsize=8)
    return open_frame(ax)


def plot_margins(gap: PassGap, bound: float, ax: Axes | None = None) -> Axes:
    """Each position's margin, smallest first, on a log axis: which flipped, which are near ties."""
    ax = axes_for(ax, (6.4, 3.2))
    order = gap.margins.argsort()
    margins = np.maximum(gap.margins[order].numpy(), TINY)
    flips, places = gap.flips[order].numpy(), np.arange(1, len(order) + 1)
    ax.plot(places[~flips], margins[~flips], ".", color=BLUE, markersize=4, label="same token")
    ax.plot(places[flips], margins[flips], "X", color=ORANGE, markersize=8, label="flipped")
    if bound > 0:
        ax.axhline(max(bound, TINY), color="black", linewidth=1, label=f"bound {bound:g}")
        ax.axhspan(TINY / 2, max(bound, TINY), color=GREY, alpha=0.3, zorder=0, label="near ties")
    ax.set_yscale("log")
    ax.set(xlabel="positions, smallest margin first", ylabel="margin of the best token")
    ax.set(xlim=(0, len(order) + 1), ylim=(TINY / 2, None))
    legend_beside(ax, fontsize=8)
    return open_frame(ax)


def margins_words(gap: PassGap, bound: float) -> str:
    """What the picture says, in words, rounded so that it holds on any processor."""
    missed = int((gap.flips & (gap.margins >= bound)).sum())
    near = round(6 * gap.share_near(bound))
    return f"about {near} of 6 positions are near ties; flips above the bound: {missed}"


class NumbersPanel(Panel):
    """BEYOND11: a type of number and a bound, over the margins of a few texts."""

    grid: ClassVar[Grid] = {
        "numbers_of": ...,
        "bound": (0.0, 0.25, 0.5, 1.0, 2.0),
    }

    @checked
    def __init__(
        self,
        gaps: Annotated[Mapping[str, PassGap], Check(check_named, PassGap)],
        bound: Distance = 1.0,
    ) -> None:
        self.gaps = gaps
        self.numbers_of = dropdown("numbers", list(gaps)[-1], list(gaps))
        self.bound = slider("bound", bound, 0.0, 2.0, 0.05)
        super().__init__([self.numbers_of, self.bound], "300px")
        observe(self.update, self.numbers_of, self.bound)
        self.update()
        self.says = (
            "Panel: a type of number and a bound over the margins of all positions. "
            f"With {self.numbers_of.value} and bound {bound:g}: {self.words()}"
        )

    def words(self) -> str:
        """What the controls now select, in words."""
        return margins_words(self.gaps[self.numbers_of.value], self.bound.value)

    def update(self) -> None:
        """Redraw for the controls' values."""
        self.redraw(self.picture)

    def picture(self) -> str:
        """HTML: the figures in words, then the margins."""
        gap, bound, words = self.gaps[self.numbers_of.value], self.bound.value, self.words()
        return says_html(words) + self.figure(
            lambda ax: plot_margins(gap, bound, ax), (7, 3), words
        )
