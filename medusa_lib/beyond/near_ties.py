"""Near ties: two logits so close that another kind of pass could order them the other way.

Passes over one token, many tokens or a cache differ in the last bits. Where the two best logits
lie closer than a bound, greedy's own pass decides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from medusa_lib.steps.model import LM
from medusa_lib.steps.utilities import greedy_next

# Logits closer than this count as a near tie. More than twice the largest difference between
# two kinds of pass that `python -m medusa_lib.bench.numerics` finds for numbers of this type.
TIE_BOUNDS = {torch.float32: 1e-3, torch.bfloat16: 1.0, torch.float16: 0.1, torch.float64: 1e-6}
LOWEST = float(np.finfo(np.float32).min)


def as_rows(logits: torch.Tensor) -> np.ndarray:
    """Logits `[n, V]` on any device → the same for numpy, in float32."""
    return logits.detach().float().cpu().numpy()


def best_and_near(row: np.ndarray, tie_bound: float) -> tuple[int, bool]:
    """One row of logits `[V]` → (the best token, whether another comes within the bound).

    Bound 0: never. Raises ValueError where the best is not finite.
    """
    best = int(row.argmax())
    top = float(row[best])
    if not math.isfinite(top):
        raise ValueError("logits must be finite, got NaN or infinity")
    near = max(top - tie_bound, LOWEST)
    return best, tie_bound > 0 and np.count_nonzero(row >= near) > 1


def settle(lm: LM, ids: Sequence[int]) -> int:
    """Greedy's own choice after some ids: the whole text, no cache, the plain model."""
    return greedy_next(lm, torch.tensor([ids], device=lm.device))


HALF = (torch.bfloat16, torch.float16)
LAST_BITS = 4  # so many of the smallest steps apart, two 16-bit logits may be a near tie
