import pytest
import torch

from medusa_lib.beyond.sampling_exactly import is_accepted, residual
from medusa_lib.exercises.grading import CORRECT, NOT_ATTEMPTED
from medusa_lib.exercises.sampling_exactly import check_acceptance_chance, check_next_word
from medusa_lib.steps.sampling import draw_from


def next_word(rest):
    """An attempt at the second exercise with this residual."""

    def attempt(draft, p, q, generator):
        if is_accepted(draft, p, q, generator):
            return draft
        return draw_from(rest(p, q), generator)

    return attempt


def other_rule(chance):
    """An attempt that accepts with another probability."""

    def attempt(draft, p, q, generator):
        if float(torch.rand(1, generator=generator)) < chance(float(p[draft]), float(q[draft])):
            return draft
        return draw_from(residual(draft, p, q), generator)

    return attempt


def spike(p):
    return torch.nn.functional.one_hot(p.argmax(), len(p)).double()


RIGHT_WORDS = [
    next_word(lambda p, q: (p - q).clamp(min=0)),
    next_word(lambda p, q: residual(0, p, q)),
    other_rule(lambda p, q: p / q),
]


WRONG_WORDS = {
    "max(p - q, 0) is not |p - q|": next_word(lambda p, q: (p - q).abs()),
    "you draw from p; draw from what q leaves": next_word(lambda p, q: p),
    "you draw from q again": next_word(lambda p, q: q),
    "that is what p leaves of q": next_word(lambda p, q: (q - p).clamp(min=0)),
    "the best word always comes": next_word(lambda p, q: spike(p)),
    "all words are equally likely": next_word(lambda p, q: torch.ones_like(p)),
    "stands on its head": other_rule(lambda p, q: q / p),
    "no draft is ever accepted": other_rule(lambda p, q: 0),
    "every draft is accepted": lambda draft, p, q, generator: draft,
    "0.70 can be": lambda draft, p, q, generator: draw_from(p, generator),
    "times in 2000": lambda draft, p, q, generator: 3,
    "an int from 0 to 3": lambda draft, p, q, generator: residual(draft, p, q),
}


@pytest.mark.parametrize("attempt", RIGHT_WORDS)
def test_right_next_words_pass(attempt) -> None:
    assert check_next_word(attempt) == CORRECT


@pytest.mark.parametrize("said", WRONG_WORDS)
def test_a_fault_of_the_next_word_is_named(said) -> None:
    answer = check_next_word(WRONG_WORDS[said])
    assert answer.startswith("not yet: ")
    assert said in answer


def test_an_attempt_may_spoil_its_tensors() -> None:
    def careless(draft, p, q, generator):
        word = RIGHT_WORDS[0](draft, p, q, generator)
        p.zero_(), q.zero_()
        return word

    assert check_next_word(careless) == CORRECT


@pytest.mark.parametrize("check", [check_acceptance_chance, check_next_word])
def test_an_untouched_stub_is_not_attempted(check) -> None:
    assert check(lambda *_: ...) == NOT_ATTEMPTED
