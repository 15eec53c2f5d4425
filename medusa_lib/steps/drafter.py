"""STEP4: guess the next few tokens by sampling, one after the other."""

from __future__ import annotations

from medusa_lib.base.checks import checked
from medusa_lib.base.words import Count, Generator, Ids, Span, Temperature, TopP
from medusa_lib.steps.model import LM
from medusa_lib.steps.sampling import sample_next
from medusa_lib.steps.utilities import append_token, check_fits


@checked
def propose_one(
    lm: LM,
    cur_ids: Ids,
    temperature: Temperature,
    top_p: TopP,
    accepted_so_far: Count = 0,
    *,
    generator: Generator,
    ban_eos_first_n: Count = 0,
    rep_ban_n: Count = 0,
) -> int:
    """Draft one token: one forward pass, one draw.

    EOS is banned while fewer than `ban_eos_first_n` draft tokens have been accepted.
    Raises ValueError for a knob out of range, before the pass.
    """
    ban_eos = accepted_so_far < ban_eos_first_n
    return sample_next(lm, cur_ids, temperature, top_p, ban_eos, rep_ban_n, generator=generator)


@checked
def propose_branch(
    lm: LM,
    ids: Ids,
    span: Span,
    temperature: Temperature,
    top_p: TopP,
    accepted_so_far: Count = 0,
    *,
    generator: Generator,
    ban_eos_first_n: Count = 0,
    rep_ban_n: Count = 0,
) -> list[int]:
    """Draft `span` tokens, each conditioned on the ones before: `span` forward passes.

    The bans are those of propose_one. Raises ValueError for a knob out of range, or a span that
    the context has no room for, before any pass.
    """
    check_fits(lm, ids, span - 1)  # the last draft needs no pass after it
    branch, knobs = [], (temperature, top_p, accepted_so_far)
    bans = {"ban_eos_first_n": ban_eos_first_n, "rep_ban_n": rep_ban_n}
    for _ in range(span):
        token = propose_one(lm, ids, *knobs, generator=generator, **bans)
        branch.append(token)
        ids = append_token(ids, token)
    return branch
