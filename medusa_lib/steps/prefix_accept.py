"""STEP5: keep the part of a branch that greedy decoding would have written itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from medusa_lib.base.checks import check_ids, check_int
from medusa_lib.steps.model import LM
from medusa_lib.steps.utilities import append_token, check_fits, greedy_next


def accept_one(lm: LM, cur: torch.Tensor, token: int) -> tuple[torch.Tensor, bool]:
    """Compare one drafted token with greedy's: one forward pass.

    Returns `cur` `[1, T]` grown by greedy's token, and True if the draft was that token.
    Raises ValueError for a negative token id, before the pass.
    """
    check_ids(cur, "cur"), check_int("token", token, 0)
    greedy = greedy_next(lm, cur)
    return append_token(cur, greedy), greedy == token


def prefix_accept_once(
    lm: LM, ids: torch.Tensor, branch: Sequence[int]
) -> tuple[torch.Tensor, int]:
    """Accept the longest prefix of `branch` that greedy agrees with; correct the first miss.

    Returns the grown ids and the number of accepted tokens. One forward pass per evaluated
    token: the accepted ones and, if there is one, the first that is rejected.
    Raises ValueError for an empty branch, a negative token id, or a branch that the context
    has no room for, before any pass.
    """
    if not isinstance(branch, Sequence) or not len(branch):
        raise ValueError(f"branch must be a list of at least 1 token, got {branch!r}")
    branch = [check_int("branch token", token, 0) for token in branch]
    check_fits(lm, ids, len(branch) - 1)
    for accepted, token in enumerate(branch):
        ids, go_on = accept_one(lm, ids, token)
        if not go_on:
            return ids, accepted
    return ids, len(branch)
