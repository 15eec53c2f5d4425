"""The planner: its limits, by simulation, and beside what was measured."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medusa_lib.measure.batches import kv_bytes, kv_shape
from medusa_lib.measure.batches_table import GPT2_SMALL, SHIPPED, measured_batches
from medusa_lib.measure.choosing import (
    SIZES,
    Computer,
    PassLoad,
    Plan,
    best_span,
    fitted_computer,
    gains_by_batch,
    load_of,
    planned_seconds,
    planned_speedup,
)
from medusa_lib.measure.roofline import gpt2_small, pass_operations

LOAD, COMPUTER = PassLoad(500.0, 10.0, 8.0), Computer(50.0, 4.0)
STORED = measured_batches()
shares, costs = st.floats(0, 1), st.floats(0, 3)
plans = st.builds(Plan, shares, costs, st.integers(1, 2000))


def test_a_pass_takes_the_longer_of_reading_and_arithmetic() -> None:
    assert planned_seconds(COMPUTER, LOAD, 1, 1) == 510 / 50
    assert planned_seconds(COMPUTER, LOAD, 1, 8) == 64 / 4
    assert planned_seconds(COMPUTER, LOAD, 4, 8) == 256 / 4
    slow = Computer(50.0, 4.0, overhead=2.5)
    assert planned_seconds(slow, LOAD, 1, 1) == 510 / 50 + 2.5


@settings(deadline=None, database=None, derandomize=True)
@given(plan=plans, span=st.integers(0, 12))
def test_limits(plan, span) -> None:
    gain = planned_speedup(COMPUTER, LOAD, plan, span)
    assert planned_speedup(COMPUTER, LOAD, plan, 0) == pytest.approx(1)
    assert 0 < gain <= span + 1 + 1e-9
    if plan.alpha == 0:
        assert gain <= 1
    best = best_span(COMPUTER, LOAD, plan, most=12)
    assert planned_speedup(COMPUTER, LOAD, plan, best) >= max(gain, 1) - 1e-9


def test_always_right_and_free_emits_all_positions_while_they_are_free() -> None:
    wide = Computer(50.0, 1e9)
    assert planned_speedup(wide, LOAD, Plan(1.0), 7) == 8
    assert planned_speedup(wide, LOAD, Plan(0.0), 7) == 1
    assert best_span(wide, LOAD, Plan(1.0), most=9) == 9
    assert best_span(wide, LOAD, Plan(0.0)) == 0


def test_in_an_endless_batch_every_position_is_paid() -> None:
    """Without caches the speed-up goes to tokens ÷ positions, which is at most 1."""
    load = PassLoad(500.0, 0.0, 8.0)
    for alpha, span in itertools.product((0.0, 0.5, 0.9, 1.0), (1, 3)):
        tokens = sum(alpha**i for i in range(span + 1))
        gain = planned_speedup(COMPUTER, load, Plan(alpha, batch=10**9), span)
        assert gain == pytest.approx(tokens / (span + 1))
    # With caches that take longer to read than their positions to compute, all stays free.
    long = PassLoad(500.0, 1e6, 8.0)
    assert planned_speedup(COMPUTER, long, Plan(1.0, batch=10**9), 3) == pytest.approx(4)


@pytest.mark.parametrize(("alpha", "cost", "batch", "span"), [(0.7, 0.2, 1, 3), (0.5, 0.0, 6, 2)])
def test_the_plan_is_what_a_simulation_comes_to(alpha, cost, batch, span) -> None:
    """Many loops of many users, the clock moved by hand."""
    generator, loops = torch.Generator().manual_seed(0), 20_000
    right = torch.rand(loops, batch, span, generator=generator) < alpha
    tokens = float((right.cumprod(2).sum(2) + 1).sum())
    plain = planned_seconds(COMPUTER, LOAD, batch, 1)
    loop = planned_seconds(COMPUTER, LOAD, batch, span + 1) + span * cost * plain
    simulated = (tokens / (loops * loop)) / (batch / plain)
    gain = planned_speedup(COMPUTER, LOAD, Plan(alpha, cost, batch), span)
    assert gain == pytest.approx(simulated, rel=0.01)


def test_gains_over_the_sizes_fall_once_arithmetic_rules() -> None:
    gains = gains_by_batch(COMPUTER, PassLoad(500.0, 0.0, 8.0), Plan(0.8), 3)
    assert list(gains) == list(SIZES)
    assert all(a >= b for a, b in itertools.pairwise(gains.values()))
    assert gains[1024] < 1 < gains[1]


@pytest.mark.parametrize("key", STORED, ids=str)
def test_the_plan_and_the_measured_passes(lm, key) -> None:
    """The fitted ends agree, no pass is much quicker than planned, the shape is right."""
    one = STORED[key]
    load = load_of(lm if key[0] == SHIPPED else gpt2_small(lm), one.context)
    computer = fitted_computer(load, one)
    for end in (min(one.passes), max(one.passes)):
        assert planned_seconds(computer, load, *end) == pytest.approx(one.passes[end], rel=0.05)
    for at, seconds in one.passes.items():
        assert 0.3 < planned_seconds(computer, load, *at) / seconds < 1.25
    planned = gains_by_batch(computer, load, Plan(0.8), 3)
    assert planned[1] > 1 > planned[max(one.loops)]
    assert one.loops[1].speedup > 1.3 * one.loops[max(one.loops)].speedup


def test_the_load_of_a_model(lm, tiny_llama) -> None:
    for model in (lm, tiny_llama):
        load = load_of(model, 20)
        assert load.weight_bytes == 4 * sum(p.numel() for p in model.model.parameters())
        assert load.cache_bytes == kv_bytes(*kv_shape(model.model.config), 20, 4)
        assert load.operations == pass_operations(model, 1)
    assert STORED[GPT2_SMALL, 1].context > 0


def test_bad_values_are_refused_by_name(refuses) -> None:
    for name, values in {
        "alpha": (1.5,),
        "draft_cost": (0.5, -1.0),
        "batch": (0.5, 0.1, 0),
    }.items():
        with refuses(name):
            Plan(*values)
    for name, values in {"bandwidth": (0, 1), "arithmetic": (1, 0), "overhead": (1, 1, -1)}.items():
        with refuses(name):
            Computer(*values)
    for name, values in {"weight_bytes": (0, 1, 1), "operations": (1, 1, 0)}.items():
        with refuses(name):
            PassLoad(*values)
    for name, positions in {"positions": 0, "batch": 0}.items():
        with refuses(name):
            planned_seconds(COMPUTER, LOAD, **{"batch": 1, "positions": 1, name: positions})
    with refuses("span", -1):
        planned_speedup(COMPUTER, LOAD, Plan(0.5), -1)
    with refuses("most", -1):
        best_span(COMPUTER, LOAD, Plan(0.5), -1)
