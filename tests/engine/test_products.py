"""Every way to multiply gives the same product, and a wrong one is never chosen."""

from __future__ import annotations

import warnings

import pytest
import torch
from transformers.activations import NewGELUActivation

from medusa_lib.beyond.drafters import draft_lm
from medusa_lib.beyond.heads_files import shipped_heads
from medusa_lib.engine.products import (
    GELU_MAKERS,
    MAKERS,
    MOST_ROWS,
    fastest,
    fits_half,
    in_blocks,
    packed_by_mkl,
    packed_by_onednn,
    packed_in_half,
    products,
    right_ones,
)


def test_every_product_is_the_same_product() -> None:
    torch.manual_seed(0)
    stored_in_half = torch.randn(24, 16).half().float()
    for weight in (torch.randn(24, 16), torch.randn(16, 24).t(), stored_in_half):
        for bias in (torch.randn(24), None):
            candidates = products(weight, bias)
            assert set(candidates) >= {0, 1}
            for count in (1, 2, 7, MOST_ROWS):
                rows = torch.randn(count, 16)
                expected = rows @ weight.T + (0 if bias is None else bias)
                for product in candidates.values():
                    assert torch.allclose(product(rows), expected, atol=1e-5)


def test_every_product_with_the_activation_is_the_two_in_turn() -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(64, 16), torch.randn(64)
    candidates = products(weight, bias, GELU_MAKERS)
    assert candidates.keys() == products(weight, bias).keys()
    for count in (1, 7, MOST_ROWS):
        rows = torch.randn(count, 16)
        expected = NewGELUActivation()(rows @ weight.T + bias)
        for product in candidates.values():
            assert torch.allclose(product(rows), expected, atol=1e-5)


def test_a_product_in_blocks_is_for_matrices_that_can_be_cut() -> None:
    torch.manual_seed(0)
    weight, bias, rows = torch.randn(96, 16), torch.randn(96), torch.randn(5, 16)
    assert in_blocks(64)(weight, bias) is None
    for more in (bias, None):
        product = in_blocks(32)(weight, more)
        for count in (1, 5):
            expected = torch.nn.functional.linear(rows[:count], weight, more)
            assert torch.allclose(product(rows[:count]), expected, atol=1e-5)
            assert torch.equal(product(rows[:count]), product(rows[:count])), "nothing is kept"


def test_a_wrong_product_is_never_chosen() -> None:
    """However fast: the check against the usual product comes first."""

    def plain(rows):
        for _ in range(50):
            rows.sum()
        return rows * 2

    def wrong(rows):
        return rows

    def nan(rows):
        return rows * torch.nan

    def wrong_for_two(rows):
        return rows if len(rows) == 2 else rows * 2

    every = dict(enumerate([plain, wrong, nan, wrong_for_two]))
    assert set(right_ones(every, torch.ones(3, 4))) == {0}
    assert fastest(every, torch.ones(3, 4)) != 0, "the slow one would not be chosen"


needs_fbgemm = pytest.mark.skipif(
    "fbgemm" not in torch.backends.quantized.supported_engines, reason="this PyTorch has no FBGEMM"
)


@needs_fbgemm
def test_weights_in_half_precision_are_as_exact_as_in_single() -> None:
    """Also the smallest numbers and the largest that half precision has."""
    torch.manual_seed(0)
    weight, bias = torch.randn(48, 32).half().float(), torch.randn(48)
    weight[0], weight[1, ::2], weight[2] = 6e-8, 65504.0, -0.0
    weight = weight.half().float()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        product = packed_in_half(weight, bias)
        for count in (1, 2, 9, 40):
            rows = torch.randn(count, 32)
            exact = (rows.double() @ weight.T.double() + bias.double()).float()
            usual = torch.nn.functional.linear(rows, weight, bias)
            bound = 3 * (usual - exact).abs().max() + 1e-6
            assert (product(rows) - exact).abs().max() <= bound


@pytest.mark.parametrize("number", [1 / 3, 65505.0, 1e-9, float("nan"), float("inf")])
def test_one_number_that_half_precision_lacks_is_enough(number) -> None:
    weight = torch.ones(16, 16)
    assert fits_half(weight)
    weight[3, 4] = number
    assert not fits_half(weight)
    assert packed_in_half(weight, None) is None


def test_half_precision_is_left_out_where_it_is_not_at_hand(monkeypatch) -> None:
    def missing(*_: object) -> None:
        raise RuntimeError("Didn't find engine for operation quantized::linear_prepack_fp16")

    monkeypatch.setattr("torch.jit.script", missing)
    assert packed_in_half(torch.ones(16, 16), None) is None


@needs_fbgemm
def test_the_shipped_models_may_use_half_precision(lm) -> None:
    """Their weights are stored so; a product that reads half the bytes must not get lost."""
    for each in (lm.model, draft_lm(lm).model, shipped_heads(lm)[0]):
        matrices = [p.detach() for p in each.parameters() if p.ndim == 2]
        assert matrices
        for matrix in matrices:
            rows = torch.randn(4, matrix.shape[1])
            assert MAKERS.index(packed_in_half) in right_ones(products(matrix, None), rows)


def test_without_the_libraries_the_plain_products_are_left(monkeypatch) -> None:
    monkeypatch.setattr("torch.backends.mkldnn.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mkl.is_available", lambda: False)
    weight = torch.randn(8, 4)
    assert packed_by_onednn(weight, None) is packed_by_mkl(weight, None) is None
    assert set(products(weight, None)) == {0, 1}


def test_the_usual_product_is_always_among_the_right_ones() -> None:
    every = dict(enumerate([lambda rows: rows * torch.nan, lambda rows: rows]))
    assert set(right_ones(every, torch.ones(3, 4))) == {0}
