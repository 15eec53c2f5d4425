"""Typical acceptance: the published rule, worked by hand, and that it is not exact."""

from __future__ import annotations

import pytest
import torch

from medusa_lib.beyond.one_pass import Branch
from medusa_lib.beyond.speculative import speculate
from medusa_lib.beyond.typical import Typical, longest_path, typical_tokens, verify_typically
from medusa_lib.measure.chi_square import chi_square_p
from medusa_lib.steps.sampling import nucleus_probs
from medusa_lib.teaching.toys.four_words import TARGET


def test_the_rule_by_hand() -> None:
    """Four equal words have entropy log 4, so the bound is 0.3 / 4 = 0.075, below epsilon."""
    assert typical_tokens(torch.full((4,), 0.25), Typical()).all()
    sure = torch.tensor([0.9, 0.06, 0.03, 0.01])  # entropy 0.41: 0.3 × 0.66 > 0.09
    assert typical_tokens(sure, Typical()).tolist() == [True, False, False, False]
    assert typical_tokens(sure, Typical(0.05, 1.0)).tolist() == [True, True, False, False]
    flat = torch.full((4,), 0.25)
    assert typical_tokens(flat, Typical(1.0, 1.0)).sum() == 1, "the best one is always typical"


def test_the_longest_typical_path_wins() -> None:
    parents = (-1, 0, -1, 2, 3)
    assert longest_path([True] * 5, parents) == [2, 3, 4]
    assert longest_path([True, True, False, True, True], parents) == [0, 1]
    assert longest_path([False] * 5, parents) == []
    assert longest_path([True, False, True, False, True], parents) == [0]


def test_it_accepts_more_and_changes_the_distribution() -> None:
    """The first word after a certain draft: always the draft, where the target says 4 in 10."""
    generator = torch.Generator().manual_seed(1)
    first = []
    for _ in range(500):
        path, following = verify_typically(
            TARGET[[0, 1]], Branch([1]), 1.0, 1.0, generator, Typical()
        )
        first.append(1 if path else following)
    assert set(first) == {1}
    counts = torch.bincount(torch.tensor(first), minlength=4)
    assert chi_square_p(counts, 500 * nucleus_probs(TARGET[0], 1.0, 1.0)) < 1e-6


def test_a_word_that_is_not_typical_is_never_written(lm) -> None:
    run = speculate(lm, "Once upon a time", "ngram", 24, temperature=0.8, typical=Typical(), seed=3)
    ids = [*run.prompt_ids, *run.new_ids]
    with torch.inference_mode():
        logits = lm.model(input_ids=torch.tensor([ids])).logits[0]
    for place in range(len(run.prompt_ids), len(ids)):
        probs = nucleus_probs(logits[place - 1], 0.8, 1.0)
        assert typical_tokens(probs, Typical(0.085, 0.29))[ids[place]], "allowing for rounding"


def test_bad_values_are_refused(lm, refuses) -> None:
    with refuses("epsilon", 1.5):
        Typical(epsilon=1.5)
    with refuses("delta", -0.1):
        Typical(delta=-0.1)
    with refuses("typical", 3, lm):
        speculate(lm, "Once", temperature=1.0, typical=3)
    with pytest.raises(ValueError, match="typical must be None at temperature 0"):
        speculate(lm, "Once", typical=Typical())
