import math

import numpy as np
import pytest
import torch

from medusa_lib.measure.chi_square import chi_square_p, misfits


def test_chi_square_of_the_lessons_example() -> None:
    assert misfits([30, 15, 25, 30], [40, 10, 20, 30]).square().sum() == pytest.approx(6.25)
    # Three degrees of freedom: erfc(√(s / 2)) + √(2 s / π) e^(-s / 2).
    s = 6.25
    p = math.erfc(math.sqrt(s / 2)) + math.sqrt(2 * s / math.pi) * math.exp(-s / 2)
    assert chi_square_p([30, 15, 25, 30], [40, 10, 20, 30]) == pytest.approx(p)


@pytest.mark.parametrize("statistic", [0.0, 1.0, 9.0])
def test_chi_square_with_one_degree_of_freedom_is_the_normal_tail(statistic) -> None:
    off = math.sqrt(statistic * 25)
    p = chi_square_p([50 + off, 50 - off], [50, 50])
    assert p == pytest.approx(math.erfc(math.sqrt(statistic / 2)))


def test_chi_square_p_is_uniform_where_the_expectation_is_right() -> None:
    """Of honest counts, a share of about x has a p value below x."""
    probs, generator = torch.tensor([0.4, 0.1, 0.2, 0.3]), torch.Generator().manual_seed(5)
    draws = torch.multinomial(probs.expand(1000, 4), 500, replacement=True, generator=generator)
    values = [chi_square_p(torch.bincount(row, minlength=4), 500 * probs) for row in draws]
    for level in (0.1, 0.5, 0.9):
        assert np.mean(np.array(values) < level) == pytest.approx(level, abs=0.05)


def test_chi_square_leaves_out_what_cannot_come() -> None:
    assert misfits([6, 4, 0], [5, 5, 0]).tolist() == misfits([6, 4], [5, 5]).tolist()
    assert chi_square_p([6, 4, 0], [5, 5, 0]) == chi_square_p([6, 4], [5, 5])
    assert chi_square_p([5, 4, 1], [5, 5, 0]) == 0
    assert chi_square_p([10, 0], [10, 0]) == 1
    assert chi_square_p([9, 1], [10, 0]) == 0


def test_chi_square_takes_counts_of_any_shape() -> None:
    seen, due = torch.tensor([[6, 4], [3, 7]]), torch.full((2, 2), 5.0)
    assert chi_square_p(seen, due) == chi_square_p(seen.flatten().tolist(), [5, 5, 5, 5])


@pytest.mark.parametrize(("seen", "due"), [([1, 2], [1, 1]), ([1, 2], [1, 1, 1]), ([2], [1, 1])])
def test_chi_square_refuses_what_cannot_be_compared(seen, due) -> None:
    with pytest.raises(ValueError, match="same shape and the same total"):
        chi_square_p(seen, due)
