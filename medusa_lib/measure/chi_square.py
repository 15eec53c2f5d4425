"""Do counts fit what was expected? The chi-square test."""

from __future__ import annotations

import torch


def misfits(observed: object, expected: object) -> torch.Tensor:
    """Counts that came and counts that were due, of any shape → (observed - expected) / √expected.

    One number for each kind that can come; infinite for one that came and should not.
    """
    observed, expected = (torch.as_tensor(x, dtype=torch.float64) for x in (observed, expected))
    if observed.shape != expected.shape or not torch.isclose(observed.sum(), expected.sum()):
        raise ValueError("observed and expected must have the same shape and the same total")
    seen = (expected > 0) | (observed > 0)
    return (observed - expected)[seen] / expected[seen].sqrt()


def chi_square_p(observed: object, expected: object) -> float:
    """The chi-square test: how often chance alone strays at least this far from `expected`.

    In [0, 1]: near 0 the counts do not fit. Each kind that can come should be expected 5 times
    or more. Raises ValueError if shapes or totals differ.
    """
    statistic = misfits(observed, expected).square().sum()
    kinds = int((torch.as_tensor(expected) > 0).sum())
    if kinds == 1:
        return float(statistic == 0)
    freedom = torch.tensor(kinds - 1, dtype=torch.float64)
    return float(torch.special.gammaincc(freedom / 2, statistic / 2))
