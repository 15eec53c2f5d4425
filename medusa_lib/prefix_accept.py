"""STEP5: keep the part of a branch that greedy decoding would have written itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from medusa_lib.checks import check_ids, check_int
from medusa_lib.model import LM
from medusa_lib.utilities import append_token, greedy_next


def accept_one(lm: LM, cur: torch.Tensor, token: int) -> tuple[torch.Tensor, bool]:
    """Compare one drafted token with greedy's: one forward pass.

    Returns `cur` `[1, T]` grown by greedy's token, and True if the draft was that token.
    Raises ValueError for a negative token id, before the pass.
    """
    token = check_int("token", token, 0)
    greedy = greedy_next(lm, cur)
    return append_token(cur, greedy), greedy == token


def prefix_accept_once(
    lm: LM, ids: torch.Tensor, branch: Sequence[int]
) -> tuple[torch.Tensor, int]:
    """Accept the longest prefix of `branch` that greedy agrees with; correct the first miss.

    Returns the grown ids and the number of accepted tokens. One forward pass per evaluated
    token: the accepted ones and, if there is one, the first that is rejected.
    Raises ValueError for an empty branch or a negative token id, before any pass.
    """
    check_ids(ids)
    branch = [check_int("branch token", token, 0) for token in branch]
    if not branch:
        raise ValueError("branch must have at least 1 token, got 0")
    for accepted, token in enumerate(branch):
        ids, go_on = accept_one(lm, ids, token)
        if not go_on:
            return ids, accepted
    return ids, len(branch)
