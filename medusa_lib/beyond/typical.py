"""Typical acceptance: take a draft that the model finds likely enough, without being exact.

The acceptance of Medusa (Cai et al. 2024) at a temperature; the name and the idea of a bound
that follows the entropy are from typical and truncation sampling (Hewitt et al. 2022). It
accepts more than speculative sampling, and the text is no longer distributed as the model's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch

from medusa_lib.base.checks import check_fields, checked
from medusa_lib.base.words import Generator, Share, Temperature, TopP
from medusa_lib.beyond.one_pass import Branch
from medusa_lib.beyond.trees import path_to
from medusa_lib.steps.sampling import draw_from, nucleus_probs


@dataclass(frozen=True)
class Typical:
    """How likely a draft must be: p > min(epsilon, delta × exp(-entropy)). Both in [0, 1].

    The defaults are those of Medusa's published runs.
    """

    epsilon: Share = 0.09
    delta: Share = 0.3

    def __post_init__(self) -> None:
        check_fields(self)


def check_rule(typical: object, temperature: float) -> None:
    """Raises ValueError unless `typical` is None, or a Typical and the temperature above 0."""
    if typical is None:
        return
    if not isinstance(typical, Typical):
        raise ValueError(f"typical must be a Typical or None, got {typical!r}")
    if temperature == 0:
        raise ValueError("typical must be None at temperature 0, where greedy decides")


def typical_tokens(probs: torch.Tensor, rule: Typical) -> torch.Tensor:
    """Which tokens are typical: bool `[V]`, the most probable one always among them.

    probs: `[V]`, adding up to 1.
    """
    entropy = -torch.special.xlogy(probs, probs).sum()
    bound = min(rule.epsilon, rule.delta * float(torch.exp(-entropy)))
    typical = probs > bound  # [V]
    typical[probs.argmax()] = True
    return typical


@checked
def verify_typically(
    logits: torch.Tensor,
    branch: Branch,
    temperature: Temperature,
    top_p: TopP,
    generator: Generator,
    rule: Typical,
) -> tuple[list[int], int]:
    """Logits of a pass over a branch or tree → (accepted path, next token).

    The longest path of tokens that are all typical is accepted, the earliest of equally long
    ones; the token after it is drawn from what is typical there.
    """
    parents = branch.parents or range(-1, len(branch.tokens) - 1)
    accepted: list[bool] = []

    @cache
    def at(row: int) -> tuple[torch.Tensor, torch.Tensor]:
        probs = nucleus_probs(logits[row], temperature, top_p)
        return probs, typical_tokens(probs, rule)

    for token, parent in zip(branch.tokens, parents, strict=True):
        reached = parent < 0 or accepted[parent]
        accepted.append(reached and bool(at(parent + 1)[1][token]))
    path = longest_path(accepted, parents)
    probs, fine = at(path[-1] + 1 if path else 0)
    return path, draw_from(probs * fine, generator)


def longest_path(accepted: Sequence[bool], parents: Sequence[int]) -> list[int]:
    """The longest way down a tree over accepted tokens only, the earliest of equally long ones."""
    lengths: list[int] = []
    for token, parent in enumerate(parents):
        before = 0 if parent < 0 else lengths[parent]
        whole = accepted[token] and (parent < 0 or before > 0)
        lengths.append(before + 1 if whole else 0)
    best = max(lengths, default=0)
    return path_to(parents, lengths.index(best)) if best else []
