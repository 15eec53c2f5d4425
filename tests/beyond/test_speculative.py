"""The loop of the cure: greedy's tokens exactly, whatever drafts, and every pass counted."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from bad_values import (
    NO_BOOL,
    NO_FUNCTION,
    NO_LM,
    NO_POSITIVE,
    NO_PROMPT,
    NO_SEED,
    NO_TEMPERATURE,
    NO_TOP_P,
)
from drafts import PROMPTS, Says, assert_same_as_greedy
from heads import random_heads
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_models import small_llama, small_tokenizer
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from medusa_lib import LM, encode, last_logits, make_generator, make_lm, run_greedy
from medusa_lib.beyond import speculative
from medusa_lib.beyond.drafters import FirstOf, ModelDrafter, NgramDrafter
from medusa_lib.beyond.drawn_chains import DrawnChain
from medusa_lib.beyond.medusa_heads import KINDS
from medusa_lib.beyond.one_pass import Branch, one_pass, roll_back
from medusa_lib.beyond.speculative import WIDEST, speculate, stream
from medusa_lib.beyond.typical import Typical
from medusa_lib.measure.chi_square import chi_square_p
from medusa_lib.steps.sampling import nucleus_probs

ANY_MODEL = (None, "ngram", "self")


@pytest.mark.parametrize("name", ["lm", "tiny_gpt2", "tiny_llama"])
def test_greedy_verification_writes_greedys_tokens(name, request) -> None:
    model = request.getfixturevalue(name)
    drafters = (*ANY_MODEL, "draft_model") if name == "lm" else ANY_MODEL
    accepted = []

    @settings(
        max_examples=15,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(
        prompt=st.sampled_from(PROMPTS),
        count=st.integers(1, 24),
        span=st.none() | st.integers(1, 9),
        drafter=st.sampled_from(drafters),
        adaptive=st.booleans(),
    )
    def holds(prompt, count, span, drafter, adaptive) -> None:
        knobs = {"span": span, "drafter": drafter, "adaptive": adaptive}
        accepted.append(assert_same_as_greedy(model, prompt, count, **knobs))

    holds()
    assert sum(accepted) > 0, "no draft was ever accepted: the property would be vacuous"


def test_any_branch_at_all_is_safe(tiny_gpt2) -> None:
    @settings(max_examples=40, deadline=None, database=None, derandomize=True)
    @given(tokens=st.lists(st.integers(0, 13), max_size=9), count=st.integers(1, 30))
    def holds(tokens, count) -> None:
        assert_same_as_greedy(tiny_gpt2, "a b", count, drafter=Says(*tokens), span=9)

    holds()


def test_one_verify_pass_a_loop_and_the_bonus_is_counted(lm) -> None:
    run = speculate(lm, PROMPTS[0], "self", max_new_tokens=20, span=4)
    assert all(record.verify_passes == 1 for record in run.loops)
    full = [record for record in run.loops if record.accepted == len(record.branch) > 0]
    assert full
    assert all(len(r.emitted) == r.accepted + 1 and r.bonus == r.emitted[-1] for r in full)
    assert [s for r in full for s in r.sources].count("bonus") == len(full)


@pytest.mark.parametrize("drafter", ANY_MODEL)
def test_forward_passes_are_counted(lm, count_passes, drafter) -> None:
    with count_passes(lm) as passes:
        run = speculate(lm, PROMPTS[0], drafter, 15)
    assert len(passes) == run.model_passes


def test_the_draft_models_passes_are_counted_apart(lm, count_passes) -> None:
    with count_passes(lm) as passes:
        run = speculate(lm, PROMPTS[0], "draft_model", 15)
    assert len(passes) == run.verify_passes
    assert run.draft_passes == sum(len(record.branch) for record in run.loops) > 0


def test_stops_before_eos_inside_an_accepted_run(lm) -> None:
    """EOS right after each accepted length: as greedy, and nothing after it is emitted."""
    greedy = run_greedy(lm, PROMPTS[0], 12).new_ids
    for eos in dict.fromkeys(greedy):
        other = dataclasses.replace(lm, eos_id=eos)
        for drafter in ANY_MODEL:
            assert_same_as_greedy(other, PROMPTS[0], 12, drafter=drafter, span=5)


@pytest.mark.parametrize("drafter", ANY_MODEL)
def test_the_contexts_end_is_greedys(tiny_gpt2, drafter) -> None:
    assert_same_as_greedy(tiny_gpt2, PROMPTS[0], 10_000, drafter=drafter, span=6)


def test_stream_yields_the_records_of_speculate_as_they_come(lm) -> None:
    run = speculate(lm, PROMPTS[0], "ngram", 12)
    steps = stream(lm, PROMPTS[0], "ngram", 12)
    first = next(steps)
    assert first.emitted == run.loops[0].emitted
    rest = [record.emitted for record in steps]
    assert [first.emitted, *rest] == [record.emitted for record in run.loops]


@pytest.mark.parametrize("decode", [stream, speculate])
def test_every_knob_reaches_the_field_of_its_name(tiny_gpt2, monkeypatch, decode) -> None:
    given = {"max_new_tokens": 3, "span": 2, "temperature": 0.5, "top_p": 0.75, "seed": 11}
    given |= {"adaptive": True, "tie_bound": 0.25, "typical": Typical(0.125, 0.5)}
    assert set(given) == {field.name for field in dataclasses.fields(speculative.Knobs)}
    seen, prepare = [], speculative.prepare
    monkeypatch.setattr(speculative, "prepare", lambda *all: seen.append(all[-1]) or prepare(*all))
    decode(tiny_gpt2, "abc", None, **given)
    assert [vars(knobs) for knobs in seen] == [given]


def test_stream_refuses_at_once(lm, refuses) -> None:
    with refuses("span", 0, lm):
        stream(lm, PROMPTS[0], span=0)


def test_cancel(lm) -> None:
    run = speculate(lm, PROMPTS[0], on_loop=lambda record: record.index < 2)
    assert (run.stop_reason, len(run.loops)) == ("cancelled", 3)


def test_observe_sees_each_verification(lm) -> None:
    drafter = Says(1, 2)
    run = speculate(lm, PROMPTS[0], drafter, 6)
    start = len(run.prompt_ids)
    for (length, rows, accepted), record in zip(drafter.told, run.loops, strict=True):
        start += len(record.emitted)
        assert (length, rows, accepted) == (start, record.accepted + 1, record.accepted)


def test_an_adaptive_span_moves_within_its_bounds(lm) -> None:
    run = speculate(lm, "la la la la la la la la", NgramDrafter(), 60, span=2, adaptive=True)
    spans = [len(record.branch) for record in run.loops]
    assert max(spans) > 2
    assert max(spans) <= WIDEST
    fixed = speculate(lm, "la la la la la la la la", NgramDrafter(), 60, span=2)
    assert max(len(record.branch) for record in fixed.loops) <= 2


def test_seeded_sampling_repeats_and_follows_its_seed(lm) -> None:
    for drafter in (None, "ngram", "self", "draft_model"):
        runs = [
            speculate(lm, PROMPTS[0], drafter, 20, temperature=1.0, top_p=0.95, seed=seed).new_ids
            for seed in (1, 1, 2)
        ]
        assert runs[0] == runs[1] != runs[2]


def test_sampling_at_top_p_zero_is_greedy(lm) -> None:
    greedy = run_greedy(lm, PROMPTS[1], 16).new_ids
    for drafter in ("ngram", "self", "draft_model"):
        assert speculate(lm, PROMPTS[1], drafter, 16, temperature=0.7, top_p=0.0).new_ids == greedy


HEAT, TOP_P = 1.5, 0.8


def exact_texts(lm, ids, count: int) -> dict[tuple[int, ...], float]:
    """The probability of every text of `count` sampled tokens, or fewer and EOS."""
    if count == 0:
        return {(): 1.0}
    texts = {}
    for token, p in enumerate(nucleus_probs(last_logits(lm, ids), HEAT, TOP_P).tolist()):
        if p == 0:
            continue
        if token == lm.eos_id:
            texts[()] = p
            continue
        grown = torch.cat([ids, torch.tensor([[token]])], 1)
        rest = exact_texts(lm, grown, count - 1)
        texts |= {(token, *after): p * q for after, q in rest.items()}
    return texts


@pytest.fixture(scope="module")
def other_gpt2(tiny_gpt2):
    """A tiny model with the same tokens that would write something else."""
    model = type(tiny_gpt2.model)(tiny_gpt2.model.config)
    torch.manual_seed(11)
    for weights in model.parameters():
        torch.nn.init.normal_(weights, std=0.2)
    return make_lm(tiny_gpt2.tokenizer, model, "other")


@pytest.mark.parametrize("drafter", [None, "ngram", "self", "other model", *KINDS])
def test_whole_loop_samples_the_models_distribution(tiny_gpt2, other_gpt2, drafter) -> None:
    """Three sampled letters, with branches of two, against the product of probabilities.

    The other model and the heads draw from a generator of the same seed as the run's.
    """
    trials, prompt = 1500, "abcab"
    expected = exact_texts(tiny_gpt2, encode(tiny_gpt2, prompt), 3)
    assert sum(expected.values()) == pytest.approx(1)
    counts, drafted = dict.fromkeys(expected, 0), 0
    for seed in range(trials):
        who = drafter
        if drafter == "other model":
            who = ModelDrafter(other_gpt2, HEAT, TOP_P, make_generator(seed))
        elif drafter in KINDS:
            who = DrawnChain(random_heads(tiny_gpt2, drafter), HEAT, TOP_P, make_generator(seed))
        knobs = {"span": 2, "temperature": HEAT, "top_p": TOP_P, "seed": seed}
        run = speculate(tiny_gpt2, prompt, who, 3, **knobs)
        counts[tuple(run.new_ids)] += 1  # a text that cannot be is a KeyError
        drafted = max(drafted, *(len(record.branch) for record in run.loops))
    # Heads have nothing to draft from before the first pass, which writes one letter of three.
    assert drafted == (0 if drafter is None else 1 if drafter in KINDS else 2)
    # Rare texts are put together, so that each kind is expected at least five times.
    often = [text for text, p in expected.items() if p * trials >= 5]
    seen = [counts[text] for text in often]
    due = [expected[text] * trials for text in often]
    p_value = chi_square_p([*seen, trials - sum(seen)], [*due, trials - sum(due)])
    assert p_value > 1e-3


BAD = {
    "max_new_tokens": NO_POSITIVE,
    "span": [value for value in NO_POSITIVE if value is not None],
    "temperature": NO_TEMPERATURE,
    "top_p": NO_TOP_P,
    "seed": NO_SEED,
    "prompt": NO_PROMPT,
    "adaptive": NO_BOOL,
    "on_loop": NO_FUNCTION,
    "tie_bound": [value for value in NO_TEMPERATURE if value is not None],
}


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, vs in BAD.items() for v in vs])
def test_bad_input_is_refused_before_any_pass(tiny_gpt2, refuses, name, value) -> None:
    knobs = {"prompt": "a b", name: value}
    with refuses(name, value, tiny_gpt2):
        speculate(tiny_gpt2, **knobs)


@pytest.mark.parametrize("bad", NO_LM)
def test_a_name_is_no_lm(refuses, bad) -> None:
    with refuses("lm"):
        speculate(bad, "a b")


def test_an_interrupt_says_how_far_it_came(lm) -> None:
    def stop(record):
        if record.index == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="stopped from the keyboard after 2 new tokens"):
        speculate(lm, PROMPTS[0], None, 10, on_loop=stop)


def test_generator_of_draws_is_the_seeds_own(lm) -> None:
    before = torch.random.get_rng_state()
    speculate(lm, PROMPTS[0], "self", 8, temperature=0.9)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert make_generator(7).initial_seed() == 7


class Wild:
    """A drafter that returns whatever it is given, and may touch the state."""

    def __init__(self, branch, touch=lambda state: None):
        self.branch, self.touch = branch, touch

    def propose(self, state, span):
        self.touch(state)
        return self.branch


def feed_others(state) -> None:
    """Cut the cache, and feed other tokens until it is as long as before."""
    seen = state.seen
    if seen > 2:
        roll_back(state, 1)
        state.ids = [9] * seen
        one_pass(state, [])
        assert state.seen == seen


@pytest.mark.parametrize(
    "touch",
    [
        lambda state: state.ids.append(5),
        lambda state: state.ids.pop(),
        lambda state: one_pass(state, [3, 3]),
        lambda state: setattr(state, "ids", [2]),
        lambda state: state.ids.__setitem__(0, 9),
        lambda state: state.ids.clear(),
        lambda state: state.cache.crop(-1) if state.seen else None,
        feed_others,
        lambda state: [layer.keys.zero_() for layer in state.cache.layers if state.seen],
        lambda state: [layer.values.fill_(9) for layer in state.cache.layers if state.seen],
        lambda state: setattr(state, "cache", None),
        lambda state: state.hidden is not None and state.hidden.zero_(),
        lambda state: dataclasses.replace(state, ids=[3]).ids.append(4),
        repr,
    ],
)
@pytest.mark.parametrize("when", ["propose", "observe"])
def test_a_drafter_that_touches_the_state_does_no_harm(each_way, touch, when) -> None:
    drafter = Wild(Branch([2, 3]), touch)
    if when == "observe":
        drafter = Wild(Branch([2, 3]))
        drafter.observe = lambda state, logits, accepted: touch(state)
    assert_same_as_greedy(each_way, "abc", 12, drafter=drafter)


@pytest.fixture(params=["plain loops", "the model itself"])
def each_way(request, tiny_gpt2, monkeypatch):
    """A model whose passes are the engine's, and one whose passes are its own."""
    if request.param != "plain loops":
        monkeypatch.setattr("medusa_lib.beyond.one_pass.quick", lambda _lm: None)
    return tiny_gpt2


def test_a_drafter_that_writes_into_what_it_was_told_does_no_harm(lm) -> None:
    class Scribbler:
        """Writes into its own old branches and into all that it is shown."""

        span, given = 3, []

        def propose(self, state, span):
            self.given.append(Branch([5, 6, 7]))
            return self.given[-1]

        def look(self, branch, logits):
            logits.fill_(9)
            branch.tokens.clear()
            self.given[-1].tokens.append(3)

        def observe(self, state, logits, accepted):
            logits.zero_()
            state.ids[:] = [1]

    run = speculate(lm, "The king", Scribbler(), 9)
    assert run.new_ids == run_greedy(lm, "The king", 9).new_ids
    assert all(record.branch == (5, 6, 7)[: len(record.branch)] for record in run.loops)


def test_the_cache_is_copied_only_for_a_drafter_that_asks(lm, monkeypatch) -> None:
    monkeypatch.setattr("medusa_lib.beyond.one_pass.copy.deepcopy", None)
    seen = []
    drafter = Wild(Branch([2]), lambda state: seen.append(state.seen))
    assert_same_as_greedy(lm, "The king", 6, drafter=drafter)
    assert seen[0] == 0 < seen[1] < seen[2]


@pytest.mark.parametrize(
    "tokens",
    [(2, 3), range(2, 4), torch.tensor([2, 3]), np.array([2, 3]), [np.int64(2), 3]],
    ids=["tuple", "range", "tensor", "array", "numpy's"],
)
@pytest.mark.parametrize("parents", [None, (-1, -1), [-1, 0], torch.tensor([-1, 0])])
def test_ids_of_any_kind_are_welcome(tiny_gpt2, tokens, parents) -> None:
    drafter = Wild(Branch(tokens, parents=parents))
    assert_same_as_greedy(tiny_gpt2, "abc", 8, drafter=drafter)
    assert_same_as_greedy(tiny_gpt2, "abc", 8, drafter=FirstOf(drafter))
    record = speculate(tiny_gpt2, "abc", drafter, 8).loops[0]
    assert sorted(record.branch) == [2, 3]
    assert all(type(token) is int for token in record.branch)


@pytest.mark.parametrize("kind", ["list", "matrix", "array", "arrays"])
def test_probs_of_any_kind_are_welcome(tiny_gpt2, kind) -> None:
    q = torch.full((2, 14), 1 / 14)
    probs = {"list": list(q), "matrix": q, "array": q.numpy(), "arrays": list(q.numpy())}[kind]
    texts = [
        speculate(tiny_gpt2, "abc", Wild(Branch([2, 3], given)), 8, temperature=1.0).new_ids
        for given in (probs, list(q))
    ]
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("branch", "name"),
    [
        (None, "drafter"),
        ([2, 3], "drafter"),
        (Branch([2, 99]), "each drafted token"),
        (Branch([-1]), "each drafted token"),
        (Branch([2.0]), "each drafted token"),
        (Branch([torch.tensor(2)]), "each drafted token"),
        (Branch([2], passes=None), "passes"),
        (Branch(None), "tokens"),
        (Branch(3), "tokens"),
        (Branch({2, 3}), "tokens"),
        (Branch(token for token in [2, 3]), "tokens"),
        (Branch({2: 3}), "tokens"),
        (Branch("ab"), "tokens"),
        (Branch(torch.zeros(2, 2).long()), "tokens"),
        (Branch(torch.tensor(2)), "tokens"),
        (Branch(np.array([2.5, 3.0])), "each drafted token"),
        (Branch(torch.tensor([True])), "each drafted token"),
        (Branch([2, 3], parents=5), "parents"),
        (Branch([2, 3], parents={-1, 0}), "parents"),
        (Branch([2, 3], parents=(-1,)), "parents"),
        (Branch([2, 3], parents=(-1, 1)), "parent"),
        (Branch([2], probs=0.5), "probs"),
        (Branch([2], probs={2: 0.5}), "probs"),
        (Branch([2], probs=(q for q in [torch.ones(14) / 14])), "probs"),
    ],
)
def test_a_branch_that_is_none_is_refused(tiny_gpt2, branch, name) -> None:
    with pytest.raises(ValueError, match=rf"{name}.* must .*got"):
        speculate(tiny_gpt2, "abc", Wild(branch), 6)


@pytest.mark.parametrize(
    "probs",
    [
        [],
        [torch.ones(3) / 3],
        [torch.randn(14)],
        [torch.ones(14)],
        [None],
        [[1 / 14] * 14],
        [torch.ones(14, 1) / 14],
        [torch.tensor(1.0)],
        torch.ones(14) / 14,
        [torch.ones(14).long()],
        [torch.full((14,), torch.nan)],
    ],
    ids=[
        "too few",
        "another size",
        "logits",
        "no sum of 1",
        "none",
        "a list",
        "a column",
        "a number",
        "one row",
        "whole",
        "no numbers",
    ],
)
def test_probs_that_are_no_distribution_are_refused(tiny_gpt2, probs) -> None:
    assert tiny_gpt2.vocab_size == 14
    with pytest.raises(ValueError, match=r"probs.* must .*got"):
        speculate(tiny_gpt2, "abc", Wild(Branch([2], probs)), 6, temperature=1.0)


def test_the_span_bounds_what_a_drafter_proposes(tiny_gpt2) -> None:
    run = speculate(tiny_gpt2, "abc", Wild(Branch([2] * 9)), 12, span=3)
    assert max(len(record.branch) for record in run.loops) == 3


@pytest.mark.parametrize("drafter", ANY_MODEL)
def test_logits_that_are_no_numbers_are_refused(tiny_gpt2, drafter) -> None:
    model = type(tiny_gpt2.model)(tiny_gpt2.model.config).eval()
    with torch.no_grad():
        model.transformer.ln_f.bias[3] = torch.nan
    broken = dataclasses.replace(tiny_gpt2, model=model)
    with pytest.raises(ValueError, match="logits must be finite"):
        speculate(broken, "abc", drafter, 6)


@pytest.fixture(scope="module")
def sliding_lm(tiny_gpt2):
    """A tiny Mistral that looks back on eight tokens only."""
    torch.manual_seed(2)
    config = MistralConfig(
        vocab_size=tiny_gpt2.vocab_size,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        sliding_window=8,
        max_position_embeddings=60,
        initializer_range=0.2,
        eos_token_id=0,
        bos_token_id=0,
    )
    return make_lm(tiny_gpt2.tokenizer, MistralForCausalLM(config), "sliding")


@pytest.mark.parametrize("drafter", [*ANY_MODEL, Says(2, 5, 3)])
def test_a_sliding_window_is_rolled_back_too(sliding_lm, drafter) -> None:
    for prompt in ("ab", "abcabcab", "abcdefghij abc"):
        assert_same_as_greedy(sliding_lm, prompt, 30, drafter=drafter, span=4)


def test_a_cancel_in_the_last_loop_is_no_cancel(lm) -> None:
    greedy = run_greedy(lm, PROMPTS[0], 5).new_ids
    ends = dataclasses.replace(lm, eos_id=greedy[-1])
    for drafter in ANY_MODEL:
        run = speculate(
            ends, PROMPTS[0], drafter, 20, on_loop=lambda r: len(r.emitted) > r.accepted
        )
        assert run.stop_reason == "eos"


class FirstHead:
    """One Medusa head that was never trained: the output layer again, on the hidden states."""

    def __init__(self):
        self.hidden = None

    @torch.inference_mode()
    def observe(self, state, logits, accepted):
        again = state.lm.model.get_output_embeddings()(state.hidden)
        assert torch.allclose(again, logits, atol=1e-3)
        self.hidden = state.hidden[accepted]

    @torch.inference_mode()
    def propose(self, state, span):
        if self.hidden is None:
            return Branch()
        scores = state.lm.model.get_output_embeddings()(self.hidden)
        return Branch([int(scores.argmax())])


def test_a_drafter_may_draft_from_hidden_numbers(each_lm) -> None:
    """What the heads of Medusa need fits the loop as it is."""
    assert_same_as_greedy(each_lm, "abcab", 20, drafter=FirstHead())


def longrope_llama() -> LM:
    """A tiny Llama that sees all positions differently beyond 24 tokens."""
    tokenizer = small_tokenizer()
    model = small_llama(len(tokenizer))
    rope = {
        "rope_type": "longrope",
        "rope_theta": 1e4,
        "factor": 2.0,
        "original_max_position_embeddings": 24,
        "short_factor": [1.0] * 8,
        "long_factor": [1.0 + i for i in range(8)],
    }
    config = LlamaConfig(**{**model.config.to_dict(), "rope_parameters": rope})
    torch.manual_seed(5)
    return make_lm(tokenizer, LlamaForCausalLM(config), "longrope")


def test_a_text_across_the_turn_of_longrope_is_refused_and_any_other_is_greedys(refuses) -> None:
    lm = longrope_llama()
    width = lm.model.config.hidden_size // lm.model.config.num_attention_heads
    assert width == 16, "the factors above are for half of that"
    with refuses("max_new_tokens", 30, lm):
        speculate(lm, "abcabc", "ngram", 30)
    with refuses("max_new_tokens", 20, lm):
        speculate(lm, "abcabc", "ngram", 20)
    for prompt, count in (("abcabc", 19), ("ab" * 12, 1), ("ab" * 13, 10)):
        for drafter in (None, "ngram", "self"):
            assert_same_as_greedy(lm, prompt, count, drafter=drafter)


def test_a_seed_of_numpys_is_the_same_seed(lm) -> None:
    runs = [
        speculate(lm, PROMPTS[0], None, 9, temperature=0.9, seed=seed) for seed in (7, np.int32(7))
    ]
    assert runs[0].new_ids == runs[1].new_ids


@pytest.mark.parametrize("probs", [[], torch.zeros(0, 14), np.zeros((0, 14))])
def test_no_draft_needs_no_distribution(probs) -> None:
    """Whatever holds none of them."""
    assert speculative.distributions(probs, 0, 14) == []


def test_a_matrix_of_distributions_is_looked_at_row_by_row_where_it_is_wrong() -> None:
    good = torch.full((2, 4), 0.25)
    assert all(torch.equal(q, good[0].double()) for q in speculative.distributions(good, 2, 4))
    for wrong in (-0.1, 0.9, float("nan"), float("inf")):
        bad = good.clone()
        bad[1, 2] = wrong
        with pytest.raises(ValueError, match="probs must be"):
            speculative.distributions(bad, 2, 4)
