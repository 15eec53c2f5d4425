"""What a sweep asks: axes of knobs, and every combination of them as a point with a key."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import product
from typing import NamedTuple

from medusa_lib.base.checks import (
    check_int,
    check_number,
    check_prompt,
    check_seed,
    check_top_p,
)
from medusa_lib.base.config import SHIPPED_MODEL
from medusa_lib.beyond.named_drafters import DRAFTERS

# Beside the drafters: greedy with a cache, STEP6's loop, and that loop by tossing coins.
NO_DRAFTER, TINY, COINS = "none", "medusa_tiny", "coins"
DECODERS = (*DRAFTERS, NO_DRAFTER, TINY, COINS)


class Point(NamedTuple):
    """The knobs of one run. identity: of the model, as identity_of gives it.

    span None: the drafter's own. new_tokens: the most that are written.
    """

    model: str
    identity: str
    prompt: str
    new_tokens: int
    drafter: str
    temperature: float
    top_p: float | None
    span: int | None
    seed: int

    @property
    def key(self) -> str:
        """A digest of everything that decides the run, the same on every machine.

        The model's name is left out: it is its weights that decide.
        """
        said = json.dumps(self[1:]).encode()
        return hashlib.blake2b(said, digest_size=16).hexdigest()


def check_drafter_name(name: str, value: object) -> str:
    """`value` as a name of DECODERS. Raises ValueError otherwise."""
    if value not in DECODERS:
        raise ValueError(f"{name} must be one of {', '.join(DECODERS)}, got {value!r}")
    return str(value)


def check_span(name: str, value: object) -> int | None:
    """`value` as an int >= 1; None, or "own", is the drafter's own. Raises ValueError otherwise."""
    return None if value in (None, "own") else check_int(name, value, 1)


def check_a_seed(name: str, value: object) -> int:
    """`value` as an int in [0, 2**63): what is to be the same again needs one."""
    seed = check_seed(name, value)
    if seed is None:
        raise ValueError(f"{name} must be an int in [0, 2**63), got None")
    return seed


CHECKS: dict[str, Callable[[str, object], object]] = {
    "model": check_prompt,
    "prompt": check_prompt,
    "new_tokens": lambda name, value: check_int(name, value, 1),
    "drafter": check_drafter_name,
    "temperature": check_number,
    "top_p": check_top_p,
    "span": check_span,
    "seed": check_a_seed,
}


def check_axis(name: str, given: object) -> tuple:
    """One value or several as a tuple of checked ones, each of them once.

    Raises ValueError naming the axis, its range and what was given.
    """
    several = isinstance(given, Iterable) and not isinstance(given, str | dict)
    values = tuple(CHECKS[name](name, value) for value in (given if several else [given]))
    if not values:
        raise ValueError(f"{name} must have at least 1 value, got {given!r}")
    if len(set(values)) < len(values):
        again = next(value for i, value in enumerate(values) if value in values[:i])
        raise ValueError(f"{name} must have each value once, got {again!r} twice")
    return values


@dataclass(frozen=True)
class Grid:
    """Axes of a sweep: each is one value or several, and every combination is a run.

    drafter: one of DECODERS. span None: the drafter's own. seed: of all draws. Raises ValueError
    for a value out of range, naming the axis.
    """

    prompt: Sequence[str]
    model: Sequence[str] = (SHIPPED_MODEL,)
    new_tokens: Sequence[int] = (64,)
    drafter: Sequence[str] = ("ngram",)
    temperature: Sequence[float] = (0.0,)
    top_p: Sequence[float | None] = (1.0,)
    span: Sequence[int | None] = (None,)
    seed: Sequence[int] = (7,)

    def __post_init__(self) -> None:
        for field in fields(self):
            checked = check_axis(field.name, getattr(self, field.name))
            object.__setattr__(self, field.name, checked)

    def __len__(self) -> int:
        return math.prod(len(getattr(self, field.name)) for field in fields(self))

    def points(self, identity: Callable[[str], str]) -> Iterator[Point]:
        """Every combination, made as it is asked for; runs of one prompt follow each other.

        identity: a model's name → what tells it apart.
        """
        for model in self.model:
            digest = identity(model)
            for knobs in product(*self.inner_axes()):
                yield Point(model, digest, *knobs)

    def inner_axes(self) -> list[tuple]:
        """The axes of a Point after its model, in its order."""
        return [getattr(self, name) for name in Point._fields[2:]]

    def point_at(self, index: int, identity: Callable[[str], str]) -> Point:
        """The combination of that number, in [0, len), without making those before it."""
        knobs = []
        for axis in reversed([self.model, *self.inner_axes()]):
            index, place = divmod(index, len(axis))
            knobs.append(axis[place])
        model, *rest = reversed(knobs)
        return Point(model, identity(model), *rest)
