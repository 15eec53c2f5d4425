"""The panel of BEYOND4: heads that learn while you watch."""

from __future__ import annotations

import html
import threading
from collections.abc import Sequence

import ipywidgets as w

from medusa_lib.heads_lesson import Scores, Sets, learn, start, write_sets
from medusa_lib.heads_plots import plot_learning
from medusa_lib.heads_training import Learner, Training
from medusa_lib.medusa_heads import model_parts
from medusa_lib.model import LM
from medusa_lib.widgets import (
    LABEL_STYLE,
    NARROW,
    Panel,
    RunsAgain,
    StoppedError,
    Worker,
    cancel_button,
    progress_bar,
)

KIND_NAMES = (
    ("hydra: sees the token before its guess", "hydra"),
    ("medusa: sees the hidden numbers only", "medusa"),
)
PICTURES = 12  # drawn while a run goes on
BATCH = 256  # examples a step


def scores_words(kind: str, points: Sequence[Scores]) -> str:
    """How often each head is right now, as one line."""
    if not points:
        return "no heads yet"
    right = ", ".join(f"{share:.2f}" for share in points[-1].right)
    first = f"head{'s' if len(points[-1].right) > 1 else ''} 1 to {len(points[-1].right)}"
    return f"{kind}, {points[-1].step} steps: best guess of {first} right {right}"


class TrainHeadsPanel(RunsAgain, Panel):
    """BEYOND4: kind and steps, Train and Cancel, over each head's accuracy as it learns.

    The model writes its texts, about `tokens` of them, when Train is pressed for the first time.
    """

    def __init__(self, lm: LM, tokens: int = 24_000, steps: int = 200, seed: int = 7) -> None:
        model_parts(lm)  # refuses a model that heads do not fit at once
        self.lm, self.tokens, self.seed, self.worker = lm, tokens, seed, Worker()
        self.sets: Sets | None = None
        self.learner: Learner | None = None
        self.points: list[Scores] = []
        self.kind = w.Dropdown(
            options=KIND_NAMES, value="hydra", description="kind", style=LABEL_STYLE, layout=NARROW
        )
        self.steps = w.IntSlider(
            value=steps,
            min=20,
            max=300,
            step=20,
            description="steps",
            style=LABEL_STYLE,
            layout=NARROW,
        )
        self.go = w.Button(
            description="Train", button_style="primary", tooltip="Train new heads of this kind"
        )
        self.cancel, self.progress = cancel_button(), progress_bar("steps", steps)
        buttons = w.HBox([self.go, self.cancel, self.progress])
        super().__init__([self.kind, self.steps, buttons], height="340px")
        self.go.on_click(lambda _button: self.update())
        self.cancel.on_click(lambda _button: self.worker.cancel())
        self.view.value = "<p>No heads yet. Press <b>Train</b>.</p>"
        self.says = (
            "Panel: kind of heads and steps, Train and Cancel, over the accuracy of each head as "
            "it learns. Nothing is trained before you press Train; the next cell trains the same "
            "way"
        )

    def new_picture(self, stop: threading.Event) -> str:
        """Texts if there are none yet, then training, drawn on the way; HTML at its end.

        Raises StoppedError if it was cancelled or overtaken.
        """
        kind = self.kind.value
        training = Training(self.steps.value, BATCH, seed=self.seed)
        if self.sets is None:
            self.sets = self.write(stop)
        self.progress.description, self.progress.max = "steps", training.steps
        learner, points = start(self.lm, self.sets, kind, training), []

        def on_step(step: int) -> None:
            self.progress.value = step
            self.check(stop, f"cancelled after {step} steps; press Train to start anew")

        every = max(1, training.steps // PICTURES)
        for scores in learn(self.lm, learner, self.sets, training, every, on_step):
            points.append(scores)
            self.view.value = self.picture(kind, points)
        self.learner, self.points = learner, points
        return self.picture(kind, points)

    def write(self, stop: threading.Event) -> Sets:
        """The texts to learn from and those to be scored on."""
        self.tell("first the model writes texts to learn from …")
        self.progress.description, self.progress.max = "texts", self.tokens

        def on_batch(tokens: int) -> None:
            self.progress.value = min(tokens, self.tokens)
            self.check(stop, "cancelled while the model wrote its texts; press Train to start anew")

        sets = write_sets(self.lm, self.tokens, seed=self.seed, on_batch=on_batch)
        self.tell("")
        return sets

    def check(self, stop: threading.Event, said: str) -> None:
        """Raise StoppedError if the run is to end; a run that was overtaken says nothing."""
        if stop.is_set():
            raise StoppedError("" if self.worker.overtaken(stop) else said)

    def picture(self, kind: str, points: Sequence[Scores]) -> str:
        """HTML: the accuracy now in words, and its course."""
        words = scores_words(kind, points)
        plot = self.figure(
            lambda ax: plot_learning(points, f"heads of kind {kind}", ax),
            (7, 3.2),
            words,
            margins=(0.7, 0.6, 1.1, 0.35),
        )
        return f'<p class="says">{html.escape(words)}</p>{plot}'
