"""What is called from outside refuses bad values by name, though the steps trust each other."""

from __future__ import annotations

import inspect
import math

import bad_values as bad
import pytest
import torch

from medusa_lib import make_generator
from medusa_lib.beyond.branches import BranchesDrafter, accept_longest
from medusa_lib.beyond.drafters import draft_model, load_draft_lm
from medusa_lib.beyond.heads_training import openings
from medusa_lib.beyond.named_drafters import make_drafter
from medusa_lib.beyond.one_pass import Branch
from medusa_lib.beyond.sampling_exactly import verify_by_sampling
from medusa_lib.beyond.speculative import stream
from medusa_lib.beyond.tree_attention import follow_by_sampling
from medusa_lib.beyond.typical import Typical, verify_typically
from medusa_lib.measure.roofline import pass_operations
from medusa_lib.steps.loops import decode_loop
from medusa_lib.steps.sampling import ban_repeats, nucleus_probs

IDS, LOGITS = torch.tensor([[2, 3]]), torch.zeros(3, 9)
GOOD = {  # by the parameter's name, unless a function's own say otherwise
    "temperature": 0.9,
    "top_p": 0.9,
    "prompt": "abc",
    "ids": IDS,
    "logits": LOGITS,
    "branch": Branch([3, 4], parents=(-1, 0)),
    "count": 2,
    "length": 3,
}
BAD = {
    "lm": bad.NO_LM,
    "prompt": bad.NO_PROMPT,
    "max_new_tokens": bad.NO_POSITIVE,
    "count": bad.NO_POSITIVE,
    "length": bad.NO_POSITIVE,
    "rep_ban_n": bad.NO_COUNT,
    "temperature": bad.NO_TEMPERATURE,
    "top_p": bad.NO_TOP_P,
    "generator": [one for one in bad.NO_GENERATOR if one is not None],
    "ids": bad.NO_IDS,
    "draft": ["", " ", 7, None],
    "on_loop": bad.NO_FUNCTION,
}
OWN = {  # function → good values of what has no good value above
    stream: {"drafter": None, "max_new_tokens": 3, "temperature": 0.9},
    BranchesDrafter: {},
    pass_operations: {},
    ban_repeats: {"probs": torch.ones(4) / 4, "rep_ban_n": 1},
    nucleus_probs: {"logits": LOGITS[0]},
    make_drafter: {"drafter": "ngram"},
    draft_model: {},
    load_draft_lm: {"draft": "bookmite"},
    verify_by_sampling: {},
    follow_by_sampling: {},
    verify_typically: {"rule": Typical()},
    openings: {},
    accept_longest: {"branches": [[1]]},
    decode_loop: {"max_new_tokens": 3, "step": lambda *_: None, "on_loop": None},
}
NO_ANY_TOP_P = [value for value in bad.NO_TOP_P if value not in (1.1, bad.HUGE, math.inf)]
OTHERS = {(nucleus_probs, "top_p"): NO_ANY_TOP_P, (ban_repeats, "ids"): []}


def cases():
    """Every function, each of its parameters that is in BAD, each bad value."""
    for function in OWN:
        for name in [name for name in inspect.signature(function).parameters if name in BAD]:
            for i, value in enumerate(OTHERS.get((function, name), BAD[name])):
                yield pytest.param(function, name, value, id=f"{function.__name__}-{name}-{i}")


@pytest.mark.parametrize(("function", "name", "value"), list(cases()))
def test_a_bad_value_is_refused_by_name(tiny_gpt2, refuses, function, name, value):
    given = {"lm": tiny_gpt2, "generator": make_generator(7), **GOOD, **OWN[function]}
    given = {key: given[key] for key in inspect.signature(function).parameters if key in given}
    with refuses(name, lm=tiny_gpt2):
        function(**{**given, name: value})
