"""STEP4: guess the next few tokens by sampling, one after the other."""

from __future__ import annotations

import torch

from medusa_lib.base.checks import check_ids, check_int
from medusa_lib.steps.model import LM
from medusa_lib.steps.sampling import sample_next
from medusa_lib.steps.utilities import append_token, check_fits


def propose_one(
    lm: LM,
    cur_ids: torch.Tensor,
    temperature: float,
    top_p: float | None,
    accepted_so_far: int = 0,
    *,
    generator: torch.Generator,
    ban_eos_first_n: int = 0,
    rep_ban_n: int = 0,
) -> int:
    """Draft one token: one forward pass, one draw.

    EOS is banned while fewer than `ban_eos_first_n` draft tokens have been accepted.
    Raises ValueError for a knob out of range, before the pass.
    """
    check_ids(cur_ids, "cur_ids"), check_int("accepted_so_far", accepted_so_far, 0)
    check_int("ban_eos_first_n", ban_eos_first_n, 0)
    ban_eos = accepted_so_far < ban_eos_first_n
    return sample_next(lm, cur_ids, temperature, top_p, ban_eos, rep_ban_n, generator=generator)


def propose_branch(
    lm: LM,
    ids: torch.Tensor,
    span: int,
    temperature: float,
    top_p: float | None,
    accepted_so_far: int = 0,
    *,
    generator: torch.Generator,
    ban_eos_first_n: int = 0,
    rep_ban_n: int = 0,
) -> list[int]:
    """Draft `span` tokens, each conditioned on the ones before: `span` forward passes.

    Raises ValueError for a knob out of range, or a span that the context has no room for,
    before any pass.
    """
    check_fits(lm, ids, check_int("span", span, 1) - 1)  # the last draft needs no pass after it
    draws = {"generator": generator, "ban_eos_first_n": ban_eos_first_n, "rep_ban_n": rep_ban_n}
    branch: list[int] = []
    cur = ids
    for _ in range(span):
        token = propose_one(lm, cur, temperature, top_p, accepted_so_far, **draws)
        branch.append(token)
        cur = append_token(cur, token)
    return branch
