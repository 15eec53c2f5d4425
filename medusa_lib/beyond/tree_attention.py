"""BEYOND7: many branches in one pass, verified as a tree.

After SpecInfer (Miao et al. 2023) and Medusa (Cai et al. 2024).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import DynamicCache

from medusa_lib.base.checks import checked
from medusa_lib.base.words import Generator, Temperature, TopP
from medusa_lib.beyond.near_ties import as_rows, best_and_near, settle
from medusa_lib.beyond.one_pass import Branch, State, roll_back
from medusa_lib.beyond.trees import follow, tree_depths
from medusa_lib.engine.cache import ArrayCache
from medusa_lib.steps.sampling import draw_from, nucleus_probs


def leads(path: Sequence[int]) -> bool:
    """True for the first places of a branch, in their order; of a range that is seen at once."""
    return path == range(len(path)) or list(path) == list(range(len(path)))


@torch.inference_mode()
def keep_path(cache: DynamicCache | ArrayCache, start: int, path: Sequence[int]) -> None:
    """Cut the cache to its first `start` tokens and those of a tree fed after them, on `path`.

    The keys and values of the path move together; the rest of the tree is forgotten.
    """
    end = start + len(path)
    chosen = [start + place for place in path]
    if not leads(path) and isinstance(cache, ArrayCache):
        cache.move(start, chosen)
    elif not leads(path):
        device = cache.layers[0].keys.device
        at = torch.tensor(chosen, device=device)
        for layer in cache.layers:
            for held in (layer.keys, layer.values):
                # [1, heads, T, head_dim]: the path moves to the front of the tree
                held[..., start:end, :] = held.index_select(-2, at)
    rest = cache.get_seq_length() - end
    if rest > 0:  # crop(0) would do nothing, but also trim a sliding window
        cache.crop(-rest)


def follow_greedily(
    state: State, branch: Branch, logits: torch.Tensor, tie_bound: float
) -> tuple[list[int], int, int]:
    """Logits of a pass over a tree → (accepted path, next token, passes spent on near ties).

    `greedy_choices` and `verify_greedily` at once, for the one path that greedy takes.
    """
    rows, passes = as_rows(logits), 0

    def choice_at(path: list[int]) -> int:
        nonlocal passes
        choice, near = best_and_near(rows[path[-1] + 1 if path else 0], tie_bound)
        if near:
            passes += 1
            drafted = [branch.tokens[place] for place in path]
            return settle(state.lm, [*state.ids, *drafted])
        return choice

    return *follow(choice_at, branch.tokens, branch.parents), passes


@checked
def follow_by_sampling(
    logits: torch.Tensor,
    branch: Branch,
    temperature: Temperature,
    top_p: TopP,
    generator: Generator,
) -> tuple[list[int], int]:
    """Logits of a pass over a tree → (accepted path, next token), distributed as plain sampling.

    Draw from the model's own distribution and go on in the tree for as long as it holds what
    was drawn: plain sampling, of which the tree only saves passes.
    """

    def choice_at(path: list[int]) -> int:
        row = logits[path[-1] + 1 if path else 0]
        return draw_from(nucleus_probs(row, temperature, top_p), generator)

    return follow(choice_at, branch.tokens, branch.parents)


def keep(state: State, path: Sequence[int]) -> None:
    """After a pass: keep the ids and the accepted path, in the cache and in `state.hidden`."""
    if leads(path):
        roll_back(state, len(state.ids) + len(path))
    else:
        keep_path(state.cache, len(state.ids), path)
    if state.hidden is not None:
        state.hidden = rows_of(state.hidden, path)


def rows_of(numbers: torch.Tensor, path: Sequence[int]) -> torch.Tensor:
    """The rows of a pass that were kept: the last id's and the path's, `[len(path) + 1, …]`."""
    if leads(path):  # taking the part that is all of it would take time in every loop
        return numbers if len(path) + 1 == len(numbers) else numbers[: len(path) + 1]
    return numbers[[0, *(place + 1 for place in path)]]


def drafted_depth(branch: Branch) -> int:
    """How many tokens the longest way through a branch has."""
    if branch.parents is None:
        return len(branch.tokens)
    return max(tree_depths(branch.parents), default=0)
