"""The formulas of cost, by their limits and by counting."""

from __future__ import annotations

import pytest
import torch

from medusa_lib.measure.formulas import expected_speedup, expected_tokens
from medusa_lib.measure.roofline import gpt2_small, pass_operations, weight_bytes
from medusa_lib.measure.stopwatch import pass_seconds


def test_expected_tokens_at_its_limits_and_by_simulation() -> None:
    assert expected_tokens(0.0, 5) == 1
    assert expected_tokens(1.0, 5) == 6
    assert expected_tokens(0.7, 0) == pytest.approx(1)
    generator = torch.Generator().manual_seed(0)
    accepted = (torch.rand(40_000, 4, generator=generator) < 0.6).cumprod(1).sum(1)
    assert float(accepted.double().mean()) + 1 == pytest.approx(expected_tokens(0.6, 4), abs=0.03)


def test_expected_speedup_divides_by_what_a_loop_costs() -> None:
    assert expected_speedup(1.0, 4, draft_cost=1.0) == 1
    assert expected_speedup(0.5, 1, draft_cost=0.0) == 1.5
    assert expected_speedup(0.5, 2, 0.25, verify_cost=1.5) == pytest.approx(1.75 / 2)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_alpha_out_of_range_is_refused(refuses, alpha) -> None:
    with refuses("alpha", alpha):
        expected_tokens(alpha, 3)


@pytest.mark.parametrize("name", ["draft_cost", "verify_cost"])
def test_a_negative_cost_is_refused(refuses, name) -> None:
    with refuses(name, -1.0):
        expected_speedup(0.5, 3, **{"draft_cost": 0.1, name: -1.0})


def test_pass_seconds_asks_for_passes_that_fit(tiny_gpt2, refuses) -> None:
    assert set(pass_seconds(tiny_gpt2, (1, 3), context=4, repeats=1)) == {1, 3}
    with refuses("context", 39, tiny_gpt2):
        pass_seconds(tiny_gpt2, (1, 2), context=39)
    with refuses("repeats", 0, tiny_gpt2):
        pass_seconds(tiny_gpt2, (1,), context=2, repeats=0)
    with refuses("each of counts", 0, tiny_gpt2):
        pass_seconds(tiny_gpt2, (0,), context=2)


def test_bytes_and_operations_of_a_tied_and_an_untied_model(tiny_gpt2, tiny_llama) -> None:
    for lm in (tiny_gpt2, tiny_llama):
        sizes = [(p.numel(), p.ndim) for p in lm.model.parameters()]
        count = sum(numbers for numbers, _ in sizes)
        # Vectors are all 0 or 1 in a new model, which two bytes hold.
        assert weight_bytes(lm) == sum((4 if ndim == 2 else 2) * n for n, ndim in sizes)
        assert pass_operations(lm, 3) == 3 * pass_operations(lm, 1)
        assert 0 < pass_operations(lm, 1) < 2 * count


def test_gpt2_small_is_of_that_size(lm) -> None:
    big = gpt2_small(lm)
    assert 120e6 < sum(p.numel() for p in big.model.parameters()) < 130e6
    assert not big.model.training
    assert weight_bytes(big) == 2 * sum(p.numel() for p in big.model.parameters())
