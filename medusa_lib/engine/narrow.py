"""Weights in as few bits as hold each of their numbers exactly.

You can skip this module: nothing in a lesson depends on how it works.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch


def fits_half(weight: torch.Tensor) -> bool:
    """True if half precision holds every number of a weight exactly, as if it was stored so."""
    return fits(weight, torch.float16)


def fits(weight: torch.Tensor, dtype: torch.dtype) -> bool:
    """True if a type of number holds every number of a float32 weight exactly."""
    if weight.dtype != torch.float32 or not bool(weight.isfinite().all()):
        return False
    return torch.equal(weight.to(dtype).float(), weight)


def narrow_type(weights: Sequence[torch.Tensor]) -> torch.dtype:
    """The narrowest type of number that holds all of some float32 weights exactly."""
    for dtype in (torch.float16, torch.bfloat16):
        if all(fits(weight, dtype) for weight in weights):
            return dtype
    return torch.float32


def as_array(weight: torch.Tensor, dtype: torch.dtype = torch.float32) -> np.ndarray:
    """A weight in an array of its own; 16 bits as whole numbers, see Weights."""
    stored = weight.detach().to(dtype).contiguous()
    if dtype == torch.float16:
        return stored.view(torch.uint16).numpy().copy()
    return (stored.view(torch.int16) if dtype == torch.bfloat16 else stored).numpy().copy()
