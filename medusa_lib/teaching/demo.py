"""STEP7's room: all decoders side by side."""

from __future__ import annotations

import threading
import time
from typing import ClassVar

import ipywidgets as w
from markupsafe import Markup

from medusa_lib.base.checks import checked
from medusa_lib.base.config import SHIPPED_MODEL, Cfg
from medusa_lib.base.metrics import LABELS, metrics_rows
from medusa_lib.base.records import Generation, LoopRecord
from medusa_lib.base.words import Prompt
from medusa_lib.beyond.heads_files import heads_fit
from medusa_lib.demo import PROMPT, Comparison, compare, speedup_row
from medusa_lib.engine.twin import get_ready
from medusa_lib.steps.model import LM, load_lm
from medusa_lib.steps.utilities import decode
from medusa_lib.teaching.device import text_so_far
from medusa_lib.teaching.loops import plot_tokens_against_passes
from medusa_lib.teaching.prefix_accept import plot_acceptance
from medusa_lib.teaching.shared.controls import (
    MORE_DRAFTER_NAMES,
    WIDE,
    drafter_dropdown,
    drafter_fits,
    dropdown,
    go_button,
    knob_sliders,
    model_box,
    observe,
    seed_box,
    slider,
    text_box,
)
from medusa_lib.teaching.shared.html import render, token_texts
from medusa_lib.teaching.shared.panel import RunPanel
from medusa_lib.teaching.shared.recording import Grid
from medusa_lib.teaching.shared.worker import threads_beside


def run_html(lm: LM, run: Generation) -> str:
    """A run's text, prompt first, each new token marked by where it came from."""
    tokens = list(zip(token_texts(lm, run.new_ids), run.sources, strict=True))
    return render("run", decode(lm, run.prompt_ids), tokens)


def metrics_html(runs: dict[str, Generation], *more: tuple[str, ...], timed: bool = True) -> str:
    """The figures of each run side by side, each under its label with its denominator.

    more: further rows, a label and then a cell for each run. timed: with the seconds.
    """
    keyed = [*zip(LABELS, metrics_rows(*runs.values()), strict=True), *(("more", m) for m in more)]
    keyed = [row for row in keyed if timed or row[0] != "seconds"]
    return render("metrics", list(runs), [(key, label, cells) for key, (label, *cells) in keyed])


def written_by(run: Generation, loops: int) -> int:
    """How many tokens a run had written after so many loops."""
    return sum(len(loop.emitted) for loop in run.loops[:loops])


BLINK = 0.05  # seconds; the demo moves its progress bar no more often
PRESETS = (
    PROMPT,
    "Once upon a time there was a",
    "The old witch looked at the little girl and said",
    "The Scarecrow and the Tin Woodman",
    "In the middle of the forest stood",
)


class DemoPanel(RunPanel):
    """STEP7: the whole demo, greedy, Medusa-tiny and the cure side by side."""

    again = "press Run to start again"
    grid: ClassVar[Grid] = {
        "presets": PRESETS[:3],
        "drafter": ("ngram", "heads_tree"),
        "loops": ...,
    }

    @checked
    def __init__(self, lm: LM, prompt: Prompt = PROMPT) -> None:
        self.result: Comparison | None = None
        self.drafted_by, self.prompt = "", text_box(prompt)
        self.ran = ("", "")  # prompt and drafter of the newest runs
        known = prompt if prompt in PRESETS else None
        self.presets = dropdown("presets", known, PRESETS, WIDE)
        self.model = model_box(lm.model_id, (SHIPPED_MODEL, "distilgpt2"))
        best = "heads_tree" if heads_fit(lm) else "ngram"
        self.drafter = drafter_dropdown(best, "cure drafts by", MORE_DRAFTER_NAMES)
        self.temperature, self.top_p, self.span = knob_sliders()
        self.tokens, self.seed = slider("new tokens", 30, 1, 200), seed_box(7)
        self.go = go_button("Run", "Run all decoders")
        self.loops = slider("loops", 0, 0, 0)
        knobs = [self.temperature, self.top_p, self.span, self.tokens, self.seed]
        boxes = [self.prompt, self.presets, self.model, self.drafter]
        super().__init__([*boxes, w.VBox([*knobs, self.loops])], "560px", lm, unit="progress")
        self.presets.observe(self._take_preset, names="value")
        self.go.on_click(lambda _button: self.update())
        observe(self.restart, self.drafter, *knobs)
        observe(self.step, self.loops)
        self.view.value = "<p>Press <b>Run</b>.</p>"
        self.says = (
            "Panel: prompt, presets, model, who drafts for the cure, sliders for temperature, "
            "top-p, span and new tokens, Run and Cancel. It shows greedy, Medusa-tiny and the cure "
            "side by side, as the next cells do"
        )

    def buttons(self) -> list[w.Widget]:
        """Run before the others."""
        return [w.HBox([self.go, self.cancel, self.progress])]

    def _take_preset(self, change: dict) -> None:
        if change["new"] is not None:
            self.prompt.value = change["new"]

    def cfg(self) -> Cfg:
        """The controls' values as a Cfg. Raises ValueError for one out of range."""
        names = ("model", "temperature", "top_p", "span", "tokens", "seed")
        model, temperature, top_p, span, tokens, seed = (getattr(self, n).value for n in names)
        return Cfg(model, temperature, top_p, span, tokens, SEED=seed)

    def restart(self) -> None:
        """If a run is in progress, overtake it with one at the controls' new values."""
        if self.worker.busy:
            self.update()

    def new_picture(self, stop: threading.Event) -> str:
        """Load the model if it changed, run all decoders, then HTML."""
        result = self.compare(stop)
        self.plots = self.plots_of(result)
        self.loops.max = max(len(run.loops) for run in result.runs.values())
        self.loops.value = self.loops.max
        return self.picture(result)

    def step(self) -> None:
        """Show another number of loops of the same runs: no model pass."""
        if self.result is not None:
            self.view.value = self.picture(self.result)

    def drawn(self) -> str:
        """The picture at the controls' values; runs first if these runs are others'."""
        before = super().drawn()
        if self.ran == (self.prompt.value, self.drafter.value):
            return before
        self.update()
        return super().drawn()

    def compare(self, stop: threading.Event) -> Comparison:
        """All runs at the controls' values. Raises StoppedError if cancelled on the way."""
        cfg, prompt, drafter = self.cfg(), self.prompt.value, self.drafter.value
        self.ran = (prompt, drafter)
        if self.lm.model_id != cfg.MODEL_ID:
            self.tell(f"loading {cfg.MODEL_ID} …")
            self.lm = load_lm(cfg.MODEL_ID, self.lm.device)
            self.worker.use(threads_beside(self.lm))
            get_ready(self.lm, self.tell)
        if not drafter_fits(drafter, self.lm):
            drafter = "ngram"  # another model, which the draft model or the heads do not fit
        self.progress.max = 4 * cfg.MAX_NEW_TOKENS
        done, shown = 0, time.monotonic()

        def on_loop(record: LoopRecord) -> bool:
            nonlocal done, shown
            done += len(record.emitted)
            if time.monotonic() - shown > BLINK:  # telling it takes longer than a fast loop
                self.progress.value, shown = done, time.monotonic()
            return not stop.is_set()

        result = compare(self.lm, prompt, cfg, on_loop, drafter)
        self.check(stop, "cancelled")
        self.progress.value = self.progress.max
        self.result, self.drafted_by = result, drafter
        return result

    def plots_of(self, result: Comparison) -> tuple[str, str]:
        """Per-loop acceptance and tokens against passes, of the whole runs."""
        loops, label = result.medusa.loops, "per-loop acceptance"
        acceptance = self.figure(lambda ax: plot_acceptance(loops, ax), (8, 2.6), label, "loops")
        others, label = without_twin(result), "tokens against passes"
        passes = self.figure(
            lambda ax: plot_tokens_against_passes(others, ax), (6, 2.8), label, "passes"
        )
        return acceptance, passes

    def picture(self, result: Comparison) -> str:
        """HTML: the texts side by side as far as the loops went, then of the whole runs whether
        they are identical, the figures and two plots.
        """
        count, others = self.loops.value, without_twin(result)
        written = {name: written_by(run, count) for name, run in others.items()}
        shown = {
            name: Markup(text_so_far(self.lm, run, written[name])) for name, run in others.items()
        }
        by = {name: words for words, name in MORE_DRAFTER_NAMES}[self.drafted_by]
        small = self.drafted_by == "draft_model"
        by += "; its draft passes are passes of that smaller model" if small else ""
        more = () if self.recorded else (speedup_row(result),)
        table = metrics_html(result.runs, *more, timed=not self.recorded)
        counts = ", ".join(f"{name} {tokens}" for name, tokens in written.items())
        told = f"tokens written after {count} of at most {self.loops.max} loops: {counts}"
        same = "identical: yes" if result.identical else "identical: NO"
        figures = [Markup(figure) for figure in (table, *self.plots)]
        return render("demo", shown, told, same, by, figures)


def without_twin(result: Comparison) -> dict[str, Generation]:
    """The runs by name, but for cached greedy, which writes greedy's text token by token, too."""
    return {name: run for name, run in result.runs.items() if run is not result.cached}
