"""STEP6: the two decoding loops, greedy and Medusa-tiny."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence

import torch

from medusa_lib.base.checks import (
    check_callable,
    check_int,
    check_temperature,
    check_text,
    check_top_p,
)
from medusa_lib.base.records import Generation, LoopRecord
from medusa_lib.steps.device import make_generator
from medusa_lib.steps.drafter import propose_branch
from medusa_lib.steps.model import LM
from medusa_lib.steps.prefix_accept import prefix_accept_once
from medusa_lib.steps.utilities import append_token, decode, encode, greedy_next

OnLoop = Callable[[LoopRecord], object]


def start_ids(lm: LM, prompt: str) -> torch.Tensor:
    """A prompt → its ids `[1, T]`, checked to leave room for a new token.

    Raises ValueError for a prompt without a visible character or too long for the context.
    """
    if not check_text("prompt", prompt).strip():
        raise ValueError(f"prompt must be a str with a visible character, got {prompt!r}")
    ids = encode(lm, prompt)
    if ids.shape[1] >= lm.context_length:
        limit = lm.context_length - 1
        raise ValueError(f"prompt must have at most {limit} tokens, got {ids.shape[1]}")
    return ids


def up_to_eos(tokens: Sequence[int], eos_id: int) -> list[int]:
    """The tokens up to and including the first EOS; all of them if there is none."""
    tokens = list(tokens)
    return tokens[: tokens.index(eos_id) + 1] if eos_id in tokens else tokens


def medusa_loop_step(
    lm: LM,
    ids: torch.Tensor,
    span: int,
    temperature: float,
    top_p: float | None,
    accepted_total: int = 0,
    loop_idx: int = 0,
    *,
    generator: torch.Generator,
    ban_eos_first_n: int = 0,
    rep_ban_n: int = 0,
    records: list[LoopRecord] | None = None,
) -> tuple[torch.Tensor, int]:
    """One loop: propose a branch, prefix-accept it once → (ids, accepted).

    What happened is appended to `records` as a LoopRecord. Nothing after an EOS in the branch
    is verified; the returned ids may end in EOS. Raises ValueError for a knob out of range.
    """
    check_int("accepted_total", accepted_total, 0), check_int("loop_idx", loop_idx, 0)
    began = time.perf_counter()
    draws = {"generator": generator, "ban_eos_first_n": ban_eos_first_n, "rep_ban_n": rep_ban_n}
    branch = propose_branch(lm, ids, span, temperature, top_p, accepted_total, **draws)
    to_verify = up_to_eos(branch, lm.eos_id)
    grown, accepted = prefix_accept_once(lm, ids, to_verify)
    if records is not None:
        new = grown[0, ids.shape[1] :].tolist()
        seconds = time.perf_counter() - began
        records.append(record_loop(loop_idx, branch, accepted, new, lm.eos_id, seconds))
    return grown, accepted


def record_loop(
    index: int, branch: list[int], accepted: int, new: list[int], eos_id: int, seconds: float
) -> LoopRecord:
    """Write one loop down. new: the ids that verification added, EOS among them."""
    return LoopRecord(
        index=index,
        branch=tuple(branch),
        accepted=accepted,
        emitted=tuple(token for token in new if token != eos_id),
        # Verification adds one id more than it accepts only where it corrects.
        correction=new[-1] if len(new) > accepted else None,
        draft_passes=len(branch),
        verify_passes=len(new),
        seconds=seconds,
    )


def medusa_tiny(
    lm: LM,
    prompt: str,
    max_new_tokens: int = 30,
    span: int = 3,
    temperature: float = 0.9,
    top_p: float | None = 0.95,
    seed: int | None = 7,
    ban_eos_first_n: int = 0,
    rep_ban_n: int = 0,
    on_loop: OnLoop | None = None,
) -> Generation:
    """Draft and verify until the limit: the new tokens are exactly run_greedy's.

    on_loop(LoopRecord) is called after each loop; returning False stops the run. Raises
    ValueError for a knob or prompt out of range, before any pass.
    """
    check_int("max_new_tokens", max_new_tokens, 1), check_int("span", span, 1)
    check_temperature(temperature), check_top_p(top_p)
    check_int("ban_eos_first_n", ban_eos_first_n, 0), check_int("rep_ban_n", rep_ban_n, 0)
    check_callable("on_loop", on_loop)
    draws = {"generator": make_generator(seed)}
    draws |= {"ban_eos_first_n": ban_eos_first_n, "rep_ban_n": rep_ban_n}
    accepted_total = 0

    def step(ids: torch.Tensor, room: int, records: list[LoopRecord]) -> torch.Tensor:
        nonlocal accepted_total
        knobs = (min(span, room), temperature, top_p)  # a longer branch would overshoot
        draws["records"] = records
        ids, accepted = medusa_loop_step(lm, ids, *knobs, accepted_total, len(records), **draws)
        accepted_total += accepted
        return ids

    return decode_loop(lm, prompt, max_new_tokens, step, on_loop)


def greedy_step(lm: LM, ids: torch.Tensor, records: list[LoopRecord]) -> torch.Tensor:
    """One greedy token: one forward pass. Appends its LoopRecord to `records`."""
    began = time.perf_counter()
    token = greedy_next(lm, ids)
    emitted = () if token == lm.eos_id else (token,)
    seconds = time.perf_counter() - began
    records.append(LoopRecord(len(records), (), 0, emitted, verify_passes=1, seconds=seconds))
    return append_token(ids, token)


def run_greedy(
    lm: LM, prompt: str, max_new_tokens: int = 30, on_loop: OnLoop | None = None
) -> Generation:
    """The baseline: one forward pass, one most probable token, until the limit or EOS.

    on_loop(LoopRecord) is called after each token; returning False stops the run. Raises
    ValueError for a prompt or limit out of range, before any pass.
    """
    check_int("max_new_tokens", max_new_tokens, 1), check_callable("on_loop", on_loop)

    def step(ids: torch.Tensor, room: int, records: list[LoopRecord]) -> torch.Tensor:
        return greedy_step(lm, ids, records)

    return decode_loop(lm, prompt, max_new_tokens, step, on_loop)


def decode_loop(
    lm: LM,
    prompt: str,
    max_new_tokens: int,
    step: Callable[[torch.Tensor, int, list[LoopRecord]], torch.Tensor],
    on_loop: OnLoop | None = None,
) -> Generation:
    """Call step(ids, room, records) → ids until EOS, the limit, a full context, or a cancel.

    `room` is how many tokens may still be added. Seconds include drafting and verifying.
    """
    ids = start_ids(lm, prompt)
    prompt_ids = ids[0].tolist()
    limit = min(max_new_tokens, lm.context_length - len(prompt_ids))
    records: list[LoopRecord] = []
    written, reason = 0, ""
    began = time.perf_counter()
    with interrupt_says(records):
        while not reason:
            ids = step(ids, limit - written, records)
            written += len(records[-1].emitted)
            if int(ids[0, -1]) == lm.eos_id:
                reason = "eos"  # stop before it: EOS itself is never emitted
            elif written >= limit:
                reason = "length" if limit == max_new_tokens else "context"
            if on_loop is not None and on_loop(records[-1]) is False and not reason:
                reason = "cancelled"
    return finish(lm, prompt_ids, records, reason, time.perf_counter() - began)


def finish(
    lm: LM, prompt_ids: list[int], records: list[LoopRecord], reason: str, seconds: float
) -> Generation:
    """The records of a run's loops → its Generation."""
    new_ids = [token for record in records for token in record.emitted]
    return Generation(
        prompt_ids=prompt_ids,
        new_ids=new_ids,
        text=decode(lm, prompt_ids + new_ids),
        stop_reason=reason,
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
