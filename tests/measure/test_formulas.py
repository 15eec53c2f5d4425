import pytest
import torch

from medusa_lib.measure.formulas import expected_speedup, expected_tokens


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
