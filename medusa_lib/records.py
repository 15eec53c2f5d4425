"""What a decoder leaves behind, and the figures computed from it.

Plots and panels read these records only, so any decoder that fills them can be shown.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class LoopRecord:
    """One draft-and-verify loop. A greedy step is a loop with an empty branch.

    branch: drafted ids. accepted: how many of them greedy agreed with. emitted: ids added to
    the text (EOS is never emitted). correction: greedy's id in place of the first rejected
    one. bonus: an extra id after a fully accepted branch. Passes are forward passes. parents:
    of a branch that is a tree, see tree_attention; its accepted path stands first.
    """

    index: int
    branch: tuple[int, ...]
    accepted: int
    emitted: tuple[int, ...]
    correction: int | None = None
    bonus: int | None = None
    draft_passes: int = 0
    verify_passes: int = 0
    seconds: float = 0.0
    parents: tuple[int, ...] | None = None

    @property
    def evaluated(self) -> int:
        """Drafted tokens that verification reached: the accepted ones and the first rejected.

        Of a tree: levels. Siblings that were all rejected count once.
        """
        return self.accepted + (bool(self.branch) and self.correction is not None)

    @property
    def unused(self) -> int:
        """Drafted tokens that brought nothing: verification never reached them.

        Of a tree also those siblings that it compared in vain, all but one.
        """
        return len(self.branch) - self.evaluated

    @property
    def sources(self) -> tuple[str, ...]:
        """For each emitted token: "accepted", "corrected", "bonus" or "greedy"."""
        if not self.branch:
            return ("greedy",) * len(self.emitted)
        last = "corrected" if self.correction is not None else "bonus"
        kept = min(self.accepted, len(self.emitted))
        return ("accepted",) * kept + (last,) * (len(self.emitted) - kept)


@dataclass(frozen=True)
class Generation:
    """One finished run. `print(generation)` prints its text, prompt first.

    stop_reason: "length", "eos", "context" (no room left) or "cancelled".
    """

    prompt_ids: list[int]
    new_ids: list[int]
    text: str
    stop_reason: str
    loops: list[LoopRecord] = field(default_factory=list)
    seconds: float = 0.0
    model_passes: int = 0

    def __str__(self) -> str:
        return self.text

    @property
    def sources(self) -> list[str]:
        """For each new token, where it came from: see LoopRecord.sources."""
        return [source for loop in self.loops for source in loop.sources]

    @property
    def draft_passes(self) -> int:
        """Forward passes spent on drafting."""
        return sum(loop.draft_passes for loop in self.loops)

    @property
    def verify_passes(self) -> int:
        """Forward passes spent on verifying (for greedy: on its own tokens)."""
        return sum(loop.verify_passes for loop in self.loops)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def acceptance_rate(loops: Sequence[LoopRecord]) -> float:
    """α = accepted ÷ evaluated, in [0, 1]; NaN if nothing was evaluated.

    Evaluated are the accepted tokens and the first rejected one of each loop: the α of
    Leviathan et al. 2023, not accepted ÷ drafted.
    """
    return _ratio(sum(r.accepted for r in loops), sum(r.evaluated for r in loops))


def draft_efficiency(loops: Sequence[LoopRecord]) -> float:
    """Accepted ÷ drafted, in [0, 1]; NaN if nothing was drafted. Many tools call this α."""
    return _ratio(sum(r.accepted for r in loops), sum(len(r.branch) for r in loops))


def mean_accepted_length(loops: Sequence[LoopRecord]) -> float:
    """τ = tokens emitted ÷ loops (accepted + correction or bonus, as in EAGLE); NaN if no loop."""
    return _ratio(sum(len(r.emitted) for r in loops), len(loops))


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
    differ by more than two standard errors, else it "stays close": so far luck alone may go.
    """
    (n, held), rest = pairs[0], pairs[1:]
    m, held_later = (sum(pair[i] for pair in rest) for i in (0, 1))
    first, later = _ratio(held, n), _ratio(held_later, m)
    if not m:
        return first, later, "stays close"
    share = (held + held_later) / (n + m)
    luck = 2 * math.sqrt(share * (1 - share) * (1 / n + 1 / m))
    change = "rises" if later - first > luck else "falls" if first - later > luck else "stays close"
    return first, later, change


def passes_per_token(generation: Generation) -> float:
    """Forward passes ÷ tokens emitted; 1 for greedy. NaN if nothing was emitted."""
    return _ratio(generation.model_passes, len(generation.new_ids))


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
    return _ratio(cached_greedy.seconds, generation.seconds)
