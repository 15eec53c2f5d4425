"""Weights are stored in as few bits as hold each number exactly, and in no fewer."""

from __future__ import annotations

import pytest
import torch

from medusa_lib.beyond.heads_files import load_heads
from medusa_lib.engine.narrow import as_array, fits_half, narrow_type
from medusa_lib.engine.twin import quick


def test_the_narrowest_that_holds_all() -> None:
    wide = torch.randn(4, 5)
    assert narrow_type([wide.half().float()]) == torch.float16
    assert narrow_type([1e30 * wide.bfloat16().float()]) == torch.float32
    assert narrow_type([(1e30 * wide).bfloat16().float()]) == torch.bfloat16
    assert narrow_type([wide.half().float(), wide]) == torch.float32


@pytest.mark.parametrize("number", [1 / 3, 65505.0, 1e-9, float("nan"), float("inf")])
def test_one_number_that_half_precision_lacks_is_enough(number) -> None:
    weight = torch.ones(3, 3)
    assert fits_half(weight)
    weight[1, 2] = number
    assert not fits_half(weight)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_an_array_is_a_copy_of_its_own(dtype) -> None:
    weight = torch.ones(2, 3)
    stored = as_array(weight, dtype)
    before = stored.copy()
    weight.zero_()
    assert stored.flags.c_contiguous
    assert (stored == before).all()


def test_the_shipped_models_are_read_in_16_bits(lm) -> None:
    assert quick(lm).weights.qkv.dtype == quick(lm).weights.output.dtype == "uint16"
    assert load_heads(lm)[0].fast.out.w.dtype == "uint16"
