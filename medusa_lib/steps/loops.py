"""STEP6: the two decoding loops, greedy and Medusa-tiny."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from medusa_lib.base.checks import check_tokens, checked
from medusa_lib.base.records import Generation, LoopRecord
from medusa_lib.base.words import (
    Count,
    Draft,
    Generator,
    Hook,
    Ids,
    Positive,
    Seed,
    Span,
    Start,
    Temperature,
    TopP,
)
from medusa_lib.steps.device import make_generator
from medusa_lib.steps.drafter import propose_branch
from medusa_lib.steps.model import LM
from medusa_lib.steps.own_way import check_own_way
from medusa_lib.steps.prefix_accept import prefix_accept_once
from medusa_lib.steps.settings import changed_settings, say_what_is_ignored, settings_for
from medusa_lib.steps.utilities import (
    append_token,
    check_fits,
    check_in_use,
    decode,
    encode,
    greedy_next,
    up_to_end,
    without_end,
)

OnLoop = Callable[[LoopRecord], object]  # called after each loop; returning False ends the run
Step = Callable[[Ids, int, list[LoopRecord]], Ids]  # ids, room, records → ids, one record more


@checked
def draft_and_verify(lm: LM, ids: Ids, count: Positive, draft: Draft) -> Ids:
    """The bare loop: guess a branch, keep what greedy agrees with, until `count` tokens more."""
    lm, end = for_run(lm, ids, count), length_after(lm, ids, count)
    while ids.shape[1] < end:
        branch = branch_of(draft, ids)[: end - ids.shape[1]]
        ids, _ = prefix_accept_once(lm, ids, branch)
    return ids


def length_after(lm: LM, ids: Ids, count: int) -> int:
    """How long `ids` will be with `count` tokens more.

    Raises ValueError where the context has no room for them.
    """
    check_fits(lm, ids, count - 1)  # no pass reads the last one
    return ids.shape[1] + count


def branch_of(draft: Draft, ids: Ids) -> list[int]:
    """What a caller's function guesses. Raises ValueError unless that is at least one token."""
    return check_tokens("drafted", draft(ids))


@checked
def start_ids(lm: LM, prompt: Start) -> Ids:
    """A prompt, or its ids `[1, T]` → its ids, checked to leave room for a new token.

    Raises ValueError for a prompt without a visible character or too long for the context, for
    ids outside the vocabulary or a model that `generate` asks in a way of its own.
    """
    ids = encode(lm, prompt) if isinstance(prompt, str) else prompt.to(lm.device)  # [1, T]
    if ids.shape[1] >= lm.context_length:
        limit = lm.context_length - 1
        raise ValueError(f"prompt must have at most {limit} tokens, got {ids.shape[1]}")
    check_fits(lm, ids)
    check_own_way(lm)
    return ids


def for_run(lm: LM, prompt: Start, count: int) -> LM:
    """`lm` for one run of `count` tokens: with what the model's own settings ask for, see settings.

    Warns of settings that are not obeyed. Raises ValueError for a model that is in training, a
    setting out of range, and as start_ids does.
    """
    check_in_use(lm)
    say_what_is_ignored(lm.model, lm.kept)
    if not changed_settings(lm.model)[0]:
        return lm.obeying(None)
    return lm.obeying(settings_for(lm.model, start_ids(lm, prompt), count, lm.end_ids))


@checked
def medusa_loop_step(
    lm: LM,
    ids: Ids,
    span: Span,
    temperature: Temperature,
    top_p: TopP,
    accepted_total: Count = 0,
    loop_idx: Count = 0,
    *,
    generator: Generator,
    ban_eos_first_n: Count = 0,
    rep_ban_n: Count = 0,
    records: list[LoopRecord] | None = None,
) -> tuple[Ids, int]:
    """One loop: propose a branch, prefix-accept it once → (ids, accepted).

    What happened is appended to `records` as a LoopRecord. Nothing after an EOS in the branch
    is verified; the returned ids may end in EOS. The bans are those of propose_one. Raises
    ValueError for a knob out of range, before any pass.
    """
    began, knobs = time.perf_counter(), (span, temperature, top_p, accepted_total)
    bans = {"ban_eos_first_n": ban_eos_first_n, "rep_ban_n": rep_ban_n}
    branch = propose_branch(lm, ids, *knobs, generator=generator, **bans)
    grown, accepted = prefix_accept_once(lm, ids, up_to_end(lm, branch))
    if records is not None:
        new = grown[0, ids.shape[1] :].tolist()
        records.append(record_loop(lm, loop_idx, branch, accepted, new, began))
    return grown, accepted


def record_loop(
    lm: LM, index: int, branch: list[int], accepted: int, new: list[int], began: float
) -> LoopRecord:
    """Write one loop down. new: the ids that verification added, EOS among them.

    began: its start's clock.
    """
    return LoopRecord(
        index=index,
        branch=tuple(branch),
        accepted=accepted,
        emitted=without_end(lm, new),
        # Verification adds one id more than it accepts only where it corrects.
        correction=new[-1] if len(new) > accepted else None,
        draft_passes=len(branch),
        verify_passes=len(new),
        seconds=time.perf_counter() - began,
    )


@checked
def medusa_tiny(
    lm: LM,
    prompt: Start,
    max_new_tokens: Positive = 30,
    span: Span = 3,
    temperature: Temperature = 0.9,
    top_p: TopP = 0.95,
    seed: Seed = 7,
    ban_eos_first_n: Count = 0,
    rep_ban_n: Count = 0,
    on_loop: Hook = None,
) -> Generation:
    """Draft and verify until the limit: the new tokens are exactly run_greedy's.

    on_loop(LoopRecord) is called after each loop; returning False stops the run. Raises
    ValueError for a knob or prompt out of range, before any pass.
    """
    lm, generator = for_run(lm, prompt, max_new_tokens), make_generator(seed)
    bans = {"ban_eos_first_n": ban_eos_first_n, "rep_ban_n": rep_ban_n}

    def step(ids: Ids, room: int, records: list[LoopRecord]) -> Ids:
        knobs = (min(span, room), temperature, top_p)  # a longer branch would overshoot
        counts = (sum(record.accepted for record in records), len(records))
        noted = {"generator": generator, "records": records}
        return medusa_loop_step(lm, ids, *knobs, *counts, **noted, **bans)[0]

    return decode_loop(lm, prompt, max_new_tokens, step, on_loop)


def greedy_step(lm: LM, ids: Ids, records: list[LoopRecord]) -> Ids:
    """One greedy token: one forward pass. Appends its LoopRecord to `records`."""
    began = time.perf_counter()
    token = greedy_next(lm, ids)
    emitted, seconds = without_end(lm, [token]), time.perf_counter() - began
    records.append(LoopRecord(len(records), (), 0, emitted, verify_passes=1, seconds=seconds))
    return append_token(ids, token)


@checked
def run_greedy(
    lm: LM, prompt: Start, max_new_tokens: Positive = 30, on_loop: Hook = None
) -> Generation:
    """The baseline: one forward pass, one most probable token, until the limit or EOS.

    on_loop(LoopRecord) is called after each token; returning False stops the run. Raises
    ValueError for a prompt or limit out of range, before any pass.
    """
    lm = for_run(lm, prompt, max_new_tokens)

    def step(ids: Ids, room: int, records: list[LoopRecord]) -> Ids:
        return greedy_step(lm, ids, records)

    return decode_loop(lm, prompt, max_new_tokens, step, on_loop)


@checked
def decode_loop(
    lm: LM, prompt: Start, max_new_tokens: Positive, step: Step, on_loop: Hook = None
) -> Generation:
    """Call step(ids, room, records) → ids until EOS, the limit, a full context, or a cancel.

    `room` is how many tokens may still be added. Seconds include drafting and verifying.
    """
    ids, records, ended, asked = start_ids(lm, prompt), [], False, True
    prompt_ids, began = ids[0].tolist(), time.perf_counter()
    room = min(max_new_tokens, lm.context_length - len(prompt_ids))
    with interrupt_says(records):
        while room > 0 and asked and not ended:
            ids = step(ids, room, records)
            room -= len(records[-1].emitted)
            ended = lm.is_end(int(ids[0, -1]))  # EOS itself is never emitted
            asked = on_loop is None or on_loop(records[-1]) is not False
    return finish(lm, prompt_ids, records, max_new_tokens, ended, began)


def finish(
    lm: LM,
    prompt_ids: list[int],
    records: list[LoopRecord],
    max_new_tokens: int,
    ended: bool,
    began: float,
) -> Generation:
    """The records of a run's loops → its Generation. ended: by EOS; began: its start's clock."""
    seconds = time.perf_counter() - began  # before the text is made, which is no decoding
    new_ids = [token for record in records for token in record.emitted]
    full = len(prompt_ids) + len(new_ids) >= lm.context_length
    reason = "length" if len(new_ids) >= max_new_tokens else "context" if full else "cancelled"
    return Generation(
        prompt_ids=prompt_ids,
        new_ids=new_ids,
        text=decode(lm, prompt_ids + new_ids),
        stop_reason="eos" if ended else reason,
        loops=records,
        seconds=seconds,
        model_passes=sum(r.draft_passes + r.verify_passes for r in records),
    )


@contextlib.contextmanager
def interrupt_says(records: list[LoopRecord]) -> Iterator[None]:
    """Give a KeyboardInterrupt a message that says how far the run had come."""
    try:
        yield
    except KeyboardInterrupt:
        written = sum(len(record.emitted) for record in records)
        said = f"stopped from the keyboard after {written} new tokens; run it again"
        raise KeyboardInterrupt(said) from None
