"""BEYOND4's exercises."""

from __future__ import annotations

from collections.abc import Callable

import torch

from medusa_lib.exercises.grading import Answers, AttemptError, as_list, check, grade, run_attempt
from medusa_lib.measure.chi_square import chi_square_p, misfits
from medusa_lib.steps.device import make_generator
from medusa_lib.steps.sampling import draw_from

TRIALS, FITS = 2000, 1e-4  # drafts of one case; the least p that the chi-square test lets pass


def _acceptance_chance(p: list[float], q: list[float]) -> Answers:
    wanted, agree = sum(map(min, p, q)), sum(a * b for a, b in zip(p, q, strict=True))
    chances = [min(1.0, a / b) for a, b in zip(p, q, strict=True) if b > 0]
    return wanted, (
        (1 - wanted, "that is how often a draft is rejected; take it off 1"),
        (agree, "that is how often two independent draws agree"),
        (sum(chances) / len(chances), "a word that q draws often counts more often"),
        (sum(chances), "weigh each word's min(1, p / q) by how often q draws it"),
        (1 - 2 * (1 - wanted), "|p - q| counts each difference twice: halve its sum"),
        (sum(map(max, p, q)), "that is the sum of max(p, q); what do p and q share?"),
    )


def check_acceptance_chance(attempt: Callable) -> str:
    """BEYOND4. attempt(p, q) → how probable it is that a draft from q is accepted."""
    cases = (
        ([0.4, 0.1, 0.2, 0.3], [0.3, 0.2, 0.4, 0.1]),
        ([0.5, 0.5, 0.0], [0.0, 0.25, 0.75]),
        ([0.7, 0.2, 0.1], [0.7, 0.2, 0.1]),
        ([1.0, 0.0], [0.0, 1.0]),
    )
    at, otherwise = "p {}, q {}: ", "it is {wanted:.4f}, yours was {answer!r}"
    return grade(attempt, cases, _acceptance_chance, at, otherwise)


def _next_word_mistakes(p: torch.Tensor, q: torch.Tensor) -> list[tuple[torch.Tensor, str]]:
    """How words are distributed after each typical mistake, and what to say about it."""

    def mixed(accepted: torch.Tensor, rest: torch.Tensor) -> torch.Tensor:
        return accepted + (1 - accepted.sum()) * rest / rest.sum()

    shared, left, best = torch.minimum(p, q), (p - q).clamp(min=0), torch.zeros_like(p)
    best[p.argmax()] = 1
    upside_down = q * (q / p).clamp(max=1)
    return [
        (
            mixed(shared, (p - q).abs()),
            "after a rejection a word may come back of which the draft had too much already: "
            "max(p - q, 0) is not |p - q|",
        ),
        (mixed(shared, p), "after a rejection you draw from p; draw from what q leaves of it"),
        (mixed(shared, q), "after a rejection you draw from q again; draw from what q leaves of p"),
        (mixed(shared, (q - p).clamp(min=0)), "that is what p leaves of q; take max(p - q, 0)"),
        (mixed(shared, best), "after a rejection the best word always comes; it must be drawn"),
        (mixed(upside_down, left), "the ratio stands on its head: accept with min(1, p / q)"),
        (mixed(shared, torch.ones_like(p)), "after a rejection all words are equally likely"),
        (mixed(0 * p, left), "no draft is ever accepted"),
        (q, "the words are distributed as the draft's: every draft is accepted"),
    ]


def _drawn(attempt: Callable, p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """How often an attempt makes each word (column) of each draft from q (row)."""
    generator, counts = make_generator(7), torch.zeros(len(p), len(p), dtype=torch.float64)
    for _ in range(TRIALS):
        draft = draw_from(q, generator)
        word = as_list(run_attempt(attempt, draft, p.clone(), q.clone(), generator))
        if type(word) is not int or word not in range(4):
            raise AttemptError(f"return one word's number, an int from 0 to 3, yours was {word!r}")
        counts[draft, word] += 1
    return counts


def _next_word_fault(counts: torch.Tensor, p: torch.Tensor, q: torch.Tensor) -> str | None:
    words, due = counts.sum(0), TRIALS * p
    if chi_square_p(words, due) < FITS:
        odd = int(misfits(words, due).abs().argmax())
        came = f"word {odd} came {words[odd]:.0f} times in {TRIALS}, {due[odd]:.0f} were due"
        known = [(chi_square_p(words, TRIALS * d), said) for d, said in _next_word_mistakes(p, q)]
        return max([*known, (FITS, came)], key=lambda row: row[0])[1]  # named if it fits
    kept, most = counts.trace(), TRIALS * torch.minimum(p, q).sum()
    if chi_square_p([kept, TRIALS - kept], [most, TRIALS - most]) < FITS:
        return (
            f"the words are right, but {kept / TRIALS:.2f} of the drafts were kept, and "
            f"{most / TRIALS:.2f} can be: accept with min(1, p / q)"
        )
    return None


def check_next_word(attempt: Callable) -> str:
    """BEYOND4. attempt(draft, p, q, generator) → the word that goes into the text.

    The words of many drafts from q must be distributed as p, by the chi-square test, and as
    many drafts be kept as can be.
    """
    tenths = torch.tensor([[[4, 1, 2, 3], [3, 2, 4, 1]], [[1, 5, 3, 1], [4, 3, 1, 2]]])
    cases = tenths.double() / 10  # p and q of each

    def verdict(f: Callable) -> str | None:
        faults = (_next_word_fault(_drawn(f, p, q), p, q) for p, q in cases)
        return next(filter(None, faults), None)

    return check(verdict, attempt)
