"""The one-pass loop: greedy's tokens exactly, sampling's distribution exactly."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medusa_lib import encode, first_difference, last_logits, run_greedy
from medusa_lib.drafters import ModelDrafter, NgramDrafter
from medusa_lib.lessons import PretendModel
from medusa_lib.one_pass import (
    Branch,
    State,
    nucleus_probs,
    one_hot,
    one_pass,
    roll_back,
    settle_near_tie,
    speculate,
    verify_by_sampling,
    verify_greedily,
)

PROMPTS = ("Once upon a time", "The old king said", "In a distant future, ", "la la la la")
DRAFTERS = (None, "ngram", "self")


def assert_same_as_greedy(lm, prompt: str, count: int, **knobs) -> int:
    """The run's tokens are greedy's; returns how many drafts were accepted."""
    greedy, run = (
        run_greedy(lm, prompt, count),
        speculate(lm, prompt, max_new_tokens=count, **knobs),
    )
    at = first_difference(run.new_ids, greedy.new_ids)
    if at is not None:
        ids = torch.tensor([greedy.prompt_ids + greedy.new_ids[:at]])
        top = last_logits(lm, ids).topk(2).values
        pytest.fail(f"first difference at new token {at}, top-two margin {top[0] - top[1]:.2e}")
    assert run.stop_reason == greedy.stop_reason
    return sum(record.accepted for record in run.loops)


@pytest.mark.parametrize("name", ["lm", "tiny_gpt2", "tiny_llama"])
def test_greedy_verification_writes_greedys_tokens(name, request) -> None:
    model = request.getfixturevalue(name)
    accepted = []

    @settings(
        max_examples=12,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(
        prompt=st.sampled_from(PROMPTS),
        count=st.integers(1, 24),
        span=st.integers(1, 7),
        drafter=st.sampled_from(DRAFTERS),
    )
    def holds(prompt: str, count: int, span: int, drafter: str | None) -> None:
        accepted.append(assert_same_as_greedy(model, prompt, count, span=span, drafter=drafter))

    holds()
    assert sum(accepted) > 0, "no draft was ever accepted: the property would be vacuous"


def test_a_pass_over_a_branch_says_what_single_passes_say(lm) -> None:
    ids = encode(lm, PROMPTS[0])[0].tolist()
    branch = run_greedy(lm, PROMPTS[0], 5).new_ids
    rows = one_pass(State.start(lm, ids), branch)
    for i in range(len(branch) + 1):
        alone = last_logits(lm, torch.tensor([ids + branch[:i]]))
        assert torch.allclose(rows[i], alone, atol=2e-4)


def test_rolled_back_cache_is_as_if_never_fed(lm) -> None:
    ids = encode(lm, PROMPTS[1])[0].tolist()
    state = State.start(lm, ids)
    first = one_pass(state, [5, 6, 7])[0]
    roll_back(state, len(ids) - 1)
    assert state.seen == len(ids) - 1
    assert torch.allclose(one_pass(state, [])[-1], first, atol=2e-4)


def test_one_verify_pass_a_loop_and_the_bonus_is_counted(lm) -> None:
    run = speculate(lm, PROMPTS[0], "self", max_new_tokens=20, span=4)
    assert all(record.verify_passes == 1 for record in run.loops)
    full = [record for record in run.loops if record.accepted == len(record.branch) > 0]
    assert full
    assert all(len(r.emitted) == r.accepted + 1 and r.bonus == r.emitted[-1] for r in full)
    assert [s for r in full for s in r.sources].count("bonus") == len(full)


def test_forward_passes_are_counted(lm) -> None:
    calls = []
    handle = lm.model.register_forward_hook(lambda *_: calls.append(1))
    try:
        runs = {name: speculate(lm, PROMPTS[0], name, 15) for name in DRAFTERS}
        counted = [run.model_passes for run in runs.values()]
    finally:
        handle.remove()
    assert len(calls) == sum(counted)


def test_stops_before_eos_inside_an_accepted_run(lm) -> None:
    """EOS right after each accepted length: as greedy, and nothing after it is emitted."""
    greedy = run_greedy(lm, PROMPTS[0], 12).new_ids
    for eos in dict.fromkeys(greedy):
        other = type(lm)(lm.model_id, lm.tokenizer, lm.model, lm.device, eos, lm.context_length)
        for drafter in DRAFTERS:
            assert_same_as_greedy(other, PROMPTS[0], 12, drafter=drafter, span=5)


def test_context_end_is_greedys(tiny_gpt2) -> None:
    for drafter in DRAFTERS:
        assert_same_as_greedy(tiny_gpt2, PROMPTS[0], 10_000, drafter=drafter, span=6)


def test_cancel_and_bad_input(lm) -> None:
    run = speculate(lm, PROMPTS[0], on_loop=lambda record: record.index < 2)
    assert (run.stop_reason, len(run.loops)) == ("cancelled", 3)
    for knobs in ({"span": 0}, {"temperature": -1}, {"top_p": 2}, {"max_new_tokens": 0}):
        with pytest.raises(ValueError, match=next(iter(knobs))):
            speculate(lm, PROMPTS[0], **knobs)
    with pytest.raises(ValueError, match="drafter must be one of"):
        speculate(lm, PROMPTS[0], "oracle")


def test_near_tie_is_settled_by_a_pass_of_one_token(lm) -> None:
    ids = encode(lm, PROMPTS[0])[0].tolist()
    branch = run_greedy(lm, PROMPTS[0], 4).new_ids
    state = State.start(lm, ids)
    logits = one_pass(state, branch)
    wrong = logits.clone()
    best = int(wrong[2].argmax())
    runner_up = int(wrong[2].topk(2).indices[1])
    wrong[2, runner_up] = wrong[2, best] + 1e-5  # the many-token pass flipped a near tie
    assert verify_greedily(wrong, branch)[0] == 2
    kept, settled, extra = settle_near_tie(state, branch, wrong, tie_bound=1e-3)
    assert (kept, extra) == (branch[:2], 1)
    assert verify_greedily(settled, kept) == (2, best)
    assert settle_near_tie(state, branch, logits, tie_bound=0.0)[2] == 0


# Speculative sampling on a four-word language whose next word depends on the last one only.
TARGET = torch.tensor(
    [[1.0, 0.2, -0.5, 0.0], [0.0, 1.5, 0.3, -1.0], [0.7, 0.1, 0.6, -0.4], [-0.3, 0.9, 0.2, 0.4]]
)
DRAFT = TARGET.flip(1)
TEMPERATURE, TOP_P, TRIALS = 0.9, 0.95, 2000


def right_rule(logits, branch, generator):
    return verify_by_sampling(logits, branch, TEMPERATURE, TOP_P, generator)


def wrong_rule(kind: str):
    """verify_by_sampling with one planted mistake."""

    def rule(logits, branch, generator):
        shared = float(torch.rand(1, dtype=torch.float64, generator=generator))
        for i, token in enumerate(branch.tokens):
            p = nucleus_probs(logits[i], TEMPERATURE, TOP_P)
            q = branch.probs[i]
            if kind == "draft before nucleus":
                q = torch.softmax(DRAFT[branch.context[i]] / TEMPERATURE, -1).double()
            chance = shared
            if kind != "one random number":
                chance = float(torch.rand(1, dtype=torch.float64, generator=generator))
            if chance * float(q[token]) >= float(p[token]):
                rest = (p - q).clamp(min=0)
                if kind == "residual not renormalised":
                    # The mass that is missing falls to the last word, as in a naive inverse CDF.
                    rest[-1] += 1 - rest.sum()
                return i, int(torch.multinomial(rest, 1, generator=generator))
        p = nucleus_probs(logits[len(branch.tokens)], TEMPERATURE, TOP_P)
        return len(branch.tokens), int(torch.multinomial(p, 1, generator=generator))

    return rule


class Drawn(Branch):
    """A branch that remembers the word before each of its tokens."""

    context: tuple[int, ...] = ()


def three_words(rule, generator: torch.Generator) -> tuple[int, int, int]:
    """Three words after word 0: one speculative loop with span 2, then plain draws."""
    tokens, probs, context, last = [], [], [], 0
    for _ in range(2):
        context.append(last)
        probs.append(nucleus_probs(DRAFT[last], TEMPERATURE, TOP_P))
        last = int(torch.multinomial(probs[-1], 1, generator=generator))
        tokens.append(last)
    branch = Drawn(tokens, probs)
    object.__setattr__(branch, "context", tuple(context))
    accepted, following = rule(TARGET[[0, *tokens]], branch, generator)
    words = [*tokens[:accepted], following]
    while len(words) < 3:
        p = nucleus_probs(TARGET[words[-1]], TEMPERATURE, TOP_P)
        words.append(int(torch.multinomial(p, 1, generator=generator)))
    return tuple(words)


def chi_square_p_value(rule) -> float:
    """How likely counts as odd as these are under direct sampling from the target."""
    generator = torch.Generator().manual_seed(11)
    counts = torch.zeros(4, 4, 4, dtype=torch.float64)
    for _ in range(TRIALS):
        counts[three_words(rule, generator)] += 1
    step = torch.stack([nucleus_probs(row, TEMPERATURE, TOP_P) for row in TARGET])
    expected = TRIALS * step[0][:, None, None] * step[:, :, None] * step[None, :, :]
    possible = expected > 0
    if counts[~possible].sum() > 0:
        return 0.0  # a word outside the nucleus was written
    statistic = ((counts - expected)[possible] ** 2 / expected[possible]).sum()
    freedom = torch.tensor(float(possible.sum() - 1), dtype=torch.float64)
    return float(torch.special.gammaincc(freedom / 2, statistic / 2))


def test_speculative_sampling_has_the_targets_distribution() -> None:
    assert chi_square_p_value(right_rule) > 1e-3


@pytest.mark.parametrize(
    "kind", ["one random number", "residual not renormalised", "draft before nucleus"]
)
def test_a_planted_wrong_rule_is_caught(kind: str) -> None:
    assert chi_square_p_value(wrong_rule(kind)) < 1e-6


def test_a_drafter_that_does_not_draw_is_one_hot() -> None:
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
    shares = torch.bincount(torch.tensor(words), minlength=4).double() / len(words)
    assert torch.allclose(shares, p, atol=0.03)
    assert one_hot(2, 4).tolist() == [0, 0, 1, 0]


def test_ngram_drafter_follows_the_latest_match() -> None:
    state = State(None, [1, 2, 3, 9, 1, 2, 4, 8, 1, 2], None)
    assert NgramDrafter().propose(state, 2).tokens == [4, 8]
    assert NgramDrafter().propose(State(None, [1, 2, 3], None), 4).tokens == []


def test_model_drafter_keeps_its_cache_in_step(lm) -> None:
    """After a rejection its drafts are those of a fresh drafter."""
    generator = torch.Generator().manual_seed(0)
    ids = encode(lm, PROMPTS[1])[0].tolist()
    used = ModelDrafter(lm, 0.0, 1.0, generator)
    first = used.propose(State(lm, ids, None), 4)
    ids = [*ids, first.tokens[0], 77]
    fresh = ModelDrafter(lm, 0.0, 1.0, generator)
    assert used.propose(State(lm, ids, None), 4) == fresh.propose(State(lm, ids, None), 4)


def test_pretend_model_is_no_cache_model() -> None:
    """speculate needs a transformers model; the lessons' pretend model is for STEP4 to STEP6."""
    assert not hasattr(PretendModel(lambda ids: 0, 2), "config")
