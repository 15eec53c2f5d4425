"""Chains of heads at a temperature; that texts stay exact is test_speculative's."""

from __future__ import annotations

import pytest
import torch
from heads import random_heads, state_after

from medusa_lib import speculate
from medusa_lib.beyond.drawn_chains import SPAN, DrawnChain, draw_chain
from medusa_lib.beyond.medusa_heads import HeadsDrafter
from medusa_lib.beyond.named_drafters import make_drafter
from medusa_lib.beyond.typical import Typical
from medusa_lib.steps.device import make_generator


def told(lm):
    state, _ = state_after(lm)
    return state.hidden[-1].clone(), state.ids[-1]


@pytest.mark.parametrize("temperature", [0.3, 0.8, 2.0])
@pytest.mark.parametrize("top_p", [1.0, 0.7])
def test_the_loops_draw_what_the_heads_say(tiny_gpt2, tiny_llama, temperature, top_p) -> None:
    """The same tokens by the same chance, from nearly the same distributions."""
    for lm in (tiny_gpt2, tiny_llama):
        heads, same = random_heads(lm), 0
        assert heads.fast.quick is not None
        for seed in range(20):
            drawing = (temperature, top_p)
            ours, plain = (
                draw_chain(each, *told(lm), 3, (*drawing, make_generator(seed)))
                for each in (heads.fast, heads)
            )
            assert torch.allclose(ours[1].sum(dim=1), torch.ones(3).double(), atol=1e-12)
            assert all(q[token] > 0 for token, q in zip(*ours, strict=True))
            if top_p == 1:
                assert torch.allclose(ours[1][0], plain[1][0], atol=1e-5)
                same += ours[0] == plain[0]
        assert same >= 18 * (top_p == 1)


def test_a_nucleus_holds_the_fewest_words(tiny_gpt2) -> None:
    heads = random_heads(tiny_gpt2)
    whole, cut = (
        draw_chain(heads.fast, *told(tiny_gpt2), 1, (1.0, top_p, make_generator(1)))[1][0]
        for top_p in (1.0, 0.6)
    )
    kept = cut > 0
    assert 0.6 <= float(whole[kept].sum()) < 0.6 + float(whole[kept].min()) + 1e-6
    assert float(whole[kept].min()) >= float(whole[~kept].max())


def test_a_drawn_chain_is_accepted_more_often_than_the_best_guesses(lm) -> None:
    def accepted(drafter) -> float:
        runs = [
            speculate(lm, "The king said", drafter(seed), 48, 2, 0.8, seed=seed)
            for seed in range(6)
        ]
        loops = [loop for run in runs for loop in run.loops]
        return sum(loop.accepted for loop in loops) / len(loops)

    heads = make_drafter("heads_chain", lm).heads
    best = accepted(lambda _seed: HeadsDrafter(heads, [(0,), (0, 0)]))
    assert accepted(lambda _seed: "heads_chain") > 1.3 * best


def test_a_name_stands_for_best_guesses_or_draws(lm) -> None:
    assert isinstance(make_drafter("heads_chain", lm), HeadsDrafter)
    assert isinstance(make_drafter("heads_chain", lm, 0.8), DrawnChain)
    typical = speculate(lm, "The king", "heads_chain", 24, None, 0.8, typical=Typical())
    assert max(len(loop.branch) for loop in typical.loops) > SPAN, "it drafts its best guesses"


def test_there_is_nothing_to_draw_from_before_the_first_pass(tiny_gpt2) -> None:
    drafter = DrawnChain(random_heads(tiny_gpt2), 0.8, 1.0, make_generator(1))
    state, _ = state_after(tiny_gpt2)
    assert len(drafter.propose(state, 9).tokens) == 3, "as many as there are heads"
    assert len(drafter.propose(state, 2).probs) == 2
    state.hidden = None
    assert not drafter.propose(state, 2).tokens
