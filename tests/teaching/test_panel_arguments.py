"""Every parameter of every panel refuses a bad value by its name, before any model pass."""

from __future__ import annotations

import inspect

import pytest
import torch
from bad_values import (
    NO_COUNT,
    NO_FUNCTION,
    NO_LM,
    NO_POSITIVE,
    NO_PROMPT,
    NO_SEED,
    NO_TEMPERATURE,
    NO_TEXT,
    NO_TOP_P,
)
from panels import needed, shown_panels

from medusa_lib.measure.choosing import Computer, Plan
from medusa_lib.measure.numbers import PassGap
from medusa_lib.teaching.choosing import Candidate

NO_SHARE = [*NO_TOP_P, None]
NO_NAMED = [None, 7, {}, [], {"a": 7}, {"": None}, {7: None}]
NO_KIND = [None, 7, "bookworm", {}]
BAD = {  # what each parameter of a panel must refuse, by its name
    "lm": NO_LM,
    "prompt": NO_PROMPT,
    "text": NO_TEXT,
    "seed": NO_SEED,
    "temperature": NO_TEMPERATURE,
    "difference": NO_TEMPERATURE,
    "bound": NO_TEMPERATURE,
    "place": NO_COUNT,
    "loop": [value for value in NO_COUNT if value is not None],
    "chance": [None, *NO_FUNCTION],
    "heads": [value for value in NO_KIND if value is not None],
    "gaps": NO_NAMED,
    "candidates": NO_NAMED,
    "computer": NO_KIND,
    "plan": NO_KIND,
    "system": NO_KIND,
    "word": NO_KIND,
    **dict.fromkeys(("top_p", "epsilon", "delta"), NO_SHARE),
    **dict.fromkeys(("max_new_tokens", "tokens", "steps", "branches", "nodes"), NO_POSITIVE),
    **dict.fromkeys(("passes", "count", "span", "context"), NO_POSITIVE),
}
GAP = PassGap(torch.ones(1), torch.zeros(1), torch.zeros(1, dtype=torch.bool))


PANELS = shown_panels()


@pytest.fixture(scope="module")
def good(lm):
    """For each parameter without a default a value that will do."""
    return {
        "lm": lm,
        "chance": lambda node: 0.5,
        "gaps": {"float32": GAP},
        "candidates": {"small": Candidate(1.0, 1.0, 1.0)},
        "computer": Computer(1e9, 1e9),
        "plan": Plan(0.5),
    }


def test_all_lessons_but_those_without_a_panel_are_walked() -> None:
    assert len(PANELS) == 18


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind in PANELS for name in inspect.signature(kind).parameters],
    ids=lambda part: part if isinstance(part, str) else part.__name__,
)
def test_a_bad_value_is_refused_by_name_before_any_pass(kind, name, good, refuses, lm) -> None:
    for value in BAD[name]:
        given = {each: good[each] for each in needed(kind)} | {name: value}
        with refuses(name, lm=lm):
            kind(**given)


@pytest.mark.parametrize("word", ["AcceptPanel", "BranchPanel", "LoopsPanel"])
def test_without_a_seed_a_panel_draws_anew(tiny_gpt2, word) -> None:
    (kind,) = [each for each in PANELS if each.__name__ == word]
    panel = kind(tiny_gpt2, "abc", seed=None)
    assert panel.view.value
    assert not panel.message.value
    if hasattr(panel, "again") and not isinstance(panel.again, str):
        panel.again.click()
        assert not panel.message.value
