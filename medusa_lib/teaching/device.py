"""STEP0's room: guesses and what the model makes of them, and the panel that sets out why."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from typing import ClassVar

import ipywidgets as w
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from medusa_lib.base.checks import checked
from medusa_lib.base.records import Generation
from medusa_lib.base.words import Positive, Prompt
from medusa_lib.beyond.heads_files import heads_fit
from medusa_lib.beyond.speculative import speculate
from medusa_lib.steps.loops import run_greedy, start_ids
from medusa_lib.steps.model import LM
from medusa_lib.steps.utilities import decode
from medusa_lib.teaching.shared.controls import observe, slider, text_box
from medusa_lib.teaching.shared.html import legend_html, render, says_html, token_texts
from medusa_lib.teaching.shared.panel import RunPanel
from medusa_lib.teaching.shared.recording import Grid
from medusa_lib.teaching.shared.style import KIND_COLOURS, axes_for, label_of

OPENING = "In the middle of the forest stood"
ONE_BY_ONE, GUESS_AND_CHECK = "one by one", "guess and check"
SIGNS = {"accepted": "✓", "corrected": "✗", "bonus": "+"}


def written_after(run: Generation, passes: int) -> int:
    """How many new tokens a run has written once `passes` model passes are done."""
    spent = itertools.accumulate(loop.draft_passes + loop.verify_passes for loop in run.loops)
    return sum(
        len(loop.emitted) for loop, so_far in zip(run.loops, spent, strict=True) if so_far <= passes
    )


def plot_draft_and_verify(
    guesses: Sequence[str], accepted: int, own: str, ax: Axes | None = None
) -> Axes:
    """One loop in three rows: the guesses, what the model says in their place, what is kept.

    guesses: texts of drafted tokens. accepted: how many of them hold. own: the token that the
    model has in place of the first wrong guess, or after the last where all hold.
    """
    ax = axes_for(ax, (9, 2.4))
    held, last = list(guesses[:accepted]), "corrected" if accepted < len(guesses) else "bonus"
    kinds = ["accepted"] * accepted + ["unused"] * (len(guesses) - accepted)
    kept = [*((text, "accepted") for text in held), (own, last)]
    ax.text(-0.15, 1.5, "2  one pass checks", ha="right", va="center")
    for at, (text, kind) in enumerate(kept):
        said = f"{SIGNS[kind]} {word_of(text)}"
        ax.text(at + 0.5, 1.5, said, ha="center", va="center", fontsize=10)
    draw_boxes(ax, 2, "1  guess ahead", list(zip(guesses, kinds, strict=True)))
    draw_boxes(ax, 0, "3  keep what holds", kept)
    ax.set(xlim=(-1.6, max(len(guesses), len(kept))), ylim=(0, 3))
    ax.axis("off")
    return ax


def draw_boxes(ax: Axes, up: int, name: str, boxes: Sequence[tuple[str, str]]) -> None:
    """A row of tokens, each (text, kind) in the colour of its kind, and the row's name."""
    ax.text(-0.15, up + 0.5, name, ha="right", va="center")
    for at, (text, kind) in enumerate(boxes):
        look = {"facecolor": KIND_COLOURS[kind], "alpha": 0.35, "boxstyle": "round,pad=0.02"}
        ax.add_patch(FancyBboxPatch((at + 0.08, up + 0.2), 0.84, 0.6, **look)).set_gid(kind)
        ax.text(at + 0.5, up + 0.5, word_of(text), ha="center", va="center", fontsize=10)


def word_of(text: str) -> str:
    """A token's text for a picture, without the space in front of it."""
    return label_of(text.strip() or text)


class RacePanel(RunPanel):
    """STEP0: one text written token by token, and by guess and check, pass after pass."""

    grid: ClassVar[Grid] = {
        "prompt": ("Once upon a time there was a", "The wolf looked at the little girl and"),
        "passes": ...,
    }

    @checked
    def __init__(
        self, lm: LM, prompt: Prompt = OPENING, max_new_tokens: Positive = 30, passes: Positive = 4
    ) -> None:
        start_ids(lm, prompt)  # refuses a bad prompt at once
        self.max_new_tokens, self.prompt = max_new_tokens, text_box(prompt)
        self.passes = slider("passes", min(passes, max_new_tokens), 0, max_new_tokens)
        self.play = w.Play(max=max_new_tokens, interval=400, description="play", show_repeat=False)
        self.link = w.jslink((self.play, "value"), (self.passes, "value"))
        super().__init__([self.prompt, self.play, self.passes], "240px", lm)
        observe(self.update, self.prompt)
        observe(self.step, self.passes)
        self.run(threading.Event())
        self.says = (
            f"Panel: a prompt, and a slider for model passes, which Play moves. {self.words()}"
        )

    def buttons(self) -> list[w.Widget]:
        """None: these runs are too short to be cancelled."""
        return []

    def new_picture(self, stop: threading.Event) -> str:
        """Both runs, then HTML. Raises StoppedError if it was overtaken."""
        prompt, most = self.prompt.value, self.max_new_tokens
        way = "heads_chain" if heads_fit(self.lm) else "ngram"
        runs = {
            ONE_BY_ONE: run_greedy(self.lm, prompt, most, lambda _: not stop.is_set()),
            GUESS_AND_CHECK: speculate(self.lm, prompt, way, most),
        }
        self.check(stop, "")
        self.runs = runs
        return self.picture()

    def written(self) -> dict[str, int]:
        """How many tokens each has written after the slider's number of passes."""
        return {name: written_after(run, self.passes.value) for name, run in self.runs.items()}

    def words(self) -> str:
        """The figures at the slider's value in one line."""
        count = self.passes.value
        counts = ", ".join(f"{name} {tokens}" for name, tokens in self.written().items())
        return f"Tokens written after {count} model passes: {counts}"

    def picture(self) -> str:
        """HTML: both texts as far as they have come, and the count."""
        shown = {
            name: Markup(text_so_far(self.lm, self.runs[name], count))
            for name, count in self.written().items()
        }
        legend = Markup(legend_html(("greedy", "accepted", "corrected", "bonus")))
        return says_html(self.words()) + render("race", shown, legend)

    def step(self) -> None:
        """Show another number of passes of the same runs: no model pass."""
        self.redraw(self.picture)


def text_so_far(lm: LM, run: Generation, count: int) -> str:
    """The first `count` new tokens of a run as HTML, prompt first."""
    tokens = zip(token_texts(lm, run.new_ids[:count]), run.sources[:count], strict=True)
    return render("run", decode(lm, run.prompt_ids), list(tokens))
