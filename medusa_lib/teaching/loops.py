"""STEP6's room: a run's figures, tokens against passes, spreads, and the panel."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from matplotlib.axes import Axes

from medusa_lib.base.checks import checked
from medusa_lib.base.metrics import acceptance_rate, mean_accepted_length
from medusa_lib.base.records import Generation, LoopRecord
from medusa_lib.base.words import Positive, Prompt, Seed
from medusa_lib.demo import PROMPT
from medusa_lib.steps.loops import medusa_tiny, start_ids
from medusa_lib.steps.model import LM
from medusa_lib.teaching.prefix_accept import plot_acceptance
from medusa_lib.teaching.shared.controls import knob_sliders, observe
from medusa_lib.teaching.shared.html import says_html
from medusa_lib.teaching.shared.panel import RunPanel
from medusa_lib.teaching.shared.recording import Grid
from medusa_lib.teaching.shared.style import (
    axes_for,
    open_frame,
    series_look,
)


def loops_words(loops: Sequence[LoopRecord]) -> str:
    """The figures of a draft-and-verify run in one line."""

    def figure(value: float) -> str:
        return "none" if math.isnan(value) else f"{value:.2f}"

    return (
        f"α = {figure(acceptance_rate(loops))}, τ = {figure(mean_accepted_length(loops))}; "
        f"{sum(len(r.emitted) for r in loops)} tokens took "
        f"{sum(r.verify_passes for r in loops)} verify passes and "
        f"{sum(r.draft_passes for r in loops)} draft passes"
    )


def plot_tokens_against_passes(runs: Mapping[str, Generation], ax: Axes | None = None) -> Axes:
    """Tokens written so far against forward passes spent so far, one line per run."""
    ax = axes_for(ax, (6.4, 3.4))
    for i, (name, run) in enumerate(runs.items()):
        passes = np.cumsum([0] + [r.draft_passes + r.verify_passes for r in run.loops])
        tokens = np.cumsum([0] + [len(r.emitted) for r in run.loops])
        ax.plot(passes, tokens, label=name, **series_look(i, linestyle="-", markersize=3))
    ax.set(xlabel="model passes spent (draft + verify)", ylabel="tokens written")
    ax.legend(frameon=False)
    return open_frame(ax)


def plot_spread(
    places: Sequence[object],
    series: Mapping[str, Sequence[Sequence[float]]],
    ax: Axes | None = None,
) -> Axes:
    """Several runs of each series at each place: their mean, and a bar from lowest to highest.

    series: name → for each place the figures of all runs. Its name stands at its line's end.
    """
    ax = axes_for(ax, (5.6, 3.4))
    for i, (name, runs) in enumerate(series.items()):
        look = series_look(i)
        means = np.array([np.mean(each) for each in runs])
        low, high = ([end(each) for each in runs] for end in (min, max))
        at = np.arange(len(places)) + 0.08 * (i - (len(series) - 1) / 2)  # no bar hides another
        ax.errorbar(at, means, yerr=[means - low, high - means], capsize=3, **look)
        ax.text(len(places) - 0.85, means[-1], name, va="center", fontsize=9)
    ax.set_xticks(range(len(places)), places)
    ax.set_xlim(-0.3, len(places) - 0.2)
    return open_frame(ax)


class LoopsPanel(RunPanel):
    """STEP6: temperature, top-p and span over the per-loop acceptance plot."""

    grid: ClassVar[Grid] = {
        "temperature": (0.0, 0.9, 1.5),
        "top_p": (0.5, 0.95),
        "span": (1, 3, 5),
    }

    @checked
    def __init__(
        self, lm: LM, prompt: Prompt = PROMPT, max_new_tokens: Positive = 30, seed: Seed = 7
    ) -> None:
        start_ids(lm, prompt)  # refuses a bad prompt at once
        self.prompt, self.max_new_tokens, self.seed = prompt, max_new_tokens, seed
        self.temperature, self.top_p, self.span = sliders = knob_sliders()
        super().__init__(sliders, "330px", lm, max_new_tokens)
        observe(self.update, *sliders)
        self.run(threading.Event())
        self.says = (
            "Panel: sliders for temperature, top-p and span over per-loop acceptance. "
            + self.words(self.result)
        )

    def new_picture(self, stop: threading.Event) -> str:
        """Run, then HTML. Raises StoppedError if it was cancelled or overtaken."""

        def on_loop(record: LoopRecord) -> bool:
            self.progress.value += len(record.emitted)
            return not stop.is_set()

        knobs = {name: getattr(self, name).value for name in ("span", "temperature", "top_p")}
        knobs |= {"seed": self.seed, "on_loop": on_loop}
        result = medusa_tiny(self.lm, self.prompt, self.max_new_tokens, **knobs)
        if result.stop_reason == "cancelled":
            self.check(stop, f"cancelled after {len(result.new_ids)} tokens")
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
        run, words = self.result, self.words(self.result)
        plot = self.figure(lambda ax: plot_acceptance(run.loops, ax), (8, 3), words)
        return plot + says_html(words)
