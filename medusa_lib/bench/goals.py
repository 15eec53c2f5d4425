"""The project's own goals (2 threads, 64 new tokens, the shipped models)."""

from __future__ import annotations

from collections.abc import Sequence

from medusa_lib.bench.decoders import (
    BRANCHES,
    GENERATE,
    GREEDY,
    HEADS_AND_NGRAM,
    LARGE,
    LARGE_TREE,
    TREE,
)
from medusa_lib.bench.rows import Goal, GreedyRow, PassCost

TREES = (BRANCHES, TREE, HEADS_AND_NGRAM, LARGE_TREE)
LOOKUP, ASSISTED = "transformers prompt lookup", "transformers assisted"


def speed_over(rows: Sequence[GreedyRow], names: Sequence[str], other: str) -> float | None:
    """Tokens per second of the fastest of some decoders ÷ those of another; None without them."""
    speeds = {row.name: row.tokens_per_second for row in rows}
    best = max(speeds.get(name, 0) for name in names)
    return best / speeds[other] if best and speeds.get(other) else None


def goals(plain: list[GreedyRow], looping: list[GreedyRow], cost: PassCost) -> list[Goal]:
    """What came out of a run for each goal. plain: the rows of texts that do not loop."""
    tau = next((row.tau for row in plain if row.name == LARGE_TREE), None)
    listed = [
        ("cached greedy ÷ generate", ">= 1.5", speed_over(plain, [GREEDY], GENERATE)),
        ("one pass of 8 positions ÷ of 1", "<= 1.1", cost.ratio.get(8)),
        ("one pass of 16 positions ÷ of 1", "<= 1.3", cost.ratio.get(16)),
        ("n-gram ÷ cached greedy, not looping", ">= 1.25", speed_over(plain, ["n-gram"], GREEDY)),
        ("n-gram ÷ cached greedy, looping", ">= 1.8", speed_over(looping, ["n-gram"], GREEDY)),
        ("n-gram ÷ transformers prompt lookup", ">= 1.8", speed_over(plain, ["n-gram"], LOOKUP)),
        (
            "draft model ÷ transformers assisted",
            ">= 1.5",
            speed_over(plain, ["draft model"], ASSISTED),
        ),
        ("time per token at full context ÷ at 64", "<= 1.25", cost.full_context_over_64),
        ("best tree ÷ cached greedy, not looping", ">= 2.2", speed_over(plain, TREES, GREEDY)),
        ("best tree ÷ generate, not looping", ">= 3.0", speed_over(plain, TREES, GENERATE)),
        (f"τ of the tree of {LARGE} nodes, not looping", ">= 3.0", tau),
    ]
    return [Goal(*one) for one in listed]
