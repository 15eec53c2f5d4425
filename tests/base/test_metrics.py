"""The figures of records, each with its denominator, by hand."""

from __future__ import annotations

import math

import pytest
from loops_by_hand import (
    BONUS,
    EOS_ACCEPTED,
    EOS_CORRECTS,
    GREEDY,
    LOOPS,
    NONE,
    PART,
    PROMPT,
    WHOLE,
    generation,
)

from medusa_lib import (
    acceptance_rate,
    draft_efficiency,
    first_difference,
    mean_accepted_length,
    passes_per_token,
    speedup,
)
from medusa_lib.base.metrics import acceptance_by_position, first_and_later, repeats
from medusa_lib.beyond.speculative import speculate


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


@pytest.mark.parametrize(
    ("pairs", "first", "later", "change"),
    [
        ([(100, 50), (50, 45), (45, 40)], 0.5, 85 / 95, "rises"),
        ([(100, 90), (90, 30), (30, 10)], 0.9, 40 / 120, "falls"),
        ([(10, 5), (5, 4)], 0.5, 0.8, "may be luck"),  # may well be luck
        ([(8, 8), (8, 8)], 1.0, 1.0, "may be luck"),
    ],
)
def test_later_positions_against_the_first(pairs, first, later, change) -> None:
    assert first_and_later(pairs) == (pytest.approx(first), pytest.approx(later), change)


def test_nothing_is_later_than_a_lone_first_position() -> None:
    first, later, change = first_and_later([(4, 0)])
    assert (first, change) == (0, "may be luck")
    assert math.isnan(later)


def test_acceptance_by_position_counts_by_hand() -> None:
    assert acceptance_by_position(LOOPS) == [(3, 2), (2, 2), (1, 0)]
    assert acceptance_by_position([]) == acceptance_by_position([LOOPS[2]]) == []


def test_acceptance_by_position_adds_up_to_alpha(lm) -> None:
    loops = speculate(lm, PROMPT, "draft_model", 40).loops
    pairs = acceptance_by_position(loops)
    assert all(reached >= accepted for reached, accepted in pairs)
    reached, accepted = (sum(pair[i] for pair in pairs) for i in (0, 1))
    assert accepted / reached == pytest.approx(acceptance_rate(loops))
