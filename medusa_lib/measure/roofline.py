"""The least that a pass could take on a machine: reading the weights, doing the arithmetic."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from medusa_lib.base.checks import checked
from medusa_lib.base.words import Positive
from medusa_lib.engine.narrow import fits_half
from medusa_lib.steps.model import LM, make_lm


def weight_bytes(lm: LM) -> int:
    """Bytes of the weights that one pass must read: all of them, once, in as few as hold them.

    Two for each number of a weight that half precision holds exactly: so the engine stores it.
    """
    sizes = ((p.numel(), 2 if fits_half(p) else p.element_size()) for p in lm.model.parameters())
    return sum(numbers * size for numbers, size in sizes)


@checked
def pass_operations(lm: LM, count: Positive) -> int:
    """Floating-point operations of a pass over `count` tokens: two per weight of a product.

    Embedding tables are looked up, not multiplied, unless they are also the output layer.
    Attention over the cache is left out: at these lengths it is a small part.
    """
    head = lm.model.get_output_embeddings().weight
    tables = sum(
        module.weight.numel()
        for module in lm.model.modules()
        if type(module).__name__ == "Embedding" and module.weight is not head
    )
    return 2 * count * (sum(p.numel() for p in lm.model.parameters()) - tables)


@dataclass(frozen=True)
class Machine:
    """What a machine can do at best: bytes read from memory and operations done, per second."""

    bytes_per_second: float
    operations_per_second: float


@checked
def measure_machine(
    numbers: Positive = 2**26, width: Positive = 1024, repeats: Positive = 5
) -> Machine:
    """Roughly what this processor can do: the best of a few timings in float32.

    Reading: a matrix of that many numbers, too many for the processor's own cache, is added up
    or multiplied with a vector, so that each is read once; the faster of the two counts.
    Arithmetic: the product of two square matrices of that width.
    """
    matrix, vector = torch.rand(max(1, numbers // width), width), torch.rand(width)
    square = torch.rand(width, width)
    reading = min(_fastest(matrix.sum, repeats), _fastest(lambda: matrix @ vector, repeats))
    working = _fastest(partial(torch.matmul, square, square), repeats)
    return Machine(4 * matrix.numel() / reading, 2 * width**3 / working)


def _fastest(work: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def roofline(lm: LM, machine: Machine, count: int) -> tuple[float, float]:
    """Seconds that a pass over `count` tokens needs at least: (to read the weights, to compute).

    Both go on at once, so the longer of the two is the bound. Williams et al. 2009.
    """
    reading = weight_bytes(lm) / machine.bytes_per_second
    return reading, pass_operations(lm, count) / machine.operations_per_second


def gpt2_small(lm: LM) -> LM:
    """A model of GPT-2 small's size with random weights and `lm`'s tokenizer.

    What a pass costs does not depend on what the model has learned, but on the bytes of its
    weights: like the shipped models it has numbers that half precision holds.
    """
    model = GPT2LMHeadModel(GPT2Config()).half().float()
    return make_lm(lm.tokenizer, model, "gpt2-small, random weights")
