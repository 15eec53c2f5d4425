"""One point of a sweep → one row: a run by any decoder, compared with greedy's where it must be."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from medusa_lib.base.metrics import first_difference
from medusa_lib.base.records import Generation
from medusa_lib.beyond.named_drafters import make_drafter
from medusa_lib.beyond.speculative import check_no_turn, speculate
from medusa_lib.measure.chances import (
    KnownText,
    draft_chances,
    evaluated_in,
    known_text,
    toss_loops,
)
from medusa_lib.measure.conditions import machine, versions
from medusa_lib.steps.loops import medusa_tiny, run_greedy, start_ids
from medusa_lib.steps.model import LM
from medusa_lib.sweep.grid import COINS, NO_DRAFTER, TINY, Grid, Point
from medusa_lib.sweep.models import identity_of, refuse_another
from medusa_lib.sweep.tasks import InMemory, Task, run_tasks

RUN, DIFFERENCE = "run", "difference"  # kinds of row
TINY_SPAN = 3  # medusa_tiny's own
MOST_KEPT = 64  # texts by greedy, and their chances, that a model keeps at a time
TIMING = ("seconds", "processor", "threads", "versions")  # what may differ between two machines
LMOf = Callable[[str], LM]  # a model's name → the model


@dataclass(frozen=True)
class SweepRow:
    """One run: its knobs, the sums over its records, and where it was done.

    kind: "difference" if it had to be greedy's text and is not. written: tokens. compared: how
    many were compared with greedy's, 0 where the two may differ. differs_at: the first that
    does. digest: of the tokens. Passes are forward passes. The fields of TIMING differ from
    machine to machine, the others must not.
    """

    key: str
    kind: str
    model: str
    identity: str
    prompt: str
    new_tokens: int
    drafter: str
    temperature: float
    top_p: float | None
    span: int | None
    seed: int
    prompt_tokens: int
    written: int
    stop_reason: str
    loops: int
    drafted: int
    accepted: int
    evaluated: int
    corrections: int
    bonuses: int
    draft_passes: int
    verify_passes: int
    compared: int = 0
    differs_at: int | None = None
    digest: str = ""
    seconds: float = field(default=0.0, compare=False)
    processor: str = field(default="", compare=False)
    threads: int = field(default=0, compare=False)
    versions: str = field(default="", compare=False)


def kept(lm: LM, kind: str, key: object, make: Callable[[], object]) -> object:
    """What was made before for that key, or is made now; a model keeps the newest few of a kind."""
    known = lm.kept.setdefault(kind, {})
    if key not in known:
        known[key] = make()
        if len(known) > MOST_KEPT:
            del known[next(iter(known))]
    return known[key]


def greedy_text(lm: LM, prompt: str, count: int) -> Generation:
    """Greedy's own run without a cache, done once for a model, a prompt and a length."""
    return kept(lm, "sweep greedy", (prompt, count), lambda: run_greedy(lm, prompt, count))


def coins_text(lm: LM, prompt: str, count: int) -> KnownText:
    """Greedy's text with its logits, made once."""
    return kept(lm, "sweep known", (prompt, count), lambda: known_text(lm, prompt, count))


def counts_of(run: Generation) -> dict[str, object]:
    """The sums over a run's records, by the names of a SweepRow."""
    return {
        "prompt_tokens": len(run.prompt_ids),
        "written": len(run.new_ids),
        "stop_reason": run.stop_reason,
        "loops": len(run.loops),
        "drafted": sum(len(loop.branch) for loop in run.loops),
        "accepted": sum(loop.accepted for loop in run.loops),
        "evaluated": sum(loop.evaluated for loop in run.loops),
        "corrections": sum(loop.correction is not None for loop in run.loops),
        "bonuses": sum(loop.bonus is not None for loop in run.loops),
        "draft_passes": run.draft_passes,
        "verify_passes": run.verify_passes,
        "digest": hashlib.blake2b(repr(run.new_ids).encode(), digest_size=8).hexdigest(),
        "seconds": run.seconds,
    }


def must_be_greedys(point: Point) -> bool:
    """True if the run must write greedy's tokens."""
    return point.drafter != COINS and (point.temperature == 0 or point.drafter == TINY)


def decoded(lm: LM, point: Point) -> dict[str, object]:
    """Run a point's decoder → what its row counts, the comparison with greedy's among it."""
    knobs = {name: getattr(point, name) for name in ("temperature", "top_p", "seed")}
    if point.drafter == TINY:
        run = medusa_tiny(lm, point.prompt, point.new_tokens, point.span or TINY_SPAN, **knobs)
    else:
        drafter = None if point.drafter == NO_DRAFTER else point.drafter
        run = speculate(lm, point.prompt, drafter, point.new_tokens, point.span, **knobs)
    counts = counts_of(run)
    if must_be_greedys(point):
        counts |= compared(run, greedy_text(lm, point.prompt, point.new_tokens))
    return counts


def compared(run: Generation, greedy: Generation) -> dict[str, object]:
    """Whether a run's tokens are greedy's, and how many were looked at."""
    at = first_difference(run.new_ids, greedy.new_ids)
    kind = RUN if at is None else DIFFERENCE
    return {"kind": kind, "compared": len(greedy.new_ids), "differs_at": at}


def tossed(lm: LM, point: Point) -> dict[str, object]:
    """Medusa-tiny's counts by tossing coins: see measure.chances."""
    text = coins_text(lm, point.prompt, point.new_tokens)
    where = (point.prompt, point.new_tokens, point.temperature, point.top_p)
    chances = kept(lm, "sweep chances", where, lambda: draft_chances(text, *where[2:]))
    loops = toss_loops(chances, point.span or TINY_SPAN, point.seed)
    drafted, accepted = (sum(pair[i] for pair in loops) for i in (0, 1))
    evaluated = evaluated_in(loops)
    return {
        "prompt_tokens": start_ids(lm, point.prompt).shape[1],
        "written": evaluated,  # each evaluated token emits one
        "stop_reason": "length" if len(chances) == point.new_tokens else "eos",
        "loops": len(loops),
        "drafted": drafted,
        "accepted": accepted,
        "evaluated": evaluated,
        "corrections": sum(kept < drafted for drafted, kept in loops),
        "bonuses": 0,
        "draft_passes": drafted,
        "verify_passes": evaluated,
    }


def run_point(lm_of: LMOf, point: Point) -> SweepRow:
    """Do one run. Raises ValueError if the model of that name is another one here."""
    lm = lm_of(point.model)
    refuse_another(lm, point.identity)
    counts = tossed(lm, point) if point.drafter == COINS else decoded(lm, point)
    return SweepRow(**{"key": point.key, "kind": RUN, **point._asdict(), **counts})


def check_grid(grid: Grid, lm_of: LMOf) -> None:
    """Raises ValueError for a prompt or a drafter that does not fit a model, before any pass."""
    for lm in map(lm_of, grid.model):
        for prompt in grid.prompt:
            length = start_ids(lm, prompt).shape[1]
            for most in grid.new_tokens:
                check_no_turn(lm, length, min(most, lm.context_length - length))
        for drafter in grid.drafter:
            if drafter not in (NO_DRAFTER, TINY, COINS):
                make_drafter(drafter, lm, grid.temperature[0], grid.top_p[0])


def run_grid(grid: Grid, lms: Mapping[str, LM]) -> list[SweepRow]:
    """Every run of a grid in this process, in order: what a lesson needs.

    lms: the models by the grid's names. Raises ValueError before any pass for what does not fit,
    TaskError for a run that failed, RuntimeError for one that had to be greedy's and is not.
    """
    for name in grid.model:
        if name not in lms:
            raise ValueError(f"model must be one of {', '.join(lms)}, got {name!r}")
        LM.check_argument("lms", lms[name])
    check_grid(grid, lms.__getitem__)
    points, keeper = grid.points(lambda name: identity_of(lms[name])), InMemory()
    tasks = (Task(point.key, point) for point in points)
    run_tasks(lambda point: run_point(lms.__getitem__, point), tasks, keeper).check()
    rows = list(keeper.made.values())
    other = [row for row in rows if row.kind == DIFFERENCE]
    if other:
        raise RuntimeError(f"{len(other)} runs differ from greedy's, the first: {other[0]}")
    return rows


# figure → columns whose sum is divided, columns whose sum it is divided by
FIGURES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "alpha": (("accepted",), ("evaluated",)),
    "tau": (("written",), ("loops",)),
    "passes_per_token": (("draft_passes", "verify_passes"), ("written",)),
    "seconds_per_token": (("seconds",), ("written",)),
}
SETTING = ("temperature", "top_p", "span")


def columns_of(rows: object, names: Sequence[str]) -> list[tuple]:
    """The values of some columns, row by row, of SweepRows or of a DataFrame."""
    if hasattr(rows, "columns"):
        known = rows[list(names)].astype(object)
        columns = (known[name].where(known[name].notna(), None).tolist() for name in names)
        return list(zip(*columns, strict=True))
    return [tuple(getattr(row, name) for name in names) for row in rows]


def by_setting(
    rows: object, figure: str, by: Sequence[str] = SETTING, runs: Sequence[str] = ("seed",)
) -> dict[tuple, list[float]]:
    """For each setting a figure of each run: a ratio of sums over everything else.

    rows: SweepRows, or a DataFrame as load gives it. figure: a name of FIGURES. by: the columns
    that make a setting. runs: those that tell runs of one setting apart; all other columns, such
    as the prompt, are summed over. NaN where a run has nothing to divide by. Raises ValueError
    for an unknown figure.
    """
    if figure not in FIGURES:
        raise ValueError(f"figure must be one of {', '.join(FIGURES)}, got {figure!r}")
    above, below = FIGURES[figure]
    sums: dict[tuple, dict[tuple, list[float]]] = {}
    for at, run, over, under in zip(
        *(columns_of(rows, names) for names in (by, runs, above, below)), strict=True
    ):
        total = sums.setdefault(at, {}).setdefault(run, [0, 0])
        total[0] += sum(over)
        total[1] += sum(under)
    nan = float("nan")
    return {
        at: [over / under if under else nan for over, under in found.values()]
        for at, found in sums.items()
    }


def measured_point(lm_of: LMOf, point: Point) -> SweepRow:
    """run_point, and where it was done: what a worker does."""
    device = lm_of(point.model).device
    where = {"processor": machine_name(device.type), "threads": torch.get_num_threads()}
    return replace(run_point(lm_of, point), **where, versions=versions())


@functools.cache
def machine_name(kind: str) -> str:
    """What computes in this process; asking takes a second."""
    return machine(torch.device(kind))
