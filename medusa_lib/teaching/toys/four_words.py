"""A language of four words, small enough to check speculative sampling by counting its texts.

Which word comes next depends on the last word only. Beside the right rule there are three with
one mistake each, which the chi-square test must catch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch

from medusa_lib.beyond.one_pass import Branch
from medusa_lib.beyond.sampling_exactly import is_accepted, residual, verify_by_sampling
from medusa_lib.steps.sampling import draw_from, nucleus_probs, softmax_temp

WORDS = ("sun", "moon", "star", "rain")
START = 0  # every text follows the word "sun"
# Row i: the logits after word i. The target's and the draft's probabilities, in tenths.
TARGET = torch.tensor([[4, 1, 2, 3], [1, 4, 3, 2], [3, 1, 2, 4], [2, 1, 4, 3]]).double().log()
DRAFT = torch.tensor([[3, 2, 4, 1], [3, 4, 2, 1], [1, 3, 4, 2], [1, 4, 2, 3]]).double().log()
# As verify_by_sampling: logits, branch, temperature, top_p, generator → (accepted, next word).
Verifier = Callable[[torch.Tensor, Branch, float, float, torch.Generator], tuple[int, int]]


def draft_logits(difference: float) -> torch.Tensor:
    """Logits `[4]` of a drafter after the start: at 0 the target's, at 1 the draft's.

    In between a mixture of both, beyond 1 as far again in the same direction.
    """
    return TARGET[START] + difference * (DRAFT[START] - TARGET[START])


@functools.cache  # a test draws thousands of words
def word_probs(table: torch.Tensor, word: int, temperature: float, top_p: float) -> torch.Tensor:
    """What comes after a word, by TARGET or DRAFT: a distribution over the words."""
    return nucleus_probs(table[word], temperature, top_p)


def draft_words(span: int, temperature: float, top_p: float, generator: torch.Generator) -> Branch:
    """Draw `span` words after the start, each from the draft's distribution."""
    tokens, probs = [START], []
    for _ in range(span):
        probs.append(word_probs(DRAFT, tokens[-1], temperature, top_p))
        tokens.append(draw_from(probs[-1], generator))
    return Branch(tokens[1:], probs)


def write_words(
    rule: Verifier, count: int, temperature: float, top_p: float, generator: torch.Generator
) -> tuple[int, ...]:
    """`count` words: one loop of draft and verify with a span of 2, then plain draws."""
    branch = draft_words(2, temperature, top_p, generator)
    logits = TARGET[[START, *branch.tokens]]
    accepted, following = rule(logits, branch, temperature, top_p, generator)
    words = [*branch.tokens[:accepted], following]
    while len(words) < count:
        words.append(draw_from(word_probs(TARGET, words[-1], temperature, top_p), generator))
    return tuple(words[:count])


def observed_counts(
    rule: Verifier, trials: int, count: int, temperature: float, top_p: float, seed: int
) -> torch.Tensor:
    """How often each text of `count` words came in so many trials: `[4, …, 4]`."""
    generator = torch.Generator().manual_seed(seed)
    counts = torch.zeros([len(WORDS)] * count, dtype=torch.float64)
    for _ in range(trials):
        counts[write_words(rule, count, temperature, top_p, generator)] += 1
    return counts


def text_probs(count: int, temperature: float, top_p: float) -> torch.Tensor:
    """The target's exact probability of each text of `count` words: `[4, …, 4]`."""
    step = torch.stack([word_probs(TARGET, i, temperature, top_p) for i in range(len(WORDS))])
    probs = step[START]
    for _ in range(count - 1):
        probs = probs[..., None] * step
    return probs


def one_random_number(
    logits: torch.Tensor,
    branch: Branch,
    temperature: float,
    top_p: float,
    generator: torch.Generator,
) -> tuple[int, int]:
    """Wrong: one random number decides about the whole branch."""
    chance = float(torch.rand(1, dtype=torch.float64, generator=generator))
    for i, token in enumerate(branch.tokens):
        p, q = nucleus_probs(logits[i], temperature, top_p), branch.probs[i]
        if chance * float(q[token]) >= float(p[token]):
            return i, draw_from(residual(token, p, q), generator)
    p = nucleus_probs(logits[len(branch.tokens)], temperature, top_p)
    return len(branch.tokens), draw_from(p, generator)


def residual_not_renormalised(
    logits: torch.Tensor,
    branch: Branch,
    temperature: float,
    top_p: float,
    generator: torch.Generator,
) -> tuple[int, int]:
    """Wrong: what the residual lacks of 1 falls to the last word."""
    for i, token in enumerate(branch.tokens):
        p, q = nucleus_probs(logits[i], temperature, top_p), branch.probs[i]
        if not is_accepted(token, p, q, generator):
            rest = (p - q).clamp(min=0)
            rest[-1] += 1 - rest.sum()
            return i, draw_from(rest, generator)
    p = nucleus_probs(logits[len(branch.tokens)], temperature, top_p)
    return len(branch.tokens), draw_from(p, generator)


def draft_before_nucleus(
    logits: torch.Tensor,
    branch: Branch,
    temperature: float,
    top_p: float,
    generator: torch.Generator,
) -> tuple[int, int]:
    """Wrong: takes for q the draft's distribution before the nucleus that was drawn from."""
    before = [START, *branch.tokens[:-1]]
    probs = [softmax_temp(DRAFT[word], temperature) for word in before]
    careless = Branch(branch.tokens, probs)
    return verify_by_sampling(logits, careless, temperature, top_p, generator)


WRONG_RULES: dict[str, Verifier] = {
    "one random number": one_random_number,
    "residual not renormalised": residual_not_renormalised,
    "draft before nucleus": draft_before_nucleus,
}
