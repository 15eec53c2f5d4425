"""A tree of drafts as plain data.

For each drafted token its parent's place in the list, -1 for the end of the text. Parents come
first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache

from medusa_lib.base.words import Node, Parents


def check_parents(parents: Sequence[int], count: int) -> Parents:
    """A tree's parents as a tuple. Raises ValueError unless each is -1 or an earlier token."""
    if len(parents) != count:
        raise ValueError(f"parents must be one for each of {count} tokens, got {len(parents)}")
    for i, parent in enumerate(parents):
        if isinstance(parent, bool) or not isinstance(parent, int) or not -1 <= parent < i:
            raise ValueError(f"parent of token {i} must be an int in [-1, {i - 1}], got {parent!r}")
    return tuple(parents)


@lru_cache(maxsize=256)
def tree_depths(parents: Parents) -> Parents:
    """How far each token is from the end of the text: 1 for the first after it."""
    depths: list[int] = []
    for parent in parents:
        depths.append(1 if parent < 0 else depths[parent] + 1)
    return tuple(depths)


def path_to(parents: Sequence[int], token: int) -> list[int]:
    """The places of a token's ancestors and of itself, first ancestor first."""
    path = []
    while token >= 0:
        path.append(token)
        token = parents[token]
    return path[::-1]


def follow(
    choice_at: Callable[[list[int]], int], tokens: Sequence[int], parents: Sequence[int]
) -> tuple[list[int], int]:
    """Walk down a tree as long as it holds the model's choice → (path, the choice that ended it).

    choice_at(path) is the model's token after the text and that path. The path lists places in
    the tree; the choice after it is the correction, or the bonus at the end of a branch.
    """
    pairs = list(zip(parents, tokens, strict=True))
    children = {pairs[i]: i for i in reversed(range(len(pairs)))}  # of two alike the first
    path: list[int] = []
    while True:
        choice = choice_at(path)
        child = children.get((path[-1] if path else -1, choice))
        if child is None:
            return path, choice
        path.append(child)


def leaves(parents: Sequence[int]) -> list[int]:
    """The places of the tokens that nothing follows: one for each branch."""
    inner = set(parents)
    return [token for token in range(len(parents)) if token not in inner]


def first_on(parents: Sequence[int], path: Sequence[int]) -> list[int]:
    """All places of a tree, those on `path` first, then the children of its last, then the rest."""
    last = path[-1] if path else -1
    on = set(path)
    near = [token for token, parent in enumerate(parents) if parent == last]
    rest = [token for token, parent in enumerate(parents) if parent != last and token not in on]
    return [*path, *near, *rest]


def merge_branches(branches: Iterable[Sequence[int]]) -> tuple[list[int], Parents]:
    """Branches that share their first tokens become one tree → (tokens, parents)."""
    places: dict[tuple[int, int], int] = {}
    tokens, parents = [], []
    for branch in branches:
        at = -1
        for token in branch:
            if (at, token) not in places:
                places[at, token] = len(tokens)
                tokens.append(token)
                parents.append(at)
            at = places[at, token]
    return tokens, tuple(parents)


def prune_tree(
    tokens: Sequence[int], parents: Sequence[int], depth: int, is_end: Callable[[int], bool]
) -> tuple[list[int], Parents]:
    """Drop what is deeper than `depth` or follows an end; the order of the others stays."""
    kept: dict[int, int] = {-1: -1}
    new_tokens, new_parents = [], []
    depths = tree_depths(tuple(parents))
    for i, parent in enumerate(parents):
        ends = parent >= 0 and is_end(tokens[parent])
        if parent in kept and depths[i] <= depth and not ends:
            kept[i] = len(new_tokens)
            new_tokens.append(tokens[i])
            new_parents.append(kept[parent])
    return new_tokens, tuple(new_parents)


def node_chance(node: Node, accuracy: Sequence[Sequence[float]]) -> float:
    """Chance that a node's whole path is right, if heads were right independently.

    accuracy[k][r]: how often candidate r of head k is the right one.
    """
    chance = 1.0
    for head, rank in enumerate(node):
        chance *= accuracy[head][rank]
    return chance


def grow_tree(chance: Callable[[Node], float], budget: int, depth: int, ranks: int) -> list[Node]:
    """The paper's greedy construction: `budget` nodes of the greatest chance, parents first.

    Begin with the best guess of the first head; again and again take the node with the greatest
    chance among the next sibling and the first child of those taken. depth: heads; ranks:
    candidates a head.
    """
    taken: list[Node] = []
    waiting: dict[Node, float] = {(0,): chance((0,))}
    while len(taken) < budget and waiting:
        best = max(waiting, key=lambda node: (waiting[node], -len(node), tuple(-r for r in node)))
        del waiting[best]
        taken.append(best)
        if best[-1] + 1 < ranks:
            sibling = (*best[:-1], best[-1] + 1)
            waiting[sibling] = chance(sibling)
        if len(best) < depth:
            waiting[*best, 0] = chance((*best, 0))
    return taken


def parents_of(nodes: Sequence[Node]) -> Parents:
    """Nodes, parents first → the parents' places."""
    places = {node: i for i, node in enumerate(nodes)}
    return tuple(places.get(node[:-1], -1) for node in nodes)


def expected_length(nodes: Sequence[Node], chances: Mapping[Node, float]) -> float:
    """Tokens a loop should give: one from the model, and for each node its chance."""
    return 1 + sum(chances[node] for node in nodes)


def reorder(
    tokens: Sequence[int], parents: Parents, order: Sequence[int]
) -> tuple[list[int], Parents]:
    """A tree with its tokens in another order."""
    at = {-1: -1} | {old: new for new, old in enumerate(order)}
    return [tokens[old] for old in order], tuple(at[parents[old]] for old in order)
