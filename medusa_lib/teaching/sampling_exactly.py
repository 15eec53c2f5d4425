"""BEYOND4's room: what draft and target share, shares, misfits, and the panel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from matplotlib.axes import Axes

from medusa_lib.base.checks import checked
from medusa_lib.base.metrics import acceptance_rate
from medusa_lib.base.records import LoopRecord
from medusa_lib.base.words import Positive, Temperature
from medusa_lib.beyond.drafters import Drafter
from medusa_lib.beyond.named_drafters import make_drafter
from medusa_lib.beyond.one_pass import Branch, State
from medusa_lib.beyond.sampling_exactly import residual
from medusa_lib.beyond.speculative import speculate
from medusa_lib.steps.device import make_generator
from medusa_lib.steps.model import LM
from medusa_lib.steps.sampling import nucleus_probs
from medusa_lib.teaching.shared.controls import (
    observe,
    slider,
    temperature_slider,
    top_p_slider,
)
from medusa_lib.teaching.shared.html import says_html, table_html
from medusa_lib.teaching.shared.panel import Panel
from medusa_lib.teaching.shared.recording import Grid
from medusa_lib.teaching.shared.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    axes_for,
    bars_beside,
    label_of,
    legend_beside,
    name_lines,
    open_frame,
    series_look,
)
from medusa_lib.teaching.toys.four_words import START, TARGET, WORDS, draft_logits


@dataclass(frozen=True)
class Overlap:
    """What speculative sampling makes of one word: the draft's q, the target's p, what they share.

    accepted: min(p, q). residual: what is left of p, renormalised; all 0 if nothing is. Each
    list has a number for every word.
    """

    p: list[float]
    q: list[float]
    accepted: list[float]
    residual: list[float]

    @property
    def acceptance(self) -> float:
        """Probability that the draft is accepted: the sum of min(p, q), in [0, 1]."""
        return min(1.0, sum(self.accepted))


def overlap(
    target: torch.Tensor, draft: torch.Tensor, temperature: float, top_p: float | None
) -> Overlap:
    """Logits `[V]` of target and draft → their distributions and what those share.

    Raises ValueError for a knob out of range.
    """
    p, q = (nucleus_probs(logits, temperature, top_p) for logits in (target, draft))
    shared = torch.minimum(p, q)
    differ = float(shared.sum()) < 1 - 1e-9
    rest = residual(0, p, q) if differ else torch.zeros_like(p)
    return Overlap(p.tolist(), q.tolist(), shared.tolist(), rest.tolist())


def overlap_words(parts: Overlap) -> str:
    """How often the draft is accepted, as one line."""
    return (
        f"a draft is accepted with probability {parts.acceptance:.2f}; "
        f"with probability {1 - parts.acceptance:.2f} the residual takes its place"
    )


OVERLAP_HEAD = ("word", "p", "q", "min(p, q)", "residual", "rejected × residual", "sum")


def overlap_rows(words: Sequence[str], parts: Overlap) -> list[list[str]]:
    """`overlap` as rows of text, one for each word, in the order of OVERLAP_HEAD.

    The last column adds the ways to the word: as an accepted draft, or from the residual.
    """
    rows, rejected = [], 1 - parts.acceptance
    columns = zip(words, parts.p, parts.q, parts.accepted, parts.residual, strict=True)
    for word, p, q, accepted, rest in columns:
        second = rejected * rest
        numbers = (p, q, accepted, rest, second, accepted + second)
        rows.append([word, *(f"{number:.2f}" for number in numbers)])
    return rows


class WatchedDrafter:
    """A drafter that is watched: how much its q and the model's p share wherever it is verified.

    p and q are compared at this temperature, with no nucleus. A drafter that does not draw is
    certain of its token, and shares p(token).
    """

    def __init__(self, drafter: Drafter, temperature: float) -> None:
        self.drafter, self.temperature = drafter, temperature
        self.span, self.branch, self.shared = drafter.span, Branch(), []

    def propose(self, state: State, span: int) -> Branch:
        """What the drafter that is watched proposes."""
        self.branch = self.drafter.propose(state, span)
        return self.branch

    def observe(self, _state: State, logits: torch.Tensor, _accepted: int) -> None:
        """Note the overlap at each token that verification reached."""
        for i, (row, token) in enumerate(zip(logits, self.branch.tokens, strict=False)):
            p, probs = nucleus_probs(row, self.temperature, 1.0), self.branch.probs
            both = p[token] if probs is None else torch.minimum(p, probs[i]).sum()
            self.shared.append(float(both))
        self.branch = Branch()  # the last loop of a run may draft nothing


@dataclass
class Measured:
    """Runs of one drafter at one temperature, one for each seed.

    rates: α of each run. overlaps: computed, at each token that verification reached.
    """

    rates: list[float] = field(default_factory=list)
    overlaps: list[float] = field(default_factory=list)
    loops: list[LoopRecord] = field(default_factory=list)

    @property
    def alpha(self) -> float:
        """Accepted ÷ evaluated, over all runs."""
        return acceptance_rate(self.loops)

    @property
    def overlap(self) -> float:
        """The mean overlap: what α is when chance is left out."""
        return sum(self.overlaps) / len(self.overlaps)

    @property
    def by_chance(self) -> float:
        """How far α strays from the overlap in two of three such measurements, by chance alone."""
        return sum(x * (1 - x) for x in self.overlaps) ** 0.5 / len(self.overlaps)


MEASURED_HEAD = ("α", "each run", "overlap", "chance", "tokens ÷ verify passes", "draft passes")


def measured_row(measured: Measured) -> list[str]:
    """What was measured as text, in the order of MEASURED_HEAD; draft passes are for each token."""
    loops, rates = measured.loops, measured.rates
    tokens = sum(len(loop.emitted) for loop in loops)
    drafted, verified = (
        sum(getattr(loop, name) for loop in loops) for name in ("draft_passes", "verify_passes")
    )
    figures = (measured.overlap, measured.by_chance, tokens / verified, drafted / tokens)
    runs = f"{min(rates):.2f} to {max(rates):.2f}"
    return [f"{measured.alpha:.2f}", runs, *(f"{figure:.2f}" for figure in figures)]


@checked
def measure_overlaps(
    lm: LM,
    prompt: str,
    name: str,
    temperature: Temperature,
    seeds: Sequence[int],
    tokens: Positive = 48,
) -> Measured:
    """Write a text with the drafter of that name once for each seed, and compare p and q.

    temperature: above 0, of drafting and of verifying.
    """
    measured = Measured()
    for seed in seeds:
        drafter = make_drafter(name, lm, temperature, 1.0, make_generator(seed))
        watched = WatchedDrafter(drafter, temperature)
        run = speculate(lm, prompt, watched, tokens, 4, temperature, seed=seed)
        measured.rates.append(acceptance_rate(run.loops))
        measured.overlaps += watched.shared
        measured.loops += run.loops
    return measured


def plot_alpha_and_overlap(
    temperatures: Sequence[float],
    drafters: Mapping[str, Sequence[Measured]],
    ax: Axes | None = None,
) -> Axes:
    """For each drafter a line of computed overlaps, and its measured α with the runs' spread.

    drafters: name → what was measured at each temperature.
    """
    ax, middle = axes_for(ax, (7, 3.2)), (len(drafters) - 1) / 2
    for i, (name, row) in enumerate(drafters.items()):
        look = series_look(i)
        bars = {"color": look["color"], "fmt": look["marker"], "capsize": 3, "markersize": 6}
        ends = [(m.alpha - min(m.rates), max(m.rates) - m.alpha) for m in row]
        at = [t + 0.012 * (i - middle) for t in temperatures]
        ax.errorbar(at, [m.alpha for m in row], list(zip(*ends, strict=True)), **bars)
        line = {"color": look["color"], "linestyle": look["linestyle"], "label": name}
        ax.plot(temperatures, [m.overlap for m in row], **line)
    ax.set(xlabel="temperature", ylim=(0, 1), xticks=list(temperatures))
    ax.set(ylabel="line: overlap, computed\npoint: α; bar: all its runs")
    name_lines(ax)
    return open_frame(ax)


def plot_shares(
    words: Sequence[str], shares: Mapping[str, Sequence[float]], ax: Axes | None = None
) -> Axes:
    """How often each word comes, for several ways to choose it, as bars side by side.

    shares: name → a number in [0, 1] for each word.
    """
    ax = axes_for(ax, (8, 3))
    bars_beside(ax, shares, ((GREY, ""), (ORANGE, "//"), (BLUE, ""), (GREEN, "xx")))
    ax.set_xticks(range(len(words)), [label_of(word) for word in words])
    ax.set(ylabel="share of the draws", xlabel="word")
    legend_beside(ax)
    return open_frame(ax)


def plot_overlap(
    words: Sequence[str], p: Sequence[float], q: Sequence[float], ax: Axes | None = None
) -> Axes:
    """Speculative sampling as bars: for each word the draft's q and the target's p.

    Both stand on the accepted part min(p, q). On top of it, q has what is rejected, and p what
    the residual has to give. p, q: distributions over the words.
    """
    ax = axes_for(ax, (7, 3.2))
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
    ticks = [(i + s, t) for i, word in enumerate(words) for s, t in _pair(label_of(word))]
    ax.set_xticks(*zip(*ticks, strict=True))
    ax.tick_params(axis="x", length=0)
    ax.set(ylim=(0, 1.1), ylabel="probability", xlabel="word: draft q beside target p")
    ax.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, fontsize=8)
    return open_frame(ax)


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
    ax = axes_for(ax, (9, 0.55 * len(rows) + 1.4))
    grid = np.array([list(row) for row in rows.values()], dtype=float)
    image = ax.imshow(grid, cmap="PuOr", vmin=-6, vmax=6, aspect="auto")
    for (row, column), value in np.ndenumerate(grid):
        look = {"color": "white" if abs(value) > 4 else "black", "fontsize": 8}
        sign = f"{round(value, 1) + 0:+.1f}"  # + 0: never "-0.0"
        ax.text(column, row, sign, ha="center", va="center", **look)
    ax.set_xticks(range(len(texts)), [label_of(text) for text in texts], rotation=30, ha="right")
    pairs = zip(rows, p_values, strict=True)
    says = (f"{name}\np value {'< 0.001' if p < 0.001 else f'{p:.2f}'}" for name, p in pairs)
    ax.set_yticks(range(len(rows)), list(says))
    ax.set_xlabel("text")
    ax.figure.colorbar(image, ax=ax, label="(observed - expected)\n÷ √expected", extend="both")
    return ax


class SamplingExactlyPanel(Panel):
    """BEYOND4: temperature, top-p and the draft's distance over what p and q share, four words."""

    grid: ClassVar[Grid] = {
        "temperature": (0.0, 0.5, 1.0, 1.5, 2.0),
        "top_p": (0.5, 0.8, 0.9, 1.0),
        "difference": (0.0, 0.5, 1.0, 1.5, 2.0),
    }

    @checked
    def __init__(
        self, temperature: float = 1.0, top_p: float = 1.0, difference: float = 1.0
    ) -> None:
        self.temperature, self.top_p = temperature_slider(temperature), top_p_slider(top_p)
        self.difference = slider("difference", difference, 0.0, 2.0, 0.05)
        controls = [self.temperature, self.top_p, self.difference]
        super().__init__(controls, height="480px")
        observe(self.update, *controls)
        self.update()
        at = f"{temperature:.2f}, {top_p:.2f} and {difference:.2f}"
        self.says = (
            "Panel: sliders for temperature, top-p and the draft's difference over four words. "
            f"At {at} {overlap_words(self.current())}"
        )

    def current(self) -> Overlap:
        """What the sliders now select."""
        return overlap(
            TARGET[START],
            draft_logits(self.difference.value),
            self.temperature.value,
            self.top_p.value,
        )

    def update(self) -> None:
        """Redraw for the sliders' values."""
        self.redraw(self.picture)

    def picture(self) -> str:
        """HTML: the acceptance in words, the bars, then their numbers."""
        parts = self.current()
        words = overlap_words(parts)
        bars = self.figure(
            lambda ax: plot_overlap(WORDS, parts.p, parts.q, ax),
            (7, 3.2),
            words,
            margins=(0.7, 0.75, 0.1, 0.35),
        )
        rows = table_html(OVERLAP_HEAD, overlap_rows(WORDS, parts))
        return says_html(words) + bars + rows
