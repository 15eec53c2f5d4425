"""What a run carries from step to step, on disk and back, so that a resumed run is exact."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field
from pathlib import Path

import torch
from transformers import GPT2LMHeadModel

from medusa_lib.training.recipe import Recipe


@dataclass
class State:
    """All that a run carries from one step to the next. `step` counts finished steps."""

    model: GPT2LMHeadModel
    optimizers: list[torch.optim.Optimizer]
    step: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)


def save_checkpoint(state: State, recipe: Recipe, path: Path) -> None:
    """Write everything a resumed run needs, in one atomic rename."""
    part = path.with_suffix(".part")
    saved = {
        "recipe": recipe.as_dict(),
        "model": state.model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in state.optimizers],
        "step": state.step,
        "seconds": state.seconds,
        "history": state.history,
    }
    torch.save(saved, part)
    part.replace(path)


def load_checkpoint(state: State, recipe: Recipe, path: Path, device: str) -> None:
    """Restore `state` in place. Raises ValueError for another recipe or a damaged file."""
    try:
        saved = torch.load(path, map_location=device, weights_only=True)
        kept = saved["recipe"]
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError):
        raise ValueError(f"{path} cannot be read; delete it to start from the beginning") from None
    ours = recipe.as_dict()
    if kept != ours:
        names = [name for name in {**kept, **ours} if kept.get(name) != ours.get(name)]
        there = ", ".join(f"{name} {kept.get(name)} (now {ours.get(name)})" for name in names)
        raise ValueError(f"{path} was made by another recipe: {there}; use another --out")
    state.model.load_state_dict(saved["model"])
    for optimizer, values in zip(state.optimizers, saved["optimizers"], strict=True):
        optimizer.load_state_dict(values)
    state.step, state.seconds, state.history = saved["step"], saved["seconds"], saved["history"]
