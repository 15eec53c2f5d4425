"""The stored table of passes and loops, and what it must show whatever machine wrote it."""

from __future__ import annotations

import json
import re

import pytest

from medusa_lib.measure.batches import batch_speedup
from medusa_lib.measure.batches_table import GPT2_SMALL, SHIPPED, TABLE, measured_batches

STORED = measured_batches()


def test_both_models_on_one_and_two_threads_by_a_processor_with_a_name() -> None:
    assert list(STORED) == [(SHIPPED, 1), (SHIPPED, 2), (GPT2_SMALL, 1), (GPT2_SMALL, 2)]
    assert len({one.processor for one in STORED.values()}) == 1
    assert all(re.search("[A-Z]{3}", one.processor) for one in STORED.values())
    assert all(one.machine.bytes_per_second > 1e9 for one in STORED.values())


@pytest.mark.parametrize("key", STORED, ids=str)
def test_every_pass_and_loop_of_the_grid_is_there(key) -> None:
    one = STORED[key]
    assert set(one.passes) == {(batch, n) for batch in one.batches for n in (1, 2, 4, 8)}
    assert {1, 8, 32, 64} <= set(one.loops) <= set(one.batches)
    assert {(loop.alpha, loop.span) for loop in one.loops.values()} == {(0.8, 3)}
    assert all(1 < loop.tau < loop.span + 1 for loop in one.loops.values())


@pytest.mark.parametrize("key", STORED, ids=str)
def test_what_the_lesson_says_of_passes(key) -> None:
    """Rows together cost less than apart, more positions more, all within reach of the roof."""
    passes = STORED[key].passes
    for batch in STORED[key].batches:
        assert passes[batch, 8] > passes[batch, 1]
        if batch > 1:
            assert passes[batch, 1] < batch * passes[1, 1]


@pytest.mark.parametrize("key", STORED, ids=str)
def test_the_formula_foretells_the_loops(key) -> None:
    """Within a third of the measured loops, for each size of batch."""
    one = STORED[key]
    for batch, loop in one.loops.items():
        plain, verify = one.passes[batch, 1], one.passes[batch, loop.span + 1]
        assert loop.speedup == pytest.approx(batch_speedup(loop.tau, plain, verify), rel=0.34)


@pytest.mark.parametrize("key", STORED, ids=str)
def test_the_gain_falls_and_comes_to_its_end(key) -> None:
    loops = STORED[key].loops
    assert loops[min(loops)].speedup > 1.2
    assert loops[max(loops)].speedup < min(1.1, 0.75 * loops[min(loops)].speedup)


def test_a_table_of_another_machine_is_read(tmp_path) -> None:
    row = {
        "model": "m",
        "threads": 3,
        "processor": "p",
        "context": 5,
        "bytes_per_second": 1e9,
        "operations_per_second": 2e9,
        "passes": [{"batch": 2, "positions": 4, "ms": 8.0}],
        "loops": [{"batch": 2, "alpha": 0.5, "span": 3, "tau": 2, "plain_ms": 3, "loop_ms": 4}],
    }
    path = tmp_path / "other.json"
    path.write_text(json.dumps([row]), encoding="utf-8")
    (one,) = measured_batches(path).values()
    assert one.passes == {(2, 4): 0.008}
    assert one.loops[2].speedup == 2 * 3 / 4
    assert one.batches == [2]
    assert TABLE.exists()
