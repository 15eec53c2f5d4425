"""Attention masks: which token may attend to which, in a pass over a branch or a tree."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps

import numpy as np
import torch

from medusa_lib.base.words import Parents
from medusa_lib.beyond.trees import tree_depths

FEW_ROWS = 64  # larger masks are not kept for the next pass


def attends(parents: Parents, before: int = 1) -> torch.Tensor:
    """Which token may attend to which: bool `[before + n, before + n]`, True for yes.

    The first `before` rows are tokens of the text, each of which attends to itself and those
    before it. A drafted token attends to all of them, to its ancestors and to itself.
    """
    may = np.tri(before + len(parents), dtype=bool)  # [before + n, before + n]
    for place, parent in enumerate(parents, start=before):
        above = before + parent  # its parent's row, or that of the text's end, if there is one
        may[place, :place] = may[above, :place] if above >= 0 else False
    return torch.from_numpy(may)


def remember_small(make: Callable[..., tuple]) -> Callable[..., tuple]:
    """Keep what `make(parents, before, …)` made of a few rows for the next pass."""

    def outside(*given: object, **named: object) -> tuple:
        with torch.inference_mode(False):  # what is kept may be used in training, too
            return make(*given, **named)

    remembered = lru_cache(maxsize=256)(outside)

    @wraps(make)
    def made(parents: Parents, before: int, *more: object, **named: object) -> tuple:
        small = before + len(parents) <= FEW_ROWS
        return (remembered if small else outside)(parents, before, *more, **named)

    return made


@remember_small
def mask_and_offsets(
    parents: Parents, before: int, dtype: torch.dtype, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """What is the same in every pass over a tree: (mask, offsets).

    mask `[before + n, before + n]` is added to the scores: 0 for a token that may be attended
    to, the lowest number for one that may not. offsets `[before + n]`: positions from the first.
    Both are shared by all passes of that shape: do not write into them.
    """
    may = attends(parents, before).to(device)  # [before + n, before + n]
    mask = torch.zeros(may.shape, dtype=dtype, device=device)
    mask.masked_fill_(~may, torch.finfo(dtype).min)
    offsets = [*range(before), *(before - 1 + depth for depth in tree_depths(parents))]
    return mask, torch.tensor(offsets, device=device)


def with_cache(mask: torch.Tensor, seen: int) -> torch.Tensor:
    """The mask of a pass `[count, count]` → `[1, 1, count, seen + count]`: all see the cache."""
    # [count, seen] and [count, count] → [1, 1, count, seen + count]
    return torch.cat([mask.new_zeros(len(mask), seen), mask], dim=1)[None, None]
