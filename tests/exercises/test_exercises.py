"""Each check passes its solution and names the mistake of typical wrong answers."""

import ast
import importlib
import inspect
import itertools
import math
import pkgutil
import re
from pathlib import Path

import nbformat
import pytest
import torch

from medusa_lib import append_token, decode, encode, exercises, greedy_next, last_logits
from medusa_lib.beyond.sampling_exactly import is_accepted, residual
from medusa_lib.exercises.grading import CORRECT, NOT_ATTEMPTED
from medusa_lib.steps.sampling import draw_from

FOLDER = Path(__file__).parents[2] / "notebooks"
ROOMS = [
    importlib.import_module(room.name)
    for room in pkgutil.iter_modules(exercises.__path__, "medusa_lib.exercises.")
]
CHECKS = {
    name: f
    for room in ROOMS
    for name, f in inspect.getmembers(room, inspect.isfunction)
    if name.startswith("check_") and f.__module__ == room.__name__
}


def second_best(lm, ids):
    return int(torch.topk(last_logits(lm, ids), 2).indices[1])


def write(lm, text, n):
    ids = encode(lm, text)
    for _ in range(n):
        ids = append_token(ids, greedy_next(lm, ids))
    return decode(lm, ids)


def same_token(lm, text, n):
    token = greedy_next(lm, encode(lm, text))
    return text + n * decode(lm, [token])


def softmax(logits, temperature):
    weights = [math.exp(z / temperature) for z in logits]
    return [weight / sum(weights) for weight in weights]


def running(probs):
    return list(itertools.accumulate(sorted(probs, reverse=True)))


def nucleus(probs, top_p):
    return 1 + sum(total < top_p for total in running(probs))


def count(branch, greedy):
    pairs = zip(branch, greedy, strict=True)
    return len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))


def entropy(probs):
    return -sum(p * math.log(p) for p in probs)


def typical(probs, epsilon, delta, pick=min):
    bound = pick(epsilon, delta * math.exp(-entropy(probs)))
    return [p > bound for p in probs]


def passes(span, accepted):
    return span + min(accepted + 1, span)


def alpha(loops):
    return sum(a for _, a in loops) / sum(min(a + 1, d) for d, a in loops)


def keep(branch, choices):
    right = [b == c for b, c in zip(branch, choices, strict=False)]
    return choices[: (right.index(False) if False in right else len(branch)) + 1]


def lookup(ids, n, span, latest=True):
    ends = [end for end in range(n, len(ids)) if ids[end - n : end] == ids[-n:]]
    end = ends[-1 if latest else 0] if ends else len(ids)
    return ids[end : end + span]


def expected(alpha, span):
    return sum(alpha**i for i in range(span + 1))


def mean_alpha(loops):
    return sum(a / min(a + 1, d) for d, a in loops) / len(loops)


def chances(p, q):
    return [min(1, a / b) for a, b in zip(p, q, strict=True) if b > 0]


def next_word(draft, p, q, generator):
    if is_accepted(draft, p, q, generator):
        return draft
    return draw_from(residual(draft, p, q), generator)


def tree_positions(parents, before):
    positions = []
    for parent in parents:
        positions.append(before if parent < 0 else positions[parent] + 1)
    return positions


def follow_tree(tokens, parents, choices):
    added, at = [], -1
    while True:
        added.append(choices[at + 1])
        here = [i for i, parent in enumerate(parents) if parent == at and tokens[i] == added[-1]]
        if not here:
            return added
        at = here[0]


# Check → (a right answer, {a wrong answer: a part of the sentence that it must get}).
CASES = {
    "check_second_best": (
        second_best,
        {
            greedy_next: "that is the most probable token",
            (lambda lm, ids: float(torch.topk(last_logits(lm, ids), 2)[0][1])): "not its logit",
            (lambda lm, ids: torch.topk(last_logits(lm, ids), 2).indices): "that is a list",
            (lambda lm, ids: decode(lm, [second_best(lm, ids)])): "that is a str",
            (lambda lm, ids: int(last_logits(lm, ids).argmin())): "the second best is token",
        },
    ),
    "check_write_greedily": (
        write,
        {
            (lambda lm, text, n: write(lm, text, n)[len(text) :]): "only the new part",
            (lambda lm, text, n: write(lm, text, n + 1)): "2 new tokens; 1 were asked for",
            (lambda lm, text, n: write(lm, text, max(1, n - 1))): "2 new tokens; 3 were asked",
            same_token: "the same token every time",
            (lambda lm, text, n: encode(lm, text)): "a str, not a Tensor",
            (lambda lm, text, n: text): "keep its result",
        },
    ),
    "check_softmax_by_hand": (
        softmax,
        {
            (lambda logits, t: softmax(logits, 1 / t)): "divide by it",
            (lambda logits, t: softmax(logits, 1)): "the temperature made no difference",
            (lambda logits, t: [math.exp(z / t) for z in logits]): "divide by their sum last",
            (lambda logits, t: softmax(logits, t)[0]): "return a list of 3 probabilities",
            (lambda logits, t: [z / sum(logits) for z in logits]): "the first is 0.665",
        },
    ),
    "check_standard_nucleus": (
        nucleus,
        {
            (lambda probs, p: max(1, nucleus(probs, p) - 1)): "one too few",
            (
                lambda probs, p: 1 + sum(total < p for total in itertools.accumulate(probs))
            ): "sort them, most probable first",
            (lambda probs, p: sorted(probs, reverse=True)[: nucleus(probs, p)]): "how many tokens",
            (lambda probs, p: len(probs)): "reaching top_p exactly is enough",
        },
    ),
    "check_branch_probability": (
        math.prod,
        {
            sum: "that is the sum",
            (lambda probs: sum(probs) / len(probs)): "that is the mean",
            (lambda probs: probs[-1]): "that is the last step alone",
            (lambda probs: probs): "return one number",
            min: "it is 0.0500, yours was 0.2",
        },
    ),
    "check_count_accepted": (
        count,
        {
            (lambda b, g: sum(map(int.__eq__, b, g))): "stop at the mismatch",
            (lambda b, g: min(count(b, g) + 1, len(b))): "one too many",
            (lambda b, g: b[: count(b, g)]): "an int, not the tokens",
            (lambda b, g: len(b)): "it is 0, yours was 3",
        },
    ),
    "check_emitted": (
        lambda b, g: g[: count(b, g) + 1],
        {
            (lambda b, g: b[: count(b, g)]): "the correction is missing",
            (lambda b, g: b[: count(b, g) + 1]): "emits the rejected draft",
            (lambda b, g: g): "stop after the correction",
            (lambda b, g: b): "that is the whole branch",
            count: "yours was 3",
        },
    ),
    "check_loop_passes": (
        passes,
        {
            (lambda span, accepted: min(accepted + 1, span)): "verifying only",
            (lambda span, accepted: span): "drafting only",
            (lambda span, accepted: span + accepted): "the rejected token was evaluated too",
            (lambda span, accepted: span + accepted + 1): "no rejected one to pay for",
            (lambda span, accepted: 2 * span): "stops at the first mismatch",
            (lambda span, accepted: 0): "it is 8, yours was 0",
        },
    ),
    "check_alpha": (
        alpha,
        {
            (lambda loops: sum(a for _, a in loops) / sum(d for d, _ in loops)): "÷ drafted",
            (
                lambda loops: sum(a for _, a in loops) / sum(a + 1 for _, a in loops)
            ): "a fully accepted branch has no rejected token",
            mean_alpha: "that is the mean of each loop's α",
            (lambda loops: loops): "return one number",
            (lambda loops: 1 / alpha(loops)): "it is 0.333, yours was 3.0",
        },
    ),
    "check_keep": (
        keep,
        {
            (lambda b, c: c[: min(len(keep(b, c)), len(b))]): "the bonus is missing",
            (lambda b, c: c[: len(keep(b, c)) - 1]): "the correction is missing",
            (lambda b, c: b[: len(keep(b, c))]): "adds the rejected draft",
            (lambda b, c: [*keep(b, c)[:-1], c[-1]]): "the last row follows the whole branch",
            (lambda b, c: c): "stop after the correction",
            (lambda b, c: len(keep(b, c))): "[5, 9] is to be kept, yours was 2",
        },
    ),
    "check_ngram_lookup": (
        lookup,
        {
            (lambda ids, n, span: lookup(ids, n, span, latest=False)): "the earliest place",
            (lambda ids, n, span: lookup(ids, n, 99)): "that is more than span = 2 tokens",
            (lambda ids, n, span: ids[-n:] + lookup(ids, n, span)): "without the n tokens",
            (lambda ids, n, span: lookup(ids, n, span)[1:]): "right after the match is missing",
            (lambda ids, n, span: []): "the last n tokens match themselves",
            (lambda ids, n, span: 4): "return a list of at most 2 ids, yours was 4",
            (lambda ids, n, span: ids[:2]): "it is [4, 8], yours was [1, 2]",
        },
    ),
    "check_break_even_cost": (
        lambda alpha, span: (expected(alpha, span) - 1) / span,
        {
            (lambda alpha, span: expected(alpha, span) / span): "take it off before you divide",
            (lambda alpha, span: expected(alpha, span) - 1): "the cost of the whole branch",
            expected: "those are the tokens per loop",
            (lambda alpha, span: [alpha]): "return one number",
            (lambda alpha, span: alpha): "it is 0.3750, yours was 0.5",
        },
    ),
    "check_cache_after": (
        lambda held, unseen, drafted, accepted: held + unseen + accepted,
        {
            (lambda h, u, d, a: h + u + d): "that is before the rollback",
            (lambda h, u, d, a: h + u + a + 1): "one too many",
            (lambda h, u, d, a: h + a): "the unseen tokens were fed too",
            (lambda h, u, d, a: h + u + d - a): "cut the rejected tokens",
            (lambda h, u, d, a: a): "it is 13, yours was 2",
        },
    ),
    "check_acceptance_chance": (
        lambda p, q: sum(map(min, p, q)),
        {
            (lambda p, q: 1 - sum(map(min, p, q))): "how often a draft is rejected",
            (lambda p, q: sum(a * b for a, b in zip(p, q, strict=True))): "independent draws agree",
            (lambda p, q: sum(chances(p, q)) / len(chances(p, q))): "counts more often",
            (lambda p, q: sum(chances(p, q))): "weigh each word's min(1, p / q)",
            (lambda p, q: 1 - sum(abs(a - b) for a, b in zip(p, q, strict=True))): "halve its sum",
            (lambda p, q: sum(map(max, p, q))): "what do p and q share?",
            (lambda p, q: p): "return one number",
            (lambda p, q: 9): "it is 0.7000, yours was 9",
        },
    ),
    "check_next_word": (
        next_word,
        {  # more of them in test_beyond_3.py
            (lambda draft, p, q, generator: draft): "every draft is accepted",
            (lambda draft, p, q, generator: draw_from(p, generator)): "0.70 can be",
            (lambda draft, p, q, generator: 3): "word 3 came 2000 times in 2000, 600 were due",
            (lambda draft, p, q, generator: p): "an int from 0 to 3",
        },
    ),
    "check_tree_positions": (
        tree_positions,
        {
            (
                lambda parents, before: [before + i for i in range(len(parents))]
            ): "order in the list",
            (lambda parents, before: tree_positions(parents, before + 1)): "count from 0",
            (lambda parents, before: tree_positions(parents, 1)): "those are the depths",
            (lambda parents, before: tree_positions(parents, 0)): "add `before`",
            (lambda parents, before: [before + p for p in parents]): "add up depths",
            (lambda parents, before: before): "they are [3, 4, 4, 3, 4]",
        },
    ),
    "check_follow_tree": (
        follow_tree,
        {
            (lambda t, p, c: follow_tree(t, p, c)[:-1]): "the last token is missing",
            (lambda t, p, c: c[: len(follow_tree(t, range(-1, len(t) - 1), c))]): "is a child",
            (lambda t, p, c: c): "those are all choices",
            (lambda t, p, c: t): "those are all drafts",
            (lambda t, p, c: [0, 2, 4]): "return the tokens there",
            (lambda t, p, c: c[:1]): "[7, 5, 2, 8] is to be added",
        },
    ),
    "check_head_targets": (
        lambda ids, place, count: ids[place + 2 : place + 2 + count],
        {
            (lambda ids, place, count: ids[place + 1 : place + 1 + count]): "model's own choice",
            (lambda ids, place, count: ids[place : place + count]): "that was just read",
            (lambda ids, place, count: ids[place + 3 : place + 3 + count]): "one too late",
            (lambda ids, place, count: ids[place + 2 :]): "for more than 3 heads",
            (lambda ids, place, count: ids[place + 2 : place + 1 + count]): "is missing",
            (lambda ids, place, count: ids[place + 2]): "return a list",
            (lambda ids, place, count: [place]): "it is [15, 16, 17], yours was [2]",
        },
    ),
    "check_typical": (
        typical,
        {
            (lambda p, e, d: [x > e for x in p]): "as if epsilon alone counted",
            (lambda p, e, d: [not x for x in typical(p, e, d)]): "are not typical",
            (lambda p, e, d: typical(p, e, d, max)): "not the larger",
            (lambda p, e, d: typical(p, e, 1)): "multiplied by delta",
            (lambda p, e, d: [x > min(e, d * entropy(p)) for x in p]): "exp(-entropy) is 0.14",
            (lambda p, e, d: typical(p, e, d)[0]): "a list of 4 True or False",
            (lambda p, e, d: [True, False, True, False]): "yours was [True, False, True, False]",
        },
    ),
}
WRONG = [
    pytest.param(name, attempt, said, id=f"{name}-{said.replace(' ', '-')}")
    for name, (_, wrong) in CASES.items()
    for attempt, said in wrong.items()
]
each_check = pytest.mark.parametrize("name", CASES)


@pytest.fixture
def ask(lm):
    """A function: check's name and an attempt → what the check says."""

    def asking(name, attempt):
        check = CHECKS[name]
        return check(attempt, lm) if "lm" in inspect.signature(check).parameters else check(attempt)

    return asking


def test_every_check_has_cases_here():
    assert set(CHECKS) == set(CASES)
    assert all(len(wrong) >= 3 for _, wrong in CASES.values())


@each_check
def test_the_solution_passes(ask, name):
    assert ask(name, CASES[name][0]) == CORRECT


@each_check
def test_a_stub_is_not_attempted(ask, name):
    assert ask(name, lambda *_: ...) == NOT_ATTEMPTED


@pytest.mark.parametrize(("name", "attempt", "said"), WRONG)
def test_a_wrong_answer_gets_the_sentence_that_names_the_mistake(ask, name, attempt, said):
    answer = ask(name, attempt)
    assert answer.startswith("not yet: ")
    assert said in answer
    assert "\n" not in answer


@each_check
def test_an_attempt_that_raises_is_reported(ask, name):
    answer = ask(name, lambda *_: [].pop())
    assert answer == "not yet: your code raised IndexError: pop from empty list"
    assert "your code raised TypeError" in ask(name, lambda: 1)


@each_check
def test_a_missing_return_is_named(ask, name):
    assert ask(name, lambda *_: None) == (
        "not yet: your function returned None: is a `return` missing?"
    )


@each_check
@pytest.mark.parametrize(
    "answer",
    [object(), "text", [], [None], [["a"]], {}, 1j, math.nan, True, torch.ones(2, 2)],
    ids=lambda answer: type(answer).__name__,
)
def test_answers_of_any_kind_get_a_sentence(ask, name, answer):
    assert re.match("not yet: .{10,}", ask(name, lambda *_: answer))


@pytest.mark.parametrize("name", sorted(set(CASES) - {"check_write_greedily"}))
def test_a_tensor_is_as_good_as_a_number_or_a_list(ask, name):
    assert ask(name, lambda *given: torch.tensor(CASES[name][0](*given))) == CORRECT


@each_check
def test_an_attempt_may_change_its_arguments(ask, name):
    """The lists that a check passes are copies: a later case never sees a learner's changes."""

    def careless(*given):
        answer = CASES[name][0](*given)
        for value in given:
            if isinstance(value, list):
                value.clear()
        return answer

    assert ask(name, careless) == CORRECT


def cells(path, kind):
    notebook = nbformat.read(path, as_version=4)
    return [cell.source for cell in notebook.cells if cell.cell_type == kind]


def folded_solutions(path):
    """The ```python blocks within <details> of a notebook's Markdown."""
    folds = re.findall(r"<details>.*?</details>", "\n".join(cells(path, "markdown")), re.S)
    return [code for fold in folds for code in re.findall(r"```python\n(.*?)```", fold, re.S)]


def first_function(code):
    names = [node.name for node in ast.parse(code).body if isinstance(node, ast.FunctionDef)]
    return names[0] if names else None


def stubs(path):
    """Function's name → the call of its check, for each cell with a stub that returns `...`."""
    found = {}
    for code in cells(path, "code"):
        call = re.search(r"^print\((check_\w+\(.*\))\)$", code, re.M)
        if call and re.search(r"^    return \.\.\.$", code, re.M):
            found[first_function(code)] = call[1]
    return found


def imports(path):
    """The import statements of all code cells, as one piece of source."""
    nodes = [node for code in cells(path, "code") for node in ast.parse(code).body]
    wanted = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    return "\n".join(map(ast.unparse, wanted))


SOLUTIONS = [
    pytest.param(path, code, id=f"{path.stem}-{first_function(code)}")
    for path in sorted(FOLDER.rglob("*.ipynb"))
    for code in folded_solutions(path)
    if first_function(code)
]


@pytest.mark.parametrize(("path", "code"), SOLUTIONS)
def test_the_solution_that_a_lesson_folds_away_passes(path, code, lm):
    call = stubs(path)[first_function(code)]
    names = {"lm": lm}
    exec(imports(path) + "\n" + code, names)
    assert eval(call, names) == CORRECT


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.ipynb")), ids=lambda path: path.stem)
def test_every_stub_has_a_folded_solution(path):
    assert {first_function(code) for code in folded_solutions(path)} >= set(stubs(path))
    uses = re.findall(r"^print\(check_\w+\(", "\n".join(cells(path, "code")), re.M)
    assert len(uses) == len(stubs(path))
