"""STEP3: temperature, nucleus and draw, against transformers' own and by hand."""

import math
from collections import Counter

import bad_values as bad
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from transformers import TemperatureLogitsWarper, TopPLogitsWarper

from medusa_lib import last_logits, make_generator, sample_next, softmax_temp, top_p_indices
from medusa_lib.steps.sampling import (
    ban_repeats,
    best_no_end,
    draw,
    draw_from,
    nucleus_probs,
)

EOS = 0
LOGITS = st.lists(st.integers(-800, 800), min_size=1, max_size=30, unique=True).map(
    lambda values: torch.tensor(values) / 100
)
TOP_P = st.none() | st.floats(0, 1)
PROBS = torch.tensor([0.1, 0.5, 0.3, 0.1])


@given(LOGITS, st.floats(0.05, 20))
def test_softmax_temp_is_transformers_temperature_then_softmax(logits, temperature):
    warped = TemperatureLogitsWarper(temperature)(None, logits[None])[0]
    expected = torch.softmax(warped, -1)
    torch.testing.assert_close(softmax_temp(logits, temperature), expected, rtol=1e-4, atol=1e-6)


@given(LOGITS, st.floats(0, 1e300))
def test_softmax_temp_is_always_a_distribution(logits, temperature):
    probs = softmax_temp(logits, temperature)
    assert probs.shape == logits.shape
    assert (probs >= 0).all()
    assert probs.sum().item() == pytest.approx(1, abs=1e-5)


def test_a_temperature_under_a_millionth_counts_as_one_and_is_greedy():
    logits = torch.tensor([1.0, 1.00001, 0.0])
    for temperature in (0, 1e-9, 1e-7):
        assert torch.equal(softmax_temp(logits, temperature), softmax_temp(logits, 1e-6))
    assert softmax_temp(logits, 0).tolist() == pytest.approx([0, 1, 0], abs=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_large_logits_over_a_small_temperature_do_not_overflow(dtype):
    logits = torch.tensor([-6e4, 5e4, 6e4], dtype=dtype)
    assert softmax_temp(logits, 0).tolist() == [0, 0, 1]
    assert softmax_temp(logits, 1e9).isfinite().all()


def test_a_higher_temperature_is_flatter():
    logits = torch.tensor([3.0, 1.0, 0.0])
    tops = [softmax_temp(logits, t).max().item() for t in (0.5, 1, 2, 9)]
    assert tops == sorted(tops, reverse=True)
    assert tops[0] > 0.97
    assert tops[-1] < 0.42


@given(LOGITS, st.floats(0, 1))
def test_the_standard_nucleus_is_transformers(logits, top_p):
    probs = torch.softmax(logits, -1)
    # On the brink of a token float32 rounding decides, there the two may differ.
    assume((probs.sort().values.double().cumsum(0) - (1 - top_p)).abs().min() > 1e-5)
    warped = TopPLogitsWarper(top_p)(None, logits[None])[0]
    expected = set(torch.nonzero(warped.isfinite()).flatten().tolist())
    assert set(top_p_indices(probs, top_p, standard=True).tolist()) == expected


@given(LOGITS, st.floats(0, 1))
def test_the_originals_nucleus_is_the_longest_head_within_top_p(logits, top_p):
    probs = torch.softmax(logits, -1)
    order = sorted(range(len(probs)), key=lambda i: -probs[i].item())
    sums = [math.fsum(probs[i].item() for i in order[:n]) for n in range(1, len(order) + 1)]
    assume(min(abs(total - top_p) for total in sums) > 1e-5)
    within = sum(total <= top_p for total in sums)
    assert top_p_indices(probs, top_p).tolist() == order[: max(1, within)]


@given(LOGITS, st.floats(0, 1))
def test_the_standard_nucleus_has_one_token_more(logits, top_p):
    probs = torch.softmax(logits, -1)
    total = probs.sort(descending=True).values.double().cumsum(0)
    assume((total - top_p).abs().min() > 1e-5)
    ours = top_p_indices(probs, top_p).tolist()
    standard = top_p_indices(probs, top_p, standard=True).tolist()
    one_more = total[0] <= top_p < total[-1]
    assert standard[: len(ours)] == ours
    assert len(standard) == len(ours) + bool(one_more)


@pytest.mark.parametrize("standard", [False, True])
@pytest.mark.parametrize("top_p", [None, 1, 1.0, 2, math.inf, bad.HUGE])
def test_none_or_one_keeps_all_most_probable_first(top_p, standard):
    assert top_p_indices(PROBS, top_p, standard=standard).tolist() == [1, 2, 0, 3]


@pytest.mark.parametrize(
    ("top_p", "ours", "standard"),
    [
        (0, [1], [1]),
        (0.3, [1], [1]),
        (0.5, [1], [1]),
        (0.6, [1], [1, 2]),
        (0.8, [1, 2], [1, 2]),
        (0.85, [1, 2], [1, 2, 0]),
        (0.9, [1, 2, 0], [1, 2, 0]),
    ],
)
def test_both_rules_by_hand(top_p, ours, standard):
    assert top_p_indices(PROBS, top_p).tolist() == ours
    assert top_p_indices(PROBS, top_p, standard=True).tolist() == standard


@pytest.mark.parametrize("parts", [[7, 2, 1], [6, 3, 1], [5, 4, 1], [4, 3, 2, 1]])
def test_sums_that_are_exact_on_paper_are_met(parts):
    # In float32 0.7 + 0.2 is not 0.9: the rules must not hang on the last bit.
    probs = torch.tensor(parts) / 10
    for kept in range(1, len(parts)):
        top_p = sum(parts[:kept]) / 10
        assert len(top_p_indices(probs, top_p)) == kept
        assert len(top_p_indices(probs, top_p, standard=True)) == kept


def test_ties_keep_the_order_of_their_ids():
    assert top_p_indices(torch.ones(4) / 4, 0.5).tolist() == [0, 1]


def test_ban_repeats_by_hand():
    probs, ids = torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([[3, 2, 1, 1]])
    assert ban_repeats(probs, ids, 0) is probs
    assert ban_repeats(probs, ids, 1).tolist() == pytest.approx([1 / 8, 0, 3 / 8, 4 / 8])
    assert ban_repeats(probs, ids, 3).tolist() == pytest.approx([1 / 5, 0, 0, 4 / 5])
    assert ban_repeats(probs, ids, 99).tolist() == pytest.approx([1, 0, 0, 0])
    assert probs.tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])


def test_ban_repeats_with_nothing_left_changes_nothing():
    probs = torch.tensor([0.5, 0.5, 0.0])
    assert torch.equal(ban_repeats(probs, torch.tensor([[0, 1]]), 2), probs)


def test_best_no_end_by_hand(rows_lm):
    logits = torch.tensor([9.0, 3.0, 5.0])
    lm = rows_lm(logits[None])
    assert lm.is_end(EOS)
    assert best_no_end(lm, logits, []) == 2
    assert best_no_end(lm, logits, [2]) == 1
    assert best_no_end(lm, logits, [1, 2]) == 2  # nothing left: only EOS stays banned


def test_draws_follow_the_probabilities_within_the_nucleus():
    generator, kept = make_generator(1), torch.tensor([1, 2])
    counts = Counter(draw(PROBS, kept, generator) for _ in range(4000))
    assert set(counts) == {1, 2}
    assert counts[1] / 4000 == pytest.approx(5 / 8, abs=0.03)


@pytest.mark.parametrize("size", [1, 2, 7, 4096])
@pytest.mark.parametrize("whole", [1.0, 0.25, 300.0])
def test_draw_from_follows_the_probabilities_whatever_their_sum(size, whole):
    weights = torch.rand(size, generator=make_generator(size)) ** 4
    weights[:: max(2, size // 3)] = 0  # the first, and some more
    weights[size // 2] = 1  # one that is often drawn
    weights *= whole / weights.sum()
    generator, draws = make_generator(7), 4000
    found = Counter(draw_from(weights, generator) for _ in range(draws))
    assert all(weights[token] > 0 for token in found)
    groups = [range(part * size // 4, (part + 1) * size // 4) for part in range(4)]
    for group in groups:
        share = float(weights[list(group)].sum() / weights.sum()) if len(group) else 0.0
        deviation = math.sqrt(share * (1 - share) / draws)
        assert sum(found[token] for token in group) / draws == pytest.approx(
            share, abs=4 * deviation + 1e-9
        )


def test_what_is_being_trained_can_be_drawn_from():
    logits = torch.tensor([0.0, 3.0, -1.0], requires_grad=True)
    assert draw_from(torch.softmax(50 * logits, dim=-1), make_generator(1)) == 1


def test_draw_from_never_leaves_what_can_be_drawn(monkeypatch):
    weights = torch.tensor([0.0, 0.5, 0.0, 0.5, 0.0])
    for share, token in ((0.0, 1), (0.5, 3), (1 - 2**-53, 3), (1.0, 3)):
        drawn = torch.tensor([share], dtype=torch.float64)
        monkeypatch.setattr(torch, "rand", lambda *_, drawn=drawn, **__: drawn)
        assert draw_from(weights, make_generator(1)) == token


def test_a_draw_takes_the_same_share_of_the_stream_whatever_the_nucleus():
    states = []
    for kept in ([1], [1, 2], [1, 2, 0, 3]):
        generator = make_generator(7)
        draw(PROBS, torch.tensor(kept), generator)
        states.append(generator.get_state())
    assert torch.equal(states[0], states[1])
    assert torch.equal(states[0], states[2])


def draws(lm, ids, count=200, seed=7, **knobs):
    generator = make_generator(seed)
    knobs = {"temperature": 1.0, "top_p": None, **knobs}
    return [sample_next(lm, ids, generator=generator, **knobs) for _ in range(count)]


ONE = torch.tensor([[1]])


def test_sample_next_is_its_parts_one_after_the_other(each_lm):
    ids = torch.tensor([[2, 3, 4]])
    probs = ban_repeats(softmax_temp(last_logits(each_lm, ids), 1.5), ids, 2)
    kept, generator = top_p_indices(probs, 0.9), make_generator(7)
    expected = [draw(probs, kept, generator) for _ in range(20)]
    assert draws(each_lm, ids, 20, temperature=1.5, top_p=0.9, rep_ban_n=2) == expected
    assert len(set(expected)) > 1


def test_sample_next_is_one_pass(tiny_gpt2, count_passes):
    with count_passes(tiny_gpt2) as passes:
        draws(tiny_gpt2, ONE, 1, ban_eos=True, rep_ban_n=1)
    assert len(passes) == 1


def test_sample_next_stays_within_the_nucleus_of_either_rule(rows_lm):
    lm = rows_lm([PROBS.log().tolist()])
    assert set(draws(lm, ONE, top_p=0.7)) == {1}
    assert set(draws(lm, ONE, top_p=0.7, standard=True)) == {1, 2}
    assert set(draws(lm, ONE, top_p=0)) == {1}
    assert set(draws(lm, ONE)) == {0, 1, 2, 3}


def test_same_seed_same_draws_and_another_seed_others(tiny_gpt2):
    first = draws(tiny_gpt2, ONE, 30, temperature=3.0)
    assert draws(tiny_gpt2, ONE, 30, temperature=3.0) == first
    assert draws(tiny_gpt2, ONE, 30, seed=8, temperature=3.0) != first


def test_draws_leave_the_global_state_alone(tiny_gpt2):
    state = torch.get_rng_state()
    draws(tiny_gpt2, ONE, 5)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_eos_ban_redraws_from_the_nucleus(rows_lm):
    lm = rows_lm([[3.0, 2.0, 1.0, -9.0]])
    nucleus = {"top_p": 0.99, "standard": True}
    assert set(draws(lm, ONE, **nucleus)) == {EOS, 1, 2}
    assert set(draws(lm, ONE, ban_eos=True, **nucleus)) == {1, 2}


def test_the_eos_ban_holds_where_the_nucleus_is_eos_alone(rows_lm):
    lm = rows_lm([[5.0, 1.0, 2.0, 0.0]])
    assert set(draws(lm, ONE, top_p=0.1)) == {EOS}
    assert set(draws(lm, ONE, top_p=0.1, ban_eos=True)) == {2}


@pytest.mark.parametrize("top_p", [None, 0, 0.5, 1])
def test_the_eos_ban_holds_where_eos_has_all_probability(rows_lm, top_p):
    lm = rows_lm([[1000.0, 1.0, 2.0, 0.0]])
    assert softmax_temp(torch.tensor([1000.0, 1.0, 2.0, 0.0]), 1)[EOS] == 1
    assert set(draws(lm, ONE, 20, top_p=top_p)) == {EOS}
    assert set(draws(lm, ONE, 20, top_p=top_p, ban_eos=True)) == {2}
    two = torch.tensor([[1, 2]])
    assert set(draws(lm, two, 20, top_p=top_p, ban_eos=True, rep_ban_n=1)) == {1}


def test_the_repetition_ban_holds_and_gives_way_where_nothing_is_left(rows_lm):
    lm, ids = rows_lm([[0.0, 0.0, 0.0]]), torch.tensor([[0, 1, 2]])
    assert set(draws(lm, ids)) == {0, 1, 2}
    assert set(draws(lm, ids, rep_ban_n=1)) == {0, 1}
    assert set(draws(lm, ids, rep_ban_n=2)) == {0}
    assert set(draws(lm, ids, rep_ban_n=3)) == {0, 1, 2}
    assert set(draws(lm, ids, rep_ban_n=3, ban_eos=True)) == {1, 2}


@settings(deadline=None)
@given(
    logits=st.lists(st.sampled_from([-1000.0, -1.0, 0.0, 2.0, 1000.0]), min_size=4, max_size=4),
    context=st.lists(st.integers(0, 3), min_size=1, max_size=5),
    temperature=st.sampled_from([0, 0.5, 1, 9]),
    top_p=TOP_P,
    rep_ban_n=st.integers(0, 6),
    standard=st.booleans(),
    seed=st.integers(0, 2**63 - 1),
)
def test_no_ban_ever_leaks(rows_lm, logits, context, temperature, top_p, rep_ban_n, standard, seed):
    lm, ids = rows_lm([logits]), torch.tensor([context])
    knobs = {"temperature": temperature, "top_p": top_p, "standard": standard}
    recent = set(context[-rep_ban_n:]) if rep_ban_n else set()
    probs = softmax_temp(torch.tensor(logits), temperature)
    something_left = any(probs[t] > 0 for t in range(4) if t not in recent)

    free = draws(lm, ids, 3, seed, rep_ban_n=rep_ban_n, **knobs)
    if something_left:
        assert not recent & set(free)
    assert all(probs[t] > 0 for t in free)

    banned = draws(lm, ids, 3, seed, rep_ban_n=rep_ban_n, ban_eos=True, **knobs)
    assert EOS not in banned
    if something_left and not {1, 2, 3} <= recent:
        assert not recent & set(banned)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.float16])
def test_nucleus_probs_takes_numbers_of_any_type(dtype):
    logits = torch.tensor([3, 1, 2])
    expected = nucleus_probs(logits.double(), 1.0, 0.95)
    assert torch.equal(nucleus_probs(logits.to(dtype), 1.0, 0.95), expected)


@pytest.mark.parametrize("value", bad.NO_NUMBERS)
def test_nucleus_probs_refuses_bad_logits(refuses, value):
    with refuses("logits"):
        nucleus_probs(value, 1.0, 1.0)


@pytest.mark.parametrize("value", bad.NO_VECTOR)
def test_softmax_temp_refuses_bad_logits(refuses, value):
    with refuses("logits"):
        softmax_temp(value, 1.0)


@pytest.mark.parametrize("value", bad.NO_TEMPERATURE)
def test_bad_temperatures_are_refused(refuses, tiny_gpt2, value):
    with refuses("temperature", value):
        softmax_temp(PROBS, value)
    with refuses("temperature", value, tiny_gpt2):
        draws(tiny_gpt2, ONE, temperature=value)


@pytest.mark.parametrize("value", bad.NO_PROBS)
def test_top_p_indices_refuses_what_is_no_distribution(refuses, value):
    with refuses("probs"):
        top_p_indices(value, 0.9)


@pytest.mark.parametrize("value", [True, "0.9", math.nan, -0.1, -math.inf, 1j, [0.9]])
def test_top_p_indices_refuses_bad_top_p(refuses, value):
    with refuses("top_p", value):
        top_p_indices(PROBS, value)


@pytest.mark.parametrize("value", bad.NO_BOOL)
def test_flags_are_true_or_false(refuses, tiny_gpt2, value):
    with refuses("standard", value):
        top_p_indices(PROBS, 0.9, standard=value)
    for name in ("standard", "ban_eos"):
        with refuses(name, value, tiny_gpt2):
            draws(tiny_gpt2, ONE, **{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [("top_p", v) for v in bad.NO_TOP_P] + [("rep_ban_n", v) for v in bad.NO_COUNT],
)
def test_sample_next_refuses_bad_knobs(refuses, tiny_gpt2, name, value):
    with refuses(name, value, tiny_gpt2):
        draws(tiny_gpt2, ONE, **{name: value})


@pytest.mark.parametrize("value", bad.NO_IDS)
def test_sample_next_refuses_bad_ids(refuses, tiny_gpt2, value):
    with refuses("ids", lm=tiny_gpt2):
        draws(tiny_gpt2, value)


@pytest.mark.parametrize("value", bad.NO_GENERATOR)
def test_sample_next_refuses_a_generator_off_the_cpu(refuses, tiny_gpt2, value):
    with refuses("generator", lm=tiny_gpt2):
        sample_next(tiny_gpt2, ONE, 1.0, None, generator=value)


def test_sample_next_must_be_given_a_generator(tiny_gpt2):
    with pytest.raises(TypeError, match="generator"):
        sample_next(tiny_gpt2, ONE, 1.0, None)


@pytest.mark.parametrize("value", bad.NO_LM)
def test_sample_next_refuses_what_is_no_lm(refuses, value):
    with refuses("lm"):
        draws(value, ONE)
