"""STEP0: which processor computes, and the seeds."""

from __future__ import annotations

import random

import torch

from medusa_lib.base.checks import checked
from medusa_lib.base.words import Seed


def pick_device() -> torch.device:
    """The best device at hand: Apple's `mps`, else `cuda`, else `cpu`."""
    if torch.backends.mps.is_available():
        return torch.device("mps")
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("cpu")


def check_device(device: object) -> torch.device:
    """`device` as a torch.device that this machine has; None picks the best at hand.

    Raises ValueError for an unknown name and for a processor that is not here.
    """
    if device is None:
        return pick_device()
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError):
        raise ValueError(f"device must be cpu, cuda or mps, got {device!r}") from None
    count = {
        "cpu": 1,
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
    }
    # An index is one signed byte: torch reads "cuda:200" as a negative one.
    if not 0 <= (chosen.index or 0) < count.get(chosen.type, 0):
        raise ValueError(f"device must be cpu, cuda or mps, and be here, got {device!r}")
    return chosen


@checked
def set_seed(seed: Seed) -> None:
    """Seed Python's `random`, torch and every CUDA device; None does nothing.

    Raises ValueError if seed is neither None nor an int in [0, 2**63).
    """
    if seed is None:
        return
    random.seed(seed)
    torch.manual_seed(seed)
    torch.cuda.manual_seed_all(seed)  # does nothing where there is no CUDA


@checked
def make_generator(seed: Seed) -> torch.Generator:
    """A fresh CPU source of random draws; None takes a seed from the system.

    Draws come from the CPU whatever the model runs on, so a seed means the same everywhere.
    Raises ValueError if seed is neither None nor an int in [0, 2**63).
    """
    generator = torch.Generator(device="cpu")
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    return generator
