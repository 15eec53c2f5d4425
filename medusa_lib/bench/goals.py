"""The project's own goals (2 threads, 64 new tokens, the shipped models)."""

from __future__ import annotations

from collections.abc import Sequence

from medusa_lib.bench.decoders import (
    BRANCHES,
    CHAIN,
    DRAFT_MODEL,
    GENERATE,
    GREEDY,
    HEADS_AND_NGRAM,
    LARGE_TREE,
    NGRAM,
    PLAIN_SAMPLING,
    SHORT_CHAIN,
    TREE,
    TYPICAL,
)
from medusa_lib.bench.peers import LLAMA_HALF, PEERS
from medusa_lib.bench.rows import BenchResult, Goal, GreedyRow, SamplingRow

TREES = (BRANCHES, TREE, HEADS_AND_NGRAM, LARGE_TREE)
CHAINS = (CHAIN, SHORT_CHAIN, NGRAM, DRAFT_MODEL)
OTHERS = {GENERATE, "transformers prompt lookup", "transformers assisted"} | {p.name for p in PEERS}
ROWS = 8  # positions of a pass for which the project has a goal


def speed_over(
    rows: Sequence[GreedyRow | SamplingRow], names: Sequence[str], other: str
) -> float | None:
    """Tokens per second of the fastest of some decoders ÷ those of another; None without them."""
    speeds = {row.name: row.tokens_per_second for row in rows}
    best = max((speeds.get(name, 0) for name in names), default=0)
    return best / speeds[other] if best and speeds.get(other) else None


def differing(rows: Sequence[GreedyRow]) -> float | None:
    """How many texts of our own decoders are not greedy's; None without a text."""
    found = [row.prompts - row.identical for row in rows if row.name not in OTHERS]
    return float(sum(found)) if found else None


def goals(result: BenchResult) -> list[Goal]:
    """What came out of a run for each goal; ratios are over texts that do not loop."""
    plain, sampled = result.not_looping, result.sampling
    exact = [row.name for row in sampled if row.name not in (PLAIN_SAMPLING, TYPICAL)]
    listed = [
        ("cached greedy ÷ llama.cpp float16 greedy", ">= 0.9", [GREEDY], LLAMA_HALF),
        ("best tree or chain ÷ llama.cpp float16 greedy", ">= 1.6", TREES + CHAINS, LLAMA_HALF),
        ("cached greedy ÷ generate", ">= 4", [GREEDY], GENERATE),
        ("best tree ÷ generate", ">= 8", TREES, GENERATE),
        ("best tree ÷ our cached greedy", ">= 2.0", TREES, GREEDY),
    ]
    ratios = [Goal(what, bound, speed_over(plain, *pair)) for what, bound, *pair in listed]
    arithmetic = result.passes.arithmetic.get(ROWS)
    sampling = speed_over(sampled, exact, PLAIN_SAMPLING)
    context = result.passes.full_context_over_64
    texts = differing([*plain, *result.looping])
    others = [
        (f"pass of {ROWS} positions: share of a large product's arithmetic", ">= 0.6", arithmetic),
        ("exact sampling at 0.8: best drafter ÷ plain sampling", ">= 1.2", sampling),
        ("time per token at full context ÷ at 64", "<= 1.25", context),
        (
            "first speculate in a fresh process: seconds after all imports",
            "<= 1",
            result.first_speculate,
        ),
        ("texts at temperature 0 that are not greedy's", "<= 0", texts),
    ]
    return ratios + [Goal(*one) for one in others]
