"""BEYOND2's room: what drafters should and do gain, and the panel."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from medusa_lib.base.checks import checked
from medusa_lib.base.records import LoopRecord
from medusa_lib.base.words import Positive, Prompt, Seed
from medusa_lib.beyond.speculative import stream
from medusa_lib.demo import PROMPT
from medusa_lib.steps.model import LM
from medusa_lib.teaching.loops import loops_words
from medusa_lib.teaching.prefix_accept import plot_acceptance
from medusa_lib.teaching.shared.controls import (
    checkbox,
    drafter_dropdown,
    observe,
    span_slider,
    temperature_slider,
)
from medusa_lib.teaching.shared.html import says_html
from medusa_lib.teaching.shared.panel import RunPanel
from medusa_lib.teaching.shared.style import (
    GREY,
    axes_for,
    legend_beside,
    open_frame,
    series_look,
    two_digits,
)
from medusa_lib.teaching.shared.worker import StoppedError


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
    ax = axes_for(ax, (6.4, 3.4))
    for i, name in enumerate(dict.fromkeys([*expected, *measured])):
        if name in expected:
            said = f"{name}, formula" if measured else name
            ax.plot(spans, expected[name], label=said, **series_look(i, marker=""))
        if name in measured:
            points = series_look(i, linestyle="none", markersize=6)
            ax.plot(spans, measured[name], label=f"{name}, measured", **points)
    ax.axhline(1, color=GREY, linestyle="--", linewidth=1, zorder=0)
    ax.set(xlabel="span (tokens drafted per loop)", ylabel=label, ylim=(0, None))
    ax.set_xticks(spans)
    legend_beside(ax, fontsize=8)
    return open_frame(ax)


def plot_acceptance_by_position(
    counts: Mapping[str, Sequence[tuple[int, int]]], least: int = 5, ax: Axes | None = None
) -> Axes:
    """How often a draft holds at each position, of those loops that reached it; α is dashed.

    counts: drafter's name → (reached, accepted) for each position, as
    metrics.acceptance_by_position gives them. A point's area grows with the number that reached
    it; positions that fewer than `least` reached are left out. The dashes of different names
    take turns, so that lines of the same α show both.
    """
    ax = axes_for(ax, (7, 3.4))
    dash, pause = 2.5, 2.5 * max(1, len(counts) - 1)
    for i, (name, pairs) in enumerate(counts.items()):
        look = series_look(i, linestyle="-")
        dots = {name: look[name] for name in ("color", "marker")}
        shown = [(at, a / r, r) for at, (r, a) in enumerate(pairs, start=1) if r >= least]
        places, shares, numbers = zip(*shown, strict=True) if shown else ((), (), ())
        ax.plot(places, shares, label=name, **look)
        ax.scatter(places, shares, s=[12 + 2 * n for n in numbers], **dots)
        alpha = sum(a for _, a in pairs) / max(1, sum(r for r, _ in pairs))
        turn = {"linestyle": (-dash * i, (dash, pause)), "linewidth": 1.4, "zorder": 0}
        ax.axhline(alpha, color=look["color"], label=f"its α, {two_digits(alpha)}", **turn)
    ax.set(xlabel="position in the branch", ylabel="accepted ÷ reached", ylim=(0, 1.1))
    ax.xaxis.get_major_locator().set_params(integer=True)
    legend_beside(ax)
    return open_frame(ax)


REDRAW_SECONDS = 0.25  # while a run goes on; drawing takes longer than a loop


class DraftersPanel(RunPanel):
    """BEYOND2: drafter, span, adaptive span and temperature over per-loop acceptance."""

    again = "change a control to run again"

    @checked
    def __init__(
        self, lm: LM, prompt: Prompt = PROMPT, max_new_tokens: Positive = 48, seed: Seed = 7
    ) -> None:
        self.prompt, self.max_new_tokens, self.seed = prompt, max_new_tokens, seed
        self.drafter, self.span = drafter_dropdown("ngram"), span_slider(4)
        self.adaptive = checkbox("adaptive: the span follows the acceptance")
        self.temperature = temperature_slider(0.0)
        controls = [self.drafter, self.span, self.adaptive, self.temperature]
        super().__init__(controls, "330px", lm, max_new_tokens)
        self.loops: list[LoopRecord] = []
        observe(self.update, *controls)
        self.run(threading.Event())
        self.says = (
            "Panel: drafter, span, adaptive span and temperature over per-loop acceptance. "
            f"With {self.drafter.value} and span {self.span.value}: {loops_words(self.loops)}"
        )

    def new_picture(self, stop: threading.Event) -> str:
        """Run, then HTML. Raises StoppedError if it was cancelled or overtaken."""
        loops, drawn = [], time.monotonic()
        names = ("drafter", "span", "adaptive", "temperature")
        knobs = {name: getattr(self, name).value for name in names}
        knobs |= {"max_new_tokens": self.max_new_tokens, "seed": self.seed}
        for record in stream(self.lm, self.prompt, **knobs):
            loops.append(record)
            self.progress.value += len(record.emitted)
            if stop.is_set():
                break
            if time.monotonic() - drawn >= REDRAW_SECONDS:
                self.view.value = self.picture(loops)
                drawn = time.monotonic()
        stopped = stop.is_set()  # asked now: drawing takes a while, and may be too late to cancel
        if stopped and self.worker.overtaken(stop):
            raise StoppedError("")
        self.loops, self.view.value = loops, self.picture(loops)  # also of a cancelled run
        if stopped:
            written = sum(len(record.emitted) for record in loops)
            self.check(stop, f"cancelled after {written} tokens")
        return self.view.value

    def picture(self, loops: list[LoopRecord]) -> str:
        """HTML: per-loop acceptance of the loops so far, then their figures."""
        words = loops_words(loops)
        plot = self.figure(lambda ax: plot_acceptance(loops, ax), (8, 3), words)
        return plot + says_html(words)
