"""What BEYOND5's panel shows, as pure functions: one loop of a run over trees, told by texts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from medusa_lib.medusa_heads import HeadsDrafter, MedusaHeads
from medusa_lib.model import LM
from medusa_lib.records import Generation, mean_accepted_length
from medusa_lib.tree_attention import Node, Parents, grow_tree, leaves
from medusa_lib.views import token_texts

CANDIDATES = 8  # of each head, that a tree may use


def grown_drafter(
    heads: MedusaHeads, chance: Callable[[Node], float], nodes: int, depth: int | None = None
) -> HeadsDrafter:
    """Heads that draft the tree of `nodes` nodes with the greatest chances. depth: heads used.

    Fewer nodes where the heads have no more to offer. Raises ValueError for a tree of none.
    """
    depth = heads.shape.count if depth is None else depth
    ranks = min(CANDIDATES, heads.shape.words)
    return HeadsDrafter(heads, grow_tree(chance, nodes, depth, ranks))


@dataclass(frozen=True)
class TreeView:
    """One loop of a run: the tree that one pass verified, and what became of it.

    root: the text's last token. tokens, parents: the drafts, the accepted path first. following:
    (text, "corrected", "bonus" or "greedy"), what the model added after the path; None for EOS.
    passes: that verified it. tau: of the whole run.
    """

    index: int
    loops: int
    root: str
    tokens: list[str]
    parents: Parents
    accepted: int
    following: tuple[str, str] | None
    passes: int
    tau: float

    @property
    def path(self) -> tuple[int, ...]:
        """The places of the accepted tokens."""
        return tuple(range(self.accepted))

    @property
    def words(self) -> str:
        """The loop and the run in one line."""
        ends = f"{len(leaves(self.parents))} branches"
        shape = f"{len(self.tokens)} drafts in {ends}" if self.tokens else "no draft"
        last = f", then one {self.following[1]}" if self.following else ", then EOS"
        more = f", {self.passes - 1} more for near ties" if self.passes > 1 else ""
        kept = f"; {self.accepted} accepted{last}" if self.tokens else ""
        return (
            f"loop {self.index}, of {self.loops} loops: {shape}, one pass{more}{kept}. "
            f"The run: τ = {self.tau:.2f} (tokens emitted ÷ loops)"
        )


def tree_view(lm: LM, run: Generation, index: int) -> TreeView:
    """Loop `index` of a run of `speculate` → its tree and what was kept of it. No pass."""
    record = run.loops[index]
    earlier = [token for loop in run.loops[:index] for token in loop.emitted]
    count = len(record.branch)
    parents = tuple(range(-1, count - 1)) if record.parents is None else record.parents
    rest = token_texts(lm, record.emitted[record.accepted :])
    following = (rest[0], record.sources[-1]) if rest else None
    return TreeView(
        index=index,
        loops=len(run.loops),
        root=token_texts(lm, [*run.prompt_ids, *earlier])[-1],
        tokens=token_texts(lm, record.branch),
        parents=parents,
        accepted=record.accepted,
        following=following,
        passes=record.verify_passes,
        tau=mean_accepted_length(run.loops),
    )


def errs_words(predicted: float, measured: float) -> str:
    """Which way a prediction errs; "about right" up to 1/40 of what was measured."""
    if abs(predicted - measured) <= measured / 40:
        return "about right"
    return "too high" if predicted > measured else "too low"
