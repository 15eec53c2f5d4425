"""STEP0: which processor computes, and the seeds."""

from __future__ import annotations

import random

import torch

from medusa_lib.checks import check_seed


def pick_device() -> torch.device:
    """The best device at hand: Apple's `mps`, else `cuda`, else `cpu`."""
    if torch.backends.mps.is_available():
        return torch.device("mps")
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("cpu")


def set_seed(seed: int | None) -> None:
    """Seed Python's `random`, torch and every CUDA device; None does nothing.

    Raises ValueError if seed is neither None nor an int in [0, 2**63).
    """
    if check_seed(seed) is None:
        return
    random.seed(seed)
    torch.manual_seed(seed)
    torch.cuda.manual_seed_all(seed)  # does nothing where there is no CUDA


def make_generator(seed: int | None) -> torch.Generator:
    """A fresh CPU source of random draws; None takes a seed from the system.

    Draws come from the CPU whatever the model runs on, so a seed means the same everywhere.
    Raises ValueError if seed is neither None nor an int in [0, 2**63).
    """
    generator = torch.Generator(device="cpu")
    if check_seed(seed) is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    return generator
