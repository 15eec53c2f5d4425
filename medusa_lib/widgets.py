"""Every panel of the course: controls → a pure function of the library → one HTML.

Callbacks draw and never print. A bad value shows a message beside the controls. Work of more
than a moment runs on a thread: it reports progress, can be cancelled, and is overtaken by a
newer setting.
"""

from __future__ import annotations

import html
import itertools
import threading
import time
from collections.abc import Callable

import ipywidgets as w
import torch
from matplotlib.axes import Axes

from medusa_lib.config import SHIPPED_MODEL, Cfg
from medusa_lib.demo import PROMPT, Comparison, compare, speedup_row
from medusa_lib.device import make_generator
from medusa_lib.drafter import propose_branch
from medusa_lib.drafters import draft_fits
from medusa_lib.loops import medusa_loop_step, medusa_tiny, start_ids
from medusa_lib.medusa_heads import heads_fit
from medusa_lib.model import LM, check_lm, load_lm
from medusa_lib.plots import (
    plot_acceptance,
    plot_branch,
    plot_next_tokens,
    plot_tokens_against_passes,
    visible,
)
from medusa_lib.records import (
    Generation,
    LoopRecord,
    acceptance_rate,
    mean_accepted_length,
)
from medusa_lib.utilities import encode, last_logits
from medusa_lib.views import (
    NextTokens,
    chips_html,
    drafted_branch,
    figure_html,
    legend_html,
    metrics_html,
    next_tokens,
    run_html,
    token_texts,
    verdicts,
    verdicts_html,
)

CODE_STYLE = "border:1px solid #777;padding:1px 4px"
LABEL_STYLE = {"description_width": "100px"}
WIDE = {"width": "700px", "max_width": "98%"}
NARROW = {"width": "420px", "max_width": "98%"}
BLINK = 0.05  # seconds; the demo moves its progress bar no more often
SETTING_THREADS = threading.Lock()  # their number is one for the whole process, see compute_with
SMALL_MODEL = 20_000_000  # parameters; a larger one gains from several threads wherever it runs
# ipywidgets gives a slider's handle no name that assistive technology could read. This style
# sheet is empty; its load event names the handles of its panel, as they come, by their labels.
NAME_SLIDERS = """<style onload="
  const panel = this.closest('.medusa-panel');
  const name = () => panel.querySelectorAll('[role=slider]').forEach(handle => {
    const label = handle.closest('.widget-slider').querySelector('.widget-label');
    handle.setAttribute('aria-label', label.textContent);
  });
  name();
  new MutationObserver(name).observe(panel, {childList: true, subtree: true});
"></style>"""
PRESETS = (
    PROMPT,
    "Once upon a time there was a",
    "The old witch looked at the little girl and said",
    "The Scarecrow and the Tin Woodman",
    "In the middle of the forest stood",
)


DRAFTER_NAMES = (
    ("a repeated n-gram", "ngram"),
    ("the draft model", "draft_model"),
    ("the model itself", "self"),
)
MORE_DRAFTER_NAMES = (
    *DRAFTER_NAMES,
    ("branches of the model itself", "branches"),
    ("a chain of heads", "heads_chain"),
    ("a tree of heads", "heads_tree"),
    ("an n-gram, else a tree", "heads_ngram"),
)


class StoppedError(Exception):
    """A run ended before its time; the text, if any, says so."""


def threads_beside(lm: LM) -> int | None:
    """How many threads a job beside the cells should compute with: 1, or None for PyTorch's own.

    The cells' threads already fill the processor. A second team of them sleeps and wakes at every
    small product, so that a small model takes several times as long as with one thread.
    """
    return 1 if sum(p.numel() for p in check_lm(lm).model.parameters()) < SMALL_MODEL else None


def elsewhere(call: Callable[..., object], *given: object) -> object:
    """What a call returns in a thread of its own, which ends with it."""
    returned: list[object] = []
    other = threading.Thread(target=lambda: returned.append(call(*given)))
    other.start()
    other.join()
    return returned[0]


def compute_with(threads: int | None) -> None:
    """Let PyTorch compute with so many threads in the thread that asks; None: as in a new one.

    set_num_threads also sets what threads begin with that are made later. So another thread gives
    that number back at once.
    """
    with SETTING_THREADS:
        usual, own = elsewhere(torch.get_num_threads), torch.get_num_threads()
        if own != (threads or usual):
            torch.set_num_threads(threads or usual)
            elsewhere(torch.set_num_threads, usual)


class Worker:
    """Runs the newest job on a thread; a newer job, or cancel(), overtakes the one that runs.

    A job is called with an Event and must stop soon after it is set. threads: that PyTorch
    computes with in a job, see threads_beside; the cells' own number stays as it is.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads
        self._lock = threading.Lock()  # callbacks may come on any thread
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def busy(self) -> bool:
        """True while a job runs or waits to run."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, job: Callable[[threading.Event], None]) -> None:
        """Cancel what runs, then run `job(event)`; never two at once."""
        stop = threading.Event()

        def run(before: threading.Thread | None) -> None:
            if before is not None:
                before.join()
            if not stop.is_set():
                compute_with(self._threads)
                job(stop)

        with self._lock:
            self._stop.set()
            self._stop = stop
            self._thread = threading.Thread(target=run, args=[self._thread], daemon=True)
            self._thread.start()

    def use(self, threads: int | None) -> None:
        """From now on compute with that many threads, in the job that asks as well."""
        self._threads = threads
        if threading.current_thread() is self._thread:
            compute_with(threads)

    def overtaken(self, stop: threading.Event) -> bool:
        """True if a newer job took the place of the one that was given this event."""
        return stop is not self._stop

    def cancel(self) -> None:
        """Ask the job that runs, if any, to stop after its current loop."""
        with self._lock:
            self._stop.set()

    def wait(self, timeout: float = 60) -> bool:
        """Wait up to `timeout` seconds; True if nothing runs any more."""
        if self._thread is not None:
            self._thread.join(timeout)
        return not self.busy


class Panel(w.VBox):
    """Controls above one picture, with a line for messages and a fixed text form.

    The text form is what a reader without widgets sees, and what a notebook's test compares.
    """

    numbers = itertools.count(1)

    def __init__(self, controls: list[w.Widget], height: str = "auto") -> None:
        self.number, self.says = next(Panel.numbers), ""
        self.view = w.HTML(layout=w.Layout(min_height=height))
        self.message = w.HTML(layout=w.Layout(min_height="30px"))  # so that nothing jumps
        names = w.HTML(NAME_SLIDERS, layout=w.Layout(display="none"))
        super().__init__([*controls, self.message, self.view, names])
        self.view.add_class("medusa-view")
        self.add_class("medusa-panel").add_class(type(self).__name__)

    def _repr_mimebundle_(self, **kwargs: object) -> dict:
        bundle = super()._repr_mimebundle_(**kwargs)
        return {**bundle, "text/plain": self.says}

    def redraw(self, draw: Callable[[], str]) -> None:
        """Show what `draw()` returns, or the message of the error it raises."""
        try:
            self.view.value = draw()
            self.message.value = ""
        except StoppedError as stopped:
            self.tell(str(stopped))
        except Exception as error:  # a callback that raises shows nothing at all
            self.complain(str(error) or type(error).__name__)

    def complain(self, text: str) -> None:
        """Show an error message beside the controls."""
        self.message.value = _message(text, "alert", "#A30000")

    def tell(self, text: str) -> None:
        """Show a message that is no error beside the controls; "" clears it."""
        self.message.value = _message(text, "status", "#0072B2") if text else ""

    def figure(
        self,
        draw: Callable[[Axes], object],
        size: tuple[float, float],
        label: str,
        name: str = "",
        margins: tuple[float, float, float, float] | None = None,
    ) -> str:
        """A plot as SVG whose ids are this panel's own. name: to tell two plots apart."""
        return figure_html(draw, size, label, f"panel{self.number}{name}-", margins)

    def bars(self, view: NextTokens, label: str) -> str:
        """The next-token bars as SVG."""
        size = (6.4, 0.27 * len(view.tokens) + 0.7)
        longest = max(10, *(len(visible(token)) for token in view.tokens))
        return self.figure(
            lambda ax: plot_next_tokens(view.tokens, view.probs, view.kept, ax),
            size,
            label,
            margins=(0.4 + 0.09 * longest, 0.55, 0.1, 0.1),
        )


def _message(text: str, role: str, colour: str) -> str:
    style = f"color:{colour};border-left:4px solid {colour};padding-left:6px;line-height:1.4"
    return f'<div role="{role}" style="{style}">{html.escape(text)}</div>'


def temperature_slider(value: float = 0.9) -> w.FloatSlider:
    """Temperature from 0 (greedy) to 2."""
    return _slider(w.FloatSlider, "temperature", value, 0.0, 2.0, 0.05, readout_format=".2f")


def top_p_slider(value: float = 0.95) -> w.FloatSlider:
    """Nucleus mass from 0 (one token) to 1 (all)."""
    return _slider(w.FloatSlider, "top-p", value, 0.0, 1.0, 0.01, readout_format=".2f")


def span_slider(value: int = 3) -> w.IntSlider:
    """Tokens drafted per loop, 1 to 8."""
    return _slider(w.IntSlider, "span", value, 1, 8, 1)


def _slider(
    kind: type[w.Widget],
    name: str,
    value: float,
    low: float,
    high: float,
    step: float,
    **more: object,
) -> w.Widget:
    return kind(
        value=value,
        min=low,
        max=high,
        step=step,
        description=name,
        style=LABEL_STYLE,
        layout=NARROW,
        **more,
    )


def drafter_dropdown(
    value: str, name: str = "drafter", names: tuple[tuple[str, str], ...] = DRAFTER_NAMES
) -> w.Dropdown:
    """Who drafts, one of `names`."""
    return w.Dropdown(
        options=names, value=value, description=name, style=LABEL_STYLE, layout=NARROW
    )


def drafter_fits(name: str, lm: LM) -> bool:
    """True unless the drafter of that name needs a draft model or heads that `lm` has not."""
    if name == "draft_model":
        return draft_fits(lm)
    return heads_fit(lm) if name.startswith("heads") else True


def text_box(value: str, name: str = "prompt") -> w.Text:
    """One line of text, reported as it is typed."""
    return w.Text(value=value, description=name, style=LABEL_STYLE, layout=WIDE)


def observe(callback: Callable[[], None], *controls: w.Widget) -> None:
    """Call `callback` after any control's value changes."""
    for control in controls:
        control.observe(lambda _change: callback(), names="value")


class TokensPanel(Panel):
    """STEP2: a text's tokens as chips, and the most probable next tokens."""

    def __init__(self, lm: LM, text: str = PROMPT) -> None:
        self.lm, self.text = lm, text_box(text, "text")
        super().__init__([self.text], height="330px")
        observe(self.update, self.text)
        self.update()
        count = encode(lm, text).shape[1]
        top = next_tokens(lm, last_logits(lm, encode(lm, text)), top=1)
        self.says = (
            f"Panel: a text box. {text!r} is {count} tokens; "
            f"most probable next: {top.tokens[0]!r} ({top.probs[0]:.2f})"
        )

    def update(self) -> None:
        """Redraw for the text now in the box."""
        self.redraw(lambda: self.picture(self.text.value))

    def picture(self, text: str) -> str:
        """HTML for one text. Raises ValueError if it is empty or too long."""
        view = next_tokens(self.lm, last_logits(self.lm, encode(self.lm, text)), top=8)
        label = f"most probable next token {view.tokens[0]!r}, probability {view.probs[0]:.3f}"
        return chips_html(self.lm, text) + self.bars(view, label)


class SamplingPanel(Panel):
    """STEP3: temperature and top-p over the next-token bars. Moves redraw from cached logits."""

    def __init__(
        self, lm: LM, prompt: str = PROMPT, temperature: float = 0.9, top_p: float = 0.95
    ) -> None:
        self.lm, self.logits = lm, last_logits(lm, start_ids(lm, prompt))
        self.temperature, self.top_p = temperature_slider(temperature), top_p_slider(top_p)
        rule = "standard rule: keep the token that crosses top-p"
        self.standard = w.Checkbox(value=False, description=rule, layout=w.Layout(width="auto"))
        super().__init__([self.temperature, self.top_p, self.standard], height="360px")
        observe(self.update, self.temperature, self.top_p, self.standard)
        self.update()
        view = self.current()
        self.says = (
            f"Panel: sliders for temperature and top-p over the next token after {prompt!r}. "
            f"At {temperature:.2f} and {top_p:.2f} the nucleus holds {view.nucleus_mass:.2f} "
            f"of the probability; on top is {view.tokens[0]!r} ({view.probs[0]:.2f})"
        )

    def current(self) -> NextTokens:
        """What the sliders now select."""
        return next_tokens(
            self.lm,
            self.logits,
            self.temperature.value,
            self.top_p.value,
            standard=self.standard.value,
        )

    def update(self) -> None:
        """Redraw for the sliders' values."""
        self.redraw(self.picture)

    def picture(self) -> str:
        """HTML: the nucleus in words, then the bars."""
        view = self.current()
        words = (
            f"nucleus: {view.nucleus_size} of {len(self.logits)} tokens, "
            f"together {view.nucleus_mass:.3f} of the probability"
        )
        return f'<p class="says">{words}</p>' + self.bars(view, words)


class KnobsPanel(Panel):
    """Sliders for temperature, top-p and span, above whatever `picture` draws."""

    def __init__(self, lm: LM, prompt: str, seed: int, more: w.Widget, height: str) -> None:
        self.lm, self.prompt, self.ids, self.seed = lm, prompt, start_ids(lm, prompt), seed
        self.temperature, self.top_p = temperature_slider(), top_p_slider()
        self.span = span_slider()
        super().__init__([self.temperature, self.top_p, self.span, more], height)
        observe(self.update, self.temperature, self.top_p, self.span)

    @property
    def knobs(self) -> tuple[int, float, float]:
        """Span, temperature and top-p at the sliders' values."""
        return self.span.value, self.temperature.value, self.top_p.value

    def update(self) -> None:
        """Redraw for the sliders' values."""
        self.redraw(self.picture)

    def picture(self) -> str:
        """HTML at the sliders' values."""
        raise NotImplementedError


def cancel_button() -> w.Button:
    """Stop the run; disabled while none is in progress."""
    return w.Button(description="Cancel", tooltip="Stop after this loop", disabled=True)


def progress_bar(name: str, most: int) -> w.IntProgress:
    """Tokens written so far, out of `most`."""
    return w.IntProgress(max=most, description=name, bar_style="info", style=LABEL_STYLE)


def again_button() -> w.Button:
    """Draft anew at the same settings."""
    layout = {"margin": "2px 2px 2px 108px"}  # below the sliders, not below their names
    return w.Button(description="Draft again", tooltip="Draft with the next seed", layout=layout)


class BranchPanel(KnobsPanel):
    """STEP4: temperature, top-p, span and a redraw button over drafted branches."""

    def __init__(self, lm: LM, prompt: str = PROMPT, seed: int = 7, branches: int = 3) -> None:
        self.branches, self.again = branches, again_button()
        super().__init__(lm, prompt, seed, self.again, height="360px")
        self.again.on_click(self.next_seed)
        self.update()
        first = "".join(token_texts(lm, self.draft(seed)))
        self.says = (
            f"Panel: sliders over drafted branches. With seed {seed} the branch is {first!r}"
        )

    def draft(self, seed: int) -> list[int]:
        """The branch drafted with this seed at the sliders' values: span passes."""
        return propose_branch(self.lm, self.ids, *self.knobs, generator=make_generator(seed))

    def next_seed(self, _button: object = None) -> None:
        """Draft again from the next seeds."""
        self.seed += self.branches
        self.update()

    def picture(self) -> str:
        """HTML: one line per branch, then the first branch's probabilities."""
        first = drafted_branch(self.lm, self.ids, *self.knobs, self.seed)
        others = range(self.seed + 1, self.seed + self.branches)
        drafts = {s: token_texts(self.lm, self.draft(s)) for s in others}
        lines = "".join(
            f'<li class="branch" data-seed="{s}">seed {s}: '
            + " ".join(
                f'<code style="{CODE_STYLE}">{html.escape(visible(t))}</code>' for t in tokens
            )
            + "</li>"
            for s, tokens in {self.seed: first.tokens, **drafts}.items()
        )
        label = f"seed {self.seed}: " + ", ".join(f"{p:.2f}" for p in first.probs)
        bars = self.figure(
            lambda ax: plot_branch(first.tokens, first.probs, ax),
            (6.4, 2.6),
            label,
            margins=(0.7, 0.75, 0.1, 0.1),
        )
        return f"<ul>{lines}</ul>{bars}"


class AcceptPanel(KnobsPanel):
    """STEP5: one branch compared token by token with greedy."""

    def __init__(self, lm: LM, prompt: str = PROMPT, seed: int = 7) -> None:
        self.again = again_button()
        super().__init__(lm, prompt, seed, self.again, height="260px")
        self.again.on_click(self.next_seed)
        self.update()
        record = self.current()
        self.says = (
            f"Panel: sliders over one branch and greedy's verdict on it. With seed {seed}, "
            f"{record.accepted} of {len(record.branch)} drafted tokens are accepted"
        )

    def current(self) -> LoopRecord:
        """The loop at the sliders' values."""
        records: list[LoopRecord] = []
        generator = make_generator(self.seed)
        medusa_loop_step(self.lm, self.ids, *self.knobs, generator=generator, records=records)
        return records[0]

    def next_seed(self, _button: object = None) -> None:
        """Draft again from the next seed."""
        self.seed += 1
        self.update()

    def picture(self) -> str:
        """HTML: the table of verdicts and the sum of it."""
        record = self.current()
        words = (
            f"seed {self.seed}: {record.accepted} accepted, "
            f"{record.evaluated - record.accepted} corrected, {record.unused} unused; "
            f"{len(record.emitted)} tokens emitted for "
            f"{record.draft_passes} draft + {record.verify_passes} verify passes"
        )
        return verdicts_html(verdicts(self.lm, record)) + f'<p class="says">{words}</p>'


class RunsAgain:
    """What panels with a run of some seconds share: a thread, a progress bar, a Cancel button.

    They have `worker`, `progress` and `cancel`, and a `new_picture(stop)` that runs and draws.
    """

    def update(self) -> None:
        """Run again on a thread; a newer value overtakes."""
        self.worker.start(self.run)

    def run(self, stop: threading.Event) -> None:
        """One whole run at the controls' values, drawn when done."""
        self.progress.value, self.cancel.disabled = 0, False
        self.redraw(lambda: self.new_picture(stop))
        self.cancel.disabled = True


class LoopsPanel(RunsAgain, KnobsPanel):
    """STEP6: temperature, top-p and span over the per-loop acceptance plot."""

    def __init__(
        self, lm: LM, prompt: str = PROMPT, max_new_tokens: int = 30, seed: int = 7
    ) -> None:
        self.max_new_tokens, self.worker = max_new_tokens, Worker(threads_beside(lm))
        self.result: Generation | None = None
        self.progress = progress_bar("tokens", max_new_tokens)
        self.cancel = cancel_button()
        row = w.HBox([self.progress, self.cancel])
        super().__init__(lm, prompt, seed, row, height="330px")
        self.cancel.on_click(lambda _button: self.worker.cancel())
        self.run(threading.Event())
        self.says = (
            "Panel: sliders for temperature, top-p and span over per-loop acceptance. "
            + self.words(self.result)
        )

    def new_picture(self, stop: threading.Event) -> str:
        """Run, then HTML. Raises StoppedError if it was cancelled or overtaken."""
        span, temperature, top_p = self.knobs

        def on_loop(record: LoopRecord) -> bool:
            self.progress.value += len(record.emitted)
            return not stop.is_set()

        result = medusa_tiny(
            self.lm,
            self.prompt,
            self.max_new_tokens,
            span=span,
            temperature=temperature,
            top_p=top_p,
            seed=self.seed,
            on_loop=on_loop,
        )
        if result.stop_reason == "cancelled":
            said = f"cancelled after {len(result.new_ids)} tokens; move a slider to run again"
            raise StoppedError("" if self.worker.overtaken(stop) else said)
        self.result = result
        return self.picture()

    def words(self, run: Generation) -> str:
        """The run's figures in one line."""
        return (
            f"α = {acceptance_rate(run.loops):.2f}, τ = {mean_accepted_length(run.loops):.2f}; "
            f"{len(run.new_ids)} tokens took {run.model_passes} model passes "
            f"({run.draft_passes} draft + {run.verify_passes} verify), greedy takes "
            f"{len(run.new_ids) + (run.stop_reason == 'eos')}"
        )

    def picture(self) -> str:
        """HTML: per-loop acceptance of the newest finished run, then its figures."""
        run = self.result
        words = self.words(run)
        plot = self.figure(lambda ax: plot_acceptance(run.loops, ax), (8, 3), words)
        return f'{plot}<p class="says">{words}</p>'


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
        self.tokens = _slider(w.IntSlider, "new tokens", 30, 1, 200, 1)
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
