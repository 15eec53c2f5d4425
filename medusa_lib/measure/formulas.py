"""What draft and verify should gain, by the papers' formulas."""

from __future__ import annotations

import math

from medusa_lib.base.checks import check_int


def expected_tokens(alpha: float, span: int) -> float:
    """Tokens per loop if each draft is accepted with chance alpha, whatever the others do.

    (1 - alpha^(span + 1)) / (1 - alpha): Leviathan et al. 2023, equation 1. alpha in [0, 1].
    """
    check_int("span", span, 0)
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be in [0, 1], got {alpha!r}")
    return span + 1 if alpha == 1 else (1 - alpha ** (span + 1)) / (1 - alpha)


def expected_speedup(alpha: float, span: int, draft_cost: float, verify_cost: float = 1.0) -> float:
    """Speed over plain decoding: expected tokens ÷ (span × draft_cost + verify_cost).

    Costs in passes of the model over one token. Leviathan et al. 2023, theorem 3.8, takes
    verify_cost as 1.
    """
    for name, cost in (("draft_cost", draft_cost), ("verify_cost", verify_cost)):
        if not 0 <= cost < math.inf:
            raise ValueError(f"{name} must be a finite number >= 0, got {cost!r}")
    return expected_tokens(alpha, span) / (span * draft_cost + verify_cost)
