"""BEYOND3's exercises."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real

import torch

from medusa_lib.exercises.grading import as_list, check, run_attempt
from medusa_lib.measure.chi_square import chi_square_p, misfits
from medusa_lib.steps.device import make_generator
from medusa_lib.steps.sampling import draw_from


def check_acceptance_chance(attempt: Callable) -> str:
    """BEYOND3. attempt(p, q) → how probable it is that a draft from q is accepted."""
    cases = (
        ([0.4, 0.1, 0.2, 0.3], [0.3, 0.2, 0.4, 0.1]),
        ([0.5, 0.5, 0.0], [0.0, 0.25, 0.75]),
        ([0.7, 0.2, 0.1], [0.7, 0.2, 0.1]),
        ([1.0, 0.0], [0.0, 1.0]),
    )

    def verdict(f: Callable) -> str | None:
        for p, q in cases:
            pairs = list(zip(p, q, strict=True))
            wanted, answer = sum(map(min, pairs)), as_list(run_attempt(f, list(p), list(q)))
            if not isinstance(answer, Real) or isinstance(answer, bool):
                return f"return one number, yours was {answer!r}"
            if math.isclose(answer, wanted, rel_tol=1e-6, abs_tol=1e-9):
                continue
            chances = [min(1.0, a / b) for a, b in pairs if b > 0]
            mistakes = (
                (1 - wanted, "that is how often a draft is rejected; take it off 1"),
                (sum(a * b for a, b in pairs), "that is how often two independent draws agree"),
                (sum(chances) / len(chances), "a word that q draws often counts more often"),
                (sum(chances), "weigh each word's min(1, p / q) by how often q draws it"),
                (1 - 2 * (1 - wanted), "|p - q| counts each difference twice: halve its sum"),
                (sum(map(max, pairs)), "that is the sum of max(p, q); what do p and q share?"),
            )
            said = next((said for value, said in mistakes if math.isclose(answer, value)), None)
            return f"p {p}, q {q}: {said or f'it is {wanted:.4f}, yours was {answer!r}'}"
        return None

    return check(verdict, attempt)


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


def check_next_word(attempt: Callable) -> str:
    """BEYOND3. attempt(draft, p, q, generator) → the word that goes into the text.

    The words of many drafts from q must be distributed as p, by the chi-square test, and as
    many drafts be kept as can be.
    """
    cases = (([4, 1, 2, 3], [3, 2, 4, 1]), ([1, 5, 3, 1], [4, 3, 1, 2]))  # p and q, in tenths
    trials, fits = 2000, 1e-4

    def verdict(f: Callable) -> str | None:
        for tenths in cases:
            p, q = (torch.tensor(row, dtype=torch.float64) / 10 for row in tenths)
            generator, counts = make_generator(7), torch.zeros(4, 4, dtype=torch.float64)
            for _ in range(trials):
                draft = draw_from(q, generator)
                word = as_list(run_attempt(f, draft, p.clone(), q.clone(), generator))
                if word not in range(4) or not isinstance(word, int) or isinstance(word, bool):
                    return f"return one word's number, an int from 0 to 3, yours was {word!r}"
                counts[draft, word] += 1
            words, due = counts.sum(0), trials * p
            if chi_square_p(words, due) < fits:
                known = {
                    said: chi_square_p(words, trials * wrong)
                    for wrong, said in _next_word_mistakes(p, q)
                }
                likely = max(known, key=known.get)
                if known[likely] >= fits:
                    return likely
                odd = int(misfits(words, due).abs().argmax())
                return (
                    f"word {odd} came {words[odd]:.0f} times in {trials}, {due[odd]:.0f} were due"
                )
            kept, most = counts.trace(), trials * torch.minimum(p, q).sum()
            if chi_square_p([kept, trials - kept], [most, trials - most]) < fits:
                return (
                    f"the words are right, but {kept / trials:.2f} of the drafts were kept, and "
                    f"{most / trials:.2f} can be: accept with min(1, p / q)"
                )
        return None

    return check(verdict, attempt)
