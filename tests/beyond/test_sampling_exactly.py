"""Speculative sampling: exactly the target's distribution, and planted faults are caught."""

from __future__ import annotations

import pytest
import torch

from medusa_lib.beyond.one_pass import Branch
from medusa_lib.beyond.sampling_exactly import residual, verify_by_sampling
from medusa_lib.measure.chi_square import chi_square_p
from medusa_lib.steps.sampling import nucleus_probs
from medusa_lib.teaching.toys.four_words import (
    DRAFT,
    TARGET,
    WRONG_RULES,
    Verifier,
    draft_logits,
    observed_counts,
    text_probs,
)

TEMPERATURE, TOP_P, TRIALS, LENGTH = 1.0, 0.95, 2000, 3


def p_value(rule: Verifier, temperature: float = TEMPERATURE, top_p: float = TOP_P) -> float:
    """How likely counts as odd as these are under direct sampling from the target."""
    counts = observed_counts(rule, TRIALS, LENGTH, temperature, top_p, seed=11)
    return chi_square_p(counts, TRIALS * text_probs(LENGTH, temperature, top_p))


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 0.95), (0.7, 1.0), (2.0, 0.8)])
def test_speculative_sampling_has_the_targets_distribution(temperature, top_p) -> None:
    assert p_value(verify_by_sampling, temperature, top_p) > 1e-3


@pytest.mark.parametrize("kind", WRONG_RULES)
def test_a_planted_wrong_rule_is_caught(kind: str) -> None:
    assert p_value(WRONG_RULES[kind]) < 1e-6


def test_a_drafter_that_does_not_draw_counts_as_certain() -> None:
    generator = torch.Generator().manual_seed(3)
    p = nucleus_probs(TARGET[0], TEMPERATURE, TOP_P)
    words = [
        token if accepted else following
        for token in (0,)
        for accepted, following in (
            verify_by_sampling(TARGET[[0, 0]], Branch([token]), TEMPERATURE, TOP_P, generator)
            for _ in range(3000)
        )
    ]
    counts = torch.bincount(torch.tensor(words), minlength=4)
    assert chi_square_p(counts, len(words) * p) > 1e-3
    assert residual(0, p, None)[0] == 0
    assert residual(0, p, None).sum() == pytest.approx(1)


def test_the_four_words_are_as_the_lesson_says() -> None:
    """Both tables are distributions in tenths; the first rows are the lesson's worked example."""
    assert torch.allclose(TARGET.exp().sum(1), torch.tensor(10.0).double())
    assert torch.allclose(DRAFT.exp().sum(1), torch.tensor(10.0).double())
    assert nucleus_probs(TARGET[0], 1.0, 1.0).tolist() == pytest.approx([0.4, 0.1, 0.2, 0.3])
    assert nucleus_probs(DRAFT[0], 1.0, 1.0).tolist() == pytest.approx([0.3, 0.2, 0.4, 0.1])
    assert torch.equal(draft_logits(0), TARGET[0])
    assert torch.allclose(draft_logits(1), DRAFT[0])


@pytest.mark.parametrize("count", [1, 2, 3])
def test_text_probs_are_a_distribution_over_texts(count: int) -> None:
    probs = text_probs(count, TEMPERATURE, TOP_P)
    assert probs.shape == (4,) * count
    assert float(probs.sum()) == pytest.approx(1)
    shares = [nucleus_probs(TARGET[0], TEMPERATURE, TOP_P)]
    assert torch.allclose(probs.reshape(4, -1).sum(1), shares[0])
