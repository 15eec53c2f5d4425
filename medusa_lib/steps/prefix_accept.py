"""STEP5: keep the part of a branch that greedy decoding would have written itself."""

from __future__ import annotations

from medusa_lib.base.checks import checked
from medusa_lib.base.words import Ids, Token, Tokens
from medusa_lib.steps.model import LM
from medusa_lib.steps.utilities import append_token, check_fits, greedy_next


@checked
def accept_one(lm: LM, cur: Ids, token: Token) -> tuple[Ids, bool]:
    """Compare one drafted token with greedy's: one forward pass.

    Returns `cur` `[1, T]` grown by greedy's token, and True if the draft was that token.
    Raises ValueError for a negative token id, before the pass.
    """
    greedy = greedy_next(lm, cur)
    return append_token(cur, greedy), greedy == token


@checked
def prefix_accept_once(lm: LM, ids: Ids, branch: Tokens) -> tuple[Ids, int]:
    """Accept the longest prefix of `branch` that greedy agrees with; correct the first miss.

    Returns the grown ids and the number of accepted tokens. One forward pass per evaluated
    token: the accepted ones and, if there is one, the first that is rejected.
    Raises ValueError for an empty branch, a negative token id, or a branch that the context
    has no room for, before any pass.
    """
    check_fits(lm, ids, len(branch) - 1)
    for accepted, token in enumerate(branch):
        ids, go_on = accept_one(lm, ids, token)
        if not go_on:
            return ids, accepted
    return ids, len(branch)
