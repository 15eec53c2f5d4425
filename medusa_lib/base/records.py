"""What a decoder leaves behind: one record a loop, one generation a run.

Plots and panels read these records only, so any decoder that fills them can be shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class LoopRecord:
    """One draft-and-verify loop. A greedy step is a loop with an empty branch.

    branch: drafted ids. accepted: how many of them greedy agreed with. emitted: ids added to
    the text (EOS is never emitted). correction: greedy's id in place of the first rejected
    one. bonus: an extra id after a fully accepted branch. Passes are forward passes. parents:
    of a branch that is a tree, see beyond/trees.py; its accepted path stands first.
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
