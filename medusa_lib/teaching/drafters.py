"""BEYOND2's room: how far drafters reach, and the panel."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import ClassVar

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
from medusa_lib.teaching.shared.recording import Grid
from medusa_lib.teaching.shared.style import (
    KIND_COLOURS,
    KIND_HATCHES,
    axes_for,
    bars_beside,
    open_frame,
)
from medusa_lib.teaching.shared.worker import StoppedError


def plot_reach(
    names: Sequence[str], reach: Mapping[str, Sequence[float]], ax: Axes | None = None
) -> Axes:
    """How far each drafter reaches: a bar of τ for each kind of text, side by side.

    reach: kind of text → tokens emitted ÷ loops, for each of `names`.
    """
    ax = axes_for(ax, (6.4, 3))
    looks = [(KIND_COLOURS[kind], KIND_HATCHES[kind]) for kind in ("accepted", "bonus")]
    bars_beside(ax, reach, looks)
    ax.set_xticks(range(len(names)), names)
    ax.set(ylabel="τ = tokens emitted ÷ loops", ylim=(0, None))
    ax.legend(frameon=False, loc="upper left")
    return open_frame(ax)


REDRAW_SECONDS = 0.25  # while a run goes on; drawing takes longer than a loop


class DraftersPanel(RunPanel):
    """BEYOND2: drafter, span, adaptive span and temperature over per-loop acceptance."""

    grid: ClassVar[Grid] = {
        "drafter": ...,
        "span": (1, 4, 8),
        "adaptive": ...,
    }

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
