"""A model as arrays, its cache, and the call of the compiled pass.

You can skip this module: nothing in a lesson depends on how it works.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

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
        self.layers, self.size = len(weights.qkv), weights.mix.shape[2] // weights.heads.count
        self.kv_heads = (weights.qkv.shape[1] // self.size - weights.heads.count) // 2

    def new_cache(self) -> ArrayCache:
        """An empty cache."""
        return ArrayCache(self.layers, self.kv_heads, self.size, self.context)

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
        threads = torch.get_num_threads()
        fed = self.fed(cache, ids, mask, positions, threads)
        with share_work(threads):
            hidden, logits = forward(self.weights, (cache.keys, cache.values), fed, rows)
        cache.length += len(ids)
        return torch.from_numpy(logits), torch.from_numpy(hidden)

    def fed(
        self,
        cache: ArrayCache,
        ids: Sequence[int],
        mask: torch.Tensor | None,
        positions: torch.Tensor,
        threads: int,
    ) -> Fed:
        """What a pass is fed, in arrays of the right sizes: the loops look at none of that."""
        known, count, places = len(self.weights.tokens), len(ids), positions.numpy()
        if not 0 <= min(ids) <= max(ids) < known:
            raise ValueError(f"ids must be in [0, {known - 1}], got {min(ids)} to {max(ids)}")
        cache.make_room(count)
        if len(places) != count or not 0 <= places.min() <= places.max() < self.context:
            raise ValueError(f"positions must be {count} in [0, {self.context - 1}], got {places}")
        added = NO_MASK
        if mask is not None:
            whole = mask.float().expand(1, 1, count, cache.length + count)
            added = whole[0, 0].contiguous().numpy()
        return Fed(np.array(ids), places, added, cache.length, threads)

    def read(self, cache: ArrayCache, ids: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """One pass over a text, each token of which attends to those before it."""
        positions = torch.arange(cache.length, cache.length + len(ids))
        return self(cache, ids, None, positions, len(ids))


class share_work:  # noqa: N801 - a context manager; as a generator it takes five times as long
    """Let numba use that many threads, and nobody else meanwhile."""

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def __enter__(self) -> None:
        ONE_AT_A_TIME.acquire()
        numba.set_num_threads(min(self.threads, numba.config.NUMBA_NUM_THREADS))

    def __exit__(self, *_: object) -> None:
        ONE_AT_A_TIME.release()
        if torch.get_num_threads() != self.threads:  # numba's first call changes it
            torch.set_num_threads(self.threads)


class QuickLinear(nn.Module):
    """A linear layer by the engine's product. weight: `[out, in]`."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        super().__init__()
        self.w = as_array(weight, narrow_type([weight]))
        self.b = np.zeros(0, np.float32) if bias is None else as_array(bias)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Numbers `[..., in]` → `[..., out]`; a call of its own, since torch's looks for hooks."""
        threads = torch.get_num_threads()
        with share_work(threads):
            out = linear(x.reshape(-1, x.shape[-1]).numpy(), self.w, self.b, threads)
        return torch.from_numpy(out).view(*x.shape[:-1], -1)


class QuickHydra:
    """Hydra's block for a few rows: what a token adds is looked up, not multiplied each time.

    up `[inner, 2 width]` is cut in two: the half that a token's numbers meet becomes a table.
    """

    def __init__(self, heads: nn.Module) -> None:
        width, up, down = heads.shape.width, heads.up, heads.down
        told = heads.embedding @ up.weight[:, width:].t() + up.bias  # [V, inner]
        narrow = (up.weight[:, :width], down.weight, heads.out.weight)
        first, second, out = (as_array(w, narrow_type([w])) for w in narrow)
        arrays = as_array(told), first, second, as_array(down.bias), out
        self.arrays = Hydra(*arrays, heads.vocab.numpy().copy())

    def __call__(self, before: torch.Tensor, tokens: torch.Tensor | int) -> torch.Tensor:
        """What the head before said from `[n, width]`, and ids → what this head says from."""
        known, threads = np.atleast_1d(np.asarray(tokens, np.int64)), torch.get_num_threads()
        self.check_known(known.tolist())
        with share_work(threads):
            out = hydra_step(before.contiguous().numpy(), known, self.arrays, threads)
        return torch.from_numpy(out)

    def chain(self, hidden: torch.Tensor, token: int, count: int) -> list[int]:
        """The best guess of each of `count` heads, each told the one before."""
        threads = torch.get_num_threads()
        self.check_known([token])
        with share_work(threads):
            return hydra_chain(
                hidden.contiguous().numpy(), token, self.arrays, count, threads
            ).tolist()

    def check_known(self, tokens: list[int]) -> None:
        """Raises ValueError for ids outside the table, at which the loops do not look."""
        size = len(self.arrays.told)
        if not 0 <= min(tokens) <= max(tokens) < size:
            raise ValueError(f"tokens must be in [0, {size - 1}], got {min(tokens)}, {max(tokens)}")
