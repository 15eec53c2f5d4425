"""What typical acceptance buys and what it costs, counted on the language of four words."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from matplotlib.axes import Axes

from medusa_lib.base.checks import checked
from medusa_lib.base.words import Count, Positive, Seed
from medusa_lib.beyond.one_pass import Branch
from medusa_lib.beyond.sampling_exactly import verify_by_sampling
from medusa_lib.beyond.typical import Typical, verify_typically
from medusa_lib.steps.device import make_generator
from medusa_lib.steps.sampling import draw_from
from medusa_lib.teaching.shared.style import (
    GREY,
    axes_for,
    legend_beside,
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
    for i, (name, trade) in enumerate(trades.items()):
        point = series_look(i, markersize=9, linestyle="none")
        ax.plot(trade.tokens_per_pass, trade.distance, label=name, **point)
    chance = {"facecolor": "none", "edgecolor": GREY, "hatch": "//", "zorder": 0}
    ax.axhspan(0, noise, label="chance alone", **chance)
    most = max(trade.tokens_per_pass for trade in trades.values())
    farthest = max(noise, *(trade.distance for trade in trades.values()))
    ax.set(xlabel="tokens per pass", ylabel="total variation distance\nfrom the target's texts")
    ax.set(xlim=(0.8, most + 0.3), ylim=(0, 1.15 * farthest))
    legend_beside(ax, fontsize=8)
    return open_frame(ax)
