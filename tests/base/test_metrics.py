import math

import pytest
from loops_by_hand import LOOPS, PROMPT

from medusa_lib import acceptance_rate
from medusa_lib.base.metrics import acceptance_by_position, first_and_later
from medusa_lib.beyond.speculative import speculate


@pytest.mark.parametrize(
    ("pairs", "first", "later", "change"),
    [
        ([(100, 50), (50, 45), (45, 40)], 0.5, 85 / 95, "rises"),
        ([(100, 90), (90, 30), (30, 10)], 0.9, 40 / 120, "falls"),
        ([(10, 5), (5, 4)], 0.5, 0.8, "stays close"),  # may well be luck
        ([(8, 8), (8, 8)], 1.0, 1.0, "stays close"),
    ],
)
def test_later_positions_against_the_first(pairs, first, later, change) -> None:
    assert first_and_later(pairs) == (pytest.approx(first), pytest.approx(later), change)


def test_nothing_is_later_than_a_lone_first_position() -> None:
    first, later, change = first_and_later([(4, 0)])
    assert (first, change) == (0, "stays close")
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
