"""The project's own goals, and whether a run met them."""

from __future__ import annotations

from medusa_lib.bench.decoders import (
    BRANCHES,
    GENERATE,
    GREEDY,
    HEADS_AND_NGRAM,
    LARGE,
    LARGE_TREE,
    TREE,
)


def goals(result: dict) -> list[dict]:
    """The project's own goals (2 threads, 64 new tokens, the shipped models), and what came out."""
    rows = {part: {row["name"]: row for row in result[part]} for part in ("not_looping", "looping")}
    ratio = result["passes"]["ratio"]

    def of(part: str, names: str | tuple[str, ...], other: str) -> float | None:
        speeds = {name: row["tokens_per_second"] for name, row in rows[part].items()}
        best = max(speeds.get(name, 0) for name in ([names] if isinstance(names, str) else names))
        return best / speeds[other] if best and speeds.get(other) else None

    plain, trees = "not_looping", (BRANCHES, TREE, HEADS_AND_NGRAM, LARGE_TREE)
    lookup, assisted = "transformers prompt lookup", "transformers assisted"
    listed = [
        ("cached greedy ÷ generate", of(plain, GREEDY, GENERATE), ">= 1.5"),
        ("one pass of 8 positions ÷ of 1", ratio.get(8), "<= 1.1"),
        ("one pass of 16 positions ÷ of 1", ratio.get(16), "<= 1.3"),
        ("n-gram ÷ cached greedy, not looping", of(plain, "n-gram", GREEDY), ">= 1.25"),
        ("n-gram ÷ cached greedy, looping", of("looping", "n-gram", GREEDY), ">= 1.8"),
        ("n-gram ÷ transformers prompt lookup", of(plain, "n-gram", lookup), ">= 1.8"),
        ("draft model ÷ transformers assisted", of(plain, "draft model", assisted), ">= 1.5"),
        (
            "time per token at full context ÷ at 64",
            result["passes"]["full_context_over_64"],
            "<= 1.25",
        ),
        ("best tree ÷ cached greedy, not looping", of(plain, trees, GREEDY), ">= 2.2"),
        ("best tree ÷ generate, not looping", of(plain, trees, GENERATE), ">= 3.0"),
        (
            f"τ of the tree of {LARGE} nodes, not looping",
            rows[plain].get(LARGE_TREE, {}).get("tau"),
            ">= 3.0",
        ),
    ]
    return [
        {"measure": name, "goal": goal, "reached": value, "met": met(value, goal)}
        for name, value, goal in listed
    ]


def met(value: float | None, goal: str) -> bool | None:
    """True if a figure reaches its goal, such as ">= 1.5"; None if it was not measured."""
    if value is None:
        return None
    sign, bound = goal.split()
    return value >= float(bound) if sign == ">=" else value <= float(bound)
