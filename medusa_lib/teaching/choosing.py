"""BEYOND13's room: the planner, what drafting should gain on any machine."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from matplotlib.axes import Axes

from medusa_lib.base.checks import Check, check_kind, check_named, checked
from medusa_lib.base.words import Positive
from medusa_lib.measure.batches import batch_speedup, last_gain
from medusa_lib.measure.batches_table import MeasuredBatches
from medusa_lib.measure.choosing import (
    SIZES,
    Computer,
    PassLoad,
    Plan,
    best_span,
    gains_by_batch,
    planned_seconds,
    planned_speedup,
)
from medusa_lib.measure.formulas import expected_tokens
from medusa_lib.teaching.shared.controls import dropdown, log_slider, observe, slider
from medusa_lib.teaching.shared.html import says_html
from medusa_lib.teaching.shared.panel import Panel
from medusa_lib.teaching.shared.recording import Grid
from medusa_lib.teaching.shared.style import (
    BLUE,
    GREY,
    ORANGE,
    axes_for,
    legend_beside,
    open_frame,
)

LONGEST_SPAN = 7  # passes over more positions were not measured
SPEED_STEP = 0.05  # of the sliders of a machine's speeds, in powers of ten


@dataclass(frozen=True)
class Candidate:
    """A model that can be planned for. cache_bytes: of one user and one token.

    measured: passes and loops of this model, if there are any.
    """

    weight_bytes: float
    cache_bytes: float
    operations: float
    measured: MeasuredBatches | None = None

    def load(self, context: int) -> PassLoad:
        """What a pass reads and does with so many tokens cached for each user."""
        return PassLoad(self.weight_bytes, context * self.cache_bytes, self.operations)


@dataclass(frozen=True)
class PlanView:
    """What the planner shows: one line of words, and batch size → speed-up, for three series.

    expected: by the roofline. from_passes: by the formula from measured passes. loops: of real
    decoding, at its own α and span.
    """

    words: str
    batch: int
    expected: dict[int, float]
    from_passes: dict[int, float] = field(default_factory=dict)
    loops: dict[int, float] = field(default_factory=dict)


def between(passes: Mapping[tuple[int, int], float], batch: int, positions: int) -> float:
    """Seconds of a pass; between two numbers of positions that were measured, on the line."""
    known = sorted(count for rows, count in passes if rows == batch)
    low = max(count for count in known if count <= positions)
    high = min(count for count in known if count >= positions)
    below, above = passes[batch, low], passes[batch, high]
    return below if low == high else below + (above - below) * (positions - low) / (high - low)


def gains_from_passes(measured: MeasuredBatches, plan: Plan, span: int) -> dict[int, float]:
    """Batch size → speed-up by the formula, the passes' cost being the measured one."""
    tau, found = expected_tokens(plan.alpha, span), {}
    for batch in measured.batches:
        plain = measured.passes[batch, 1]
        verify = between(measured.passes, batch, span + 1)
        found[batch] = batch_speedup(tau, plain, verify, span * plan.draft_cost * plain)
    return found


def plan_view(
    computer: Computer, candidate: Candidate, context: Positive, plan: Plan, span: int
) -> PlanView:
    """The planner's picture as data."""
    load, measured = candidate.load(context), candidate.measured
    words = plan_words(computer, load, plan, span)
    expected = gains_by_batch(computer, load, plan, span)
    if measured is None:
        return PlanView(words, plan.batch, expected)
    loops = {batch: loop.speedup for batch, loop in measured.loops.items()}
    return PlanView(words, plan.batch, expected, gains_from_passes(measured, plan, span), loops)


def plan_words(computer: Computer, load: PassLoad, plan: Plan, span: int) -> str:
    """The plan in one line: tokens, cost, speed-up, where it ends, and the best span."""
    wide, one = (planned_seconds(computer, load, plan.batch, n) for n in (span + 1, 1))
    gain, best = planned_speedup(computer, load, plan, span), best_span(computer, load, plan)
    last = last_gain(gains_by_batch(computer, load, plan, span))
    reach = f"up to {last} users" if last else "for no number of users"
    advice = f"best span {best}" if best else "best not to draft"
    return (
        f"{expected_tokens(plan.alpha, span):.2f} tokens per loop, a pass over {span + 1} "
        f"positions costs {wide / one:.2f} of one: speed-up {gain:.2f}; "
        f"it gains {reach}; at {plan.batch} {advice}"
    )


def plot_plan(view: PlanView, measured_at: str = "", ax: Axes | None = None) -> Axes:
    """Expected speed-up against the users in a batch, with what was measured.

    measured_at: α and span of the measured loops, in words.
    """
    ax = axes_for(ax, (7, 3.4))
    ax.plot([*view.expected], [*view.expected.values()], color=BLUE, label="by the roofline")
    at = view.expected[view.batch]
    ax.plot([view.batch], [at], "o", color=BLUE, markersize=9, label="your number of users")
    if view.from_passes:
        points = [*view.from_passes], [*view.from_passes.values()]
        ax.plot(*points, "s--", color=ORANGE, markersize=4, label="by measured passes")
        loops = [*view.loops], [*view.loops.values()]
        ax.plot(*loops, "kx", markersize=6, label=f"measured loops{measured_at}")
    ax.axhline(1, color=GREY, linestyle="--", linewidth=1, zorder=0)
    ax.set_xscale("log", base=2)
    ax.set_xticks(SIZES, [str(size) for size in SIZES])
    ax.minorticks_off()
    ax.set(xlabel="users in one pass", ylabel="speed-up by drafting", ylim=(0, None))
    legend_beside(ax, fontsize=8)
    return open_frame(ax)


def on_grid(computer: Computer) -> Computer:
    """A computer whose two speeds the panel's sliders can show: they move in steps."""

    def near(speed: float) -> float:
        steps = round(math.log10(speed / 1e9) / SPEED_STEP)
        return 1e9 * 10 ** (steps * SPEED_STEP)

    return Computer(near(computer.bandwidth), near(computer.arithmetic), computer.overhead)


class PlannerPanel(Panel):
    """BEYOND13: α, draft cost, span, users, context and a machine over the expected speed-up."""

    grid: ClassVar[Grid] = {
        "model": ...,
        "alpha": (0.5, 0.8),
        "draft_cost": (0.0, 0.2),
        "span": (1, 3, 7),
    }

    @checked
    def __init__(
        self,
        candidates: Annotated[Mapping[str, Candidate], Check(check_named, Candidate)],
        computer: Annotated[Computer, Check(check_kind, Computer)],
        plan: Annotated[Plan, Check(check_kind, Plan)],
        span: Positive = 3,
        context: Positive = 32,
    ) -> None:
        self.candidates, computer = dict(candidates), on_grid(computer)
        self.overhead = computer.overhead
        self.model = dropdown("model", next(iter(candidates)), list(candidates))
        self.alpha = slider("α", plan.alpha, 0.0, 1.0, 0.01)
        self.draft_cost = slider("draft cost", plan.draft_cost, 0.0, 1.0, 0.01)
        self.span = slider("span", span, 1, LONGEST_SPAN)
        self.users = log_slider("users", plan.batch, 0, len(SIZES) - 1, 1, base=2)
        self.context = log_slider("context", context, 0, 17, 1, base=2)
        self.bandwidth = log_slider("GB/s", computer.bandwidth / 1e9, 0, 4, SPEED_STEP)
        self.arithmetic = log_slider("GFLOP/s", computer.arithmetic / 1e9, 1, 6, SPEED_STEP)
        controls = [getattr(self, name) for name in self.names]
        super().__init__(controls, height="330px")
        observe(self.update, *controls)
        self.update()
        self.says = (
            "Panel: model, α, draft cost, span, users, context and a machine's two speeds over "
            f"the expected speed-up. {self.current().words}"
        )

    names = ("model", "alpha", "draft_cost", "span", "users", "context", "bandwidth", "arithmetic")

    @property
    def candidate(self) -> Candidate:
        """The chosen model."""
        return self.candidates[self.model.value]

    def current(self) -> PlanView:
        """What the controls now select."""
        speeds = 1e9 * self.bandwidth.value, 1e9 * self.arithmetic.value
        computer = Computer(*speeds, self.overhead)
        plan = Plan(self.alpha.value, self.draft_cost.value, round(self.users.value))
        given = self.candidate, round(self.context.value), plan, self.span.value
        return plan_view(computer, *given)

    def update(self) -> None:
        """Redraw for the controls' values."""
        self.redraw(self.picture)

    def picture(self) -> str:
        """HTML: the line of figures, then the plot."""
        view, at = self.current(), measured_at(self.candidate.measured)
        plot = self.figure(lambda ax: plot_plan(view, at, ax), (8, 3.2), view.words)
        return says_html(view.words) + plot


def measured_at(measured: MeasuredBatches | None) -> str:
    """At which α and span the loops were measured, in words."""
    if measured is None:
        return ""
    loop = next(iter(measured.loops.values()))
    return f"\n(α {loop.alpha:g}, span {loop.span})"


def candidate_of(load: PassLoad, measured: MeasuredBatches) -> Candidate:
    """A measured model as a candidate; load: that of its measured context."""
    each = load.cache_bytes / measured.context
    return Candidate(load.weight_bytes, each, load.operations, measured)
