"""The cure, part one: verify a whole branch in one pass over a KV cache.

Three changes to STEP6. A cache keeps what the model computed for the tokens so far. One pass
checks all positions of a branch. And when the whole branch is accepted, that same pass has
already computed one token more, the bonus.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import nn
from transformers import DynamicCache

from medusa_lib.base.words import Parents
from medusa_lib.beyond.manners import FAMILIES, MASKED, manner_of
from medusa_lib.beyond.masks import mask_and_offsets, with_cache
from medusa_lib.beyond.near_ties import as_rows, best_and_near, settle
from medusa_lib.engine.cache import ArrayCache, growing_cache
from medusa_lib.engine.twin import Twin, is_touched, quick, refresh
from medusa_lib.steps.model import LM
from medusa_lib.steps.team import few_threads
from medusa_lib.steps.utilities import logits_of

Vector = torch.Tensor | np.ndarray


@dataclass
class State:
    """A sequence being written: its ids, and the cache of those the model has already seen.

    hidden: what the latest pass had just before the output layer, `[len(branch) + 1, width]`,
    for drafters that draft from it; None for models of other families than GPT-2's and Llama's,
    and for one that somebody has put a hook on or a wrapper around.
    twin: what computes its passes, see engine; None: the model itself.
    """

    lm: LM
    ids: list[int]
    cache: DynamicCache | ArrayCache
    twin: Twin | None = None
    hidden: torch.Tensor | None = None

    @classmethod
    def start(cls, lm: LM, ids: Sequence[int]) -> State:
        """Nothing seen yet."""
        return cls(lm, list(ids), *fresh_cache(lm))

    @property
    def seen(self) -> int:
        """How many tokens the cache holds."""
        return self.cache.get_seq_length()


def fresh_cache(lm: LM) -> tuple[DynamicCache | ArrayCache, Twin | None]:
    """`empty_cache`, with a twin that is made anew if the model has changed since the last."""
    refresh(lm)
    return empty_cache(lm)


def empty_cache(lm: LM) -> tuple[DynamicCache | ArrayCache, Twin | None]:
    """An empty cache, and the twin that computes with it; None: the model itself does.

    Raises ValueError, by name, for a model that says something else over a cache.
    """
    twin = quick(lm)
    if twin is not None:
        return twin.new_cache(), twin
    manner_of(lm)  # refuses a model that cannot be asked over a cache
    return growing_cache(lm.model.config), None


class LentState(State):
    """A state as a drafter is shown it: whatever the drafter does to it, verification has its own.

    It has its own list of ids, and a cache that is copied when it is first asked for: few
    drafters do.
    """

    lent: DynamicCache | ArrayCache

    @classmethod
    def of(cls, state: State) -> LentState:
        """What a drafter is shown of a state."""
        new = object.__new__(cls)
        vars(new).update(lm=state.lm, ids=list(state.ids), twin=state.twin, lent=state.cache)
        new.hidden = None if state.hidden is None else writable(state.hidden)
        return new

    def __getattr__(self, name: str) -> object:
        """The cache, which is not there before it is asked for."""
        if name != "cache" or "lent" not in vars(self):
            raise AttributeError(name)
        self.cache = copy.deepcopy(self.lent)
        return self.cache

    @property
    def seen(self) -> int:
        """How many tokens the cache holds."""
        held = vars(self).get("cache") or self.lent
        return held.get_seq_length()


def writable(numbers: torch.Tensor) -> torch.Tensor:
    """Numbers that a drafter may write into, which torch refuses for those of inference mode."""
    return numbers.clone() if numbers.is_inference() else numbers


@dataclass(frozen=True)
class Branch:
    """What a drafter proposes: tokens, and what they cost.

    probs: for each token the distribution `[V]` it was drawn from, on the CPU; None if the
    drafter did not draw by chance. passes: forward passes spent, of whichever model drafts.
    parents: for a tree, each token's parent, see trees; None: one after the other.
    """

    tokens: list[int] = field(default_factory=list)
    probs: list[torch.Tensor] | None = None
    passes: int = 0
    parents: Parents | None = None


def check_is_branch(branch: object) -> Branch:
    """A drafter's proposal with its tokens as a list; a vector of them will do.

    Raises ValueError for what is no Branch, or has no list where it should have one.
    """
    if not isinstance(branch, Branch):
        raise ValueError(f"drafter must propose a Branch, got {type(branch).__name__}")
    if not (branch.probs is None or isinstance(branch.probs, list | tuple | Vector)):
        kind = type(branch.probs).__name__
        raise ValueError(f"probs of a drafter's branch must be None or a list, got {kind}")
    parents = branch.parents
    if type(branch.tokens) is list and (parents is None or type(parents) is tuple):
        return branch
    tokens = list_of_ids("tokens", branch.tokens)
    return replace(
        branch,
        tokens=tokens,
        parents=None if parents is None else tuple(list_of_ids("parents", parents)),
    )


def list_of_ids(name: str, values: object) -> list[int]:
    """Whole numbers of a drafter's branch as a list. Raises ValueError for a set, a stream, …"""
    if isinstance(values, Vector) and values.ndim == 1:
        return values.tolist()
    if isinstance(values, Sequence) and not isinstance(values, str | bytes):
        return list(values)
    kind = type(values).__name__
    raise ValueError(f"{name} of a drafter's branch must be a list of ints, got {kind}")


def one_pass(state: State, branch: Sequence[int], parents: Parents | None = None) -> torch.Tensor:
    """One forward pass over all unseen ids and the branch → logits `[len(branch) + 1, V]`.

    Row i is what the model says after the ids and the first i branch tokens; the last row is
    the bonus. With `parents` the branch is a tree, and row i + 1 is what the model says after
    its token i and that token's ancestors. The cache grows by everything fed.
    """
    fed, mask, positions = [*state.ids[state.seen :], *branch], None, None
    if state.twin is None or parents is not None:  # else one after the other, as a twin reads
        mask, positions = mask_and_positions(state, len(fed), parents)
    logits, state.hidden = run_model(state, fed, mask, positions, len(branch) + 1)
    return logits.float()  # [len(branch) + 1, V]


def mask_and_positions(
    state: State, count: int, parents: Parents | None
) -> tuple[torch.Tensor | None, torch.Tensor]:
    """For `count` new tokens: the attention mask, and their positions `[count]` in the text.

    Those of a tree attend to their ancestors, and stand as deep as they are. A twin's mask is
    `[count, count]`: all see the cache. Raises ValueError for a tree where the model takes none.
    """
    seen, device = state.seen, state.lm.device
    if parents is None:
        return causal_mask(state, count), torch.arange(seen, seen + count, device=device)
    check_tree_fits(state)
    mask, offsets = mask_and_offsets(parents, count - len(parents), mask_type(state), device)
    return mask if state.twin is not None else with_cache(mask, seen), offsets + seen


def run_model(
    state: State,
    fed: list[int],
    mask: torch.Tensor | None,
    positions: torch.Tensor | None,
    rows: int,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The last `rows` rows of a pass → (logits `[rows, V]`, hidden states `[rows, width]`)."""
    if state.twin is not None:
        return state.twin(state.cache, fed, mask, positions, rows)
    inputs = {
        "input_ids": torch.tensor([fed], device=state.lm.device),  # [1, len(fed)]
        "attention_mask": mask,  # [1, 1, len(fed), seen + len(fed)]
        "past_key_values": state.cache,
        "use_cache": True,
    }
    if manner_of(state.lm).positions:
        inputs["position_ids"] = positions[None]  # [1, len(fed)]
    with few_threads(state.lm, len(fed)):
        return ask_model(state.lm.model, rows, inputs)


@torch.inference_mode()
def ask_model(
    model: nn.Module, rows: int, inputs: dict[str, object]
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The same from the model itself, however somebody may have changed it."""
    if model.config.model_type not in FAMILIES or is_touched(model):
        return logits_of(model(**inputs, logits_to_keep=rows))[0, -rows:], None
    hidden = model.base_model(**inputs)[0][0, -rows:]  # [rows, width]
    return model.lm_head(hidden), hidden


def turning_point(lm: LM) -> int | None:
    """The length beyond which a model sees every position differently; None: there is none.

    So does "longrope" (Ding et al. 2024, LongRoPE): what a cache keeps of a shorter text is then
    worth nothing.
    """
    rope = getattr(lm.model.config, "rope_parameters", None) or {}
    return rope["original_max_position_embeddings"] if rope.get("rope_type") == "longrope" else None


def causal_mask(state: State, count: int) -> torch.Tensor | None:
    """What `count` new tokens may attend to: `[1, 1, count, seen + count]`, added to the scores.

    0 for the cache, the token itself and those before it; the lowest number there is for those
    after it. None where the model makes the same mask itself: one token, an empty cache, or
    attention of a special kind. Making it here is faster, once a pass and not by rules.
    """
    seen = state.seen
    if count == 1 or seen == 0 or not takes_masks(state):
        return None
    return with_cache(mask_and_offsets((), count, mask_type(state), state.lm.device)[0], seen)


def mask_type(state: State) -> torch.dtype:
    """The type of numbers that the model computes with."""
    head = getattr(state.lm.model, "lm_head", None)  # asking the model as a whole takes long
    weight = getattr(head, "weight", None)
    return weight.dtype if isinstance(weight, torch.Tensor) else state.lm.model.dtype


def takes_masks(state: State) -> bool:
    """True if the model adds a mask of numbers to its attention's scores, as known or tried."""
    return state.twin is not None or manner_of(state.lm).trees


def check_tree_fits(state: State) -> None:
    """Raises ValueError for a model whose attention cannot be given a tree's mask."""
    if not takes_masks(state):
        config = state.lm.model.config
        raise ValueError(
            f"lm must be a model with {' or '.join(MASKED)} attention that keeps to a tree's mask "
            f"to verify a tree, got {config.model_type} with {config._attn_implementation}"
        )


def roll_back(state: State, length: int) -> None:
    """Cut the cache to its first `length` tokens, forgetting what was rejected."""
    if state.seen:  # crop(-n) removes n; crop(0) keeps all, and trims a sliding window
        state.cache.crop(-max(0, state.seen - length))


def verify_greedily(choices: Sequence[int], branch: Sequence[int]) -> tuple[int, int]:
    """Greedy's choices, up to the first that disagrees at least → (accepted, next token).

    The longest prefix of the branch that greedy agrees with; then greedy's own token: the
    correction, or the bonus if the whole branch was accepted.
    """
    accepted = 0
    while accepted < len(branch) and branch[accepted] == choices[accepted]:
        accepted += 1
    return accepted, choices[accepted]


def greedy_choices(
    state: State, branch: Sequence[int], logits: torch.Tensor, tie_bound: float
) -> tuple[list[int], int]:
    """Logits `[len(branch) + 1, V]` → (greedy's choices, passes spent on near ties).

    Passes over one token, many tokens or a cache differ in the last bits, so where the two
    best logits lie closer than `tie_bound`, the choice could flip. There greedy's own pass
    decides: the whole text, no cache, the plain model. The last choice is the first that the
    branch disagrees with, or the bonus; the rows after a disagreement are not looked at.
    """
    choices, passes = [], 0
    for i, row in enumerate(as_rows(logits)):
        choice, near = best_and_near(row, tie_bound)
        if near:
            choice, passes = settle(state.lm, [*state.ids, *branch[:i]]), passes + 1
        choices.append(choice)
        if i < len(branch) and branch[i] != choice:
            break
    return choices, passes
