"""Every figure of the course: plain data or records in, matplotlib Axes out.

Each function draws on `ax`, or on a new figure's axes if `ax` is None, and returns the axes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from medusa_lib.records import (
    Generation,
    LoopRecord,
    acceptance_rate,
    mean_accepted_length,
)

# Okabe and Ito's palette, which colour-blind readers can tell apart; hatches say it again.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#E69F00", "#009E73", "#BBBBBB"
KIND_COLOURS = {"accepted": GREEN, "corrected": ORANGE, "unused": GREY, "bonus": BLUE}
KIND_HATCHES = {"accepted": "", "corrected": "//", "unused": "..", "bonus": "xx"}

STEP_WORDS = (
    "device",
    "model",
    "utilities",
    "sampling",
    "drafter",
    "prefix_accept",
    "loops",
    "demo",
)


def _axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    return plt.figure(figsize=size, layout="constrained").gca() if ax is None else ax


def visible(text: str) -> str:
    """A token's text with its spaces and line ends made visible: " the" → "·the"."""
    return text.replace(" ", "·").replace("\n", "⏎").replace("\t", "⇥") or "∅"


def _label(text: str) -> str:
    return visible(text).replace("$", r"\$")  # a pair of $ would start a formula


def plot_pipeline(step: int, ax: Axes | None = None) -> Axes:
    """The eight steps as boxes in a row, the one at hand filled. step: 0 to 7."""
    ax = _axes(ax, (9, 0.9))
    for i, word in enumerate(STEP_WORDS):
        here = i == step
        box = FancyBboxPatch(
            (i + 0.06, 0.1),
            0.84,
            0.8,
            boxstyle="round,pad=0.02,rounding_size=0.1",
            facecolor=BLUE if here else "white",
            edgecolor=BLUE,
            linewidth=2 if here else 1,
        )
        ax.add_patch(box)
        label = f"STEP{i}\n{word.replace('_', ' ')}"
        style = {"color": "white", "weight": "bold"} if here else {"color": "black"}
        ax.text(i + 0.48, 0.5, label, ha="center", va="center", fontsize=8, **style)
    ax.set(xlim=(0, 8), ylim=(0, 1))
    ax.axis("off")
    return ax


def plot_next_tokens(
    tokens: Sequence[str],
    probs: Sequence[float],
    kept: Sequence[bool] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Bars of next-token probabilities, most probable on top; the nucleus is filled.

    tokens, probs, kept: same length, in descending probability; kept None: no nucleus shown.
    """
    ax = _axes(ax, (6.4, 0.3 * len(tokens) + 1))
    kept = [True] * len(tokens) if kept is None else kept
    rows = np.arange(len(tokens))
    for i, (p, inside) in enumerate(zip(probs, kept, strict=True)):
        look = {"color": BLUE} if inside else {"color": "white", "edgecolor": GREY, "hatch": "//"}
        ax.barh(i, p, **look)[0].set_gid(f"bar-{i}")
        ax.text(p, i, f" {p:.3f}", va="center", fontsize=8)
    ax.set_yticks(rows, [_label(token) for token in tokens])
    ax.invert_yaxis()
    ax.set(xlim=(0, 1.12), xlabel="probability of being the next token", ylabel="token")
    if not all(kept):
        edge = sum(kept) - 0.5
        ax.axhline(edge, color=ORANGE, linestyle="--", linewidth=1.5)
        ax.text(1.1, edge, "nucleus ends here", ha="right", va="bottom", fontsize=8)
    return ax


def plot_branch(tokens: Sequence[str], probs: Sequence[float], ax: Axes | None = None) -> Axes:
    """A drafted branch: for each token, the probability the drafter gave it, in draft order."""
    ax = _axes(ax, (6.4, 2.6))
    places = np.arange(len(tokens))
    ax.bar(places, probs, color=BLUE, width=0.6)
    for x, p in zip(places, probs, strict=True):
        ax.text(x, p, f"{p:.2f}", ha="center", va="bottom", fontsize=8)
    labels = [f"{i + 1}\n{_label(token)}" for i, token in enumerate(tokens)]
    ax.set_xticks(places, labels)
    ax.set(ylim=(0, 1.12), ylabel="drafter's probability", xlabel="position in the branch, token")
    return ax


def plot_acceptance(loops: Sequence[LoopRecord], ax: Axes | None = None) -> Axes:
    """Per-loop acceptance: accepted, corrected and unused drafts of each loop, with α and τ."""
    ax = _axes(ax, (8, 3))
    places = np.array([record.index for record in loops])
    kinds = {
        "accepted": [record.accepted for record in loops],
        "corrected": [record.evaluated - record.accepted for record in loops],
        "unused": [record.unused for record in loops],
        "bonus": [int(record.bonus is not None) for record in loops],
    }
    floor = np.zeros(len(loops))
    for kind, counts in kinds.items():
        if kind == "bonus" and not any(counts):
            continue
        bars = ax.bar(
            places,
            counts,
            bottom=floor,
            label=kind,
            color=KIND_COLOURS[kind],
            hatch=KIND_HATCHES[kind],
            edgecolor="black",
            linewidth=0.4,
        )
        for place, bar in zip(places, bars, strict=True):
            bar.set_gid(f"{kind}-{place}")
        floor += counts
    alpha, tau = acceptance_rate(loops), mean_accepted_length(loops)
    ax.set_title(f"α = {alpha:.2f} accepted ÷ evaluated    τ = {tau:.2f} tokens emitted ÷ loop")
    ax.set(xlabel="loop", ylabel="drafted tokens", ylim=(0, max(1, floor.max(initial=0)) + 0.3))
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.yaxis.get_major_locator().set_params(integer=True)
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return ax


def plot_tokens_against_passes(runs: Mapping[str, Generation], ax: Axes | None = None) -> Axes:
    """Tokens written so far against forward passes spent so far, one line per run."""
    ax = _axes(ax, (6.4, 3.4))
    looks = zip((BLUE, ORANGE, GREEN, "black"), ("o", "s", "^", "D"), strict=True)
    for (name, run), (colour, marker) in zip(runs.items(), looks, strict=False):
        passes = np.cumsum([0] + [r.draft_passes + r.verify_passes for r in run.loops])
        tokens = np.cumsum([0] + [len(r.emitted) for r in run.loops])
        ax.plot(passes, tokens, color=colour, marker=marker, markersize=3, label=name)
    ax.set(xlabel="model passes spent (draft + verify)", ylabel="tokens written")
    ax.legend(frameon=False)
    return ax


def plot_heatmap(
    values: Sequence[Sequence[float]],
    temperatures: Sequence[float],
    spans: Sequence[int],
    ax: Axes | None = None,
) -> Axes:
    """Mean accepted length τ over temperature (rows) × span (columns), each cell labelled."""
    ax = _axes(ax, (5.6, 3.4))
    grid = np.asarray(values, dtype=float)
    image = ax.imshow(grid, cmap="cividis", aspect="auto")
    for (row, column), value in np.ndenumerate(grid):
        dark = value < (grid.min() + grid.max()) / 2
        colour = "white" if dark else "black"
        ax.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour)
    ax.set_xticks(range(len(spans)), spans)
    ax.set_yticks(range(len(temperatures)), temperatures)
    ax.set(xlabel="span (tokens drafted per loop)", ylabel="drafter's temperature")
    ax.figure.colorbar(image, ax=ax, label="τ = tokens emitted ÷ loop")
    return ax
