"""The cure at a temperature: accept and reject so that the text is distributed as without it.

Speculative sampling, found twice: Leviathan et al. 2023, Chen et al. 2023.
"""

from __future__ import annotations

import math

import torch

from medusa_lib.checks import check_top_p
from medusa_lib.one_pass import Branch
from medusa_lib.sampling import softmax_temp, top_p_indices
from medusa_lib.tree_attention import follow


def nucleus_probs(logits: torch.Tensor, temperature: float, top_p: float | None) -> torch.Tensor:
    """Logits `[V]` → the distribution a draw really comes from: softmax, nucleus, renormalised.

    Float64, on the CPU. Raises ValueError for a temperature or top_p out of range.
    """
    probs = softmax_temp(logits.cpu().double(), temperature)
    if check_top_p(top_p, high=math.inf) in (None, 1):  # all are kept
        return probs
    nucleus = top_p_indices(probs, top_p)
    kept = torch.zeros_like(probs)
    kept[nucleus] = probs[nucleus]
    return kept / kept.sum()


def draw_from(probs: torch.Tensor, generator: torch.Generator) -> int:
    """One draw from `probs` `[V]` >= 0, which need not add up to 1."""
    return int(torch.multinomial(probs, 1, generator=generator))


def is_accepted(
    token: int, p: torch.Tensor, q: torch.Tensor | None, generator: torch.Generator
) -> bool:
    """True with probability min(1, p(token) / q(token)). q None: the drafter was certain."""
    chance = torch.rand(1, dtype=torch.float64, generator=generator).item()
    return chance * (1.0 if q is None else float(q[token])) < float(p[token])


def residual(token: int, p: torch.Tensor, q: torch.Tensor | None) -> torch.Tensor:
    """What the rejected token leaves of p: max(p - q, 0), renormalised."""
    rest = p.clone()
    if q is None:
        rest[token] = 0
    else:
        rest = (p - q).clamp(min=0)
    total = rest.sum()
    return rest / total if total > 0 else p  # nothing is left only where q is p, up to rounding


def verify_by_sampling(
    logits: torch.Tensor,
    branch: Branch,
    temperature: float,
    top_p: float | None,
    generator: torch.Generator,
) -> tuple[int, int]:
    """Logits `[len(branch) + 1, V]` → (accepted, next token), distributed as plain sampling.

    Accept token x with probability min(1, p(x) / q(x)), p the model's and q the drafter's
    distribution. At the first rejection draw from what is left of p; after full acceptance
    draw the bonus from p.
    """
    for i, token in enumerate(branch.tokens):
        p = nucleus_probs(logits[i], temperature, top_p)
        q = branch.probs[i] if branch.probs else None
        if not is_accepted(token, p, q, generator):
            return i, draw_from(residual(token, p, q), generator)
    p = nucleus_probs(logits[len(branch.tokens)], temperature, top_p)
    return len(branch.tokens), draw_from(p, generator)


def follow_by_sampling(
    logits: torch.Tensor,
    branch: Branch,
    temperature: float,
    top_p: float | None,
    generator: torch.Generator,
) -> tuple[list[int], int]:
    """Logits of a pass over a tree → (accepted path, next token), distributed as plain sampling.

    Draw from the model's own distribution and go on in the tree for as long as it holds what
    was drawn: plain sampling, of which the tree only saves passes.
    """

    def choice_at(path: list[int]) -> int:
        row = logits[path[-1] + 1 if path else 0]
        return draw_from(nucleus_probs(row, temperature, top_p), generator)

    return follow(choice_at, branch.tokens, branch.parents)
