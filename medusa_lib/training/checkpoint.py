"""What a run carries from step to step, on disk and back, so that a resumed run is exact."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

UNREADABLE = (OSError, RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError)


@dataclass
class TrainingState:
    """All that a run carries from one step to the next. `step` counts finished steps."""

    model: nn.Module
    optimizers: Sequence[torch.optim.Optimizer]
    step: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)


def save_whole(saved: object, path: Path) -> None:
    """Write a file of tensors in one atomic rename: it is whole or it is not there."""
    part = path.with_suffix(".part")
    torch.save(saved, part)
    part.replace(path)


def save_checkpoint(state: TrainingState, recipe: object, path: Path) -> None:
    """Write everything that a resumed run needs. recipe: a dataclass."""
    saved = {
        "recipe": dataclasses.asdict(recipe),
        "model": state.model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in state.optimizers],
        "step": state.step,
        "seconds": state.seconds,
        "history": state.history,
    }
    save_whole(saved, path)


def load_checkpoint(
    state: TrainingState,
    recipe: object,
    path: Path,
    device: torch.device | str,
    may_differ: Sequence[str] = (),
) -> dict[str, object]:
    """Restore `state` in place; returns the recipe that it was saved with.

    may_differ: fields of the recipe that need not be the same. Raises ValueError for another
    recipe or a damaged file.
    """
    try:
        saved = torch.load(path, map_location=device, weights_only=True)
        kept = saved["recipe"]
    except UNREADABLE:
        raise ValueError(f"{path} cannot be read; delete it to start from the beginning") from None
    ours = dataclasses.asdict(recipe)
    names = [name for name in {**kept, **ours} if kept.get(name) != ours.get(name)]
    other = [name for name in names if name not in may_differ]
    if other:
        there = ", ".join(f"{name} {kept.get(name)} (now {ours.get(name)})" for name in other)
        raise ValueError(f"{path} was made by another recipe: {there}; use another --out")
    state.model.load_state_dict(saved["model"])
    for optimizer, values in zip(state.optimizers, saved["optimizers"], strict=True):
        optimizer.load_state_dict(values)
    for name in ("step", "seconds", "history"):
        setattr(state, name, saved[name])
    return kept
