"""The cure as a whole: draft cheaply, verify in one pass, accept, roll back, go on."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from medusa_lib.base.checks import check_fields, check_int, check_probs, checked
from medusa_lib.base.records import Generation, LoopRecord
from medusa_lib.base.words import (
    Distance,
    Flag,
    Generator,
    Hook,
    Positive,
    Probs,
    Seed,
    Span,
    Start,
    Temperature,
    TopP,
)
from medusa_lib.beyond.drafters import DEFAULT_SPAN, Drafter, full_precision, next_span
from medusa_lib.beyond.manners import manner_of
from medusa_lib.beyond.named_drafters import make_drafter
from medusa_lib.beyond.near_ties import NearTie
from medusa_lib.beyond.one_pass import (
    Branch,
    LentState,
    State,
    check_is_branch,
    greedy_choices,
    one_pass,
    turning_point,
    verify_greedily,
    writable,
)
from medusa_lib.beyond.prefixes import obeyed_rows
from medusa_lib.beyond.sampling_exactly import verify_by_sampling
from medusa_lib.beyond.tree_attention import (
    drafted_depth,
    follow_by_sampling,
    follow_greedily,
    keep,
    rows_of,
)
from medusa_lib.beyond.trees import check_parents, first_on, prune_tree, reorder
from medusa_lib.beyond.typical import Typical, check_rule, verify_typically
from medusa_lib.steps.device import make_generator
from medusa_lib.steps.loops import finish, for_run, interrupt_says, start_ids
from medusa_lib.steps.model import LM
from medusa_lib.steps.settings import Obeyed
from medusa_lib.steps.utilities import up_to_end, without_end

OTHER_STREAM = 0x5DEECE66D
WIDEST = 16  # tokens; an adaptive span grows no further
SUM_ERROR = 0.01  # of a distribution, see check_probs


@dataclass(frozen=True)
class Knobs:
    """What a caller may turn, as `speculate` explains it. Raises ValueError for a bad value."""

    max_new_tokens: Positive = 30
    span: Span | None = None
    temperature: Temperature = 0.0
    top_p: TopP = 1.0
    seed: Seed = 7
    adaptive: Flag = False
    tie_bound: Distance | None = None
    typical: Typical | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        check_rule(self.typical, self.temperature)


@dataclass(frozen=True)
class Rules:
    """How one run drafts and verifies: its knobs, and what was made of them for a model.

    vocab_size: the model's; asking for it in every loop takes longer than the rest of a check.
    obeyed: what the model's own settings make of its logits, see steps/settings.py.
    """

    knobs: Knobs
    drafter: Drafter | None
    span: int
    generator: Generator
    near_tie: NearTie
    vocab_size: int
    obeyed: Obeyed | None = None

    @property
    def drawing(self) -> tuple[float, float | None, torch.Generator]:
        """What a draw needs: temperature, top_p and the source of chance."""
        return self.knobs.temperature, self.knobs.top_p, self.generator


@checked
def prepare(
    lm: LM, prompt: Start, drafter: str | Drafter | None, knobs: Knobs
) -> tuple[list[int], int, Rules]:
    """A prompt and checked knobs → (prompt ids, how many tokens may follow, rules)."""
    ids, seed = start_ids(lm, prompt)[0].tolist(), knobs.seed
    lm = for_run(lm, prompt, knobs.max_new_tokens)
    limit = min(knobs.max_new_tokens, lm.context_length - len(ids))
    check_no_turn(lm, len(ids), limit), manner_of(lm)
    # Where what is typical is accepted, the likeliest tokens are the best drafts.
    drawn = 0.0 if knobs.typical else knobs.temperature
    with full_precision(lm):
        drafter = make_drafter(drafter, lm, drawn, knobs.top_p, make_generator(seed))
    span = knobs.span or getattr(drafter, "span", DEFAULT_SPAN)
    # Drafting and verifying must not share a stream of chance, also where they share a seed.
    generator = make_generator(None if seed is None else seed ^ OTHER_STREAM)
    near_tie = NearTie.of(lm, knobs.tie_bound)
    made = (drafter, span, generator, near_tie, lm.vocab_size, lm.obeyed)
    return ids, limit, Rules(knobs, *made)


def check_no_turn(lm: LM, length: int, more: int) -> None:
    """Raises ValueError if a text of that length and `more` tokens crosses a turning point."""
    turn = turning_point(lm)
    # The last token is never fed.
    if turn is not None and length <= turn < length + more - 1:
        raise ValueError(
            f"max_new_tokens must be an int <= {turn - length + 1} here, got {more}: beyond {turn} "
            "tokens this model sees all positions differently, and no cache holds"
        )


def draft(state: State, most: int, rules: Rules) -> Branch:
    """A branch of at most `most` tokens in a row, cut after EOS; empty where there is no room."""
    if rules.drafter is None or most < 1:
        return Branch()
    with full_precision(state.lm):
        branch = rules.drafter.propose(LentState.of(state), most)
    branch = check_branch(branch, most, rules)
    return cut_at_end(state.lm, branch, most)


def check_branch(branch: object, most: int, rules: Rules) -> Branch:
    """A drafter's proposal, cut to `most` tokens; a tree stays whole, and loses its probs.

    Raises ValueError if it is no Branch of ints in the vocabulary or, for a run that samples,
    its probs are no distributions over it.
    """
    branch, size = check_is_branch(branch), rules.vocab_size
    check_int("passes of a drafter's branch", branch.passes, 0)
    drafted = branch.tokens[:most] if branch.parents is None else branch.tokens
    tokens = [check_int("each drafted token", token, 0) for token in drafted]
    if max(tokens, default=0) >= size:
        raise ValueError(f"each drafted token must be < {size}, got {max(tokens)}")
    if branch.parents is not None:
        parents = check_parents(branch.parents, len(tokens))
        return replace(branch, tokens=tokens, probs=None, parents=parents)
    if rules.knobs.temperature == 0 or branch.probs is None:
        return Branch(tokens, None, branch.passes)
    return Branch(tokens, distributions(branch.probs, len(tokens), size), branch.passes)


def distributions(probs: Sequence[Probs], count: int, size: int) -> list[Probs]:
    """The first `count` distributions `[size]` of a drafter's branch, on the CPU.

    Vectors of numpy will do, and a matrix `[n, size]`. Raises ValueError for too few or others.
    """
    if count and isinstance(probs, torch.Tensor) and probs.shape == (count, size):
        whole = probs.detach().cpu().double()
        numbers = whole.numpy()  # whose sums take less time than torch's
        if numbers.min() >= 0 and abs(numbers.sum(axis=1) - 1).max() <= SUM_ERROR:
            return list(whole)  # all at once; below they are looked at one by one
    rows = [torch.as_tensor(q) if isinstance(q, np.ndarray) else q for q in probs[:count]]
    found = [list(q.shape) if isinstance(q, torch.Tensor) else type(q).__name__ for q in rows]
    if found != [[size]] * count:
        raise ValueError(
            f"probs of a drafter's branch must have {size} numbers for each of "
            f"{count} tokens, got {found}"
        )
    return [check_probs("probs", q.detach().cpu().double()) for q in rows]


def cut_at_end(lm: LM, branch: Branch, most: int) -> Branch:
    """A branch without what follows EOS, or is deeper than `most` tokens in a row."""
    ends = lm.end_ids
    if not any(end in branch.tokens for end in ends) and drafted_depth(branch) <= most:
        return branch
    if branch.parents is None:
        return replace(branch, tokens=up_to_end(lm, branch.tokens))
    tokens, parents = prune_tree(branch.tokens, branch.parents, most, lm.is_end)
    return replace(branch, tokens=tokens, parents=parents)


@dataclass(frozen=True)
class Verdict:
    """What verification makes of a branch.

    path: the accepted tokens' places in it. new: the ids that the text grows by, EOS among
    them. passes: that verified it, those for near ties among them.
    """

    path: Sequence[int]
    new: list[int]
    passes: int = 1


def verify(state: State, branch: Branch, logits: torch.Tensor, rules: Rules) -> Verdict:
    """Logits `[len(branch) + 1, V]` of the pass over a branch → what becomes of it."""
    path, following, extra = choose(state, branch, logits, rules)
    new = [*(branch.tokens[place] for place in path), following]
    return Verdict(path, up_to_end(state.lm, new), 1 + extra)


def choose(
    state: State, branch: Branch, logits: torch.Tensor, rules: Rules
) -> tuple[Sequence[int], int, int]:
    """Logits of a pass → (accepted path, next token, passes spent on near ties)."""
    greedy, tie = rules.knobs.temperature == 0, rules.near_tie.at(logits)
    logits = obeyed_rows(state.lm, state.ids, branch.tokens, branch.parents, logits)
    if rules.knobs.typical is not None:
        return *verify_typically(logits, branch, *rules.drawing, rules.knobs.typical), 0
    if branch.parents is not None and greedy:
        return follow_greedily(state, branch, logits, tie)
    if branch.parents is not None:
        return *follow_by_sampling(logits, branch, *rules.drawing), 0
    if greedy:
        choices, extra = greedy_choices(state, branch.tokens, logits, tie)
        accepted, following = verify_greedily(choices, branch.tokens)
    else:
        accepted, following = verify_by_sampling(logits, branch, *rules.drawing)
        extra = 0
    return range(accepted), following, extra


def decode_steps(lm: LM, ids: list[int], limit: int, rules: Rules) -> Iterator[LoopRecord]:
    """Draft, verify in one pass, accept, roll back; yields a record after each loop.

    Ends after EOS or after `limit` new tokens.
    """
    lm = lm.obeying(rules.obeyed)
    state, span, room, index = State.start(lm, ids), rules.span, limit, 0
    while room > 0:
        began = time.perf_counter()
        branch = draft(state, min(span, room - 1), rules)  # verification adds a token itself
        logits = one_pass(state, branch.tokens, branch.parents)  # [len(branch) + 1, V]
        verdict = verify(state, branch, logits, rules)
        keep(state, verdict.path)
        state.ids += verdict.new
        span = adapt(state, branch, logits, verdict, span, rules)
        yield record_pass(lm, index, branch, verdict, began)
        room, index = room - len(verdict.new), index + 1
        if lm.is_end(verdict.new[-1]):
            return


def adapt(
    state: State, branch: Branch, logits: torch.Tensor, verdict: Verdict, span: int, rules: Rules
) -> int:
    """Tell the drafter what was kept, if it wants to know; returns the span of the next loop."""
    tell(rules.drafter, state, branch, logits, verdict)
    if not rules.knobs.adaptive:
        return span
    return next_span(span, drafted_depth(branch), len(verdict.path), WIDEST)


def tell(
    drafter: Drafter | None, state: State, branch: Branch, logits: torch.Tensor, verdict: Verdict
) -> None:
    """Show a drafter what a pass said and what was kept: copies of what is still needed."""
    look, observe = getattr(drafter, "look", None), getattr(drafter, "observe", None)
    if look is not None:
        look(replace(branch, tokens=list(branch.tokens)), writable(logits))
    if observe is not None:
        rows = writable(rows_of(logits, verdict.path))
        observe(LentState.of(state), rows, len(verdict.path))


def record_pass(lm: LM, index: int, branch: Branch, verdict: Verdict, began: float) -> LoopRecord:
    """Write one loop down; began: its start's clock.

    A tree is written down with the accepted path first.
    """
    path, new = verdict.path, verdict.new
    accepted, last = len(path), new[-1]
    tokens, parents = branch.tokens, branch.parents
    full = accepted == len(tokens)
    if parents is not None:
        full = (path[-1] if path else -1) not in parents
        tokens, parents = reorder(tokens, parents, first_on(parents, path))
    is_bonus = full and len(new) > accepted > 0 and not lm.is_end(last)
    return LoopRecord(
        index=index,
        branch=tuple(tokens),
        accepted=accepted,
        emitted=without_end(lm, new),
        correction=None if full else last,
        bonus=last if is_bonus else None,
        draft_passes=branch.passes,
        verify_passes=verdict.passes,
        seconds=time.perf_counter() - began,
        parents=parents,
    )


def ended(record: LoopRecord) -> bool:
    """True if EOS was among what the loop added: it is never emitted."""
    return len(record.emitted) <= record.accepted


@checked
def stream(
    lm: LM,
    prompt: Start,
    drafter: str | Drafter | None = "ngram",
    max_new_tokens: Positive = 30,
    span: Span | None = None,
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    seed: Seed = 7,
    *,
    adaptive: Flag = False,
    tie_bound: Distance | None = None,
    typical: Typical | None = None,
) -> Iterator[LoopRecord]:
    """`speculate` as it happens: yields each loop's record as soon as the loop is done.

    Stop reading and it stops computing. Same knobs and errors, raised at once.
    """
    turned = (max_new_tokens, span, temperature, top_p, seed, adaptive, tie_bound, typical)
    ids, limit, rules = prepare(lm, prompt, drafter, Knobs(*turned))
    return decode_steps(lm, ids, limit, rules)


@checked
def speculate(
    lm: LM,
    prompt: Start,
    drafter: str | Drafter | None = "ngram",
    max_new_tokens: Positive = 30,
    span: Span | None = None,
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    seed: Seed = 7,
    on_loop: Hook = None,
    *,
    adaptive: Flag = False,
    tie_bound: Distance | None = None,
    typical: Typical | None = None,
) -> Generation:
    """Draft and verify with a KV cache and one verifying pass per loop.

    drafter: a name of named_drafters.DRAFTERS, such as "ngram" or "heads_tree", a Drafter, or
    None for plain cached decoding. temperature 0 writes exactly greedy's tokens; above 0 the text
    is distributed exactly as plain sampling's at that temperature and top_p. What the model's own
    generation_config asks for is obeyed, see steps/settings.py. prompt: a text, or its ids
    `[1, T]`. span, tokens in a row: None for the drafter's own.
    adaptive: let the span follow the acceptance. tie_bound: see one_pass.greedy_choices; 0
    settles no near tie, None takes the measured bound. typical: accept what is typical instead,
    which is faster and not exact: see typical.Typical. on_loop(LoopRecord) is called after
    each loop; returning False stops the run. Raises ValueError for bad input, before any pass.
    """
    turned = (max_new_tokens, span, temperature, top_p, seed, adaptive, tie_bound, typical)
    ids, limit, rules = prepare(lm, prompt, drafter, Knobs(*turned))
    began, loops = time.perf_counter(), []
    with interrupt_says(loops):
        for record in decode_steps(lm, ids, limit, rules):
            loops.append(record)
            if on_loop is not None and on_loop(record) is False:
                break
    return finish(lm, ids, loops, max_new_tokens, ended(loops[-1]), began)
