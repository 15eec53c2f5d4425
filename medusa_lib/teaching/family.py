"""BEYOND12's room: the family in small pictures, Jacobi's guesses as a grid, and its panel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from medusa_lib.base.checks import checked
from medusa_lib.base.words import Positive, Prompt
from medusa_lib.beyond.family import jacobi, settled
from medusa_lib.demo import PROMPT
from medusa_lib.steps.loops import start_ids
from medusa_lib.steps.model import LM
from medusa_lib.teaching.shared.controls import observe, slider, text_box
from medusa_lib.teaching.shared.html import says_html, token_texts
from medusa_lib.teaching.shared.panel import Panel
from medusa_lib.teaching.shared.recording import Grid
from medusa_lib.teaching.shared.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    axes_for,
    label_of,
    open_frame,
    two_digits,
)


@dataclass(frozen=True)
class Relative:
    """One way to draft, as its authors describe it.

    source: authors, year and arXiv's number. drafted_from, trained, verified: in a few words.
    reports: the authors' own figure, on their models and machines. taps: layers of a model of
    four whose result the drafter reads, from 0. runs: layers that run in order to draft. adds:
    what is added to the model. shape: of the drafts.
    """

    name: str
    source: str
    drafted_from: str
    trained: str
    verified: str
    reports: str
    taps: tuple[int, ...] = (3,)
    runs: tuple[int, ...] = ()
    adds: str = ""
    shape: str = "chain"
    trains_model: bool = False


RELATIVES = (
    Relative(
        "Medusa-1", "Cai et al. 2024, arXiv 2401.10774",
        "last hidden states, each head alone", "heads; the model stays as it is",
        "fixed tree; exactly, or typically", "over 2.2×",
        adds="heads", shape="tree",
    ),
    Relative(
        "Medusa-2", "Cai et al. 2024, arXiv 2401.10774",
        "last hidden states, each head alone", "heads and model together",
        "fixed tree; exactly, or typically", "2.3× to 3.6×",
        adds="heads", shape="tree", trains_model=True,
    ),
    Relative(
        "Hydra", "Ankner et al. 2024, arXiv 2402.05109",
        "last hidden states and the token drafted before", "heads; the model stays as it is",
        "fixed tree; exactly, or typically", "up to 2.70× (Hydra++)",
        adds="chained heads", shape="tree",
    ),
    Relative(
        "EAGLE-1", "Li et al. 2024, arXiv 2401.15077",
        "hidden states that it predicts itself, and the token before", "one layer",
        "fixed tree, exactly", "2.7× to 3.5× (70 B)",
        adds="layer", shape="tree",
    ),
    Relative(
        "EAGLE-2", "Li et al. 2024, arXiv 2406.16858",
        "as EAGLE-1", "nothing more than EAGLE-1",
        "tree that grows where it is sure, exactly", "3.05× to 4.26×",
        adds="layer", shape="growing tree",
    ),
    Relative(
        "EAGLE-3", "Li et al. 2025, arXiv 2503.01840",
        "hidden states of low, middle and high layers", "one layer, on its own drafts",
        "tree that grows where it is sure, exactly", "up to 6.5×",
        taps=(0, 2, 3), adds="layer", shape="growing tree",
    ),
    Relative(
        "lookahead", "Fu et al. 2024, arXiv 2402.02057",
        "n-grams that the model guessed in earlier passes", "nothing",
        "n-grams of the pool, exactly", "up to 1.8× (one GPU)",
        adds="pool", shape="window",
    ),
    Relative(
        "LayerSkip (early exit)", "Elhoushi et al. 2024, arXiv 2404.16710",
        "the model's first layers", "the model, to be right early",
        "chain, exactly", "up to 2.16×",
        taps=(1,), runs=(0, 1), trains_model=True,
    ),
    Relative(
        "Draft & Verify (self-speculation)", "Zhang et al. 2023, arXiv 2309.08168",
        "the model without some of its layers", "nothing; the layers are searched for",
        "chain, exactly", "up to 1.99×",
        runs=(0, 1, 3),
    ),
)  # fmt: skip
FIXED = ((1, 1, 0), (1, -1, 0), (2, 1.4, 1), (2, 0.6, 1), (2, -1, 2))  # depth, height, parent
GROWING = ((1, 0.6, 0), (1, -1, 0), (2, 0.6, 1), (3, 1.2, 3), (3, 0.2, 3))
CHAIN = tuple((depth, 0, depth - 1) for depth in (1, 2, 3))
NODES = {"tree": FIXED, "growing tree": GROWING, "chain": CHAIN}
TRAINED, RUNS = {"edgecolor": "#B87700", "linewidth": 2.2}, {"facecolor": "#CFE3F3"}


def family_pictures(relatives: Sequence[Relative] = RELATIVES, columns: int = 3) -> Figure:
    """A small picture of each: the model's layers, what drafts, and what it drafts.

    Blue layers run to draft; what is trained has a thick orange edge; dashed layers are left out.
    """
    rows = -(-len(relatives) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(3.1 * columns, 2.1 * rows), layout="constrained", squeeze=False
    )
    for ax in axes.flat[len(relatives) :]:
        ax.axis("off")
    for ax, relative in zip(axes.flat, relatives, strict=False):
        plot_relative(relative, ax)
    return figure


def plot_relative(relative: Relative, ax: Axes | None = None) -> Axes:
    """One of the small pictures: see family_pictures."""
    ax = axes_for(ax, (3.1, 2.1))
    for layer in range(4):
        _draw_layer(ax, relative, layer)
    _draw_drafter(ax, relative)
    if relative.shape == "window":
        _draw_window(ax)
    else:
        _draw_drafts(ax, NODES[relative.shape], relative.adds == "heads")
    ax.set_title(relative.name, fontsize=10, weight="bold")
    ax.set(xlim=(-0.1, 7.1), ylim=(-0.2, 4.2))
    ax.axis("off")
    return ax


def _box(ax: Axes, at: tuple[float, float], size: tuple[float, float], **look: object) -> None:
    """A rounded box with its lower left corner at a place."""
    look = {"facecolor": "white", "edgecolor": "#555555", "linewidth": 1, **look}
    ax.add_patch(FancyBboxPatch(at, *size, boxstyle="round,pad=0.02,rounding_size=0.1", **look))


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], **look: object) -> None:
    """An arrow from one place to another."""
    ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": "#333333", **look})


def _draw_layer(ax: Axes, relative: Relative, layer: int) -> None:
    """One of the model's four layers, and an arrow out of it if the drafter reads it."""
    look = dict(TRAINED) if relative.trains_model else {}
    if layer in relative.runs:
        look |= RUNS
    elif relative.runs:
        look |= {"linestyle": "--"}
    _box(ax, (0.1, layer + 0.1), (1.5, 0.75), **look)
    ax.text(0.85, layer + 0.48, f"layer {layer + 1}", ha="center", va="center", fontsize=7)
    if layer in relative.taps:
        _arrow(ax, (1.65, layer + 0.48), (2.25, 2 + (layer - 2) * 0.3))


def _draw_drafter(ax: Axes, relative: Relative) -> None:
    """What is added to the model, between its layers and the drafts."""
    if not relative.adds:
        _box(ax, (2.3, 1.6), (1.2, 0.8))
        ax.text(2.9, 2, "output", ha="center", va="center", fontsize=7)
        return
    look = {} if relative.adds == "pool" else TRAINED
    if "heads" not in relative.adds:
        _box(ax, (2.3, 1.5), (1.2, 1), **look)
        ax.text(2.9, 2, relative.adds, ha="center", va="center", fontsize=7)
        if relative.adds == "layer":  # its result goes in again
            bent = {"connectionstyle": "arc3,rad=0.9"}
            _arrow(ax, (3.3, 2.6), (2.5, 2.6), **bent)
        return
    for head in range(3):
        _box(ax, (2.3, 0.65 + head), (1.2, 0.7), **look)
        ax.text(2.9, 1 + head, f"head {3 - head}", ha="center", va="center", fontsize=7)
        if relative.adds == "chained heads" and head:
            _arrow(ax, (2.9, 0.65 + head), (2.9, 0.4 + head))


def _draw_drafts(ax: Axes, nodes: Sequence[tuple[float, float, int]], alone: bool) -> None:
    """The drafted tokens, each with a line from the one before; dotted where guessed alone."""
    places = [(3.9, 2.0), *((3.9 + depth, 2 + height) for depth, height, _ in nodes)]
    for (*_, parent), here in zip(nodes, places[1:], strict=True):
        x, y = zip(places[parent], here, strict=True)
        ax.plot(x, y, ":" if alone else "-", color="#555555", linewidth=1, zorder=1)
    ax.scatter(*zip(*places[1:], strict=True), s=60, color=GREEN, edgecolor="black", zorder=2)
    ax.scatter(*places[0], s=40, color=GREY, edgecolor="black", zorder=2)


def _draw_window(ax: Axes) -> None:
    """The window of guesses: rows of tokens, each further along than the one below."""
    for row in range(3):
        for column in range(4):
            at = 3.9 + 0.62 * column + 0.31 * row, 1.1 + 0.9 * row
            look = {"facecolor": ORANGE if row < 2 else BLUE, "edgecolor": "black"}
            ax.scatter(*at, s=42, **look, zorder=2)
            if row == 2:
                down = [(at[0] - 0.31 * n, at[1] - 0.9 * n) for n in range(3)]
                ax.plot(*zip(*down, strict=True), color="#555555", linewidth=0.8, zorder=1)
    _arrow(ax, (4.4, 3.35), (2.9, 2.6), connectionstyle="arc3,rad=0.35")


def plot_jacobi(
    guesses: Sequence[Sequence[str]], since: Sequence[int], ax: Axes | None = None
) -> Axes:
    """Guesses row by row, as texts; a place is green from the pass on in which it settled.

    since: as family.settled gives it.
    """
    rows, places = len(guesses), len(since)
    ax = axes_for(ax, (0.4 + 0.72 * places, 0.7 + 0.26 * rows))
    for row, guess in enumerate(guesses):
        for at, text in enumerate(guess):
            right = row >= since[at]
            look = {"facecolor": "#C9EBDD" if right else "white", "edgecolor": "#999999"}
            ax.add_patch(plt.Rectangle((at, row), 1, 1, **look, linewidth=0.6))
            words = {"fontsize": 7.5, "weight": "bold" if right else "normal", "clip_on": True}
            ax.text(at + 0.5, row + 0.5, label_of(text[:9]), ha="center", va="center", **words)
    ax.set(xlim=(0, places), ylim=(rows, 0), xlabel="place after the prompt", ylabel="pass")
    ax.set_xticks([at + 0.5 for at in range(places)], range(1, places + 1), fontsize=8)
    ax.set_yticks([row + 0.5 for row in range(rows)], range(rows), fontsize=8)
    ax.tick_params(length=0)
    return open_frame(ax)


def plot_reached(rows: Mapping[str, tuple[float, float, float]], ax: Axes | None = None) -> Axes:
    """τ of each drafter as a bar, and beside it its α and the positions verified for a token.

    rows: name → (α, τ, positions ÷ tokens).
    """
    ax = axes_for(ax, (7.4, 0.6 + 0.34 * len(rows)))
    names, taus = list(rows), [tau for _, tau, _ in rows.values()]
    ax.barh(names, taus, color=BLUE, height=0.6)
    for at, (alpha, tau, positions) in enumerate(rows.values()):
        said = f"τ {tau:.2f}   α {two_digits(alpha)}   {positions:.1f} positions a token"
        ax.text(tau + 0.05, at, said, va="center", fontsize=8)
    ax.axvline(1, color="#555555", linestyle="--", linewidth=1)
    ax.invert_yaxis()
    ax.set(xlabel="τ = tokens emitted ÷ loops (dashed: no draft)", xlim=(0, max(taus) + 3))
    return open_frame(ax)


class JacobiPanel(Panel):
    """BEYOND12: a prompt, how many places are guessed at once, and the passes so far."""

    grid: ClassVar[Grid] = {
        "count": (4, 8, 12),
        "passes": ...,
    }

    @checked
    def __init__(self, lm: LM, prompt: Prompt = PROMPT, count: Positive = 8) -> None:
        start_ids(lm, prompt)  # refuses a bad prompt at once
        self.lm, self.prompt = lm, text_box(prompt)
        self.count, self.passes = slider("places", count, 1, 12), slider("pass", 3, 0, 13)
        controls = [self.prompt, self.count, self.passes]
        super().__init__(controls, "330px")
        observe(self.update, *controls)
        self.update()
        self.says = (
            "Panel: prompt, sliders for places and pass over the guesses of Jacobi iteration. "
            f"At first: {self.words}"
        )

    def update(self) -> None:
        """Guess anew for the controls' values, and draw."""
        self.redraw(self.picture)

    def picture(self) -> str:
        """HTML: the guesses up to the chosen pass, then what they come to."""
        guesses = jacobi(self.lm, self.prompt.value, self.count.value)
        shown, since = guesses[: self.passes.value + 1], settled(guesses)
        self.words = jacobi_words(guesses)
        texts = [token_texts(self.lm, guess) for guess in shown]
        size = 0.4 + 0.72 * len(since), 0.8 + 0.26 * len(texts)
        plot = self.figure(lambda ax: plot_jacobi(texts, since, ax), size, self.words)
        return plot + says_html(self.words)


def jacobi_words(guesses: Sequence[Sequence[int]]) -> str:
    """How many passes some guesses took, and which of them only made sure."""
    passes, last = len(guesses) - 1, max(settled(guesses))
    return (
        f"{len(guesses[-1])} places, the last of them settled in pass {last}; "
        f"pass {passes} changed nothing, so this is greedy's text"
    )
