"""The figures of BEYOND4, drawn by the rules of plots.py."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from medusa_lib.heads_lesson import Scores
from medusa_lib.plots import BLUE, GREEN, GREY, ORANGE, _axes, _open
from medusa_lib.typical_trade import Trade

LOOKS = (
    (BLUE, "o", "-"),
    (ORANGE, "s", "--"),
    (GREEN, "^", "-."),
    ("black", "D", ":"),
    ("#CC79A7", "v", "-"),
    ("#56B4E9", "X", "--"),
)


def plot_learning(points: Sequence[Scores], title: str = "", ax: Axes | None = None) -> Axes:
    """How often each head's best guess is right, against the steps of training so far."""
    ax = _axes(ax, (6.4, 3.2))
    steps = [point.step for point in points]
    heads = zip(*(point.right for point in points), strict=True)
    for head, (right, look) in enumerate(zip(heads, LOOKS * 9, strict=False), start=1):
        colour, marker, line = look
        more = {"color": colour, "marker": marker, "linestyle": line, "markersize": 4}
        ax.plot(steps, right, label=f"head {head}", gid=f"head-{head}", **more)
    ax.set(xlabel="steps of training", ylabel="right ÷ asked, held-out texts", title=title)
    most = max([1, *steps])
    ax.set(ylim=(-0.02, 1), xlim=(-0.02 * most, 1.02 * most))  # room for the marks at the edges
    if points:
        ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1), fontsize=8)
    return _open(ax)


def plot_head_accuracy(rows: Mapping[str, Sequence[float]], ax: Axes | None = None) -> Axes:
    """Bars side by side: how often each head's best guess is right, for several sets of heads.

    rows: name → a number in [0, 1] for head 1, 2, …; they need not be of the same length.
    """
    ax = _axes(ax, (8, 3))
    looks = itertools.cycle(((BLUE, ""), (ORANGE, "//"), (GREEN, "xx"), (GREY, "..")))
    width, most = 0.8 / len(rows), max(map(len, rows.values()))
    for i, ((name, values), (colour, hatch)) in enumerate(zip(rows.items(), looks, strict=False)):
        at = np.arange(1, len(values) + 1) + (i - (len(rows) - 1) / 2) * width
        look = {"color": colour, "hatch": hatch, "edgecolor": "black", "linewidth": 0.4}
        ax.bar(at, values, width, label=name, **look)
        for x, value in zip(at, values, strict=True):
            ax.text(x, value, f"{value:.2f}", ha="center", va="bottom", fontsize=7)
    ax.set_xticks(range(1, most + 1), [f"head {head}" for head in range(1, most + 1)])
    ax.set(ylabel="right ÷ asked", ylim=(0, 1.08))
    ax.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, fontsize=8)
    return _open(ax)


def plot_top_guesses(top: Sequence[Sequence[float]], ax: Axes | None = None) -> Axes:
    """How often the right token is among a head's best 1, 2, … guesses, a line for each head.

    Lines of equal heads stand beside each other, not on each other.
    """
    ax, middle = _axes(ax, (6.4, 3.2)), (len(top) - 1) / 2
    for head, (shares, look) in enumerate(zip(top, LOOKS * 9, strict=False), start=1):
        colour, marker, line = look
        more = {"color": colour, "marker": marker, "linestyle": line, "markersize": 4}
        at = [guesses + 0.07 * (head - 1 - middle) for guesses in range(1, len(shares) + 1)]
        ax.plot(at, shares, label=f"head {head}", **more)
    ax.set_xticks(range(1, max(map(len, top)) + 1))
    ax.set(xlabel="guesses that count", ylabel="right token among them", ylim=(0, 1))
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1), fontsize=8)
    return _open(ax)


def plot_trade(trades: Mapping[str, Trade], noise: float, ax: Axes | None = None) -> Axes:
    """Distance from the target's texts against words for each pass, a point for each rule.

    noise: the distance that texts drawn by the target itself have by chance; hatched up to it.
    """
    ax = _axes(ax, (7, 3.6))
    looks = itertools.cycle(LOOKS)
    for (name, trade), (colour, marker, _) in zip(trades.items(), looks, strict=False):
        point = {"color": colour, "marker": marker, "markersize": 9, "linestyle": "none"}
        ax.plot(trade.tokens_per_pass, trade.distance, label=name, **point)
    chance = {"facecolor": "none", "edgecolor": GREY, "hatch": "//", "zorder": 0}
    ax.axhspan(0, noise, label="chance alone", **chance)
    most = max(trade.tokens_per_pass for trade in trades.values())
    farthest = max(noise, *(trade.distance for trade in trades.values()))
    ax.set(xlabel="tokens per pass", ylabel="total variation distance\nfrom the target's texts")
    ax.set(xlim=(0.8, most + 0.3), ylim=(0, 1.15 * farthest))
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1), fontsize=8)
    return _open(ax)
