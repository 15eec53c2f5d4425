"""A model as arrays, its cache, and the call of the compiled pass.

You can skip this module: nothing in a lesson depends on how it works.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import cache

import numba
import numpy as np
import torch
from torch import nn

from medusa_lib.engine.cache import ArrayCache
from medusa_lib.engine.forward import (
    STRIP,
    Desk,
    Drawing,
    Fed,
    Hydra,
    Limits,
    Own,
    Rows,
    Weights,
    chain_by,
    checksums,
    drawn_by,
    forward,
    grow,
    hydra_chain,
    hydra_drawn,
    hydra_step,
    hydra_tree,
    in_strips,
    linear,
    one_thread,
    sums_by,
    work_at,
)
from medusa_lib.engine.narrow import as_array, narrow_type
from medusa_lib.steps.team import LOOPS

NO_MASK = np.zeros((0, 0), np.float32)
BOARD = np.zeros(1, np.int64)
WORD = 4  # bytes
ONE_AT_A_TIME = threading.Lock()  # some of numba's threads serve only one caller at a time


class PlainLoops:
    """A model's quick twin: the same answers to about 1e-5, from loops over arrays."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.context = len(weights.places) or weights.turns.shape[1]
        self.vocab_size = len(weights.tokens)
        self.numbers = sum(a.size for a in weights if isinstance(a, np.ndarray))
        self.layers, self.kv_heads = weights.qkv.shape[:2]
        self.size = weights.mix.shape[3] // weights.shared
        self.code: int | None = None  # where the work of a thread lies, once it is compiled

    def new_cache(self) -> ArrayCache:
        """An empty cache."""
        return ArrayCache(self.layers, self.kv_heads, self.size, STRIP)

    def __call__(
        self,
        cache: ArrayCache,
        ids: Sequence[int],
        mask: torch.Tensor | None,
        positions: torch.Tensor | None,
        rows: int,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One pass over n ids after those cached → (logits `[rows, V]`, hidden `[rows, width]`).

        mask: `[n, n]` or, with the cached ones, `[1, 1, n, seen + n]`, added to attention's
        scores; None: each token attends to all before it. positions: `[n]`; None: one after the
        other. Raises ValueError for ids that the model does not have.
        """
        threads, began = LOOPS.begin(len(ids) * self.numbers)
        fed = self.fed(cache, ids, mask, positions, threads)
        if self.code is None:
            self.code = self.compiled(cache, fed)
        # Where nothing is unseen, there is a row less than asked for.
        hidden = np.empty((min(rows, len(ids)), self.weights.tokens.shape[1]), np.float32)
        kept = cache.keys, cache.values
        logits = share_work(forward, threads, self.code, self.weights, kept, fed, hidden)
        LOOPS.end((id(self), len(ids)), began)
        cache.length += len(ids)
        return torch.from_numpy(logits[:, : self.vocab_size]), torch.from_numpy(hidden)

    def compiled(self, cache: ArrayCache, fed: Fed) -> int:
        """Where the code of one thread's work lies; Fed is of the same types in every pass."""
        row = np.zeros((1, 1), np.float32)
        rooms, desk = Own(*[row[None]] * len(Own._fields)), Desk(row, row[None], row, row, BOARD)
        return work_at(one_thread, self.weights, (cache.keys, cache.values), fed, rooms, desk)

    def fed(
        self,
        cache: ArrayCache,
        ids: Sequence[int],
        mask: torch.Tensor | None,
        positions: torch.Tensor | None,
        threads: int,
    ) -> Fed:
        """What a pass is fed, in arrays of the right sizes: the loops look at none of that."""
        known, count, seen = self.vocab_size, len(ids), cache.length
        places = (
            np.arange(seen, seen + count)
            if positions is None
            else positions.numpy().astype(np.int64)
        )
        ends = (seen, seen + count - 1) if positions is None else (places.min(), places.max())
        if not 0 <= min(ids) <= max(ids) < known:
            raise ValueError(f"ids must be in [0, {known - 1}], got {min(ids)} to {max(ids)}")
        cache.make_room(count)
        if len(places) != count or not 0 <= ends[0] <= ends[1] < self.context:
            raise ValueError(f"positions must be {count} in [0, {self.context - 1}], got {places}")
        added = NO_MASK
        if mask is not None:
            added = added_to(mask, seen, count)
        return Fed(np.array(ids, np.int64), places, added, seen, threads)

    def read(self, cache: ArrayCache, ids: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """One pass over a text, each token of which attends to those before it."""
        return self(cache, ids, None, None, len(ids))


def added_to(mask: torch.Tensor, seen: int, count: int) -> np.ndarray:
    """A mask as an array `[count, count]` or `[count, seen + count]`: the loops look at no size.

    Raises RuntimeError for a mask of another size.
    """
    if mask.ndim == 2:
        return mask.float().expand(count, count).contiguous().numpy()
    return mask.float().expand(1, 1, count, seen + count)[0, 0].contiguous().numpy()


def share_work(call: Callable[..., np.ndarray], share: int, *given: object) -> np.ndarray:
    """Call compiled code that is shared by some threads, which nobody else does meanwhile."""
    threads = torch.get_num_threads()
    most = numba.config.NUMBA_NUM_THREADS
    wanted = min(share, most)
    with ONE_AT_A_TIME:
        # Asking takes as long as a small product, and all are there unless somebody said so.
        before = most if wanted == most else numba.get_num_threads()
        try:
            if before != wanted:
                numba.set_num_threads(wanted)
            return call(*given)
        finally:
            if before != wanted:
                numba.set_num_threads(before)
            if torch.get_num_threads() != threads:  # numba's first call changes it
                torch.set_num_threads(threads)


def sums_of(tensors: Sequence[torch.Tensor]) -> list[int]:
    """A checksum of each of some plain tensors on the processor: whatever was written there."""
    held = [in_words(tensor) for tensor in tensors]  # until all are read
    starts = [tensor.data_ptr() for tensor in held]  # 0 for one whose memory was given back
    places = [(start, start and t.nbytes // WORD) for start, t in zip(starts, held, strict=True)]
    threads = LOOPS.threads()
    given = code_of_sums(), np.array(places, np.int64).reshape(-1, 2), threads
    # Added here, since how many threads there are changes nothing then.
    return share_work(checksums, threads, *given).sum(0, np.uint32).tolist()


@cache
def code_of_sums() -> int:
    """Where the code of a thread's part of checksums lies, once it is compiled."""
    return work_at(sums_by, np.zeros((1, 2), np.int64), np.zeros((1, 1), np.uint32))


def in_words(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor whose numbers lie one after the other and fill whole words: mostly itself."""
    if tensor.is_contiguous() and tensor.nbytes % WORD == 0:
        return tensor
    whole = tensor.detach().contiguous()
    return nn.functional.pad(whole.flatten().view(torch.uint8), (0, -whole.nbytes % WORD))


class QuickLinear(nn.Module):
    """A linear layer by the engine's product. weight: `[out, in]`."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        super().__init__()
        self.outputs, self.inside = weight.shape
        self.w = in_strips(as_array(weight, narrow_type([weight])))
        self.b = np.zeros(0, np.float32) if bias is None else as_array(bias)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Numbers `[..., in]` → `[..., out]`; a call of its own, since torch's looks for hooks.

        Raises ValueError for numbers of another width.
        """
        rows = check_width(x.reshape(-1, x.shape[-1]), self.inside)
        out = linear(rows, self.w, self.b)
        return torch.from_numpy(out[:, : self.outputs]).reshape(*x.shape[:-1], -1)


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
        layers = (up.weight[:, :width], down.weight, heads.out.weight)
        first, second, out = (in_strips(as_array(w, narrow_type([w]))) for w in layers)
        arrays = as_array(told), first, second, as_array(down.bias), out
        self.arrays = Hydra(*arrays, heads.vocab.numpy().copy())
        self.width = width
        self.codes: dict[Callable, int] = {}  # where the work of a thread lies, once compiled
        self.check_sizes([tuple(each.shape) for each in (*layers, down.bias)])

    def check_sizes(self, shapes: list[tuple[int, ...]]) -> None:
        """Raises ValueError where an array would be read beyond its end."""
        inner, words = self.arrays.told.shape[1], self.arrays.vocab
        wanted = [(inner, self.width), (self.width, inner), (len(words), self.width), (self.width,)]
        if shapes != wanted or not self.knows(words.tolist()):
            raise ValueError(f"heads must fit width {self.width}, got {shapes}")

    def __call__(self, before: torch.Tensor, tokens: torch.Tensor | int) -> torch.Tensor:
        """What the head before said from `[n, width]`, and ids → what this head says from."""
        rows, known = check_width(before, self.width), np.atleast_1d(np.asarray(tokens, np.int64))
        if len(known) != len(rows) or not self.knows(known.tolist()):
            raise ValueError(self.wanted(len(rows), known))
        return torch.from_numpy(hydra_step(rows, known, self.arrays))

    def chain(self, hidden: torch.Tensor, token: int, count: int) -> list[int]:
        """The best guess of each of `count` heads after the other; hidden `[width]`."""
        row, threads = self.one_row(hidden, token), LOOPS.threads()
        drafted = np.empty((threads, count), np.int64)
        given = self.code(chain_by, (token,), drafted), token, self.arrays, row, drafted
        return share_work(hydra_chain, threads, *given).tolist()

    def drawn(
        self,
        hidden: torch.Tensor,
        token: int,
        chances: torch.Tensor,
        temperature: float,
        top_p: float,
    ) -> tuple[list[int], torch.Tensor]:
        """A chain drawn at a temperature and nucleus, with chances `[heads]` in [0, 1).

        → (tokens, the distributions `[heads, V]` they were drawn from).
        """
        row, threads = self.one_row(hidden, token), LOOPS.threads()
        probs = np.zeros((len(chances), len(self.arrays.told)))
        drafted = np.empty((threads, len(chances)), np.int64)
        drawing = Drawing(chances.numpy(), float(temperature), float(top_p), probs, drafted)
        given = self.code(drawn_by, (token,), drawing), token, self.arrays, row, drawing
        return share_work(hydra_drawn, threads, *given).tolist(), torch.from_numpy(probs)

    def tree(
        self, hidden: torch.Tensor, token: int, counts: tuple[int, int, int], *least: float
    ) -> list[list[int]]:
        """A tree grown within limits, see Limits → (token, parent's place, rank) of each node."""
        row, threads = self.one_row(hidden, token), LOOPS.threads()
        # A whole number where a fraction is meant would have all compiled once more.
        first, limits = np.array([token, -1, 0, 0, 0]), Limits(*counts, *map(float, least))
        trees = np.empty((threads, limits.most + 1, 5), np.int64)
        code = self.code(grow, (first, limits), trees)
        given = code, first, limits, self.arrays, row, trees
        return share_work(hydra_tree, threads, *given)[:, :3].tolist()

    def code(self, what: Callable, given: tuple, room: object) -> int:
        """Where the compiled code of one thread's work lies.

        What is given is of the same types in every call, or the code would be another.
        """
        if what not in self.codes:
            row = np.zeros((1, 1), np.float32)
            self.codes[what] = work_at(what, *given, self.arrays, Rows(row, row, row, BOARD), room)
        return self.codes[what]

    def one_row(self, hidden: torch.Tensor, token: int) -> np.ndarray:
        """Hidden states `[width]` as a row. Raises ValueError for others, or another token."""
        row = np.ascontiguousarray(hidden.detach().float().numpy())
        if row.shape != (self.width,):
            raise ValueError(f"hidden states must be [{self.width}], got {list(row.shape)}")
        if not 0 <= token < len(self.arrays.told):
            raise ValueError(self.wanted(1, token))
        return row[None]

    def knows(self, tokens: list[int]) -> bool:
        """True for ids in the table: the loops do not look."""
        return all(0 <= token < len(self.arrays.told) for token in tokens)

    def wanted(self, count: int, got: object) -> str:
        """What is wrong with some tokens."""
        return f"tokens must be {count} in [0, {len(self.arrays.told) - 1}], got {got}"
