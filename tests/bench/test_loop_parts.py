"""Where a loop's time goes: the parts are a whole, and the watches are taken off again."""

from __future__ import annotations

import contextlib
import time

import pytest

from medusa_lib import run_greedy
from medusa_lib.bench.decoders import CHAIN, GREEDY, HEADS_AND_NGRAM, NGRAM, TREE
from medusa_lib.bench.loop_parts import PARTS, loop_parts, parts_of, stopwatches
from medusa_lib.beyond import speculative


def shares(row) -> list[float]:
    return [row.forward, row.drafting, row.choosing, row.cache, row.rest]


def test_the_parts_of_every_decoder_are_a_whole(lm) -> None:
    rows = loop_parts(lm, ["Once upon a time"], 12)
    assert {row.name for row in rows} == {GREEDY, NGRAM, CHAIN, TREE, HEADS_AND_NGRAM}
    for row in rows:
        assert sum(shares(row)) == pytest.approx(1)
        assert all(0 <= share < 1 for share in shares(row))
        assert row.milliseconds > 0
        assert (row.loops == 12) == (row.name == GREEDY) or row.name == NGRAM


def test_a_model_without_heads_has_fewer_rows(tiny_gpt2) -> None:
    assert [row.name for row in loop_parts(tiny_gpt2, ["abc"], 4)] == [GREEDY, NGRAM]


@pytest.mark.parametrize(("name", "part"), PARTS.items())
def test_a_slow_part_has_the_largest_share(tiny_gpt2, monkeypatch, name, part) -> None:
    quick = getattr(speculative, name)

    def slow(*given: object) -> object:
        time.sleep(0.05)
        return quick(*given)

    monkeypatch.setattr(speculative, name, slow)
    row = parts_of(tiny_gpt2, ["abc"], 6, NGRAM)
    assert getattr(row, part) == max(shares(row))
    assert row.milliseconds >= 50


def test_watching_changes_no_text_and_ends(tiny_gpt2) -> None:
    plain = {name: getattr(speculative, name) for name in PARTS}
    with contextlib.suppress(KeyError), stopwatches() as seconds:
        run = speculative.speculate(tiny_gpt2, "abc", "ngram", 6)
        assert run.new_ids == run_greedy(tiny_gpt2, "abc", 6).new_ids
        assert all(taken > 0 for taken in seconds.values())
        raise KeyError
    assert {name: getattr(speculative, name) for name in PARTS} == plain
