"""Ways to multiply a weight matrix with a few rows, and the choice of the fastest.

You can skip this module: nothing in a lesson depends on how it works. On a CPU, PyTorch's usual
product of a weight matrix with a few rows can take three times as long as with one row. Other
ways to compute the same product do not jump so. Which one is fastest differs between processors,
so it is timed here, once per shape of matrix, and checked against the usual one.
"""

from __future__ import annotations

import itertools
import math
import time
import warnings
from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional as F

Product = Callable[[torch.Tensor], torch.Tensor]  # rows [n, in] → [n, out]
Maker = Callable[[torch.Tensor, torch.Tensor | None], Product | None]  # weight, bias → product
Choices = tuple[int, int, int]  # the makers for one row, for a few and for many
Chooser = Callable[..., Choices]  # see chooser
FEW_ROWS = 8  # how many rows "a few" is timed with
MOST_ROWS = 32  # more than these are many
MANY_ROWS = 64  # how many rows "many" is timed with
FAR_NUMBERS = 2**21  # weights of 4 bytes that do not fit a processor's nearest caches
MOST_COPIES = 32  # enough for any layer whose speed matters
TRIES = 20  # turns of each product when they are timed; the quickest call counts
MANY_TRIES = 5  # with many rows, when one takes longer and varies less
TURN = 1e-4  # seconds that a turn lasts, at least
TOLERANCE = 1e-4  # largest difference from the usual product, relative to its largest number
SMALL = 0.01  # if that number is smaller, this one counts: an activation may leave next to nothing


def usual(weight: torch.Tensor, bias: torch.Tensor | None) -> Product:
    """PyTorch's own product."""
    return lambda rows: F.linear(rows, weight, bias)


def by_columns(weight: torch.Tensor, bias: torch.Tensor | None) -> Product:
    """The same with the weights laid out the other way: for GPT-2's Conv1D as they are."""
    columns = weight.t().contiguous()
    if bias is None:
        return lambda rows: rows @ columns
    return lambda rows: torch.addmm(bias, rows, columns)


def packed_by_onednn(
    weight: torch.Tensor, bias: torch.Tensor | None, after: tuple = ("none", [], "")
) -> Product | None:
    """oneDNN's product on weights laid out beforehand, where it is at hand.

    after: what it does with each number of the product, in oneDNN's words.
    """
    names, ops = ("_reorder_linear_weight", "_linear_pointwise"), torch.ops.mkldnn
    at_hand = torch.backends.mkldnn.is_available() and all(hasattr(ops, name) for name in names)
    if weight.device.type != "cpu" or not at_hand:
        return None
    packed, fused = ops._reorder_linear_weight(weight.contiguous(), FEW_ROWS), ops._linear_pointwise
    return lambda rows: fused(rows, packed, bias, *after)


def packed_by_mkl(weight: torch.Tensor, bias: torch.Tensor | None) -> Product | None:
    """MKL's product on weights laid out beforehand, where it is at hand.

    It is given the number of rows as the one that the layout is for. The layout is the same for
    any number; `agrees` makes sure of that.
    """
    names, ops = ("_mkl_reorder_linear_weight", "_mkl_linear"), torch.ops.mkl
    at_hand = torch.backends.mkl.is_available() and all(hasattr(ops, name) for name in names)
    if weight.device.type != "cpu" or not at_hand:
        return None
    weight = weight.contiguous()
    packed = ops._mkl_reorder_linear_weight(weight, FEW_ROWS)
    return lambda rows: ops._mkl_linear(rows, packed, weight, bias, rows.shape[0])


def in_blocks(width: int) -> Maker:
    """A way to make the product of blocks of `width` columns each, all of them in one batch.

    None for a matrix that cannot be cut so. A batch of small products can be faster than one
    large product, by more than it takes to lay their results side by side.
    """

    def maker(weight: torch.Tensor, bias: torch.Tensor | None) -> Product | None:
        size = weight.shape[0]
        if size % width:
            return None
        blocks = weight.reshape(-1, width, weight.shape[1]).transpose(1, 2).contiguous()

        def product(rows: torch.Tensor) -> torch.Tensor:
            each = rows.expand(len(blocks), -1, -1)  # [blocks, n, in]
            out = each.bmm(blocks).transpose(0, 1).reshape(-1, size)  # [n, out]
            return out if bias is None else out.add_(bias)

        return product

    return maker


def fits_half(weight: torch.Tensor) -> bool:
    """True if half precision holds every number of a weight exactly, as if it was stored so."""
    if weight.dtype != torch.float32:
        return False
    return bool(weight.isfinite().all()) and torch.equal(weight.half().float(), weight)


class InHalf(nn.Module):
    """FBGEMM's product on weights packed in half precision."""

    def __init__(self, packed: torch.ScriptObject) -> None:
        super().__init__()
        self.packed = packed

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows `[n, in]` → `[n, out]`."""
        return torch.ops.quantized.linear_dynamic_fp16(rows, self.packed)


def packed_in_half(weight: torch.Tensor, bias: torch.Tensor | None) -> Product | None:
    """FBGEMM's product on weights in half precision, half the bytes to read.

    It widens them as it goes, so it is as exact as the others: None unless all of them fit. As a
    script, since its call from Python takes longer than the product of a small matrix.
    """
    if weight.device.type != "cpu" or not fits_half(weight):
        return None
    try:
        packed = torch.ops.quantized.linear_prepack_fp16(weight.contiguous(), bias)
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            product = torch.jit.script(InHalf(packed)).forward
    except (AttributeError, RuntimeError, OSError):  # not at hand, or not on this processor
        return None
    return lambda rows: product(rows)  # noqa: PLW0108 - a script's method cannot be copied


IN_BLOCKS = (in_blocks(32), in_blocks(128))
PACKED = (packed_by_onednn, packed_by_mkl, packed_in_half)
MAKERS = (usual, by_columns, *PACKED, *IN_BLOCKS)


def gelu(x: torch.Tensor) -> torch.Tensor:
    """GPT-2's activation, the same function in one step instead of eight."""
    return F.gelu(x, approximate="tanh")


def then_gelu(maker: Maker) -> Maker:
    """A way to make the product and GPT-2's activation after it, in one step where that exists."""
    if maker is packed_by_onednn:
        return lambda weight, bias: packed_by_onednn(weight, bias, ("gelu", [], "tanh"))

    def both(weight: torch.Tensor, bias: torch.Tensor | None) -> Product | None:
        product = maker(weight, bias)
        return None if product is None else lambda rows: gelu(product(rows))

    return both


GELU_MAKERS = tuple(then_gelu(maker) for maker in MAKERS)


def products(
    weight: torch.Tensor, bias: torch.Tensor | None, makers: Sequence[Maker] = MAKERS
) -> dict[int, Product]:
    """The ways to compute rows @ weight.T + bias that work here, by their place in `makers`.

    weight: `[out, in]`. The usual one is always there.
    """
    made = {i: maker(weight, bias) for i, maker in enumerate(makers)}
    return {i: product for i, product in made.items() if product is not None}


def agrees(product: Product, plain: Product, rows: torch.Tensor) -> bool:
    """True if a product is the usual one for all of `rows` and for any few of them."""
    wanted = plain(rows)
    bound = TOLERANCE * max(SMALL, float(wanted.abs().max()))
    counts = {*range(1, min(MOST_ROWS, len(rows)) + 1), len(rows)}
    return all(float((product(rows[:n]) - wanted[:n]).abs().max()) <= bound for n in counts)


def right_ones(candidates: dict[int, Product], rows: torch.Tensor) -> dict[int, Product]:
    """The usual product, which is the first, and those that agree with it."""
    return {i: made for i, made in candidates.items() if not i or agrees(made, candidates[0], rows)}


def in_turn(maker: Maker, weight: torch.Tensor, bias: torch.Tensor | None) -> Product:
    """A product that uses one copy of the weights after the other, too many for the near caches.

    So it is as fast as in a pass over a model, where the other layers come in between.
    """
    copies = min(MOST_COPIES, math.ceil(FAR_NUMBERS / weight.numel()))
    made = itertools.cycle([maker(weight.clone(), bias) for _ in range(copies)])

    def product(rows: torch.Tensor) -> torch.Tensor:
        return next(made)(rows)

    return product


def fastest(candidates: dict[int, Product], rows: torch.Tensor) -> int:
    """Which product is fastest for `rows`: the best of some timings, in which they take turns."""
    best = dict.fromkeys(candidates, float("inf"))
    for _ in range(TRIES if len(rows) <= MOST_ROWS else MANY_TRIES):
        for i, product in candidates.items():
            best[i] = min(best[i], quickest_call(product, rows))
    return min(best, key=best.get)


def quickest_call(product: Product, rows: torch.Tensor) -> float:
    """Seconds of the quickest of some calls in a row.

    In a row, so that in the end the weights come from the processor's far cache, as in a model
    that goes on writing, and not from memory, where the other products' turns have left them.
    """
    best, end = float("inf"), time.perf_counter() + TURN
    while True:
        began = time.perf_counter()
        product(rows)
        now = time.perf_counter()
        best = min(best, now - began)
        if now >= end:
            return best


def chooser() -> Chooser:
    """A function (weight, bias, makers) → the fastest makers for each number of rows.

    They are timed once for each kind of weight.
    """
    known: dict[tuple, Choices] = {}

    def choose(
        weight: torch.Tensor, bias: torch.Tensor | None, makers: Sequence[Maker] = MAKERS
    ) -> Choices:
        kind = (weight.is_contiguous(), fits_half(weight), bias is None)
        key = (*weight.shape, *kind, makers is MAKERS)
        if key not in known:
            size = MANY_ROWS * weight.shape[1]
            rows = torch.linspace(-1, 1, size, dtype=weight.dtype).view(MANY_ROWS, -1)
            right = right_ones(products(weight, bias, makers), rows)
            timed = {i: in_turn(makers[i], weight, bias) for i in right}
            known[key] = tuple(fastest(timed, rows[:n]) for n in (1, FEW_ROWS, MANY_ROWS))
        return known[key]

    return choose
