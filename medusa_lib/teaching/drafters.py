"""BEYOND2's room: what drafters should and do gain, and the panel."""

from __future__ import annotations

import html
import itertools
import threading
import time
from collections.abc import Mapping, Sequence

import ipywidgets as w
from matplotlib.axes import Axes

from medusa_lib.base.records import LoopRecord
from medusa_lib.beyond.speculative import stream
from medusa_lib.demo import PROMPT
from medusa_lib.steps.model import LM
from medusa_lib.teaching.loops import loops_words
from medusa_lib.teaching.prefix_accept import plot_acceptance
from medusa_lib.teaching.shared.controls import (
    cancel_button,
    drafter_dropdown,
    observe,
    progress_bar,
    span_slider,
    temperature_slider,
)
from medusa_lib.teaching.shared.panel import Panel, RunsAgain
from medusa_lib.teaching.shared.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    axes_for,
    open_frame,
    two_digits,
)
from medusa_lib.teaching.shared.worker import StoppedError, Worker, threads_beside


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
    return open_frame(ax)


def plot_acceptance_by_position(
    counts: Mapping[str, Sequence[tuple[int, int]]], least: int = 5, ax: Axes | None = None
) -> Axes:
    """How often a draft holds at each position, of those loops that reached it; α is dashed.

    counts: drafter's name → (reached, accepted) for each position, as
    records.acceptance_by_position gives them. A point's area grows with the number that reached
    it; positions that fewer than `least` reached are left out. The dashes of different names
    take turns, so that lines of the same α show both.
    """
    ax = axes_for(ax, (7, 3.4))
    looks = itertools.cycle(zip((BLUE, ORANGE, GREEN, "black"), "os^D", strict=True))
    dash, pause = 2.5, 2.5 * max(1, len(counts) - 1)
    for i, ((name, pairs), (colour, marker)) in enumerate(zip(counts.items(), looks, strict=False)):
        shown = [(at, a / r, r) for at, (r, a) in enumerate(pairs, start=1) if r >= least]
        places, shares, numbers = zip(*shown, strict=True) if shown else ((), (), ())
        ax.plot(places, shares, color=colour, marker=marker, markersize=4, label=name)
        ax.scatter(places, shares, s=[12 + 2 * n for n in numbers], color=colour, marker=marker)
        alpha = sum(a for _, a in pairs) / max(1, sum(r for r, _ in pairs))
        turn = (-dash * i, (dash, pause))
        said = f"its α, {two_digits(alpha)}"
        ax.axhline(alpha, color=colour, linestyle=turn, linewidth=1.4, zorder=0, label=said)
    ax.set(xlabel="position in the branch", ylabel="accepted ÷ reached", ylim=(0, 1.1))
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return open_frame(ax)


REDRAW_SECONDS = 0.25  # while a run goes on; drawing takes longer than a loop


class DraftersPanel(RunsAgain, Panel):
    """BEYOND2: drafter, span, adaptive span and temperature over per-loop acceptance."""

    def __init__(
        self, lm: LM, prompt: str = PROMPT, max_new_tokens: int = 48, seed: int = 7
    ) -> None:
        self.lm, self.prompt, self.seed = lm, prompt, seed
        self.max_new_tokens, self.worker = max_new_tokens, Worker(threads_beside(lm))
        self.loops: list[LoopRecord] = []
        self.drafter = drafter_dropdown("ngram")
        self.span, self.temperature = span_slider(4), temperature_slider(0.0)
        rule = "adaptive: the span follows the acceptance"
        self.adaptive = w.Checkbox(value=False, description=rule, layout=w.Layout(width="auto"))
        self.progress = progress_bar("tokens", max_new_tokens)
        self.cancel = cancel_button()
        row = w.HBox([self.progress, self.cancel])
        controls = [self.drafter, self.span, self.adaptive, self.temperature]
        super().__init__([*controls, row], height="330px")
        observe(self.update, *controls)
        self.cancel.on_click(lambda _button: self.worker.cancel())
        self.run(threading.Event())
        self.says = (
            "Panel: drafter, span, adaptive span and temperature over per-loop acceptance. "
            f"With {self.drafter.value} and span {self.span.value}: {loops_words(self.loops)}"
        )

    def new_picture(self, stop: threading.Event) -> str:
        """Run, then HTML. Raises StoppedError if it was cancelled or overtaken."""
        loops, drawn = [], time.monotonic()
        knobs = {
            "drafter": self.drafter.value,
            "span": self.span.value,
            "adaptive": self.adaptive.value,
            "temperature": self.temperature.value,
        }
        for record in stream(
            self.lm, self.prompt, max_new_tokens=self.max_new_tokens, seed=self.seed, **knobs
        ):
            loops.append(record)
            self.progress.value += len(record.emitted)
            if stop.is_set():
                break
            if time.monotonic() - drawn >= REDRAW_SECONDS:
                self.view.value = self.picture(loops)
                drawn = time.monotonic()
        if stop.is_set() and self.worker.overtaken(stop):
            raise StoppedError("")
        self.loops = loops
        if stop.is_set():
            self.view.value = self.picture(loops)
            written = sum(len(record.emitted) for record in loops)
            raise StoppedError(f"cancelled after {written} tokens; change a control to run again")
        return self.picture(loops)

    def picture(self, loops: list[LoopRecord]) -> str:
        """HTML: per-loop acceptance of the loops so far, then their figures."""
        words = loops_words(loops)
        plot = self.figure(lambda ax: plot_acceptance(loops, ax), (8, 3), words)
        return f'{plot}<p class="says">{html.escape(words)}</p>'
