"""Near ties: two logits so close that another kind of pass could order them the other way.

Passes over one token, many tokens or a cache differ in the last bits. Where the two best logits
lie closer than a bound, greedy's own pass decides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from medusa_lib.beyond.prefixes import NumberRows, ObeyedRows
from medusa_lib.steps.model import LM
from medusa_lib.steps.utilities import greedy_next

# Logits closer than this count as a near tie. More than twice the largest difference between
# two kinds of pass that `python -m medusa_lib.bench.numerics` finds for numbers of this type.
TIE_BOUNDS = {torch.float32: 1e-3, torch.bfloat16: 1.0, torch.float16: 0.1, torch.float64: 1e-6}
LOWEST = float(np.finfo(np.float32).min)
HALF = (torch.bfloat16, torch.float16)
LAST_BITS = 4  # so many of the smallest steps apart, two 16-bit logits may be a near tie


@dataclass(frozen=True)
class NearTie:
    """How close two logits must be to count as a near tie.

    bound: at least so close; 0: none is. grain: of large logits as a share of their size, since
    in 16 bits these are coarser than the bound.
    """

    bound: float
    grain: float = 0.0

    @classmethod
    def of(cls, lm: LM, bound: float | None = None) -> NearTie:
        """What counts as one for a model; bound None: the measured one for its numbers."""
        dtype, stretch = type_of_numbers(lm), 1.0 if lm.obeyed is None else lm.obeyed.stretch
        grain = LAST_BITS * torch.finfo(dtype).eps if dtype in HALF else 0.0
        usual = TIE_BOUNDS.get(dtype, TIE_BOUNDS[torch.float32])
        return cls((usual if bound is None else bound) * stretch, grain * stretch)

    def at(self, logits: torch.Tensor) -> float:
        """The bound for the logits `[n, V]` of one pass."""
        if not (self.grain and self.bound):
            return self.bound
        return max(self.bound, self.grain * float(logits.amax(dim=-1).abs().max()))


def type_of_numbers(lm: LM) -> torch.dtype:
    """The type of the numbers that a model computes with, which autocast may make a coarser one."""
    if torch.is_autocast_enabled(lm.device.type):
        return torch.get_autocast_dtype(lm.device.type)
    return lm.model.dtype


def as_rows(logits: torch.Tensor | ObeyedRows) -> np.ndarray | NumberRows:
    """Logits `[n, V]` on any device → the same for numpy, in float32."""
    if isinstance(logits, ObeyedRows):
        return NumberRows(logits)
    if logits.is_cpu and logits.dtype == torch.float32 and not logits.requires_grad:
        return logits.numpy()  # every call counts: there are few in a loop
    return logits.detach().float().cpu().numpy()


def best_and_near(row: np.ndarray, tie_bound: float) -> tuple[int, bool]:
    """One row of logits `[V]` → (the best token, whether another comes within the bound).

    Bound 0: never. Raises ValueError where the best is not finite.
    """
    best = int(row.argmax())
    top = float(row[best])
    if not math.isfinite(top):
        raise ValueError("logits must be finite, got NaN or infinity")
    if tie_bound <= 0:
        return best, False
    row[best] = LOWEST  # for as long as it takes to look for the next
    second = float(row[row.argmax()])
    row[best] = top
    return best, second >= max(top - tie_bound, LOWEST)


def settle(lm: LM, ids: Sequence[int]) -> int:
    """Greedy's own choice after some ids: the whole text, no cache, the plain model."""
    return greedy_next(lm, torch.tensor([ids], device=lm.device))
