"""A model as arrays, its cache, and the call of the compiled pass.

You can skip this module: nothing in a lesson depends on how it works.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numba
import numpy as np
import torch
from torch import nn

from medusa_lib.engine.cache import ArrayCache
from medusa_lib.engine.forward import Fed, Hydra, Weights, forward, hydra_chain, hydra_step, linear
from medusa_lib.engine.narrow import as_array, narrow_type

NO_MASK = np.zeros((0, 0), np.float32)
ONE_AT_A_TIME = threading.Lock()  # some of numba's threads serve only one caller at a time


class PlainLoops:
    """A model's quick twin: the same answers to about 1e-5, from loops over arrays."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.context = len(weights.places) or weights.heads.turns.shape[1]
        self.vocab_size = len(weights.tokens)
        self.layers, self.size = len(weights.qkv), weights.mix.shape[2] // weights.heads.count
        self.kv_heads = (weights.qkv.shape[1] // self.size - weights.heads.count) // 2

    def new_cache(self) -> ArrayCache:
        """An empty cache."""
        return ArrayCache(self.layers, self.kv_heads, self.size)

    def __call__(
        self,
        cache: ArrayCache,
        ids: Sequence[int],
        mask: torch.Tensor | None,
        positions: torch.Tensor,
        rows: int,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One pass over n ids after those cached → (logits `[rows, V]`, hidden `[rows, width]`).

        mask: `[1, 1, n, seen + n]`, added to attention's scores; None: each token attends to all
        before it. positions: `[n]`. Raises ValueError for ids that the model does not have.
        """
        fed = self.fed(cache, ids, mask, positions)
        # Where nothing is unseen, there is a row less than asked for.
        hidden = np.empty((min(rows, len(ids)), self.weights.tokens.shape[1]), np.float32)
        logits = share_work(forward, self.weights, (cache.keys, cache.values), fed, hidden)
        cache.length += len(ids)
        return torch.from_numpy(logits), torch.from_numpy(hidden)

    def fed(
        self,
        cache: ArrayCache,
        ids: Sequence[int],
        mask: torch.Tensor | None,
        positions: torch.Tensor,
    ) -> Fed:
        """What a pass is fed, in arrays of the right sizes: the loops look at none of that."""
        known, count, places = self.vocab_size, len(ids), positions.numpy()
        if not 0 <= min(ids) <= max(ids) < known:
            raise ValueError(f"ids must be in [0, {known - 1}], got {min(ids)} to {max(ids)}")
        cache.make_room(count)
        if len(places) != count or not 0 <= places.min() <= places.max() < self.context:
            raise ValueError(f"positions must be {count} in [0, {self.context - 1}], got {places}")
        added = NO_MASK
        if mask is not None:
            whole = mask.float().expand(1, 1, count, cache.length + count)
            added = whole[0, 0].contiguous().numpy()
        return Fed(np.array(ids), places, added, cache.length, torch.get_num_threads())

    def read(self, cache: ArrayCache, ids: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """One pass over a text, each token of which attends to those before it."""
        positions = torch.arange(cache.length, cache.length + len(ids))
        return self(cache, ids, None, positions, len(ids))


def share_work(call: Callable[..., np.ndarray], *given: object) -> np.ndarray:
    """Call compiled code that uses torch's number of threads, which nobody else does meanwhile."""
    threads = torch.get_num_threads()
    with ONE_AT_A_TIME:
        before = numba.get_num_threads()
        try:
            numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
            return call(*given)
        finally:
            numba.set_num_threads(before)
            if torch.get_num_threads() != threads:  # numba's first call changes it
                torch.set_num_threads(threads)


class QuickLinear(nn.Module):
    """A linear layer by the engine's product. weight: `[out, in]`."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        super().__init__()
        self.w = as_array(weight, narrow_type([weight]))
        self.b = np.zeros(0, np.float32) if bias is None else as_array(bias)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Numbers `[..., in]` → `[..., out]`; a call of its own, since torch's looks for hooks.

        Raises ValueError for numbers of another width.
        """
        rows = check_width(x.reshape(-1, x.shape[-1]), self.w.shape[1])
        out = share_work(linear, rows, self.w, self.b, torch.get_num_threads())
        return torch.from_numpy(out).view(*x.shape[:-1], -1)


def check_width(rows: torch.Tensor, width: int) -> np.ndarray:
    """Rows `[n, width]` in single precision as an array. Raises ValueError for another width."""
    if rows.ndim != 2 or rows.shape[1] != width:
        raise ValueError(f"hidden states must be [n, {width}], got {list(rows.shape)}")
    return rows.float().contiguous().numpy()


class QuickHydra:
    """Hydra's block for a few rows: what a token adds is looked up, not multiplied each time.

    up `[inner, 2 width]` is cut in two: the half that a token's numbers meet becomes a table.
    Raises ValueError for heads whose sizes do not fit each other.
    """

    def __init__(self, heads: nn.Module) -> None:
        width, up, down = heads.shape.width, heads.up, heads.down
        told = heads.embedding @ up.weight[:, width:].t() + up.bias  # [V, inner]
        narrow = (up.weight[:, :width], down.weight, heads.out.weight)
        first, second, out = (as_array(w, narrow_type([w])) for w in narrow)
        arrays = as_array(told), first, second, as_array(down.bias), out
        self.arrays = Hydra(*arrays, heads.vocab.numpy().copy())
        self.width = width
        self.check_sizes()

    def check_sizes(self) -> None:
        """Raises ValueError where an array would be read beyond its end."""
        h, inner = self.arrays, self.arrays.told.shape[1]
        shapes = [each.shape for each in (h.up, h.down, h.bias, h.out)]
        wanted = [(inner, self.width), (self.width, inner), (self.width,)]
        if shapes != [*wanted, (len(h.vocab), self.width)] or not self.knows(h.vocab.tolist()):
            raise ValueError(f"heads must fit width {self.width}, got {shapes}")

    def __call__(self, before: torch.Tensor, tokens: torch.Tensor | int) -> torch.Tensor:
        """What the head before said from `[n, width]`, and ids → what this head says from."""
        rows, known = check_width(before, self.width), np.atleast_1d(np.asarray(tokens, np.int64))
        if len(known) != len(rows) or not self.knows(known.tolist()):
            raise ValueError(self.wanted(len(rows), known))
        out = share_work(hydra_step, rows, known, self.arrays, torch.get_num_threads())
        return torch.from_numpy(out)

    def chain(self, hidden: torch.Tensor, token: int, count: int) -> list[int]:
        """The best guess of each of `count` heads after the other; hidden `[1, width]`."""
        rows = check_width(hidden, self.width)
        if len(rows) != 1 or not self.knows([token]):
            raise ValueError(self.wanted(1, token))
        threads = torch.get_num_threads()
        return share_work(hydra_chain, rows, token, self.arrays, count, threads).tolist()

    def knows(self, tokens: list[int]) -> bool:
        """True for ids in the table: the loops do not look."""
        return all(0 <= token < len(self.arrays.told) for token in tokens)

    def wanted(self, count: int, got: object) -> str:
        """What is wrong with some tokens."""
        return f"tokens must be {count} in [0, {len(self.arrays.told) - 1}], got {got}"
