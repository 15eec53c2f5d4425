"""What draft and verify should gain, by the papers' formulas."""

from __future__ import annotations

from medusa_lib.base.checks import checked
from medusa_lib.base.words import Cost, Count, Share


@checked
def expected_tokens(alpha: Share, span: Count) -> float:
    """Tokens per loop if each draft is accepted with chance alpha, whatever the others do.

    (1 - alpha^(span + 1)) / (1 - alpha): Leviathan et al. 2023, equation 1. alpha in [0, 1].
    """
    return span + 1 if alpha == 1 else (1 - alpha ** (span + 1)) / (1 - alpha)


@checked
def expected_speedup(alpha: Share, span: Count, draft_cost: Cost, verify_cost: Cost = 1) -> float:
    """Speed over plain decoding: expected tokens ÷ (span × draft_cost + verify_cost).

    Costs in passes of the model over one token. Leviathan et al. 2023, theorem 3.8, takes
    verify_cost as 1.
    """
    return expected_tokens(alpha, span) / (span * draft_cost + verify_cost)
