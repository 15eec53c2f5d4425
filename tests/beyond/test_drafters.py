"""Drafters: n-grams found, caches kept in step, spans adapted, misfits refused."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from drafts import Says, ids_of
from hypothesis import given
from hypothesis import strategies as st

from medusa_lib import make_generator, run_greedy, speculate
from medusa_lib.beyond.drafters import (
    FirstOf,
    ModelDrafter,
    NgramDrafter,
    common_prefix,
    load_draft_lm,
    next_span,
)
from medusa_lib.beyond.named_drafters import make_drafter
from medusa_lib.beyond.one_pass import Branch, State

PROMPT = "The old king said"


def state_of(ids, lm=None) -> State:
    return State(lm, list(ids), None)


def test_ngram_drafter_follows_the_latest_match() -> None:
    assert NgramDrafter().propose(state_of([1, 2, 3, 9, 1, 2, 4, 8, 1, 2]), 2).tokens == [4, 8]
    assert NgramDrafter().propose(state_of([1, 2, 3]), 4).tokens == []
    assert NgramDrafter().propose(state_of([5]), 4).tokens == []
    longest_first = [7, 1, 2, 5, 5, 9, 2, 6, 7, 1, 2]
    assert NgramDrafter(3).propose(state_of(longest_first), 1).tokens == [5]
    assert NgramDrafter(1).propose(state_of(longest_first), 1).tokens == [6]


def by_search(ids: list[int], longest: int, span: int) -> list[int]:
    """The same rule in the plainest words, as the oracle."""
    for n in range(min(longest, len(ids)), 0, -1):
        for end in range(len(ids) - 1, n - 1, -1):
            if ids[end - n : end] == ids[-n:]:
                text = list(ids)
                for at in range(span):
                    text.append(text[end + at])  # from the text, then from the copy itself
                return text[len(ids) :]
    return []


@given(
    ids=st.lists(st.integers(0, 3), min_size=1, max_size=40),
    cuts=st.lists(st.integers(1, 40)),
    longest=st.integers(1, 4),
    span=st.integers(1, 6),
)
def test_ngram_drafter_equals_a_plain_search_as_the_text_grows(ids, cuts, longest, span) -> None:
    drafter = NgramDrafter(longest)
    for cut in [*sorted(cuts), len(ids)]:
        part = ids[:cut]
        assert drafter.propose(state_of(part), span).tokens == by_search(part, longest, span)


def test_ngram_drafter_forgets_another_text() -> None:
    drafter = NgramDrafter()
    drafter.propose(state_of([1, 2, 3, 1, 2]), 2)
    assert drafter.propose(state_of([9, 8, 1, 2]), 2).tokens == []


def test_model_drafter_keeps_its_cache_in_step(lm) -> None:
    """After a rejection its drafts are those of a fresh drafter."""
    ids = ids_of(lm, PROMPT)
    used, fresh = (ModelDrafter(lm, 0.0, 1.0, make_generator(0)) for _ in range(2))
    first = used.propose(state_of(ids), 4)
    ids = [*ids, first.tokens[0], 77]
    assert used.propose(state_of(ids), 4) == fresh.propose(state_of(ids), 4)


def test_an_unsure_drafter_stops_early(lm) -> None:
    ids = ids_of(lm, PROMPT)
    bold = ModelDrafter(lm, 0.0, 1.0, make_generator(0)).propose(state_of(ids), 8)
    shy = ModelDrafter(lm, 0.0, 1.0, make_generator(0), sure=1.0).propose(state_of(ids), 8)
    assert (len(bold.tokens), bold.passes) == (8, 8)
    assert (shy.tokens, shy.passes) == (bold.tokens[:1], 1)


def test_a_model_drafter_that_draws_says_from_what(lm) -> None:
    ids = ids_of(lm, PROMPT)
    branch = ModelDrafter(lm, 0.8, 0.9, make_generator(1)).propose(state_of(ids), 3)
    assert len(branch.probs) == len(branch.tokens) == 3
    for token, q in zip(branch.tokens, branch.probs, strict=True):
        assert q[token] > 0
        assert float(q.sum()) == pytest.approx(1)


def test_next_span_grows_and_shrinks_within_its_bounds() -> None:
    assert next_span(4, drafted=4, accepted=4, most=16) == 6
    assert next_span(15, drafted=15, accepted=15, most=16) == 16
    assert next_span(4, drafted=4, accepted=1, most=16) == 3
    assert next_span(4, drafted=4, accepted=2, most=16) == 4
    assert next_span(1, drafted=1, accepted=0, most=16) == 1
    assert next_span(4, drafted=0, accepted=0, most=16) == 4


def test_common_prefix() -> None:
    assert [common_prefix([], [1]), common_prefix([1, 2], [1, 3]), common_prefix([1], [1])] == [
        0,
        1,
        1,
    ]


def test_the_draft_model_speaks_the_models_tokens_and_no_others(lm, tiny_gpt2, refuses) -> None:
    small = load_draft_lm(lm)
    size = {x: sum(p.numel() for p in x.model.parameters()) for x in (small, lm)}
    assert 4 * size[small] < size[lm]
    with refuses("draft", lm=tiny_gpt2):
        load_draft_lm(tiny_gpt2)


def test_ngram_longest_is_checked() -> None:
    with pytest.raises(ValueError, match="longest must be an int >= 1, got 0"):
        NgramDrafter(0)


def test_ids_on_the_drafters_own_device_are_plain_ints(lm) -> None:
    ids = ids_of(lm, PROMPT)
    branch = ModelDrafter(lm, 0.0, 1.0, make_generator(0)).propose(state_of(ids), 2)
    assert all(type(token) is int for token in branch.tokens)
    assert not isinstance(branch.tokens, torch.Tensor)


def drafter_of(lm, **knobs) -> ModelDrafter:
    standard = {"temperature": 0.0, "top_p": 1.0, "generator": make_generator(0)}
    return ModelDrafter(lm, **standard | knobs)


@pytest.mark.parametrize(
    ("name", "value"),
    [("temperature", -1.0), ("top_p", 7), ("generator", None), ("generator", 7), ("sure", "x")]
    + [("sure", 1.5), ("sure", True)],
)
def test_a_model_drafter_refuses_bad_knobs(tiny_gpt2, refuses, name, value) -> None:
    with refuses(name, value, tiny_gpt2):
        drafter_of(tiny_gpt2, **{name: value})


def test_a_model_drafter_ends_with_its_own_context(tiny_gpt2) -> None:
    short = dataclasses.replace(tiny_gpt2, context_length=6)
    drafter = drafter_of(short)
    assert len(drafter.propose(state_of([2, 3, 4, 5]), 4).tokens) <= 2
    assert drafter.propose(state_of([2, 3, 4, 5, 6, 7]), 4) == Branch()


def test_ids_that_the_drafting_model_does_not_know_are_refused(tiny_gpt2, refuses) -> None:
    with refuses("ids", lm=tiny_gpt2):
        drafter_of(tiny_gpt2).propose(state_of([2, 99]), 2)


@pytest.mark.parametrize("twin", [True, False])
def test_an_interrupted_drafter_starts_anew(tiny_gpt2, monkeypatch, request, twin) -> None:
    if not twin:
        request.getfixturevalue("own_way")
    drafter, fresh = drafter_of(tiny_gpt2), drafter_of(tiny_gpt2)
    drafter.propose(state_of([2, 3, 4]), 2)

    def interrupted(state, branch):
        if twin:
            state.cache.keys[0] += 1  # half of what a pass would do
        else:
            with torch.inference_mode():
                state.cache.update(torch.zeros(1, 2, 1, 16), torch.zeros(1, 2, 1, 16), 0)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("medusa_lib.beyond.drafters.one_pass", interrupted)
        with pytest.raises(KeyboardInterrupt):
            drafter.propose(state_of([2, 3, 4, 5]), 2)
    assert drafter.propose(state_of([2, 3, 4, 5]), 3) == fresh.propose(state_of([2, 3, 4, 5]), 3)


def test_the_first_drafter_with_something_to_say_is_taken() -> None:
    silent, first, second = Says(), Says(4, 5, 6, 7), Says(8)
    drafter = FirstOf(silent, first, second)
    assert drafter.propose(state_of([1]), 2).tokens == [4, 5]
    assert drafter.propose(state_of([1]), 9).tokens == [4, 5, 6], "no more than its own span"
    assert (silent.asked, first.asked, second.asked) == ([2, 3], [2, 3], [])
    drafter.observe(state_of([1]), torch.zeros(2, 4), 1)
    assert silent.told == first.told == second.told == [(1, 2, 1)], "all may learn from it"
    assert FirstOf(Says(), Says()).propose(state_of([1]), 2).tokens == []
    assert not drafter.needs_hidden


def test_what_cannot_propose_is_refused(refuses) -> None:
    for wrong in ([], [3], [Says(1), None], [NgramDrafter]):
        with refuses("drafter"):
            FirstOf(*wrong)
    with pytest.raises(ValueError, match="drafter must be an object with propose.., got 'ngram'"):
        FirstOf("ngram")  # a name is none here, and must not be asked for


@pytest.mark.parametrize(("name", "value"), [*(("span", x) for x in (0, "x", 2.5)), ("observe", 3)])
def test_what_a_drafter_says_of_itself_is_checked_among_others_too(refuses, name, value) -> None:
    wrong = Says(1)
    setattr(wrong, name, value)
    with refuses(f"drafter.{name}"):
        FirstOf(wrong, Says(2))


def test_no_branch_is_refused_and_no_pass_forgotten() -> None:
    wrong, dear = Says(), Says()
    wrong.propose = lambda _state, _span: [1, 2]
    with pytest.raises(ValueError, match="drafter must propose a Branch, got list"):
        FirstOf(wrong, Says(1)).propose(state_of([1]), 2)
    dear.propose = lambda _state, _span: Branch([], passes=3)
    assert FirstOf(dear, dear).propose(state_of([1]), 2).passes == 6
    assert FirstOf(dear, Says(4)).propose(state_of([1]), 2) == Branch([4], passes=3)


def test_short_ngrams_are_no_reason_to_bet(refuses) -> None:
    ids = [1, 2, 3, 9, 1, 2]
    assert NgramDrafter(3, shortest=2).propose(state_of(ids), 2).tokens == [3, 9]
    assert NgramDrafter(3, shortest=3).propose(state_of(ids), 2).tokens == []
    with refuses("longest"):
        NgramDrafter(2, shortest=3)


def test_a_longer_match_is_trusted_further(tiny_gpt2, refuses) -> None:
    one, two = [2, 3, 4, 5, 6, 7, 8, 9, 1, 2], [1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2]
    for ids, matched in ((one, 1), (two, 2)):  # the last tokens that stood before
        for trust, span in ((1, 9), (2, 9), (3, 2)):
            branch = NgramDrafter(trust=trust).propose(state_of(ids), span)
            assert branch.tokens == list(range(3, 3 + min(span, trust * matched)))
    for bad in (0, 1.5, True):
        with refuses("trust"):
            NgramDrafter(trust=bad)
    named = make_drafter("ngram", tiny_gpt2)
    assert len(named.propose(state_of([7, 8, 7]), named.span).tokens) == named.trust
    assert len(named.propose(state_of([7] * 9), named.span).tokens) == named.span


def test_an_ngram_whose_followers_disagree_is_no_reason_to_bet(refuses) -> None:
    """7 was followed by 1, then by 2: no bet. Once 2 has come twice in a row, 2 it is."""
    text = [7, 1, 8, 7, 2, 9, 7]
    assert NgramDrafter(agree=False).propose(state_of(text), 2).tokens == [2, 9]
    assert NgramDrafter(agree=True).propose(state_of(text), 2).tokens == []
    again = [*text, 2, 5, 7]
    assert NgramDrafter(agree=True).propose(state_of(again), 2).tokens == [2, 5]
    drafter = NgramDrafter(agree=True)  # the same where the text is read bit by bit
    assert [bool(drafter.propose(state_of(again[:i]), 1).tokens) for i in (4, 7, 10)] == [1, 0, 1]
    other = [7, 3, 4, 7]  # another text: what followed in the first one does not count
    assert drafter.propose(state_of(other), 1).tokens == [3]
    with refuses("agree"):
        NgramDrafter(agree=1)


def test_a_shorter_ngram_may_still_agree() -> None:
    """After (5, 7) came 1, then 2; after 7 alone came 2 both of the last two times."""
    text = [5, 7, 1, 0, 3, 7, 2, 4, 5, 7, 2, 6, 5, 7]
    drafter = NgramDrafter(longest=2, agree=True)
    assert drafter.propose(state_of(text), 2).tokens == [2, 6]
    assert (5, 7) not in drafter.places
    assert (7,) in drafter.places


def test_a_draft_model_that_learned_drafts_with_what_it_learned(lm) -> None:
    small = load_draft_lm(lm)
    drafter = ModelDrafter(small, 0.0, 1.0, make_generator(7))
    speculate(lm, PROMPT, drafter, 8)
    with torch.no_grad():
        small.model.transformer.ln_f.bias.add_(torch.linspace(-9, 9, small.model.config.n_embd))
    run = speculate(lm, PROMPT, drafter, 8)
    again = ModelDrafter(small, 0.0, 1.0, make_generator(7))
    assert run.loops[0].branch == speculate(lm, PROMPT, again, 8).loops[0].branch
    assert run.new_ids == run_greedy(lm, PROMPT, 8).new_ids
