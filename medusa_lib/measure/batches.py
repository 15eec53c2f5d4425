"""Many users at once: one pass over several texts, what it costs, and whether drafting pays.

A batch is some texts that are written together, a row for each. Its passes are those of
transformers' own model: the quick twin reads one text at a time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from transformers import DynamicCache, PretrainedConfig

from medusa_lib.base.checks import check_int, checked
from medusa_lib.base.words import Cost, Count, Generator, Positive, Share, Span
from medusa_lib.beyond.drafters import Drafter, check_needs_no_pass
from medusa_lib.beyond.near_ties import NearTie, as_rows, settle
from medusa_lib.beyond.one_pass import (
    FAMILIES,
    MASKED,
    Branch,
    State,
    check_is_branch,
    takes_masks,
)
from medusa_lib.beyond.prefixes import obeyed_rows
from medusa_lib.beyond.speculative import check_no_turn
from medusa_lib.engine.cache import growing_cache
from medusa_lib.steps.loops import for_run, start_ids
from medusa_lib.steps.model import LM
from medusa_lib.steps.settings import Obeyed
from medusa_lib.steps.utilities import logits_of, up_to_end, without_end

SPARE = 32  # slots of a cache that may lie idle before its rows are closed up
Branches = Sequence[Sequence[int]]  # one for each row of a batch


@dataclass
class User:
    """One text of a batch. room: how many tokens may still be added; new_ids: those added.

    obeyed: what the model's own settings make of its logits, see steps/settings.py.
    """

    ids: list[int]
    room: int
    drafter: Drafter | None = None
    new_ids: list[int] = field(default_factory=list)
    obeyed: Obeyed | None = None

    def add(self, lm: LM, new: list[int]) -> None:
        """Let the text grow; after EOS there is no more room."""
        self.ids += new
        self.new_ids += without_end(lm, new)
        self.room = 0 if lm.is_end(new[-1]) else self.room - len(new)


@dataclass
class Batch:
    """Texts that are written together, and one cache with a row for each of them.

    held: bool `[rows, slots]`, True for each slot of the cache that holds a token of the row's
    text. The other slots hold padding or rejected drafts, to which nothing may attend.
    """

    lm: LM
    users: list[User]
    cache: DynamicCache
    held: torch.Tensor

    @classmethod
    def start(cls, lm: LM, users: Iterable[User]) -> Batch:
        """Nothing seen yet. Raises ValueError for a model that is not known to take masks."""
        users, cache = list(users), growing_cache(lm.model.config)
        config = lm.model.config
        if config.model_type not in FAMILIES or not takes_masks(State(lm, [], cache)):
            raise ValueError(
                f"lm must be a model of {' or '.join(FAMILIES)} with {' or '.join(MASKED)} "
                f"attention to read a batch, got {config.model_type} with "
                f"{config._attn_implementation}"
            )
        return cls(lm, users, cache, torch.zeros(len(users), 0, device=lm.device).bool())

    @property
    def seen(self) -> list[int]:
        """How many tokens of each row's text the cache holds."""
        return self.held.sum(dim=1).tolist()


@torch.inference_mode()
def batch_pass(batch: Batch, branches: Branches) -> torch.Tensor:
    """One pass over each row's unseen ids and its branch → logits `[rows, last, V]`.

    last: one more than the longest branch has tokens. A row with a shorter branch has its own
    len(branch) + 1 rows of logits at the end.
    """
    texts = zip(batch.users, batch.seen, branches, strict=True)
    rows = [[*user.ids[seen:], *branch] for user, seen, branch in texts]
    tokens, real = left_padded(rows, batch.lm.device)  # [rows, width] each
    mask, positions = batch_mask(batch.held, real)
    inputs = {"input_ids": tokens, "attention_mask": mask, "position_ids": positions}
    kept = {"past_key_values": batch.cache, "use_cache": True}
    last = 1 + max(map(len, branches))
    said = batch.lm.model(**inputs, **kept, logits_to_keep=last)
    logits = logits_of(said)[:, -last:]  # [rows, last, V]
    batch.held = torch.cat([batch.held, real], dim=1)
    return logits.float()


def left_padded(
    rows: Sequence[list[int]], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of tokens, the short ones filled up on the left → (tokens, which are real)."""
    width = max(map(len, rows))
    tokens = [[0] * (width - len(row)) + row for row in rows]
    real = [[False] * (width - len(row)) + [True] * len(row) for row in rows]
    return torch.tensor(tokens, device=device), torch.tensor(real, device=device)


def batch_mask(held: torch.Tensor, real: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What each new token may attend to, as numbers to add; and its position in its own text.

    held `[rows, slots]`, real `[rows, width]` → mask `[rows, 1, width, slots + width]`,
    positions `[rows, width]`.
    """
    width = real.shape[1]
    before = held[:, None].expand(-1, width, -1)  # [rows, width, slots]
    own = real[:, None] & torch.ones(width, width, device=real.device).bool().tril()
    may = torch.cat([before, own], dim=-1)[:, None]  # [rows, 1, width, slots + width]
    mask = torch.zeros(may.shape, device=real.device)
    mask.masked_fill_(~may, torch.finfo(mask.dtype).min)
    positions = held.sum(dim=1, keepdim=True) + real.cumsum(dim=1) - 1  # [rows, width]
    return mask, positions.clamp(min=0)


@torch.inference_mode()
def forget_rejected(batch: Batch, branches: Branches, accepted: Sequence[int]) -> None:
    """From now on nothing attends to the rejected drafts of each row."""
    slots = batch.held.shape[1]
    for row, (branch, kept) in enumerate(zip(branches, accepted, strict=True)):
        batch.held[row, slots - len(branch) + kept :] = False
    longest = max(batch.seen)
    if slots - longest > SPARE:
        close_up(batch, longest)


def close_up(batch: Batch, longest: int) -> None:
    """Move each row's tokens to the right, so that as many slots as the longest row are left."""
    order = batch.held.int().argsort(dim=1, stable=True)[:, -longest:]  # [rows, longest]
    batch.held = batch.held.gather(1, order)
    for layer in batch.cache.layers:
        keys, values = layer.keys, layer.values  # [rows, heads, slots, size]
        index = order[:, None, :, None].expand(-1, keys.shape[1], -1, keys.shape[-1])
        layer.keys, layer.values = keys.gather(2, index), values.gather(2, index)


@torch.inference_mode()
def keep_users(batch: Batch, rows: Sequence[int]) -> None:
    """Let all rows but these leave the batch."""
    if len(rows) < len(batch.users):
        index = torch.tensor(rows, dtype=torch.long, device=batch.held.device)
        batch.users = [batch.users[row] for row in rows]
        batch.held = batch.held[index]
        batch.cache.batch_select_indices(index)


@dataclass(frozen=True)
class BatchLoop:
    """One loop of a batch: how many tokens each of its rows emitted, and what that cost.

    passes: the one over all rows, and those for near ties. draft_seconds: of drafting alone.
    """

    emitted: tuple[int, ...]
    passes: int
    draft_seconds: float
    seconds: float


@dataclass(frozen=True)
class BatchRun:
    """What a batch wrote: new ids of each prompt, in order, and the loops that wrote them."""

    new_ids: list[list[int]]
    loops: list[BatchLoop]

    @property
    def steady(self) -> list[BatchLoop]:
        """The loops in which nobody was missing, without the first, which reads the prompts.

        A server would give a place that falls free to the next user, so only these count.
        """
        return [loop for loop in self.loops[1:] if len(loop.emitted) == len(self.new_ids)]

    @property
    def tau(self) -> float:
        """Tokens emitted ÷ (loops × users), over the steady loops; NaN if there is none."""
        emitted = [count for loop in self.steady for count in loop.emitted]
        return statistics.fmean(emitted) if emitted else float("nan")

    @property
    def loop_seconds(self) -> float:
        """Median seconds of a steady loop; NaN if there is none."""
        seconds = [loop.seconds for loop in self.steady]
        return statistics.median(seconds) if seconds else float("nan")


@checked
def decode_batch(
    lm: LM,
    prompts: Sequence[str],
    drafters: Sequence[Drafter] | None = None,
    max_new_tokens: Positive = 30,
    span: Span = 4,
) -> BatchRun:
    """Write all prompts together, one pass a loop: each row's tokens are greedy's of its prompt.

    drafters: one for each prompt, of single branches; None: no drafts. A row leaves when its
    text is done. Raises ValueError for bad input, before any pass.
    """
    users = start_users(lm, prompts, drafters, max_new_tokens)
    batch, near_tie, loops = Batch.start(lm, users), NearTie.of(lm.obeying(users[0].obeyed)), []
    while batch.users:
        loops.append(batch_loop(batch, span, near_tie))
        keep_users(batch, [row for row, user in enumerate(batch.users) if user.room > 0])
    return BatchRun([user.new_ids for user in users], loops)


def start_users(
    lm: LM, prompts: Sequence[str], drafters: Sequence[Drafter] | None, count: int
) -> list[User]:
    """A user for each prompt, with room for `count` tokens or what the context has left."""
    if isinstance(prompts, str) or not len(prompts):
        raise ValueError(f"prompts must be a list of at least 1 prompt, got {prompts!r}")
    drafters = [None] * len(prompts) if drafters is None else drafters
    if len(drafters) != len(prompts):
        wanted = f"{len(prompts)} drafters, one for each prompt"
        raise ValueError(f"drafters must be {wanted}, got {len(drafters)}")
    users = []
    for prompt, drafter in zip(prompts, drafters, strict=True):
        check_needs_no_pass(drafter)
        ids = start_ids(lm, prompt)[0].tolist()
        users.append(User(ids, min(count, lm.context_length - len(ids)), drafter))
        users[-1].obeyed = for_run(lm, prompt, count).obeyed
        check_no_turn(lm, len(ids), users[-1].room)
    return users


def batch_loop(batch: Batch, span: int, near_tie: NearTie) -> BatchLoop:
    """Draft for each row, verify all rows in one pass, accept, forget what was rejected."""
    began, lm, users = time.perf_counter(), batch.lm, batch.users
    branches = [draft_for(lm, user, min(span, user.room - 1)) for user in users]
    drafted = time.perf_counter()
    said = best_tokens(obey_each(batch, branches, batch_pass(batch, branches)), near_tie)
    rows = zip(users, branches, *said, strict=True)
    verdicts = [verify_row(lm, *row) for row in rows]
    forget_rejected(batch, branches, [accepted for accepted, _, _ in verdicts])
    before = [len(user.new_ids) for user in users]
    for user, (_, new, _) in zip(users, verdicts, strict=True):
        user.add(lm, new)
    emitted = (len(user.new_ids) - n for user, n in zip(users, before, strict=True))
    passes = 1 + sum(extra for _, _, extra in verdicts)
    return BatchLoop(tuple(emitted), passes, drafted - began, time.perf_counter() - began)


@torch.inference_mode()
def obey_each(batch: Batch, branches: Branches, logits: torch.Tensor) -> torch.Tensor:
    """Logits `[rows, last, V]` of a pass → the same as the model's settings leave them."""
    for user, branch, said in zip(batch.users, branches, logits, strict=True):
        if user.obeyed is not None:
            lm, own = batch.lm.obeying(user.obeyed), said[len(said) - len(branch) - 1 :]
            own[:] = torch.stack(list(obeyed_rows(lm, user.ids, branch, None, own)))
    return logits


def draft_for(lm: LM, user: User, most: int) -> list[int]:
    """At most `most` tokens for one row, cut after EOS. Raises ValueError for a tree."""
    if user.drafter is None or most < 1:
        return []
    branch = check_is_branch(user.drafter.propose(State(lm, list(user.ids), None), most))
    if branch.parents is not None:
        raise ValueError("drafter must be one of single branches for a batch, got a tree")
    tokens = up_to_end(lm, branch.tokens[:most])
    for token in tokens:
        if check_int("each drafted token", token, 0) >= lm.vocab_size:
            raise ValueError(f"each drafted token must be < {lm.vocab_size}, got {token}")
    return tokens


def best_tokens(logits: torch.Tensor, near_tie: NearTie) -> tuple[np.ndarray, np.ndarray]:
    """Logits `[rows, last, V]` → the best tokens, and whether another is near: `[rows, last]`.

    As near_ties.best_and_near, for all rows at once. Raises ValueError for logits not finite.
    """
    numbers = as_rows(logits.flatten(0, 1))  # [rows × last, V]
    best = numbers.argmax(axis=-1)
    top = numbers[np.arange(len(best)), best]
    if not np.isfinite(top).all():
        raise ValueError("logits must be finite, got NaN or infinity")
    bound = near_tie.at(logits.flatten(0, 1))
    near = np.count_nonzero(numbers >= (top - bound)[:, None], axis=-1) > 1
    return best.reshape(logits.shape[:2]), near.reshape(logits.shape[:2])


def verify_row(
    lm: LM, user: User, branch: list[int], best: np.ndarray, near: np.ndarray
) -> tuple[int, list[int], int]:
    """BEYOND1's verdict on one row → (accepted, the ids it grows by, passes for near ties)."""
    first, passes = len(best) - len(branch) - 1, 0
    for i in range(len(branch) + 1):
        choice = int(best[first + i])
        if near[first + i]:
            choice, passes = settle(lm.obeying(user.obeyed), [*user.ids, *branch[:i]]), passes + 1
        if i == len(branch) or branch[i] != choice:
            break
    return i, up_to_end(lm, [*branch[:i], choice]), passes


class Oracle:
    """Knows a text, and drafts each next token of it right with a chance of alpha.

    A drafter to measure with: its α is known, and it costs next to nothing. alpha in [0, 1].
    """

    @checked
    def __init__(
        self, text: Sequence[int], alpha: Share, vocab_size: Positive, generator: Generator
    ) -> None:
        self.text, self.alpha, self.size = list(text), alpha, vocab_size
        self.generator = generator

    def propose(self, state: State, span: int) -> Branch:
        """What follows in the text, some tokens of it wrong; nothing beyond its end."""
        known = self.text[len(state.ids) :][:span]
        right = torch.rand(len(known), generator=self.generator) < self.alpha
        drafted = zip(known, right.tolist(), strict=True)
        return Branch([token if ok else (token + 1) % self.size for token, ok in drafted])


@checked
def batch_seconds(
    lm: LM,
    batches: Sequence[int],
    positions: Sequence[int],
    context: Positive = 64,
    repeats: Positive = 5,
) -> dict[tuple[int, int], float]:
    """Median seconds of a pass: (rows, positions in each row) → seconds, `context` tokens cached.

    The numbers of positions take turns, so that whatever else the machine does falls on all of
    them. Raises ValueError if context + the most positions do not fit the model.
    """
    for count in (*batches, *positions):
        check_int("each of batches and positions", count, 1)
    if context + max(positions) > lm.context_length:
        most = lm.context_length - max(positions)
        raise ValueError(f"context must be an int <= {most} for these, got {context}")
    found = {}
    for rows in batches:
        batch = read_context(lm, rows, context)
        one_timing(batch, 1)  # the first pass may be slower
        turns = [{n: one_timing(batch, n) for n in positions} for _ in range(repeats)]
        found |= {(rows, n): statistics.median(turn[n] for turn in turns) for n in positions}
    return found


def read_context(lm: LM, rows: int, context: int) -> Batch:
    """A batch that has seen so many tokens in each row, and one more is unseen."""
    texts = [[(row + place) % lm.vocab_size for place in range(context)] for row in range(rows)]
    batch = Batch.start(lm, [User(ids, room=1) for ids in texts])
    batch_pass(batch, [[]] * rows)
    for user in batch.users:
        user.ids.append(1)
    return batch


def one_timing(batch: Batch, count: int) -> float:
    """Seconds of one pass over `count` positions in each row, rolled back afterwards."""
    held = batch.held
    began = time.perf_counter()
    logits = batch_pass(batch, [[1] * (count - 1)] * len(batch.users))
    logits[-1, -1, 0].item()  # on a GPU, too, the pass is then done
    seconds = time.perf_counter() - began
    batch.cache.crop(-count)
    batch.held = held
    return seconds


@checked
def batch_speedup(tau: Cost, plain: Cost, verify: Cost, draft: Cost = 0.0) -> float:
    """Speed over plain decoding of the same batch: τ · t(B, 1) ÷ (t(B, span + 1) + draft).

    tau: tokens per loop and user. In seconds, or any one unit: plain, of a pass over one position
    in each row; verify, of one over span + 1; draft, of all drafts of a loop.
    """
    if verify + draft == 0:
        raise ValueError("verify and draft must be more than 0 together, got 0")
    return tau * plain / (verify + draft)


@checked
def last_gain(gains: dict[int, float]) -> int | None:
    """The largest batch up to which drafting gains at every size: its speed-up is above 1.

    gains: batch size → speed-up. None if it does not gain at the smallest.
    """
    best = None
    for batch, gain in sorted(gains.items()):
        if gain <= 1:
            break
        best = batch
    return best


@checked
def kv_bytes(
    layers: Positive, kv_heads: Positive, head_size: Positive, positions: Count, number: Positive
) -> int:
    """Bytes of one user's KV cache; number: bytes of one number, 2 in half precision."""
    return 2 * layers * kv_heads * head_size * positions * number


def kv_shape(config: PretrainedConfig) -> tuple[int, int, int]:
    """(layers, KV heads, head size) of a model's config."""
    heads = config.num_attention_heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    return config.num_hidden_layers, kv_heads, size


def cache_bytes(cache: DynamicCache) -> int:
    """Bytes of all keys and values that a cache really holds, its spare room left out."""
    tensors = [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
