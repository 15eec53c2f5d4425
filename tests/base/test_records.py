import math

import pytest

from medusa_lib import (
    Generation,
    LoopRecord,
    acceptance_rate,
    draft_efficiency,
    first_difference,
    mean_accepted_length,
    passes_per_token,
    speedup,
)
from medusa_lib.base.metrics import repeats

# Three drafted tokens each: all accepted, one accepted, none accepted.
WHOLE = LoopRecord(0, (5, 6, 7), 3, (5, 6, 7), draft_passes=3, verify_passes=3)
PART = LoopRecord(1, (5, 9, 7), 1, (5, 6), correction=6, draft_passes=3, verify_passes=2)
NONE = LoopRecord(2, (9, 6, 7), 0, (5,), correction=5, draft_passes=3, verify_passes=1)
GREEDY = LoopRecord(0, (), 0, (5,), verify_passes=1)
BONUS = LoopRecord(3, (5, 6), 2, (5, 6, 7), bonus=7, draft_passes=2, verify_passes=1)
EOS_ACCEPTED = LoopRecord(4, (5, 0, 8), 2, (5,), draft_passes=3, verify_passes=2)
EOS_CORRECTS = LoopRecord(5, (5, 9), 1, (5,), correction=0, draft_passes=2, verify_passes=2)


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


def generation(loops, new_ids=(), seconds=0.0):
    passes = sum(r.draft_passes + r.verify_passes for r in loops)
    return Generation([1], list(new_ids), "text", "length", list(loops), seconds, passes)


@pytest.mark.parametrize(
    ("loops", "alpha", "efficiency", "tau"),
    [
        ([WHOLE], 1, 1, 3),
        ([PART], 1 / 2, 1 / 3, 2),
        ([NONE], 0, 0, 1),
        ([WHOLE, PART, NONE], 4 / 6, 4 / 9, 6 / 3),
        ([BONUS], 1, 1, 3),
        ([EOS_ACCEPTED, EOS_CORRECTS], 3 / 4, 3 / 5, 2 / 2),
    ],
)
def test_metrics_by_hand(loops, alpha, efficiency, tau):
    assert acceptance_rate(loops) == pytest.approx(alpha)
    assert draft_efficiency(loops) == pytest.approx(efficiency)
    assert mean_accepted_length(loops) == pytest.approx(tau)


def test_metrics_without_a_denominator_are_nan():
    for metric in (acceptance_rate, draft_efficiency, mean_accepted_length):
        assert math.isnan(metric([]))
    assert math.isnan(acceptance_rate([GREEDY]))
    assert math.isnan(draft_efficiency([GREEDY]))
    assert mean_accepted_length([GREEDY]) == 1
    assert math.isnan(passes_per_token(generation([NONE])))


def test_a_generation_sums_its_loops():
    run = generation([WHOLE, PART, NONE], [5, 6, 7, 5, 6, 5])
    assert run.draft_passes == 9
    assert run.verify_passes == 6
    assert passes_per_token(run) == 15 / 6
    assert run.sources == ["accepted"] * 4 + ["corrected"] * 2


def test_printing_a_generation_prints_its_text(capsys):
    print(generation([]))
    assert capsys.readouterr().out == "text\n"


@pytest.mark.parametrize(
    ("a", "b", "at"),
    [
        ([], [], None),
        ([1, 2], [1, 2], None),
        ([1, 2], [1, 3], 1),
        ([4, 2], [1, 2], 0),
        ([1, 2], [1], 1),
        ([], [1], 0),
    ],
)
def test_first_difference(a, b, at):
    assert first_difference(a, b) == at
    assert first_difference(b, a) == at


def test_speedup_is_the_baselines_seconds_over_ours():
    assert speedup(generation([], [1], 2.0), generation([], [1], 3.0)) == 1.5
    assert math.isnan(speedup(generation([], [1], 0.0), generation([], [1], 3.0)))


def test_speedup_of_other_tokens_is_refused():
    with pytest.raises(ValueError, match="differ at new token 1"):
        speedup(generation([], [1, 2], 1.0), generation([], [1, 3], 1.0))


def test_repeats_means_some_ngram_often_enough() -> None:
    assert repeats([1, 2, 3] * 3, n=3, times=3)
    assert not repeats([1, 2, 3] * 2, n=3, times=3)
    assert not repeats([1, 2, 3, 9, 1, 2, 3, 8, 1, 2], n=3, times=3)
    assert repeats([5] * 8)
    assert not repeats([5] * 7)
    assert not repeats([])
