"""The cure, part one: verify a whole branch in one pass over a KV cache.

Three changes to STEP6. A cache keeps what the model computed for the tokens so far. One pass
checks all positions of a branch. And when the whole branch is accepted, that same pass has
already computed one token more, the bonus.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from transformers import DynamicCache, PreTrainedModel

from medusa_lib.growing_cache import growing_cache, is_growing
from medusa_lib.model import LM
from medusa_lib.utilities import greedy_next

# Logits closer than this count as a near tie. More than twice the largest difference between
# two kinds of pass that `python -m medusa_lib.numerics` finds for numbers of this type.
TIE_BOUNDS = {torch.float32: 1e-3, torch.bfloat16: 1.0, torch.float16: 0.1, torch.float64: 1e-6}
FAMILIES = ("gpt2", "llama")  # whose attention is known to be this one
MASKED = ("eager", "sdpa")  # kinds of attention that take a mask of numbers


@dataclass
class State:
    """A sequence being written: its ids, and the cache of those the model has already seen.

    hidden: what the latest pass had just before the output layer, `[len(branch) + 1, width]`,
    for drafters that draft from it; None for models of other families than GPT-2's and Llama's.
    """

    lm: LM
    ids: list[int]
    cache: DynamicCache
    hidden: torch.Tensor | None = None

    @classmethod
    def start(cls, lm: LM, ids: Sequence[int]) -> State:
        """Nothing seen yet."""
        return cls(lm, list(ids), growing_cache(lm.model.config))

    @property
    def seen(self) -> int:
        """How many tokens the cache holds."""
        return self.cache.get_seq_length()


@dataclass(frozen=True)
class Branch:
    """What a drafter proposes: tokens, and what they cost.

    probs: for each token the distribution `[V]` it was drawn from, on the CPU; None if the
    drafter did not draw by chance. passes: forward passes spent, of whichever model drafts.
    """

    tokens: list[int] = field(default_factory=list)
    probs: list[torch.Tensor] | None = None
    passes: int = 0


@torch.inference_mode()
def one_pass(state: State, branch: Sequence[int]) -> torch.Tensor:
    """One forward pass over all unseen ids and the branch → logits `[len(branch) + 1, V]`.

    Row i is what the model says after the ids and the first i branch tokens; the last row is
    the bonus. The cache grows by everything fed.
    """
    seen, device = state.seen, state.lm.device
    fed = [*state.ids[seen:], *branch]
    logits, state.hidden = run_model(
        state.lm.lean,
        len(branch) + 1,
        input_ids=torch.tensor([fed], device=device),
        position_ids=torch.arange(seen, seen + len(fed), device=device)[None],
        attention_mask=causal_mask(state, len(fed)),
        past_key_values=state.cache,
        use_cache=True,
    )
    return logits.float()


def run_model(
    model: PreTrainedModel, rows: int, **fed: object
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The last `rows` rows of a pass → (logits `[rows, V]`, hidden numbers `[rows, width]`)."""
    if model.config.model_type not in FAMILIES:
        return model(**fed, logits_to_keep=rows).logits[0], None
    hidden = model.base_model(**fed).last_hidden_state[0, -rows:]
    return model.get_output_embeddings()(hidden), hidden


def causal_mask(state: State, count: int) -> torch.Tensor | None:
    """What `count` new tokens may look at: `[1, 1, count, seen + count]`, added to the scores.

    0 for the cache, the token itself and those before it; the lowest number there is for those
    after it. None where the model makes the same mask itself: one token, an empty cache, or
    attention of a special kind. Making it here is faster, once a pass and not by rules.
    """
    seen, model = state.seen, state.lm.model
    config = model.config
    known = config.model_type in FAMILIES and config._attn_implementation in MASKED
    if count == 1 or seen == 0 or not known or not is_growing(state.cache):
        return None
    lowest = torch.finfo(model.dtype).min
    mask = torch.full((count, seen + count), lowest, dtype=model.dtype, device=state.lm.device)
    return mask.triu(seen + 1)[None, None]


def roll_back(state: State, length: int) -> None:
    """Cut the cache to its first `length` tokens, forgetting what was rejected."""
    if state.seen:  # crop(-n) removes n; crop(0) keeps all, and trims a sliding window
        state.cache.crop(-max(0, state.seen - length))


def verify_greedily(choices: Sequence[int], branch: Sequence[int]) -> tuple[int, int]:
    """Greedy's choices `[len(branch) + 1]` → (accepted, next token).

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
    """Logits `[len(branch) + 1, V]` → (greedy's choice in each row, passes spent on near ties).

    Passes over one token, many tokens or a cache differ in the last bits, so where the two
    best logits lie closer than `tie_bound`, the choice could flip. There greedy's own pass
    decides: the whole text, no cache, the plain model. Rows after the first disagreement with
    the branch are not looked at.
    """
    best = logits.topk(2, dim=-1)
    choices, passes = best.indices[:, 0].tolist(), 0
    margins = (best.values[:, 0] - best.values[:, 1]).tolist()
    for i, margin in enumerate(margins):
        if math.isnan(margin):
            raise ValueError("logits must be finite, got NaN or infinity")
        if margin <= tie_bound and tie_bound > 0:
            prefix = torch.tensor([[*state.ids, *branch[:i]]], device=state.lm.device)
            choices[i] = greedy_next(state.lm, prefix)
            passes += 1
        if i < len(branch) and branch[i] != choices[i]:
            break
    return choices, passes
