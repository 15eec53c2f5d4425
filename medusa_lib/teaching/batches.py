"""BEYOND9's room: what passes over batches cost, and where drafting stops paying."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from medusa_lib.measure.batches import batch_speedup
from medusa_lib.measure.batches_table import MeasuredBatches
from medusa_lib.teaching.shared.style import GREY, axes_for, open_frame, series_look


def pass_rows(
    passes: Mapping[tuple[int, int], float], positions: Sequence[int]
) -> list[tuple[str, ...]]:
    """Milliseconds of passes as rows of text: a row for each batch, a column for each count."""
    batches = sorted({batch for batch, _ in passes})
    return [
        (str(batch), *(f"{1000 * passes[batch, count]:.1f}" for count in positions))
        for batch in batches
    ]


def gains_of(measured: MeasuredBatches) -> dict[int, tuple[float, float]]:
    """Batch size → (speed-up by the formula from measured passes, speed-up of real loops)."""
    found = {}
    for batch, loop in measured.loops.items():
        plain, verify = (measured.passes[batch, count] for count in (1, loop.span + 1))
        found[batch] = batch_speedup(loop.tau, plain, verify), loop.speedup
    return found


def label_line_ends(ax: Axes, names: Sequence[str]) -> None:
    """Each line's name at its right end, in its colour, instead of a legend."""
    for line, name in zip(ax.lines, names, strict=False):
        x, y = line.get_xdata()[-1], line.get_ydata()[-1]
        ax.annotate(
            name,
            (x, y),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=line.get_color(),
        )


def plot_batch_costs(
    passes: Mapping[tuple[int, int], float], positions: Sequence[int], ax: Axes | None = None
) -> Axes:
    """Milliseconds of a pass against the users in it, a line for each number of positions.

    passes: (users, positions of each) → seconds. Both axes double from mark to mark.
    """
    ax = axes_for(ax, (6.4, 3.4))
    batches = sorted({batch for batch, _ in passes})
    for i, count in enumerate(positions):
        milliseconds = [1000 * passes[batch, count] for batch in batches]
        ax.plot(batches, milliseconds, **series_look(i))
    label_line_ends(ax, [f"{n} position{'s' * (n > 1)} each" for n in positions])
    double_axes(ax, batches)
    ax.set_yscale("log", base=2)
    ax.yaxis.set_major_formatter("{x:g}")
    ax.set(xlabel="users in one pass", ylabel="milliseconds of the pass")
    return open_frame(ax)


def double_axes(ax: Axes, batches: Sequence[int]) -> None:
    """An x axis of batch sizes that doubles from mark to mark."""
    ax.set_xscale("log", base=2)
    ax.set_xticks(batches, [str(batch) for batch in batches])
    ax.minorticks_off()


def plot_gains(
    gains: Mapping[str, Mapping[int, tuple[float, float]]], ax: Axes | None = None
) -> Axes:
    """Speed-up of drafting against the users in a batch: formula as lines, loops as points.

    gains: name → batch size → (by the formula, measured). The dashed line is 1: below it
    drafting loses.
    """
    ax = axes_for(ax, (6.4, 3.4))
    for i, found in enumerate(gains.values()):
        look = series_look(i, marker="", linestyle="-")
        ax.plot([*found], [formula for formula, _ in found.values()], **look)
    label_line_ends(ax, [f"{name}, formula" for name in gains])
    for i, found in enumerate(gains.values()):
        look = series_look(i, linestyle="none", markersize=6)
        ax.plot([*found], [loops for _, loops in found.values()], **look)
    ax.axhline(1, color=GREY, linestyle="--", linewidth=1, zorder=0)
    double_axes(ax, sorted({batch for found in gains.values() for batch in found}))
    ax.set(xlabel="users in one pass", ylabel="speed-up by drafting", ylim=(0, None))
    return open_frame(ax)


def plot_latency(
    runs: Mapping[str, Mapping[int, tuple[float, float]]], ax: Axes | None = None
) -> Axes:
    """What a user waits against what the machine writes, a point for each size of batch.

    runs: name → batch size → (milliseconds that a user waits for a token, tokens per second of
    all users together). Each point bears its batch size.
    """
    ax = axes_for(ax, (6.4, 3.4))
    for i, points in enumerate(runs.values()):
        waits, rates = zip(*points.values(), strict=True)
        ax.plot(waits, rates, **series_look(i))
        for batch, at in points.items():
            ax.annotate(str(batch), at, xytext=(3, -9), textcoords="offset points", fontsize=7)
    label_line_ends(ax, list(runs))
    ax.set(xlabel="a user waits for a token, ms", ylabel="all users, tokens per second")
    ax.set(xlim=(0, None), ylim=(0, None))
    return open_frame(ax)
