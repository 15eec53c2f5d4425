"""A tree of drafts that grows where the heads are sure, another one in each loop.

As the trees of EAGLE-2 (Li et al. 2024).
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
import torch

from medusa_lib.base.checks import check_fields
from medusa_lib.base.words import Node, Parents, Positive, Share
from medusa_lib.beyond.medusa_heads import FromHidden, MedusaHeads
from medusa_lib.beyond.one_pass import Branch, State, check_tree_fits, empty_cache
from medusa_lib.beyond.trees import parents_of
from medusa_lib.steps.model import LM

# A guess that waits to join the tree: minus how likely it is, its node, its token, and what the
# head before it said from. The likeliest comes first.
Guess = tuple[float, Node, int, torch.Tensor]


def draft_best_first(
    heads: MedusaHeads, hidden: torch.Tensor, token: int, growth: Growth, depth: int
) -> tuple[list[int], Parents]:
    """A tree that grows where the heads are sure → (tokens, parents).

    Again and again the likeliest guess of those waiting joins the tree, and if it is likely
    enough the next head guesses what follows it. How likely: the product of the heads'
    probabilities on the way to it.
    """
    if heads.quick is None:
        return in_order(grown_tree(heads, hidden, token, growth, depth))
    counts = growth.most, depth, growth.ranks
    least = growth.least, growth.least_open, heads.shape.heat
    return in_order(named(heads.quick.tree(hidden, token, counts, *least)))


@torch.inference_mode()
def grown_tree(
    heads: MedusaHeads, hidden: torch.Tensor, token: int, growth: Growth, depth: int
) -> dict[Node, int]:
    """What draft_best_first drafts, by torch → node and token."""
    hidden, taken = hidden[None].float(), {}  # [1, width]; node → token
    waiting = guesses_after(heads, hidden, (-1.0, (), token, hidden), growth)
    while waiting and len(taken) < growth.most:
        likeliest = heapq.heappop(waiting)
        minus_chance, node, guess, _ = likeliest
        taken[node] = guess
        if len(node) < depth and -minus_chance >= growth.least_open and len(taken) < growth.most:
            for following in guesses_after(heads, hidden, likeliest, growth):
                heapq.heappush(waiting, following)
    return taken


def in_order(taken: dict[Node, int]) -> tuple[list[int], Parents]:
    """Nodes and their tokens → (tokens, parents), the way of the best guesses first."""
    nodes = sorted(taken)  # see check_nodes
    return [taken[node] for node in nodes], parents_of(nodes)


def named(tree: list[list[int]]) -> dict[Node, int]:
    """Each node's (token, parent's place, rank), parents first → node and token."""
    nodes: list[Node] = []
    for _, parent, rank in tree:
        nodes.append((*(nodes[parent] if parent >= 0 else ()), rank))
    return {node: token for node, (token, _, _) in zip(nodes, tree, strict=True)}


def guesses_after(
    heads: MedusaHeads, hidden: torch.Tensor, guess: Guess, growth: Growth
) -> list[Guess]:
    """What the next head guesses to follow a guess, the likeliest first."""
    minus_chance, node, token, before = guess
    before = heads.step(len(node), hidden, before, token)  # [1, width]
    scores = heads.out(before)[0].cpu().numpy() / heads.shape.heat  # [words]
    best = best_shares(scores, growth.ranks, -minus_chance, growth.least)
    return [
        (-share, (*node, rank), heads.words[word], before)
        for rank, (word, share) in enumerate(best)
    ]


def best_shares(
    scores: np.ndarray, ranks: int, chance: float = 1.0, least: float = 0.0
) -> list[tuple[int, float]]:
    """The highest of some scores → (place, softmax probability × chance), highest first.

    At most `ranks` of them, and none below `least`.
    """
    shares = np.exp(scores - scores.max())
    part, left, found = chance / float(shares.sum()), chance, []
    # Where the first leaves too little for a second, none is looked for.
    while len(found) < min(ranks, len(shares)) and left >= least:
        place = int(shares.argmax())
        share = part * float(shares[place])
        if share < least:
            break
        found.append((place, share))
        shares[place], left = -1.0, left - share
    return found


@dataclass(frozen=True)
class Growth:
    """When a tree that grows as it is drafted stops: see draft_best_first.

    most: nodes. depth: nodes in a row; more than there are heads only for Hydra, whose heads are
    one block. ranks: guesses of a head that count. least: how likely a node must be, in [0, 1].
    least_open: how likely, for the next head to be asked.
    """

    most: Positive = 8
    depth: Positive = 8
    ranks: Positive = 2
    least: Share = 0.1
    least_open: Share = 0.35

    def __post_init__(self) -> None:
        check_fields(self)


class GrowingDrafter(FromHidden):
    """Bets with heads: a tree that grows where they are sure, another one in each loop.

    As the trees of EAGLE-2 (Li et al. 2024). Raises ValueError for a depth beyond the heads.
    """

    def __init__(self, heads: MedusaHeads, growth: Growth | None = None) -> None:
        super().__init__(heads)
        if not isinstance(growth, Growth | None):
            raise ValueError(f"growth must be a Growth or None, got {growth!r}")
        self.growth = growth or Growth()
        self.span = self.growth.depth
        if heads.shape.kind == "medusa" and self.span > heads.shape.count:
            raise ValueError(f"depth must be <= {heads.shape.count} heads, got {self.span}")

    def check_fits(self, lm: LM) -> None:
        """Raises ValueError for a model that the heads are not for, or that takes no trees."""
        super().check_fits(lm)
        check_tree_fits(State(lm, [], *empty_cache(lm)))

    def propose(self, state: State, span: int) -> Branch:
        """A tree of depth <= span, from the hidden states of the last pass."""
        told = self.told(state)
        if told is None:
            return Branch()
        tokens, parents = draft_best_first(*told, self.growth, min(span, self.span))
        if parents == tuple(range(-1, len(tokens) - 1)):
            return Branch(tokens)
        return Branch(tokens, parents=parents)
