"""The exercises' checks: each calls the learner's function and says in words what is wrong.

Every check tests properties on several inputs, never one golden answer, and returns
"correct", "not attempted yet …" or "not yet: …".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real

import torch

from medusa_lib.lessons import as_list, check, run_attempt
from medusa_lib.model import LM
from medusa_lib.utilities import append_token, decode, encode, greedy_next, last_logits

TEXTS = ("Once upon a time", "The king said to his", "She opened the")


def check_second_best(attempt: Callable, lm: LM) -> str:
    """STEP2. attempt(lm, ids) → id of the second most probable next token."""

    def verdict(f: Callable) -> str | None:
        for text in TEXTS:
            ids = encode(lm, text)
            best, second = torch.topk(last_logits(lm, ids), 2).indices.tolist()
            answer = as_list(run_attempt(f, lm, ids))
            if answer == best:
                return "that is the most probable token; the second best is asked for"
            if isinstance(answer, float):
                return "that is a float; return the token's id, an int, not its logit"
            if isinstance(answer, list | str):
                return f"that is a {type(answer).__name__}; return one id, an int"
            if answer != second:
                return f"after {text!r} the second best is token {second}, yours was {answer!r}"
        return None

    return check(verdict, attempt)


def written_greedily(lm: LM, text: str, n: int) -> str:
    """The text and n greedy tokens, EOS among them if greedy wants it."""
    ids = encode(lm, text)
    for _ in range(n):
        ids = append_token(ids, greedy_next(lm, ids))
    return decode(lm, ids)


def check_write_greedily(attempt: Callable, lm: LM) -> str:
    """STEP2. attempt(lm, text, n) → the text continued by n greedy tokens."""

    def verdict(f: Callable) -> str | None:
        for text, n in zip(TEXTS, (1, 3, 5), strict=True):
            answer = run_attempt(f, lm, text, n)
            if not isinstance(answer, str):
                return f"return the whole text, a str, not a {type(answer).__name__}"
            wanted = written_greedily(lm, text, n)
            if answer == wanted:
                continue
            fewer, more = (written_greedily(lm, text, k) for k in (n - 1, n + 1))
            first = written_greedily(lm, text, 1)[len(text) :]
            mistakes = {
                text + n * first: "the same token every time: append each before asking again",
                fewer: f"that is {n - 1} new tokens; {n} were asked for",
                more: f"that is {n + 1} new tokens; {n} were asked for",
                wanted[
                    len(text) :
                ]: "that is only the new part; return prompt and new part together",
                text: "nothing was added: append_token returns new ids, so keep its result",
            }
            if answer in mistakes:
                return mistakes[answer]
            return f"after {text!r} greedy writes {wanted!r}, yours was {answer!r}"
        return None

    return check(verdict, attempt)


def _softmax(logits: list[float], temperature: float) -> list[float]:
    top = max(logits)
    weights = [math.exp((z - top) / temperature) for z in logits]
    return [weight / sum(weights) for weight in weights]


def _close(a: object, b: list[float]) -> bool:
    if not isinstance(a, list) or len(a) != len(b):
        return False
    return all(math.isclose(x, y, rel_tol=1e-4, abs_tol=1e-6) for x, y in zip(a, b, strict=True))


def check_softmax_by_hand(attempt: Callable) -> str:
    """STEP3. attempt(logits, temperature) → list of probabilities."""

    def verdict(f: Callable) -> str | None:
        for logits, t in (([2.0, 1.0, 0.0], 1.0), ([1.0, 3.0], 0.5), ([0.0, 1.0, 4.0], 2.0)):
            answer = as_list(run_attempt(f, list(logits), t))
            wanted = _softmax(logits, t)
            if _close(answer, wanted):
                continue
            if not isinstance(answer, list) or len(answer) != len(logits):
                return f"return a list of {len(logits)} probabilities, yours was {answer!r}"
            if _close(answer, _softmax(logits, 1 / t)):
                return "the logits were multiplied by the temperature; divide by it"
            if _close(answer, _softmax(logits, 1.0)):
                return "the temperature made no difference; divide the logits by it first"
            total = sum(answer)
            if not math.isclose(total, 1, rel_tol=1e-3):
                return f"the probabilities sum to {total:.3f}, not to 1: divide by their sum last"
            return f"for {logits} at temperature {t} the first is {wanted[0]:.3f}, not {answer[0]}"
        return None

    return check(verdict, attempt)


def check_standard_nucleus(attempt: Callable) -> str:
    """STEP3. attempt(probs, top_p) → size of the smallest head that reaches top_p."""
    cases = (
        # Exact in binary, so that reaching top_p exactly is no matter of rounding.
        ([0.25, 0.5, 0.25], 0.75),
        ([0.125, 0.5, 0.25, 0.125], 0.875),
        ([0.25] * 4, 1.0),
        ([0.5, 0.3, 0.2], 0.6),
        ([0.1, 0.6, 0.3], 0.8),
        ([0.05, 0.15, 0.7, 0.1], 0.75),
        ([0.9, 0.1], 0.5),
    )

    def size(probs: list[float], top_p: float) -> int:
        total, count = 0.0, 0
        while total < top_p:
            total += probs[count]
            count += 1
        return count

    def verdict(f: Callable) -> str | None:
        for probs, top_p in cases:
            wanted = size(sorted(probs, reverse=True), top_p)
            answer = as_list(run_attempt(f, list(probs), top_p))
            if answer == wanted:
                continue
            if answer == wanted - 1:
                return "one too few: the token that crosses top_p belongs to the standard nucleus"
            if answer == wanted + 1 and sum(sorted(probs)[-wanted:]) == top_p:
                return "one too many: reaching top_p exactly is enough"
            if isinstance(answer, list):
                return "return how many tokens are kept, an int, not the tokens"
            if probs != sorted(probs, reverse=True) and answer == size(probs, top_p):
                return "the tokens were taken as they come; sort them, most probable first"
            return f"for {probs} and top_p {top_p} the size is {wanted}, yours was {answer!r}"
        return None

    return check(verdict, attempt)


def check_branch_probability(attempt: Callable) -> str:
    """STEP4. attempt(step_probs) → probability of drafting exactly this branch."""

    def verdict(f: Callable) -> str | None:
        for probs in ([0.5, 0.2, 0.5], [0.9], [0.8, 0.1], [0.3, 0.3, 0.3, 0.3]):
            wanted, answer = math.prod(probs), as_list(run_attempt(f, list(probs)))
            if not isinstance(answer, Real):
                return f"return one number, yours was {answer!r}"
            if math.isclose(answer, wanted, rel_tol=1e-6):
                continue
            if math.isclose(answer, sum(probs)):
                return "that is the sum; every draw must come out right, so multiply"
            if math.isclose(answer, sum(probs) / len(probs)):
                return "that is the mean; every draw must come out right, so multiply"
            if math.isclose(answer, probs[-1]):
                return "that is the last step alone; the steps before must come out right too"
            return f"for {probs} it is {wanted:.4f}, yours was {answer!r}"
        return None

    return check(verdict, attempt)


VERIFIED = (  # branch, greedy's tokens, accepted; the order tells typical mistakes apart
    ([5, 6, 7], [5, 6, 7], 3),
    ([5, 6, 7], [8, 6, 7], 0),
    ([5, 6, 7], [5, 9, 7], 1),
    ([4, 4], [4, 5], 1),
    ([1, 2, 3, 4], [1, 2, 9, 4], 2),
)


def check_count_accepted(attempt: Callable) -> str:
    """STEP5. attempt(branch, greedy) → number of accepted draft tokens."""

    def verdict(f: Callable) -> str | None:
        for branch, greedy, wanted in VERIFIED:
            answer = as_list(run_attempt(f, list(branch), list(greedy)))
            if answer == wanted and not isinstance(answer, bool):
                continue
            matches = sum(b == g for b, g in zip(branch, greedy, strict=True))
            if answer == matches:
                return "a match after the first mismatch does not count: stop at the mismatch"
            if answer == wanted + 1:
                return "one too many: the corrected token is emitted, but it is not accepted"
            if isinstance(answer, list):
                return "return how many were accepted, an int, not the tokens"
            return f"for branch {branch} and greedy {greedy} it is {wanted}, yours was {answer!r}"
        return None

    return check(verdict, attempt)


def check_emitted(attempt: Callable) -> str:
    """STEP5. attempt(branch, greedy) → the tokens that this loop adds to the text."""

    def verdict(f: Callable) -> str | None:
        for branch, greedy, accepted in VERIFIED:
            wanted = greedy[: accepted + 1]
            answer = as_list(run_attempt(f, list(branch), list(greedy)))
            answer = list(answer) if isinstance(answer, tuple) else answer
            if answer == wanted:
                continue
            if answer == greedy[:accepted]:
                return "the correction is missing: greedy's token goes in at the mismatch"
            if answer == branch[: accepted + 1]:
                return "that emits the rejected draft; greedy's token takes its place"
            if answer == branch:
                return "that is the whole branch; only what greedy agrees with is kept"
            if answer == greedy:
                return "stop after the correction: what comes later was drafted on a wrong token"
            return f"for branch {branch} and greedy {greedy}: {wanted}, yours was {answer!r}"
        return None

    return check(verdict, attempt)


def check_loop_passes(attempt: Callable) -> str:
    """STEP6. attempt(span, accepted) → forward passes of one Medusa-tiny loop."""

    def verdict(f: Callable) -> str | None:
        for span, accepted in ((5, 2), (3, 3), (3, 0), (1, 1), (5, 4), (8, 8)):
            evaluated = min(accepted + 1, span)
            answer = as_list(run_attempt(f, span, accepted))
            if answer == span + evaluated:
                continue
            mistakes = (
                (evaluated, "that counts verifying only; drafting costs passes too"),
                (span, "that counts drafting only; verifying costs passes too"),
                (span + accepted, "the rejected token was evaluated too, and that took a pass"),
                (2 * span, "verifying stops at the first mismatch and saves the rest"),
                (span + accepted + 1, "when all are accepted there is no rejected one to pay for"),
                (answer, f"it is {span + evaluated}, yours was {answer!r}"),
            )
            said = next(said for value, said in mistakes if value == answer or value is answer)
            return f"span {span}, accepted {accepted}: {said}"
        return None

    return check(verdict, attempt)


def check_alpha(attempt: Callable) -> str:
    """STEP6. attempt(loops) → α from a list of (drafted, accepted) pairs."""
    cases = ([(3, 1), (3, 0)], [(3, 3), (3, 2)], [(2, 0), (4, 4), (4, 1)])

    def verdict(f: Callable) -> str | None:
        for loops in cases:
            accepted = sum(a for _, a in loops)
            evaluated = [min(a + 1, d) for d, a in loops]
            wanted, answer = accepted / sum(evaluated), as_list(run_attempt(f, list(loops)))
            if not isinstance(answer, Real):
                return f"return one number, yours was {answer!r}"
            if math.isclose(answer, wanted, rel_tol=1e-6):
                continue
            if math.isclose(answer, accepted / sum(d for d, _ in loops)):
                return "that is accepted ÷ drafted; α divides by the evaluated tokens only"
            if math.isclose(answer, accepted / sum(a + 1 for _, a in loops)):
                return "a fully accepted branch has no rejected token: evaluated is then its length"
            ratios = [a / e for (_, a), e in zip(loops, evaluated, strict=True)]
            if math.isclose(answer, sum(ratios) / len(ratios)):
                return "that is the mean of each loop's α; add up over the loops, then divide"
            return f"for {loops} it is {wanted:.3f}, yours was {answer!r}"
        return None

    return check(verdict, attempt)
