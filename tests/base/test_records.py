"""One loop and one generation: what they sum up, by hand."""

from __future__ import annotations

import pytest
from loops_by_hand import BONUS, EOS_ACCEPTED, EOS_CORRECTS, GREEDY, NONE, PART, WHOLE, generation

from medusa_lib import passes_per_token


@pytest.mark.parametrize(
    ("record", "evaluated", "unused", "sources"),
    [
        (WHOLE, 3, 0, ["accepted"] * 3),
        (PART, 2, 1, ["accepted", "corrected"]),
        (NONE, 1, 2, ["corrected"]),
        (GREEDY, 0, 0, ["greedy"]),
        (BONUS, 2, 0, ["accepted", "accepted", "bonus"]),
        (EOS_ACCEPTED, 2, 1, ["accepted"]),
        (EOS_CORRECTS, 2, 0, ["accepted"]),
    ],
)
def test_one_loop_by_hand(record, evaluated, unused, sources):
    assert record.evaluated == evaluated
    assert record.unused == unused
    assert list(record.sources) == sources


def test_a_generation_sums_its_loops():
    run = generation([WHOLE, PART, NONE], [5, 6, 7, 5, 6, 5])
    assert run.draft_passes == 9
    assert run.verify_passes == 6
    assert passes_per_token(run) == 15 / 6
    assert run.sources == ["accepted"] * 4 + ["corrected"] * 2


def test_printing_a_generation_prints_its_text(capsys):
    print(generation([]))
    assert capsys.readouterr().out == "text\n"
