import pytest
import torch
from graded import Graded

from medusa_lib.beyond.sampling_exactly import is_accepted, residual
from medusa_lib.exercises.grading import CORRECT
from medusa_lib.exercises.sampling_exactly import check_acceptance_chance, check_next_word
from medusa_lib.steps.sampling import draw_from


def chances(p, q):
    return [min(1, a / b) for a, b in zip(p, q, strict=True) if b > 0]


class TestAcceptanceChance(Graded):
    check = staticmethod(check_acceptance_chance)
    solution = staticmethod(lambda p, q: sum(map(min, p, q)))
    wrong = {
        "how often a draft is rejected": lambda p, q: 1 - sum(map(min, p, q)),
        "independent draws agree": lambda p, q: sum(a * b for a, b in zip(p, q, strict=True)),
        "counts more often": lambda p, q: sum(chances(p, q)) / len(chances(p, q)),
        "weigh each word's min(1, p / q)": lambda p, q: sum(chances(p, q)),
        "halve its sum": lambda p, q: 1 - sum(abs(a - b) for a, b in zip(p, q, strict=True)),
        "what do p and q share?": lambda p, q: sum(map(max, p, q)),
        "return one number": lambda p, q: p,
        "it is 0.7000, yours was 9": lambda p, q: 9,
    }


def next_word(rest):
    """An attempt with this residual."""

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


class TestNextWord(Graded):
    check = staticmethod(check_next_word)
    solution = staticmethod(next_word(lambda p, q: (p - q).clamp(min=0)))
    wrong = {
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
        "word 3 came 2000 times in 2000, 600 were due": lambda draft, p, q, generator: 3,
        "an int from 0 to 3": lambda draft, p, q, generator: residual(draft, p, q),
    }

    @pytest.mark.parametrize(
        "attempt",
        [next_word(lambda p, q: residual(0, p, q)), other_rule(lambda p, q: p / q)],
        ids=["library's residual", "ratio above 1"],
    )
    def test_other_solutions_pass(self, ask, attempt):
        assert ask(attempt) == CORRECT
