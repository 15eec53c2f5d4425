"""Pictures of a sweep's rows: a figure over two knobs, and acceptance against its cost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from medusa_lib.sweep.runs import by_setting
from medusa_lib.teaching.shared.style import axes_for, open_frame, series_look, two_digits

WORDS = {
    "alpha": "α = accepted ÷ evaluated",
    "tau": "τ = emitted ÷ loops",
    "passes_per_token": "passes ÷ token",
    "seconds_per_token": "seconds ÷ token",
    "top_p": "top-p",
}


def word_for(name: str) -> str:
    """A column or figure as an axis calls it."""
    return WORDS.get(name, name)


def own_or(value: object) -> str:
    """A value of a knob as a tick shows it; None is the drafter's own."""
    return "own" if value is None else str(value)


def heat_table(rows: object, x: str, y: str, figure: str) -> tuple[list, list, np.ndarray]:
    """Values of two knobs, and a figure's mean over runs at each pair of them.

    → (xs, ys, means `[len(ys), len(xs)]`), NaN where there is no such run, or nothing to divide by.
    """
    found = by_setting(rows, figure, by=(y, x))
    xs, ys = (sorted({at[i] for at in found}, key=lambda v: (v is not None, v)) for i in (1, 0))
    means = np.full((len(ys), len(xs)), np.nan)
    for (down, right), runs in found.items():
        means[ys.index(down), xs.index(right)] = np.mean(runs)
    return xs, ys, means


def plot_heat_map(
    rows: object,
    x: str = "top_p",
    y: str = "temperature",
    figure: str = "alpha",
    ax: Axes | None = None,
) -> Axes:
    """A figure's mean over runs at each pair of two knobs' values, as colour and number.

    rows: SweepRows, or a DataFrame as sweep.load gives it; what else differs is summed over.
    """
    xs, ys, means = heat_table(rows, x, y, figure)
    ax = axes_for(ax, (1.6 + 0.9 * len(xs), 1.4 + 0.5 * len(ys)))
    ax.imshow(means, cmap="cividis", aspect="auto", origin="lower")
    middle = np.nanmean([np.nanmin(means), np.nanmax(means)])
    for (down, right), mean in np.ndenumerate(means):
        look = {"ha": "center", "va": "center", "color": "black" if mean > middle else "white"}
        ax.text(right, down, two_digits(mean), **look)
    ax.set_xticks(range(len(xs)), map(own_or, xs))
    ax.set_yticks(range(len(ys)), map(own_or, ys))
    ax.set(xlabel=word_for(x), ylabel=word_for(y), title=word_for(figure))
    return ax


def plot_alpha_against_cost(
    rows: object,
    by: str = "drafter",
    along: Sequence[str] = ("temperature", "top_p", "span"),
    cost: str = "passes_per_token",
    ax: Axes | None = None,
) -> Axes:
    """Acceptance against cost: a series for each value of `by`, a cross for each setting.

    Arms go from the lowest to the highest run; they meet at the mean. along: the knobs that make
    a setting. rows: SweepRows, or a DataFrame as sweep.load gives it.
    """
    ax = axes_for(ax, (6.4, 3.8))
    alphas, costs = (by_setting(rows, name, by=(by, *along)) for name in ("alpha", cost))
    names = list(dict.fromkeys(at[0] for at in alphas))
    for i, name in enumerate(names):
        at = [one for one in alphas if one[0] == name and not np.isnan(alphas[one]).any()]
        points = [[np.array([f(which[one]) for one in at]) for f in (np.mean, np.min, np.max)]
                  for which in (alphas, costs)]  # fmt: skip
        (x, left, right), (y, low, high) = points
        look = {**series_look(i, linestyle=""), "elinewidth": 0.8}
        ax.errorbar(x, y, [y - low, high - y], [x - left, right - x], label=str(name), **look)
    ax.set(xlabel=word_for("alpha"), ylabel=word_for(cost), xlim=(-0.02, 1.02))
    ax.legend(frameon=False, fontsize=8)
    return open_frame(ax)
