"""The panels of the lessons beyond the steps, made like those of widgets.py."""

from __future__ import annotations

import html
import threading
import time

import ipywidgets as w

from medusa_lib.demo import PROMPT
from medusa_lib.four_words import START, TARGET, WORDS, draft_logits
from medusa_lib.loops import OnLoop, start_ids
from medusa_lib.model import LM
from medusa_lib.plots import plot_acceptance, plot_overlap
from medusa_lib.records import Generation, LoopRecord
from medusa_lib.speculative import speculate, stream
from medusa_lib.views import (
    OVERLAP_HEAD,
    Overlap,
    PassView,
    legend_html,
    loops_words,
    overlap,
    overlap_rows,
    overlap_words,
    pass_html,
    pass_view,
    table_html,
)
from medusa_lib.widgets import (
    LABEL_STYLE,
    NARROW,
    Panel,
    RunsAgain,
    StoppedError,
    Worker,
    cancel_button,
    drafter_dropdown,
    observe,
    progress_bar,
    span_slider,
    temperature_slider,
    text_box,
    threads_beside,
    top_p_slider,
)

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


class StepsThroughRun:
    """What panels share that show one loop of a run: a thread, and a slider for the loop.

    They have `worker`, `result` and `loop`, a `write(on_loop)` that runs, and a `picture()`.
    """

    def update(self) -> None:
        """Run again on a thread; a newer value overtakes."""
        self.worker.start(self.run)

    def run(self, stop: threading.Event) -> None:
        """One whole run at the controls' values, then its loop drawn."""
        self.redraw(lambda: self.new_picture(stop))

    def new_picture(self, stop: threading.Event) -> str:
        """Run, then HTML. Raises StoppedError if it was overtaken."""
        run = self.write(lambda _record: not stop.is_set())
        if stop.is_set():
            raise StoppedError("")
        self.result = run
        self.loop.max = len(run.loops) - 1  # a slider beyond it moves back
        return self.picture()

    def step(self) -> None:
        """Show another loop of the same run: no model pass, and a message stays."""
        self.view.value = self.picture()


class OnePassPanel(StepsThroughRun, Panel):
    """BEYOND1: a run loop by loop: what one pass read, its mask, what was kept and cut."""

    def __init__(
        self, lm: LM, prompt: str = PROMPT, max_new_tokens: int = 30, loop: int | None = None
    ) -> None:
        start_ids(lm, prompt)  # refuses a bad prompt at once
        self.lm, self.max_new_tokens, self.worker = lm, max_new_tokens, Worker(threads_beside(lm))
        self.result: Generation | None = None
        self.prompt = text_box(prompt)
        self.drafter = drafter_dropdown("ngram")
        self.span = span_slider(4)
        self.loop = w.IntSlider(
            value=0, min=0, max=0, description="loop", style=LABEL_STYLE, layout=NARROW
        )
        controls = [self.prompt, self.drafter, self.span, self.loop]
        super().__init__(controls, height="420px")
        observe(self.update, self.prompt, self.drafter, self.span)
        observe(self.step, self.loop)
        self.run(threading.Event())
        self.loop.value = most_accepted(self.result) if loop is None else loop
        self.says = (
            "Panel: prompt, drafter, span and loop over what one pass read and what was kept. "
            + self.current().words
        )

    def current(self) -> PassView:
        """The loop at the slider's value, counted from 0."""
        at = min(self.loop.value, len(self.result.loops) - 1)
        return pass_view(self.lm, self.result, at)

    def write(self, on_loop: OnLoop) -> Generation:
        """A run at the controls' values."""
        return speculate(
            self.lm,
            self.prompt.value,
            self.drafter.value,
            self.max_new_tokens,
            self.span.value,
            on_loop=on_loop,
        )

    def picture(self) -> str:
        """HTML: the loop in one line, then its pass."""
        view = self.current()
        legend = legend_html(("accepted", "corrected", "bonus", "greedy", "unused"))
        words = f'<p class="says">{html.escape(view.words)}</p>'
        return f"{words}{pass_html(view)}<p>{legend}</p>"


def most_accepted(run: Generation) -> int:
    """The number, from 0, of the first loop that accepted the most drafts."""
    return max(range(len(run.loops)), key=lambda i: run.loops[i].accepted)


class SamplingExactlyPanel(Panel):
    """BEYOND3: temperature, top-p and the draft's distance over what p and q share, four words."""

    def __init__(
        self, temperature: float = 1.0, top_p: float = 1.0, difference: float = 1.0
    ) -> None:
        self.temperature, self.top_p = temperature_slider(temperature), top_p_slider(top_p)
        self.difference = w.FloatSlider(
            value=difference,
            min=0.0,
            max=2.0,
            step=0.05,
            description="difference",
            readout_format=".2f",
            style=LABEL_STYLE,
            layout=NARROW,
        )
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
        return f'<p class="says">{html.escape(words)}</p>{bars}{rows}'
