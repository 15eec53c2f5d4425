"""Several branches for one loop, verified one after the other: the longest wins.

What MedusaLite does, the step between one branch and a tree. It accepts more tokens in a loop
than one branch does, and pays for each branch: see tree_attention for the same in one pass.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from medusa_lib.checks import check_int
from medusa_lib.model import LM
from medusa_lib.prefix_accept import prefix_accept_once
from medusa_lib.utilities import check_fits


def accept_longest(
    lm: LM, ids: torch.Tensor, branches: Sequence[Sequence[int]]
) -> tuple[torch.Tensor, int, list[int]]:
    """Accept a prefix of each branch, keep the longest → (grown ids, winner, accepted counts).

    The ids `[1, T]` grow by the winner's accepted tokens and, unless it was accepted whole, by
    greedy's correction. Of equally long ones the first wins. One forward pass per evaluated
    token of every branch. Raises ValueError as prefix_accept_once does, before any pass.
    """
    check_branches(lm, ids, branches)
    tries = [prefix_accept_once(lm, ids, branch) for branch in branches]
    counts = [accepted for _, accepted in tries]
    winner = counts.index(max(counts))
    return tries[winner][0], winner, counts


def check_branches(lm: LM, ids: torch.Tensor, branches: Sequence[Sequence[int]]) -> None:
    """Raises ValueError unless there is a branch, and each has tokens that fit the model."""
    if not isinstance(branches, Sequence) or not len(branches):
        raise ValueError(f"branches must be a list of at least 1 branch, got {branches!r}")
    for branch in branches:
        if not isinstance(branch, Sequence) or not len(branch):
            raise ValueError(f"each of branches must be a list of at least 1 token, got {branch!r}")
        for token in branch:
            check_int("branch token", token, 0)
    check_fits(lm, ids, max(map(len, branches)) - 1)


def evaluated(branches: Sequence[Sequence[int]], counts: Sequence[int]) -> int:
    """Verify passes that `accept_longest` spent: the accepted tokens and the first rejected one."""
    pairs = zip(branches, counts, strict=True)
    return sum(min(accepted + 1, len(branch)) for branch, accepted in pairs)
