"""BEYOND8's room: which tokens are typical, what taking them buys and costs, and the panel."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from matplotlib.axes import Axes

from medusa_lib.base.checks import checked
from medusa_lib.base.records import Generation
from medusa_lib.base.words import Count, Positive, Prompt, Seed, Share, Temperature
from medusa_lib.beyond.one_pass import Branch
from medusa_lib.beyond.sampling_exactly import verify_by_sampling
from medusa_lib.beyond.typical import Typical, typical_tokens, verify_typically
from medusa_lib.demo import PROMPT
from medusa_lib.steps.device import make_generator
from medusa_lib.steps.loops import start_ids
from medusa_lib.steps.model import LM
from medusa_lib.steps.sampling import draw_from, nucleus_probs
from medusa_lib.steps.utilities import last_logits
from medusa_lib.teaching.shared.controls import observe, slider, temperature_slider
from medusa_lib.teaching.shared.html import says_html, token_texts
from medusa_lib.teaching.shared.panel import Panel
from medusa_lib.teaching.shared.recording import Grid
from medusa_lib.teaching.shared.style import (
    BLUE,
    GREY,
    axes_for,
    label_of,
    open_frame,
    series_look,
)
from medusa_lib.teaching.toys.four_words import DRAFT, START, TARGET, WORDS, text_probs, word_probs


@dataclass(frozen=True)
class Trade:
    """tokens_per_pass: words written ÷ verifying passes. distance: see text_distance."""

    tokens_per_pass: float
    distance: float


def text_distance(counts: torch.Tensor, probs: torch.Tensor) -> float:
    """Total variation distance of how often texts came from how often they should, in [0, 1]."""
    return float((counts / counts.sum() - probs).abs().sum() / 2)


@functools.cache
def draft_table(difference: float) -> torch.Tensor:
    """Logits `[4, 4]` of a drafter: at 0 the target's, at 1 the draft's, in between a mixture."""
    return TARGET + difference * (DRAFT - TARGET)


def one_loop(
    last: int,
    rule: Typical | None,
    generator: torch.Generator,
    span: int = 3,
    difference: float = 1.0,
) -> list[int]:
    """The words that one loop of draft and verify adds after the word `last`.

    rule None: speculative sampling, which is exact. span 0: the target alone. difference: how
    far the drafter is from the target.
    """
    tokens, probs, plainly = [last], [], (1.0, 1.0)  # temperature and top-p
    for _ in range(span):
        probs.append(word_probs(draft_table(difference), tokens[-1], *plainly))
        tokens.append(draw_from(probs[-1], generator))
    branch, logits = Branch(tokens[1:], probs), TARGET[tokens]  # [span + 1, 4]
    if rule is None:
        accepted, following = verify_by_sampling(logits, branch, *plainly, generator)
    else:
        path, following = verify_typically(logits, branch, *plainly, generator, rule)
        accepted = len(path)
    return [*branch.tokens[:accepted], following]


@torch.no_grad()
def favourites_and_surprise(
    lm: LM, runs: Sequence[Generation], temperature: float
) -> tuple[float, float]:
    """(Share of the new tokens that greedy would choose, mean -ln p of them) over some runs.

    p: the model's own probability at this temperature, no nucleus; in nats.
    """
    best, surprise = [], []
    for run in runs:
        ids, first = torch.tensor([[*run.prompt_ids, *run.new_ids]]), len(run.prompt_ids)
        logits = lm.model(input_ids=ids.to(lm.device)).logits[0, first - 1 : -1].cpu()  # [n, V]
        new = ids[0, first:]
        best += (logits.argmax(-1) == new).tolist()
        probs = torch.softmax(logits.double() / temperature, dim=-1)  # [n, V]
        surprise += (-probs[range(len(new)), new].log()).tolist()
    return sum(best) / len(best), sum(surprise) / len(surprise)


@checked
def measure_trade(
    rule: Typical | None,
    trials: Positive = 1000,
    count: Positive = 2,
    span: Count = 3,
    difference: float = 1.0,
    seed: Seed = 7,
) -> Trade:
    """Write many texts of `count` words after the start and compare them with the target's.

    rule, span, difference: see one_loop. What a last loop writes beyond the text counts as
    written. Even an exact rule has a distance above 0, by chance alone; it shrinks as trials grow.
    """
    generator, loops, written = make_generator(seed), 0, 0
    counts = torch.zeros([len(WORDS)] * count, dtype=torch.float64)  # [4, …, 4]
    for _ in range(trials):
        words = [START]
        while len(words) <= count:
            words += one_loop(words[-1], rule, generator, span, difference)
            loops += 1
        written += len(words) - 1
        counts[tuple(words[1 : count + 1])] += 1
    return Trade(written / loops, text_distance(counts, text_probs(count, 1.0, 1.0)))


def plot_trade(trades: Mapping[str, Trade], noise: float, ax: Axes | None = None) -> Axes:
    """Distance from the target's texts against words for each pass, a point for each rule.

    noise: the distance that texts drawn by the target itself have by chance; hatched up to it.
    """
    ax = axes_for(ax, (7, 3.6))
    points = [(trade.tokens_per_pass, trade.distance) for trade in trades.values()]
    for i, (name, (x, y)) in enumerate(zip(trades, points, strict=True)):
        ax.plot(x, y, **series_look(i, markersize=9, linestyle="none"))
        # The second of two names that would touch stands higher.
        touches = any(abs(x - other) < 0.5 and abs(y - at) < 0.05 for other, at in points[:i])
        beside = {"textcoords": "offset points", "fontsize": 8, "ha": "center"}
        ax.annotate(name, (x, y), (0, 20 if touches else 9), **beside)
    chance = {"facecolor": "none", "edgecolor": GREY, "hatch": "//", "zorder": 0}
    ax.axhspan(0, noise, **chance)
    ax.text(0.85, noise, "chance alone, up to here", va="bottom", fontsize=8)
    most = max(trade.tokens_per_pass for trade in trades.values())
    farthest = max(noise, *(trade.distance for trade in trades.values()))
    ax.set(xlabel="tokens per pass", ylabel="total variation distance\nfrom the target's texts")
    ax.set(xlim=(0.8, most + 0.5), ylim=(0, 1.2 * farthest))
    return open_frame(ax)


@dataclass(frozen=True)
class Bound:
    """What the rule makes of one distribution.

    entropy: in nats. least: the probability that a token must exceed. typical: bool `[V]`.
    """

    probs: torch.Tensor
    entropy: float
    least: float
    typical: torch.Tensor

    @property
    def words(self) -> str:
        """How many tokens are typical, and how much of the probability they have, as one line."""
        count, share = int(self.typical.sum()), float(self.probs[self.typical].sum())
        plural, verb = ("s", "are") if count > 1 else ("", "is")
        return (
            f"entropy {self.entropy:.2f}, bound {self.least:.3f}: {count} token{plural} {verb} "
            f"typical, with {share:.2f} of the probability"
        )


def bound_of(logits: torch.Tensor, temperature: float, rule: Typical) -> Bound:
    """Logits `[V]` → the rule's bound and what it lets pass. Raises ValueError for a bad knob."""
    probs = nucleus_probs(logits, temperature, 1.0)
    entropy = float(-torch.special.xlogy(probs, probs).sum())
    least = min(rule.epsilon, rule.delta * math.exp(-entropy))
    return Bound(probs, entropy, least, typical_tokens(probs, rule))


def plot_bound(
    tokens: Sequence[str],
    probs: Sequence[float],
    typical: Sequence[bool],
    least: float,
    ax: Axes | None = None,
) -> Axes:
    """The most probable tokens as bars, the bound as a line; what is not typical is hatched.

    typical: for each token whether it is.
    """
    ax = axes_for(ax, (7, 3.4))
    for i, (prob, kept) in enumerate(zip(probs, typical, strict=True)):
        look = {"color": BLUE if kept else GREY, "hatch": "" if kept else "//"}
        ax.barh(i, prob, edgecolor="black", linewidth=0.4, gid=f"bar-{i}", **look)
        ax.text(prob, i, f" {prob:.3f}", va="center", fontsize=8)
    ax.axvline(least, color="black", linestyle="--", linewidth=1)
    ax.text(least, -0.7, f"bound {least:.3f}", va="bottom", fontsize=8)
    ax.set_yticks(range(len(tokens)), [label_of(token) for token in tokens])
    ax.set(ylim=(len(tokens) - 0.4, -0.6), xlim=(0, 1.15 * max(*probs, least)))
    ax.set(xlabel="probability of being the next token", ylabel="token")
    return open_frame(ax)


class TypicalPanel(Panel):
    """BEYOND8: temperature, ε and δ over which next tokens are typical, from cached logits."""

    grid: ClassVar[Grid] = {
        "temperature": (0.4, 0.8, 1.2),
        "epsilon": (0.0, 0.09, 0.3, 1.0),
        "delta": (0.0, 0.1, 0.3, 1.0),
    }

    shown = 10

    @checked
    def __init__(
        self,
        lm: LM,
        prompt: Prompt = PROMPT,
        temperature: Temperature = 0.8,
        epsilon: Share = 0.09,
        delta: Share = 0.3,
    ) -> None:
        self.lm, self.logits = lm, last_logits(lm, start_ids(lm, prompt))
        self.temperature = temperature_slider(temperature)
        self.epsilon = slider("epsilon", epsilon, 0.0, 1.0, 0.01)
        self.delta = slider("delta", delta, 0.0, 1.0, 0.01)
        controls = [self.temperature, self.epsilon, self.delta]
        super().__init__(controls, height="380px")
        observe(self.update, *controls)
        self.update()
        self.says = (
            f"Panel: sliders for temperature, epsilon and delta over the next token after "
            f"{prompt!r}. At {temperature:.2f}, {epsilon:.2f} and {delta:.2f}: "
            f"{self.current().words}"
        )

    def current(self) -> Bound:
        """What the rule makes of the next token at the sliders' values."""
        rule = Typical(self.epsilon.value, self.delta.value)
        return bound_of(self.logits, self.temperature.value, rule)

    def update(self) -> None:
        """Redraw for the sliders' values."""
        self.redraw(self.picture)

    def picture(self) -> str:
        """HTML: the bound in words, then the most probable tokens."""
        bound = self.current()
        best = bound.probs.topk(self.shown).indices
        rows = token_texts(self.lm, best), bound.probs[best].tolist(), bound.typical[best].tolist()
        plot = self.figure(
            lambda ax: plot_bound(*rows, bound.least, ax),
            (7, 3.4),
            bound.words,
            margins=(1.2, 0.6, 0.1, 0.3),
        )
        return says_html(bound.words) + plot
