"""Many branches in one pass: a tree of drafts, the mask that keeps its branches apart.

After SpecInfer (Miao et al. 2023) and Medusa (Cai et al. 2024). A tree is plain data: for each
drafted token its parent's place in the list, -1 for the end of the text. Parents come first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, wraps

import torch
from transformers import DynamicCache

Parents = tuple[int, ...]
FEW_ROWS = 64  # larger masks are not kept for the next pass


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


def tree_looks(parents: Parents, before: int = 1) -> torch.Tensor:
    """Who may look at whom: bool `[before + n, before + n]`, True for yes.

    The first `before` rows are tokens of the text, each of which looks at itself and those
    before it. A drafted token looks at all of them, at its ancestors and at itself.
    """
    looks = torch.ones(before, before).tril().bool()
    looks = torch.nn.functional.pad(looks, (0, len(parents), 0, len(parents)))
    looks[before:, :before] = True
    for token in range(len(parents)):
        looks[before + token, [before + ancestor for ancestor in path_to(parents, token)]] = True
    return looks


def remember_small(make: Callable[..., tuple]) -> Callable[..., tuple]:
    """Keep what `make(parents, before, …)` made of a few rows for the next pass."""

    def outside(*given: object, **named: object) -> tuple:
        with torch.inference_mode(False):  # what is kept may be used in training, too
            return make(*given, **named)

    remembered = lru_cache(maxsize=256)(outside)

    @wraps(make)
    def made(parents: Parents, before: int, *more: object, **named: object) -> tuple:
        small = before + len(parents) <= FEW_ROWS
        return (remembered if small else outside)(parents, before, *more, **named)

    return made


@remember_small
def tree_rows(
    parents: Parents, before: int, dtype: torch.dtype, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """What is the same in every pass over a tree: (mask, offsets).

    mask `[before + n, before + n]` is added to the scores: 0 for a token that may be looked at,
    the lowest number for one that may not. offsets `[before + n]`: positions from the first.
    Both are shared by all passes of that shape: do not write into them.
    """
    looks = tree_looks(parents, before).to(device)
    mask = torch.zeros(looks.shape, dtype=dtype, device=device)
    mask.masked_fill_(~looks, torch.finfo(dtype).min)
    offsets = [*range(before), *(before - 1 + depth for depth in tree_depths(parents))]
    return mask, torch.tensor(offsets, device=device)


def tree_mask(mask: torch.Tensor, seen: int) -> torch.Tensor:
    """The mask of a pass `[count, count]` → `[1, 1, count, seen + count]`: all see the cache."""
    return torch.cat([mask.new_zeros(len(mask), seen), mask], dim=1)[None, None]


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


@torch.inference_mode()
def keep_path(cache: DynamicCache, start: int, path: Sequence[int]) -> None:
    """Cut the cache to its first `start` tokens and those of a tree fed after them, on `path`.

    The keys and values of the path move together; the rest of the tree is forgotten.
    """
    end = start + len(path)
    if list(path) != list(range(len(path))):
        device = cache.layers[0].keys.device
        chosen = torch.tensor([start + place for place in path], device=device)
        for layer in cache.layers:
            for held in (layer.keys, layer.values):
                held[..., start:end, :] = held.index_select(-2, chosen)
    rest = cache.get_seq_length() - end
    if rest > 0:  # crop(0) would do nothing, but also trim a sliding window
        cache.crop(-rest)


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
    tokens: Sequence[int], parents: Sequence[int], depth: int, eos_id: int
) -> tuple[list[int], Parents]:
    """Drop what is deeper than `depth` or follows EOS; the order of the others stays."""
    kept: dict[int, int] = {-1: -1}
    new_tokens, new_parents = [], []
    depths = tree_depths(tuple(parents))
    for i, parent in enumerate(parents):
        ends = parent >= 0 and tokens[parent] == eos_id
        if parent in kept and depths[i] <= depth and not ends:
            kept[i] = len(new_tokens)
            new_tokens.append(tokens[i])
            new_parents.append(kept[parent])
    return new_tokens, tuple(new_parents)


# A node of a tree of heads: the ranks of the candidates on the way to it, (0,) is the first
# head's best guess and (0, 1) the second head's second best after it.
Node = tuple[int, ...]


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
