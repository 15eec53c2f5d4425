"""What a pass costs, and what draft and verify should gain by it."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from medusa_lib.checks import check_int
from medusa_lib.drafters import Drafter, check_needs_no_pass
from medusa_lib.lean import fits_half, products
from medusa_lib.medusa_heads import HeadsDrafter, MedusaHeads
from medusa_lib.model import LM, make_lm
from medusa_lib.one_pass import State, one_pass, roll_back
from medusa_lib.records import Generation, LoopRecord, acceptance_rate, mean_accepted_length
from medusa_lib.speculative import speculate
from medusa_lib.tree_attention import Node

COUNTS = (1, 2, 4, 8, 16, 32)


def pass_seconds(
    lm: LM, counts: Sequence[int] = COUNTS, context: int = 64, repeats: int = 21
) -> dict[int, float]:
    """Median seconds of one pass over each number of tokens, `context` tokens being cached.

    The numbers take turns, so that whatever else the machine does falls on all of them.
    Raises ValueError if context + the largest count do not fit the model.
    """
    check_int("context", context, 1), check_int("repeats", repeats, 1)
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
            began = time.perf_counter()
            one_pass(state, [1] * count)[-1, 0].item()  # waits until a GPU is done
            taken.append(time.perf_counter() - began)
            roll_back(state, context)
    return {count: statistics.median(taken) for count, taken in times.items()}


def draft_costs(
    lm: LM, drafters: Mapping[str, Drafter], run: Generation, span: int = 4
) -> dict[str, float]:
    """Each drafter's draft cost c: the time of one draft step ÷ of a pass of `lm` over one token.

    All meet the text of `run` growing token by token and take turns. A step's time is that of
    `propose` ÷ the tokens drafted, so what a drafter does besides passes is counted: picking
    tokens, taking rejected ones back, catching up. Medians.
    """
    check_int("span", span, 1)
    plain, state = State.start(lm, run.prompt_ids), State.start(lm, run.prompt_ids)
    one_pass(plain, [])
    for drafter in drafters.values():
        check_needs_no_pass(drafter)
        drafter.propose(state, span)  # the first reading of the prompt is no draft step
    passes: list[float] = []
    steps: dict[str, list[float]] = {name: [] for name in drafters}
    for token in run.new_ids:
        plain.ids.append(token)
        state.ids.append(token)
        began = time.perf_counter()
        one_pass(plain, [])[-1, 0].item()
        passes.append(time.perf_counter() - began)
        for name, drafter in drafters.items():
            began = time.perf_counter()
            branch = drafter.propose(state, span)
            steps[name].append((time.perf_counter() - began) / (len(branch.tokens) or span))
    one = statistics.median(passes)
    return {name: statistics.median(taken) / one for name, taken in steps.items()}


def measured_speedups(
    lm: LM,
    prompts: Sequence[str],
    drafters: Mapping[str, Drafter],
    spans: Sequence[int],
    max_new_tokens: int = 32,
    rounds: int = 2,
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Write all prompts with each drafter and span → (speed-ups, αs), each name → one per span.

    Speed-up: seconds of plain cached decoding ÷ seconds of the drafter, the fastest round of
    each. They take turns, as in `pass_seconds`. α is 0 where nothing was evaluated.
    """
    check_int("rounds", rounds, 1)
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


def node_budgets(
    lm: LM,
    heads: MedusaHeads,
    trees: Mapping[int, Sequence[Node]],
    prompts: Sequence[str],
    max_new_tokens: int = 64,
    rounds: int = 3,
) -> list[dict]:
    """Write all prompts with each tree of guesses → a row of figures for each node budget.

    tau: tokens emitted ÷ loops. seconds: the sum over prompts of the fastest round. They take
    turns with plain cached decoding, whose seconds ÷ a tree's are `over_greedy`.
    """
    check_int("rounds", rounds, 1)
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


def weight_bytes(lm: LM) -> int:
    """Bytes of the weights that one pass must read: all of them, once, in as few as hold them.

    Two for each number of a weight that half precision holds exactly. lean reads it so where
    a product for that is at hand and the fastest; elsewhere it reads four.
    """
    sizes = ((p.numel(), 2 if fits_half(p) else p.element_size()) for p in lm.model.parameters())
    return sum(numbers * size for numbers, size in sizes)


def pass_operations(lm: LM, count: int) -> int:
    """Floating-point operations of a pass over `count` tokens: two per weight of a product.

    Embedding tables are looked up, not multiplied, unless they are also the output layer.
    Attention over the cache is left out: at these lengths it is a small part.
    """
    check_int("count", count, 1)
    head = lm.model.get_output_embeddings().weight
    tables = sum(
        module.weight.numel()
        for module in lm.model.modules()
        if type(module).__name__ == "Embedding" and module.weight is not head
    )
    return 2 * count * (sum(p.numel() for p in lm.model.parameters()) - tables)


@dataclass(frozen=True)
class Machine:
    """What a machine can do at best: bytes read from memory and operations done, per second."""

    bytes_per_second: float
    operations_per_second: float


def measure_machine(numbers: int = 2**26, width: int = 1024, repeats: int = 5) -> Machine:
    """Roughly what this processor can do: the best of a few timings in float32.

    Reading: a matrix of that many numbers, too many for the processor's own cache, is added up
    or multiplied with a vector, so that each is read once; the faster of the two counts.
    Arithmetic: two square matrices of that width, by the fastest product that `lean` knows.
    """
    for name, value in {"numbers": numbers, "width": width, "repeats": repeats}.items():
        check_int(name, value, 1)
    matrix, vector = torch.rand(max(1, numbers // width), width), torch.rand(width)
    square = torch.rand(width, width)
    reading = min(_fastest(matrix.sum, repeats), _fastest(lambda: matrix @ vector, repeats))
    ways = products(square, None).values()
    working = min(_fastest(partial(product, square), repeats) for product in ways)
    return Machine(4 * matrix.numel() / reading, 2 * width**3 / working)


def _fastest(work: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def roofline(lm: LM, machine: Machine, count: int) -> tuple[float, float]:
    """Seconds that a pass over `count` tokens needs at least: (to read the weights, to compute).

    Both go on at once, so the longer of the two is the bound. Williams et al. 2009.
    """
    reading = weight_bytes(lm) / machine.bytes_per_second
    return reading, pass_operations(lm, count) / machine.operations_per_second


def free_positions(lm: LM, machine: Machine) -> float:
    """How many positions' arithmetic takes no longer than reading the weights once."""
    reading, one = roofline(lm, machine, 1)
    return reading / one


def roofline_report(
    name: str, lm: LM, machine: Machine, measured: Mapping[int, float], count: int = 8
) -> str:
    """A model's measured passes beside its roofline, in four lines of words.

    measured: seconds of a pass over each number of positions, 1 and `count` among them, as
    `pass_seconds` gives them.
    """
    bounds = {positions: roofline(lm, machine, positions) for positions in (1, count)}
    share = bounds[1][0] / measured[1]
    main = "reading weights" if share > 0.5 else "something else"
    growth, allowed = measured[count] / measured[1], max(bounds[count]) / max(bounds[1])
    nearly = max(positions for positions in measured if measured[positions] < 1.5 * measured[1])
    return (
        f"{name}, 1 position: reading all weights from memory makes {share:.0%} of the pass, "
        f"so the larger part is {main}\n"
        f"  {count} positions: {growth:.2f} times the cost of 1, where the roofline alone allows "
        f"{allowed:.2f}\n"
        f"  by the roofline alone {free_positions(lm, machine):.0f} positions are free\n"
        f"  measured, nearly free (below 1.5 times) up to {nearly} positions"
    )


def gpt2_small(lm: LM) -> LM:
    """A model of GPT-2 small's size with random weights and `lm`'s tokenizer.

    What a pass costs does not depend on what the model has learned, but on the bytes of its
    weights: like the shipped models it has numbers that half precision holds.
    """
    model = GPT2LMHeadModel(GPT2Config()).half().float()
    return make_lm(lm.tokenizer, model, "gpt2-small, random weights")


def expected_tokens(alpha: float, span: int) -> float:
    """Tokens per loop if each draft is accepted with chance alpha, whatever the others do.

    (1 - alpha^(span + 1)) / (1 - alpha): Leviathan et al. 2023, equation 1. alpha in [0, 1].
    """
    check_int("span", span, 0)
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be in [0, 1], got {alpha!r}")
    return span + 1 if alpha == 1 else (1 - alpha ** (span + 1)) / (1 - alpha)


def expected_speedup(alpha: float, span: int, draft_cost: float, verify_cost: float = 1.0) -> float:
    """Speed over plain decoding: expected tokens ÷ (span × draft_cost + verify_cost).

    Costs in passes of the model over one token. Leviathan et al. 2023, theorem 3.8, takes
    verify_cost as 1.
    """
    for name, cost in (("draft_cost", draft_cost), ("verify_cost", verify_cost)):
        if not 0 <= cost < math.inf:
            raise ValueError(f"{name} must be a finite number >= 0, got {cost!r}")
    return expected_tokens(alpha, span) / (span * draft_cost + verify_cost)
