"""Each drafter comes by its name, and what is no drafter is refused."""

from __future__ import annotations

import pytest
from drafts import PROMPTS, assert_same_as_greedy

from medusa_lib import make_generator, run_greedy, speculate
from medusa_lib.beyond.drafters import NgramDrafter
from medusa_lib.beyond.named_drafters import DRAFTERS, make_drafter


@pytest.mark.parametrize("drafter", ["heads_chain", "heads_tree", "branches"])
def test_the_shipped_heads_write_greedys_tokens(lm, drafter) -> None:
    accepted = [assert_same_as_greedy(lm, p, 32, drafter=drafter) for p in PROMPTS]
    assert sum(accepted) > 20


@pytest.mark.parametrize("drafter", ["heads_tree", "branches"])
def test_a_temperature_works_with_trees(lm, drafter) -> None:
    runs = [speculate(lm, PROMPTS[0], drafter, 20, temperature=0.8, seed=s) for s in (1, 1, 2)]
    assert runs[0].new_ids == runs[1].new_ids != runs[2].new_ids


@pytest.mark.parametrize("bad", ["oracle", "", 7, True, object(), NgramDrafter.propose])
def test_an_unknown_drafter_is_refused(lm, refuses, bad) -> None:
    with refuses("drafter", bad if isinstance(bad, str) else ..., lm):
        make_drafter(bad, lm)


def test_known_drafters_come_by_name_and_others_as_they_are(lm) -> None:
    assert make_drafter("self", lm).lm is lm
    own = NgramDrafter()
    assert make_drafter(own, lm) is own
    assert make_drafter(None, lm) is None
    for name in DRAFTERS:
        assert callable(make_drafter(name, lm, 0.0, 1.0, make_generator(0)).propose)


class Odd(NgramDrafter):
    pass


@pytest.mark.parametrize("span", ["4", 2.5, None, 0, -3])
def test_a_drafters_own_span_is_checked(lm, refuses, span) -> None:
    odd = Odd()
    odd.span = span
    with refuses("drafter.span", span, lm):
        make_drafter(odd, lm)


def test_a_drafters_observe_is_checked_and_a_class_refused(lm, refuses) -> None:
    odd = Odd()
    odd.observe = 5
    with refuses("drafter.observe", 5, lm):
        make_drafter(odd, lm)
    odd.observe, odd.look = None, "no"
    with refuses("drafter.look", "no", lm):
        make_drafter(odd, lm)
    with refuses("drafter", lm=lm):
        make_drafter(NgramDrafter, lm)


def test_ngrams_come_before_heads_and_the_text_is_greedys(lm) -> None:
    prompt = "The drum went boom and boom and boom again. The drum"
    run = speculate(lm, prompt, "heads_ngram", 40)
    assert run.new_ids == run_greedy(lm, prompt, 40).new_ids
    passes = {name: speculate(lm, prompt, name, 40).verify_passes for name in ("ngram", None)}
    assert run.verify_passes < passes["ngram"] < passes[None]
