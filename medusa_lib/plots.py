"""Every figure of the course: plain data or records in, matplotlib Axes out.

Each function draws on `ax`, or on a new figure's axes if `ax` is None, and returns the axes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import MaxNLocator

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


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode()


def _open(ax: Axes) -> Axes:
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def visible(text: str) -> str:
    """A token's text with what is invisible in it made visible: " the" → "·the"."""
    text = text.replace(" ", "·").replace("\n", "⏎").replace("\t", "⇥") or "∅"
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _label(text: str) -> str:
    font = get_font(findfont(FontProperties()))
    known = (c if font.get_char_index(ord(c)) else _escaped(c) for c in visible(text))
    return "".join(known).replace("$", r"\$")  # a pair of $ would start a formula


def _figure(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


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


def plot_parameters(parts: Mapping[str, int], ax: Axes | None = None) -> Axes:
    """Bars of the number of parameters in each part of a model, first part on top."""
    ax = _axes(ax, (6.4, 0.35 * len(parts) + 0.9))
    rows, counts = np.arange(len(parts)), list(parts.values())
    colours = [BLUE if part.startswith("block") else ORANGE for part in parts]
    ax.barh(rows, counts, color=colours)
    for row, count in zip(rows, counts, strict=True):
        ax.text(count, row, f" {count:,} ({count / sum(counts):.0%})", va="center", fontsize=8)
    ax.set_yticks(rows, list(parts))
    ax.invert_yaxis()
    ax.set(xlim=(0, 1.35 * max(counts)), xlabel="parameters")
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.xaxis.set_major_locator(MaxNLocator(5))
    return _open(ax)


def plot_next_tokens(
    tokens: Sequence[str],
    probs: Sequence[float],
    kept: Sequence[bool] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Bars of next-token probabilities, most probable on top; the nucleus is filled.

    tokens, probs, kept: same length, in descending probability; kept None: no nucleus shown.
    The axis ends at 0.1, 0.2, 0.5 or 1, so that it stays put while sliders move a little.
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
    end = next((end for end in (0.1, 0.2, 0.5) if max(probs, default=0) < end), 1)
    ax.set(xlim=(0, 1.12 * end), xlabel="probability of being the next token", ylabel="token")
    if not all(kept):
        edge = sum(kept) - 0.5
        ax.axhline(edge, color=ORANGE, linestyle="--", linewidth=1.5)
        ax.text(1.1 * end, edge, "nucleus ends here", ha="right", va="bottom", fontsize=8)
    return _open(ax)


def plot_branch(tokens: Sequence[str], probs: Sequence[float], ax: Axes | None = None) -> Axes:
    """A drafted branch: for each token, the probability the drafter gave it, in draft order."""
    ax = _axes(ax, (6.4, 2.6))
    places = np.arange(len(tokens))
    ax.bar(places, probs, color=BLUE, width=0.6)
    for x, p in zip(places, probs, strict=True):
        share = f"{p:.2f}" if p >= 0.005 else "<0.01"
        ax.text(x, p, share, ha="center", va="bottom", fontsize=8)
    labels = [f"{i + 1}\n{_label(token)}" for i, token in enumerate(tokens)]
    ax.set_xticks(places, labels)
    ax.set(ylim=(0, 1.12), ylabel="drafter's probability", xlabel="position in the branch, token")
    return _open(ax)


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
    alpha, tau = _figure(acceptance_rate(loops)), _figure(mean_accepted_length(loops))
    title = f"α = {alpha} (accepted ÷ evaluated), τ = {tau} (tokens emitted ÷ loops)"
    ax.set_title(title, fontsize=10)
    ax.set(xlabel="loop", ylabel="tokens per loop", ylim=(0, max(1, floor.max(initial=0)) + 0.3))
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.yaxis.get_major_locator().set_params(integer=True)
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return _open(ax)


def plot_tokens_against_passes(runs: Mapping[str, Generation], ax: Axes | None = None) -> Axes:
    """Tokens written so far against forward passes spent so far, one line per run."""
    ax = _axes(ax, (6.4, 3.4))
    looks = itertools.cycle(zip((BLUE, ORANGE, GREEN, "black"), "os^D", strict=True))
    for (name, run), (colour, marker) in zip(runs.items(), looks, strict=False):
        passes = np.cumsum([0] + [r.draft_passes + r.verify_passes for r in run.loops])
        tokens = np.cumsum([0] + [len(r.emitted) for r in run.loops])
        ax.plot(passes, tokens, color=colour, marker=marker, markersize=3, label=name)
    ax.set(xlabel="model passes spent (draft + verify)", ylabel="tokens written")
    ax.legend(frameon=False)
    return _open(ax)


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
        dark = value < (np.nanmin(grid) + np.nanmax(grid)) / 2
        colour = "white" if dark else "black"
        ax.text(column, row, _figure(value), ha="center", va="center", color=colour)
    ax.set_xticks(range(len(spans)), spans)
    ax.set_yticks(range(len(temperatures)), temperatures)
    ax.set(xlabel="span (tokens drafted per loop)", ylabel="drafter's temperature")
    ax.figure.colorbar(image, ax=ax, label="τ = tokens emitted ÷ loops")
    return ax
