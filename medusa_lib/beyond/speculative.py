"""The cure as a whole: draft cheaply, verify in one pass, accept, roll back, go on."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from medusa_lib.base.checks import (
    check_bool,
    check_callable,
    check_int,
    check_probs,
    check_seed,
    check_temperature,
    check_top_p,
)
from medusa_lib.base.records import Generation, LoopRecord
from medusa_lib.beyond.drafters import DEFAULT_SPAN, Drafter, next_span
from medusa_lib.beyond.named_drafters import make_drafter
from medusa_lib.beyond.near_ties import HALF, LAST_BITS, TIE_BOUNDS
from medusa_lib.beyond.one_pass import (
    Branch,
    State,
    check_is_branch,
    greedy_choices,
    one_pass,
    roll_back,
    turning_point,
    verify_greedily,
)
from medusa_lib.beyond.sampling_exactly import verify_by_sampling
from medusa_lib.beyond.tree_attention import (
    drafted_depth,
    follow_by_sampling,
    follow_greedily,
    keep,
    rows_of,
)
from medusa_lib.beyond.trees import check_parents, first_on, prune_tree, reorder
from medusa_lib.beyond.typical import Typical, check_typical, verify_typically
from medusa_lib.engine.twin import refresh
from medusa_lib.steps.device import make_generator
from medusa_lib.steps.loops import OnLoop, finish, interrupt_says, start_ids, up_to_eos
from medusa_lib.steps.model import LM, check_lm

OTHER_STREAM = 0x5DEECE66D
WIDEST = 16  # tokens; an adaptive span grows no further


@dataclass(frozen=True)
class Rules:
    """How a run drafts and verifies; every field is checked by `prepare`.

    vocab_size: the model's; asking for it in every loop takes longer than the rest of a check.
    grain: how far apart large logits can be, as a share of their size, and still be a near tie.
    """

    drafter: Drafter | None
    span: int
    adaptive: bool
    temperature: float
    top_p: float | None
    generator: torch.Generator
    tie_bound: float
    typical: Typical | None
    vocab_size: int
    grain: float = 0.0


def prepare(
    lm: LM,
    prompt: str,
    drafter: str | Drafter | None,
    max_new_tokens: int,
    span: int | None,
    temperature: float,
    top_p: float | None,
    seed: int | None,
    adaptive: bool,
    tie_bound: float | None,
    typical: Typical | None = None,
) -> tuple[list[int], int, Rules]:
    """Check every knob → (prompt ids, how many tokens may follow, rules)."""
    check_lm(lm), check_int("max_new_tokens", max_new_tokens, 1), check_bool("adaptive", adaptive)
    if span is not None:
        check_int("span", span, 1)
    temperature, top_p, seed = check_temperature(temperature), check_top_p(top_p), check_seed(seed)
    grain = LAST_BITS * torch.finfo(lm.model.dtype).eps if lm.model.dtype in HALF else 0.0
    if tie_bound is None:
        tie_bound = TIE_BOUNDS.get(lm.model.dtype, TIE_BOUNDS[torch.float32])
    check_temperature(tie_bound, "tie_bound"), check_typical(typical, temperature)
    ids = start_ids(lm, prompt)[0].tolist()
    limit = min(max_new_tokens, lm.context_length - len(ids))
    check_no_turn(lm, len(ids), limit)
    drafter = make_drafter(drafter, lm, temperature, top_p, make_generator(seed))
    # Drafting and verifying must not share a stream of chance, also where they share a seed.
    generator = make_generator(None if seed is None else seed ^ OTHER_STREAM)
    refresh(lm)
    span = span or getattr(drafter, "span", DEFAULT_SPAN)
    drawn = (temperature, top_p, generator)
    rules = Rules(drafter, span, adaptive, *drawn, tie_bound, typical, lm.vocab_size, grain)
    return ids, limit, rules


def check_no_turn(lm: LM, length: int, more: int) -> None:
    """Raises ValueError if a text of that length and `more` tokens crosses a turning point."""
    turn = turning_point(lm)
    # The last token is never fed.
    if turn is not None and length <= turn < length + more - 1:
        raise ValueError(
            f"max_new_tokens must be an int <= {turn - length + 1} here, got {more}: beyond {turn} "
            "tokens this model sees all positions differently, and no cache holds"
        )


def verify(
    state: State, branch: Branch, logits: torch.Tensor, rules: Rules
) -> tuple[list[int], int, int]:
    """Logits of a pass over the branch → (accepted path, next token, passes spent on near ties).

    The path lists the accepted tokens' places in the branch.
    """
    knobs = (rules.temperature, rules.top_p, rules.generator)
    if rules.typical is not None:
        return *verify_typically(logits, branch, *knobs, rules.typical), 0
    if branch.parents is not None:
        if rules.temperature == 0:
            return follow_greedily(state, branch, logits, near_tie(logits, rules))
        return *follow_by_sampling(logits, branch, *knobs), 0
    if rules.temperature == 0:
        choices, extra = greedy_choices(state, branch.tokens, logits, near_tie(logits, rules))
        accepted, following = verify_greedily(choices, branch.tokens)
    else:
        accepted, following = verify_by_sampling(logits, branch, *knobs)
        extra = 0
    return list(range(accepted)), following, extra


def near_tie(logits: torch.Tensor, rules: Rules) -> float:
    """How close two logits of this pass must be to count as a near tie; 0: none does.

    logits: `[n, V]`. Large ones in 16 bits are coarser than the usual bound.
    """
    if not (rules.grain and rules.tie_bound):
        return rules.tie_bound
    return max(rules.tie_bound, rules.grain * float(logits.amax(dim=-1).abs().max()))


def draft(state: State, span: int, room: int, rules: Rules) -> Branch:
    """A branch of at most `span` tokens, cut after EOS; empty where there is no room."""
    if rules.drafter is None or room < 1:
        return Branch()
    seen, most = state.seen, min(span, room)
    branch = rules.drafter.propose(replace(state, ids=list(state.ids)), most)
    if state.seen != seen:
        roll_back(state, seen)  # whatever the drafter has fed
    branch = check_branch(branch, most, rules.vocab_size, rules.temperature > 0)
    if state.lm.eos_id not in branch.tokens and drafted_depth(branch) <= most:
        return branch
    if branch.parents is None:
        return replace(branch, tokens=up_to_eos(branch.tokens, state.lm.eos_id))
    tokens, parents = prune_tree(branch.tokens, branch.parents, most, state.lm.eos_id)
    return replace(branch, tokens=tokens, parents=parents)


def check_branch(branch: object, most: int, vocab_size: int, drawn: bool) -> Branch:
    """A drafter's proposal, cut to `most` tokens; a tree stays whole, and loses its probs.

    Raises ValueError if it is no Branch of ints in the vocabulary or, for a run that samples,
    its probs are no distributions over it.
    """
    branch = check_is_branch(branch)
    check_int("passes of a drafter's branch", branch.passes, 0)
    drafted = branch.tokens[:most] if branch.parents is None else branch.tokens
    tokens = [check_int("each drafted token", token, 0) for token in drafted]
    if max(tokens, default=0) >= vocab_size:
        raise ValueError(f"each drafted token must be < {vocab_size}, got {max(tokens)}")
    if branch.parents is not None:
        parents = check_parents(branch.parents, len(tokens))
        return replace(branch, tokens=tokens, probs=None, parents=parents)
    if not drawn or branch.probs is None:
        return Branch(tokens, None, branch.passes)
    probs = branch.probs[: len(tokens)]
    if len(probs) < len(tokens) or any(len(q) != vocab_size for q in probs):
        raise ValueError(
            f"probs of a drafter's branch must have {vocab_size} numbers for each of "
            f"{len(tokens)} tokens, got {[len(q) for q in probs]}"
        )
    return replace(branch, tokens=tokens, probs=[check_probs(q.cpu().double()) for q in probs])


def decode_steps(lm: LM, ids: list[int], limit: int, rules: Rules) -> Iterator[LoopRecord]:
    """Draft, verify in one pass, accept, roll back; yields a record after each loop.

    Ends after EOS or after `limit` new tokens.
    """
    state, span, written, index = State.start(lm, ids), rules.span, 0, 0
    observe = getattr(rules.drafter, "observe", None)
    while written < limit:
        began = time.perf_counter()
        # One place is kept for the token that verification adds itself.
        branch = draft(state, span, limit - written - 1, rules)
        logits = one_pass(state, branch.tokens, branch.parents)
        path, following, extra = verify(state, branch, logits, rules)
        new = up_to_eos([*(branch.tokens[place] for place in path), following], lm.eos_id)
        keep(state, path)
        state.ids += new
        if observe is not None:
            observe(state, rows_of(logits, path), len(path))
        if rules.adaptive:
            span = next_span(span, drafted_depth(branch), len(path), WIDEST)
        record = record_pass(index, branch, path, new, lm.eos_id, 1 + extra, began)
        yield record
        written, index = written + len(record.emitted), index + 1
        if new[-1] == lm.eos_id:
            return


def record_pass(
    index: int,
    branch: Branch,
    path: Sequence[int],
    new: list[int],
    eos_id: int,
    verify_passes: int,
    began: float,
) -> LoopRecord:
    """Write one loop down. path: places of the accepted tokens in the branch.

    new: the ids it added, EOS among them; began: its start's clock. A tree is written down with
    the accepted path first.
    """
    accepted, last = len(path), new[-1]
    tokens, parents = branch.tokens, branch.parents
    full = accepted == len(tokens)
    if parents is not None:
        full = (path[-1] if path else -1) not in parents
        tokens, parents = reorder(tokens, parents, first_on(parents, path))
    is_bonus = full and len(new) > accepted > 0 and last != eos_id
    return LoopRecord(
        index=index,
        branch=tuple(tokens),
        accepted=accepted,
        emitted=tuple(token for token in new if token != eos_id),
        correction=None if full else last,
        bonus=last if is_bonus else None,
        draft_passes=branch.passes,
        verify_passes=verify_passes,
        seconds=time.perf_counter() - began,
        parents=parents,
    )


def ended(record: LoopRecord) -> bool:
    """True if EOS was among what the loop added: it is never emitted."""
    return len(record.emitted) <= record.accepted


def stream(
    lm: LM,
    prompt: str,
    drafter: str | Drafter | None = "ngram",
    max_new_tokens: int = 30,
    span: int | None = None,
    temperature: float = 0.0,
    top_p: float | None = 1.0,
    seed: int | None = 7,
    *,
    adaptive: bool = False,
    tie_bound: float | None = None,
    typical: Typical | None = None,
) -> Iterator[LoopRecord]:
    """`speculate` as it happens: yields each loop's record as soon as the loop is done.

    Stop reading and it stops computing. Same knobs and errors, raised at once.
    """
    knobs = (drafter, max_new_tokens, span, temperature, top_p, seed, adaptive, tie_bound, typical)
    ids, limit, rules = prepare(lm, prompt, *knobs)
    return decode_steps(lm, ids, limit, rules)


def speculate(
    lm: LM,
    prompt: str,
    drafter: str | Drafter | None = "ngram",
    max_new_tokens: int = 30,
    span: int | None = None,
    temperature: float = 0.0,
    top_p: float | None = 1.0,
    seed: int | None = 7,
    on_loop: OnLoop | None = None,
    *,
    adaptive: bool = False,
    tie_bound: float | None = None,
    typical: Typical | None = None,
) -> Generation:
    """Draft and verify with a KV cache and one verifying pass per loop.

    drafter: a name of drafters.DRAFTERS, such as "ngram" or "heads_tree", a Drafter, or None
    for plain cached decoding. temperature 0 writes exactly greedy's tokens; above 0 the text is
    distributed exactly as plain sampling's at that temperature and top_p. span, tokens in a row:
    None for the drafter's own.
    adaptive: let the span follow the acceptance. tie_bound: see one_pass.greedy_choices; 0
    settles no near tie, None takes the measured bound. typical: accept what is typical instead,
    which is faster and not exact: see typical.Typical. on_loop(LoopRecord) is called after
    each loop; returning False stops the run. Raises ValueError for bad input, before any pass.
    """
    check_callable("on_loop", on_loop)
    knobs = (drafter, max_new_tokens, span, temperature, top_p, seed, adaptive, tie_bound, typical)
    ids, limit, rules = prepare(lm, prompt, *knobs)
    began, loops, cancelled = time.perf_counter(), [], False
    with interrupt_says(loops):
        for record in decode_steps(lm, ids, limit, rules):
            loops.append(record)
            if on_loop is not None and on_loop(record) is False:
                cancelled = True
                break
    if sum(len(record.emitted) for record in loops) >= limit:
        reason = "length" if limit == max_new_tokens else "context"
    else:
        reason = "cancelled" if cancelled and not ended(loops[-1]) else "eos"
    return finish(lm, ids, loops, reason, time.perf_counter() - began)
