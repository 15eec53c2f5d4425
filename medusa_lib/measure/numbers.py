"""Types of number: how far passes of different kinds differ in them, and what exactness costs."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from medusa_lib.base.checks import checked
from medusa_lib.base.records import Generation
from medusa_lib.base.words import Distance, Positive, Span
from medusa_lib.beyond.drafters import Drafter
from medusa_lib.beyond.one_pass import State, one_pass
from medusa_lib.beyond.speculative import speculate
from medusa_lib.steps.model import LM
from medusa_lib.steps.utilities import decode, last_logits


def in_dtype(lm: LM, dtype: torch.dtype) -> LM:
    """The same model with weights and sums in numbers of this type."""
    model = copy.deepcopy(lm.model).to(dtype)
    return dataclasses.replace(lm, model=model if dtype == torch.float32 else by_columns(model))


def by_columns(model: nn.Module) -> nn.Module:
    """This very model, GPT-2's weights laid in memory by columns, as other families' are.

    A processor without instructions for 16 bits multiplies them more quickly so.
    """
    for part in model.modules():
        if isinstance(part, Conv1D):
            part.weight.data = part.weight.data.t().contiguous().t()
    return model


def logits_in_steps(lm: LM, ids: Sequence[int], count: int) -> torch.Tensor:
    """Logits `[len(ids), V]` from passes over `count` tokens each, with a cache."""
    state, rows = State.start(lm, []), []
    for start in range(0, len(ids), count):
        state.ids.append(ids[start])
        rest = list(ids[start + 1 : start + count])
        rows.append(one_pass(state, rest))
        state.ids += rest
    return torch.cat(rows)


def logits_alone(lm: LM, ids: Sequence[int], places: Sequence[int]) -> torch.Tensor:
    """Logits `[len(places), V]` from greedy's own passes: the text up to a place, nothing else."""
    return torch.stack([last_logits(lm, torch.tensor([ids[: i + 1]])) for i in places])


@torch.inference_mode()
def logits_in_batch(lm: LM, texts: Sequence[Sequence[int]]) -> torch.Tensor:
    """Logits `[len(texts), V]` after texts of one length, whose last tokens share a pass.

    As a server does it: what came before is in a cache, and one token of each user is fed.
    """
    rows = torch.tensor(texts, device=lm.device)  # [users, T]
    cache = lm.model(input_ids=rows[:, :-1], use_cache=True).past_key_values
    return lm.model(input_ids=rows[:, -1:], past_key_values=cache).logits[:, -1].float()


def margins(logits: torch.Tensor) -> torch.Tensor:
    """How far the best of each row of logits `[n, V]` lies above the second best: `[n]`, >= 0."""
    best = logits.topk(2).values  # [n, 2]
    return best[:, 0] - best[:, 1]


@dataclass(frozen=True)
class PassGap:
    """How two kinds of pass over the same positions differ.

    margins: of the first kind, `[n]`. differences: the largest of all logits of a position, `[n]`.
    flips: whether the most probable token is another one, `[n]`.
    """

    margins: torch.Tensor
    differences: torch.Tensor
    flips: torch.Tensor

    @classmethod
    def of(cls, first: torch.Tensor, second: torch.Tensor) -> PassGap:
        """Of logits `[n, V]` from both kinds of pass."""
        differences = (first - second).abs().amax(dim=-1)
        return cls(margins(first), differences, first.argmax(-1) != second.argmax(-1))

    @property
    def largest(self) -> float:
        """The largest difference of any logit."""
        return float(self.differences.max())

    def share_near(self, bound: float) -> float:
        """The share of positions whose two best logits lie closer than a bound, in [0, 1]."""
        return float((self.margins < bound).float().mean())

    def flips_between(self, low: float, high: float) -> tuple[int, int]:
        """(positions, flips) whose margin is in [low, high)."""
        inside = (self.margins >= low) & (self.margins < high)
        return int(inside.sum()), int(self.flips[inside].sum())


class SplitSum(nn.Module):
    """A layer that cuts its sums into parts where only few rows come, as graphics processors do.

    With few rows most of such a machine would wait. So each long sum is cut, its parts are added
    up at the same time, and then the parts' sums are added ("split-K"). part: one of GPT-2's
    layers, weight `[in, out]`. few: from so many rows on, the layer does as always.
    """

    def __init__(self, part: Conv1D, parts: int, few: int) -> None:
        super().__init__()
        self.part, self.parts, self.few = part, parts, few

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Rows `[1 or users, count, in]` → `[…, out]`."""
        if x.shape[0] * x.shape[1] >= self.few:
            return self.part(x)
        pieces = zip(x.chunk(self.parts, -1), self.part.weight.chunk(self.parts), strict=True)
        return sum(piece @ weight for piece, weight in pieces) + self.part.bias


@checked
def with_split_sums(lm: LM, parts: Positive = 8, few: Positive = 8) -> LM:
    """A copy of a model of GPT-2's family that cuts its sums in passes over few rows."""
    model = copy.deepcopy(lm.model)
    for name, part in [*model.named_modules()]:
        if isinstance(part, Conv1D):
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, SplitSum(part, parts, few))
    return dataclasses.replace(lm, model=model)


@dataclass(frozen=True)
class TieCost:
    """What settling near ties by greedy's own pass cost over some texts.

    different: texts that were not greedy's. settled: passes spent on near ties, of `passes`.
    """

    texts: int
    different: int
    tokens: int
    passes: int
    settled: int

    @property
    def settled_per_token(self) -> float:
        """Passes spent on near ties ÷ tokens written."""
        return self.settled / self.tokens

    @property
    def passes_per_token(self) -> float:
        """All verify passes ÷ tokens written; without a drafter it is 1."""
        return self.passes / self.tokens


@checked
def tie_cost(
    lm: LM,
    known: Sequence[Generation],
    drafter: str | Drafter = "ngram",
    span: Span = 4,
    tie_bound: Distance | None = None,
) -> TieCost:
    """Write greedy's texts again with a drafter, near ties settled within a bound.

    known: greedy's runs with the same model. tie_bound None: the measured one for its numbers.
    """
    knobs = {"span": span, "tie_bound": tie_bound}
    runs = [
        speculate(lm, decode(lm, run.prompt_ids), drafter, len(run.new_ids), **knobs)
        for run in known
    ]
    different = sum(a.new_ids != b.new_ids for a, b in zip(runs, known, strict=True))
    loops = [loop for run in runs for loop in run.loops]
    passes = sum(loop.verify_passes for loop in loops)
    tokens = sum(len(run.new_ids) for run in runs)
    return TieCost(len(runs), different, tokens, passes, passes - len(loops))
