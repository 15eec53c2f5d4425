"""The figures of the course, computed from records; each says what it divides by."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from medusa_lib.base.records import Generation, LoopRecord


def ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def acceptance_rate(loops: Sequence[LoopRecord]) -> float:
    """α = accepted ÷ evaluated, in [0, 1]; NaN if nothing was evaluated.

    Evaluated are the accepted tokens and the first rejected one of each loop: the α of
    Leviathan et al. 2023, not accepted ÷ drafted.
    """
    return ratio(sum(r.accepted for r in loops), sum(r.evaluated for r in loops))


def draft_efficiency(loops: Sequence[LoopRecord]) -> float:
    """Accepted ÷ drafted, in [0, 1]; NaN if nothing was drafted. Many tools call this α."""
    return ratio(sum(r.accepted for r in loops), sum(len(r.branch) for r in loops))


def mean_accepted_length(loops: Sequence[LoopRecord]) -> float:
    """τ = tokens emitted ÷ loops (accepted + correction or bonus, as in EAGLE); NaN if no loop."""
    return ratio(sum(len(r.emitted) for r in loops), len(loops))


def repeats(ids: Sequence[int], n: int = 6, times: int = 3) -> bool:
    """True if some `n` tokens in a row occur at least `times` times: the text loops.

    A loop flatters every drafter, so figures are given apart for texts that loop.
    """
    grams = Counter(tuple(ids[i : i + n]) for i in range(len(ids) - n + 1))
    return max(grams.values(), default=0) >= times


def acceptance_by_position(loops: Sequence[LoopRecord]) -> list[tuple[int, int]]:
    """For each position in the branch (reached, accepted): how many loops came that far.

    accepted ÷ reached is the chance that a draft holds there, given that all before it held.
    """
    longest = max((r.evaluated for r in loops), default=0)
    return [
        (sum(r.evaluated > i for r in loops), sum(r.accepted > i for r in loops))
        for i in range(longest)
    ]


def first_and_later(pairs: Sequence[tuple[int, int]]) -> tuple[float, float, str]:
    """(share accepted at the first position, share at all later ones, how it changes).

    pairs: as acceptance_by_position gives them. It "rises" or "falls" where the two shares
    differ by more than two standard errors, else that "may be luck": so far luck alone may go.
    """
    (n, held), rest = pairs[0], pairs[1:]
    m, held_later = (sum(pair[i] for pair in rest) for i in (0, 1))
    first, later = ratio(held, n), ratio(held_later, m)
    if not m:
        return first, later, "may be luck"
    share = (held + held_later) / (n + m)
    luck = 2 * math.sqrt(share * (1 - share) * (1 / n + 1 / m))
    change = "rises" if later - first > luck else "falls" if first - later > luck else "may be luck"
    return first, later, change


def passes_per_token(generation: Generation) -> float:
    """Forward passes ÷ tokens emitted; 1 for greedy. NaN if nothing was emitted."""
    return ratio(generation.model_passes, len(generation.new_ids))


def first_difference(a: Sequence[int], b: Sequence[int]) -> int | None:
    """The first position where two token lists differ, or None if they are the same."""
    for position, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return position
    return None if len(a) == len(b) else min(len(a), len(b))


def speedup(generation: Generation, cached_greedy: Generation) -> float:
    """Seconds of cached greedy ÷ seconds of this run, for the same tokens; above 1 is faster.

    Raises ValueError if the two runs wrote different tokens.
    """
    at = first_difference(generation.new_ids, cached_greedy.new_ids)
    if at is not None:
        raise ValueError(f"speedup needs the same tokens, the runs differ at new token {at}")
    return ratio(cached_greedy.seconds, generation.seconds)


def metrics(run: Generation) -> dict[str, float | int | str | None]:
    """The figures of one run, under the names of the course; None where one has no meaning."""
    figures = {
        "new_tokens": len(run.new_ids),
        "stop_reason": run.stop_reason,
        "loops": len(run.loops),
        "draft_passes": run.draft_passes,
        "verify_passes": run.verify_passes,
        "model_passes": run.model_passes,
        "passes_per_token": passes_per_token(run),
        "acceptance_rate": acceptance_rate(run.loops),
        "draft_efficiency": draft_efficiency(run.loops),
        "mean_accepted_length": mean_accepted_length(run.loops),
        "seconds": run.seconds,
    }
    empty = {k for k, v in figures.items() if isinstance(v, float) and math.isnan(v)}
    return {k: None if k in empty else v for k, v in figures.items()}


LABELS = {
    "new_tokens": "new tokens",
    "stop_reason": "stopped by",
    "loops": "loops",
    "draft_passes": "draft passes",
    "verify_passes": "verify passes",
    "model_passes": "model passes",
    "passes_per_token": "model passes ÷ new tokens",
    "acceptance_rate": "α = accepted ÷ evaluated",
    "draft_efficiency": "accepted ÷ drafted",
    "mean_accepted_length": "τ = emitted ÷ loops",
    "seconds": "seconds",
}


def metrics_rows(*runs: Generation) -> list[tuple[str, ...]]:
    """One row per figure: its label with its denominator, then its value for each run."""

    def cell(key: str, value: float | int | str | None) -> str:
        if value is None:
            return "–"
        digits = 3 if key == "seconds" else 2  # a cured run may take a hundredth
        return f"{value:.{digits}f}" if isinstance(value, float) else str(value)

    figures = [metrics(run) for run in runs]
    return [(label, *(cell(key, f[key]) for f in figures)) for key, label in LABELS.items()]
