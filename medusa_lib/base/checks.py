"""Input checks, so that a bad value is named before any model pass is spent on it.

Each check takes a parameter's name and value and returns the value as it is to be used. `checked`
makes a function's types check its arguments: see words.py.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import TypeVar, Union, get_args, get_origin, get_type_hints

import torch

F = TypeVar("F", bound=Callable)
WHOLE = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool)
# What comes from the steps and the cure themselves was checked where it came in.
TRUSTED = ("medusa_lib.steps.", "medusa_lib.beyond.", "medusa_lib.engine.")


class Check:
    """A check as part of a type: `Annotated[int, Check(check_int, 1)]`."""

    def __init__(self, check: Callable[..., object], *limits: object) -> None:
        self.check, self.limits = check, limits

    def __call__(self, name: str, value: object) -> object:
        """The value as it is to be used. Raises ValueError naming the parameter and the range."""
        return self.check(name, value, *self.limits)


def check_in(kind: object) -> Callable[[str, object], object] | None:
    """The check that a type carries, if it has one; `Kind | None` lets None through.

    A class may be checked, too, by its own class method `check_argument(name, value)`. Raises
    TypeError for a type that holds a checked one in any other way, where no check would reach it.
    """
    notes = [note for note in getattr(kind, "__metadata__", ()) if isinstance(note, Check)]
    check = notes[-1] if notes else getattr(kind, "check_argument", None)
    if check is not None or get_origin(kind) is Callable:  # a function's own words are its own
        return check
    parts = get_args(kind)
    inner = [found for part in parts if (found := check_in(part))]
    if not inner:
        return None
    if get_origin(kind) not in (Union, UnionType) or len({*parts} - {NoneType}) != 1:
        raise TypeError(f"{kind} must hold no checked type, but for `| None` beside it")
    return lambda name, value: None if value is None else inner[0](name, value)


@functools.cache
def checks_of(owner: Callable) -> dict[str, Callable[[str, object], object]]:
    """For each parameter of a function, or field of a class, whose type has a check: that check.

    Raises TypeError for `*args` and `**kwargs` of a checked type: they are not looked into.
    """
    kinds = get_type_hints(owner, include_extras=True)
    found = {name: check_in(kind) for name, kind in kinds.items() if name != "return"}
    for one in inspect.signature(owner).parameters.values():
        if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD) and found.get(one.name):
            raise TypeError(f"{one.name} of {owner.__qualname__} must have a type without a check")
    return {name: check for name, check in found.items() if check is not None}


def checked(function: F) -> F:
    """The same function, which checks its arguments by their types before its body runs.

    A default is not checked, nor is a call from the steps or the cure: within a decoding loop a
    check costs nothing.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def guarded(*args: object, **kwargs: object) -> object:
        given = None
        if not sys._getframe(1).f_globals.get("__name__", "").startswith(TRUSTED):
            with contextlib.suppress(TypeError):
                given = signature.bind(*args, **kwargs)
        if given is None:  # trusted, or not to be called so: Python itself says that best
            return function(*args, **kwargs)
        for name, check in checks_of(function).items():  # not before: a class may be unfinished
            if name in given.arguments:
                given.arguments[name] = check(name, given.arguments[name])
        return function(*given.args, **given.kwargs)

    return guarded


def check_fields(record: object) -> None:
    """Check each field of a dataclass by its type, as `checked` does a function's arguments."""
    for name, check in checks_of(type(record)).items():
        object.__setattr__(record, name, check(name, getattr(record, name)))


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


def check_prompt(name: str, value: object) -> str:
    """`value` as a str with a visible character. Raises ValueError otherwise."""
    if not check_text(name, value).strip():
        raise ValueError(f"{name} must be a str with a visible character, got {value!r}")
    return value


def check_start(name: str, value: object) -> str | torch.Tensor:
    """`value` as check_prompt's or, for a tensor, as check_ids'. Raises ValueError otherwise."""
    return (check_ids if isinstance(value, torch.Tensor) else check_prompt)(name, value)


def check_function(name: str, value: object) -> Callable[..., object]:
    """`value` as a function. Raises ValueError otherwise."""
    if not callable(value):
        raise ValueError(f"{name} must be a function, got {value!r}")
    return value


def check_callable(name: str, value: object) -> Callable[..., object] | None:
    """`value` as a function or None. Raises ValueError otherwise."""
    if value is not None and not callable(value):
        raise ValueError(f"{name} must be None or a function, got {value!r}")
    return value


def _finite(value: Real) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an int that no float holds
        return False


def check_number(name: str, value: object) -> float:
    """`value` as a finite float >= 0. Raises ValueError otherwise."""
    real = isinstance(value, Real) and not isinstance(value, bool)
    if not real or not _finite(value) or value < 0:
        raise ValueError(f"{name} must be a finite number >= 0, got {value!r}")
    return float(value)


def check_top_p(name: str, value: object, high: float = 1) -> float | None:
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


def check_seed(name: str, value: object) -> int | None:
    """`value` as an int in [0, 2**63), or None for "no seeding". Raises ValueError otherwise."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Integral) or not 0 <= value < 2**63:
        raise ValueError(f"{name} must be None or an int in [0, 2**63), got {value!r}")
    return int(value)


def check_ids(name: str, ids: object) -> torch.Tensor:
    """`ids` as an integer tensor `[1, T]`, T >= 1. Raises ValueError otherwise."""
    if not isinstance(ids, torch.Tensor):
        raise ValueError(f"{name} must be an integer tensor [1, T], got {type(ids).__name__}")
    shaped = ids.ndim == 2 and ids.shape[0] == 1 and ids.shape[1] >= 1
    if not shaped or ids.dtype not in (torch.int64, torch.int32):  # what embeddings take
        found = f"{ids.dtype} {list(ids.shape)}".removeprefix("torch.")
        raise ValueError(f"{name} must be an integer tensor [1, T] with T >= 1, got {found}")
    return ids


def check_tokens(name: str, value: object) -> list[int]:
    """`value` as a list of token ids, at least one. Raises ValueError otherwise."""
    if not isinstance(value, Sequence) or not len(value):
        raise ValueError(f"{name} must be a list of at least 1 token, got {value!r}")
    return [check_int(f"{name} token", token, 0) for token in value]


def check_vector(name: str, values: object) -> torch.Tensor:
    """`values` as a finite floating tensor `[V]`, V >= 1. Raises ValueError otherwise."""
    if not isinstance(values, torch.Tensor):
        raise ValueError(f"{name} must be a float tensor [V], got {type(values).__name__}")
    if not values.is_floating_point():
        raise ValueError(f"{name} must be a float tensor [V], got dtype {values.dtype}")
    if values.ndim != 1 or not len(values):
        raise ValueError(f"{name} must be a float tensor [V] with V >= 1, got {list(values.shape)}")
    # A sum is quickly had and finite only if all numbers are; that of large ones may overflow.
    if not math.isfinite(values.sum()) and not bool(torch.isfinite(values).all()):
        raise ValueError(f"{name} must be finite, got NaN or infinity among {len(values)} values")
    return values


def check_numbers(name: str, values: object) -> torch.Tensor:
    """As check_vector, but whole numbers will do: they become floats."""
    whole = isinstance(values, torch.Tensor) and values.dtype in WHOLE
    return check_vector(name, values.double() if whole else values)


def check_probs(name: str, probs: object) -> torch.Tensor:
    """`probs` as a finite tensor `[V]`, >= 0, sum 1 ± 0.01. Raises ValueError otherwise."""
    low, total = check_vector(name, probs).min().item(), probs.double().sum().item()
    if low < 0 or abs(total - 1) > 0.01:  # half precision rounds, so not closer
        raise ValueError(f"{name} must be >= 0 with a sum of 1, got min {low:g}, sum {total:g}")
    return probs


def check_kind(name: str, value: object, kind: type) -> object:
    """`value` of a class, such as a Plan. Raises ValueError for anything else."""
    if not isinstance(value, kind):
        raise ValueError(f"{name} must be of kind {kind.__name__}, got {value!r}")
    return value


def check_named(name: str, value: object, kind: type) -> Mapping[str, object]:
    """`value` as a mapping from names to objects of a class, at least one. Else ValueError."""
    if not isinstance(value, Mapping) or not value:
        raise ValueError(f"{name} must be a mapping with at least 1 name, got {value!r}")
    for key, one in value.items():
        check_kind(f"{name}[{check_text(name, key)!r}]", one, kind)
    return value


def check_generator(name: str, generator: object) -> torch.Generator:
    """A CPU `torch.Generator`, so that draws are the same on any device. Raises ValueError."""
    if not isinstance(generator, torch.Generator) or generator.device.type != "cpu":
        raise ValueError(f"{name} must be a torch.Generator on the CPU, got {generator!r}")
    return generator
