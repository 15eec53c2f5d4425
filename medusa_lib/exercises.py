"""The exercises' checks: each calls the learner's function and says in words what is wrong.

Every check tests properties on several inputs, never one golden answer, and returns
"correct", "not attempted yet …" or "not yet: …".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real

import torch

from medusa_lib.device import make_generator
from medusa_lib.lessons import as_list, check, chi_square_p, misfits, run_attempt
from medusa_lib.model import LM
from medusa_lib.sampling_exactly import draw_from
from medusa_lib.tree_attention import follow
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


def _lookup(ids: list[int], n: int, span: int, ends: range) -> list[int]:
    found = next((end for end in ends if ids[end - n : end] == ids[-n:]), None)
    return [] if found is None else ids[found : found + span]


def check_ngram_lookup(attempt: Callable) -> str:
    """BEYOND2. attempt(ids, n, span) → what followed the last n ids at their latest other place."""
    cases = (
        ([1, 2, 3, 9, 1, 2, 4, 8, 1, 2], 2, 2, [4, 8]),
        ([5, 6, 7, 5], 1, 2, [6, 7]),
        ([7, 1, 7, 2, 3, 7], 1, 2, [2, 3]),
        ([3, 3, 3], 1, 4, [3]),
        ([1, 2, 3], 2, 4, []),
        ([4, 1, 2, 4], 2, 3, []),
    )

    def verdict(f: Callable) -> str | None:
        for ids, n, span, wanted in cases:
            answer = as_list(run_attempt(f, list(ids), n, span))
            answer = list(answer) if isinstance(answer, tuple) else answer
            if answer == wanted and isinstance(answer, list):
                continue
            if not isinstance(answer, list):
                return f"return a list of at most {span} ids, yours was {answer!r}"
            latest = range(len(ids) - 1, n - 1, -1)
            mistakes = (
                (_lookup(ids, n, span, latest[::-1]), "that is the earliest place, not the latest"),
                (_lookup(ids, n, len(ids), latest), f"that is more than span = {span} tokens"),
                (ids[-n:] + wanted, "return only what follows, without the n tokens themselves"),
                (wanted[1:], "the token right after the match is missing"),
                ([], "the last n tokens match themselves; look only at earlier places"),
            )
            at = f"ids {ids}, n {n}, span {span}"
            said = next((said for value, said in mistakes if answer == value), None)
            return f"{at}: {said or f'it is {wanted}, yours was {answer!r}'}"
        return None

    return check(verdict, attempt)


def check_break_even_cost(attempt: Callable) -> str:
    """BEYOND2. attempt(alpha, span) → the draft cost c at which drafting neither pays nor loses."""

    def verdict(f: Callable) -> str | None:
        for alpha, span in ((0.5, 2), (0.8, 4), (0.3, 1), (0.0, 3), (1.0, 5)):
            tokens = sum(alpha**i for i in range(span + 1))
            wanted, answer = (tokens - 1) / span, as_list(run_attempt(f, alpha, span))
            if not isinstance(answer, Real):
                return f"return one number, yours was {answer!r}"
            if math.isclose(answer, wanted, rel_tol=1e-6, abs_tol=1e-9):
                continue
            mistakes = (
                (tokens / span, "the verifying pass costs 1; take it off before you divide"),
                (tokens - 1, "that is the cost of the whole branch; one draft step is asked for"),
                (tokens, "those are the tokens per loop; which c makes the loop cost as much?"),
            )
            said = next((said for value, said in mistakes if math.isclose(answer, value)), None)
            said = said or f"it is {wanted:.4f}, yours was {answer!r}"
            return f"α {alpha}, span {span}: {said}"
        return None

    return check(verdict, attempt)


CHOSEN = (  # branch, the model's choice in each row of one pass (one more than the branch)
    ([5, 6, 7], [5, 9, 7, 8]),
    ([5, 6, 7], [5, 6, 7, 8]),
    ([5, 6, 7], [4, 6, 7, 8]),
    ([], [3]),
    ([4, 4], [4, 4, 4]),
    ([1, 2, 3, 4], [1, 2, 9, 4, 6]),
)


def check_keep(attempt: Callable) -> str:
    """BEYOND1. attempt(branch, choices) → the tokens that this loop adds to the text."""

    def verdict(f: Callable) -> str | None:
        for branch, choices in CHOSEN:
            wrong = (i for i, (b, c) in enumerate(zip(branch, choices, strict=False)) if b != c)
            accepted = next(wrong, len(branch))
            wanted = choices[: accepted + 1]
            answer = as_list(run_attempt(f, list(branch), list(choices)))
            answer = list(answer) if isinstance(answer, tuple) else answer
            if answer == wanted:
                continue
            head, full = branch[:accepted], accepted == len(branch)
            mistakes = (
                (branch if full else ..., "the bonus is missing: the pass says one token more"),
                (head, "the correction is missing: the model's own token goes in at the mismatch"),
                (branch[: accepted + 1], "that adds the rejected draft; correct it"),
                ([*head, choices[-1]], "the last row follows the whole branch, rejected or not"),
                (choices, "stop after the correction: later rows follow a rejected token"),
                (answer, f"{wanted} is to be kept, yours was {answer!r}"),
            )
            said = next(said for value, said in mistakes if value == answer or value is answer)
            return f"branch {branch}, choices {choices}: {said}"
        return None

    return check(verdict, attempt)


def check_cache_after(attempt: Callable) -> str:
    """BEYOND1. attempt(held, unseen, drafted, accepted) → tokens held after the rollback."""
    cases = ((10, 1, 4, 2), (10, 1, 4, 4), (0, 6, 3, 0), (20, 1, 0, 0), (7, 1, 5, 1))

    def verdict(f: Callable) -> str | None:
        for held, unseen, drafted, accepted in cases:
            wanted = held + unseen + accepted
            answer = as_list(run_attempt(f, held, unseen, drafted, accepted))
            if answer == wanted and not isinstance(answer, bool):
                continue
            mistakes = (
                (held + unseen + drafted, "that is before the rollback: the rejected ones go"),
                (
                    wanted + 1,
                    "one too many: the last token was chosen, but not fed yet",
                ),
                (held + accepted, "the unseen tokens were fed too, and they stay"),
                (held + unseen + drafted - accepted, "cut the rejected tokens, not the accepted"),
                (answer, f"it is {wanted}, yours was {answer!r}"),
            )
            said = next(said for value, said in mistakes if value == answer or value is answer)
            numbers = f"held {held}, unseen {unseen}, drafted {drafted}, accepted {accepted}"
            return f"{numbers}: {said}"
        return None

    return check(verdict, attempt)


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


TREES = (  # tokens, parents, the model's choice in each row of one pass (one more than tokens)
    ([7, 3, 5, 4, 2], (-1, 0, 0, -1, 2), [7, 5, 9, 2, 5, 8]),
    ([7, 3, 5, 4, 5], (-1, 0, 0, -1, 3), [4, 5, 9, 6, 5, 8]),
    ([7, 3, 5, 4, 5], (-1, 0, 0, -1, 3), [6, 5, 9, 6, 5, 8]),
    ([7, 3, 5, 4, 5], (-1, 0, 0, -1, 3), [7, 4, 9, 6, 5, 8]),
    ([2, 6, 6, 1], (-1, -1, 0, 2), [2, 6, 3, 1, 9]),
    ([], (), [3]),
)


def check_tree_positions(attempt: Callable) -> str:
    """BEYOND5. attempt(parents, before) → each drafted token's position in the text."""

    def verdict(f: Callable) -> str | None:
        for parents, before in (((-1, 0, 0, -1, 3), 3), ((-1, -1, 1, 2), 10), ((-1,), 1)):
            depths: list[int] = []
            for parent in parents:
                depths.append(1 + depths[parent] if parent >= 0 else 1)
            wanted = [before - 1 + depth for depth in depths]
            answer = as_list(run_attempt(f, list(parents), before))
            answer = list(answer) if isinstance(answer, tuple) else answer
            if answer == wanted:
                continue
            mistakes = (
                ([before + i for i in range(len(parents))], "that is the order in the list"),
                ([n + 1 for n in wanted], "positions count from 0, so the first is `before`"),
                (depths, "those are the depths; the text stands before them"),
                ([n - 1 for n in depths], "the text stands before them: add `before`"),
                ([before + parent for parent in parents], "add up depths, not places in the list"),
                (answer, f"they are {wanted}, yours was {answer!r}"),
            )
            said = next(said for value, said in mistakes if value == answer or value is answer)
            return f"parents {list(parents)}, before {before}: {said}"
        return None

    return check(verdict, attempt)


def check_follow_tree(attempt: Callable) -> str:
    """BEYOND5. attempt(tokens, parents, choices) → the tokens that this loop adds to the text."""

    def verdict(f: Callable) -> str | None:
        for tokens, parents, choices in TREES:
            path, following = follow(
                lambda path, says=choices: says[path[-1] + 1 if path else 0], tokens, parents
            )
            accepted = [tokens[place] for place in path]
            wanted = [*accepted, following]
            answer = as_list(run_attempt(f, list(tokens), list(parents), list(choices)))
            answer = list(answer) if isinstance(answer, tuple) else answer
            if answer == wanted:
                continue
            straight = next((i for i, c in enumerate(choices[:-1]) if c != tokens[i]), len(tokens))
            mistakes = (
                (accepted, "the last token is missing: the correction or the bonus"),
                (path, "those are places in the tree; return the tokens there"),
                (choices[: straight + 1], "that reads the list in a row; the next is a child"),
                (choices, "those are all choices, also after tokens that were not accepted"),
                (tokens, "those are all drafts, also the wrong ones"),
                (answer, f"{wanted} is to be added, yours was {answer!r}"),
            )
            said = next(said for value, said in mistakes if value == answer or value is answer)
            return f"tokens {tokens}, parents {list(parents)}, choices {choices}: {said}"
        return None

    return check(verdict, attempt)


def check_head_targets(attempt: Callable) -> str:
    """BEYOND4. attempt(ids, place, count) → the ids that heads 1 to `count` are to guess.

    They guess from the hidden numbers at `place`, where the model chose the next id itself.
    """
    text = [11, 12, 13, 14, 15, 16, 17, 18, 19]
    cases = ((text, 2, 3), (text, 0, 4), (text[::-1], 4, 1), (text, 1, 2))

    def verdict(f: Callable) -> str | None:
        for ids, place, count in cases:
            wanted = ids[place + 2 : place + 2 + count]
            answer = as_list(run_attempt(f, list(ids), place, count))
            answer = list(answer) if isinstance(answer, tuple) else answer
            if answer == wanted:
                continue
            mistakes = (
                (ids[place + 1 : place + 1 + count], "that begins with the model's own choice"),
                (ids[place : place + count], "that begins with the id that was just read"),
                (ids[place + 3 : place + 3 + count], "that begins one too late"),
                (ids[place + 2 :], f"that is one for more than {count} heads"),
                (ids[place + 2 : place + 1 + count], "the last head's is missing"),
                (ids[place + 2], "return a list, one id for each head"),
                (answer, f"it is {wanted}, yours was {answer!r}"),
            )
            said = next(said for value, said in mistakes if value == answer or value is answer)
            return f"ids {ids}, place {place}, {count} heads: {said}"
        return None

    return check(verdict, attempt)


def check_typical(attempt: Callable) -> str:
    """BEYOND4. attempt(probs, epsilon, delta) → for each token True if it is typical."""
    cases = (
        ([0.9, 0.06, 0.03, 0.01], 0.05, 1.0),
        ([0.4, 0.1, 0.2, 0.3], 0.35, 0.5),
        ([0.01, 0.03, 0.06, 0.9], 0.04, 0.3),
        ([0.25, 0.25, 0.25, 0.25], 0.5, 0.3),
    )

    def verdict(f: Callable) -> str | None:
        for probs, epsilon, delta in cases:
            entropy = -sum(p * math.log(p) for p in probs)
            follows = delta * math.exp(-entropy)
            bound = min(epsilon, follows)
            wanted = [p > bound for p in probs]
            answer = as_list(run_attempt(f, list(probs), epsilon, delta))
            if not isinstance(answer, list) or len(answer) != len(probs):
                return f"return a list of {len(probs)} True or False, yours was {answer!r}"
            if answer == wanted:
                continue
            mistakes = (  # the bound that would give this answer, and what to say
                (epsilon, f"as if epsilon alone counted; delta × exp(-entropy) is {follows:.2f}"),
                (max(epsilon, follows), "the smaller of the two is the bound, not the larger"),
                (min(epsilon, math.exp(-entropy)), "exp(-entropy) is to be multiplied by delta"),
            )
            upside = "those are the tokens that are not typical"
            known = [([p <= bound for p in probs], upside)]
            known += [([p > wrong for p in probs], said) for wrong, said in mistakes]
            said = next((said for value, said in known if value == answer), None)
            numbers = f"probabilities {probs}, epsilon {epsilon}, delta {delta}"
            return f"{numbers}: {said or f'it is {wanted}, yours was {answer!r}'}"
        return None

    return check(verdict, attempt)
