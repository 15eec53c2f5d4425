"""The cure at a temperature: accept and reject so that the text is distributed as without it.

Speculative sampling, found twice: Leviathan et al. 2023, Chen et al. 2023.
"""

from __future__ import annotations

import torch

from medusa_lib.base.checks import checked
from medusa_lib.base.words import Generator, Probs, Temperature, TopP
from medusa_lib.beyond.one_pass import Branch
from medusa_lib.steps.sampling import draw_from, nucleus_probs


def is_accepted(token: int, p: Probs, q: Probs | None, generator: Generator) -> bool:
    """True with probability min(1, p(token) / q(token)). q None: the drafter was certain."""
    chance = torch.rand(1, dtype=torch.float64, generator=generator).item()
    return chance * (1.0 if q is None else float(q[token])) < float(p[token])


def residual(token: int, p: Probs, q: Probs | None) -> Probs:
    """What the rejected token leaves of p: max(p - q, 0), renormalised."""
    rest = p.clone()
    if q is None:
        rest[token] = 0
    else:
        rest = (p - q).clamp(min=0)  # [V]
    total = rest.sum()
    return rest / total if total > 0 else p  # nothing is left only where q is p, up to rounding


@checked
def verify_by_sampling(
    logits: torch.Tensor,
    branch: Branch,
    temperature: Temperature,
    top_p: TopP,
    generator: Generator,
) -> tuple[int, int]:
    """Logits `[len(branch) + 1, V]` → (accepted, next token), distributed as plain sampling.

    Accept token x with probability min(1, p(x) / q(x)), p the model's and q the drafter's
    distribution. At the first rejection draw from what is left of p; after full acceptance
    draw the bonus from p.
    """
    for i, token in enumerate(branch.tokens):
        p = nucleus_probs(logits[i], temperature, top_p)  # [V]
        q = branch.probs[i] if branch.probs else None
        if not is_accepted(token, p, q, generator):
            return i, draw_from(residual(token, p, q), generator)
    p = nucleus_probs(logits[len(branch.tokens)], temperature, top_p)
    return len(branch.tokens), draw_from(p, generator)
