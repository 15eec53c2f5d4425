"""What passes, drafters and trees take, by the clock; what is compared takes turns."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from medusa_lib.base.checks import check_int, checked
from medusa_lib.base.metrics import acceptance_rate, mean_accepted_length
from medusa_lib.base.records import Generation, LoopRecord
from medusa_lib.base.words import Node, Positive, Span
from medusa_lib.beyond.drafters import Drafter, check_needs_no_pass
from medusa_lib.beyond.medusa_heads import HeadsDrafter, MedusaHeads
from medusa_lib.beyond.one_pass import State, one_pass, roll_back
from medusa_lib.beyond.speculative import speculate
from medusa_lib.steps.model import LM

COUNTS = (1, 2, 4, 8, 16, 32)
PASS = "one pass"  # of the model itself, among the names of drafters
T = TypeVar("T")


@checked
def pass_seconds(
    lm: LM, counts: Sequence[int] = COUNTS, context: Positive = 64, repeats: Positive = 21
) -> dict[int, float]:
    """Median seconds of one pass over each number of tokens, `context` tokens being cached.

    The numbers take turns, so that whatever else the machine does falls on all of them.
    Raises ValueError if context + the largest count do not fit the model.
    """
    for count in counts:
        check_int("each of counts", count, 1)
    if context + max(counts) > lm.context_length:
        most = lm.context_length - max(counts)
        raise ValueError(f"context must be an int <= {most} for these counts, got {context}")
    state = State.start(lm, [token % lm.vocab_size for token in range(context)])
    one_pass(state, [])
    times: dict[int, list[float]] = {count: [] for count in counts}
    for _ in range(repeats):
        for count, taken in times.items():
            seconds, _ = timed(finished_pass, state, [1] * count)
            taken.append(seconds)
            roll_back(state, context)
    return {count: statistics.median(taken) for count, taken in times.items()}


@checked
def draft_costs(
    lm: LM, drafters: Mapping[str, Drafter], run: Generation, span: Span = 4
) -> dict[str, float]:
    """Each drafter's draft cost c: the time of one draft step ÷ of a pass of `lm` over one token.

    All meet the text of `run` growing token by token and take turns. A step's time is that of
    `propose` ÷ the tokens drafted, so what a drafter does besides passes is counted: picking
    tokens, taking rejected ones back, catching up. Medians.
    """
    plain, state = State.start(lm, run.prompt_ids), State.start(lm, run.prompt_ids)
    read_prompt(plain, state, drafters, span)
    taken: dict[str, list[float]] = {name: [] for name in (PASS, *drafters)}
    for token in run.new_ids:
        plain.ids.append(token)
        state.ids.append(token)
        seconds, _ = timed(finished_pass, plain)
        taken[PASS].append(seconds)
        for name, drafter in drafters.items():
            seconds, branch = timed(drafter.propose, state, span)
            taken[name].append(seconds / (len(branch.tokens) or span))
    one = statistics.median(taken.pop(PASS))
    return {name: statistics.median(steps) / one for name, steps in taken.items()}


def read_prompt(plain: State, state: State, drafters: Mapping[str, Drafter], span: int) -> None:
    """Let the model and all drafters read a prompt: the first reading is no step of theirs."""
    one_pass(plain, [])
    for drafter in drafters.values():
        check_needs_no_pass(drafter)
        drafter.propose(state, span)


def finished_pass(state: State, branch: Sequence[int] = ()) -> None:
    """One pass, also on a GPU: asking for a number waits until it is done."""
    one_pass(state, branch)[-1, 0].item()


def timed(call: Callable[..., T], *given: object) -> tuple[float, T]:
    """(seconds that a call took, what it returned)."""
    began = time.perf_counter()
    returned = call(*given)
    return time.perf_counter() - began, returned


@checked
def measured_speedups(
    lm: LM,
    prompts: Sequence[str],
    drafters: Mapping[str, Drafter],
    spans: Sequence[int],
    max_new_tokens: int = 32,
    rounds: Positive = 2,
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Write all prompts with each drafter and span → (speed-ups, αs), each name → one per span.

    Speed-up: seconds of plain cached decoding ÷ seconds of the drafter, the fastest round of
    each. They take turns, as in `pass_seconds`. α is 0 where nothing was evaluated.
    """
    plain = (None, 1)
    tries = [plain, *((name, span) for name in drafters for span in spans)]
    seconds: dict[tuple, list[float]] = {one: [] for one in tries}
    loops: dict[tuple, list[LoopRecord]] = {}
    for _ in range(rounds):
        for name, span in tries:
            drafter = None if name is None else drafters[name]
            runs = [speculate(lm, p, drafter, max_new_tokens, span) for p in prompts]
            seconds[name, span].append(sum(run.seconds for run in runs))
            loops[name, span] = [loop for run in runs for loop in run.loops]
    best = {one: min(times) for one, times in seconds.items()}
    found = {name: [best[plain] / best[name, span] for span in spans] for name in drafters}
    rates = {one: acceptance_rate(some) for one, some in loops.items()}
    rates = {one: 0.0 if math.isnan(rate) else rate for one, rate in rates.items()}
    return found, {name: [rates[name, span] for span in spans] for name in drafters}


@checked
def node_budgets(
    lm: LM,
    heads: MedusaHeads,
    trees: Mapping[int, Sequence[Node]],
    prompts: Sequence[str],
    max_new_tokens: int = 64,
    rounds: Positive = 3,
) -> list[dict]:
    """Write all prompts with each tree of guesses → a row of figures for each node budget.

    tau: tokens emitted ÷ loops. seconds: the sum over prompts of the fastest round. They take
    turns with plain cached decoding, whose seconds ÷ a tree's are `over_greedy`.
    """
    drafters = {0: None} | {n: HeadsDrafter(heads, nodes) for n, nodes in trees.items()}
    seconds = {n: [[] for _ in prompts] for n in drafters}
    runs: dict[int, list[Generation]] = {}
    for _ in range(rounds + 1):  # the first round is thrown away by taking the fastest
        for i, prompt in enumerate(prompts):
            for n, drafter in drafters.items():
                run = speculate(lm, prompt, drafter, max_new_tokens)
                seconds[n][i].append(run.seconds)
                runs.setdefault(n, [None] * len(prompts))[i] = run
    total = {n: sum(map(min, times)) for n, times in seconds.items()}
    return [
        {
            "nodes": len(trees[n]),
            "depth": max(map(len, trees[n])),
            "tau": mean_accepted_length([loop for run in runs[n] for loop in run.loops]),
            "tokens_per_second": sum(len(run.new_ids) for run in runs[n]) / total[n],
            "over_greedy": total[0] / total[n],
        }
        for n in trees
    ]
