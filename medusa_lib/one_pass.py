"""The cure: verify a whole branch in one pass over a KV cache.

The loop is STEP6's loop, with three changes. A cache keeps what the model computed for the
tokens so far. One pass checks all positions of a branch. And when the whole branch is
accepted, that same pass has already computed one token more, the bonus.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from transformers import DynamicCache

from medusa_lib.checks import check_int, check_temperature, check_top_p
from medusa_lib.device import make_generator
from medusa_lib.loops import OnLoop, finish, interrupt_says, start_ids, up_to_eos
from medusa_lib.model import LM
from medusa_lib.records import Generation, LoopRecord
from medusa_lib.sampling import softmax_temp, top_p_indices


@dataclass
class State:
    """A sequence being written: its ids, and the cache of those the model has already seen."""

    lm: LM
    ids: list[int]
    cache: DynamicCache

    @classmethod
    def start(cls, lm: LM, ids: Sequence[int]) -> State:
        """Nothing seen yet."""
        return cls(lm, list(ids), DynamicCache(config=lm.model.config))

    @property
    def seen(self) -> int:
        """How many tokens the cache holds."""
        return self.cache.get_seq_length()


@torch.inference_mode()
def one_pass(state: State, branch: Sequence[int]) -> torch.Tensor:
    """One forward pass over all unseen ids and the branch → logits `[len(branch) + 1, V]`.

    Row i is what the model says after the ids and the first i branch tokens; the last row is
    the bonus. The cache grows by everything fed.
    """
    fed = [*state.ids[state.seen :], *branch]
    out = state.lm.model(
        input_ids=torch.tensor([fed], device=state.lm.device),
        past_key_values=state.cache,
        use_cache=True,
        logits_to_keep=len(branch) + 1,
    )
    return out.logits[0].float()


def roll_back(state: State, length: int) -> None:
    """Cut the cache to its first `length` tokens, forgetting what was rejected."""
    extra = state.seen - length
    if extra > 0:  # crop(0) would be read as "keep all", crop(-n) removes n
        state.cache.crop(-extra)


@dataclass(frozen=True)
class Branch:
    """What a drafter proposes: tokens, and what they cost.

    probs: for each token the distribution `[V]` it was drawn from, on the CPU; None if the
    drafter did not draw by chance. passes: forward passes spent, of whichever model drafts.
    """

    tokens: list[int] = field(default_factory=list)
    probs: list[torch.Tensor] | None = None
    passes: int = 0


class Drafter(Protocol):
    """Anything that can bet on the next tokens of a state. See drafters.py."""

    def propose(self, state: State, span: int) -> Branch:
        """At most `span` tokens to follow `state.ids`; an empty branch is allowed."""


def verify_greedily(logits: torch.Tensor, branch: Sequence[int]) -> tuple[int, int]:
    """Logits `[len(branch) + 1, V]` → (accepted, next token).

    The longest prefix that greedy agrees with; then greedy's token: the correction, or the
    bonus if the whole branch was accepted.
    """
    choices = logits.argmax(dim=-1).tolist()
    accepted = 0
    while accepted < len(branch) and branch[accepted] == choices[accepted]:
        accepted += 1
    return accepted, choices[accepted]


def nucleus_probs(logits: torch.Tensor, temperature: float, top_p: float | None) -> torch.Tensor:
    """Logits `[V]` → the distribution a draw really comes from: softmax, nucleus, renormalised."""
    probs = softmax_temp(logits.cpu(), temperature).double()
    kept = torch.zeros_like(probs)
    nucleus = top_p_indices(probs, top_p)
    kept[nucleus] = probs[nucleus]
    return kept / kept.sum()


def verify_by_sampling(
    logits: torch.Tensor,
    branch: Branch,
    temperature: float,
    top_p: float | None,
    generator: torch.Generator,
) -> tuple[int, int]:
    """Speculative sampling → (accepted, next token), distributed exactly as plain sampling.

    Accept token x with probability min(1, p(x) / q(x)), p the model's and q the drafter's
    distribution. At the first rejection draw from max(p - q, 0), renormalised; after full
    acceptance draw the bonus from p. Leviathan et al. 2023, Chen et al. 2023.
    """
    for i, token in enumerate(branch.tokens):
        p = nucleus_probs(logits[i], temperature, top_p)
        q = branch.probs[i] if branch.probs else one_hot(token, len(p))
        chance = torch.rand(1, dtype=torch.float64, generator=generator).item()
        if chance * float(q[token]) >= float(p[token]):
            rest = (p - q).clamp(min=0)
            return i, int(torch.multinomial(rest, 1, generator=generator))
    p = nucleus_probs(logits[len(branch.tokens)], temperature, top_p)
    return len(branch.tokens), int(torch.multinomial(p, 1, generator=generator))


def one_hot(token: int, size: int) -> torch.Tensor:
    """All probability on one token: the distribution of a drafter that does not draw."""
    probs = torch.zeros(size, dtype=torch.float64)
    probs[token] = 1
    return probs


def settle_near_tie(
    state: State, branch: list[int], logits: torch.Tensor, tie_bound: float
) -> tuple[list[int], torch.Tensor, int]:
    """Decide a near tie by a one-token pass → (branch, logits, passes spent).

    A pass over many tokens and a pass over one differ in the last bits, so where the two best
    logits lie closer than `tie_bound`, greedy's choice could flip. Such a position is decoded
    again alone, and the branch is cut there, so that the choice is the one-token pass's.
    """
    accepted, _ = verify_greedily(logits, branch)
    best = logits[: accepted + 1].topk(2, dim=-1).values
    near = ((best[:, 0] - best[:, 1]) < tie_bound).nonzero().flatten().tolist()
    if not near or not branch:
        return branch, logits, 0
    kept = branch[: near[0]]
    # The cache must end just before the token whose successor is in doubt.
    roll_back(state, len(state.ids) + len(kept) - 1)
    again = one_pass(State(state.lm, state.ids + kept, state.cache), [])
    return kept, torch.cat([logits[: near[0]], again]), 1


TIE_BOUND = 1e-3  # logits; ten times the largest difference seen between the two kinds of pass


def decode_steps(
    lm: LM,
    ids: list[int],
    limit: int,
    drafter: Drafter | None,
    span: int,
    temperature: float,
    top_p: float | None,
    generator: torch.Generator,
    tie_bound: float = TIE_BOUND,
) -> Iterator[LoopRecord]:
    """Draft, verify in one pass, accept, roll back; yields a record after each loop.

    Ends after EOS or after `limit` new tokens.
    """
    state, written, index = State.start(lm, ids), 0, 0
    while written < limit:
        began = time.perf_counter()
        # One place is kept for the token that verification adds itself.
        room = min(span, limit - written - 1)
        branch = drafter.propose(state, room) if drafter is not None and room else Branch()
        tokens = up_to_eos(branch.tokens[:room], lm.eos_id)
        logits, extra = one_pass(state, tokens), 0
        if temperature == 0:
            checked, logits, extra = settle_near_tie(state, tokens, logits, tie_bound)
            accepted, following = verify_greedily(logits, checked)
        else:
            drawn = Branch(tokens, branch.probs)
            accepted, following = verify_by_sampling(logits, drawn, temperature, top_p, generator)
        new = up_to_eos([*tokens[:accepted], following], lm.eos_id)
        roll_back(state, len(state.ids) + accepted)
        state.ids += new
        emitted = tuple(token for token in new if token != lm.eos_id)
        written += len(emitted)
        full = accepted == len(tokens)
        yield LoopRecord(
            index=index,
            branch=tuple(branch.tokens),
            accepted=accepted,
            emitted=emitted,
            correction=None if full else following,
            bonus=following if full and tokens and following in emitted[accepted:] else None,
            draft_passes=branch.passes,
            verify_passes=1 + extra,
            seconds=time.perf_counter() - began,
        )
        index += 1
        if new[-1] == lm.eos_id:
            return


def speculate(
    lm: LM,
    prompt: str,
    drafter: str | Drafter | None = "ngram",
    max_new_tokens: int = 30,
    span: int = 4,
    temperature: float = 0.0,
    top_p: float | None = 1.0,
    seed: int | None = 7,
    on_loop: OnLoop | None = None,
) -> Generation:
    """Draft and verify with one verifying pass per loop and a KV cache.

    drafter: a name of drafters.DRAFTERS, a Drafter, or None for plain cached decoding.
    temperature 0 writes exactly greedy's tokens; above 0 the text is distributed exactly as
    plain sampling's at that temperature and top_p. on_loop(LoopRecord) is called after each
    loop; returning False stops the run. Raises ValueError for bad input, before any pass.
    """
    check_int("max_new_tokens", max_new_tokens, 1), check_int("span", span, 1)
    check_temperature(temperature), check_top_p(top_p)
    generator = make_generator(seed)
    prompt_ids = start_ids(lm, prompt)[0].tolist()
    limit = min(max_new_tokens, lm.context_length - len(prompt_ids))
    if isinstance(drafter, str):
        from medusa_lib.drafters import make_drafter  # noqa: PLC0415 - drafters build on this

        drafter = make_drafter(drafter, lm, temperature, top_p, generator)
    began = time.perf_counter()
    loops: list[LoopRecord] = []
    reason = "eos"
    steps = decode_steps(lm, prompt_ids, limit, drafter, span, temperature, top_p, generator)
    with interrupt_says(loops):
        for record in steps:
            loops.append(record)
            if on_loop is not None and on_loop(record) is False:
                reason = "cancelled"
                break
    if sum(len(record.emitted) for record in loops) >= limit:
        reason = "length" if limit == max_new_tokens else "context"
    return finish(lm, prompt_ids, loops, reason, time.perf_counter() - began)
