"""Is drafting worth it here? A pass by the roofline, a loop by its acceptance, the best span."""

from __future__ import annotations

from dataclasses import dataclass, replace

from medusa_lib.base.checks import check_fields, checked
from medusa_lib.base.words import Cost, Count, Positive, Share, Span
from medusa_lib.measure.batches import batch_speedup, kv_bytes, kv_shape
from medusa_lib.measure.batches_table import MeasuredBatches
from medusa_lib.measure.formulas import expected_tokens
from medusa_lib.measure.roofline import pass_operations
from medusa_lib.steps.model import LM

MOST_SPAN, SIZES = 16, tuple(2**i for i in range(11))  # spans and batches that are looked at


@dataclass(frozen=True)
class PassLoad:
    """What a pass of one model must read and do.

    weight_bytes: read once a pass. cache_bytes: keys and values of one user, read once a pass for
    each user. operations: of one position. All >= 0; operations and weight_bytes more than 0.
    """

    weight_bytes: Cost
    cache_bytes: Cost
    operations: Cost

    def __post_init__(self) -> None:
        check_fields(self)
        check_above_zero(weight_bytes=self.weight_bytes, operations=self.operations)


@dataclass(frozen=True)
class Computer:
    """What a machine reaches: bytes and operations per second, and seconds a pass loses anyway.

    bandwidth and arithmetic more than 0, overhead >= 0.
    """

    bandwidth: Cost
    arithmetic: Cost
    overhead: Cost = 0.0

    def __post_init__(self) -> None:
        check_fields(self)
        check_above_zero(bandwidth=self.bandwidth, arithmetic=self.arithmetic)


def check_above_zero(**values: float) -> None:
    """Raises ValueError for a number that is 0."""
    for name, value in values.items():
        if value == 0:
            raise ValueError(f"{name} must be a finite number > 0, got {value!r}")


@dataclass(frozen=True)
class Plan:
    """How many write at once, how often a draft is right, and what a draft step costs.

    draft_cost: of one draft step for the whole batch, in passes of the model over one position
    in each row. cost >= 0, alpha in [0, 1].
    """

    alpha: Share
    draft_cost: Cost = 0.0
    batch: Positive = 1

    def __post_init__(self) -> None:
        check_fields(self)


@checked
def planned_seconds(computer: Computer, load: PassLoad, batch: Positive, positions: Span) -> float:
    """Seconds of a pass: overhead + the longer of reading and arithmetic. Williams et al. 2009."""
    read = load.weight_bytes + batch * load.cache_bytes
    work = batch * positions * load.operations
    return computer.overhead + max(read / computer.bandwidth, work / computer.arithmetic)


@checked
def planned_speedup(computer: Computer, load: PassLoad, plan: Plan, span: Count) -> float:
    """Expected speed over plain decoding of the same batch; span 0 is plain decoding itself."""
    plain = planned_seconds(computer, load, plan.batch, 1)
    verify = planned_seconds(computer, load, plan.batch, span + 1)
    draft = span * plan.draft_cost * plain
    return batch_speedup(expected_tokens(plan.alpha, span), plain, verify, draft)


@checked
def best_span(computer: Computer, load: PassLoad, plan: Plan, most: Count = MOST_SPAN) -> int:
    """The span with the highest expected speed-up; 0: do not draft. The shortest of equals."""
    return max(range(most + 1), key=lambda span: planned_speedup(computer, load, plan, span))


def gains_by_batch(computer: Computer, load: PassLoad, plan: Plan, span: int) -> dict[int, float]:
    """Batch size → expected speed-up, over SIZES; the plan's own size is not looked at."""
    return {
        batch: planned_speedup(computer, load, replace(plan, batch=batch), span) for batch in SIZES
    }


def load_of(lm: LM, context: int) -> PassLoad:
    """What a pass of a model reads and does, with so many tokens cached for each user."""
    parameters = list(lm.model.parameters())
    weights = sum(p.numel() * p.element_size() for p in parameters)
    cached = kv_bytes(*kv_shape(lm.model.config), context, parameters[0].element_size())
    return PassLoad(weights, cached, pass_operations(lm, 1))


def fitted_computer(load: PassLoad, measured: MeasuredBatches) -> Computer:
    """A computer that two measured passes agree with: the smallest, and the largest.

    The bandwidth is the machine's own. What the smallest pass takes beyond its reading is
    overhead; what the largest takes beyond that gives the arithmetic that passes reach.
    """
    smallest, largest = min(measured.passes), max(measured.passes)
    bandwidth = measured.machine.bytes_per_second
    reading = (load.weight_bytes + load.cache_bytes) / bandwidth
    overhead = max(0.0, measured.passes[smallest] - reading)
    work = largest[0] * largest[1] * load.operations
    return Computer(bandwidth, work / (measured.passes[largest] - overhead), overhead)
