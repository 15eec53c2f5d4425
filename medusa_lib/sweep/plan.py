"""A sweep as a file asks for it: grids from TOML, checked before any pass, and their tasks."""

from __future__ import annotations

import difflib
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from medusa_lib.base.checks import check_int
from medusa_lib.measure.conditions import PROMPTS, read_prompts
from medusa_lib.sweep.grid import CHECKS, Grid
from medusa_lib.sweep.models import identity_of
from medusa_lib.sweep.runs import LMOf, check_grid, greedy_text, must_be_greedys, run_point
from medusa_lib.sweep.tasks import Task

SEVERAL = "grid"  # the name of tables that each are a grid
RANGE = ("first", "count")
PROMPT_WAYS = ("file", "texts", "words", "shipped")
WORDS = 16  # of a prompt taken from a text
SAMPLES = 8  # runs that are timed for an estimate


@dataclass(frozen=True)
class SweepPlan:
    """Grids that are swept together, and where their models come from.

    identities: of each model by its name.
    """

    grids: Sequence[Grid]
    identities: Mapping[str, str]

    @classmethod
    def of(cls, grids: Sequence[Grid], lm_of: LMOf) -> SweepPlan:
        """Load the models and check everything. Raises ValueError before any pass."""
        for grid in grids:
            check_grid(grid, lm_of)
        names = {name for grid in grids for name in grid.model}
        return cls(grids, {name: identity_of(lm_of(name)) for name in sorted(names)})

    def __len__(self) -> int:
        return sum(map(len, self.grids))

    def tasks(self) -> Iterator[Task]:
        """A task for each run, made as it is asked for."""
        for grid in self.grids:
            for point in grid.points(self.identities.__getitem__):
                yield Task(point.key, point)

    def spread(self, count: int) -> list[Task]:
        """At most `count` tasks, evenly spread over the whole."""
        total, count = len(self), min(count, len(self))
        ends = [sum(map(len, self.grids[:i])) for i in range(len(self.grids) + 1)]
        points = []
        for index in (total * (2 * i + 1) // (2 * count) for i in range(count)):
            which = next(i for i, (low, high) in enumerate(pairwise(ends)) if low <= index < high)
            at = index - ends[which]
            points.append(self.grids[which].point_at(at, self.identities.__getitem__))
        return [Task(point.key, point) for point in points]


def read_grids(path: Path, texts: Path | None = None) -> list[Grid]:
    """The grids of a TOML file: its axes, or tables [[grid]] that add to them or differ.

    texts: a folder of *.txt files to take prompts from; None: the shipped prompts. Raises
    ValueError naming what is wrong, OSError for a file that cannot be read.
    """
    try:
        asked = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name} must be a TOML file, got: {error}") from None
    several = asked.pop(SEVERAL, [{}])
    if not isinstance(several, list) or not all(isinstance(one, dict) for one in several):
        raise ValueError(f"{SEVERAL} must be tables [[{SEVERAL}]], got {several!r}")
    return [grid_of({**asked, **one}, path.parent, texts) for one in several]


def grid_of(axes: dict[str, object], folder: Path, texts: Path | None) -> Grid:
    """A grid from what a file says of its axes. folder: that of the file."""
    refuse_unknown("axis", axes, CHECKS)
    values = {name: spelled_out(name, given) for name, given in axes.items() if name != "prompt"}
    return Grid(prompt=prompts_of(axes.get("prompt", {}), folder, texts), **values)


def refuse_unknown(what: str, given: Mapping[str, object], known: Sequence[str]) -> None:
    """Raises ValueError for a name that is not known, with the one that is meant."""
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"{what} must be one of {', '.join(known)}, got {name!r}{hint}")


def spelled_out(name: str, given: object) -> object:
    """Values of an axis; `{first = 1, count = 5}` stands for 1, 2, 3, 4, 5."""
    if not isinstance(given, dict):
        return given
    refuse_unknown(f"key of {name}", given, RANGE)
    first = check_int(f"first of {name}", given.get("first", 0), 0)
    return range(first, first + check_int(f"count of {name}", given.get("count", 1), 1))


def prompts_of(given: object, folder: Path, texts: Path | None) -> Sequence[str]:
    """Prompts: as given, from a `file`, from `texts`, or the shipped ones.

    `{texts = 100, words = 16}`: the first 16 words of 100 paragraphs of the folder `texts`, or
    without one as many shipped prompts as there are.
    """
    if not isinstance(given, dict):
        return given
    refuse_unknown("key of prompt", given, PROMPT_WAYS)
    if "file" in given:
        return read_prompts(folder / str(given["file"]))
    if texts is None or "texts" not in given:
        known = read_prompts(PROMPTS)
        wanted = given.get("shipped", given.get("texts", len(known)))
        return known[: check_int("shipped of prompt", wanted, 1)]
    words = check_int("words of prompt", given.get("words", WORDS), 1)
    return paragraphs(texts, check_int("texts of prompt", given["texts"], 1), words)


def paragraphs(folder: Path, count: int, words: int) -> list[str]:
    """The first `words` words of `count` paragraphs, evenly spread over the *.txt of a folder.

    Raises ValueError if there are not so many that are as long and differ.
    """
    files = sorted(folder.glob("*.txt"))
    blocks = (block for path in files for block in path.read_text("utf-8").split("\n\n"))
    starts = dict.fromkeys(
        " ".join(found[:words]) for found in map(str.split, blocks) if len(found) >= words
    )
    if len(starts) < count:
        raise ValueError(
            f"--texts must be a folder of *.txt with {count} paragraphs of {words} words, "
            f"got {len(starts)} in {str(folder)!r}"
        )
    known = list(starts)
    return [known[len(known) * i // count] for i in range(count)]


def estimate(plan: SweepPlan, lm_of: LMOf, samples: int = SAMPLES) -> float:
    """Seconds that one process would take for the whole plan, from `samples` runs of it.

    Greedy's own run is timed apart, since all runs of one prompt share it.
    """
    tasks, runs, greedy = plan.spread(samples), 0.0, 0.0
    run_point(lm_of, tasks[0].asked)  # the first run compiles
    for task in tasks:
        point = task.asked
        began = time.perf_counter()
        if must_be_greedys(point):
            greedy_text(lm_of(point.model), point.prompt, point.new_tokens)
        shared = time.perf_counter()
        run_point(lm_of, point)
        greedy, runs = greedy + shared - began, runs + time.perf_counter() - shared
    texts = sum(len(g.model) * len(g.prompt) * len(g.new_tokens) for g in plan.grids)
    return (len(plan) * runs + texts * greedy) / len(tasks)
