"""The rows of the bench's tables: what each figure is, and what it divides by."""

from __future__ import annotations

from dataclasses import dataclass, field

from medusa_lib.measure.roofline import Machine


@dataclass(frozen=True)
class Counts:
    """What some runs of one decoder wrote and cost; None where there is nothing to divide by.

    Passes are forward passes, draft passes those of whichever model drafts. tau: tokens ÷ loops.
    alpha: accepted ÷ evaluated.
    """

    name: str
    tokens: int
    verify_passes: int
    draft_passes: int
    tau: float | None
    alpha: float | None


@dataclass(frozen=True)
class GreedyRow(Counts):
    """One decoder at temperature 0.

    seconds: sum over prompts of the median over rounds. over_greedy, over_generate: seconds of
    cached greedy, and of transformers' generate, ÷ these. identical: texts that are greedy's, of
    so many prompts.
    """

    seconds: float
    tokens_per_second: float
    over_greedy: float
    over_generate: float
    identical: int
    prompts: int


@dataclass(frozen=True)
class SamplingRow(Counts):
    """One sampler over all rounds.

    tokens_per_second: median over rounds. over_plain: its ratio to plain sampling's. surprise:
    nats a token, with its standard error.
    """

    tokens_per_second: float
    over_plain: float | None
    surprise: float | None
    surprise_error: float | None
    prompts: int


@dataclass(frozen=True)
class PassCost:
    """What one pass takes, by its number of positions.

    ratio: ÷ the time of one position. full_context: tokens cached in the last comparison, a pass
    of one position there ÷ one at 64 (or as many as fit). machine: what it can do at best; None
    but for a processor. reading, arithmetic: the share of that which a pass reaches.
    """

    milliseconds: dict[int, float]
    ratio: dict[int, float]
    full_context: int
    full_context_over_64: float
    machine: Machine | None = None
    reading: dict[int, float] = field(default_factory=dict)
    arithmetic: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class LoopParts:
    """Where the seconds of one decoder's loops go: shares of their sum, which is 1.

    forward: passes of the model. drafting: all that a drafter does. choosing: the verdict on a
    branch, near ties among it. cache: keeping what was accepted. rest: the loop itself.
    """

    name: str
    loops: int
    milliseconds: float
    forward: float
    drafting: float
    choosing: float
    cache: float
    rest: float


@dataclass(frozen=True)
class Goal:
    """A figure that the project wants to reach, such as ">= 1.5"; None: it was not measured."""

    measure: str
    goal: str
    reached: float | None

    @property
    def met(self) -> bool | None:
        """True if the figure reaches its goal."""
        if self.reached is None:
            return None
        sign, bound = self.goal.split()
        return self.reached >= float(bound) if sign == ">=" else self.reached <= float(bound)


@dataclass(frozen=True)
class BenchResult:
    """One run of the bench. looping, not_looping: the prompts whose text loops, and the others.

    first_speculate: seconds from the end of all imports to the end of the first short text, in a
    fresh process; None: the model is in no folder. notes: which peers took part, or why not.
    """

    model: str
    device: str
    machine: str
    threads: int
    prompts: int
    new_tokens: int
    rounds: int
    not_looping: list[GreedyRow]
    looping: list[GreedyRow]
    sampling: list[SamplingRow]
    passes: PassCost
    parts: list[LoopParts]
    first_speculate: float | None
    notes: list[str]
    goals: list[Goal] = field(default_factory=list)
