"""STEP7's room: all decoders side by side."""

from __future__ import annotations

import html
import threading
import time

import ipywidgets as w

from medusa_lib.base.config import SHIPPED_MODEL, Cfg
from medusa_lib.base.metrics import LABELS, metrics_rows
from medusa_lib.base.records import Generation, LoopRecord
from medusa_lib.beyond.heads_files import heads_fit
from medusa_lib.demo import PROMPT, Comparison, compare, speedup_row
from medusa_lib.steps.model import LM, load_lm
from medusa_lib.steps.utilities import decode
from medusa_lib.teaching.loops import plot_tokens_against_passes
from medusa_lib.teaching.prefix_accept import plot_acceptance
from medusa_lib.teaching.shared.controls import (
    LABEL_STYLE,
    MORE_DRAFTER_NAMES,
    NARROW,
    WIDE,
    cancel_button,
    drafter_dropdown,
    drafter_fits,
    observe,
    progress_bar,
    slider,
    span_slider,
    temperature_slider,
    text_box,
    top_p_slider,
)
from medusa_lib.teaching.shared.html import legend_html, mark_html, token_texts
from medusa_lib.teaching.shared.panel import Panel, RunsAgain
from medusa_lib.teaching.shared.worker import StoppedError, Worker, threads_beside


def run_html(lm: LM, run: Generation) -> str:
    """A run's text, prompt first, each new token marked by where it came from."""
    prompt = html.escape(decode(lm, run.prompt_ids)).replace("\n", "⏎<br>")
    pairs = zip(token_texts(lm, run.new_ids), run.sources, strict=True)
    marked = "".join(mark_html(text, kind) for text, kind in pairs)
    return (
        f'<div style="line-height:1.9"><b style="white-space:pre-wrap">{prompt}</b>{marked}</div>'
    )


def metrics_html(runs: dict[str, Generation], *more: tuple[str, ...]) -> str:
    """The figures of each run side by side, each under its label with its denominator.

    more: further rows, a label and then a cell for each run.
    """
    keyed = [*zip(LABELS, metrics_rows(*runs.values()), strict=True), *(("more", m) for m in more)]
    rows = "".join(
        f"<tr><th scope='row' style='text-align:left'>{label}</th>"
        + "".join(f'<td data-metric="{key}">{html.escape(value)}</td>' for value in values)
        + "</tr>"
        for key, (label, *values) in keyed
    )
    head = "".join(f"<th scope='col'>{html.escape(name)}</th>" for name in runs)
    head = f"<tr><td></td>{head}</tr>"
    style = "border-spacing:14px 2px;line-height:1.5"
    return f'<table class="metrics" style="{style}">{head}{rows}</table>'


BLINK = 0.05  # seconds; the demo moves its progress bar no more often
PRESETS = (
    PROMPT,
    "Once upon a time there was a",
    "The old witch looked at the little girl and said",
    "The Scarecrow and the Tin Woodman",
    "In the middle of the forest stood",
)


class DemoPanel(RunsAgain, Panel):
    """STEP7: the whole demo, greedy, Medusa-tiny and the cure side by side."""

    def __init__(self, lm: LM, prompt: str = PROMPT) -> None:
        self.lm, self.worker = lm, Worker(threads_beside(lm))
        self.result: Comparison | None = None
        self.drafted_by = ""
        self.prompt = text_box(prompt)
        self.presets = w.Dropdown(
            options=PRESETS,
            value=prompt if prompt in PRESETS else None,
            description="presets",
            style=LABEL_STYLE,
            layout=WIDE,
        )
        self.model = w.Combobox(
            value=lm.model_id,
            options=(SHIPPED_MODEL, "distilgpt2"),
            ensure_option=False,
            description="model",
            style=LABEL_STYLE,
            layout=NARROW,
        )
        best = "heads_tree" if heads_fit(lm) else "ngram"
        self.drafter = drafter_dropdown(best, "cure drafts by", MORE_DRAFTER_NAMES)
        self.temperature, self.top_p = temperature_slider(), top_p_slider()
        self.span = span_slider()
        self.tokens = slider(w.IntSlider, "new tokens", 30, 1, 200, 1)
        self.seed = w.BoundedIntText(
            value=7, min=0, max=2**31, description="seed", style=LABEL_STYLE
        )
        self.go = w.Button(description="Run", button_style="primary", tooltip="Run all decoders")
        self.cancel, self.progress = cancel_button(), progress_bar("progress", 1)
        sliders = w.VBox([self.temperature, self.top_p, self.span, self.tokens, self.seed])
        buttons = w.HBox([self.go, self.cancel, self.progress])
        boxes = [self.prompt, self.presets, self.model, self.drafter]
        super().__init__([*boxes, sliders, buttons], height="560px")
        self.presets.observe(self._take_preset, names="value")
        self.go.on_click(lambda _button: self.update())
        self.cancel.on_click(lambda _button: self.worker.cancel())
        observe(self.restart, self.drafter, *sliders.children)
        self.view.value = "<p>Press <b>Run</b>.</p>"
        self.says = (
            "Panel: prompt, presets, model, who drafts for the cure, sliders for temperature, "
            "top-p, span and new tokens, Run and Cancel. It shows greedy, Medusa-tiny and the cure "
            "side by side, as the next cells do"
        )

    def _take_preset(self, change: dict) -> None:
        if change["new"] is not None:
            self.prompt.value = change["new"]

    def cfg(self) -> Cfg:
        """The controls' values as a Cfg. Raises ValueError for one out of range."""
        return Cfg(
            MODEL_ID=self.model.value,
            TEMPERATURE=self.temperature.value,
            TOP_P=self.top_p.value,
            SPAN=self.span.value,
            MAX_NEW_TOKENS=self.tokens.value,
            SEED=self.seed.value,
        )

    def restart(self) -> None:
        """If a run is in progress, overtake it with one at the controls' new values."""
        if self.worker.busy:
            self.update()

    def new_picture(self, stop: threading.Event) -> str:
        """Load the model if it changed, run all decoders, then HTML."""
        return self.picture(self.compare(stop))

    def compare(self, stop: threading.Event) -> Comparison:
        """All runs at the controls' values. Raises StoppedError if cancelled on the way."""
        cfg, prompt = self.cfg(), self.prompt.value
        if self.lm.model_id != cfg.MODEL_ID:
            self.tell(f"loading {cfg.MODEL_ID} …")
            self.lm = load_lm(cfg.MODEL_ID, self.lm.device)
            self.worker.use(threads_beside(self.lm))
        self.progress.max = 4 * cfg.MAX_NEW_TOKENS
        done, shown = 0, time.monotonic()

        def on_loop(record: LoopRecord) -> bool:
            nonlocal done, shown
            done += len(record.emitted)
            if time.monotonic() - shown > BLINK:  # telling it takes longer than a fast loop
                self.progress.value, shown = done, time.monotonic()
            return not stop.is_set()

        drafter = self.drafter.value
        if not drafter_fits(drafter, self.lm):
            drafter = "ngram"  # another model, which the draft model or the heads do not fit
        result = compare(self.lm, prompt, cfg, on_loop, drafter)
        if stop.is_set():
            overtaken = self.worker.overtaken(stop)
            raise StoppedError("" if overtaken else "cancelled; press Run to start again")
        self.progress.value = self.progress.max
        self.result, self.drafted_by = result, drafter
        return result

    def picture(self, result: Comparison) -> str:
        """HTML: the texts side by side, identical or not, the figures, two plots."""
        runs = result.runs
        columns = "".join(
            f'<div style="flex:1;min-width:280px" class="run" data-run="{name}">'
            f"<h4>{name}</h4>{run_html(self.lm, run)}</div>"
            for name, run in runs.items()
            if run is not result.cached  # the same text once more
        )
        same = "identical: yes" if result.identical else "identical: NO"
        by = {name: words for words, name in MORE_DRAFTER_NAMES}[self.drafted_by]
        small = self.drafted_by == "draft_model"
        note = "; its draft passes are passes of that smaller model" if small else ""
        loops, label = result.medusa.loops, "per-loop acceptance"
        acceptance = self.figure(lambda ax: plot_acceptance(loops, ax), (8, 2.6), label, "loops")
        label = "tokens against passes"
        lines = {name: run for name, run in runs.items() if run is not result.cached}
        passes = self.figure(
            lambda ax: plot_tokens_against_passes(lines, ax), (6, 2.8), label, "passes"
        )
        return (
            f'<div style="display:flex;gap:24px;flex-wrap:wrap">{columns}</div>'
            f"<p>{legend_html(('accepted', 'corrected', 'bonus', 'greedy'))}</p>"
            f'<p class="says"><b>{same}</b></p><p>the cure drafted by {by}{note}</p>'
            f"{metrics_html(runs, speedup_row(result))}{acceptance}{passes}"
        )
