"""BEYOND3's room: what drafters should and do gain, and how often they hold at each position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from medusa_lib.teaching.shared.style import (
    GREY,
    axes_for,
    name_lines,
    open_frame,
    series_look,
)


def plot_expected_speedup(
    spans: Sequence[int],
    expected: Mapping[str, Sequence[float]],
    measured: Mapping[str, Sequence[float]] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Curves over the span by a formula, and points by measurement in the colour of their name.

    expected, measured: name → one speed-up for each of `spans`; every name measured is among
    the expected. At the grey line drafting neither pays nor loses.
    """
    measured = {} if measured is None else measured
    ax = axes_for(ax, (6.4, 3.4))
    for i, (name, values) in enumerate(expected.items()):
        ax.plot(spans, values, label=name, **series_look(i, marker=""))
        if name in measured:
            points = series_look(i, linestyle="none", markersize=6)
            ax.plot(spans, measured[name], label="_points", **points)
    ax.axhline(1, color=GREY, linewidth=1, zorder=0)
    ax.set(xlabel="span (tokens drafted per loop)", ylim=(0, None))
    ax.set(ylabel="speed-up over plain decoding")
    ax.set_xticks(spans)
    if measured:
        ax.set_title("lines: formula, points: measured", fontsize=9)
    name_lines(ax)
    return open_frame(ax)


def plot_acceptance_by_position(
    counts: Mapping[str, Sequence[tuple[int, int]]], least: int = 5, ax: Axes | None = None
) -> Axes:
    """How often a draft holds at each position, of those loops that reached it; α is dashed.

    counts: drafter's name → (reached, accepted) for each position, as
    metrics.acceptance_by_position gives them. A point's area grows with the number that reached
    it; positions that fewer than `least` reached are left out.
    """
    ax = axes_for(ax, (6.4, 3.4))
    for i, (name, pairs) in enumerate(counts.items()):
        look = series_look(i, linestyle="-")
        dots = {name: look[name] for name in ("color", "marker")}
        shown = [(at, a / r, r) for at, (r, a) in enumerate(pairs, start=1) if r >= least]
        places, shares, numbers = zip(*shown, strict=True) if shown else ((), (), ())
        alpha = sum(a for _, a in pairs) / max(1, sum(r for r, _ in pairs))
        ax.plot(places, shares, label=f"{name}, α = {alpha:.2f}", **look)
        ax.scatter(places, shares, s=[12 + n for n in numbers], **dots)
        ax.axhline(alpha, color=look["color"], linestyle="--", linewidth=1, zorder=0)
    ax.set(xlabel="position in the branch", ylabel="accepted ÷ reached", ylim=(0, 1.1))
    ax.xaxis.get_major_locator().set_params(integer=True)
    name_lines(ax)
    return open_frame(ax)
