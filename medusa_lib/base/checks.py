"""Input checks, so that a bad value is named before any model pass is spent on it."""

from __future__ import annotations

import math
from numbers import Integral, Real

import torch


def check_int(name: str, value: object, low: int) -> int:
    """`value` as an int >= low. Raises ValueError naming the parameter, its range and the value."""
    if type(value) is int and value >= low:
        return value
    if isinstance(value, bool) or not isinstance(value, Integral) or value < low:
        raise ValueError(f"{name} must be an int >= {low}, got {value!r}")
    return int(value)


def check_bool(name: str, value: object) -> bool:
    """`value` as True or False. Raises ValueError for anything that is merely truthy."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, got {value!r}")
    return value


def check_text(name: str, value: object) -> str:
    """`value` as a non-empty str that UTF-8 can hold. Raises ValueError otherwise."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} must be a non-empty str, got {value!r}")
    if any("\ud800" <= char <= "\udfff" for char in value):  # what undecodable bytes become
        raise ValueError(f"{name} must be a str of valid Unicode, got {value!r}")
    return value


def check_callable(name: str, value: object) -> None:
    """`value` is None or can be called. Raises ValueError otherwise."""
    if value is not None and not callable(value):
        raise ValueError(f"{name} must be None or a function, got {value!r}")


def _finite(value: Real) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an int that no float holds
        return False


def check_temperature(value: object, name: str = "temperature") -> float:
    """`value` as a finite float >= 0. Raises ValueError otherwise."""
    real = isinstance(value, Real) and not isinstance(value, bool)
    if not real or not _finite(value) or value < 0:
        raise ValueError(f"{name} must be a finite number >= 0, got {value!r}")
    return float(value)


def check_top_p(value: object, name: str = "top_p", high: float = 1) -> float | None:
    """`value` in [0, high] as a float, above 1 as 1; None is "keep all". Else ValueError."""
    if value is None:
        return None
    real = isinstance(value, Real) and not isinstance(value, bool)
    if not real or not 0 <= value <= high:
        raise ValueError(f"{name} must be None or a number in [0, {high}], got {value!r}")
    return float(min(value, 1))


def check_share(name: str, value: object) -> float:
    """`value` in [0, 1] as a float. Raises ValueError otherwise."""
    real = isinstance(value, Real) and not isinstance(value, bool)
    if not real or not 0 <= value <= 1:
        raise ValueError(f"{name} must be a number in [0, 1], got {value!r}")
    return float(value)


def check_seed(value: object, name: str = "seed") -> int | None:
    """`value` as an int in [0, 2**63), or None for "no seeding". Raises ValueError otherwise."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Integral) or not 0 <= value < 2**63:
        raise ValueError(f"{name} must be None or an int in [0, 2**63), got {value!r}")
    return int(value)


def check_ids(ids: object, name: str = "ids") -> torch.Tensor:
    """`ids` as an integer tensor `[1, T]`, T >= 1. Raises ValueError otherwise."""
    if not isinstance(ids, torch.Tensor):
        raise ValueError(f"{name} must be an integer tensor [1, T], got {type(ids).__name__}")
    shaped = ids.ndim == 2 and ids.shape[0] == 1 and ids.shape[1] >= 1
    if not shaped or ids.dtype not in (torch.int64, torch.int32):  # what embeddings take
        found = f"{ids.dtype} {list(ids.shape)}".removeprefix("torch.")
        raise ValueError(f"{name} must be an integer tensor [1, T] with T >= 1, got {found}")
    return ids


def check_vector(values: object, name: str) -> torch.Tensor:
    """`values` as a finite floating tensor `[V]`, V >= 1. Raises ValueError otherwise."""
    if not isinstance(values, torch.Tensor):
        raise ValueError(f"{name} must be a float tensor [V], got {type(values).__name__}")
    if not values.is_floating_point():
        raise ValueError(f"{name} must be a float tensor [V], got dtype {values.dtype}")
    if values.ndim != 1 or not len(values):
        raise ValueError(f"{name} must be a float tensor [V] with V >= 1, got {list(values.shape)}")
    if not bool(torch.isfinite(values).all()):
        raise ValueError(f"{name} must be finite, got NaN or infinity among {len(values)} values")
    return values


def check_probs(probs: object, name: str = "probs") -> torch.Tensor:
    """`probs` as a finite tensor `[V]`, >= 0, sum 1 ± 0.01. Raises ValueError otherwise."""
    low, total = check_vector(probs, name).min().item(), probs.double().sum().item()
    if low < 0 or abs(total - 1) > 0.01:  # half precision rounds, so not closer
        raise ValueError(f"{name} must be >= 0 with a sum of 1, got min {low:g}, sum {total:g}")
    return probs


def check_generator(generator: object) -> torch.Generator:
    """A CPU `torch.Generator`, so that draws are the same on any device. Raises ValueError."""
    if not isinstance(generator, torch.Generator) or generator.device.type != "cpu":
        raise ValueError(f"generator must be a torch.Generator on the CPU, got {generator!r}")
    return generator
