"""BEYOND6's room: heads that learn while you watch, scored on texts that they did not see.

The whole recipe, with books and checkpoints, is training/train_heads.py.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import ipywidgets as w
from matplotlib.axes import Axes

from medusa_lib.base.checks import checked
from medusa_lib.base.words import Hook, Positive, Seed
from medusa_lib.beyond.heads_training import (
    Examples,
    Learner,
    Training,
    Writing,
    make_heads,
    right_ranks,
    self_distilled,
    top_accuracy,
    train_steps,
)
from medusa_lib.beyond.medusa_heads import HeadsShape, MedusaHeads, model_parts
from medusa_lib.steps.device import make_generator
from medusa_lib.steps.model import LM
from medusa_lib.teaching.shared.controls import dropdown, go_button, slider
from medusa_lib.teaching.shared.html import says_html
from medusa_lib.teaching.shared.panel import RunPanel
from medusa_lib.teaching.shared.style import (
    axes_for,
    name_lines,
    open_frame,
    series_look,
)


@dataclass(frozen=True)
class Sets:
    """Examples to learn from, and examples of other texts to be scored on."""

    train: Examples
    held_out: Examples


@dataclass(frozen=True)
class Scores:
    """How often each head's best guess is right, in [0, 1], after so many steps of training."""

    step: int
    right: tuple[float, ...]


@checked
def write_sets(
    lm: LM,
    tokens: Positive,
    count: Positive = 3,
    seed: Seed = 7,
    on_batch: Hook = None,
    lengths: tuple[int, int, int] = (64, 16, 48),
) -> Sets:
    """Two sets of texts that the model writes greedily, about `tokens` and a quarter of that.

    count: heads to be taught. lengths: see heads_training.Writing. on_batch is told the tokens
    so far.
    """
    sizes = (tokens, max(1, tokens // 4))
    train, held_out = (
        self_distilled(lm, size, count, make_generator(seed + i), Writing(*lengths), on_batch)
        for i, size in enumerate(sizes)
    )
    return Sets(train, held_out)


def start(lm: LM, sets: Sets, kind: str, training: Training) -> Learner:
    """Untrained heads of one kind, as many as the sets can teach."""
    count, width = sets.train.labels.shape[1], sets.train.states.shape[1]
    return make_heads(lm, HeadsShape(kind, count, width), sets.train, training)


def score(heads: MedusaHeads, examples: Examples, vocab_size: int, step: int = 0) -> Scores:
    """How often each head's best guess is right on these examples."""
    ranks = right_ranks(heads, examples, vocab_size)
    return Scores(step, tuple(row[0] for row in top_accuracy(ranks, 1)))


@checked
def learn(
    lm: LM,
    learner: Learner,
    sets: Sets,
    training: Training,
    every: Positive,
    on_step: Hook = None,
) -> Iterator[Scores]:
    """Train to the last step; yields the scores on held-out texts before, on the way and after.

    On the way: after every so many steps. on_step is told each step and may raise to end it.
    """
    yield score(learner.heads, sets.held_out, lm.vocab_size, learner.step)
    for step, _ in train_steps(learner, sets.train, training, lm.vocab_size):
        if on_step is not None:
            on_step(step)
        if step % every == 0 or step == training.steps:
            yield score(learner.heads, sets.held_out, lm.vocab_size, step)


def plot_learning(points: Sequence[Scores], title: str = "", ax: Axes | None = None) -> Axes:
    """How often each head's best guess is right, against the steps of training so far."""
    ax = axes_for(ax, (6.4, 3.2))
    steps = [point.step for point in points]
    heads = zip(*(point.right for point in points), strict=True)
    for i, right in enumerate(heads):
        ax.plot(steps, right, label=f"head {i + 1}", gid=f"head-{i + 1}", **series_look(i))
    ax.set(xlabel="steps of training", ylabel="right ÷ asked, held-out texts", title=title)
    most = max([1, *steps])
    ax.set(ylim=(-0.02, 1), xlim=(-0.02 * most, 1.02 * most))  # room for the marks at the edges
    name_lines(ax)
    return open_frame(ax)


def loss_at(w: float, share: float = 0.75) -> float:
    """The loss of a head with one number w: it adds w to the logit of *sun*, 1; *moon* has 2.

    *sun* is right in this share of the examples.
    """
    sun = 1 / (1 + math.exp(1 - w))
    return -(share * math.log(sun) + (1 - share) * math.log(1 - sun))


def slope_at(w: float, share: float = 0.75) -> float:
    """How steeply `loss_at` rises at w: how much too much the head says *sun*."""
    return 1 / (1 + math.exp(1 - w)) - share


def walk(rate: float, steps: Positive, w: float = 0.0) -> list[float]:
    """Where w is at first and after each step of w - rate × slope."""
    places = [w]
    for _ in range(steps):
        places.append(places[-1] - rate * slope_at(places[-1]))
    return places


def plot_walks(walks: Mapping[str, Sequence[float]], ax: Axes | None = None) -> Axes:
    """The loss over the one number w, and how walks of several learning rates go along it."""
    ax = axes_for(ax, (7, 3.2))
    most = max(4.0, *(w for places in walks.values() for w in places)) + 0.5
    line = [most * i / 100 - 0.5 for i in range(101)]
    ax.plot(line, [loss_at(w) for w in line], color="black", linewidth=1)
    for i, (name, places) in enumerate(walks.items()):
        ax.plot(places, [loss_at(w) for w in places], label=name, **series_look(i))
        for step in (0, 1, 2):
            shift = {"xytext": (0, 6 + 9 * i), "textcoords": "offset points", "ha": "center"}
            ax.annotate(f"{step}", (places[step], loss_at(places[step])), fontsize=8, **shift)
    ax.set(xlabel="the head's one number, w", ylabel="loss")
    ax.legend(frameon=False, loc="upper center", title="steps, the first numbered")
    return open_frame(ax)


KIND_NAMES = (
    ("hydra: sees the token before its guess", "hydra"),
    ("medusa: sees the hidden states only", "medusa"),
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


class TrainHeadsPanel(RunPanel):
    """BEYOND6: kind and steps, Train and Cancel, over each head's accuracy as it learns.

    The model writes its texts, about `tokens` of them, when Train is pressed for the first time.
    """

    again = "press Train to start anew"

    @checked
    def __init__(
        self, lm: LM, tokens: Positive = 24_000, steps: Positive = 200, seed: Seed = 7
    ) -> None:
        model_parts(lm)  # refuses a model that heads do not fit at once
        self.tokens, self.seed, self.points = tokens, seed, []
        self.sets: Sets | None = None
        self.learner: Learner | None = None
        self.kind = dropdown("kind", "hydra", KIND_NAMES)
        self.steps = slider("steps", steps, 20, 300, 20)
        self.go = go_button("Train", "Train new heads of this kind")
        super().__init__([self.kind, self.steps], "340px", lm, steps, "steps")
        self.worker.use(None)  # all threads there are
        self.go.on_click(lambda _button: self.update())
        self.view.value = "<p>No heads yet. Press <b>Train</b>.</p>"
        self.says = (
            "Panel: kind of heads and steps, Train and Cancel, over the accuracy of each head as "
            "it learns. Nothing is trained before you press Train; the next cell trains the same "
            "way"
        )

    def buttons(self) -> list[w.Widget]:
        """Train before the others."""
        return [w.HBox([self.go, self.cancel, self.progress])]

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
            self.check(stop, f"cancelled after {step} steps")

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
            self.check(stop, "cancelled while the model wrote its texts")

        sets = write_sets(self.lm, self.tokens, seed=self.seed, on_batch=on_batch)
        self.tell("")
        return sets

    def picture(self, kind: str, points: Sequence[Scores]) -> str:
        """HTML: the accuracy now in words, and its course."""
        words = scores_words(kind, points)
        plot = self.figure(
            lambda ax: plot_learning(points, f"heads of kind {kind}", ax),
            (7, 3.2),
            words,
            margins=(0.7, 0.6, 1.1, 0.35),
        )
        return says_html(words) + plot
