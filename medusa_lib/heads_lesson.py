"""What BEYOND4 trains while you watch: a few texts of the model's own, and heads scored on others.

The whole recipe, with books and checkpoints, is pretrained/train_heads.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from medusa_lib.checks import check_int
from medusa_lib.device import make_generator
from medusa_lib.heads_training import (
    Examples,
    Learner,
    Texts,
    Training,
    examples_of,
    joined,
    make_heads,
    right_ranks,
    self_distilled,
    top_accuracy,
    train_steps,
)
from medusa_lib.medusa_heads import HeadsShape, MedusaHeads, heads_folder
from medusa_lib.model import LM
from medusa_lib.speculative import speculate


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


def write_sets(
    lm: LM,
    tokens: int,
    count: int = 4,
    seed: int = 7,
    on_batch: Callable[[int], None] | None = None,
    lengths: tuple[int, int, int] = (64, 16, 48),
) -> Sets:
    """Two sets of texts that the model writes greedily, about `tokens` and a quarter of that.

    count: heads to be taught. lengths: see heads_training.self_distilled, as is on_batch.
    """
    check_int("tokens", tokens, 1)
    more = {"on_batch": on_batch, "lengths": lengths}
    train, held_out = (
        self_distilled(lm, size, count, make_generator(seed + i), **more)
        for i, size in enumerate((tokens, max(1, tokens // 4)))
    )
    return Sets(train, held_out)


def start(lm: LM, sets: Sets, kind: str, training: Training) -> Learner:
    """Untrained heads of one kind, as many as the sets can teach."""
    count, width = sets.train.labels.shape[1], sets.train.hidden.shape[1]
    return make_heads(lm, HeadsShape(kind, count, width), sets.train, training)


def score(heads: MedusaHeads, examples: Examples, vocab_size: int, step: int = 0) -> Scores:
    """How often each head's best guess is right on these examples."""
    ranks = right_ranks(heads, examples, vocab_size)
    return Scores(step, tuple(row[0] for row in top_accuracy(ranks, 1)))


def learn(
    lm: LM,
    learner: Learner,
    sets: Sets,
    training: Training,
    every: int,
    on_step: Callable[[int], None] | None = None,
) -> Iterator[Scores]:
    """Train to the last step; yields the scores on held-out texts before, on the way and after.

    On the way: after every so many steps. on_step is told each step and may raise to end it.
    """
    check_int("every", every, 1)
    yield score(learner.heads, sets.held_out, lm.vocab_size, learner.step)
    for step, _ in train_steps(learner, sets.train, training, lm.vocab_size):
        if on_step is not None:
            on_step(step)
        if step % every == 0 or step == training.steps:
            yield score(learner.heads, sets.held_out, lm.vocab_size, step)


@torch.no_grad()
def greedy_examples(lm: LM, prompts: Sequence[str], new_tokens: int, count: int) -> Examples:
    """Examples from what the model writes greedily after each prompt, one text at a time."""
    parts, output = [], lm.model.get_output_embeddings()
    for prompt in prompts:
        run = speculate(lm, prompt, None, new_tokens)
        ids = torch.tensor([[*run.prompt_ids, *run.new_ids]])
        hidden = lm.model.base_model(input_ids=ids.to(lm.device), use_cache=False)[0]
        choices = output(hidden).argmax(dim=-1).cpu()
        parts.append(examples_of(Texts(ids, hidden.cpu(), choices, len(run.prompt_ids)), count))
    return joined(parts)


def shipped_figures(lm: LM) -> dict:
    """What was measured on the shipped heads of `lm` when they were made: its `figures.json`."""
    return json.loads((heads_folder(lm) / "figures.json").read_text(encoding="utf-8"))
