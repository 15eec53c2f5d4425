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

from medusa_lib.base.course import BEYOND_WORDS, STEP_WORDS
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


def _box(ax: Axes, at: float, label: str, here: bool) -> None:
    """A rounded box one unit wide at `at`, filled if `here`, with its label."""
    box = FancyBboxPatch(
        (at + 0.06, 0.1),
        0.84,
        0.8,
        boxstyle="round,pad=0.02,rounding_size=0.1",
        facecolor=BLUE if here else "white",
        edgecolor=BLUE,
        linewidth=2 if here else 1,
    )
    ax.add_patch(box)
    style = {"color": "white", "weight": "bold"} if here else {"color": "black"}
    ax.text(at + 0.48, 0.5, label, ha="center", va="center", fontsize=8, **style)


def plot_pipeline(step: int, ax: Axes | None = None) -> Axes:
    """The eight steps as boxes in a row, the one at hand filled. step: 0 to 7."""
    ax = _axes(ax, (9, 0.9))
    for i, word in enumerate(STEP_WORDS):
        _box(ax, i, f"STEP{i}\n{word.replace('_', ' ')}", i == step)
    ax.set(xlim=(0, 8), ylim=(0, 1))
    ax.axis("off")
    return ax


def plot_beyond(lesson: int, ax: Axes | None = None) -> Axes:
    """A box for the eight steps, then the lessons beyond, the one at hand filled. From 1."""
    ax = _axes(ax, (9, 0.9))
    _box(ax, 0, f"STEP0–{len(STEP_WORDS) - 1}", here=False)
    for i, word in enumerate(BEYOND_WORDS, start=1):
        _box(ax, i, f"BEYOND{i}\n{word.replace('_', ' ')}", i == lesson)
        ax.annotate("", (i + 0.05, 0.5), (i - 0.09, 0.5), arrowprops={"arrowstyle": "->"})
    ax.set(xlim=(0, max(6, len(BEYOND_WORDS) + 1)), ylim=(0, 1))
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


def plot_bench(
    not_looping: Sequence[Mapping], looping: Sequence[Mapping], ax: Axes | None = None
) -> Axes:
    """Speed of each decoder over cached greedy, as bars: outputs that do not loop, and that do.

    Rows as the bench makes them, with "name" and "over_greedy" (seconds of cached greedy ÷
    seconds of this decoder).
    """
    names = [row["name"] for row in not_looping or looping]
    ax = _axes(ax, (8, 0.5 * len(names) + 1))
    kinds = [("does not loop", not_looping, BLUE, ""), ("loops", looping, ORANGE, "//")]
    for shift, (label, rows, colour, hatch) in zip((-0.2, 0.2), kinds, strict=True):
        places = [names.index(row["name"]) + shift for row in rows]
        values = [row["over_greedy"] for row in rows]
        ax.barh(places, values, 0.38, color=colour, hatch=hatch, edgecolor="black", label=label)
        for place, value in zip(places, values, strict=True):
            ax.text(value, place, f" {value:.2f}", va="center", fontsize=8)
    ax.axvline(1, color="black", linewidth=1)
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.set(xlabel="speed over cached greedy (seconds of cached greedy ÷ seconds of this)")
    ax.legend(title="the text", frameon=False)
    return _open(ax)


def plot_expected_speedup(
    spans: Sequence[int],
    expected: Mapping[str, Sequence[float]],
    measured: Mapping[str, Sequence[float]] | None = None,
    label: str = "speed-up over plain decoding",
    ax: Axes | None = None,
) -> Axes:
    """Curves over the span by a formula, and points by measurement in the colour of their name.

    expected, measured: name → one value for each of `spans`; a name may be in one of them only.
    """
    measured = {} if measured is None else measured
    ax = _axes(ax, (6.4, 3.4))
    colours, lines = (BLUE, ORANGE, GREEN, "black"), ("-", "--", "-.", ":")
    looks = itertools.cycle(zip(colours, "os^D", lines, strict=True))
    names = dict.fromkeys([*expected, *measured])
    for name, (colour, marker, line) in zip(names, looks, strict=False):
        if name in expected:
            said = f"{name}, formula" if measured else name
            ax.plot(spans, expected[name], line, color=colour, label=said)
        if name in measured:
            points = {"color": colour, "marker": marker, "linestyle": "none"}
            ax.plot(spans, measured[name], **points, label=f"{name}, measured")
    ax.axhline(1, color=GREY, linestyle="--", linewidth=1, zorder=0)
    ax.set(xlabel="span (tokens drafted per loop)", ylabel=label, ylim=(0, None))
    ax.set_xticks(spans)
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=8)
    return _open(ax)


def plot_acceptance_by_position(
    counts: Mapping[str, Sequence[tuple[int, int]]], least: int = 5, ax: Axes | None = None
) -> Axes:
    """How often a draft holds at each position, of those loops that reached it; α is dashed.

    counts: drafter's name → (reached, accepted) for each position, as
    records.acceptance_by_position gives them. A point's area grows with the number that reached
    it; positions that fewer than `least` reached are left out. The dashes of different names
    take turns, so that lines of the same α show both.
    """
    ax = _axes(ax, (7, 3.4))
    looks = itertools.cycle(zip((BLUE, ORANGE, GREEN, "black"), "os^D", strict=True))
    dash, pause = 2.5, 2.5 * max(1, len(counts) - 1)
    for i, ((name, pairs), (colour, marker)) in enumerate(zip(counts.items(), looks, strict=False)):
        shown = [(at, a / r, r) for at, (r, a) in enumerate(pairs, start=1) if r >= least]
        places, shares, numbers = zip(*shown, strict=True) if shown else ((), (), ())
        ax.plot(places, shares, color=colour, marker=marker, markersize=4, label=name)
        ax.scatter(places, shares, s=[12 + 2 * n for n in numbers], color=colour, marker=marker)
        alpha = sum(a for _, a in pairs) / max(1, sum(r for r, _ in pairs))
        turn = (-dash * i, (dash, pause))
        said = f"its α, {_figure(alpha)}"
        ax.axhline(alpha, color=colour, linestyle=turn, linewidth=1.4, zorder=0, label=said)
    ax.set(xlabel="position in the branch", ylabel="accepted ÷ reached", ylim=(0, 1.1))
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return _open(ax)


def plot_pass_cost(costs: Mapping[str, Mapping[int, float]], ax: Axes | None = None) -> Axes:
    """The cost of one pass against its number of positions, as a multiple of one position's.

    costs: for each model, number of positions → seconds, 1 among them. Between the two dotted
    lines: at the lower one more positions are free, at the upper one each costs as the first.
    """
    ax = _axes(ax, (6.4, 3.6))
    counts = sorted({count for cost in costs.values() for count in cost})
    looks = itertools.cycle(zip((BLUE, ORANGE, GREEN, "black"), "os^D", strict=True))
    for (name, cost), (colour, marker) in zip(costs.items(), looks, strict=False):
        ratios = [seconds / cost[1] for seconds in cost.values()]
        ax.plot(list(cost), ratios, color=colour, marker=marker, markersize=4, label=name)
    ax.plot(counts, counts, ":", color="black", label="a pass for each position")
    ax.plot(counts, [1] * len(counts), ":", color="grey", label="more positions are free")
    ax.set_xscale("log", base=2), ax.set_yscale("log", base=2)
    ax.set_xticks(counts, counts)
    ax.yaxis.set_major_formatter("{x:g}")
    ax.set(xlabel="positions in one pass", ylabel="seconds ÷ seconds of one position")
    ax.legend(frameon=False, fontsize=8)
    return _open(ax)


def plot_roofline(
    measured: Mapping[int, float],
    bounds: Mapping[int, tuple[float, float]],
    ax: Axes | None = None,
) -> Axes:
    """Measured seconds of a pass over the least it could take, both against its positions.

    bounds: number of positions → (seconds to read the weights, seconds to compute); the longer
    of the two is the roofline.
    """
    ax = _axes(ax, (4.6, 3.6))
    counts = list(bounds)
    reading, computing = ([1000 * pair[i] for pair in bounds.values()] for i in (0, 1))
    roof = [max(pair) for pair in zip(reading, computing, strict=True)]
    ax.plot(counts, reading, "--", color=ORANGE, label="read the weights")
    ax.plot(counts, computing, ":", color=GREEN, label="do the arithmetic")
    ax.plot(counts, roof, color="black", linewidth=3, alpha=0.25, label="roofline: the longer")
    milliseconds = [1000 * seconds for seconds in measured.values()]
    ax.plot(list(measured), milliseconds, "o-", color=BLUE, markersize=4, label="measured")
    ax.set_xscale("log", base=2), ax.set_yscale("log")
    ax.set_xticks(counts, counts)
    ax.yaxis.set_major_formatter("{x:g}")
    ax.set(xlabel="positions in one pass", ylabel="milliseconds")
    ax.legend(frameon=False, fontsize=8)
    return _open(ax)


def plot_shares(
    words: Sequence[str], shares: Mapping[str, Sequence[float]], ax: Axes | None = None
) -> Axes:
    """How often each word comes, for several ways to choose it, as bars side by side.

    shares: name → a number in [0, 1] for each word.
    """
    ax = _axes(ax, (8, 3))
    looks = itertools.cycle(((GREY, ""), (ORANGE, "//"), (BLUE, ""), (GREEN, "xx")))
    width, places = 0.8 / len(shares), np.arange(len(words))
    for i, ((name, values), (colour, hatch)) in enumerate(zip(shares.items(), looks, strict=False)):
        at = places + (i - (len(shares) - 1) / 2) * width
        look = {"color": colour, "hatch": hatch, "edgecolor": "black", "linewidth": 0.4}
        ax.bar(at, values, width, label=name, **look)
        for x, value in zip(at, values, strict=True):
            ax.text(x, value, f"{value:.2f}", ha="center", va="bottom", fontsize=7)
    ax.set_xticks(places, [_label(word) for word in words])
    ax.set(ylabel="share of the draws", xlabel="word")
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return _open(ax)


def plot_overlap(
    words: Sequence[str], p: Sequence[float], q: Sequence[float], ax: Axes | None = None
) -> Axes:
    """Speculative sampling as bars: for each word the draft's q and the target's p.

    Both stand on the accepted part min(p, q). On top of it, q has what is rejected, and p what
    the residual has to give. p, q: distributions over the words.
    """
    ax = _axes(ax, (7, 3.2))
    places, p, q = np.arange(len(words)), np.asarray(p), np.asarray(q)
    shared = np.minimum(p, q)
    parts = (  # name, where, floor, height, colour, hatch
        ("accepted: min(p, q)", -0.2, 0 * shared, shared, GREEN, ""),
        ("", 0.2, 0 * shared, shared, GREEN, ""),
        ("rejected: q - min(p, q)", -0.2, shared, q - shared, ORANGE, "//"),
        ("from the residual: p - min(p, q)", 0.2, shared, p - shared, BLUE, "xx"),
    )
    for name, shift, floor, height, colour, hatch in parts:
        look = {"color": colour, "hatch": hatch, "edgecolor": "black", "linewidth": 0.4}
        ax.bar(places + shift, height, 0.36, bottom=floor, label=name or "_same", **look)
    for shift, values in ((-0.2, q), (0.2, p)):
        for x, value in zip(places + shift, values, strict=True):
            ax.text(x, value, f"{value:.2f}", ha="center", va="bottom", fontsize=8)
    ticks = [(i + s, t) for i, word in enumerate(words) for s, t in _pair(_label(word))]
    ax.set_xticks(*zip(*ticks, strict=True))
    ax.tick_params(axis="x", length=0)
    ax.set(ylim=(0, 1.1), ylabel="probability", xlabel="word: draft q beside target p")
    ax.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, fontsize=8)
    return _open(ax)


def _pair(word: str) -> list[tuple[float, str]]:
    return [(-0.2, "q"), (0, f"\n{word}"), (0.2, "p")]


def plot_misfits(
    rows: Mapping[str, Sequence[float]],
    texts: Sequence[str],
    p_values: Sequence[float],
    ax: Axes | None = None,
) -> Axes:
    """The chi-square test as a picture: rules (rows) × texts (columns), and each rule's p value.

    A cell is (observed - expected) / √expected of one text: purple came too often, orange too
    rarely. The squares of a row add up to its statistic.
    """
    ax = _axes(ax, (9, 0.55 * len(rows) + 1.4))
    grid = np.array([list(row) for row in rows.values()], dtype=float)
    image = ax.imshow(grid, cmap="PuOr", vmin=-6, vmax=6, aspect="auto")
    for (row, column), value in np.ndenumerate(grid):
        look = {"color": "white" if abs(value) > 4 else "black", "fontsize": 8}
        sign = f"{round(value, 1) + 0:+.1f}"  # + 0: never "-0.0"
        ax.text(column, row, sign, ha="center", va="center", **look)
    ax.set_xticks(range(len(texts)), [_label(text) for text in texts], rotation=30, ha="right")
    pairs = zip(rows, p_values, strict=True)
    says = (f"{name}\np value {'< 0.001' if p < 0.001 else f'{p:.2f}'}" for name, p in pairs)
    ax.set_yticks(range(len(rows)), list(says))
    ax.set_xlabel("text")
    ax.figure.colorbar(image, ax=ax, label="(observed - expected)\n÷ √expected", extend="both")
    return ax
